#include "model/deepseek.h"

#include <cmath>

#include "model/rope.h"

namespace galley::model {
namespace {

// The norms inside attention keep this epsilon whatever rms_norm_eps says, as in DeepSeek's code.
constexpr float kLatentNormEps = 1e-6f;

kernels::MlaShape shape_of(const ModelConfig& config) {
  const MlaConfig& mla = config.mla;
  return {.num_heads = config.num_heads,
          .nope_dim = mla.nope_dim,
          .rope_dim = mla.rope_dim,
          .value_dim = mla.value_dim,
          .latent_dim = mla.kv_lora_rank,
          .scale = static_cast<float>(rope_score_scale(config.rope) / std::sqrt(config.head_dim))};
}

}  // namespace

DeepseekModel::Buffers DeepseekModel::take_buffers(const ModelConfig& config, int64_t tokens,
                                                   MatrixPool* pool) {
  const MlaConfig& mla = config.mla;
  const int64_t hidden = config.hidden_size, heads = config.num_heads;
  const DType type = pool->activation_dtype();
  Buffers b;
  b.residual = pool->take(tokens, hidden, type);
  b.x = pool->take(tokens, hidden, type);
  b.y = pool->take(tokens, hidden, type);
  b.q = pool->take(tokens, heads * config.head_dim, type);
  b.kv_a = pool->take(tokens, mla.kv_lora_rank + mla.rope_dim, type);
  b.heads = pool->take(tokens, heads * mla.value_dim, type);
  if (mla.q_lora_rank > 0) b.q_a = pool->take(tokens, mla.q_lora_rank, type);
  if (config.moe.num_experts > 0) {
    const int32_t per_token = config.moe.route.experts_per_token;
    b.shared = pool->take(tokens, hidden, type);
    b.router = pool->take(tokens, config.moe.num_experts, DType::kF32);
    b.experts = pool->take(tokens, per_token, DType::kI32);
    b.weights = pool->take(tokens, per_token, DType::kF32);
  }
  if (config.num_mtp_layers > 0) b.mtp_input = pool->take(tokens, 2 * hidden, type);
  return b;
}

DeepseekModel::DeepseekModel(const ModelConfig& config, DeepseekWeights weights,
                             const Buffers& buffers, const kernels::RopeTable& rope,
                             kernels::Ops* ops)
    : config_(config),
      weights_(std::move(weights)),
      buffers_(buffers),
      rope_(rope),
      ops_(ops),
      shape_(shape_of(config)) {}

Matrix DeepseekModel::forward(const Step& step, std::span<const kernels::CacheLayer> caches) {
  GALLEY_CHECK(caches.size() == weights_.layers.size(), "one cache for each layer");
  const auto tokens = static_cast<int64_t>(step.ids.size());
  const Matrix residual = first_rows(buffers_.residual, tokens);
  const Matrix x = first_rows(buffers_.x, tokens);
  const Matrix y = first_rows(buffers_.y, tokens);

  ops_->embed(step.ids, weights_.embed, residual);
  ops_->rms_norm(residual, weights_.layers[0].input_norm, config_.rms_eps, x);
  for (size_t i = 0; i < weights_.layers.size(); ++i) {
    const DeepseekLayer& layer = weights_.layers[i];
    attention(layer.attention, step, caches[i]);  // x -> y
    ops_->add_rms_norm(y, residual, layer.post_norm, config_.rms_eps, x);
    feed_forward(layer, tokens);  // x -> y
    const bool is_last = i + 1 == weights_.layers.size();
    const Weight& norm = is_last ? weights_.norm : weights_.layers[i + 1].input_norm;
    ops_->add_rms_norm(y, residual, norm, config_.rms_eps, x);
  }
  return x;
}

void DeepseekModel::logits(const Matrix& hidden, const Matrix& out) {
  ops_->linear(hidden, weights_.head, {}, out);
}

Matrix DeepseekModel::draft(int32_t index, const Step& step, const Matrix& hidden,
                            const kernels::CacheLayer& cache) {
  const MtpLayer& layer = weights_.mtp[static_cast<size_t>(index)];
  const auto tokens = static_cast<int64_t>(step.ids.size());
  const Matrix residual = first_rows(buffers_.residual, tokens);
  const Matrix x = first_rows(buffers_.x, tokens);
  const Matrix y = first_rows(buffers_.y, tokens);
  const Matrix input = first_rows(buffers_.mtp_input, tokens);
  GALLEY_CHECK(hidden.rows == tokens && hidden.data != residual.data && hidden.data != x.data,
               "hidden has a row for each token, in a matrix of its own");

  ops_->embed(step.ids, layer.embed, y);
  ops_->rms_norm(y, layer.embed_norm, config_.rms_eps, columns(input, 0, config_.hidden_size));
  ops_->rms_norm(hidden, layer.hidden_norm, config_.rms_eps,
                 columns(input, config_.hidden_size, config_.hidden_size));
  ops_->linear(input, layer.project, {}, residual);
  ops_->rms_norm(residual, layer.block.input_norm, config_.rms_eps, x);
  attention(layer.block.attention, step, cache);
  ops_->add_rms_norm(y, residual, layer.block.post_norm, config_.rms_eps, x);
  feed_forward(layer.block, tokens);
  ops_->add(residual, y);
  return residual;
}

void DeepseekModel::draft_logits(int32_t index, const Matrix& hidden, const Matrix& out) {
  const MtpLayer& layer = weights_.mtp[static_cast<size_t>(index)];
  ops_->rms_norm(hidden, layer.head_norm, config_.rms_eps, hidden);
  ops_->linear(hidden, layer.head, {}, out);
}

// y = attention(x): queries through q_lora or not, one latent and one rotary key for all heads.
void DeepseekModel::attention(const MlaWeights& weights, const Step& step,
                              const kernels::CacheLayer& cache) {
  const auto tokens = static_cast<int64_t>(step.ids.size());
  const Matrix x = first_rows(buffers_.x, tokens);
  const Matrix q = first_rows(buffers_.q, tokens);
  const Matrix kv_a = first_rows(buffers_.kv_a, tokens);
  const Matrix heads = first_rows(buffers_.heads, tokens);
  if (weights.q) {
    ops_->linear(x, weights.q, {}, q);
  } else {
    const Matrix q_a = first_rows(buffers_.q_a, tokens);
    ops_->linear(x, weights.q_a, weights.q_a_bias, q_a);
    ops_->rms_norm(q_a, weights.q_a_norm, kLatentNormEps, q_a);
    ops_->linear(q_a, weights.q_b, {}, q);
  }
  ops_->linear(x, weights.kv_a, weights.kv_a_bias, kv_a);
  ops_->mla_prepare(shape_, q, kv_a, weights.kv_a_norm, kLatentNormEps, rope_, *step.batch, cache);
  ops_->mla_attention(shape_, form_of(step), q, weights.kv_b, *step.batch, cache, heads);
  ops_->linear(heads, weights.out, weights.out_bias, first_rows(buffers_.y, tokens));
}

// y = mlp(x), or the chosen experts' weighted sum plus the shared experts.
void DeepseekModel::feed_forward(const DeepseekLayer& layer, int64_t tokens) {
  const Matrix x = first_rows(buffers_.x, tokens);
  const Matrix y = first_rows(buffers_.y, tokens);
  if (!layer.is_moe) {
    ops_->gated_mlp(x, layer.mlp, y);
    return;
  }
  const kernels::RouteShape& route = config_.moe.route;
  const Matrix router = first_rows(buffers_.router, tokens);
  auto* const experts = static_cast<int32_t*>(buffers_.experts.data);
  auto* const weights = static_cast<float*>(buffers_.weights.data);
  ops_->linear(x, layer.moe.router, {}, router);
  ops_->route_tokens(route, router, layer.moe.bias, experts, weights);
  ops_->experts(x, layer.moe.experts, route.experts_per_token, experts, weights, y);
  if (config_.moe.num_shared == 0) return;
  const Matrix shared = first_rows(buffers_.shared, tokens);
  ops_->gated_mlp(x, layer.moe.shared, shared);
  ops_->add(y, shared);
}

// One form for all tokens where the backend promises invariance, because the forms round
// differently. Elsewhere the cheaper one, in multiply-adds of one head: absorbing costs L * (nope +
// value) for each query token and makes every pair cost 2 L + R; expanding costs that much for each
// token of the context, and a pair then costs nope + R + value.
kernels::MlaForm DeepseekModel::form_of(const Step& step) const {
  if (forced_form_.has_value()) return *forced_form_;
  if (ops_->batch_invariant()) return kernels::MlaForm::kAbsorbed;
  const double up = static_cast<double>(shape_.latent_dim) * (shape_.nope_dim + shape_.value_dim);
  const auto pairs = static_cast<double>(step.pair_sum);
  const double absorbed =
      up * static_cast<double>(step.ids.size()) + pairs * (2 * shape_.latent_dim + shape_.rope_dim);
  const double expanded = up * static_cast<double>(step.context_sum) +
                          pairs * (shape_.nope_dim + shape_.rope_dim + shape_.value_dim);
  return expanded < absorbed ? kernels::MlaForm::kExpanded : kernels::MlaForm::kAbsorbed;
}

}  // namespace galley::model

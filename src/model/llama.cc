#include "model/llama.h"

#include <cmath>

namespace galley::model {

LlamaModel::Buffers LlamaModel::take_buffers(const ModelConfig& config, int64_t tokens,
                                             MatrixPool* pool) {
  const int64_t hidden = config.hidden_size, dim = config.head_dim;
  const DType type = pool->activation_dtype();
  Buffers b;
  b.residual = pool->take(tokens, hidden, type);
  b.x = pool->take(tokens, hidden, type);
  b.y = pool->take(tokens, hidden, type);
  b.qkv = pool->take(tokens, (config.num_heads + 2 * config.num_kv_heads) * dim, type);
  b.heads = pool->take(tokens, config.num_heads * dim, type);
  return b;
}

LlamaModel::LlamaModel(const ModelConfig& config, LlamaWeights weights, const Buffers& buffers,
                       const kernels::RopeTable& rope, kernels::Ops* ops)
    : config_(config),
      weights_(std::move(weights)),
      buffers_(buffers),
      rope_(rope),
      ops_(ops),
      shape_{.num_heads = config.num_heads,
             .num_kv_heads = config.num_kv_heads,
             .head_dim = config.head_dim,
             .scale = static_cast<float>(1.0 / std::sqrt(config.head_dim))} {}

Matrix LlamaModel::forward(const Step& step, std::span<const kernels::CacheLayer> caches) {
  GALLEY_CHECK(caches.size() == weights_.layers.size(), "one cache for each layer");
  const auto tokens = static_cast<int64_t>(step.ids.size());
  const Matrix residual = first_rows(buffers_.residual, tokens);
  const Matrix x = first_rows(buffers_.x, tokens);
  const Matrix y = first_rows(buffers_.y, tokens);

  ops_->embed(step.ids, weights_.embed, residual);
  ops_->rms_norm(residual, weights_.layers[0].input_norm, config_.rms_eps, x);
  for (size_t i = 0; i < weights_.layers.size(); ++i) {
    const LlamaLayer& layer = weights_.layers[i];
    attention(layer, step, caches[i]);  // x -> y
    ops_->add_rms_norm(y, residual, layer.post_norm, config_.rms_eps, x);
    ops_->gated_mlp(x, layer.mlp, y);
    const bool is_last = i + 1 == weights_.layers.size();
    const Weight& norm = is_last ? weights_.norm : weights_.layers[i + 1].input_norm;
    ops_->add_rms_norm(y, residual, norm, config_.rms_eps, x);
  }
  return x;
}

void LlamaModel::logits(const Matrix& hidden, const Matrix& out) {
  ops_->linear(hidden, weights_.head, {}, out);
}

// y = attention(x). The three projections write side by side into qkv.
void LlamaModel::attention(const LlamaLayer& layer, const Step& step,
                           const kernels::CacheLayer& cache) {
  const auto tokens = static_cast<int64_t>(step.ids.size());
  const Matrix x = first_rows(buffers_.x, tokens);
  const Matrix qkv = first_rows(buffers_.qkv, tokens);
  const Matrix heads = first_rows(buffers_.heads, tokens);
  const int64_t q_width = layer.q.rows, kv_width = layer.k.rows;
  ops_->linear(x, layer.q, layer.q_bias, columns(qkv, 0, q_width));
  ops_->linear(x, layer.k, layer.k_bias, columns(qkv, q_width, kv_width));
  ops_->linear(x, layer.v, layer.v_bias, columns(qkv, q_width + kv_width, kv_width));
  ops_->gqa_prepare(shape_, qkv, rope_, *step.batch, cache);
  ops_->gqa_attention(shape_, qkv, *step.batch, cache, heads);
  ops_->linear(heads, layer.out, layer.out_bias, first_rows(buffers_.y, tokens));
}

}  // namespace galley::model

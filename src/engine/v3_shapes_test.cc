// DeepSeek-V3's own shapes (hidden 7168, 128 heads, latent 512, experts of 2048, dense 18432), with
// two layers, eight experts, a small vocabulary and made-up FP8 weights, against a plain model in
// double: loops over the formulas of arXiv:2405.04434 section 2.1 and arXiv:2412.19437 section 2.1,
// sharing no code with the forward pass but the rotary frequencies. Then both forms of MLA against
// each other.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "base/testing/compare.h"
#include "engine/testing/golden.h"
#include "engine/testing/test_device.h"
#include "model/rope.h"

namespace galley::engine {
namespace {

using galley::testing::all_near;
using model::ModelConfig;
using model::Role;
using testing::DrivenModel;

constexpr char kConfig[] = R"({"architectures":["DeepseekV3ForCausalLM"],"vocab_size":512,
  "hidden_size":7168,"intermediate_size":18432,"moe_intermediate_size":2048,
  "num_hidden_layers":2,"num_attention_heads":128,"n_shared_experts":1,"n_routed_experts":8,
  "num_experts_per_tok":4,"n_group":4,"topk_group":2,"routed_scaling_factor":2.5,
  "first_k_dense_replace":1,"kv_lora_rank":512,"q_lora_rank":1536,"qk_nope_head_dim":128,
  "qk_rope_head_dim":64,"v_head_dim":128,"max_position_embeddings":163840,
  "torch_dtype":"bfloat16","rope_theta":10000,
  "rope_scaling":{"type":"yarn","factor":40,"original_max_position_embeddings":4096,
  "beta_fast":32,"beta_slow":1,"mscale":1.0,"mscale_all_dim":1.0},
  "quantization_config":{"quant_method":"fp8","weight_block_size":[128,128]}})";

using Rows = std::vector<std::vector<double>>;  // [T][width]

class PlainModel {
 public:
  explicit PlainModel(const ModelConfig& config) : config_(config) {}

  Rows logprobs(const std::vector<int32_t>& ids) {
    const PlainWeight table(config_, "model.embed_tokens.weight", 512, 7168, Role::kPlain);
    Rows residual;
    for (const int32_t id : ids) residual.push_back(table.row(static_cast<size_t>(id)));
    for (int layer = 0; layer < config_.num_layers; ++layer) {
      const std::string name = "model.layers." + std::to_string(layer);
      add(&residual, attention(name + ".self_attn", norm(residual)));
      const Rows x = norm(residual);
      add(&residual, layer == 0 ? mlp(name + ".mlp", x, 18432) : moe(name + ".mlp", x));
    }
    Rows logits = linear("lm_head", norm(residual), 512, Role::kPlain);
    for (std::vector<double>& row : logits) {
      double sum = 0.0;
      for (const double value : row) sum += std::exp(value);
      for (double& value : row) value -= std::log(sum);
    }
    return logits;
  }

 private:
  // A weight, made anew each time so that only one is in memory; rows decoded as they are used.
  class PlainWeight {
   public:
    PlainWeight(const ModelConfig& config, const std::string& name, int64_t rows, int64_t cols,
                Role role)
        : source_(config, true), scale_source_(config, true), cols_(static_cast<size_t>(cols)) {
      const int64_t shape[] = {rows, cols}, blocks[] = {(rows + 127) / 128, (cols + 127) / 128};
      tensor_ = source_.find(name, shape, role);
      is_fp8_ = tensor_->type == model::StoredType::kF8E4M3;
      if (is_fp8_) scales_ = scale_source_.find(name + "_scale_inv", blocks, Role::kFloats);
      for (size_t c = 0; c < 256; ++c) codes_[c] = double{e4m3_to_f32(static_cast<uint8_t>(c))};
    }
    std::vector<double> row(size_t r) const {
      std::vector<double> values(cols_);
      for (size_t c = 0; c < cols_; ++c) {
        const size_t at = r * cols_ + c;
        if (is_fp8_) {
          float scale = 0.0f;
          std::memcpy(&scale, &scales_->data[(r / 128 * ((cols_ + 127) / 128) + c / 128) * 4], 4);
          values[c] = codes_[static_cast<size_t>(tensor_->data[at])] * double{scale};
        } else {
          uint16_t bits = 0;
          std::memcpy(&bits, &tensor_->data[2 * at], 2);
          values[c] = double{bf16_to_f32(bits)};
        }
      }
      return values;
    }

   private:
    model::DummySource source_, scale_source_;
    const size_t cols_;
    const model::StoredTensor* tensor_ = nullptr;
    const model::StoredTensor* scales_ = nullptr;
    bool is_fp8_ = false;
    double codes_[256];
  };

  Rows linear(const std::string& name, const Rows& x, int64_t out, Role role = Role::kLinear) {
    const PlainWeight weight(config_, name + ".weight", out, static_cast<int64_t>(x[0].size()),
                             role);
    Rows y(x.size(), std::vector<double>(static_cast<size_t>(out)));
    for (size_t r = 0; r < static_cast<size_t>(out); ++r) {
      const std::vector<double> row = weight.row(r);
      for (size_t t = 0; t < x.size(); ++t)
        y[t][r] = std::inner_product(x[t].begin(), x[t].end(), row.begin(), 0.0);
    }
    return y;
  }

  // Made-up norms are all ones.
  static Rows norm(Rows x) {
    for (std::vector<double>& row : x) {
      const double mean = std::inner_product(row.begin(), row.end(), row.begin(), 0.0) /
                          static_cast<double>(row.size());
      for (double& value : row) value /= std::sqrt(mean + 1e-6);
    }
    return x;
  }

  static void add(Rows* a, const Rows& b) {
    for (size_t t = 0; t < b.size(); ++t)
      for (size_t i = 0; i < b[t].size(); ++i) (*a)[t][i] += b[t][i];
  }

  void rotate(double* pairs, size_t position) const {
    const model::RopeFrequencies f = model::rope_frequencies(config_.rope, 64);
    for (size_t i = 0; i < 32; ++i) {
      const double angle = f.per_pair[i] * static_cast<double>(position);
      const double a = pairs[2 * i], b = pairs[2 * i + 1];
      pairs[2 * i] = f.amplitude * (a * std::cos(angle) - b * std::sin(angle));
      pairs[2 * i + 1] = f.amplitude * (a * std::sin(angle) + b * std::cos(angle));
    }
  }

  Rows attention(const std::string& name, const Rows& x) {
    Rows q = linear(name + ".q_b_proj", norm(linear(name + ".q_a_proj", x, 1536)), 128 * 192);
    const Rows kv = linear(name + ".kv_a_proj_with_mqa", x, 576);
    Rows latent, key;
    for (size_t t = 0; t < x.size(); ++t) {
      latent.emplace_back(kv[t].begin(), kv[t].begin() + 512);
      key.emplace_back(kv[t].begin() + 512, kv[t].end());
      rotate(key[t].data(), t);
      for (size_t h = 0; h < 128; ++h) rotate(&q[t][h * 192 + 128], t);
    }
    const Rows expanded = linear(name + ".kv_b_proj", norm(latent), 128 * 256);
    // m = 0.1 ln(40) + 1, squared, on top of 1 / sqrt(192).
    const double scale = std::pow(0.1 * std::log(40.0) + 1.0, 2.0) / std::sqrt(192.0);
    Rows heads(x.size(), std::vector<double>(128 * 128));
    for (size_t t = 0; t < x.size(); ++t) {
      for (size_t h = 0; h < 128; ++h) {
        std::vector<double> weights;
        double sum = 0.0;
        for (size_t s = 0; s <= t; ++s) {
          const double* const query = &q[t][h * 192];
          const double score = std::inner_product(query, query + 128, &expanded[s][h * 256], 0.0) +
                               std::inner_product(query + 128, query + 192, key[s].begin(), 0.0);
          weights.push_back(std::exp(score * scale));
          sum += weights.back();
        }
        for (size_t s = 0; s <= t; ++s)
          for (size_t d = 0; d < 128; ++d)
            heads[t][h * 128 + d] += weights[s] / sum * expanded[s][h * 256 + 128 + d];
      }
    }
    return linear(name + ".o_proj", heads, 7168);
  }

  Rows mlp(const std::string& name, const Rows& x, int64_t inner) {
    Rows gate = linear(name + ".gate_proj", x, inner);
    const Rows up = linear(name + ".up_proj", x, inner);
    for (size_t t = 0; t < x.size(); ++t)
      for (size_t i = 0; i < gate[t].size(); ++i)
        gate[t][i] = gate[t][i] / (1.0 + std::exp(-gate[t][i])) * up[t][i];
    return linear(name + ".down_proj", gate, 7168);
  }

  Rows moe(const std::string& name, const Rows& x) {
    const Rows logits = linear(name + ".gate", x, 8, Role::kPlain);
    model::DummySource source(config_, true);
    const int64_t shape[] = {8};
    const model::StoredTensor* const tensor =
        source.find(name + ".gate.e_score_correction_bias", shape, Role::kFloats);
    std::vector<float> bias(8);
    std::memcpy(bias.data(), tensor->data.data(), 32);
    Rows weights(x.size(), std::vector<double>(8, 0.0));
    for (size_t t = 0; t < x.size(); ++t) {
      std::vector<double> score, choice;
      for (size_t e = 0; e < 8; ++e) {
        score.push_back(1.0 / (1.0 + std::exp(-logits[t][e])));
        choice.push_back(score[e] + double{bias[e]});
      }
      // Four groups of two: the two best of a group are both of it. The two best groups stay, and
      // the four to choose are all of their experts.
      std::vector<size_t> groups = {0, 1, 2, 3};
      std::stable_sort(groups.begin(), groups.end(), [&](size_t a, size_t b) {
        return choice[2 * a] + choice[2 * a + 1] > choice[2 * b] + choice[2 * b + 1];
      });
      double sum = 0.0;
      for (size_t g = 0; g < 2; ++g) sum += score[2 * groups[g]] + score[2 * groups[g] + 1];
      for (size_t e = 0; e < 8; ++e)
        if (e / 2 == groups[0] || e / 2 == groups[1]) weights[t][e] = score[e] / sum * 2.5;
    }
    Rows y = mlp(name + ".shared_experts", x, 2048);
    for (size_t e = 0; e < 8; ++e) {
      const Rows part = mlp(name + ".experts." + std::to_string(e), x, 2048);
      for (size_t t = 0; t < x.size(); ++t)
        for (size_t i = 0; i < 7168; ++i) y[t][i] += part[t][i] * weights[t][e];
    }
    return y;
  }

  const ModelConfig config_;
};

TEST(V3Shapes, TwoLayersAgreeWithAPlainModel) {
  const auto config = model::parse_model_config(kConfig);
  ASSERT_TRUE(config.ok()) << config.message();
  const std::vector<int32_t> ids = {17, 401, 3};
  const Rows expected = PlainModel(*config).logprobs(ids);
  std::vector<float> flat;
  for (const auto& row : expected)
    for (const double value : row) flat.push_back(static_cast<float>(value));
  auto driven = DrivenModel::make(*config, {.threads = 2, .tokens_max = 4});
  ASSERT_TRUE(driven.ok()) << driven.message();
  EXPECT_TRUE(all_near((*driven)->logprobs(ids, 2), flat,
                       {0.0, 1e-3, "float32 sums of up to 18432 terms beside doubles"}));
}

// Both forms of MLA are the same mathematics; they differ in the order of rounding. kAbsorbed in
// float32 is what the goldens hold to transformers.
TEST(MlaForms, AbsorbedAndExpandedAgree) {
  const std::string folder = testing::source_dir() + "/tests/golden/models/";
  for (const char* name : {"v3", "v3_fp8_mtp", "v2", "v2_lite"}) {
    SCOPED_TRACE(name);
    const testing::Golden golden = testing::read_golden(folder + name);
    auto driven = DrivenModel::open(folder + name, {});
    ASSERT_TRUE(driven.ok()) << driven.message();
    auto& deepseek = dynamic_cast<model::DeepseekModel&>((*driven)->model());
    deepseek.force_form(kernels::MlaForm::kExpanded);
    const std::vector<float> expanded = (*driven)->logprobs(golden.ids, 256);
    EXPECT_TRUE(all_near(expanded, golden.logprobs, {0.0, 1e-3, "as the absorbed form"}));
    deepseek.force_form(kernels::MlaForm::kAbsorbed);
    const std::vector<float> absorbed = (*driven)->logprobs(golden.ids, 256);
    EXPECT_TRUE(all_near(expanded, absorbed, {0.0, 2e-4, "float32 in another order"}));
    // A GPU has one reference for both forms in float32.
    if (!testing::on_cuda()) {
      EXPECT_NE(expanded, absorbed) << "the test must have run both";
    }
  }
}

}  // namespace
}  // namespace galley::engine

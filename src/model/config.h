// What config.json and generation_config.json of a model folder say, checked and bounded.
//
// First thing read when a model is loaded. An unknown value of a field that changes the numbers
// (routing, rope, activation, quantisation) is refused by name: a silent default gives fluent,
// wrong text. Fields that change nothing here (transformers_version, use_cache, ...) are not read.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "kernels/ops.h"
#include "tensor/tensor.h"

namespace galley::model {

enum class Architecture : uint8_t { kDeepseekV3, kDeepseekV2, kQwen2, kLlama };

std::string_view name_of(Architecture architecture);  // "DeepseekV3ForCausalLM", ...

// Bounds of a config that is read at all. About four times the largest published model.
struct ConfigLimits {
  static constexpr size_t kFileBytesMax = size_t{1} << 20;
  static constexpr int64_t kVocabMax = 1 << 21;
  static constexpr int64_t kWidthMax = 1 << 17;  // hidden size, intermediate size, LoRA ranks
  static constexpr int64_t kHeadDimMax = 1024;
  static constexpr int64_t kHeadsMax = 1024;
  static constexpr int64_t kLayersMax = 512;
  static constexpr int64_t kExpertsMax = 4096;
  static constexpr int64_t kExpertsTotalMax = 1 << 17;  // of all layers
  static constexpr int64_t kExpertsPerTokenMax = 64;
  static constexpr int64_t kPositionsMax = 1 << 24;
  static constexpr int64_t kMtpLayersMax = 8;
  static constexpr size_t kEndTokensMax = 64;
};

enum class RopeType : uint8_t { kDefault, kLinear, kYarn, kLlama3 };

struct RopeConfig {
  RopeType type = RopeType::kDefault;
  double theta = 10000.0;
  double factor = 1.0;
  int64_t original_positions = 0;  // context of the pretraining; yarn and llama3
  // YaRN, arXiv:2309.00071. mscale and mscale_all_dim as in DeepSeek's own code: the rotary tables
  // are scaled by m(mscale) / m(mscale_all_dim), the attention scores by m(mscale_all_dim)^2.
  double beta_fast = 32.0;
  double beta_slow = 1.0;
  std::optional<double> mscale = {};
  double mscale_all_dim = 0.0;
  std::optional<double> attention_factor = {};  // overrides the scale of the tables
  bool truncate = true;                         // round the corrected range to whole dimensions
  // llama3
  double low_freq_factor = 1.0;
  double high_freq_factor = 4.0;
  // DeepSeek rotates neighbours (2i, 2i + 1), the others (i, i + R/2).
  bool interleaved = false;
};

// Multi-head latent attention; kv_lora_rank 0: the architecture has none.
struct MlaConfig {
  int32_t q_lora_rank = 0;  // 0: one q_proj
  int32_t kv_lora_rank = 0;
  int32_t nope_dim = 0;
  int32_t rope_dim = 0;
  int32_t value_dim = 0;
};

// Sparse experts; num_experts 0: every layer is dense.
struct MoeConfig {
  int32_t num_experts = 0;
  int32_t num_shared = 0;
  int32_t intermediate = 0;
  int32_t first_dense = 0;  // layers before this one are dense
  int32_t layer_freq = 1;   // and of the others every layer_freq-th is sparse
  bool has_bias = false;    // e_score_correction_bias
  kernels::RouteShape route = {};
};

struct ModelConfig {
  Architecture architecture = Architecture::kDeepseekV3;
  int32_t vocab_size = 0;
  int32_t hidden_size = 0;
  int32_t intermediate_size = 0;  // of dense layers
  int32_t num_layers = 0;
  int32_t num_heads = 0;
  int32_t num_kv_heads = 0;  // = num_heads with MLA
  int32_t head_dim = 0;      // of queries and keys: with MLA nope_dim + rope_dim
  int32_t max_positions = 0;
  float rms_eps = 1e-6f;
  bool tied_embeddings = false;
  bool qkv_bias = false;
  bool out_bias = false;       // of o_proj (and, with MLA, of the a-projections)
  DType dtype = DType::kBF16;  // torch_dtype: of the weights that are not quantised
  bool fp8 = false;            // quantization_config: e4m3 with 128x128 block scales
  RopeConfig rope;
  MlaConfig mla;
  MoeConfig moe;
  int32_t num_mtp_layers = 0;
  std::vector<int32_t> end_tokens;  // eos_token_id

  bool is_moe_layer(int32_t layer) const {
    return moe.num_experts > 0 && layer >= moe.first_dense && layer % moe.layer_freq == 0;
  }
  bool has_mla() const { return mla.kv_lora_rank > 0; }
  // Values in one row of one layer's KV cache.
  int32_t cache_width() const {
    return has_mla() ? mla.kv_lora_rank + mla.rope_dim : 2 * num_kv_heads * head_dim;
  }
};

// The model's own defaults for requests that say nothing. Absent file: all empty.
struct GenerationConfig {
  std::vector<int32_t> end_tokens;
  std::optional<double> temperature;
  std::optional<double> top_p;
  std::optional<int64_t> top_k;
  std::optional<double> min_p;
  std::optional<double> repetition_penalty;
};

// Errors  kInvalid  names the field, its value and what is known
Result<ModelConfig> parse_model_config(std::string_view text);
Result<GenerationConfig> parse_generation_config(std::string_view text);

// Reads config.json, and generation_config.json where there is one. The end tokens are those of
// both files.
struct FolderConfig {
  ModelConfig model;
  GenerationConfig generation;
};
Result<FolderConfig> read_folder_config(const std::string& folder);

}  // namespace galley::model

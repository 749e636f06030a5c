#include "model/config.h"

#include <algorithm>

#include "base/file.h"
#include "model/json_fields.h"

namespace galley::model {
namespace {

namespace json = boost::json;
using Limits = ConfigLimits;

int32_t integer(Fields* fields, std::string_view key, int64_t min, int64_t max,
                std::optional<int64_t> fallback = std::nullopt) {
  return static_cast<int32_t>(fields->integer(key, min, max, fallback));
}

// Refuses a field that changes the numbers in a way no forward pass here follows.
void expect_false(Fields* fields, std::string_view key) {
  if (fields->boolean(key, false)) fields->fail(key, "is true, which is not supported");
}

Architecture read_architecture(Fields* fields, const json::object& object) {
  const json::value* const list = object.if_contains("architectures");
  const json::array* const names = list == nullptr ? nullptr : list->if_array();
  if (names == nullptr || names->size() != 1 || !names->front().is_string()) {
    fields->fail("architectures", "must be a list with one name");
    return Architecture::kLlama;
  }
  const std::string_view name = names->front().get_string();
  for (const Architecture known : {Architecture::kDeepseekV3, Architecture::kDeepseekV2,
                                   Architecture::kQwen2, Architecture::kLlama}) {
    if (name == name_of(known)) return known;
  }
  fields->fail("architectures", "is " + std::string(name.substr(0, 80)) +
                                    ", which is not supported (known: DeepseekV3ForCausalLM, "
                                    "DeepseekV2ForCausalLM, Qwen2ForCausalLM, LlamaForCausalLM)");
  return Architecture::kLlama;
}

// --- rope
// -----------------------------------------------------------------------------------------

// The type stands under `rope_type`, in older files under `type`; some have both.
RopeType read_rope_type(Fields* fields) {
  const auto names = {std::string_view("default"), std::string_view("linear"),
                      std::string_view("yarn"), std::string_view("llama3")};
  const size_t newer = fields->choice("rope_type", names, names.size());
  const size_t older = fields->choice("type", names, names.size());
  if (newer < names.size() && older < names.size() && newer != older)
    fields->fail("type", "contradicts rope_type");
  const size_t found = std::min(newer, older);
  return found == names.size() ? RopeType::kDefault : static_cast<RopeType>(found);
}

void read_yarn(Fields* fields, int32_t max_positions, RopeConfig* rope) {
  rope->original_positions =
      fields->integer("original_max_position_embeddings", 1, Limits::kPositionsMax, max_positions);
  const double ratio =
      std::max(1.0, static_cast<double>(max_positions) / double(rope->original_positions));
  rope->factor = fields->number("factor", 1.0, 1e6, ratio);
  rope->beta_fast = fields->number("beta_fast", 1e-3, 1e6, 32.0);
  rope->beta_slow = fields->number("beta_slow", 1e-3, 1e6, 1.0);
  if (fields->has("mscale")) rope->mscale = fields->number("mscale", 0.0, 1e3);
  rope->mscale_all_dim = fields->number("mscale_all_dim", 0.0, 1e3, 0.0);
  if (fields->has("attention_factor"))
    rope->attention_factor = fields->number("attention_factor", 1e-3, 1e3);
  rope->truncate = fields->boolean("truncate", true);
}

void read_llama3(Fields* fields, RopeConfig* rope) {
  rope->factor = fields->number("factor", 1.0, 1e6);
  rope->low_freq_factor = fields->number("low_freq_factor", 1e-3, 1e6);
  rope->high_freq_factor = fields->number("high_freq_factor", 1e-3, 1e6);
  rope->original_positions =
      fields->integer("original_max_position_embeddings", 1, Limits::kPositionsMax);
  if (!(rope->high_freq_factor > rope->low_freq_factor))
    fields->fail("high_freq_factor", "must be greater than low_freq_factor");
}

// Both spellings: `rope_theta` + `rope_scaling`, and the newer `rope_parameters` that holds both.
void read_rope(Fields* fields, ModelConfig* config) {
  RopeConfig* const rope = &config->rope;
  rope->theta = fields->number("rope_theta", 2.0, 1e12, 10000.0);
  const json::object* const newer = fields->object("rope_parameters");
  const json::object* const older = fields->object("rope_scaling");
  const json::object* const object = newer != nullptr ? newer : older;
  if (object == nullptr) return;
  Fields inner(*object,
               fields->where() + (newer != nullptr ? ": rope_parameters" : ": rope_scaling"));
  rope->theta = inner.number("rope_theta", 2.0, 1e12, rope->theta);
  rope->type = read_rope_type(&inner);
  if (inner.number("partial_rotary_factor", 0.0, 1.0, 1.0) != 1.0)
    inner.fail("partial_rotary_factor", "is not 1, which is not supported");
  if (rope->type == RopeType::kLinear) rope->factor = inner.number("factor", 1.0, 1e6);
  if (rope->type == RopeType::kYarn) read_yarn(&inner, config->max_positions, rope);
  if (rope->type == RopeType::kLlama3) read_llama3(&inner, rope);
  fields->adopt(inner.status());
}

// --- quantisation and dtype
// -----------------------------------------------------------------------

void read_dtype(Fields* fields, ModelConfig* config) {
  const auto names = {std::string_view("float32"), std::string_view("bfloat16"),
                      std::string_view("float16")};
  constexpr DType kTypes[] = {DType::kF32, DType::kBF16, DType::kF16};
  const std::string_view key = fields->has("dtype") ? "dtype" : "torch_dtype";
  config->dtype = kTypes[fields->choice(key, names, 1)];
}

void read_quantization(Fields* fields, ModelConfig* config) {
  if (fields->has("compression_config"))
    fields->fail("compression_config", "is present, which is not supported");
  const json::object* const object = fields->object("quantization_config");
  if (object == nullptr) return;
  Fields inner(*object, fields->where() + ": quantization_config");
  inner.choice("quant_method", {"fp8"});
  inner.choice("fmt", {"e4m3"}, 0);
  inner.choice("activation_scheme", {"dynamic"}, 0);
  // ue8m0: scales are powers of two; the file still holds them as floats.
  inner.choice("scale_fmt", {"float", "ue8m0"}, 0);
  const auto block = inner.integers("weight_block_size", 1, 1 << 20, 2);
  if (block != std::vector<int32_t>{kScaleBlock, kScaleBlock})
    inner.fail("weight_block_size", "must be [128, 128]");
  config->fp8 = true;
  fields->adopt(inner.status());
}

// --- DeepSeek
// -------------------------------------------------------------------------------------

void read_mla(Fields* fields, ModelConfig* config) {
  MlaConfig* const mla = &config->mla;
  mla->q_lora_rank = integer(fields, "q_lora_rank", 1, Limits::kWidthMax, 0);
  mla->kv_lora_rank = integer(fields, "kv_lora_rank", 1, Limits::kWidthMax);
  mla->nope_dim = integer(fields, "qk_nope_head_dim", 1, Limits::kHeadDimMax);
  mla->rope_dim = integer(fields, "qk_rope_head_dim", 2, Limits::kHeadDimMax);
  mla->value_dim = integer(fields, "v_head_dim", 1, Limits::kHeadDimMax);
  if (mla->rope_dim % 2 != 0) fields->fail("qk_rope_head_dim", "must be even");
  if (integer(fields, "num_key_value_heads", 1, Limits::kHeadsMax, config->num_heads) !=
      config->num_heads)
    fields->fail("num_key_value_heads", "must equal num_attention_heads with latent attention");
  config->num_kv_heads = config->num_heads;
  config->head_dim = mla->nope_dim + mla->rope_dim;
  config->out_bias = fields->boolean("attention_bias", false);
  config->rope.interleaved = fields->boolean("rope_interleave", true);
}

void read_moe(Fields* fields, ModelConfig* config) {
  const bool is_v3 = config->architecture == Architecture::kDeepseekV3;
  MoeConfig* const moe = &config->moe;
  moe->num_experts = integer(fields, "n_routed_experts", 1, Limits::kExpertsMax, 0);
  if (moe->num_experts == 0) return;
  if (int64_t{moe->num_experts} * config->num_layers > Limits::kExpertsTotalMax)
    fields->fail("n_routed_experts", "times num_hidden_layers exceeds 2^17");
  moe->num_shared = integer(fields, "n_shared_experts", 0, 64, 0);
  moe->intermediate = integer(fields, "moe_intermediate_size", 1, Limits::kWidthMax);
  moe->first_dense = integer(fields, "first_k_dense_replace", 0, Limits::kLayersMax, 0);
  moe->layer_freq = integer(fields, "moe_layer_freq", 1, Limits::kLayersMax, 1);

  kernels::RouteShape* const route = &moe->route;
  route->num_experts = moe->num_experts;
  route->experts_per_token =
      integer(fields, "num_experts_per_tok", 1,
              std::min<int64_t>(moe->num_experts, Limits::kExpertsPerTokenMax));
  route->scoring = static_cast<kernels::Scoring>(
      fields->choice("scoring_func", {"sigmoid", "softmax"}, is_v3 ? 0 : 1));
  route->top_k = static_cast<kernels::TopK>(
      fields->choice("topk_method", {"noaux_tc", "group_limited_greedy", "greedy"}, is_v3 ? 0 : 2));
  moe->has_bias = route->top_k == kernels::TopK::kNoAuxTc;
  route->num_groups = 1;
  route->num_groups_kept = 1;
  if (route->top_k != kernels::TopK::kGreedy) {
    route->num_groups = integer(fields, "n_group", 1, moe->num_experts);
    route->num_groups_kept = integer(fields, "topk_group", 1, route->num_groups);
  }
  route->normalise = fields->boolean("norm_topk_prob", is_v3);
  route->routed_scale = static_cast<float>(fields->number("routed_scaling_factor", 1e-6, 1e6, 1.0));
  // DeepSeek-V2's code scales the weights or normalises them, never both; V3's does both.
  if (!is_v3 && route->normalise && route->experts_per_token > 1) route->routed_scale = 1.0f;

  if (!fields->status().ok()) return;
  const int32_t in_group = moe->num_experts / route->num_groups;
  if (moe->num_experts % route->num_groups != 0) {
    fields->fail("n_group", "must divide n_routed_experts");
  } else if (route->top_k == kernels::TopK::kNoAuxTc && in_group < 2) {
    fields->fail("n_group", "leaves fewer than two experts in a group");
  } else if (in_group * route->num_groups_kept < route->experts_per_token) {
    fields->fail("topk_group", "keeps fewer experts than num_experts_per_tok");
  }
}

void read_deepseek(Fields* fields, ModelConfig* config) {
  read_mla(fields, config);
  read_moe(fields, config);
  if (config->architecture == Architecture::kDeepseekV3)
    config->num_mtp_layers =
        integer(fields, "num_nextn_predict_layers", 0, Limits::kMtpLayersMax, 0);
}

// --- Llama, Qwen2
// ---------------------------------------------------------------------------------

void read_llama(Fields* fields, ModelConfig* config) {
  config->num_kv_heads =
      integer(fields, "num_key_value_heads", 1, Limits::kHeadsMax, config->num_heads);
  if (config->num_heads % config->num_kv_heads != 0)
    fields->fail("num_key_value_heads", "must divide num_attention_heads");
  if (!fields->has("head_dim") && config->hidden_size % config->num_heads != 0)
    fields->fail("hidden_size",
                 "is not a multiple of num_attention_heads, and no head_dim is given");
  config->head_dim =
      integer(fields, "head_dim", 2, Limits::kHeadDimMax, config->hidden_size / config->num_heads);
  if (config->head_dim % 2 != 0 || config->head_dim < 2 || config->head_dim > Limits::kHeadDimMax)
    fields->fail("head_dim", "must be even, from 2 to " + std::to_string(Limits::kHeadDimMax));
  if (config->architecture == Architecture::kQwen2) {
    config->qkv_bias = true;  // Qwen2 always has them, and never on o_proj
    expect_false(fields, "use_sliding_window");
    expect_false(fields, "use_mrope");
  } else {
    config->qkv_bias = config->out_bias = fields->boolean("attention_bias", false);
  }
}

}  // namespace

std::string_view name_of(Architecture architecture) {
  switch (architecture) {
    case Architecture::kDeepseekV3:
      return "DeepseekV3ForCausalLM";
    case Architecture::kDeepseekV2:
      return "DeepseekV2ForCausalLM";
    case Architecture::kQwen2:
      return "Qwen2ForCausalLM";
    case Architecture::kLlama:
      return "LlamaForCausalLM";
  }
  return "?";
}

Result<ModelConfig> parse_model_config(std::string_view text) {
  GALLEY_ASSIGN_OR_RETURN(const json::object object, parse_object(text, "config.json"));
  Fields fields(object, "config.json");
  ModelConfig config;
  config.architecture = read_architecture(&fields, object);
  config.vocab_size = integer(&fields, "vocab_size", 1, Limits::kVocabMax);
  config.hidden_size = integer(&fields, "hidden_size", 1, Limits::kWidthMax);
  config.intermediate_size = integer(&fields, "intermediate_size", 1, Limits::kWidthMax);
  config.num_layers = integer(&fields, "num_hidden_layers", 1, Limits::kLayersMax);
  config.num_heads = integer(&fields, "num_attention_heads", 1, Limits::kHeadsMax);
  config.max_positions =
      integer(&fields, "max_position_embeddings", 1, Limits::kPositionsMax, 4096);
  config.rms_eps = static_cast<float>(fields.number("rms_norm_eps", 1e-12, 1.0, 1e-6));
  config.tied_embeddings = fields.boolean("tie_word_embeddings", false);
  config.end_tokens =
      fields.integers("eos_token_id", 0, config.vocab_size - 1, Limits::kEndTokensMax);
  fields.choice("hidden_act", {"silu"}, 0);
  expect_false(&fields, "mlp_bias");
  if (fields.number("partial_rotary_factor", 0.0, 1.0, 1.0) != 1.0)
    fields.fail("partial_rotary_factor", "is not 1, which is not supported");
  read_dtype(&fields, &config);
  read_quantization(&fields, &config);
  const bool is_deepseek = config.architecture == Architecture::kDeepseekV3 ||
                           config.architecture == Architecture::kDeepseekV2;
  if (is_deepseek) {
    read_deepseek(&fields, &config);
  } else {
    read_llama(&fields, &config);
  }
  read_rope(&fields, &config);
  if (!fields.status().ok()) return fields.status();
  return config;
}

Result<GenerationConfig> parse_generation_config(std::string_view text) {
  const std::string where = "generation_config.json";
  GALLEY_ASSIGN_OR_RETURN(const json::object object, parse_object(text, where));
  Fields fields(object, where);
  GenerationConfig config;
  config.end_tokens =
      fields.integers("eos_token_id", 0, Limits::kVocabMax - 1, Limits::kEndTokensMax);
  if (fields.has("temperature")) config.temperature = fields.number("temperature", 0.0, 100.0);
  if (fields.has("top_p")) config.top_p = fields.number("top_p", 1e-9, 1.0);
  if (fields.has("top_k")) config.top_k = fields.integer("top_k", -1, Limits::kVocabMax);
  if (fields.has("min_p")) config.min_p = fields.number("min_p", 0.0, 1.0);
  if (fields.has("repetition_penalty"))
    config.repetition_penalty = fields.number("repetition_penalty", 1e-3, 100.0);
  if (!fields.status().ok()) return fields.status();
  return config;
}

Result<FolderConfig> read_folder_config(const std::string& folder) {
  GALLEY_ASSIGN_OR_RETURN(const std::string text,
                          read_file(folder + "/config.json", Limits::kFileBytesMax));
  FolderConfig config;
  GALLEY_ASSIGN_OR_RETURN(config.model, parse_model_config(text));
  const std::string generation_path = folder + "/generation_config.json";
  if (file_exists(generation_path)) {
    GALLEY_ASSIGN_OR_RETURN(const std::string generation,
                            read_file(generation_path, Limits::kFileBytesMax));
    GALLEY_ASSIGN_OR_RETURN(config.generation, parse_generation_config(generation));
  }
  std::vector<int32_t>* const end = &config.model.end_tokens;
  for (const int32_t token : config.generation.end_tokens) {
    if (token >= config.model.vocab_size) {
      return Status(Code::kInvalid, "generation_config.json: eos_token_id holds " +
                                        std::to_string(token) + ", but the vocabulary has " +
                                        std::to_string(config.model.vocab_size) + " tokens");
    }
    if (std::find(end->begin(), end->end(), token) == end->end()) end->push_back(token);
  }
  config.generation.end_tokens = *end;
  return config;
}

}  // namespace galley::model

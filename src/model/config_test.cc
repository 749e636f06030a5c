#include "model/config.h"

#include <gtest/gtest.h>

#include <string>

namespace galley::model {
namespace {

// Replaces the text of one field, or adds it; an empty value removes the field.
std::string with(const std::string& json, const std::string& key, const std::string& value) {
  const std::string quoted = "\"" + key + "\":";
  const size_t at = json.find(quoted);
  if (at != std::string::npos) {
    const size_t end = json.find(';', at);
    return json.substr(0, at) + (value.empty() ? "" : quoted + value) + json.substr(end);
  }
  return quoted + value + ";" + json;
}

// Fields end in ';' above so that a value may hold commas; here they become JSON.
std::string to_json(std::string fields) {
  for (char& c : fields)
    if (c == ';') c = ',';
  std::string json;
  for (const char c : fields) {  // drops empty fields
    if (c == ',' && (json.empty() || json.back() == ',')) continue;
    json += c;
  }
  if (!json.empty() && json.back() == ',') json.pop_back();
  return "{" + json + "}";
}

const char kV3[] =
    R"("architectures":["DeepseekV3ForCausalLM"];"vocab_size":129280;"hidden_size":7168;)"
    R"("intermediate_size":18432;"moe_intermediate_size":2048;"num_hidden_layers":61;)"
    R"("num_attention_heads":128;"num_key_value_heads":128;"n_shared_experts":1;)"
    R"("n_routed_experts":256;"routed_scaling_factor":2.5;"kv_lora_rank":512;"q_lora_rank":1536;)"
    R"("qk_rope_head_dim":64;"v_head_dim":128;"qk_nope_head_dim":128;"n_group":8;"topk_group":4;)"
    R"("num_experts_per_tok":8;"first_k_dense_replace":3;"norm_topk_prob":true;)"
    R"("scoring_func":"sigmoid";"topk_method":"noaux_tc";"hidden_act":"silu";"moe_layer_freq":1;)"
    R"("num_nextn_predict_layers":1;"max_position_embeddings":163840;"rms_norm_eps":1e-06;)"
    R"("eos_token_id":1;"torch_dtype":"bfloat16";"rope_theta":10000;"tie_word_embeddings":false;)"
    R"("rope_scaling":{"type":"yarn","factor":40,"original_max_position_embeddings":4096,)"
    R"("beta_fast":32,"beta_slow":1,"mscale":1.0,"mscale_all_dim":1.0};)"
    R"("quantization_config":{"activation_scheme":"dynamic","fmt":"e4m3","quant_method":"fp8",)"
    R"("weight_block_size":[128,128]};)";

const char kQwen2[] =
    R"("architectures":["Qwen2ForCausalLM"];"vocab_size":151936;"hidden_size":1536;)"
    R"("intermediate_size":8960;"num_hidden_layers":28;"num_attention_heads":12;)"
    R"("num_key_value_heads":2;"max_position_embeddings":131072;"rms_norm_eps":1e-06;)"
    R"("rope_theta":1000000.0;"tie_word_embeddings":true;"torch_dtype":"bfloat16";)";

Result<ModelConfig> parse(const std::string& fields) {
  return parse_model_config(to_json(fields));
}

void expect_refused(const std::string& fields, const std::string& named) {
  const auto config = parse(fields);
  ASSERT_FALSE(config.ok()) << fields;
  EXPECT_EQ(config.code(), Code::kInvalid);
  EXPECT_NE(config.message().find(named), std::string::npos) << config.message();
}

TEST(Config, ReadsDeepseekV3AsPublished) {
  const auto parsed = parse(kV3);
  ASSERT_TRUE(parsed.ok()) << parsed.message();
  const ModelConfig& config = *parsed;
  EXPECT_EQ(config.architecture, Architecture::kDeepseekV3);
  EXPECT_EQ(config.head_dim, 192);
  EXPECT_EQ(config.cache_width(), 576);
  EXPECT_EQ(config.num_mtp_layers, 1);
  EXPECT_TRUE(config.fp8);
  EXPECT_TRUE(config.rope.interleaved);
  EXPECT_EQ(config.rope.type, RopeType::kYarn);
  EXPECT_EQ(config.rope.factor, 40.0);
  EXPECT_EQ(config.rope.mscale_all_dim, 1.0);
  EXPECT_EQ(config.moe.route.scoring, kernels::Scoring::kSigmoid);
  EXPECT_EQ(config.moe.route.top_k, kernels::TopK::kNoAuxTc);
  EXPECT_EQ(config.moe.route.num_groups_kept, 4);
  EXPECT_TRUE(config.moe.has_bias);
  EXPECT_EQ(config.moe.route.routed_scale, 2.5f);
  EXPECT_FALSE(config.is_moe_layer(2));
  EXPECT_TRUE(config.is_moe_layer(3));
  EXPECT_EQ(config.end_tokens, std::vector<int32_t>{1});
}

TEST(Config, BothSpellingsOfRopeMeanTheSame) {
  std::string newer = with(kV3, "rope_scaling", "");
  newer = with(newer, "rope_theta", "");
  newer = with(newer, "rope_parameters",
               R"({"rope_type":"yarn","rope_theta":10000.0,"factor":40.0,)"
               R"("original_max_position_embeddings":4096,"beta_fast":32,"beta_slow":1,)"
               R"("mscale":1.0,"mscale_all_dim":1.0})");
  const auto a = parse(kV3), b = parse(newer);
  ASSERT_TRUE(a.ok() && b.ok()) << b.message();
  EXPECT_EQ(a->rope.type, b->rope.type);
  EXPECT_EQ(a->rope.theta, b->rope.theta);
  EXPECT_EQ(a->rope.factor, b->rope.factor);
  EXPECT_EQ(a->rope.original_positions, b->rope.original_positions);
  EXPECT_EQ(a->rope.mscale, b->rope.mscale);
  EXPECT_EQ(a->rope.mscale_all_dim, b->rope.mscale_all_dim);

  const auto llama3 = parse(with(kQwen2, "rope_scaling",
                                 R"({"rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,)"
                                 R"("high_freq_factor":4.0,)"
                                 R"("original_max_position_embeddings":8192})"));
  ASSERT_TRUE(llama3.ok()) << llama3.message();
  EXPECT_EQ(llama3->rope.type, RopeType::kLlama3);
  EXPECT_EQ(llama3->rope.original_positions, 8192);
  EXPECT_FALSE(llama3->rope.interleaved);
}

TEST(Config, ReadsQwen2AndLlama) {
  const auto qwen = parse(kQwen2);
  ASSERT_TRUE(qwen.ok()) << qwen.message();
  EXPECT_TRUE(qwen->qkv_bias);
  EXPECT_FALSE(qwen->out_bias);
  EXPECT_TRUE(qwen->tied_embeddings);
  EXPECT_EQ(qwen->head_dim, 128);
  EXPECT_EQ(qwen->cache_width(), 512);
  const auto llama = parse(with(kQwen2, "architectures", R"(["LlamaForCausalLM"])"));
  ASSERT_TRUE(llama.ok()) << llama.message();
  EXPECT_FALSE(llama->qkv_bias);
}

TEST(Config, DeepseekV2ScalesOrNormalises) {
  std::string v2 = with(kV3, "architectures", R"(["DeepseekV2ForCausalLM"])");
  v2 = with(with(v2, "scoring_func", R"("softmax")"), "topk_method", R"("group_limited_greedy")");
  const auto normalised = parse(v2);
  ASSERT_TRUE(normalised.ok()) << normalised.message();
  EXPECT_EQ(normalised->moe.route.routed_scale, 1.0f);
  EXPECT_FALSE(normalised->moe.has_bias);
  EXPECT_EQ(parse(with(v2, "norm_topk_prob", "false"))->moe.route.routed_scale, 2.5f);
  const auto lite = parse(with(with(v2, "topk_method", R"("greedy")"), "q_lora_rank", "null"));
  ASSERT_TRUE(lite.ok()) << lite.message();
  EXPECT_EQ(lite->mla.q_lora_rank, 0);
  EXPECT_EQ(lite->moe.route.num_groups, 1);
}

TEST(Config, RefusesUnknownValuesByName) {
  expect_refused(with(kV3, "scoring_func", R"("tanh")"), "scoring_func is \"tanh\"");
  expect_refused(with(kV3, "topk_method", R"("best")"), "topk_method is \"best\"");
  expect_refused(with(kV3, "hidden_act", R"("gelu")"), "hidden_act is \"gelu\"");
  expect_refused(with(kV3, "torch_dtype", R"("float8")"), "torch_dtype is \"float8\"");
  expect_refused(with(kV3, "rope_scaling", R"({"type":"longrope"})"), "type is \"longrope\"");
  expect_refused(with(kV3, "rope_scaling", R"({"type":"yarn","rope_type":"linear","factor":2})"),
                 "contradicts");
  expect_refused(with(kV3, "quantization_config", R"({"quant_method":"awq"})"),
                 "quant_method is \"awq\"");
  expect_refused(
      with(kV3, "quantization_config", R"({"quant_method":"fp8","weight_block_size":[64,128]})"),
      "weight_block_size");
  expect_refused(with(kV3, "architectures", R"(["GPT2LMHeadModel"])"), "GPT2LMHeadModel");
  expect_refused(with(kV3, "architectures", R"([])"), "architectures");
  expect_refused(with(kQwen2, "use_sliding_window", "true"), "use_sliding_window");
  expect_refused(with(kQwen2, "use_mrope", "true"), "use_mrope");
  expect_refused(with(kQwen2, "mlp_bias", "true"), "mlp_bias");
  expect_refused(with(kQwen2, "partial_rotary_factor", "0.5"), "partial_rotary_factor");
}

TEST(Config, BoundsEveryNumber) {
  for (const char* key : {"vocab_size",
                          "hidden_size",
                          "intermediate_size",
                          "moe_intermediate_size",
                          "num_hidden_layers",
                          "num_attention_heads",
                          "kv_lora_rank",
                          "q_lora_rank",
                          "qk_rope_head_dim",
                          "v_head_dim",
                          "qk_nope_head_dim",
                          "n_group",
                          "topk_group",
                          "num_experts_per_tok",
                          "max_position_embeddings",
                          "n_routed_experts",
                          "first_k_dense_replace",
                          "moe_layer_freq",
                          "num_nextn_predict_layers",
                          "routed_scaling_factor",
                          "rms_norm_eps",
                          "rope_theta"}) {
    for (const char* value : {"-1", "1e300", "9223372036854775807", "\"8\"", "[]", "{}", "true"})
      expect_refused(with(kV3, key, value), key);
  }
  expect_refused(with(kV3, "eos_token_id", "129280"), "eos_token_id");
  expect_refused(with(kV3, "n_group", "7"), "n_group must divide");
  expect_refused(with(kV3, "num_key_value_heads", "8"), "num_key_value_heads");
  expect_refused(with(kV3, "qk_rope_head_dim", "63"), "qk_rope_head_dim must be even");
  expect_refused(with(with(kV3, "topk_group", "1"), "num_experts_per_tok", "33"), "topk_group");
  expect_refused(with(kV3, "hidden_size", ""), "hidden_size is missing");
  expect_refused(with(kQwen2, "num_attention_heads", "10"), "hidden_size");
}

TEST(Config, RefusesHostileJson) {
  EXPECT_FALSE(parse_model_config("").ok());
  EXPECT_FALSE(parse_model_config("[]").ok());
  EXPECT_FALSE(parse_model_config(std::string(1000000, '[')).ok());
  std::string deep = "{\"a\":";
  for (int i = 0; i < 1000000; ++i) deep += "{\"a\":";
  EXPECT_FALSE(parse_model_config(deep).ok());
  EXPECT_FALSE(parse_generation_config("{\"eos_token_id\":{}}").ok());
}

TEST(Config, GenerationDefaults) {
  const auto parsed = parse_generation_config(
      R"({"eos_token_id":[1,7],"temperature":0.6,"top_p":0.95,"do_sample":true})");
  ASSERT_TRUE(parsed.ok()) << parsed.message();
  EXPECT_EQ(parsed->end_tokens, (std::vector<int32_t>{1, 7}));
  EXPECT_EQ(parsed->temperature, 0.6);
  EXPECT_EQ(parsed->top_p, 0.95);
  EXPECT_FALSE(parsed->top_k.has_value());
  EXPECT_FALSE(parse_generation_config(R"({"temperature":-1})").ok());
}

}  // namespace
}  // namespace galley::model

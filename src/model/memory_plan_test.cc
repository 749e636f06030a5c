#include "model/memory_plan.h"

#include <gtest/gtest.h>

#include "model/model.h"

namespace galley::model {
namespace {

const char kV3[] = R"({"architectures":["DeepseekV3ForCausalLM"],"vocab_size":129280,
  "hidden_size":7168,"intermediate_size":18432,"moe_intermediate_size":2048,
  "num_hidden_layers":61,"num_attention_heads":128,"n_shared_experts":1,"n_routed_experts":256,
  "num_experts_per_tok":8,"n_group":8,"topk_group":4,"routed_scaling_factor":2.5,
  "first_k_dense_replace":3,"kv_lora_rank":512,"q_lora_rank":1536,"qk_nope_head_dim":128,
  "qk_rope_head_dim":64,"v_head_dim":128,"max_position_embeddings":163840,
  "num_nextn_predict_layers":1,"torch_dtype":"bfloat16",
  "quantization_config":{"quant_method":"fp8","weight_block_size":[128,128]}})";
const char kQwen[] = R"({"architectures":["Qwen2ForCausalLM"],"vocab_size":151936,
  "hidden_size":1536,"intermediate_size":8960,"num_hidden_layers":28,"num_attention_heads":12,
  "num_key_value_heads":2,"max_position_embeddings":131072,"tie_word_embeddings":true,
  "torch_dtype":"bfloat16"})";
constexpr int64_t kGiB = int64_t{1} << 30;

Result<MemoryPlan> plan(const char* json, const PlanLimits& limits) {
  const auto config = parse_model_config(json);
  EXPECT_TRUE(config.ok()) << config.message();
  DummySource source(*config, false);
  return plan_memory(*config, limits, &source);
}

TEST(MemoryPlan, CountsDeepseekV3AsPublished) {
  const auto planned = plan(kV3, {.drafts_max = 1});
  ASSERT_TRUE(planned.ok()) << planned.message();
  // 671.0 B without MTP and 685 B with the MTP layer's block and its copies of embedding and head,
  // as the model card says; 37 B of the main model for one token.
  EXPECT_NEAR(static_cast<double>(planned->parameters), 684.5e9, 0.5e9);
  EXPECT_NEAR(static_cast<double>(planned->parameters_active), 40.1e9, 0.5e9);
  EXPECT_EQ(planned->num_mtp_layers, 1);
  EXPECT_EQ(planned->cache_row_bytes, 1152);
  EXPECT_EQ(planned->cache_bytes_per_token, 1152 * 62);
  EXPECT_TRUE(planned->fits) << "no limit is known";
  const auto fp8 = plan(kV3, {.cache_format = kernels::CacheFormat::kFp8Latent});
  EXPECT_EQ(fp8->cache_row_bytes, 656);
  EXPECT_EQ(fp8->cache_bytes_per_token, 656 * 61) << "no drafts, no MTP cache";
}

TEST(MemoryPlan, TakesWhatTheMemoryHolds) {
  // Nobody asked for a context: as long as fits.
  const auto planned = plan(kQwen, {.max_num_seqs = 4, .memory_bytes = 5 * kGiB});
  ASSERT_TRUE(planned.ok()) << planned.message();
  EXPECT_TRUE(planned->fits);
  EXPECT_LE(planned->total_bytes, 5 * kGiB);
  EXPECT_LT(planned->max_model_len, 131072);
  EXPECT_GT(planned->max_model_len, 10000);
  EXPECT_GE(planned->num_blocks * 64, planned->max_model_len);
}

TEST(MemoryPlan, RefusesWhatDoesNotFitWithWhatWould) {
  PlanLimits limits{.max_model_len = 131072, .max_num_seqs = 4, .memory_bytes = 5 * kGiB};
  const auto planned = plan(kQwen, limits);
  ASSERT_TRUE(planned.ok()) << planned.message();
  ASSERT_FALSE(planned->fits);
  ASSERT_FALSE(planned->advice.empty());
  // The advice is true: with the number it gives, it fits, and with some more it does not.
  const std::string& sentence = planned->advice.front();
  const std::string flag = "lower --max-model-len to ";
  ASSERT_EQ(sentence.rfind(flag, 0), 0u) << sentence;
  limits.max_model_len = std::atoi(sentence.c_str() + flag.size());
  EXPECT_TRUE(plan(kQwen, limits)->fits) << limits.max_model_len;
  limits.max_model_len += 4096;  // the rotary tables shrink with it too
  EXPECT_FALSE(plan(kQwen, limits)->fits) << limits.max_model_len;

  const auto v3 = plan(kV3, {.memory_bytes = 16 * kGiB});
  ASSERT_FALSE(v3->fits);
  EXPECT_NE(v3->advice.front().find("no flag"), std::string::npos) << v3->advice.front();

  const auto blocks = plan(kQwen, {.max_model_len = 1000, .num_blocks = 3});
  ASSERT_FALSE(blocks->fits);
  EXPECT_NE(blocks->advice.front().find("at least 16"), std::string::npos)
      << blocks->advice.front();
}

TEST(MemoryPlan, RefusesWrongLimitsByFlag) {
  const auto refused = [](const char* json, const PlanLimits& limits, const std::string& flag) {
    const auto planned = plan(json, limits);
    ASSERT_FALSE(planned.ok()) << flag;
    EXPECT_EQ(planned.code(), Code::kInvalid);
    EXPECT_NE(planned.message().find(flag), std::string::npos) << planned.message();
  };
  refused(kQwen, {.max_model_len = 131073}, "--max-model-len");
  refused(kQwen, {.max_model_len = -1}, "--max-model-len");
  refused(kQwen, {.max_num_seqs = 0}, "--max-num-seqs");
  refused(kQwen, {.max_num_batched_tokens = 63}, "--max-num-batched-tokens");
  refused(kQwen, {.num_blocks = -1}, "--num-gpu-blocks-override");
  refused(kQwen, {.drafts_max = 17}, "num_speculative_tokens");
  refused(kQwen, {.cache_format = kernels::CacheFormat::kFp8Latent}, "--kv-cache-dtype");
}

TEST(MemoryPlan, RendersWhatItKnows) {
  const auto config = parse_model_config(kV3);
  const auto planned = plan(kV3, {.drafts_max = 1, .memory_bytes = 16 * kGiB});
  const std::string text = render(*config, *planned);
  for (const char* part : {"DeepseekV3ForCausalLM", "684.", "float8_e4m3", "69.75 KiB",
                           "DOES NOT FIT", "of 16.00 GiB", "to make it fit"})
    EXPECT_NE(text.find(part), std::string::npos) << part << " in\n" << text;
}

}  // namespace
}  // namespace galley::model

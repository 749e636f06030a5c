// Any config that is taken must run: random shapes, odd and tiny ones included, through the door
// that serve uses, in several steps, with and without rounding. What a stranger's config.json says
// may be refused by name, but never stops the process. GALLEY_SEED=<n> replays one.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <random>

#include "engine/testing/test_device.h"
#include "engine/testing/tiny_models.h"

namespace galley::engine {
namespace {

class RandomConfig {
 public:
  explicit RandomConfig(uint32_t seed) : random_(seed) {}

  int pick(int low, int high) { return std::uniform_int_distribution(low, high)(random_); }

  std::string text() {
    const bool is_v3 = pick(0, 2) == 0, is_v2 = !is_v3 && pick(0, 1) == 0;
    const int heads = pick(1, 5);
    number("vocab_size", pick(2, 300));
    number("hidden_size", pick(1, 150));
    number("intermediate_size", pick(1, 150));
    number("num_hidden_layers", pick(1, 3));
    number("num_attention_heads", heads);
    number("max_position_embeddings", pick(64, 300));
    add("tie_word_embeddings", pick(0, 1) == 0 ? "true" : "false");
    add("torch_dtype", pick(0, 1) == 0 ? "\"float16\"" : "\"bfloat16\"");
    add("attention_bias", pick(0, 1) == 0 ? "true" : "false");
    if (pick(0, 1) == 0)
      add("quantization_config", R"({"quant_method":"fp8","weight_block_size":[128,128]})");
    if (pick(0, 2) == 0)
      add("rope_scaling", R"({"type":"yarn","factor":3,"original_max_position_embeddings":20,)"
                          R"("mscale_all_dim":1})");
    if (is_v3 || is_v2) {
      deepseek(is_v3);
    } else {
      add("architectures", pick(0, 1) == 0 ? R"(["LlamaForCausalLM"])" : R"(["Qwen2ForCausalLM"])");
      number("num_key_value_heads", heads % 2 == 0 ? heads / 2 : heads);
      number("head_dim", 2 * pick(1, 40));
    }
    return "{" + text_ + "}";
  }

 private:
  void add(const std::string& key, const std::string& value) {
    text_ += (text_.empty() ? "\"" : ",\"") + key + "\":" + value;
  }
  void number(const std::string& key, int value) { add(key, std::to_string(value)); }

  void deepseek(bool is_v3) {
    add("architectures", is_v3 ? R"(["DeepseekV3ForCausalLM"])" : R"(["DeepseekV2ForCausalLM"])");
    const int groups = pick(1, 3), in_group = pick(2, 4), kept = pick(1, groups);
    number("kv_lora_rank", pick(1, 150));
    if (pick(0, 1) == 0) number("q_lora_rank", pick(1, 40));
    number("qk_nope_head_dim", pick(1, 30));
    number("qk_rope_head_dim", 2 * pick(1, 10));
    number("v_head_dim", pick(1, 40));
    number("first_k_dense_replace", pick(0, 2));
    if (pick(0, 4) == 0) return;  // dense throughout
    number("n_routed_experts", groups * in_group);
    number("n_group", groups);
    number("topk_group", kept);
    number("num_experts_per_tok", pick(1, kept * in_group));
    number("moe_intermediate_size", pick(1, 70));
    number("n_shared_experts", pick(0, 2));
    if (!is_v3) add("topk_method", pick(0, 1) == 0 ? "\"greedy\"" : "\"group_limited_greedy\"");
    if (is_v3) number("num_nextn_predict_layers", pick(0, 1));
  }

  std::mt19937 random_;
  std::string text_;
};

void run_config(uint32_t seed) {
  SCOPED_TRACE("replay with GALLEY_SEED=" + std::to_string(seed));
  RandomConfig random(seed);
  const std::string text = random.text();
  SCOPED_TRACE(text);
  const model::testing::TemporaryFolder folder;
  folder.write("config.json", text);
  LoadOptions options;
  options.folder = folder.path();
  options.format = LoadFormat::kDummy;
  options.dtype = random.pick(0, 1) == 0 ? DTypeChoice::kFloat32 : DTypeChoice::kBFloat16;
  if (text.find("kv_lora_rank") != std::string::npos && random.pick(0, 2) == 0)
    options.cache = CacheChoice::kFp8;
  options.num_blocks = 16;
  options.max_num_seqs = random.pick(1, 4);
  options.max_num_batched_tokens = random.pick(8, 64);
  options.cpu.threads = 1;
  options.cpu.pin_threads = false;
  options.device = testing::test_device();
  options.cuda.batch_invariant = true;
  auto model = load_model_runner(options, nullptr);
  ASSERT_TRUE(model.ok()) << model.message();
  std::vector<int32_t> prompt;
  for (int i = random.pick(1, 40); i > 0; --i)
    prompt.push_back(random.pick(0, model->config.vocab_size - 1));
  SamplingParams sampling = testing::TinySequence::greedy();
  sampling.logprobs = 1;
  testing::TinySequence sequence(&*model, prompt, sampling);
  sequence.prefill(random.pick(1, options.max_num_batched_tokens));
  while (sequence.output().size() < 6) sequence.decode(true);
  for (const float logprob : sequence.logprobs()) EXPECT_TRUE(std::isfinite(logprob));
}

TEST(ModelShapes, AnyConfigThatIsTakenRuns) {
  if (const char* seed = std::getenv("GALLEY_SEED"))
    return run_config(static_cast<uint32_t>(std::atoll(seed)));
  for (uint32_t seed = 1; seed <= 300 && !HasFailure(); ++seed) run_config(seed);
}

}  // namespace
}  // namespace galley::engine

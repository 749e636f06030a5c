// Padded and recorded steps, begun before they are planned, say what the plain ones say. On a GPU
// (GALLEY_TEST_DEVICE=cuda) decode steps are recordings; TimedOps makes the same padded calls one
// by one, so both must agree bit for bit. On the CPU one runner pads, the other does not.
#include <gtest/gtest.h>

#include "engine/load_model.h"
#include "engine/model_runner.h"
#include "engine/testing/test_device.h"
#include "model/testing/folder.h"

namespace galley::engine {
namespace {

// Shapes that the fast kernels of a GPU take.
constexpr const char* kMla = R"({"architectures":["DeepseekV3ForCausalLM"],"vocab_size":512,
  "hidden_size":256,"intermediate_size":512,"moe_intermediate_size":128,"num_hidden_layers":3,
  "num_attention_heads":4,"n_shared_experts":1,"n_routed_experts":8,"num_experts_per_tok":2,
  "n_group":4,"topk_group":2,"routed_scaling_factor":2.5,"first_k_dense_replace":1,
  "kv_lora_rank":512,"q_lora_rank":128,"qk_nope_head_dim":128,"qk_rope_head_dim":64,
  "v_head_dim":128,"max_position_embeddings":1024,"num_nextn_predict_layers":1,
  "torch_dtype":"bfloat16","rope_theta":10000})";
constexpr const char* kGqa = R"({"architectures":["Qwen2ForCausalLM"],"vocab_size":512,
  "hidden_size":256,"intermediate_size":512,"num_hidden_layers":3,"num_attention_heads":4,
  "num_key_value_heads":2,"max_position_embeddings":1024,"torch_dtype":"bfloat16"})";

constexpr int32_t kRequests = 5;  // padded to 8

Result<LoadedModel> load(const char* config, int32_t drafts, bool recorded) {
  const model::testing::TemporaryFolder folder;
  folder.write("config.json", config);
  LoadOptions options;
  options.folder = folder.path();
  options.format = LoadFormat::kDummy;
  options.num_blocks = 64;
  options.max_num_seqs = 16;
  options.max_num_batched_tokens = 512;
  options.num_speculative_tokens = drafts;
  options.cpu.threads = 1;
  options.cpu.pin_threads = false;
  options.device = testing::test_device();
  options.time_operations = !recorded && testing::on_cuda();
  options.pads_steps = recorded;
  return load_model_runner(options, nullptr);
}

struct Sequence {
  std::vector<int32_t> known;
  std::vector<float> logprobs;
  std::vector<int32_t> drafts;
  std::vector<BlockId> blocks;
  int32_t prompt_len = 0;
  int32_t computed = 0;
};

// Sequences of different lengths, decoded together; each comes later than the one before and leaves
// when it is long enough, so that steps of 1 to 5 requests come. What was begun ahead is put to the
// test: one request's own last token is foreseen, of another's tokens one is replaced now and then,
// as a limit of thought does.
std::vector<Sequence> generate(LoadedModel* model) {
  std::vector<Sequence> all(kRequests);
  SamplingParams sampling, brief;
  sampling.temperature = 0.0f;
  sampling.logprobs = 0;
  sampling.max_tokens = 400;
  brief = sampling;
  brief.max_tokens = 25;
  for (int32_t s = 0; s < kRequests; ++s) {
    Sequence& sequence = all[static_cast<size_t>(s)];
    sequence.prompt_len = 1 + 45 * s;
    for (int32_t i = 0; i < sequence.prompt_len; ++i)
      sequence.known.push_back((i * 37 + s * 11 + 5) % 512);
    for (int32_t b = 0; b < 8; ++b) sequence.blocks.push_back(s * 8 + b);
  }
  for (int32_t step = 0; step < 80; ++step) {
    std::vector<StepItem> plan;
    std::vector<Sequence*> planned;
    for (size_t s = 0; s < all.size(); ++s) {
      Sequence& sequence = all[s];
      if (static_cast<size_t>(step) < 4 * s) continue;
      const size_t output = sequence.known.size() - static_cast<size_t>(sequence.prompt_len);
      if (s == 3 ? output >= 25 : static_cast<size_t>(step) > 24 + 12 * s) {
        model->runner->forget(s + 1);
        continue;
      }
      StepItem item;
      item.id = s + 1;
      item.known = sequence.known;
      item.prompt_len = sequence.prompt_len;
      item.token_begin = sequence.computed;
      item.token_count = static_cast<int32_t>(sequence.known.size()) - sequence.computed;
      item.samples = true;
      item.drafts = sequence.drafts;
      item.blocks = sequence.blocks;
      item.sampling = s == 3 ? &brief : &sampling;
      plan.push_back(item);
      planned.push_back(&sequence);
    }
    if (plan.empty()) break;
    const std::span<const StepResult> results = model->runner->execute(plan);
    for (size_t i = 0; i < results.size(); ++i) {
      EXPECT_TRUE(results[i].status.ok()) << results[i].status.message();
      if (!results[i].status.ok()) return all;
      Sequence& sequence = *planned[i];
      sequence.computed += plan[i].token_count + static_cast<int32_t>(results[i].tokens.size()) - 1;
      sequence.drafts.assign(results[i].drafts.begin(), results[i].drafts.end());
      for (const kernels::SampleResult& token : results[i].tokens) {
        sequence.known.push_back(token.token);
        sequence.logprobs.push_back(token.logprob);
      }
      if (plan[i].id == 2 && step % 9 == 8) {
        sequence.known.back() = (sequence.known.back() + 1) % 512;
        sequence.drafts.clear();
      }
    }
  }
  return all;
}

void expect_equal(const char* config, int32_t drafts) {
  auto recorded = load(config, drafts, true);
  ASSERT_TRUE(recorded.ok()) << recorded.message();
  auto plain = load(config, drafts, false);
  ASSERT_TRUE(plain.ok()) << plain.message();
  const std::vector<Sequence> a = generate(&*recorded), b = generate(&*plain);
  if (drafts == 0) {
    const auto& runner = static_cast<const ModelRunner&>(*recorded->runner);
    EXPECT_GT(runner.num_answered_ahead(), 50);
    EXPECT_GT(runner.num_begun_in_vain(), 0);
    EXPECT_LT(runner.num_begun_in_vain(), 40);
  }
  for (size_t s = 0; s < a.size(); ++s) {
    EXPECT_EQ(a[s].known, b[s].known) << "request " << s;
    EXPECT_EQ(a[s].logprobs, b[s].logprobs) << "request " << s;
    EXPECT_GT(a[s].known.size(), static_cast<size_t>(a[s].prompt_len) + 20);
  }
}

TEST(RecordedSteps, SayWhatThePlainOnesSay) {
  expect_equal(kMla, 0);
  expect_equal(kGqa, 0);
}

TEST(RecordedSteps, AlsoWithDrafts) {
  expect_equal(kMla, 1);
  expect_equal(kMla, 3);
}

TEST(RecordedSteps, AreFewShapesThatReachTheLargestStep) {
  RunnerInfo info;
  info.step_tokens_max = 8192;
  for (const int32_t requests : {1, 2, 3, 7, 8, 9, 64, 100, 256, 1000}) {
    for (const int32_t drafts : {0, 1, 3}) {
      info.step_requests_max = requests;
      info.drafts_max = drafts;
      const std::vector<int32_t> sizes = padded_sizes(info, 512);
      ASSERT_FALSE(sizes.empty());
      EXPECT_EQ(sizes.front(), 1);
      EXPECT_EQ(sizes.back(), std::min(requests, 512 / (1 + drafts)));
      EXPECT_LE(sizes.size(), 40u);
      for (size_t i = 1; i < sizes.size(); ++i) {
        EXPECT_GT(sizes[i], sizes[i - 1]);
        const int32_t step = std::max(8, sizes[i - 1] / 4);
        EXPECT_LE(sizes[i] - sizes[i - 1], step);
      }
    }
  }
}

}  // namespace
}  // namespace galley::engine

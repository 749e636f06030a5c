// Tiny made-up models and a hand-driven sequence, for tests of the runner.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "engine/load_model.h"
#include "engine/testing/test_device.h"
#include "model/testing/folder.h"

namespace galley::engine::testing {

inline std::string tiny_config(const std::string& name) {
  if (name == "v3") {
    return R"({"architectures":["DeepseekV3ForCausalLM"],"vocab_size":160,"hidden_size":64,
      "intermediate_size":96,"moe_intermediate_size":32,"num_hidden_layers":3,
      "num_attention_heads":4,"n_shared_experts":1,"n_routed_experts":8,"num_experts_per_tok":2,
      "n_group":4,"topk_group":2,"routed_scaling_factor":2.5,"first_k_dense_replace":1,
      "kv_lora_rank":32,"q_lora_rank":24,"qk_nope_head_dim":16,"qk_rope_head_dim":8,
      "v_head_dim":16,"max_position_embeddings":512,"num_nextn_predict_layers":1,
      "torch_dtype":"bfloat16","rope_theta":10000})";
  }
  if (name == "v2_lite") {
    return R"({"architectures":["DeepseekV2ForCausalLM"],"vocab_size":160,"hidden_size":64,
      "intermediate_size":96,"moe_intermediate_size":32,"num_hidden_layers":2,
      "num_attention_heads":4,"n_shared_experts":2,"n_routed_experts":8,"num_experts_per_tok":3,
      "topk_method":"greedy","first_k_dense_replace":1,"kv_lora_rank":32,"q_lora_rank":null,
      "qk_nope_head_dim":16,"qk_rope_head_dim":8,"v_head_dim":16,"max_position_embeddings":512,
      "torch_dtype":"bfloat16"})";
  }
  const std::string architecture = name == "qwen2" ? "Qwen2ForCausalLM" : "LlamaForCausalLM";
  return R"({"architectures":[")" + architecture +
         R"("],"vocab_size":160,"hidden_size":64,"intermediate_size":96,"num_hidden_layers":2,
      "num_attention_heads":4,"num_key_value_heads":2,"max_position_embeddings":512,
      "tie_word_embeddings":true,"torch_dtype":"float32"})";
}

struct TinyOptions {
  std::string name = "v3";
  int32_t drafts = 0;
  int32_t threads = 1;
  DTypeChoice dtype = DTypeChoice::kAuto;
  CacheChoice cache = CacheChoice::kAuto;
  int32_t num_blocks = 64;
  int32_t max_num_seqs = 64;
  int32_t step_tokens = 512;
};

inline Result<LoadedModel> load_tiny(const TinyOptions& tiny) {
  const model::testing::TemporaryFolder folder;
  folder.write("config.json", tiny_config(tiny.name));
  LoadOptions options;
  options.folder = folder.path();
  options.format = LoadFormat::kDummy;
  options.dtype = tiny.dtype;
  options.cache = tiny.cache;
  options.num_blocks = tiny.num_blocks;
  options.max_num_seqs = tiny.max_num_seqs;
  options.max_num_batched_tokens = tiny.step_tokens;
  options.num_speculative_tokens = tiny.drafts;
  options.cpu.threads = tiny.threads;
  options.cpu.pin_threads = false;
  options.device = testing::test_device();
  options.cuda.batch_invariant = true;
  return load_model_runner(options, nullptr);
}

// One request driven step by step, alone, with blocks of its own from `first_block` on.
class TinySequence {
 public:
  TinySequence(LoadedModel* model, std::vector<int32_t> prompt, SamplingParams sampling = greedy(),
               int32_t first_block = 0)
      : model_(model),
        known_(std::move(prompt)),
        prompt_len_(static_cast<int32_t>(known_.size())),
        sampling_(std::move(sampling)) {
    for (int32_t i = 0; i < 8; ++i) blocks_.push_back(first_block + i);
  }

  static SamplingParams greedy() {
    SamplingParams sampling;
    sampling.temperature = 0.0f;
    sampling.logprobs = 0;
    sampling.max_tokens = 400;
    return sampling;
  }

  void ban(std::vector<int32_t> tokens) { banned_ = std::move(tokens); }

  // Computes the known tokens in chunks and samples the first token after them.
  void prefill(int32_t chunk) {
    const auto known = static_cast<int32_t>(known_.size());
    for (int32_t begin = computed_; begin < known; begin += chunk) {
      StepItem item = next_item();
      item.token_begin = begin;
      item.token_count = std::min(chunk, known - begin);
      item.samples = begin + item.token_count == known;
      take(item);
    }
  }

  // One more step; with `use_drafts` verifies those of the step before.
  void decode(bool use_drafts) {
    StepItem item = next_item();
    item.token_begin = computed_;
    item.token_count = static_cast<int32_t>(known_.size()) - computed_;
    item.samples = true;
    const std::vector<int32_t> drafts = use_drafts ? drafts_ : std::vector<int32_t>();
    item.drafts = drafts;
    take(item);
  }

  std::vector<int32_t> output() const { return {known_.begin() + prompt_len_, known_.end()}; }
  const std::vector<float>& logprobs() const { return logprobs_; }
  const std::vector<kernels::SampleResult>& prompt_scores() const { return prompt_scores_; }
  int32_t num_accepted() const { return num_accepted_; }
  int32_t num_steps() const { return num_steps_; }

 private:
  StepItem next_item() {
    StepItem item;
    item.id = 1;
    item.known = known_;
    item.prompt_len = prompt_len_;
    item.blocks = blocks_;
    item.sampling = &sampling_;
    item.banned = banned_;
    return item;
  }

  void take(const StepItem& item) {
    const std::span<const StepResult> results = model_->runner->execute({&item, 1});
    ASSERT_EQ(results.size(), 1u);
    const StepResult& result = results[0];
    ASSERT_TRUE(result.status.ok()) << result.status.message();
    ++num_steps_;
    prompt_scores_.insert(prompt_scores_.end(), result.prompt_scores.begin(),
                          result.prompt_scores.end());
    computed_ = item.token_begin + item.token_count;
    ASSERT_EQ(result.tokens.empty(), !item.samples);
    if (result.tokens.empty()) return;
    computed_ += static_cast<int32_t>(result.tokens.size()) - 1;
    num_accepted_ += static_cast<int32_t>(result.tokens.size()) - 1;
    for (const kernels::SampleResult& token : result.tokens) {
      known_.push_back(token.token);
      logprobs_.push_back(token.logprob);
    }
    drafts_.assign(result.drafts.begin(), result.drafts.end());
  }

  LoadedModel* const model_;
  std::vector<int32_t> known_;
  const int32_t prompt_len_;
  const SamplingParams sampling_;
  std::vector<BlockId> blocks_;
  std::vector<int32_t> banned_;
  std::vector<int32_t> drafts_;
  std::vector<float> logprobs_;
  std::vector<kernels::SampleResult> prompt_scores_;
  int32_t computed_ = 0;
  int32_t num_accepted_ = 0;
  int32_t num_steps_ = 0;
};

}  // namespace galley::engine::testing

// FakeRunner: a runner for tests whose tokens prove that the engine did its work.
//
// Its cache holds, for each row, a hash of the whole sequence up to there, made from the row before
// it, which it reads through the block table. The next token follows from that row alone. So a
// wrong block table, a row skipped or overwritten, a block shared wrongly, or a row of a rejected
// draft taken for real, each changes tokens. reference() says what they must be.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <set>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/check.h"
#include "engine/runner.h"

namespace galley::engine::testing {

class FakeRunner : public Runner {
 public:
  struct Options {
    RunnerInfo info;
    uint64_t draft_seed = 1;       // decides which drafts are right
    int32_t draft_right_in_8 = 5;  // of 8 drafts
    int64_t step_us = 0;           // a step takes at least this long, by the real clock
  };

  explicit FakeRunner(const Options& options)
      : options_(options),
        rows_(static_cast<size_t>(options.info.num_blocks) *
              static_cast<size_t>(options.info.block_tokens)) {}

  const RunnerInfo& info() const override { return options_.info; }

  std::span<const StepResult> execute(std::span<const StepItem> plan) override {
    GALLEY_CHECK(!plan.empty(), "an empty step");
    if (options_.step_us > 0)
      std::this_thread::sleep_for(std::chrono::microseconds(options_.step_us));
    if (before_step) before_step();
    num_steps += 1;
    results_.clear();
    tokens_.assign(plan.size(), {});
    drafts_.assign(plan.size(), {});
    scores_.assign(plan.size(), {});
    int32_t num_tokens = 0;
    for (size_t i = 0; i < plan.size(); ++i) {
      num_tokens += plan[i].token_count + static_cast<int32_t>(plan[i].drafts.size());
      results_.push_back(compute(plan[i], i));
    }
    GALLEY_CHECK(num_tokens <= options_.info.step_tokens_max, "too many tokens in a step");
    GALLEY_CHECK(static_cast<int32_t>(plan.size()) <= options_.info.step_requests_max,
                 "too many requests in a step");
    num_tokens_computed += num_tokens;
    return results_;
  }

  void forget(RequestId id) override { forgotten.push_back(id); }

  // The output of a request that runs alone, without drafts, until `num_tokens`; ends are ignored.
  static std::vector<int32_t> reference(const std::vector<int32_t>& known,
                                        const SamplingParams& sampling, int32_t vocab_size,
                                        int32_t num_tokens,
                                        std::span<const int32_t> banned_below_min = {}) {
    std::vector<int32_t> output;
    uint64_t row = kRootRow;
    for (const int32_t token : known) row = next_row(row, token);
    for (int32_t i = 0; i < num_tokens; ++i) {
      const bool bans = i < sampling.min_tokens;
      output.push_back(sample(row, sampling.seed, vocab_size,
                              bans ? banned_below_min : std::span<const int32_t>()));
      row = next_row(row, output.back());
    }
    return output;
  }

  std::function<void()> before_step;  // called in each execute()
  std::set<RequestId> failing;        // their items fail
  std::vector<RequestId> forgotten;
  std::atomic<int64_t> num_steps{0};
  int64_t num_tokens_computed = 0;

 private:
  static constexpr uint64_t kRootRow = 0x9e3779b97f4a7c15;

  static uint64_t mix(uint64_t value) {
    value = (value ^ (value >> 31)) * 0xbf58476d1ce4e5b9;
    value = (value ^ (value >> 29)) * 0x94d049bb133111eb;
    return value ^ (value >> 32);
  }
  static uint64_t next_row(uint64_t row, int32_t token) {
    return mix(row * 31 + static_cast<uint64_t>(token) + 1);
  }
  static int32_t sample(uint64_t row, uint64_t seed, int32_t vocab_size,
                        std::span<const int32_t> banned) {
    for (uint64_t hash = mix(row ^ seed);; hash = mix(hash)) {
      const auto token = static_cast<int32_t>(hash % static_cast<uint64_t>(vocab_size));
      bool is_banned = false;
      for (const int32_t ban : banned) is_banned |= ban == token;
      if (!is_banned) return token;
    }
  }

  uint64_t& row_at(const StepItem& item, int32_t position) {
    const auto block_tokens = static_cast<size_t>(options_.info.block_tokens);
    const auto place = static_cast<size_t>(position);
    GALLEY_CHECK(place / block_tokens < item.blocks.size(), "a position without a block");
    const auto block = static_cast<size_t>(item.blocks[place / block_tokens]);
    return rows_.at(block * block_tokens + place % block_tokens);
  }

  uint64_t compute_row(const StepItem& item, int32_t position, int32_t token) {
    const uint64_t before = position == 0 ? kRootRow : row_at(item, position - 1);
    return row_at(item, position) = next_row(before, token);
  }

  StepResult compute(const StepItem& item, size_t i) {
    StepResult result{.id = item.id, .status = {}, .tokens = {}, .drafts = {}, .prompt_scores = {}};
    if (failing.contains(item.id)) {
      result.status = Status(Code::kUnavailable, "the fake device is gone");
      return result;
    }
    const auto num_known = static_cast<int32_t>(item.known.size());
    GALLEY_CHECK(item.token_count >= 1 && item.token_begin + item.token_count <= num_known,
                 "positions out of range");
    GALLEY_CHECK(item.samples == (item.token_begin + item.token_count == num_known),
                 "an item samples when it reaches the newest token");
    uint64_t row = 0;
    for (int32_t p = item.token_begin; p < item.token_begin + item.token_count; ++p) {
      row = compute_row(item, p, item.known[static_cast<size_t>(p)]);
      if (item.sampling->prompt_logprobs >= 0 && p + 1 < item.prompt_len)
        scores_[i].push_back({.token = item.known[static_cast<size_t>(p) + 1],
                              .logprob = -static_cast<float>(row % 1000) * 0.01f,
                              .rank = 1,
                              .num_top = 0,
                              .top = {}});
    }
    result.prompt_scores = scores_[i];
    if (!item.samples) {
      GALLEY_CHECK(item.drafts.empty(), "drafts of an item that does not sample");
      return result;
    }
    tokens_[i].push_back(sampled(item, row));
    bool is_right = true;
    for (size_t d = 0; d < item.drafts.size(); ++d) {
      const uint64_t draft_row =
          compute_row(item, num_known + static_cast<int32_t>(d), item.drafts[d]);
      is_right = is_right && item.drafts[d] == tokens_[i].back().token;
      if (is_right) tokens_[i].push_back(sampled(item, draft_row));
    }
    result.tokens = tokens_[i];
    propose_drafts(item, i);
    result.drafts = drafts_[i];
    return result;
  }

  kernels::SampleResult sampled(const StepItem& item, uint64_t row) const {
    return {.token = sample(row, item.sampling->seed, options_.info.vocab_size, item.banned),
            .logprob = -static_cast<float>(row % 1000) * 0.01f,
            .rank = 1,
            .num_top = 0,
            .top = {}};
  }

  void propose_drafts(const StepItem& item, size_t i) {
    uint64_t row = kRootRow;
    for (const int32_t token : item.known) row = next_row(row, token);
    for (const kernels::SampleResult& token : tokens_[i]) row = next_row(row, token.token);
    for (int32_t d = 0; d < options_.info.drafts_max; ++d) {
      const bool is_right =
          static_cast<int32_t>(mix(row ^ options_.draft_seed) % 8) < options_.draft_right_in_8;
      int32_t token = sample(row, item.sampling->seed, options_.info.vocab_size, {});
      if (!is_right) token = (token + 1) % options_.info.vocab_size;
      drafts_[i].push_back(token);
      row = next_row(row, token);
    }
  }

  const Options options_;
  std::vector<uint64_t> rows_;  // [num_blocks, block_tokens]
  std::vector<StepResult> results_;
  std::vector<std::vector<kernels::SampleResult>> tokens_, scores_;
  std::vector<std::vector<int32_t>> drafts_;
};

}  // namespace galley::engine::testing

// Harness: an engine on its thread with a FakeRunner, and what its sink heard.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "engine/engine.h"
#include "engine/testing/fake_runner.h"

namespace galley::engine::testing {

constexpr int32_t kVocab = 97;
constexpr int32_t kEos = 96;

struct HarnessOptions {
  EngineLimits limits = {.requests_max = 64, .batch_requests_max = 8, .step_tokens_max = 64};
  int32_t num_blocks = 64;
  int32_t block_tokens = 4;
  int32_t context_max = 256;
  int32_t drafts = 0;
  bool prefix_caching = true;
  uint64_t draft_seed = 1;
  int64_t step_us = 0;
};

// What was heard of one request.
struct Heard {
  std::vector<int32_t> tokens;
  std::vector<bool> forced;
  std::vector<OutputToken> prompt_logprobs;
  FinishReason finish = FinishReason::kNone;
  int32_t stop_token = -1;
  Status status;
  int32_t cached_tokens = 0;
  int num_finishes = 0;
};

class Harness {
 public:
  explicit Harness(const HarnessOptions& options)
      : runner_({.info = {.vocab_size = kVocab,
                          .context_max = options.context_max,
                          .num_blocks = options.num_blocks,
                          .block_tokens = options.block_tokens,
                          .step_tokens_max = options.limits.step_tokens_max,
                          .step_requests_max = options.limits.batch_requests_max,
                          .drafts_max = kDraftsMax},
                 .draft_seed = options.draft_seed,
                 .step_us = options.step_us}),
        engine_({.limits = options.limits,
                 .enable_prefix_caching = options.prefix_caching,
                 .drafts = options.drafts,
                 .eos_tokens = {kEos},
                 .model_name = "fake",
                 .block_key = {1, 2}},
                &runner_, &clock_, [this](std::span<Event> events) { hear(events); }) {}
  ~Harness() { stop(); }

  // Requests that are submitted before start() are in the first step together.
  void start() {
    thread_ = std::thread([this] { engine_.run(); });
  }
  void stop() {
    engine_.stop();
    if (thread_.joinable()) thread_.join();
  }
  // Runs what was submitted to its end.
  void finish() {
    engine_.drain();
    if (!thread_.joinable()) start();
    thread_.join();
  }
  void wait_for(RequestId id) {
    std::unique_lock lock(mutex_);
    const bool came = heard_changed_.wait_for(
        lock, std::chrono::seconds(60), [&] { return heard_[id].finish != FinishReason::kNone; });
    ASSERT_TRUE(came) << "request " << id << " did not end within 60 s";
  }
  void wait_for_tokens(RequestId id, size_t num_tokens) {
    std::unique_lock lock(mutex_);
    const bool came = heard_changed_.wait_for(
        lock, std::chrono::seconds(60), [&] { return heard_[id].tokens.size() >= num_tokens; });
    ASSERT_TRUE(came) << "request " << id << " gave too few tokens within 60 s";
  }
  Heard heard(RequestId id) {
    const std::lock_guard lock(mutex_);
    return heard_[id];
  }

  // Ids in the order of their ends.
  std::vector<RequestId> finish_order() {
    const std::lock_guard lock(mutex_);
    return finish_order_;
  }

  Engine& engine() { return engine_; }
  FakeRunner& runner() { return runner_; }
  ManualClock& clock() { return clock_; }

 private:
  void hear(std::span<Event> events) {
    const std::lock_guard lock(mutex_);
    for (const Event& event : events) {
      Heard& heard = heard_[event.id];
      EXPECT_EQ(heard.num_finishes, 0) << "an event after the last one";
      for (const OutputToken& token : event.tokens) {
        heard.tokens.push_back(token.token);
        heard.forced.push_back(token.forced);
      }
      if (!event.prompt_logprobs.empty()) {
        EXPECT_TRUE(heard.prompt_logprobs.empty()) << "prompt_logprobs came twice";
        heard.prompt_logprobs = event.prompt_logprobs;
      }
      EXPECT_EQ(static_cast<size_t>(event.output_tokens), heard.tokens.size());
      heard.cached_tokens = event.cached_tokens;
      if (event.finish == FinishReason::kNone) continue;
      heard.num_finishes += 1;
      finish_order_.push_back(event.id);
      heard.finish = event.finish;
      heard.stop_token = event.stop_token;
      heard.status = event.status;
    }
    heard_changed_.notify_all();
  }

  ManualClock clock_;
  FakeRunner runner_;
  std::mutex mutex_;
  std::condition_variable heard_changed_;
  std::map<RequestId, Heard> heard_;
  std::vector<RequestId> finish_order_;
  Engine engine_;
  std::thread thread_;
};

inline std::vector<int32_t> tokens_from(uint32_t seed, int32_t num_tokens) {
  std::vector<int32_t> tokens;
  uint32_t state = seed * 2654435761u + 12345u;
  for (int32_t i = 0; i < num_tokens; ++i) {
    state = state * 1664525u + 1013904223u;
    tokens.push_back(static_cast<int32_t>((state >> 8) % (kVocab - 1)));
  }
  return tokens;
}

// A request that ignores end-of-text and gives `max_tokens` tokens.
inline Request request_of(RequestId id, std::vector<int32_t> prompt, int32_t max_tokens) {
  Request request;
  request.id = id;
  request.prompt = std::move(prompt);
  request.sampling.max_tokens = max_tokens;
  request.sampling.ignore_eos = true;
  request.sampling.seed = 7;
  return request;
}

inline std::vector<int32_t> expected_of(const Request& request) {
  return FakeRunner::reference(request.prompt, request.sampling, kVocab,
                               request.sampling.max_tokens);
}

}  // namespace galley::engine::testing

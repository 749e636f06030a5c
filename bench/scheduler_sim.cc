// How much work the scheduler repeats when the KV cache is far too small, and what a step costs it.
// No model: only tokens are counted.
//
// 1. 200 runs; 48 requests of 100-1500 prompt and 50-400 output tokens, all queued at once, on 160
//    blocks of 64 tokens (about a fifth of what they need together), prefix tree off, so that a
//    preempted request computes everything again.
// 2. Decode of full batches, prefix tree on: time of plan_step() and finish_step() a step.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <random>
#include <vector>

#include "engine/scheduler.h"

namespace {

using galley::engine::Outcome;
using galley::engine::Scheduler;
using galley::engine::SchedulerLimits;

struct Counts {
  int64_t steps = 0, tokens = 0;
};

// Runs until idle; every sampling item gets one token.
Counts run_to_the_end(Scheduler* scheduler, const std::vector<int32_t>& output_max) {
  static constexpr int32_t kToken[] = {1};
  Counts counts;
  std::vector<Outcome> outcomes;
  while (!scheduler->idle()) {
    outcomes.clear();
    for (const auto& item : scheduler->plan_step()) {
      counts.tokens += item.token_count;
      const auto slot = static_cast<size_t>(item.slot);
      const int32_t num_known = static_cast<int32_t>(scheduler->known(item.slot).size());
      const int32_t num_output = num_known - scheduler->prompt_len(item.slot);
      Outcome outcome;
      if (item.samples) {
        outcome.tokens = kToken;
        outcome.over = num_output + 1 == output_max[slot];
      }
      outcomes.push_back(outcome);
    }
    scheduler->finish_step(outcomes);
    counts.steps += 1;
  }
  return counts;
}

void repeated_work() {
  Counts all;
  int64_t tokens_needed = 0;
  uint64_t num_preemptions = 0;
  for (uint32_t seed = 1; seed <= 200; ++seed) {
    std::mt19937 random(seed);
    const auto pick = [&](int low, int high) {
      return std::uniform_int_distribution(low, high)(random);
    };
    galley::kv::BlockPool pool(/*num_blocks=*/160, /*block_tokens=*/64);
    galley::kv::PrefixTree tree({.enabled = false, .key = {}, .model = ""}, &pool);
    Scheduler scheduler({.requests_max = 64, .batch_requests_max = 32, .step_tokens_max = 512},
                        &tree);
    std::vector<int32_t> output_max(64);
    for (int i = 0; i < 48; ++i) {
      const int32_t prompt = pick(100, 1500), output = pick(50, 400);
      const auto slot =
          scheduler.submit({.prompt = std::vector<int32_t>(static_cast<size_t>(prompt), 1),
                            .output_tokens_max = output},
                           0);
      output_max[static_cast<size_t>(slot)] = output;
      tokens_needed += prompt + output - 1;
    }
    const Counts counts = run_to_the_end(&scheduler, output_max);
    all.steps += counts.steps;
    all.tokens += counts.tokens;
    num_preemptions += scheduler.num_preemptions();
  }
  std::printf(
      "cache too small: %lld steps, %llu preemptions, %.3f tokens computed per token needed\n",
      static_cast<long long>(all.steps), static_cast<unsigned long long>(num_preemptions),
      static_cast<double>(all.tokens) / static_cast<double>(tokens_needed));
}

void step_cost(int32_t batch) {
  galley::kv::BlockPool pool(batch * 40, 64);
  galley::kv::PrefixTree tree({.enabled = true, .key = {1, 2}, .model = "m"}, &pool);
  Scheduler scheduler({.requests_max = batch, .batch_requests_max = batch, .step_tokens_max = 8192},
                      &tree);
  const std::vector<int32_t> output_max(static_cast<size_t>(batch), 1000);
  std::mt19937 random(1);
  for (int32_t i = 0; i < batch; ++i) {
    std::vector<int32_t> prompt(1000);
    for (int32_t& token : prompt) token = static_cast<int32_t>(random() % 100'000);
    prompt.reserve(2000);
    scheduler.submit({.prompt = std::move(prompt), .output_tokens_max = 1000}, 0);
  }
  const auto begin = std::chrono::steady_clock::now();
  const Counts counts = run_to_the_end(&scheduler, output_max);
  const std::chrono::duration<double, std::micro> elapsed =
      std::chrono::steady_clock::now() - begin;
  std::printf("batch %d: %.2f us a step, all tokens of the answers named and entered\n", batch,
              elapsed.count() / static_cast<double>(counts.steps));
}

}  // namespace

int main() {
  repeated_work();
  for (const int32_t batch : {1, 8, 64, 256}) step_cost(batch);
}

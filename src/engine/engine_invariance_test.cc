// What a request answers does not depend on its neighbours, on chunking, on prefix hits, on
// preemption or on drafts: random mixes, each run in many ways, against each request run alone.
// GALLEY_SEED=<n> replays one mix.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <random>

#include "engine/testing/harness.h"

namespace galley::engine {
namespace {

using testing::Harness;
using testing::HarnessOptions;
using testing::Heard;
using testing::request_of;
using testing::tokens_from;

class Mix {
 public:
  explicit Mix(uint32_t seed) : random_(seed) {
    for (RequestId id = 1; id <= 10; ++id) requests_.push_back(random_request(id));
  }

  int pick(int low, int high) { return std::uniform_int_distribution(low, high)(random_); }
  const std::vector<Request>& requests() const { return requests_; }

  HarnessOptions random_options() {
    HarnessOptions options;
    options.limits.batch_requests_max = pick(1, 8);
    options.limits.step_tokens_max = pick(8, 64);
    options.block_tokens = pick(1, 8);
    // From just enough for the longest to plenty.
    options.num_blocks = (80 + pick(0, 200)) / options.block_tokens + 1;
    options.drafts = pick(0, 4);
    options.draft_seed = static_cast<uint64_t>(pick(1, 1000));
    options.prefix_caching = pick(0, 3) > 0;
    return options;
  }

 private:
  Request random_request(RequestId id) {
    // Few prompts, so that prefixes are shared.
    std::vector<int32_t> prompt = tokens_from(static_cast<uint32_t>(pick(1, 3)), pick(1, 40));
    Request request = request_of(id, std::move(prompt), pick(1, 30));
    request.sampling.ignore_eos = pick(0, 1) == 0;
    request.sampling.seed = static_cast<uint64_t>(pick(0, 2));
    request.sampling.min_tokens = pick(0, 2) == 0 ? pick(0, request.sampling.max_tokens) : 0;
    if (pick(0, 2) == 0) request.sampling.stop_token_ids = {pick(0, 95), pick(0, 95)};
    if (pick(0, 4) == 0) request.sampling.prompt_logprobs = 0;
    if (pick(0, 2) == 0)
      request.thinking = {.open_at_start = pick(0, 1) == 0,
                          .begin = pick(0, 95),
                          .end = 90,
                          .budget = pick(0, 8),
                          .close = {91, 90}};
    request.priority = pick(-1, 1);
    request.cache_scope = static_cast<uint64_t>(pick(0, 1));
    return request;
  }

  std::mt19937 random_;
  std::vector<Request> requests_;
};

Heard run_alone(const Request& request) {
  Harness harness({.block_tokens = 8, .prefix_caching = false});
  EXPECT_TRUE(harness.engine().submit(request).ok());
  harness.finish();
  return harness.heard(request.id);
}

void expect_equal(const Heard& actual, const Heard& alone) {
  EXPECT_EQ(actual.tokens, alone.tokens);
  EXPECT_EQ(actual.forced, alone.forced);
  EXPECT_EQ(actual.finish, alone.finish);
  EXPECT_EQ(actual.stop_token, alone.stop_token);
  EXPECT_EQ(actual.num_finishes, 1);
  ASSERT_EQ(actual.prompt_logprobs.size(), alone.prompt_logprobs.size());
  for (size_t i = 0; i < alone.prompt_logprobs.size(); ++i)
    EXPECT_EQ(actual.prompt_logprobs[i].logprob, alone.prompt_logprobs[i].logprob);
}

struct Totals {
  uint64_t preemptions = 0, hits = 0, accepted = 0;
};

void run_mix(uint32_t seed, Totals* totals) {
  SCOPED_TRACE("replay with GALLEY_SEED=" + std::to_string(seed));
  Mix mix(seed);
  std::vector<Heard> alone;
  for (const Request& request : mix.requests()) alone.push_back(run_alone(request));
  for (int way = 0; way < 6; ++way) {
    const HarnessOptions options = mix.random_options();
    SCOPED_TRACE("batch " + std::to_string(options.limits.batch_requests_max) + ", step tokens " +
                 std::to_string(options.limits.step_tokens_max) + ", blocks " +
                 std::to_string(options.num_blocks) + " of " +
                 std::to_string(options.block_tokens) + ", drafts " +
                 std::to_string(options.drafts) + ", prefix caching " +
                 std::to_string(options.prefix_caching));
    Harness harness(options);
    // In waves: some while others run, some after their prefix is there.
    std::mutex mutex;  // guards num_submitted
    size_t num_submitted = 0;
    const int wave = mix.pick(1, 10);
    const auto submit_wave = [&] {
      const std::lock_guard lock(mutex);
      for (int i = 0; i < wave && num_submitted < mix.requests().size(); ++i)
        ASSERT_TRUE(harness.engine().submit(mix.requests()[num_submitted++]).ok());
    };
    harness.runner().before_step = [&] {
      if (harness.runner().num_steps % 5 == 0) submit_wave();
    };
    harness.start();
    for (size_t i = 0; i < mix.requests().size(); ++i) {
      while (true) {
        {
          const std::lock_guard lock(mutex);
          if (num_submitted > i) break;
        }
        submit_wave();
      }
      harness.wait_for(mix.requests()[i].id);
    }
    harness.finish();
    for (size_t i = 0; i < alone.size(); ++i) {
      SCOPED_TRACE("request " + std::to_string(mix.requests()[i].id));
      expect_equal(harness.heard(mix.requests()[i].id), alone[i]);
    }
    const EngineStats stats = harness.engine().stats();
    EXPECT_EQ(stats.blocks_held, 0);
    totals->preemptions += stats.preemptions;
    totals->hits += stats.prefix_hit_tokens;
    totals->accepted += stats.drafts_accepted;
    if (::testing::Test::HasFailure()) return;
  }
}

TEST(EngineInvariance, AnswersDoNotDependOnTheWayTheyAreComputed) {
  Totals totals;
  if (const char* seed = std::getenv("GALLEY_SEED"))
    return run_mix(static_cast<uint32_t>(std::atoll(seed)), &totals);
  for (uint32_t seed = 1; seed <= 300 && !HasFailure(); ++seed) run_mix(seed, &totals);
  std::printf("%llu preemptions, %llu tokens from the prefix tree, %llu drafts accepted\n",
              static_cast<unsigned long long>(totals.preemptions),
              static_cast<unsigned long long>(totals.hits),
              static_cast<unsigned long long>(totals.accepted));
  EXPECT_GT(totals.preemptions, 0u);
  EXPECT_GT(totals.hits, 0u);
  EXPECT_GT(totals.accepted, 0u);
}

}  // namespace
}  // namespace galley::engine

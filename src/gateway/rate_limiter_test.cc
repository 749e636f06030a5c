#include "gateway/rate_limiter.h"

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <random>
#include <string>

#include "gateway/testing/seed.h"

namespace galley::gateway {
namespace {

LimitScope scope(uint64_t id, RateLimits limits) {
  return {id, limits};
}

TEST(RateLimiter, RefusesWhatExceedsTheQuotaAndSaysWhen) {
  RateLimiter limiter;
  const LimitScope key = scope(1, {.requests_per_minute = 2});
  EXPECT_FALSE(limiter.reserve(1, {&key, 1}, 10, 0));
  EXPECT_FALSE(limiter.reserve(2, {&key, 1}, 10, 0));
  const auto refused = limiter.reserve(3, {&key, 1}, 10, 0);
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->kind, LimitKind::kRequests);
  EXPECT_EQ(refused->retry_after_ms, 30'000);
  EXPECT_TRUE(limiter.reserve(3, {&key, 1}, 10, 29'999));
  EXPECT_FALSE(limiter.reserve(3, {&key, 1}, 10, 30'000));
}

TEST(RateLimiter, ARefusedRequestCostsNothingInAnyScope) {
  RateLimiter limiter;
  const LimitScope scopes[] = {scope(1, {.requests_per_minute = 100, .tokens_per_minute = 1000}),
                               scope(2, {.tokens_per_minute = 50})};
  ASSERT_FALSE(limiter.reserve(1, scopes, 40, 0));
  const LimitView before = limiter.view(scopes, 0);
  const auto refused = limiter.reserve(2, scopes, 40, 0);
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->scope, 2u);
  EXPECT_EQ(refused->kind, LimitKind::kTokens);
  const LimitView after = limiter.view(scopes, 0);
  EXPECT_EQ(before.remaining_requests, after.remaining_requests);
  EXPECT_EQ(before.remaining_tokens, after.remaining_tokens);
  EXPECT_EQ(limiter.reservations(), 1u);
}

TEST(RateLimiter, SettlesOnTheRealCost) {
  RateLimiter limiter;
  const LimitScope key = scope(1, {.tokens_per_minute = 1000});
  ASSERT_FALSE(limiter.reserve(1, {&key, 1}, 600, 0));
  EXPECT_EQ(limiter.view({&key, 1}, 0).remaining_tokens, 400);
  limiter.settle(1, 100, 0);
  EXPECT_EQ(limiter.view({&key, 1}, 0).remaining_tokens, 900);
  ASSERT_FALSE(limiter.reserve(2, {&key, 1}, 900, 0));
  limiter.settle(2, 1900, 0);  // More than thought: owed.
  EXPECT_EQ(limiter.view({&key, 1}, 60'000).remaining_tokens, 0);
  EXPECT_EQ(limiter.view({&key, 1}, 120'000).remaining_tokens, 1000);
  limiter.settle(2, 5, 0);  // Unknown by now.
}

TEST(RateLimiter, AReleasedRequestNeverWas) {
  RateLimiter limiter;
  const LimitScope key = scope(1, {60, 600, 1});
  ASSERT_FALSE(limiter.reserve(1, {&key, 1}, 100, 0));
  EXPECT_EQ(limiter.reserve(2, {&key, 1}, 100, 0)->kind, LimitKind::kConcurrency);
  limiter.release(1, 0);
  const LimitView view = limiter.view({&key, 1}, 0);
  EXPECT_EQ(view.remaining_requests, 60);
  EXPECT_EQ(view.remaining_tokens, 600);
  EXPECT_FALSE(limiter.reserve(2, {&key, 1}, 100, 0));
}

TEST(RateLimiter, ARequestLargerThanTheBucketIsNotShutOutForEver) {
  RateLimiter limiter;
  const LimitScope key = scope(1, {.tokens_per_minute = 100});
  EXPECT_FALSE(limiter.reserve(1, {&key, 1}, 250, 0));
  EXPECT_EQ(limiter.reserve(2, {&key, 1}, 1, 0)->retry_after_ms, 150 * 600 + 600);
}

TEST(RateLimiter, ForgetsWhoIsFull) {
  RateLimiter limiter(16);
  for (uint64_t i = 0; i < 1000; ++i) {
    const LimitScope key = scope(i, {.requests_per_minute = 60});
    ASSERT_FALSE(limiter.reserve(i, {&key, 1}, 1, static_cast<int64_t>(i) * 1000));
    limiter.settle(i, 1, static_cast<int64_t>(i) * 1000);
    ASSERT_LE(limiter.scopes(), 17u);
  }
}

// In any span of T minutes at most quota * (1 + T) is granted, counting real costs and what is
// still reserved; and what is granted is all that is taken.
TEST(RateLimiter, TheQuotaHoldsInEveryWindow) {
  for (uint64_t round = 0; round < 20; ++round) {
    const uint64_t seed = testing::seed_of(round);
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    const auto pick = [&random](int64_t low, int64_t high) {
      return std::uniform_int_distribution<int64_t>(low, high)(random);
    };
    const RateLimits limits{pick(1, 100), pick(100, 5000), pick(1, 8)};
    RateLimiter limiter;
    const LimitScope scopes[] = {scope(1, limits), scope(2, {})};
    std::deque<std::pair<int64_t, int64_t>> granted;  // when, tokens in the end
    std::map<uint64_t, int64_t> running;              // reserved
    uint64_t next_id = 0;
    int64_t now = 0;
    for (int step = 0; step < 3000; ++step) {
      now += pick(0, 2000);
      const int64_t tokens = pick(1, limits.tokens_per_minute / 2 + 1);
      const LimitView before = limiter.view(scopes, now);
      if (!limiter.reserve(++next_id, scopes, tokens, now)) {
        running[next_id] = tokens;
        granted.emplace_back(now, tokens);
      } else {
        const LimitView after = limiter.view(scopes, now);
        ASSERT_EQ(before.remaining_requests, after.remaining_requests);
        ASSERT_EQ(before.remaining_tokens, after.remaining_tokens);
      }
      ASSERT_LE(static_cast<int64_t>(running.size()), limits.concurrency);
      if (!running.empty() && pick(0, 1) == 0) {
        // Settled at what was reserved: the window's sum is then exact.
        limiter.settle(running.begin()->first, running.begin()->second, now);
        running.erase(running.begin());
      }
      int64_t requests = 0, sum = 0;
      for (auto it = granted.rbegin(); it != granted.rend(); ++it) {
        ++requests;
        sum += it->second;
        const double minutes = static_cast<double>(now - it->first) / 60'000;
        ASSERT_LE(static_cast<double>(requests),
                  static_cast<double>(limits.requests_per_minute) * (1 + minutes) + 0.001);
        ASSERT_LE(static_cast<double>(sum),
                  static_cast<double>(limits.tokens_per_minute) * (1 + minutes) + 0.001);
      }
      if (granted.size() > 200) granted.pop_front();
    }
  }
}

}  // namespace
}  // namespace galley::gateway

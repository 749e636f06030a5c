#include "gateway/breaker.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

#include "gateway/testing/seed.h"

namespace galley::gateway {
namespace {

using State = Breaker::State;

void fail(Breaker& breaker, int times, int64_t now_ms) {
  for (int i = 0; i < times; ++i) breaker.failed(now_ms, 0);
}

TEST(Breaker, OpensAfterFailuresInARow) {
  Breaker breaker({});
  fail(breaker, 4, 0);
  breaker.succeeded(0);
  fail(breaker, 4, 0);
  EXPECT_EQ(breaker.state(), State::kClosed);
  fail(breaker, 1, 0);
  EXPECT_EQ(breaker.state(), State::kOpen);
  EXPECT_FALSE(breaker.allow(999, 0));
}

TEST(Breaker, OpensOnTheShareOfFailures) {
  Breaker breaker({});
  for (int i = 0; i < 10 && breaker.state() == State::kClosed; ++i) {
    breaker.succeeded(0);
    breaker.failed(0, 0);
  }
  EXPECT_EQ(breaker.state(), State::kOpen);
}

TEST(Breaker, LetsOneProbeThroughAndClosesWhenItIsWell) {
  Breaker breaker({});
  fail(breaker, 5, 0);
  EXPECT_TRUE(breaker.allow(1000, 0));
  EXPECT_FALSE(breaker.allow(1000, 0));
  EXPECT_EQ(breaker.state(), State::kHalfOpen);
  breaker.succeeded(1001);
  EXPECT_TRUE(breaker.allow(1002, 0));
  breaker.succeeded(1003);
  EXPECT_EQ(breaker.state(), State::kClosed);
}

TEST(Breaker, StaysOpenLongerEachTimeWithJitterToABound) {
  Breaker breaker({});
  fail(breaker, 5, 0);
  int64_t now = 0, span = 1000;
  for (int i = 0; i < 12; ++i) {
    now = breaker.opens_until_ms();
    ASSERT_TRUE(breaker.allow(now, 0));
    breaker.failed(now, 1.0);
    span = std::min<int64_t>(span * 2, 60'000);
    EXPECT_EQ(breaker.opens_until_ms() - now, span + span / 2);
  }
}

TEST(Breaker, AProbeThatNeverReportsCountsAsFailed) {
  Breaker breaker({});
  fail(breaker, 5, 0);
  ASSERT_TRUE(breaker.allow(1000, 0));
  EXPECT_FALSE(breaker.allow(31'000, 0));
  EXPECT_EQ(breaker.state(), State::kOpen);
}

// Against an upstream that is down: however often it is asked, few requests reach it, and never
// two at once. Once it is well, all do again within the longest opening.
TEST(Breaker, RandomRuns) {
  for (uint64_t round = 0; round < 50; ++round) {
    const uint64_t seed = testing::seed_of(round);
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    std::uniform_real_distribution<double> draw(0, 1);
    Breaker breaker({});
    int64_t now = 0;
    int sent = 0;
    for (; now < 600'000; now += static_cast<int64_t>(draw(random) * 100)) {
      if (!breaker.allow(now, draw(random))) continue;
      ++sent;
      if (breaker.state() == State::kHalfOpen) {
        ASSERT_FALSE(breaker.allow(now, draw(random)));
      }
      breaker.failed(now, draw(random));
    }
    EXPECT_LE(sent, 5 + 6 + 10);  // to open, doubling, then one a minute
    const int64_t well_at = now;
    while (breaker.state() != State::kClosed) {
      now += 100;
      ASSERT_LE(now - well_at, 91'000);
      if (breaker.allow(now, draw(random))) breaker.succeeded(now);
    }
  }
}

}  // namespace
}  // namespace galley::gateway

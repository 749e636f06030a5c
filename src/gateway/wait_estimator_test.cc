#include "gateway/wait_estimator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "gateway/testing/seed.h"

namespace galley::gateway {
namespace {

TEST(WaitEstimator, LearnsTheRate) {
  WaitEstimator waits(1);
  int64_t now = 0;
  waits.on_taken(50, false, now);
  for (int i = 0; i < 500; ++i) waits.on_taken(50, true, now += 10);
  EXPECT_NEAR(waits.rate(), 5, 0.3);
  EXPECT_NEAR(waits.raw_ms(1000), 200, 15);
}

TEST(WaitEstimator, IdleTimeIsNotSlowness) {
  WaitEstimator waits(1);
  int64_t now = 0;
  for (int i = 0; i < 500; ++i) waits.on_taken(50, true, now += 10);
  const double before = waits.rate();
  waits.on_taken(50, false, now += 3'600'000);
  waits.on_taken(50, true, now + 10);
  EXPECT_NEAR(waits.rate(), before, 0.1 * before);
}

// A queue with noisy service: what is said is scored as the issue of honest waiting asks.
TEST(WaitEstimator, TheBoundHoldsInNineOfTen) {
  for (uint64_t round = 0; round < 10; ++round) {
    const uint64_t seed = testing::seed_of(round);
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    std::lognormal_distribution<double> service(std::log(40.0), 0.8);
    std::exponential_distribution<double> cost(1.0 / 100);
    WaitEstimator waits(0.2);  // Wrong by a factor of ten.
    struct One {
      double cost, raw, median, p90;
      int64_t asked;
    };
    std::vector<One> queue;
    int64_t now = 0;
    int within = 0, scored = 0;
    std::vector<double> errors;
    for (int i = 0; i < 6000; ++i) {
      while (queue.size() < 30) {
        One one{cost(random) + 1, 0, 0, 0, now};
        double ahead = one.cost;
        for (const One& other : queue) ahead += other.cost;
        one.raw = waits.raw_ms(ahead);
        one.median = waits.estimate(ahead).median_ms;
        one.p90 = waits.estimate(ahead).p90_ms;
        queue.push_back(one);
      }
      const One one = queue.front();
      queue.erase(queue.begin());
      now += std::max<int64_t>(1, static_cast<int64_t>(service(random) * one.cost / 100));
      const auto actual = static_cast<double>(now - one.asked);
      waits.score(one.raw, actual);
      waits.on_taken(one.cost, true, now);
      if (i < 500) continue;
      ++scored;
      within += actual <= one.p90 ? 1 : 0;
      errors.push_back(std::abs(one.median - actual) / actual);
    }
    const double share = static_cast<double>(within) / scored;
    EXPECT_GE(share, 0.85);
    EXPECT_LE(share, 0.95);
    std::sort(errors.begin(), errors.end());
    EXPECT_LE(errors[errors.size() / 2], 0.25);
  }
}

}  // namespace
}  // namespace galley::gateway

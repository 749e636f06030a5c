#include "gateway/length_estimator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "gateway/testing/seed.h"

namespace galley::gateway {
namespace {

TEST(LengthEstimator, StartsWithThePriorWithinTheMaximum) {
  const LengthEstimator lengths(8, 100);
  EXPECT_EQ(lengths.quantile(1, 0.5, 0, 1000), 100);
  EXPECT_EQ(lengths.quantile(1, 0.5, 0, 16), 16);
}

TEST(LengthEstimator, EachTenantHasItsOwn) {
  LengthEstimator lengths;
  for (int i = 0; i < 100; ++i) {
    lengths.observe(1, 10);
    lengths.observe(2, 1000);
  }
  EXPECT_NEAR(lengths.quantile(1, 0.9, 0, 4096), 10, 2);
  EXPECT_NEAR(lengths.quantile(2, 0.1, 0, 4096), 1000, 200);
  EXPECT_NEAR(lengths.quantile(3, 0.9, 0, 4096), 1000, 200);  // Everybody's.
}

TEST(LengthEstimator, IsCorrectedAsTokensAppear) {
  LengthEstimator lengths;
  for (int i = 0; i < 90; ++i) lengths.observe(1, 10);
  for (int i = 0; i < 10; ++i) lengths.observe(1, 800);
  EXPECT_LT(lengths.quantile(1, 0.5, 0, 4096), 12);
  EXPECT_GT(lengths.quantile(1, 0.5, 50, 4096), 700);     // Not one of the short ones.
  EXPECT_EQ(lengths.quantile(1, 0.5, 2000, 4096), 4000);  // Longer than all.
  EXPECT_EQ(lengths.quantile(1, 0.5, 4096, 4096), 4096);
}

TEST(LengthEstimator, WhoAsksForExactlyWhatItWantsGetsIt) {
  LengthEstimator lengths;
  for (int i = 1; i <= 100; ++i) lengths.observe(1, i, i);
  for (int i = 1; i <= 100; ++i) lengths.observe(2, i, i % 2 == 0 ? i : 1000);
  EXPECT_EQ(lengths.quantile(1, 0.5, 0, 700), 700);
  EXPECT_LT(lengths.quantile(2, 0.5, 0, 700), 100);
  for (int i = 1; i <= 2000; ++i) lengths.observe(1, 10, 1000);
  EXPECT_LT(lengths.quantile(1, 0.5, 0, 700), 100);
}

TEST(LengthEstimator, FollowsAChange) {
  LengthEstimator lengths;
  for (int i = 0; i < 2000; ++i) lengths.observe(1, 20);
  for (int i = 0; i < 2000; ++i) lengths.observe(1, 400);
  EXPECT_GT(lengths.quantile(1, 0.5, 0, 4096), 300);
}

TEST(LengthEstimator, RemembersABoundedNumberOfTenants) {
  LengthEstimator lengths(16);
  for (uint64_t i = 0; i < 1000; ++i) lengths.observe(i, 10);
  EXPECT_EQ(lengths.tenants(), 16u);
}

// A quantile is that of the data to one bucket, 19 %.
TEST(LengthEstimator, QuantilesAreThoseOfTheData) {
  for (uint64_t round = 0; round < 20; ++round) {
    const uint64_t seed = testing::seed_of(round);
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    std::lognormal_distribution<double> draw(5.0, 1.0);
    LengthEstimator lengths;
    std::vector<int32_t> seen;
    for (int i = 0; i < LengthEstimator::kHalveEvery - 1; ++i) {
      seen.push_back(std::max(1, static_cast<int32_t>(draw(random))));
      lengths.observe(1, seen.back());
    }
    std::sort(seen.begin(), seen.end());
    for (const double q : {0.1, 0.5, 0.75, 0.9}) {
      const auto index = static_cast<size_t>(std::ceil(q * static_cast<double>(seen.size())) - 1);
      const double real = seen[index];
      const double said = lengths.quantile(1, q, 0, 1 << 20);
      EXPECT_GE(said, real - 1e-6);
      EXPECT_LE(said, real * std::exp2(0.25) + 1e-6);
    }
  }
}

}  // namespace
}  // namespace galley::gateway

#include "gateway/service_estimator.h"

#include <gtest/gtest.h>

#include <random>

#include "gateway/testing/seed.h"

namespace galley::gateway {
namespace {

TEST(ServiceEstimator, KnowsNothingAtFirst) {
  const ServiceEstimator services;
  EXPECT_EQ(services.guess_ms(100), 0);
  EXPECT_EQ(services.p90_ms(100), 0);
}

TEST(ServiceEstimator, LearnsTimeToFirstAndForEach) {
  ServiceEstimator services;
  for (int i = 0; i < 200; ++i)
    services.on_whole({.guessed_ms = services.guess_ms(11),
                       .to_first_ms = 50,
                       .whole_ms = 150,
                       .output_tokens = 11});
  EXPECT_NEAR(services.guess_ms(10), 150, 1);
  EXPECT_NEAR(services.guess_ms(100), 1050, 5);
}

// Times that vary threefold: the bound holds in 90 %.
TEST(ServiceEstimator, TheBoundHoldsInNineOfTen) {
  const uint64_t seed = testing::seed_of(0);
  SCOPED_TRACE("GALLEY_SEED=" + std::to_string(seed));
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<double> factor(0.5, 1.5);
  ServiceEstimator services;
  int held = 0;
  constexpr int kLearning = 1000, kCounted = 4000;
  for (int i = 0; i < kLearning + kCounted; ++i) {
    const double took = 1000 * factor(random);
    if (i >= kLearning) held += took <= services.p90_ms(20);
    services.on_whole({.guessed_ms = services.guess_ms(20),
                       .to_first_ms = took / 10,
                       .whole_ms = took,
                       .output_tokens = 20});
  }
  EXPECT_NEAR(static_cast<double>(held) / kCounted, 0.9, 0.03);
}

TEST(ServiceEstimator, WhatIsCutOffWidensTheBound) {
  ServiceEstimator services;
  services.on_whole({.guessed_ms = 0, .to_first_ms = 10, .whole_ms = 100, .output_tokens = 10});
  const double before = services.p90_ms(10);
  services.on_cut(services.guess_ms(10), before / 2);  // Its client left early.
  EXPECT_EQ(services.p90_ms(10), before);
  for (int i = 0; i < 10; ++i) services.on_cut(services.guess_ms(10), 10 * before);
  EXPECT_GT(services.p90_ms(10), before * 1.1);
}

}  // namespace
}  // namespace galley::gateway

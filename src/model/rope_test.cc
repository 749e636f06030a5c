#include "model/rope.h"

#include <gtest/gtest.h>

#include <cmath>

namespace galley::model {
namespace {

TEST(Rope, DefaultFrequenciesAreAGeometricRow) {
  const RopeFrequencies f = rope_frequencies({.theta = 10000.0}, 8);
  ASSERT_EQ(f.per_pair.size(), 4u);
  EXPECT_DOUBLE_EQ(f.per_pair[0], 1.0);
  EXPECT_NEAR(f.per_pair[1], 0.1, 1e-12);
  EXPECT_NEAR(f.per_pair[3], 0.001, 1e-12);
  EXPECT_EQ(f.amplitude, 1.0);
  const RopeFrequencies slower =
      rope_frequencies({.type = RopeType::kLinear, .theta = 10000.0, .factor = 4.0}, 8);
  EXPECT_NEAR(slower.per_pair[1], 0.025, 1e-12);
}

// DeepSeek-V3: fast pairs stay, slow ones are slowed 40 times, and mscale equals mscale_all_dim, so
// the tables keep their amplitude and the scores carry (0.1 ln 40 + 1)^2.
TEST(Rope, YarnAsInDeepseekV3) {
  const RopeConfig config{.type = RopeType::kYarn,
                          .theta = 10000.0,
                          .factor = 40.0,
                          .original_positions = 4096,
                          .mscale = 1.0,
                          .mscale_all_dim = 1.0};
  const RopeFrequencies f = rope_frequencies(config, 64);
  // The pair that turns 32 times in 4096 positions is 10.5 of 32, the one that turns once 22.5.
  for (size_t i = 0; i <= 10; ++i)
    EXPECT_NEAR(f.per_pair[i], std::pow(10000.0, -double(i) / 32.0), 1e-12) << i;
  for (size_t i = 23; i < 32; ++i)
    EXPECT_NEAR(f.per_pair[i], std::pow(10000.0, -double(i) / 32.0) / 40.0, 1e-12) << i;
  const double plain = std::pow(10000.0, -16.0 / 32.0), slowed = (16.0 - 10.0) / (23.0 - 10.0);
  EXPECT_NEAR(f.per_pair[16], plain / 40.0 * slowed + plain * (1.0 - slowed), 1e-12);
  EXPECT_DOUBLE_EQ(f.amplitude, 1.0);
  EXPECT_NEAR(rope_score_scale(config), std::pow(0.1 * std::log(40.0) + 1.0, 2.0), 1e-12);
}

TEST(Rope, YarnAmplitude) {
  RopeConfig config{.type = RopeType::kYarn, .factor = 4.0, .original_positions = 64};
  const double m = 0.1 * std::log(4.0) + 1.0;
  EXPECT_NEAR(rope_frequencies(config, 8).amplitude, m, 1e-12) << "no mscale: YaRN's own";
  EXPECT_EQ(rope_score_scale(config), 1.0);
  config.mscale = 0.707;
  config.mscale_all_dim = 0.707;
  EXPECT_NEAR(rope_frequencies(config, 8).amplitude, 1.0, 1e-12);
  config.attention_factor = 1.5;
  EXPECT_EQ(rope_frequencies(config, 8).amplitude, 1.5);
}

TEST(Rope, Llama3SmoothsBetweenItsWavelengths) {
  const RopeConfig config{.type = RopeType::kLlama3,
                          .theta = 500000.0,
                          .factor = 8.0,
                          .original_positions = 8192,
                          .low_freq_factor = 1.0,
                          .high_freq_factor = 4.0};
  const RopeFrequencies f = rope_frequencies(config, 128);
  const auto plain = [](size_t i) { return std::pow(500000.0, -double(i) / 64.0); };
  for (size_t i = 0; i < 64; ++i) {
    const double wavelength = 2.0 * M_PI / plain(i);
    if (wavelength < 2048.0) {
      EXPECT_NEAR(f.per_pair[i], plain(i), 1e-12) << i;
    } else if (wavelength > 8192.0) {
      EXPECT_NEAR(f.per_pair[i], plain(i) / 8.0, 1e-12) << i;
    } else {
      EXPECT_LT(f.per_pair[i], plain(i)) << i;
      EXPECT_GT(f.per_pair[i], plain(i) / 8.0) << i;
    }
  }
}

TEST(Rope, TablesHoldEveryPosition) {
  auto ops = kernels::make_cpu_ops({.threads = 1, .pin_threads = false});
  ASSERT_TRUE(ops.ok()) << ops.message();
  const auto table = make_rope_table({.theta = 100.0, .interleaved = true}, 4, 50, ops->get());
  ASSERT_TRUE(table.ok()) << table.message();
  EXPECT_EQ(table->half_dim, 2);
  EXPECT_TRUE(table->interleaved);
  EXPECT_NEAR(table->cos[49 * 2 + 1], std::cos(4.9), 1e-6);
  EXPECT_NEAR(table->sin[49 * 2 + 1], std::sin(4.9), 1e-6);
  EXPECT_EQ(rope_table_bytes(4, 50), 50 * 2 * 2 * 4);
}

}  // namespace
}  // namespace galley::model

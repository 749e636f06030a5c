#include "base/histogram.h"

#include <gtest/gtest.h>

namespace galley {
namespace {

TEST(Histogram, PutsEachValueInTheFirstBucketThatHoldsIt) {
  static constexpr double kBounds[] = {0.5, 1.0, 2.0};
  Histogram histogram(kBounds);
  histogram.observe(0.5);  // a bound belongs to its bucket
  histogram.observe(0.75, 2);
  histogram.observe(3.0);
  EXPECT_EQ(histogram.bucket(0), 1u);
  EXPECT_EQ(histogram.bucket(1), 2u);
  EXPECT_EQ(histogram.bucket(2), 0u);
  EXPECT_EQ(histogram.bucket(3), 1u);
  EXPECT_EQ(histogram.count(), 4u);
  EXPECT_DOUBLE_EQ(histogram.sum(), 0.5 + 1.5 + 3.0);
}

TEST(HistogramDeathTest, BoundsMustAscend) {
  static constexpr double kBounds[] = {1.0, 1.0};
  EXPECT_DEATH(Histogram{kBounds}, "ascend");
}

}  // namespace
}  // namespace galley

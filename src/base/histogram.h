// Histogram: counts of observations in fixed buckets, as Prometheus wants them. No allocation.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/check.h"

namespace galley {

// Plain data: copied for a snapshot. Not thread-safe by itself.
class Histogram {
 public:
  static constexpr size_t kBucketsMax = 24;

  // `bounds`: upper limits (inclusive), ascending, at most kBucketsMax; they outlive the histogram.
  explicit Histogram(std::span<const double> bounds) : bounds_(bounds) {
    GALLEY_CHECK(bounds.size() <= kBucketsMax, "more buckets than a histogram holds");
    for (size_t i = 1; i < bounds.size(); ++i)
      GALLEY_CHECK(bounds[i - 1] < bounds[i], "bucket bounds must ascend");
  }

  void observe(double value, uint64_t times = 1) {
    size_t i = 0;
    while (i < bounds_.size() && value > bounds_[i]) ++i;
    counts_[i] += times;
    count_ += times;
    sum_ += value * static_cast<double>(times);
  }

  std::span<const double> bounds() const { return bounds_; }
  // Observations above bounds[i - 1] and not above bounds[i]; i = bounds().size() is +Inf's. Not
  // cumulative.
  uint64_t bucket(size_t i) const { return counts_[i]; }
  uint64_t count() const { return count_; }
  double sum() const { return sum_; }

 private:
  std::span<const double> bounds_;
  std::array<uint64_t, kBucketsMax + 1> counts_{};
  uint64_t count_ = 0;
  double sum_ = 0.0;
};

}  // namespace galley

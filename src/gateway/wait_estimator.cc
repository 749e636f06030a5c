#include "gateway/wait_estimator.h"

#include <algorithm>
#include <cmath>

namespace galley::gateway {
namespace {

constexpr double kFadeMs = 15'000;  // what is older counts for a third
// Of the factors, relative. Waits that overlap err together, so larger steps would follow the
// newest error instead of the distribution: at 0.05 the bound held in 75 %, not 90.
constexpr double kStepFirst = 0.1, kStepLast = 0.01;
constexpr double kFactorMin = 0.05, kFactorMax = 20;
// Tracked a little above 0.9: the factor lags behind a load that changes.
constexpr double kBoundShare = 0.92;
constexpr double kTrustedMs = 500;   // of contended time before the rate is believed
constexpr double kScoredMsMin = 20;  // shorter waits say nothing about the queue

double stepped(double factor, bool above, double q, double step) {
  const double next = factor * (1 + step * (above ? q : q - 1));
  return std::clamp(next, kFactorMin, kFactorMax);
}

}  // namespace

void WaitEstimator::on_taken(double cost, bool contended, int64_t now_ms) {
  if (last_ms_ >= 0 && contended) {
    const auto passed = static_cast<double>(std::max<int64_t>(0, now_ms - last_ms_));
    const double fade = std::exp(-passed / kFadeMs);
    cost_ = cost_ * fade + pending_;
    ms_ = ms_ * fade + passed;
    pending_ = cost;
  } else {
    pending_ = 0;  // The time that led here was not spent at this queue.
  }
  last_ms_ = now_ms;
}

double WaitEstimator::rate() const {
  // The prior weighs as much as kTrustedMs of experience, and less with each second of it.
  const double prior_ms = kTrustedMs * std::exp(-ms_ / (4 * kTrustedMs));
  return (cost_ + prior_rate_ * prior_ms) / (ms_ + prior_ms);
}

bool WaitEstimator::rate_known() const {
  return ms_ >= 4 * kTrustedMs;
}

double WaitEstimator::raw_ms(double cost_ahead) const {
  return std::max(cost_ahead, 0.0) / rate();
}

WaitEstimate WaitEstimator::estimate(double cost_ahead) const {
  const double raw = raw_ms(cost_ahead);
  return {raw * median_factor_, raw * std::max(p90_factor_, median_factor_)};
}

void WaitEstimator::score(double raw, double actual_ms) {
  if (raw < kScoredMsMin) return;
  ++scored_;
  if (actual_ms <= raw * std::max(p90_factor_, median_factor_)) ++within_p90_;
  const double factor = actual_ms / raw;
  const double step = std::max(kStepLast, kStepFirst * 20 / static_cast<double>(scored_ + 20));
  median_factor_ = stepped(median_factor_, factor > median_factor_, 0.5, step);
  p90_factor_ = stepped(p90_factor_, factor > p90_factor_, kBoundShare, step);
}

}  // namespace galley::gateway

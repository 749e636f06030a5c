#include "gateway/service_estimator.h"

#include <algorithm>

namespace galley::gateway {
namespace {

constexpr double kLearn = 0.1;  // weight of the newest answer in the running means
constexpr double kStep = 0.02;  // of the factor, relative
constexpr double kFactorMin = 1, kFactorMax = 10;

void learn(double* mean, double value) {
  *mean = *mean == 0 ? value : *mean + kLearn * (value - *mean);
}

double stepped(double factor, bool above) {
  return std::clamp(factor * (1 + kStep * (above ? 0.9 : -0.1)), kFactorMin, kFactorMax);
}

}  // namespace

void ServiceEstimator::on_whole(const Answer& answer) {
  if (answer.guessed_ms > 0)
    p90_factor_ = stepped(p90_factor_, answer.whole_ms > answer.guessed_ms * p90_factor_);
  learn(&to_first_ms_, std::max(0.01, answer.to_first_ms));
  if (answer.output_tokens <= 1) return;
  const double each = (answer.whole_ms - answer.to_first_ms) / (answer.output_tokens - 1);
  learn(&per_output_ms_, std::max(0.001, each));
}

void ServiceEstimator::on_cut(double guessed_ms, double after_ms) {
  if (guessed_ms > 0 && after_ms > guessed_ms * p90_factor_)
    p90_factor_ = stepped(p90_factor_, true);
}

}  // namespace galley::gateway

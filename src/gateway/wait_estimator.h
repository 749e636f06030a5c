// WaitEstimator: when a request that waits will start: a median and a bound that holds in 90 %.
//
// The raw guess is the cost ahead of it divided by the rate at which cost has been taken up lately.
// What it is worth is learned: each request that starts says by which factor its guess was wrong,
// and two running quantiles of that factor, the 50 % and the 90 % one, multiply what is said next.
// They are tracked by steps of the sign of the error, so the share of starts within the bound tends
// to 90 % whatever the distribution is, and drifts back after a change.
//
// Pure; time is an argument.
#pragma once

#include <cstdint>

namespace galley::gateway {

struct WaitEstimate {
  double median_ms = 0;
  double p90_ms = 0;
};

class WaitEstimator {
 public:
  // `prior_rate`: cost per ms, until something is known.
  explicit WaitEstimator(double prior_rate) : prior_rate_(prior_rate) {}

  // `cost` was taken up by the engine. `contended`: something waited, so the time since the last
  // call was spent working; else it says nothing about the rate.
  void on_taken(double cost, bool contended, int64_t now_ms);

  double raw_ms(double cost_ahead) const;
  WaitEstimate estimate(double cost_ahead) const;
  // A request that was told estimate(cost) when its raw guess was `raw_ms` started after
  // `actual_ms`.
  void score(double raw_ms, double actual_ms);

  double rate() const;  // cost per ms
  // Whether the rate comes from experience. What was guessed before is not to be scored: the error
  // is the rate's, and the rate learns it by itself.
  bool rate_known() const;
  // Since the start, of the requests that were scored.
  uint64_t scored() const { return scored_; }
  uint64_t within_p90() const { return within_p90_; }

 private:
  const double prior_rate_;
  double cost_ = 0, ms_ = 0;  // both fade
  int64_t last_ms_ = -1;
  double pending_ = 0;  // taken at last_ms_ and not yet paid for in time
  double median_factor_ = 1.0;
  double p90_factor_ = 1.6;
  uint64_t scored_ = 0, within_p90_ = 0;
};

}  // namespace galley::gateway

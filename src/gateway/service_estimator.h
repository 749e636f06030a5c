// ServiceEstimator: how long an answer takes from its start to its last token.
//
// The plain guess is the time to the first token plus a time for each further one, both running
// means of answers lately. What it is worth is learned, as WaitEstimator does: a running 90 %
// quantile of real time over guess multiplies what a promise is held against.
//
// Pure; time is an argument.
#pragma once

#include <cstdint>

namespace galley::gateway {

class ServiceEstimator {
 public:
  // 0 while nothing is known.
  double guess_ms(double output_tokens) const {
    return to_first_ms_ + per_output_ms_ * output_tokens;
  }
  // What is not exceeded in 90 %.
  double p90_ms(double output_tokens) const { return guess_ms(output_tokens) * p90_factor_; }

  struct Answer {
    double guessed_ms = 0;  // guess_ms() of what was expected when it started; 0: was not known
    double to_first_ms = 0;
    double whole_ms = 0;
    double output_tokens = 0;  // of one sequence
  };
  void on_whole(const Answer& answer);
  // It was cut off after so long, unfinished.
  void on_cut(double guessed_ms, double after_ms);

 private:
  double to_first_ms_ = 0, per_output_ms_ = 0;  // 0: unknown
  double p90_factor_ = 1.5;
};

}  // namespace galley::gateway

#include "gateway/breaker.h"

#include <algorithm>

namespace galley::gateway {

bool Breaker::allow(int64_t now_ms, double draw) {
  if (state_ == State::kClosed) return true;
  if (state_ == State::kOpen) {
    if (now_ms < until_ms_) return false;
    state_ = State::kHalfOpen;
    probing_ = false;
    good_probes_ = 0;
  }
  if (probing_ && now_ms - probe_since_ms_ >= limits_.probe_timeout_ms) {
    open(now_ms, draw);
    return false;
  }
  if (probing_) return false;
  probing_ = true;
  probe_since_ms_ = now_ms;
  return true;
}

void Breaker::succeeded(int64_t) {
  in_row_ = 0;
  if (state_ == State::kHalfOpen) {
    probing_ = false;
    if (++good_probes_ >= limits_.probes_to_close) close();
    return;
  }
  requests_ += 1;
  fade();
}

void Breaker::failed(int64_t now_ms, double draw) {
  if (state_ == State::kHalfOpen) return open(now_ms, draw);
  if (state_ == State::kOpen) return;  // Sent before it opened.
  requests_ += 1;
  bad_ += 1;
  ++in_row_;
  const bool enough = requests_ >= limits_.share_min_requests;
  const bool too_many = enough && bad_ >= limits_.failure_share * requests_;
  if (in_row_ >= limits_.failures_in_row || too_many) return open(now_ms, draw);
  fade();
}

void Breaker::fade() {
  if (requests_ < 2 * limits_.share_min_requests) return;
  requests_ /= 2;
  bad_ /= 2;
}

void Breaker::open(int64_t now_ms, double draw) {
  state_ = State::kOpen;
  probing_ = false;
  int64_t ms = limits_.open_ms;
  for (int32_t i = 0; i < openings_ && ms < limits_.open_ms_max; ++i) ms *= 2;
  ms = std::min(ms, limits_.open_ms_max);
  ++openings_;
  until_ms_ = now_ms + ms + static_cast<int64_t>(limits_.jitter * draw * static_cast<double>(ms));
}

void Breaker::close() {
  state_ = State::kClosed;
  in_row_ = 0;
  requests_ = bad_ = 0;
  openings_ = 0;
}

}  // namespace galley::gateway

// Breaker: stops sending to an upstream that fails, and finds out gently when it is well again.
//
//   closed     requests pass. Enough failures in a row, or too large a share of them, open it.
//   open       nothing passes until a time that doubles with each failed probe, with jitter, so
//              that many gateways do not probe at once.
//   half-open  one request at a time passes, as a probe. Enough successes close it, one failure
//              opens it again.
//
// Pure: time and the draw of the jitter are arguments.
#pragma once

#include <cstdint>

namespace galley::gateway {

struct BreakerLimits {
  int32_t failures_in_row = 5;
  double failure_share = 0.5;  // of at least `share_min_requests`
  int32_t share_min_requests = 20;
  int64_t open_ms = 1'000;  // the first time
  int64_t open_ms_max = 60'000;
  double jitter = 0.5;                // open for 1 to 1 + jitter of it
  int32_t probes_to_close = 2;        // successes
  int64_t probe_timeout_ms = 30'000;  // a probe nobody reported counts as failed
};

class Breaker {
 public:
  enum class State : uint8_t { kClosed, kOpen, kHalfOpen };

  explicit Breaker(const BreakerLimits& limits) : limits_(limits) {}

  // Whether a request may go now. True while half-open makes it the probe. `draw`: 0 to 1.
  bool allow(int64_t now_ms, double draw);
  // What came of a request that was allowed.
  void succeeded(int64_t now_ms);
  void failed(int64_t now_ms, double draw);

  State state() const { return state_; }
  int64_t opens_until_ms() const { return until_ms_; }

 private:
  void open(int64_t now_ms, double draw);
  void close();
  void fade();

  const BreakerLimits limits_;
  State state_ = State::kClosed;
  int32_t in_row_ = 0;             // failures
  double requests_ = 0, bad_ = 0;  // halved at twice `share_min_requests`
  int32_t openings_ = 0;           // since it was last closed
  int64_t until_ms_ = 0;
  bool probing_ = false;
  int64_t probe_since_ms_ = 0;
  int32_t good_probes_ = 0;
};

}  // namespace galley::gateway

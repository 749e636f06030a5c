// RateLimiter: requests and tokens per minute, and requests at once, per key, tenant and model.
//
// Token buckets that hold one minute's quota and fill evenly. A request *reserves* what it is
// expected to cost in every scope it counts in, all or nothing: a refusal takes nothing from
// anybody. When it ends the reservation is *settled* on what it really cost; the difference is
// given back, or owed. So in any span of T minutes at most quota * (1 + T) is granted, plus what
// the requests under way at its end turn out to have been underestimated by.
//
// A request that costs more than a whole bucket is granted when the bucket is full, and owes the
// rest. Pure: time is an argument, in milliseconds that never go back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

namespace galley::gateway {

// 0: no limit.
struct RateLimits {
  int64_t requests_per_minute = 0;
  int64_t tokens_per_minute = 0;
  int64_t concurrency = 0;

  bool any() const { return requests_per_minute > 0 || tokens_per_minute > 0 || concurrency > 0; }
  bool operator==(const RateLimits&) const = default;
};

struct LimitScope {
  uint64_t id = 0;  // of the key, tenant or model, made unique by the caller
  RateLimits limits;
};

enum class LimitKind : uint8_t { kNone, kRequests, kTokens, kConcurrency };

// The state of the scopes of one caller, for x-ratelimit-*: of each kind the tightest. Limits of 0
// are not set.
struct LimitView {
  int64_t limit_requests = 0, remaining_requests = 0, reset_requests_ms = 0;
  int64_t limit_tokens = 0, remaining_tokens = 0, reset_tokens_ms = 0;
};

struct LimitRefusal {
  LimitKind kind = LimitKind::kNone;
  uint64_t scope = 0;
  int64_t retry_after_ms = 0;  // kConcurrency: 0, nobody knows
};

class RateLimiter {
 public:
  explicit RateLimiter(size_t scopes_max = 65536) : scopes_max_(scopes_max) {}

  // Takes one request and `tokens` from every scope, under `reservation`, which is not in use.
  std::optional<LimitRefusal> reserve(uint64_t reservation, std::span<const LimitScope> scopes,
                                      int64_t tokens, int64_t now_ms);
  // The request is over and has cost `tokens`. Unknown reservations are ignored.
  void settle(uint64_t reservation, int64_t tokens, int64_t now_ms);
  // The request never began: everything goes back.
  void release(uint64_t reservation, int64_t now_ms);

  LimitView view(std::span<const LimitScope> scopes, int64_t now_ms) const;
  size_t scopes() const { return scopes_.size(); }
  size_t reservations() const { return reservations_.size(); }

 private:
  struct State {
    RateLimits limits;
    double requests = 0, tokens = 0;  // left; below 0: owed
    int64_t running = 0;
    int64_t filled_ms = 0;
  };
  struct Reservation {
    std::vector<uint64_t> scopes;
    int64_t tokens = 0;
  };

  State filled(const LimitScope& scope, int64_t now_ms) const;
  void end(uint64_t reservation, int64_t tokens_back, int64_t requests_back, int64_t now_ms);
  void forget_full(int64_t now_ms);

  const size_t scopes_max_;
  std::unordered_map<uint64_t, State> scopes_;
  std::unordered_map<uint64_t, Reservation> reservations_;
};

}  // namespace galley::gateway

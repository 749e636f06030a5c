#include "gateway/rate_limiter.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/check.h"

namespace galley::gateway {
namespace {

constexpr double kMinuteMs = 60'000;

double refill(double level, int64_t per_minute, int64_t ms) {
  if (per_minute == 0) return 0;  // Not limited, and nothing is owed.
  const double quota = static_cast<double>(per_minute);
  return std::min(quota, level + quota * static_cast<double>(ms) / kMinuteMs);
}

// Until the bucket holds `wanted`.
int64_t wait_ms(double level, double wanted, int64_t per_minute) {
  if (level >= wanted) return 0;
  return static_cast<int64_t>(
      std::ceil((wanted - level) * kMinuteMs / static_cast<double>(per_minute)));
}

// What a request of `tokens` must find: a full bucket, when it costs more than one.
double wanted(int64_t tokens, int64_t per_minute) {
  return static_cast<double>(std::min(tokens, per_minute));
}

// What is too near to a whole number to be told from it.
constexpr double kSlack = 1e-6;

}  // namespace

RateLimiter::State RateLimiter::filled(const LimitScope& scope, int64_t now_ms) const {
  const auto found = scopes_.find(scope.id);
  if (found == scopes_.end()) {
    return {scope.limits, static_cast<double>(scope.limits.requests_per_minute),
            static_cast<double>(scope.limits.tokens_per_minute), 0, now_ms};
  }
  State state = found->second;
  const int64_t ms = std::max<int64_t>(0, now_ms - state.filled_ms);
  if (state.limits != scope.limits) {  // Changed: what was used stays used.
    state.requests +=
        static_cast<double>(scope.limits.requests_per_minute - state.limits.requests_per_minute);
    state.tokens +=
        static_cast<double>(scope.limits.tokens_per_minute - state.limits.tokens_per_minute);
    state.limits = scope.limits;
  }
  state.requests = refill(state.requests, state.limits.requests_per_minute, ms);
  state.tokens = refill(state.tokens, state.limits.tokens_per_minute, ms);
  state.filled_ms = std::max(state.filled_ms, now_ms);
  return state;
}

std::optional<LimitRefusal> RateLimiter::reserve(uint64_t reservation,
                                                 std::span<const LimitScope> scopes, int64_t tokens,
                                                 int64_t now_ms) {
  GALLEY_CHECK(tokens >= 0, "a cost is not negative");
  std::vector<std::pair<uint64_t, State>> taken;
  LimitRefusal refusal;
  const auto refuse = [&refusal](LimitKind kind, uint64_t scope, int64_t ms) {
    if (refusal.kind != LimitKind::kNone && ms <= refusal.retry_after_ms) return;
    refusal = {kind, scope, ms};
  };
  for (const LimitScope& scope : scopes) {
    if (!scope.limits.any()) continue;
    State state = filled(scope, now_ms);
    const RateLimits& limits = state.limits;
    if (limits.concurrency > 0 && state.running >= limits.concurrency)
      refuse(LimitKind::kConcurrency, scope.id, 0);
    if (limits.requests_per_minute > 0 && state.requests < 1 - kSlack)
      refuse(LimitKind::kRequests, scope.id,
             wait_ms(state.requests, 1, limits.requests_per_minute));
    const double need = wanted(tokens, limits.tokens_per_minute);
    if (limits.tokens_per_minute > 0 && state.tokens < need - kSlack)
      refuse(LimitKind::kTokens, scope.id, wait_ms(state.tokens, need, limits.tokens_per_minute));
    state.requests -= 1;
    state.tokens -= static_cast<double>(tokens);
    ++state.running;
    taken.emplace_back(scope.id, state);
  }
  if (refusal.kind != LimitKind::kNone) return refusal;
  if (taken.empty()) return std::nullopt;
  if (scopes_.size() + taken.size() > scopes_max_) forget_full(now_ms);
  Reservation entry;
  entry.tokens = tokens;
  for (const auto& [id, state] : taken) {
    scopes_[id] = state;
    entry.scopes.push_back(id);
  }
  const bool fresh = reservations_.emplace(reservation, std::move(entry)).second;
  GALLEY_CHECK(fresh, "the reservation is in use");
  return std::nullopt;
}

void RateLimiter::end(uint64_t reservation, int64_t tokens, int64_t requests_back, int64_t now_ms) {
  const auto found = reservations_.find(reservation);
  if (found == reservations_.end()) return;
  for (const uint64_t id : found->second.scopes) {
    const auto scope = scopes_.find(id);
    if (scope == scopes_.end()) continue;
    State state = filled({id, scope->second.limits}, now_ms);
    const auto capped = [](double level, int64_t quota) {
      return std::min(level, static_cast<double>(quota));
    };
    state.requests = capped(state.requests + static_cast<double>(requests_back),
                            state.limits.requests_per_minute);
    state.tokens = capped(state.tokens + static_cast<double>(found->second.tokens - tokens),
                          state.limits.tokens_per_minute);
    --state.running;
    scope->second = state;
  }
  reservations_.erase(found);
}

void RateLimiter::settle(uint64_t reservation, int64_t tokens, int64_t now_ms) {
  end(reservation, tokens, 0, now_ms);
}

void RateLimiter::release(uint64_t reservation, int64_t now_ms) {
  end(reservation, 0, 1, now_ms);
}

LimitView RateLimiter::view(std::span<const LimitScope> scopes, int64_t now_ms) const {
  LimitView out;
  for (const LimitScope& scope : scopes) {
    const State state = filled(scope, now_ms);
    const auto left = [](double level) {
      return std::max<int64_t>(0, static_cast<int64_t>(std::floor(level + kSlack)));
    };
    const int64_t requests = state.limits.requests_per_minute;
    if (requests > 0 &&
        (out.limit_requests == 0 || left(state.requests) < out.remaining_requests)) {
      out.limit_requests = requests;
      out.remaining_requests = left(state.requests);
      out.reset_requests_ms = wait_ms(state.requests, static_cast<double>(requests), requests);
    }
    const int64_t tokens = state.limits.tokens_per_minute;
    if (tokens > 0 && (out.limit_tokens == 0 || left(state.tokens) < out.remaining_tokens)) {
      out.limit_tokens = tokens;
      out.remaining_tokens = left(state.tokens);
      out.reset_tokens_ms = wait_ms(state.tokens, static_cast<double>(tokens), tokens);
    }
  }
  return out;
}

// A scope whose buckets are full and that runs nothing is as if never seen.
void RateLimiter::forget_full(int64_t now_ms) {
  std::erase_if(scopes_, [this, now_ms](const auto& entry) {
    const State state = filled({entry.first, entry.second.limits}, now_ms);
    return state.running == 0 &&
           state.requests >= static_cast<double>(state.limits.requests_per_minute) &&
           state.tokens >= static_cast<double>(state.limits.tokens_per_minute);
  });
}

}  // namespace galley::gateway

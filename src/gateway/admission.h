// Admission: what may start now, what waits, and what is told to come back later.
//
// One state machine in front of an engine. It holds the requests that wait (FairQueue), knows what
// the engine holds, and lets it have only what it can run and `spare` more, so that the order is
// decided here, late, and not in the engine's queue. In this order a request meets
//   limits   RateLimiter: refused at once, and nothing is taken from anybody;
//   promise  its own deadline or longest wait against the estimate: told at once when it cannot be
//            kept, and when to come back. Who has to wait is let in only if it is kept in 90 %, and
//            leaves the queue as soon as it no longer would be: the engine does no work that comes
//            too late;
//   queue    full: refused. Else it waits for slot and memory, fairly.
//
// What the engine holds is counted in sequences and in tokens of KV cache, prompt plus the expected
// answer, corrected as tokens appear. The next in the queue is never skipped because a smaller one
// would fit: that would starve the large. A request of a higher level does not wait for the slots
// of lower ones: the engine lets it displace them, and they go on later, so at
// most `slots + spare + displaced` sequences are in the engine.
//
// Pure: time (milliseconds) is an argument, draws come from a seeded generator.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <random>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "gateway/fair_queue.h"
#include "gateway/length_estimator.h"
#include "gateway/rate_limiter.h"
#include "gateway/service_estimator.h"
#include "gateway/wait_estimator.h"

namespace galley::gateway {

struct AdmissionLimits {
  FairQueueLimits queue;
  int64_t queued_sequences_max = 1024;  // waiting; one request alone always may
  int64_t tenant_places = 8;            // a tenant holds at most so many times the places left
  int32_t spare_sequences = 2;          // in the engine beyond its slots, so that none stands empty
  int32_t displaced_sequences_max = 64;  // of lower levels, besides; at most as many as slots
  double prefill_cost = 1;               // of a prompt token
  double decode_cost = 2;                // of an output token
  // Once the rate is known FairQueueLimits::window is so much of the engine's time, within bounds.
  double window_ms = 250;
  double window_min = 256, window_max = 65536;
  double length_quantile = 0.75;  // of the expected length
  double prior_rate = 1.0;        // cost per ms, until measured
  int64_t retry_after_ms_min = 1'000;
  int64_t retry_after_ms_max = 120'000;
  double retry_spread = 0.5;  // Retry-After is 1 to 1 + this times the estimate
};

struct EngineCapacity {
  int32_t slots = 1;      // sequences in one step
  int64_t kv_tokens = 0;  // of the whole cache; 0: unknown, not counted
};

struct Ask {
  uint64_t id = 0;
  uint64_t tenant = 0;
  uint64_t user = 0;
  double weight = 1;
  int32_t level = 0;
  int32_t priority = 0;
  bool continued = false;
  int64_t prompt_tokens = 1;  // each once
  int32_t output_max = 1;     // of each sequence
  int32_t sequences = 1;
  std::optional<int64_t> deadline_ms;  // absolute: the answer is whole by then
  std::optional<int64_t> wait_ms_max;  // from now to the start
  std::array<LimitScope, 3> scopes{};  // key, tenant, model; without limits: not counted
};

enum class Reason : uint8_t {
  kNone,
  kRequestRate,  // limits of the caller
  kTokenRate,
  kConcurrency,
  kQueueFull,
  kDeadline,      // would not be, or was not, kept
  kWait,          // the same for wait_ms_max
  kBehindOthers,  // why it waits: the engine is busy and others go first
  kMemory,        // it is next, and its KV cache does not fit yet
  kSlot,          // it is next, and no slot is free
};
inline constexpr size_t kNumReasons = 10;
std::string_view reason_name(Reason reason);  // "queue_full"

struct Verdict {
  enum class Kind : uint8_t { kStart, kQueue, kRefuse };
  Kind kind = Kind::kStart;
  Reason reason = Reason::kNone;
  int64_t retry_after_ms = 0;  // kRefuse
  WaitEstimate wait;           // kQueue
  uint64_t limit_scope = 0;    // kRefuse by a limit: which of the scopes
};

// What a request that waits is told.
struct QueueNews {
  size_t position = 0;  // 1: next
  WaitEstimate start;   // from now
  int64_t waited_ms = 0;
  Reason reason = Reason::kBehindOthers;
};

// What became of a request in the engine.
struct Served {
  int64_t prompt_tokens = 0;
  int64_t computed_prompt = 0;  // of the prompt, not found in the cache
  int64_t output_tokens = 0;
  bool whole = false;  // ended by itself, not by its client or an error
};

// Waited for too long by its own terms, or its deadline can no longer be kept; it is out of the
// queue.
struct Overdue {
  uint64_t id = 0;
  Reason reason = Reason::kDeadline;
  int64_t retry_after_ms = 0;
};

class Admission {
 public:
  Admission(const AdmissionLimits& limits, const EngineCapacity& capacity, uint64_t seed);

  // Whether `ask` will be refused, as far as that is known before its prompt is prepared: by the
  // caller's limits, the queue, its terms. Takes nothing, remembers nothing.
  std::optional<Verdict> refuse_early(const Ask& ask, int64_t now_ms);
  // A request comes. kStart: it is in the engine from now on.
  Verdict ask(const Ask& ask, int64_t now_ms);
  // The next that may go to the engine now, which it is from now on; call until it has none.
  std::optional<uint64_t> start_next(int64_t now_ms);
  // Takes those out whose time is over.
  std::vector<Overdue> overdue(int64_t now_ms);
  // `id` in the engine has so many output tokens, over all its sequences.
  void progress(uint64_t id, int64_t output_tokens, int64_t now_ms);
  // `id`, waiting or in the engine, is over: settles what was reserved.
  void finish(uint64_t id, const Served& served, int64_t now_ms);

  // Of all that wait, in order. Cost: a copy of the queue.
  std::vector<std::pair<uint64_t, QueueNews>> news(int64_t now_ms) const;
  // When an average request of the tenant that came now would start, if it had to wait.
  WaitEstimate wait_for(uint64_t tenant, double weight) const;

  void set_capacity(const EngineCapacity& capacity) { capacity_ = capacity; }
  bool is_waiting(uint64_t id) const { return queue_.waits(id); }
  bool contended() const { return queue_.size() > 0; }
  const FairQueue& queue() const { return queue_; }
  const RateLimiter& limiter() const { return limiter_; }
  const WaitEstimator& waits() const { return waits_; }
  int32_t running() const { return static_cast<int32_t>(running_.size()); }
  int64_t running_sequences() const { return running_sequences_; }
  int64_t kv_reserved() const { return kv_reserved_; }
  // What it is charged when it starts.
  double expected_cost(const Ask& ask) const;
  void check_invariants() const;

 private:
  struct Waiting {
    Ask ask;
    int64_t asked_ms = 0;
    double raw_ms = 0;  // 0: it did not have to wait
    bool rate_known = false;
  };
  struct Running {
    Ask ask;
    double charged = 0;
    int64_t kv_tokens = 0;
    int64_t output_expected = 0;
    double guessed_ms = 0;  // of its service; 0: nothing was known
    int64_t started_ms = 0;
    int64_t first_token_ms = -1;
    int64_t output_tokens = 0;
  };

  int64_t expected_output(const Ask& ask, int64_t so_far) const;
  int64_t expected_kv(const Ask& ask, int64_t output) const { return ask.prompt_tokens + output; }
  Reason obstacle(const Ask& ask) const;  // kNone: it may start
  QueueItem queue_item(const Ask& ask, double cost, int64_t now_ms) const;
  void begin(const Waiting& waiting, double charged, int64_t now_ms);
  Verdict refuse(Reason reason, double after_ms);
  Verdict refuse_limit(const LimitRefusal& refused, const Ask& ask);
  // Its terms and the bound of the queue, if it has to wait, and then takes `service_ms`.
  std::optional<Verdict> refuse_wait(const Ask& ask, bool immediate, const WaitEstimate& wait,
                                     double service_ms, int64_t now_ms);
  double expected_each(const Ask& ask) const;  // output tokens of a sequence
  double service_ms(const Ask& ask) const { return services_.guess_ms(expected_each(ask)); }
  double service_p90_ms(const Ask& ask) const { return services_.p90_ms(expected_each(ask)); }
  bool hopeless(const Ask& ask, int64_t now_ms) const;
  int64_t spread(double ms);

  const AdmissionLimits limits_;
  EngineCapacity capacity_;
  FairQueue queue_;
  RateLimiter limiter_;
  LengthEstimator lengths_;
  WaitEstimator waits_;
  ServiceEstimator services_;
  std::minstd_rand random_;
  std::unordered_map<uint64_t, Waiting> waiting_;
  std::unordered_map<uint64_t, Running> running_;
  std::unordered_map<int32_t, std::pair<int64_t, int64_t>> at_level_;  // sequences, KV tokens
  int64_t running_sequences_ = 0;
  int64_t kv_reserved_ = 0;
  size_t with_terms_ = 0;  // waiting with a deadline or a longest wait
};

}  // namespace galley::gateway

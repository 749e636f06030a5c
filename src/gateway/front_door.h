// FrontDoor: the way of a request from its caller to the engine and back: limits, the fair queue,
// what is told while it waits, and the bill. docs/life_of_a_request.md has its place.
//
// Admission decides, Ledger bills, the Upstream answers; this joins them on the event loop. While a
// request waits its client hears from it each second: a comment in a stream, a blank line before a
// whole answer, and, if it asked, where it stands.
//
// Billed is what was delivered: of a stream each token that was handed to be sent, of a whole
// answer everything once it is handed over, and nothing if the client left before.
//
// Event loop only.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/histogram.h"
#include "gateway/admission.h"
#include "gateway/callers.h"
#include "gateway/exchange.h"
#include "gateway/ledger.h"
#include "gateway/upstream.h"

namespace galley::gateway {

inline constexpr double kQueueTimeBounds[] = {0.001, 0.005, 0.01, 0.05, 0.1,  0.25,
                                              0.5,   1.0,   2.5,  5.0,  10.0, 20.0,
                                              30.0,  60.,   120., 300., 600., 1800.};

struct FrontDoorOptions {
  AdmissionLimits admission;
  EngineCapacity capacity;
  uint64_t seed = 1;                // of what is drawn: the spread of Retry-After
  int64_t tick_ms = 100;            // how often those who wait are looked at
  int64_t tell_every_ms = 1000;     // a comment or event
  int64_t blank_after_ms = 10'000;  // a whole answer's first blank line; a status until then
  size_t queue_page_max = 100;      // requests shown by /v1/queue
};

// What is known of a request before its prompt is prepared.
struct Entry {
  std::shared_ptr<const Caller> caller;
  std::string user;
  std::string model;
  int32_t priority = 0;
  bool stream = false;
  bool continued = false;              // goes on with a conversation that was answered before
  bool bills_output = true;            // false: only its prompt is scored
  bool queue_events = false;           // the client understands galley.queue events
  std::optional<int64_t> deadline_ms;  // from now
  std::optional<int64_t> wait_ms_max;
};

class FrontDoor {
 public:
  using VisitId = uint64_t;

  // All pointers outlive it; `ledger` may be null: nothing is billed.
  FrontDoor(const FrontDoorOptions& options, Upstream* upstream, Callers* callers, Ledger* ledger,
            const Clock* clock, const boost::asio::any_io_executor& executor);
  ~FrontDoor();

  // Answers `sink` and, while it waits, `exchange`; never from within the call.
  VisitId enter(Entry entry, GenerationRequest request, std::shared_ptr<GenerationSink> sink,
                std::shared_ptr<Exchange> exchange);
  // The client has gone.
  void leave(VisitId id);

  void set_capacity(const EngineCapacity& capacity) { admission_.set_capacity(capacity); }
  const Admission& admission() const { return admission_; }
  // GET /v1/queue for `caller`: its own requests, and what a new one would have to expect.
  // `request_id`: only that one; empty when it does not wait.
  std::string queue_json(const Caller& caller, const std::string& request_id);
  // Requests refused at the door since the start, for whatever reason.
  uint64_t refused() const;
  // Appends galley_queue_* and galley_admission_*.
  void write_metrics(std::string& out) const;

 private:
  class Visit;
  friend class Visit;
  using VisitPtr = std::shared_ptr<Visit>;
  struct TierCounts {
    uint64_t started = 0, queued = 0, overdue = 0, left = 0;
    std::array<uint64_t, kNumReasons> refused{};
    Histogram wait_seconds{kQueueTimeBounds};
    int64_t waiting = 0;
  };

  int64_t now_ms() const { return clock_->now_ms(); }
  void prepared(const VisitPtr& visit, const Demand& demand);
  Ask make_ask(const Visit& visit, const Demand& demand) const;
  void begin(VisitId id);
  void pump();
  void tick();
  void set_timer();
  void tell(Visit& visit);
  const QueueNews* news_of(VisitId id, int64_t fresh_ms);
  bool record(Visit& visit);  // false: it could not be, and the visit is over
  void refuse(const VisitPtr& visit, const Verdict& verdict);
  void refuse(const VisitPtr& visit, const api::Error& error);
  void close(const VisitPtr& visit, bool whole);
  void set_limit_headers(Visit& visit);
  TierCounts& counts(const Visit& visit);

  const FrontDoorOptions options_;
  Upstream* const upstream_;
  Callers* const callers_;
  Ledger* const ledger_;
  const Clock* const clock_;
  Admission admission_;
  const std::string boot_;  // begins the names of this process's rows in the ledger
  boost::asio::steady_timer timer_;
  const std::shared_ptr<FrontDoor*> self_;
  bool ticking_ = false;
  bool pumping_ = false;
  VisitId last_id_ = 0;
  std::unordered_map<VisitId, VisitPtr> visits_;
  std::unordered_map<VisitId, QueueNews> news_;
  int64_t news_ms_ = -1;
  std::map<std::string, TierCounts> counts_;  // by tier
};

}  // namespace galley::gateway

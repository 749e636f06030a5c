// Engine: the thread that turns requests into tokens. docs/life_of_a_request.md has its place.
//
// Other threads talk to it by submit() and cancel() and hear from it by the sink. Nothing happens
// in direct reaction to a caller: commands wait in the inbox and are taken in one batch at the top
// of the loop, so a step never sees the world change under it.
//
//   run():  take the inbox; decide (Scheduler); compute (Runner); account (Scheduler, OutputRules);
//           tell the sink
//
// Every request that submit() takes gets exactly one event with a finish reason, whatever happens:
// tokens done, cancel, deadline, a failing runner, stop(). After that event its id is free again.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/hash.h"
#include "base/status.h"
#include "engine/constraint.h"
#include "engine/engine_stats.h"
#include "engine/output_rules.h"
#include "engine/request.h"
#include "engine/runner.h"
#include "engine/scheduler.h"
#include "kv/block_pool.h"
#include "kv/prefix_tree.h"

namespace galley::engine {

struct EngineLimits {
  int32_t requests_max = 1024;      // queued and running together (--max-num-queued-reqs)
  int32_t batch_requests_max = 64;  // requests in one step (--max-num-seqs)
  int32_t step_tokens_max = 2048;  // tokens in one step, drafts included (--max-num-batched-tokens)
  int32_t stop_tokens_max = 128;   // stop_token_ids of one request
  int32_t logit_bias_max = 1024;   // entries of one request
  int32_t close_tokens_max = 64;   // ThinkingLimit::close
  // One step of priority outweighs this much waiting. It bounds how long a request of low priority
  // can be passed by newer ones, so that none starves.
  int64_t priority_step_ms = 60'000;
};

struct EngineOptions {
  EngineLimits limits;
  bool enable_prefix_caching = true;
  int32_t drafts = 0;  // num_speculative_tokens; 0: off; at most RunnerInfo::drafts_max
  std::vector<int32_t> eos_tokens;
  std::string model_name;  // enters the names of blocks
  HashKey block_key;       // keys the names of blocks; random_hash_key() unless a test
};

// Errors  kInvalid   a limit below its minimum, or above what `runner` takes
Status validate(const EngineOptions& options, const RunnerInfo& runner);

// Everything about a request that can be judged without knowing the load.
// Errors  kInvalid   a field is out of range, by name
//         kTooLarge  prompt + max_tokens exceed the context or the whole KV cache; a list is too
//                    long
Status validate(const Request& request, const EngineLimits& limits, const RunnerInfo& runner);

class Engine {
 public:
  // Called on the engine thread, at most once a step, with at least one event. It must not block,
  // and may move the contents out of the events. It may call submit() and cancel().
  using EventSink = std::function<void(std::span<Event> events)>;

  // `options` passes validate(). `runner` and `clock` outlive the engine.
  Engine(const EngineOptions& options, Runner* runner, const Clock* clock, EventSink sink);
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Any thread; returns at once. Not ok: the request was not taken and no event follows.
  // Errors  kInvalid, kTooLarge  as validate(), or the id belongs to a live request
  //         kOverloaded          requests_max are live already
  //         kUnavailable         after drain() or stop()
  Status submit(Request request);
  // Any thread. The request ends with `reason` within one step: kCancelled when nobody wants it any
  // more, kStop when its reader has found a stop string in the text. Unknown ids are ignored,
  // because a cancel can cross the end of its request on the way.
  void cancel(RequestId id, FinishReason reason = FinishReason::kCancelled);

  // The engine thread. Returns after drain() or stop(), when nothing is live.
  void run();
  // Any thread, more than once too. drain(): no new requests; those taken are finished. stop(): no
  // new requests; those taken end with kError and kUnavailable within one step.
  void drain();
  void stop();

  // Any thread. The state after the newest step.
  EngineStats stats() const;
  // The clock of deadlines. Any thread.
  int64_t now_ms() const { return clock_->now_ms(); }
  // Any thread. Whether the newest step failed for every request because the runner cannot compute
  // (kUnavailable). A step that computes anything clears it.
  bool runner_failed() const { return runner_failed_.load(std::memory_order_relaxed); }

 private:
  struct Arrival {
    Request request;
    int64_t submitted_us = 0;
    std::unique_ptr<Constraint> constraint = {};
  };
  struct Cancel {
    RequestId id = 0;
    FinishReason reason = FinishReason::kCancelled;
  };
  enum class Mode : uint8_t { kOpen, kDraining, kStopping };

  // A live request; by the scheduler's slot.
  struct Live {
    Request request;  // its prompt has moved to the scheduler
    OutputRules rules;
    std::unique_ptr<Constraint> constraint;  // null: no grammar
    std::vector<OutputToken> unsent;         // forced before the first step
    std::vector<OutputToken> prompt_scores;  // collected until the first output token
    int64_t submitted_us = 0;
    int64_t scheduled_us = -1;  // first planned
    int64_t first_token_us = -1;
    int64_t last_token_us = -1;
  };

  // The loop, in order.
  bool take_inbox();
  std::span<const StepItem> decide();
  void account(std::span<const StepResult> results);
  void deliver();

  void admit(Arrival arrival);
  void close_at_start(Slot slot);
  void end_early(Slot slot, FinishReason reason, Status status);
  void end_overdue();
  Outcome judge(const PlannedItem& item, const StepResult& result);
  void collect_prompt_scores(const PlannedItem& item, const StepResult& result, Live* live);
  Event* open_event(Slot slot);
  void close_event(Slot slot, Event* event, FinishReason reason);
  void count_drafts(int32_t num_proposed, int32_t num_accepted);
  void count_tokens(Slot slot, const Event& event);
  void count_finished(Slot slot, FinishReason reason);
  Live& live_at(Slot slot) { return live_[static_cast<size_t>(slot)]; }

  const EngineOptions options_;
  Runner* const runner_;
  const Clock* const clock_;
  const EventSink sink_;
  const RunnerInfo info_;

  // Engine thread.
  kv::BlockPool pool_;
  kv::PrefixTree tree_;
  Scheduler scheduler_;
  std::vector<Live> live_;                     // by slot
  std::unordered_map<RequestId, Slot> slots_;  // of live requests
  std::vector<Arrival> arrivals_;              // being applied
  std::vector<Cancel> cancels_;                // being applied
  std::span<const PlannedItem> plan_;          // of the current step
  std::vector<StepItem> items_;                // of the current step
  std::vector<Outcome> outcomes_;              // of the current step
  std::vector<int32_t> kept_tokens_;           // of the current step; outcomes_ point into it
  std::vector<Event> events_;                  // of the current turn; the first num_events_
  size_t num_events_ = 0;
  std::vector<RequestId> finished_;  // of the current turn
  bool idle_checked_ = false;
  EngineStats counted_;
  std::atomic<bool> runner_failed_{false};

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable arrived_;
  Mode mode_ = Mode::kOpen;
  std::vector<Arrival> inbox_;
  std::vector<Cancel> cancel_inbox_;
  std::unordered_map<RequestId, bool> live_ids_;  // taken and not over; true: cancel is on its way
  uint64_t refused_overloaded_ = 0;
  EngineStats snapshot_;
};

}  // namespace galley::engine

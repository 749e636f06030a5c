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
#include "engine/engine_stats.h"
#include "engine/request.h"
#include "engine/runner.h"

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
  // and may move the contents out of the events. It may call cancel(), not submit().
  using EventSink = std::function<void(std::span<Event> events)>;

  // `options` passes validate(). `runner` and `clock` outlive the engine.
  Engine(const EngineOptions& options, Runner* runner, const Clock* clock, EventSink sink);
  ~Engine();

  // Any thread; returns at once. Not ok: the request was not taken and no event follows.
  // Errors  kInvalid, kTooLarge  as validate(), or the id belongs to a live request
  //         kOverloaded          requests_max are live already
  //         kUnavailable         after drain() or stop()
  Status submit(Request request);
  // Any thread. The request ends with kCancelled within one step; unknown ids are ignored, because
  // a cancel can cross the end of its request on the way.
  void cancel(RequestId id);

  // The engine thread. Returns after drain() or stop(), when nothing is live.
  void run();
  // Any thread, more than once too. drain(): no new requests; those taken are finished. stop(): no
  // new requests; those taken end with kError and kUnavailable within one step.
  void drain();
  void stop();

  // Any thread. The state after the newest step.
  EngineStats stats() const;

 private:
  class Loop;

  std::unique_ptr<Loop> loop_;
};

}  // namespace galley::engine

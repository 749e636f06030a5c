// The clients of `galley bench overload`: groups of them, each with a key, a rate and a temper,
// against one server. Open loop: requests come at their time whatever the server does. Who is
// refused comes back: a polite client after Retry-After, a naive one at once, again and again, as
// long as its patience lasts.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "cli/http_client.h"
#include "cli/workload.h"

namespace galley::cli {

struct Lengths {
  int32_t input_tokens = 0;
  int32_t output_tokens = 0;

  // What the work of a request is compared by: a prompt token 1, an output token 2, as admission
  // weighs them.
  double cost() const { return input_tokens + 2.0 * output_tokens; }
};

struct ClientGroup {
  std::string name;
  std::string api_key;
  double requests_per_s = 0;
  int32_t closed_loop = 0;        // instead: so many clients, each with one request after the other
  double from_s = 0, to_s = 0;    // it sends between these times of the run
  std::vector<Lengths> mix = {};  // drawn from
  double naive_share = 0.5;       // of its clients; the others are polite
  int64_t patience_ms = 5000;     // from its first try to the whole answer
  bool sends_deadline = true;     // tells the server of it; else it only leaves
  int32_t tries_max = 32;
  int64_t naive_pause_ms = 500;  // between tries, half to three halves of it
};

enum class Outcome : uint8_t {
  kPending,
  kGood,     // whole within its patience
  kRefused,  // was told no, and had no time left to come back
  kLate,     // let in, and not whole in time
  kFailed,   // anything else
};

// What became of one request, over all its tries. Times in ms from the start of the run; -1: never.
struct Attempt {
  uint32_t group = 0;
  Lengths lengths;
  double wanted_ms = 0;                        // when its first try was due
  double accepted_try_ms = -1;                 // when the try that was let in began
  double start_ms = -1;                        // first event of the answer
  double first_ms = -1;                        // first text
  double done_ms = -1;                         // its end, good or not
  double told_ms = -1;                         // when the server said how long it would wait
  double told_median_ms = 0, told_p90_ms = 0;  // from then on
  double output_received = 0;  // tokens; of an answer that was cut off, by its number of events
  int32_t events = 0;
  int32_t tries = 0;
  int32_t http_status = 0;  // of the last try
  double refusal_ms = -1;   // how long the last refusal took
  Outcome outcome = Outcome::kPending;
};

struct OverloadRun {
  std::vector<Attempt> attempts;
  std::map<std::string, int64_t> failures;  // why, of kFailed
  double duration_ms = 0;                   // until the last has ended
  int64_t tries = 0;
  // Of the run, the longest time by which a request went out late: the generator was too slow.
  double lag_ms_max = 0;
};

struct OverloadTarget {
  Url url;
  std::string model;
  PromptShape shape;
  uint64_t seed = 0;
};

// Plays `groups` until all requests have ended. Prints progress to standard error.
OverloadRun run_overload(const OverloadTarget& target, const std::vector<ClientGroup>& groups,
                         const std::string& title);

}  // namespace galley::cli

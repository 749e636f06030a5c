// Runner: computes one step. The second seam: model/model_runner.h is the model, a cost model on a
// virtual clock is the simulator's, and the engine's tests have their own.
//
// The scheduler never touches a tensor, the runner never decides. A request has `known` tokens
// (prompt, then output) and `computed` tokens (those whose keys and values are in the cache); a
// step computes some of the difference, and may append draft tokens to be verified.
//
// Only `known` says what a sequence holds. It never shrinks, but it need not be what execute()
// returned: the engine drops what follows a stop, and ThinkingLimit appends tokens that nobody
// sampled. After a preemption `token_begin` goes back to 0 or to the end of a prefix hit, with
// other blocks; a request may also begin above 0. Rows of rejected drafts are overwritten later.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/status.h"
#include "engine/request.h"
#include "kernels/sampling.h"

namespace galley::engine {

using BlockId = int32_t;
class Constraint;

// What is computed for one request in one step.
struct StepItem {
  RequestId id = 0;
  std::span<const int32_t> known;  // all known tokens; known[0 .. prompt_len) is the prompt
  int32_t prompt_len = 0;
  int32_t token_begin = 0;          // first position to compute
  int32_t token_count = 0;          // >= 1, drafts not counted: token_begin + token_count <= known
  std::span<const int32_t> drafts;  // follow the newest known token; only when `samples`
  bool samples = false;             // the last position is the newest known token: sample after it
  // Hold positions [0, token_begin + token_count + drafts), mostly lookahead_tokens more.
  std::span<const BlockId> blocks;
  const SamplingParams* sampling = nullptr;
  std::span<const int32_t> banned;  // tokens that may not be sampled now (min_tokens)
  // Knows `known`; its masks are the runner's to make and obey. Null: every token is allowed.
  Constraint* constraint = nullptr;
};

// The outcome for one item, in plan order. Spans are valid until the next execute().
struct StepResult {
  RequestId id = 0;
  // Not ok: the item could not be computed. The engine ends its request with this and goes on; a
  // runner whose device is gone fails every item with kUnavailable, and the server is not ready.
  Status status;
  // Empty unless the item samples: 1 + accepted drafts tokens. tokens[i] for i < size - 1 equals
  // drafts[i]; their cache rows are right. The last one's row is not computed yet.
  std::span<const kernels::SampleResult> tokens;
  // Drafts for the step after, at most RunnerInfo::drafts_max; they follow tokens.back().
  std::span<const int32_t> drafts;
  // Scores of known[token_begin + 1 ...], for positions whose next token is a prompt token; only
  // when sampling->prompt_logprobs >= 0.
  std::span<const kernels::SampleResult> prompt_scores;
};

struct RunnerInfo {
  int32_t vocab_size = 0;
  int32_t context_max = 0;        // positions a sequence may have
  int32_t num_blocks = 0;         // KV cache blocks of block_tokens
  int32_t block_tokens = 64;      // kernels::kBlockTokens; tests have smaller ones
  int32_t step_tokens_max = 0;    // tokens (drafts included) in one step
  int32_t step_requests_max = 0;  // items in one step
  int32_t drafts_max = 0;         // 0: no speculation
  // Positions beyond a step's for which an item's blocks had better have room: the runner may begin
  // the next step before it is planned.
  int32_t lookahead_tokens = 0;
};

class Runner {
 public:
  virtual ~Runner() = default;

  virtual const RunnerInfo& info() const = 0;
  // Computes one step and returns one result for each item. Blocks until tokens are on the host.
  // Engine thread only.
  virtual std::span<const StepResult> execute(std::span<const StepItem> plan) = 0;
  // The request is over: forget what is kept for it (penalty counts). Between two execute(); also
  // for requests that never ran.
  virtual void forget(RequestId id) = 0;
};

}  // namespace galley::engine

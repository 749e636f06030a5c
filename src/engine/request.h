// What the engine is asked for and what it answers. Plain data: crosses threads by value.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "kernels/sampling.h"

namespace galley::text {
class CompiledGrammar;
}

namespace galley::engine {

using RequestId = uint64_t;

// Sampler parameters as a client gives them, validated by `validate` (ranges as OpenAI's and
// vLLM's).
struct SamplingParams {
  float temperature = 1.0f;         // [0, 2]... above 2 is refused by the api, not here
  float top_p = 1.0f;               // (0, 1]
  float min_p = 0.0f;               // [0, 1]
  int32_t top_k = 0;                // 0 (or -1 on the wire): all
  float presence_penalty = 0.0f;    // [-2, 2]
  float frequency_penalty = 0.0f;   // [-2, 2]
  float repetition_penalty = 1.0f;  // (0, 2]
  uint64_t seed = 0;                // the api draws one when the client gives none
  int32_t max_tokens = 16;          // >= 1, output tokens
  int32_t min_tokens = 0;           // end tokens are banned before
  bool ignore_eos = false;
  std::vector<int32_t> stop_token_ids;
  std::vector<std::pair<int32_t, float>> logit_bias;
  int32_t logprobs = -1;         // -1: none; 0..20
  int32_t prompt_logprobs = -1;  // -1: none; 0..20. Such a request takes no prefix hit
};

// Bounds the thought of a reasoning model. When `budget` tokens of thought are known and `end` has
// not come, the engine appends `close` (tokens of "\n</think>\n\n") as if sampled, then goes on.
struct ThinkingLimit {
  bool open_at_start = false;  // the prompt ends inside an open <think>
  bool may_open = false;       // the model may open a thought by itself, before its answer
  int32_t begin = -1;          // id of <think>
  int32_t end = -1;            // id of </think>
  int32_t budget = -1;         // tokens; -1: no limit
  std::vector<int32_t> close;
};

struct Request {
  RequestId id = 0;             // unique among live requests; the engine's owner numbers them
  std::vector<int32_t> prompt;  // >= 1 token
  SamplingParams sampling;
  ThinkingLimit thinking;
  // What the answer must look like, from the end of the thought on; null: anything. Such a request
  // ends with the end of text, whatever ignore_eos says.
  std::shared_ptr<const text::CompiledGrammar> grammar;
  int32_t priority = 0;      // lower is served earlier (vLLM's convention)
  uint64_t cache_scope = 0;  // prefix-cache scope (tenant, cache_salt); 0 is the shared one
  std::optional<int64_t> deadline_ms;  // on the engine's clock; past it: Code::kDeadline
};

enum class FinishReason : uint8_t { kNone, kStop, kLength, kCancelled, kError };

struct OutputToken {
  int32_t token = 0;
  bool forced = false;  // appended by ThinkingLimit, not sampled
  float logprob = 0.0f;
  int32_t rank = 0;
  std::vector<kernels::TokenLogprob> top;  // as many as were asked for
};

// One step's news about one request. After `finish` != kNone nothing follows.
struct Event {
  RequestId id = 0;
  std::vector<OutputToken> tokens;
  // For each prompt token but the first; sent once, before the first output token.
  std::vector<OutputToken> prompt_logprobs;
  FinishReason finish = FinishReason::kNone;
  int32_t stop_token = -1;  // what ended it: an end-of-text or stop_token_ids token; -1: none
  Status status;            // not ok when finish == kError: why
  // Usage, valid in every event.
  int32_t prompt_tokens = 0;
  int32_t cached_tokens = 0;  // of the prompt, found in the prefix cache
  int32_t output_tokens = 0;
};

}  // namespace galley::engine

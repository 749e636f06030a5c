// What one row of logits needs to become a token. Shared by the runner, which fills it, and by
// every backend's Ops::sample, which obeys it.
//
// Order of operations (vLLM's, so that clients see what they are used to)
//   1. log-probabilities that are reported come from the raw logits
//   2. grammar mask, banned tokens, logit_bias
//   3. repetition penalty (prompt and output tokens), then frequency and presence (output tokens)
//   4. temperature 0 (below kGreedyBelow): the largest logit, the lowest id among equals
//   5. else divide by temperature; min_p; top_k; top_p of what top_k left; draw
// Ties at the edge of top_k and top_p: the lower id stays. At least one token stays.
// NaN is never chosen before a number, +infinity always; when every logit is NaN or -infinity the
// lowest allowed id is the token. When no token is allowed at all it is -1: a banned or masked
// token never comes out, and the caller ends the request.
// The draw is uniform(seed, position), a pure function: it does not depend on neighbours, on
// speculation or on how often the row is computed. A draft is therefore verified by sampling its
// position as usual and comparing: accepted exactly when equal, and the distribution is untouched.
#pragma once

#include <cstdint>
#include <span>
#include <utility>

namespace galley::kernels {

constexpr int32_t kLogprobsMax = 20;
constexpr float kGreedyBelow = 1e-5f;       // a temperature below this is 0
constexpr float kLogprobLowest = -9999.0f;  // reported for anything less probable, and for NaN

struct TokenCount {
  int32_t token;
  int32_t in_output;  // times it was generated
  bool in_prompt;
};

struct SampleRow {
  float temperature = 1.0f;  // 0: greedy
  float top_p = 1.0f;        // (0, 1]
  float min_p = 0.0f;        // [0, 1]
  int32_t top_k = 0;         // 0: all
  float presence_penalty = 0.0f;
  float frequency_penalty = 0.0f;
  float repetition_penalty = 1.0f;  // > 0
  uint64_t seed = 0;
  uint64_t position = 0;                    // of the token to be sampled, in its sequence
  std::span<const TokenCount> counts = {};  // distinct tokens; may be empty without penalties
  std::span<const int32_t> pending = {};    // drafts before this row that `counts` does not hold
  std::span<const std::pair<int32_t, float>> logit_bias = {};
  std::span<const int32_t> banned = {};  // never sampled: end tokens below min_tokens
  const uint32_t* mask = nullptr;        // [ceil(V / 32)] bit set = allowed; null: all
  int32_t num_logprobs = -1;             // -1: none; 0: the token's own; n: the n best too
  int32_t target = -1;                   // >= 0: nothing is drawn, this token is scored
};

struct TokenLogprob {
  int32_t token;
  float logprob;
};

struct SampleResult {
  int32_t token = 0;     // -1: no token is allowed
  float logprob = 0.0f;  // of `token`; 0 when num_logprobs is -1
  int32_t rank = 0;      // 1 = the most probable; 0 when num_logprobs is -1
  int32_t num_top = 0;   // filled entries of `top`, most probable first
  TokenLogprob top[kLogprobsMax];
};

// Uniform in [0, 1), 24 bits: a counter-based generator over both words.
float uniform(uint64_t seed, uint64_t position);

}  // namespace galley::kernels

// EngineStats: what an engine has done, as one consistent snapshot. Names follow vLLM's metrics
// (vllm:<name>), units are seconds and tokens.
#pragma once

#include <array>
#include <cstdint>

#include "base/histogram.h"
#include "engine/request.h"

namespace galley::engine {

constexpr int32_t kDraftsMax = 8;        // drafts of one request in one step
constexpr size_t kNumFinishReasons = 5;  // of FinishReason, kNone included

// Buckets as vLLM's, so that dashboards made for it fit.
inline constexpr double kFirstTokenBounds[] = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06,  0.08, 0.1,
                                               0.25,  0.5,   0.75, 1.0,  2.5,  5.0,   7.5,  10.0,
                                               20.0,  40.0,  80.0, 160., 640., 2560.0};
inline constexpr double kTokenTimeBounds[] = {0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2,
                                              0.3,  0.4,   0.5,  0.75,  1.0, 2.5,  5.0,
                                              7.5,  10.0,  20.0, 40.0,  80.0};
inline constexpr double kRequestTimeBounds[] = {0.3,  0.5,  0.8,  1.0,   1.5,   2.0,   2.5,
                                                5.0,  10.0, 15.0, 20.0,  30.0,  40.0,  50.0,
                                                60.0, 120., 240., 480.0, 960.0, 1920., 7680.0};
inline constexpr double kStepTokensBounds[] = {1,   8,    16,   32,   64,   128,  256,
                                               512, 1024, 2048, 4096, 8192, 16384};
inline constexpr double kLengthBounds[] = {
    1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000, 200000};

struct EngineStats {
  // Now.
  int32_t requests_running = 0;
  int32_t requests_waiting = 0;
  int32_t blocks_total = 0;
  int32_t blocks_held = 0;    // by running requests
  int32_t blocks_cached = 0;  // by nobody, but kept for a prefix hit

  // Since the start.
  uint64_t steps = 0;
  uint64_t prompt_tokens = 0;  // of requests whose prompt is done, prefix hits included
  uint64_t generation_tokens = 0;
  uint64_t prefix_query_tokens = 0;  // prompt tokens looked up
  uint64_t prefix_hit_tokens = 0;    // found
  uint64_t preemptions = 0;
  uint64_t draft_steps = 0;  // times drafts of a request were verified
  uint64_t drafts_proposed = 0;
  uint64_t drafts_accepted = 0;
  std::array<uint64_t, kDraftsMax> drafts_accepted_at{};  // by place in the draft
  std::array<uint64_t, kNumFinishReasons> finished{};     // by FinishReason
  uint64_t refused_overloaded = 0;                        // by submit()
  uint64_t invariant_checks = 0;                          // passed, while idle

  Histogram time_to_first_token{kFirstTokenBounds};
  Histogram inter_token_latency{kTokenTimeBounds};
  Histogram request_time_per_output_token{kTokenTimeBounds};
  Histogram e2e_request_latency{kRequestTimeBounds};
  Histogram request_queue_time{kRequestTimeBounds};
  Histogram request_prefill_time{kRequestTimeBounds};
  Histogram request_decode_time{kRequestTimeBounds};
  Histogram request_inference_time{kRequestTimeBounds};
  Histogram iteration_tokens{kStepTokensBounds};
  Histogram request_prompt_tokens{kLengthBounds};
  Histogram request_generation_tokens{kLengthBounds};
};

}  // namespace galley::engine

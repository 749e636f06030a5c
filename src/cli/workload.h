// What a load test sends and when: random arrivals or a recorded trace, and prompts of a length.
//
// Pure: everything follows from the options, the file and the seed, so a run can be repeated
// exactly. The load generator (bench_serve.cc) plays it against a server.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace galley::cli {

struct WorkloadLimits {
  size_t file_bytes_max = size_t{256} << 20;
  size_t requests_max = 1'000'000;
  int32_t tokens_max = 4 << 20;      // of one prompt or answer
  size_t prefix_blocks_max = 16384;  // of one request
};

// One request of the plan. Times count from the start of the run.
struct PlannedRequest {
  int64_t at_us = 0;
  int32_t input_tokens = 0;
  int32_t output_tokens = 0;
  // Names of the blocks of kTraceBlockTokens that the prompt begins with: equal names, equal text.
  std::vector<uint64_t> prefix_blocks;
};

// Mooncake's traces hash prompts in blocks of 512 tokens.
inline constexpr int32_t kTraceBlockTokens = 512;

// SplitMix64 (Steele, Lea, Flood 2014): the same numbers on every machine.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next();
  double uniform();                 // in [0, 1)
  uint64_t below(uint64_t bound);   // in [0, bound)
  double exponential(double mean);  // gaps of a Poisson process
  double gamma(double shape, double mean);

 private:
  uint64_t state_;
};

struct ArrivalOptions {
  double requests_per_s = 1;  // inf: all at once
  // Shape of the gaps' gamma distribution: 1 is a Poisson process, below is burstier, above is more
  // regular.
  double burstiness = 1;
  int64_t count = 0;
  int32_t input_tokens = 0;
  int32_t output_tokens = 0;
  int32_t prefix_tokens = 0;  // of the input, the same in all requests
  uint64_t seed = 0;
};
std::vector<PlannedRequest> plan_arrivals(const ArrivalOptions& options);

// The trace in `text`, earliest first, the first request at 0. The format is seen from the first
// line: JSON lines with timestamp (ms), input_length, output_length and hash_ids (Mooncake), or CSV
// with TIMESTAMP, ContextTokens and GeneratedTokens (Azure LLM inference traces).
// Errors  kInvalid names the line and field; kTooLarge more than the limits allow
Result<std::vector<PlannedRequest>> parse_trace(std::string_view text,
                                                const WorkloadLimits& limits = {});
Result<std::vector<PlannedRequest>> read_trace(const std::string& path,
                                               const WorkloadLimits& limits = {});

struct ReplayOptions {
  double speed = 1;               // 2: twice as fast as recorded
  int64_t count = 0;              // 0: all
  double duration_s = 0;          // of the replay; 0: all
  int32_t input_tokens_max = 0;   // longer prompts are cut; 0: not
  int32_t output_tokens_max = 0;  // the same for answers
};
void shape_replay(const ReplayOptions& options, std::vector<PlannedRequest>* plan);

// Prompts made of common English words. How many tokens a word has depends on the server's
// tokenizer, so the generator measures that first.
struct PromptShape {
  double tokens_per_word = 1;
  double tokens_fixed = 0;  // what the server adds to every prompt: BOS, chat template
};
// From two answers of a server: the tokens it counted for two prompts of so many words.
// Errors  kInvalid  the counts make no sense together
Result<PromptShape> fit_prompt_shape(int64_t words_a, int64_t tokens_a, int64_t words_b,
                                     int64_t tokens_b);

// `count` words that follow from `seed` alone.
std::string random_words(uint64_t seed, int64_t count);
// The text of request number `index` of a plan.
std::string make_prompt(const PlannedRequest& request, const PromptShape& shape, uint64_t seed,
                        uint64_t index);

}  // namespace galley::cli

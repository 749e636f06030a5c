// What an upstream answers, before it has a wire format: deltas of text per choice, and usage.
//
// Both endpoints and both ways of sending (at once, streamed) are made from these. Text is valid
// UTF-8; token spellings are bytes and may be half a character.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace galley::api {

struct TopLogprob {
  std::string bytes;
  int32_t token = 0;
  float logprob = 0.0f;
};

struct TokenLogprob {
  std::string bytes;  // what the token spells
  int32_t token = 0;
  float logprob = 0.0f;
  int32_t rank = 0;  // 1 = the most probable
  std::vector<TopLogprob> top;
};

// A piece of one tool call. `id` and `name` come with the first piece of each call.
struct ToolCallDelta {
  int32_t index = 0;
  std::string id;
  std::string name;
  std::string arguments;
};

enum class Finish : uint8_t { kNone, kStop, kLength, kToolCalls, kError };

// "stop", "length", "tool_calls", "error"; empty for kNone.
const char* finish_name(Finish finish);

struct Usage {
  int32_t prompt_tokens = 0;
  int32_t cached_tokens = 0;  // of the prompt, found in the prefix cache
  int32_t completion_tokens = 0;
  int32_t reasoning_tokens = 0;  // of the completion
};

// One step's news about one choice.
struct Delta {
  int32_t choice = 0;
  std::string content;
  std::string reasoning;
  std::vector<ToolCallDelta> tool_calls;
  std::vector<TokenLogprob> logprobs;  // of the tokens of this step, when asked for
  std::vector<int32_t> token_ids;      // of this step
  Finish finish = Finish::kNone;
  std::string stop_text;    // the stop string that ended it
  int32_t stop_token = -1;  // the stop_token_ids token that ended it
  Usage usage;              // of this choice so far; the prompt is counted in every choice
};

// What is known of one prompt when its first answer starts.
struct PromptInfo {
  int32_t prompt = 0;  // index among the prompts
  std::string text;    // only with echo
  std::vector<int32_t> token_ids;
  std::vector<TokenLogprob> logprobs;  // of each token but the first, when asked for
  std::vector<TokenLogprob> tokens;    // spellings of all tokens; with echo and logprobs
};

// A whole answer, gathered from deltas.
struct Choice {
  std::string content;
  std::string reasoning;
  std::vector<ToolCallDelta> tool_calls;
  std::vector<TokenLogprob> logprobs;
  std::vector<int32_t> token_ids;
  Finish finish = Finish::kNone;
  std::string stop_text;
  int32_t stop_token = -1;
  Usage usage;

  void append(Delta&& delta);
  // Mean log-probability per token; needs logprobs. What best_of ranks by.
  double mean_logprob() const;
};

// Adds up the usage of a request: each prompt once, all completions.
Usage sum_usage(const std::vector<Choice>& choices, size_t choices_per_prompt);

}  // namespace galley::api

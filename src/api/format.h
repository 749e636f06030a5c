// From answers to OpenAI's response objects, whole and as chunks of a stream.
//
// Field names, order of meaning and nulls follow OpenAI's API; DeepSeek's cache fields and vLLM's
// extras (stop_reason, token_ids, prompt_token_ids, prompt_logprobs) stand beside them. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "api/answer.h"

namespace galley::api {

// What every object of one response has in common.
struct ResponseHead {
  std::string id;  // "chatcmpl-..." or "cmpl-..."
  int64_t created_s = 0;
  std::string model;
  std::string fingerprint;  // system_fingerprint
};

// What the client asked to see.
struct ResponseOptions {
  bool logprobs = false;
  bool token_ids = false;            // return_token_ids
  bool tokens_as_token_ids = false;  // "token_id:17" instead of spellings
  bool reasoning = true;             // include_reasoning
  bool prompt_logprobs = false;
  bool include_usage = false;     // stream: a last chunk with usage, null before
  bool continuous_usage = false;  // stream: usage in every chunk
};

// POST /v1/chat/completions.
std::string chat_response(const ResponseHead& head, const ResponseOptions& options,
                          const std::vector<Choice>& choices, const PromptInfo& prompt,
                          const Usage& usage);
// The chunk that opens a choice: the role, and the prompt's ids when asked for.
std::string chat_role_chunk(const ResponseHead& head, const ResponseOptions& options,
                            int32_t choice, const PromptInfo& prompt);
// Empty when the delta has nothing to say.
std::string chat_chunk(const ResponseHead& head, const ResponseOptions& options,
                       const Delta& delta);
// The last chunk of a stream with include_usage.
std::string chat_usage_chunk(const ResponseHead& head, const Usage& usage);

// POST /v1/completions. `prompts` has one entry per prompt; choices come n for each. With echo the
// prompt's text and tokens stand before the answer's.
struct Echo {
  bool echo = false;
  bool only = false;  // max_tokens is 0: nothing but the prompt
};
std::string completion_response(const ResponseHead& head, const ResponseOptions& options,
                                const std::vector<Choice>& choices,
                                const std::vector<PromptInfo>& prompts, const Echo& echo,
                                const Usage& usage);
// `text_offset` is where the delta's text starts in the choice's text, in characters; moved on.
std::string completion_chunk(const ResponseHead& head, const ResponseOptions& options,
                             const Delta& delta, const PromptInfo* prompt, int64_t& text_offset);
// The chunk that carries the echoed prompt of a choice; moves `text_offset` on.
std::string completion_echo_chunk(const ResponseHead& head, const ResponseOptions& options,
                                  int32_t choice, const PromptInfo& prompt, int64_t& text_offset);
std::string completion_usage_chunk(const ResponseHead& head, const Usage& usage);

// Code points in valid UTF-8.
int64_t count_characters(std::string_view text);

}  // namespace galley::api

// Bounds of one request body, and what of the served model its parsing needs.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/request.h"

namespace galley::api {

struct Limits {
  size_t json_depth_max = 64;
  size_t name_bytes_max = 256;          // model, user, cache_salt, ...
  int32_t choices_max = 128;            // n, best_of, and prompts x n of one request
  size_t prompts_max = 128;             // prompts of one /v1/completions
  size_t prompt_bytes_max = 16u << 20;  // of one prompt or message
  size_t prompt_tokens_max = 4u << 20;  // of one prompt given as ids
  size_t messages_max = 4096;
  size_t parts_max = 4096;       // content parts of one message
  size_t tools_max = 128;        // OpenAI's bound
  size_t tool_calls_max = 128;   // of one message
  size_t stop_max = 16;          // stop strings
  size_t stop_bytes_max = 1024;  // of one stop string
  size_t stop_token_ids_max = 128;
  size_t grammar_bytes_max = 256u << 10;  // of a schema, regex, ...; the text layer's bound, too
  size_t logit_bias_max = 1024;
  int32_t logprobs_max = 20;  // OpenAI's bound, and the engine's
};

// Tokens a thought may have at each reasoning_effort; "high" has no bound of its own.
struct ReasoningEfforts {
  int32_t minimal_tokens = 256;
  int32_t low_tokens = 1024;
  int32_t medium_tokens = 4096;
};

struct ParseContext {
  Limits limits;
  ReasoningEfforts efforts;
  engine::SamplingParams defaults;  // of the model: generation_config.json
  int32_t vocab_size = 0;           // token ids are below it
};

}  // namespace galley::api

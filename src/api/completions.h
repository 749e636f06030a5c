// POST /v1/completions: from the body to a CompletionRequest. Formatting: api/completion_format.h.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "api/json_reader.h"
#include "api/limits.h"
#include "api/sampling_fields.h"

namespace galley::api {

// Text, or token ids taken as they are.
using Prompt = std::variant<std::string, std::vector<int32_t>>;

struct CompletionRequest {
  CommonFields common;
  std::vector<Prompt> prompts;  // >= 1; choices are numbered prompt by prompt, n for each
  std::string suffix;           // not empty: fill in between the prompt, which is text, and this
  bool echo = false;
  int32_t best_of = 1;  // >= n; candidates per prompt
  std::vector<std::string> unknown_fields;
};

Parsed<CompletionRequest> parse_completion_request(std::string_view body,
                                                   const ParseContext& context);

}  // namespace galley::api

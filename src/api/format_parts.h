// The pieces chat and text completions share. Inside api/ only.
#pragma once

#include <string>
#include <vector>

#include "api/answer.h"
#include "api/format.h"
#include "api/json_writer.h"

namespace galley::api {

void write_head(JsonWriter& json, const ResponseHead& head, std::string_view object);
// "usage": {...}, in OpenAI's and DeepSeek's dialects.
void write_usage(JsonWriter& json, const Usage& usage);
// "finish_reason" and vLLM's "stop_reason".
void write_finish(JsonWriter& json, Finish finish, const std::string& stop_text,
                  int32_t stop_token);
void write_ids(JsonWriter& json, std::string_view key, const std::vector<int32_t>& ids);
// vLLM's "prompt_logprobs": null for the first token, then {id: {logprob, rank, decoded_token}}.
void write_prompt_logprobs(JsonWriter& json, const PromptInfo& prompt);
// How a token is shown: its spelling, or "token_id:N".
std::string token_name(const std::string& bytes, int32_t token, bool as_id);

}  // namespace galley::api

// POST /v1/chat/completions: from the body to a ChatRequest. Formatting: api/chat_format.h.
//
// Messages come out in the one shape chat templates understand: `content` is a string (text parts
// joined by a newline, as vLLM does), "developer" is "system", and only known fields remain.
#pragma once

#include <boost/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/json_reader.h"
#include "api/limits.h"
#include "api/sampling_fields.h"

namespace galley::api {

// What the client said about thinking. Absent: as the model does by itself.
struct ThinkingFields {
  std::optional<bool> enabled;
  std::optional<int32_t> budget_tokens;  // >= 0; absent: no limit
};

struct ChatRequest {
  CommonFields common;
  boost::json::array messages;  // >= 1 objects: role, content, and what the role may have
  boost::json::array tools;     // as sent, empty when tool_choice is "none"
  bool tool_required = false;   // tool_choice is "required" or names a function
  std::string tool_name;        // the function that must be called; empty: any
  bool parallel_tool_calls = true;
  ThinkingFields thinking;
  bool include_reasoning = true;
  bool add_generation_prompt = true;
  bool continue_final_message = false;  // continue the last message instead of answering it
  boost::json::object template_kwargs;  // chat_template_kwargs, and documents
  std::vector<std::string> unknown_fields;
};

// Served under DeepSeek's names one model is two: deepseek-chat does not think and
// deepseek-reasoner does, unless the request itself says.
void apply_model_alias(std::string_view name, ThinkingFields& thinking);

Parsed<ChatRequest> parse_chat_request(std::string_view body, const ParseContext& context);

// Reads `messages` (and `tools`) of a body that may have other fields: /tokenize has both.
void read_messages(FieldReader& reader, const Limits& limits, boost::json::array& out,
                   bool& last_is_prefix);
void read_tools(FieldReader& reader, const Limits& limits, boost::json::array& out);

// The answer must call the function `name`, empty: any; an error when it is not among the tools.
void require_tool(FieldReader& reader, const std::string& name, ChatRequest& out);

// An error when a call is asked for and another form of answer, too.
void check_one_form(FieldReader& reader, const ChatRequest& request);

// Reads chat_template_kwargs, documents, add_generation_prompt, continue_final_message, and
// refuses chat_template.
void read_template_fields(FieldReader& reader, ChatRequest& out);

}  // namespace galley::api

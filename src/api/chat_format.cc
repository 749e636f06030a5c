#include "api/format.h"
#include "api/format_parts.h"

namespace galley::api {
namespace {

void write_bytes(JsonWriter& json, const std::string& bytes) {
  json.key("bytes").begin_array();
  for (const char byte : bytes) json.integer(static_cast<unsigned char>(byte));
  json.end_array();
}

void write_logprobs(JsonWriter& json, const ResponseOptions& options,
                    const std::vector<TokenLogprob>& logprobs) {
  json.key("logprobs");
  if (!options.logprobs) {
    json.null();
    return;
  }
  const bool as_id = options.tokens_as_token_ids;
  json.begin_object().key("content").begin_array();
  for (const TokenLogprob& token : logprobs) {
    json.begin_object();
    json.key("token").string(token_name(token.bytes, token.token, as_id));
    json.key("logprob").number(token.logprob);
    write_bytes(json, token.bytes);
    json.key("top_logprobs").begin_array();
    for (const TopLogprob& top : token.top) {
      json.begin_object();
      json.key("token").string(token_name(top.bytes, top.token, as_id));
      json.key("logprob").number(top.logprob);
      write_bytes(json, top.bytes);
      json.end_object();
    }
    json.end_array().end_object();
  }
  json.end_array().key("refusal").null().end_object();
}

void write_tool_calls(JsonWriter& json, const std::vector<ToolCallDelta>& calls, bool streamed) {
  json.key("tool_calls").begin_array();
  for (const ToolCallDelta& call : calls) {
    json.begin_object();
    if (streamed) json.key("index").integer(call.index);
    if (!call.id.empty()) {
      json.key("id").string(call.id);
      json.key("type").string("function");
    }
    json.key("function").begin_object();
    if (!call.name.empty()) json.key("name").string(call.name);
    json.key("arguments").string(call.arguments).end_object().end_object();
  }
  json.end_array();
}

void write_choice(JsonWriter& json, const ResponseOptions& options, const Choice& choice,
                  int64_t index) {
  json.begin_object().key("index").integer(index);
  json.key("message").begin_object();
  json.key("role").string("assistant");
  json.key("content");
  choice.content.empty() && !choice.tool_calls.empty() ? json.null() : json.string(choice.content);
  json.key("refusal").null();
  json.key("reasoning_content");
  choice.reasoning.empty() || !options.reasoning ? json.null() : json.string(choice.reasoning);
  if (!choice.tool_calls.empty()) write_tool_calls(json, choice.tool_calls, false);
  json.end_object();
  write_logprobs(json, options, choice.logprobs);
  write_finish(json, choice.finish, choice.stop_text, choice.stop_token);
  if (options.token_ids) write_ids(json, "token_ids", choice.token_ids);
  json.end_object();
}

void begin_chunk(JsonWriter& json, const ResponseHead& head) {
  json.begin_object();
  write_head(json, head, "chat.completion.chunk");
}

std::string end_chunk(JsonWriter& json, const ResponseOptions& options, const Usage& usage) {
  if (options.continuous_usage) {
    write_usage(json, usage);
  } else if (options.include_usage) {
    json.key("usage").null();
  }
  json.end_object();
  return json.take();
}

}  // namespace

std::string chat_response(const ResponseHead& head, const ResponseOptions& options,
                          const std::vector<Choice>& choices, const PromptInfo& prompt,
                          const Usage& usage) {
  JsonWriter json;
  json.begin_object();
  write_head(json, head, "chat.completion");
  json.key("choices").begin_array();
  int64_t index = 0;
  for (const Choice& choice : choices) write_choice(json, options, choice, index++);
  json.end_array();
  write_usage(json, usage);
  if (options.prompt_logprobs) write_prompt_logprobs(json, prompt);
  if (options.token_ids) write_ids(json, "prompt_token_ids", prompt.token_ids);
  json.end_object();
  return json.take();
}

std::string chat_role_chunk(const ResponseHead& head, const ResponseOptions& options,
                            int32_t choice, const PromptInfo& prompt) {
  JsonWriter json;
  begin_chunk(json, head);
  json.key("choices").begin_array().begin_object();
  json.key("index").integer(choice);
  json.key("delta").begin_object();
  json.key("role").string("assistant");
  json.key("content").string("").end_object();
  json.key("logprobs").null();
  json.key("finish_reason").null();
  json.end_object().end_array();
  if (options.token_ids) write_ids(json, "prompt_token_ids", prompt.token_ids);
  Usage usage;
  usage.prompt_tokens = static_cast<int32_t>(prompt.token_ids.size());
  return end_chunk(json, options, usage);
}

std::string chat_chunk(const ResponseHead& head, const ResponseOptions& options,
                       const Delta& delta) {
  const bool reasoning = options.reasoning && !delta.reasoning.empty();
  const bool empty = delta.content.empty() && !reasoning && delta.tool_calls.empty();
  const bool logprobs = options.logprobs && !delta.logprobs.empty();
  const bool token_ids = options.token_ids && !delta.token_ids.empty();
  if (empty && !logprobs && !token_ids && delta.finish == Finish::kNone) return {};
  JsonWriter json;
  begin_chunk(json, head);
  json.key("choices").begin_array().begin_object();
  json.key("index").integer(delta.choice);
  json.key("delta").begin_object();
  if (!delta.content.empty()) json.key("content").string(delta.content);
  if (reasoning) json.key("reasoning_content").string(delta.reasoning);
  if (!delta.tool_calls.empty()) write_tool_calls(json, delta.tool_calls, true);
  json.end_object();
  ResponseOptions shown = options;
  shown.logprobs = logprobs;  // A chunk without tokens has null.
  write_logprobs(json, shown, delta.logprobs);
  write_finish(json, delta.finish, delta.stop_text, delta.stop_token);
  if (token_ids) write_ids(json, "token_ids", delta.token_ids);
  json.end_object().end_array();
  return end_chunk(json, options, delta.usage);
}

std::string chat_usage_chunk(const ResponseHead& head, const Usage& usage) {
  JsonWriter json;
  begin_chunk(json, head);
  json.key("choices").begin_array().end_array();
  write_usage(json, usage);
  json.end_object();
  return json.take();
}

}  // namespace galley::api

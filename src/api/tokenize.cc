#include "api/tokenize.h"

#include <utility>

#include "api/json_writer.h"

namespace galley::api {
namespace json = boost::json;

Parsed<TokenizeRequest> parse_tokenize_request(std::string_view body, const ParseContext& context) {
  Parsed<TokenizeRequest> parsed;
  Parsed<json::object> object = parse_body(body, context.limits.json_depth_max);
  if (!object.ok()) {
    parsed.error = std::move(object.error);
    return parsed;
  }
  TokenizeRequest& request = parsed.value;
  FieldReader reader(object.value);
  reader.string("model", context.limits.name_bytes_max, request.model);
  const bool has_prompt = reader.find("prompt") != nullptr;
  const bool has_messages = reader.find("messages") != nullptr;
  if (has_prompt == has_messages) {
    reader.fail("prompt", has_prompt ? "invalid_value" : "missing_required_parameter",
                has_prompt ? "prompt and messages are both given; give one of them"
                           : "prompt or messages is missing; give one of them");
  } else if (has_prompt) {
    request.prompt.emplace();
    reader.string("prompt", context.limits.prompt_bytes_max, *request.prompt);
  } else {
    bool last_is_prefix = false;
    request.add_special_tokens = false;  // The template writes them.
    read_messages(reader, context.limits, request.chat.messages, last_is_prefix);
    read_tools(reader, context.limits, request.chat.tools);
    read_template_fields(reader, request.chat);
    if (reader.ok() && request.chat.continue_final_message && request.chat.add_generation_prompt) {
      reader.fail("continue_final_message", "invalid_value",
                  "continue_final_message needs add_generation_prompt set to false");
    }
  }
  reader.boolean("add_special_tokens", request.add_special_tokens);
  reader.boolean("return_token_strs", request.return_token_strs);
  parsed.error = reader.error();
  return parsed;
}

Parsed<DetokenizeRequest> parse_detokenize_request(std::string_view body,
                                                   const ParseContext& context) {
  Parsed<DetokenizeRequest> parsed;
  Parsed<json::object> object = parse_body(body, context.limits.json_depth_max);
  if (!object.ok()) {
    parsed.error = std::move(object.error);
    return parsed;
  }
  FieldReader reader(object.value);
  reader.string("model", context.limits.name_bytes_max, parsed.value.model);
  if (reader.find("tokens") == nullptr) {
    reader.fail("tokens", "missing_required_parameter",
                "tokens is missing; it must be an array of token ids");
  }
  reader.integers("tokens", {0, context.vocab_size - 1}, context.limits.prompt_tokens_max,
                  parsed.value.tokens);
  parsed.error = reader.error();
  return parsed;
}

std::string tokenize_response(const std::vector<int32_t>& tokens,
                              const std::vector<std::string>* spellings, int32_t max_model_len) {
  JsonWriter json;
  json.begin_object();
  json.key("count").integer(static_cast<int64_t>(tokens.size()));
  json.key("max_model_len").integer(max_model_len);
  json.key("tokens").begin_array();
  for (const int32_t token : tokens) json.integer(token);
  json.end_array().key("token_strs");
  if (spellings == nullptr) {
    json.null();
  } else {
    json.begin_array();
    for (const std::string& spelling : *spellings) json.string(spelling);
    json.end_array();
  }
  json.end_object();
  return json.take();
}

std::string detokenize_response(std::string_view text) {
  JsonWriter json;
  json.begin_object().key("prompt").string(text).end_object();
  return json.take();
}

}  // namespace galley::api

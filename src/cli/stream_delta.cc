#include "cli/stream_delta.h"

#include <boost/json/parse.hpp>

namespace galley::cli {

namespace json = boost::json;

namespace {

const json::value* find(const json::object& object, const char* key) {
  const json::value* const value = object.if_contains(key);
  return value == nullptr || value->is_null() ? nullptr : value;
}

const json::object* find_object(const json::object& object, const char* key) {
  const json::value* const value = find(object, key);
  return value != nullptr && value->is_object() ? &value->as_object() : nullptr;
}

void take_text(const json::object& object, const char* key, std::string* out) {
  const json::value* const value = find(object, key);
  if (value != nullptr && value->is_string())
    out->assign(value->as_string().c_str(), value->as_string().size());
}

void take_count(const json::object& object, const char* key, int64_t* out) {
  const json::value* const value = find(object, key);
  if (value != nullptr && value->is_int64()) *out = value->as_int64();
}

void take_usage(const json::object& usage, StreamDelta* out) {
  take_count(usage, "prompt_tokens", &out->prompt_tokens);
  take_count(usage, "completion_tokens", &out->completion_tokens);
  take_count(usage, "prompt_cache_hit_tokens", &out->cached_tokens);
  if (const json::object* details = find_object(usage, "prompt_tokens_details")) {
    take_count(*details, "cached_tokens", &out->cached_tokens);
  }
}

}  // namespace

StreamDelta parse_stream_delta(std::string_view data) {
  StreamDelta out;
  if (data == "[DONE]") {
    out.done = true;
    return out;
  }
  boost::system::error_code error;
  const json::value parsed = json::parse(json::string_view(data.data(), data.size()), error);
  if (error || !parsed.is_object()) {
    out.error = "the server sent an event that is not a JSON object";
    return out;
  }
  const json::object& event = parsed.as_object();
  if (find(event, "error") != nullptr) {
    const json::object* const detail = find_object(event, "error");
    if (detail != nullptr) take_text(*detail, "message", &out.error);
    if (out.error.empty()) out.error = "the server ended the stream with an error";
    return out;
  }
  if (const json::object* usage = find_object(event, "usage")) take_usage(*usage, &out);
  const json::value* const choices = find(event, "choices");
  if (choices == nullptr || !choices->is_array() || choices->as_array().empty() ||
      !choices->as_array()[0].is_object()) {
    return out;
  }
  const json::object& choice = choices->as_array()[0].as_object();
  take_text(choice, "finish_reason", &out.finish_reason);
  take_text(choice, "text", &out.content);
  if (const json::object* delta = find_object(choice, "delta")) {
    take_text(*delta, "content", &out.content);
    take_text(*delta, "reasoning", &out.reasoning);
    take_text(*delta, "reasoning_content", &out.reasoning);
  }
  return out;
}

Result<std::string> first_model(const Url& url, const std::string& api_key) {
  GALLEY_ASSIGN_OR_RETURN(
      const std::string answer,
      fetch(url, api_key,
            {.method = "GET", .target = "/v1/models", .timeout = std::chrono::seconds(30)}));
  boost::system::error_code error;
  const json::value parsed = json::parse(answer, error);
  const json::value* const id = error ? nullptr : parsed.find_pointer("/data/0/id", error);
  if (id == nullptr || !id->is_string()) {
    return Status(Code::kCorrupt, "the server's /v1/models names no model; give --model");
  }
  return std::string(id->as_string().c_str());
}

}  // namespace galley::cli

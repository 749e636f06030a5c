// Answers in Anthropic's shapes (api/anthropic.h).
#include <utility>

#include "api/anthropic.h"
#include "api/json_writer.h"
#include "api/sse.h"

namespace galley::api {
namespace {

// Thinking blocks come with a signature, which clients send back and nobody here reads.
constexpr std::string_view kSignature = "unsigned";

std::string_view error_type(int http) {
  switch (http) {
    case 401:
      return "authentication_error";
    case 402:
      return "billing_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 413:
      return "request_too_large";
    case 429:
      return "rate_limit_error";
    case 503:
      return "overloaded_error";
    case 504:
      return "timeout_error";
    default:
      return http >= 500 ? "api_error" : "invalid_request_error";
  }
}

std::string_view stop_reason(Finish finish, const std::string& stop_text) {
  switch (finish) {
    case Finish::kLength:
      return "max_tokens";
    case Finish::kToolCalls:
      return "tool_use";
    default:
      return stop_text.empty() ? "end_turn" : "stop_sequence";
  }
}

// "usage": what the cache held is counted apart from the rest of the prompt.
void write_usage(JsonWriter& json, const Usage& usage) {
  json.key("usage").begin_object();
  json.key("input_tokens").integer(usage.prompt_tokens - usage.cached_tokens);
  json.key("cache_creation_input_tokens").integer(0);
  json.key("cache_read_input_tokens").integer(usage.cached_tokens);
  json.key("output_tokens").integer(usage.completion_tokens).end_object();
}

void write_stop(JsonWriter& json, Finish finish, const std::string& stop_text) {
  json.key("stop_reason");
  finish == Finish::kNone ? json.null() : json.string(stop_reason(finish, stop_text));
  json.key("stop_sequence");
  stop_text.empty() ? json.null() : json.string(stop_text);
}

class MessagesWriter : public AnswerWriter {
 public:
  MessagesWriter(bool thinking, AnswerHead head) : thinking_(thinking), head_(std::move(head)) {}

  std::string whole(const Choice& choice) override {
    JsonWriter json;
    begin_message(json);
    if (thinking_ && !choice.reasoning.empty()) {
      json.begin_object().key("type").string("thinking");
      json.key("thinking").string(choice.reasoning);
      json.key("signature").string(kSignature).end_object();
    }
    if (!choice.content.empty()) {
      json.begin_object().key("type").string("text");
      json.key("text").string(choice.content).end_object();
    }
    for (const ToolCallDelta& call : choice.tool_calls) {
      json.begin_object().key("type").string("tool_use");
      json.key("id").string(call.id);
      json.key("name").string(call.name);
      json.key("input").raw(object_text(call.arguments)).end_object();
    }
    json.end_array();
    write_stop(json, choice.finish, choice.stop_text);
    write_usage(json, choice.usage);
    json.end_object();
    return json.take();
  }

  // What the prompt cost is known with the first delta; the message starts with it.
  std::string begin() override { return {}; }

  std::string delta(const Delta& delta) override {
    std::string out;
    if (!std::exchange(begun_, true)) start_message(out, delta.usage);
    if (thinking_ && !delta.reasoning.empty()) {
      enter(Kind::kThinking, out);
      piece(out, "thinking_delta", "thinking", delta.reasoning);
    }
    if (!delta.content.empty()) {
      enter(Kind::kText, out);
      piece(out, "text_delta", "text", delta.content);
    }
    for (const ToolCallDelta& call : delta.tool_calls) {
      if (!call.id.empty()) start_call(call, out);
      if (!call.arguments.empty()) piece(out, "input_json_delta", "partial_json", call.arguments);
    }
    usage_ = delta.usage;
    if (delta.finish != Finish::kNone) {
      finish_ = delta.finish;
      stop_text_ = delta.stop_text;
    }
    return out;
  }

  std::string end() override {
    std::string out;
    if (!std::exchange(begun_, true)) start_message(out, usage_);
    leave(out);
    JsonWriter json;
    json.begin_object().key("type").string("message_delta");
    json.key("delta").begin_object();
    write_stop(json, finish_, stop_text_);
    json.end_object();
    write_usage(json, usage_);
    json.end_object();
    out += sse_event("message_delta", json.text());
    out += sse_event("message_stop", "{\"type\":\"message_stop\"}");
    return out;
  }

  std::string failed(const Error& error) override {
    return sse_event("error", anthropic_error(error, head_.request_id));
  }

 private:
  enum class Kind : uint8_t { kNone, kThinking, kText, kCall };

  // All of a message up to the opened array of its content.
  void begin_message(JsonWriter& json) const {
    json.begin_object().key("id").string("msg_" + head_.id);
    json.key("type").string("message");
    json.key("role").string("assistant");
    json.key("model").string(head_.model);
    json.key("content").begin_array();
  }

  void start_message(std::string& out, Usage usage) const {
    usage.completion_tokens = 0;
    JsonWriter json;
    json.begin_object().key("type").string("message_start").key("message");
    begin_message(json);
    json.end_array();
    write_stop(json, Finish::kNone, "");
    write_usage(json, usage);
    json.end_object().end_object();
    out += sse_event("message_start", json.text());
    out += sse_event("ping", "{\"type\":\"ping\"}");
  }

  JsonWriter block_event(std::string_view type) const {
    JsonWriter json;
    json.begin_object().key("type").string(type);
    json.key("index").integer(index_);
    return json;
  }

  void enter(Kind kind, std::string& out) {
    if (open_ == kind) return;
    leave(out);
    open_ = kind;
    JsonWriter json = block_event("content_block_start");
    json.key("content_block").begin_object();
    if (kind == Kind::kThinking) {
      json.key("type").string("thinking").key("thinking").string("");
      json.key("signature").string("");
    } else {
      json.key("type").string("text").key("text").string("");
    }
    json.end_object().end_object();
    out += sse_event("content_block_start", json.text());
  }

  void start_call(const ToolCallDelta& call, std::string& out) {
    leave(out);
    open_ = Kind::kCall;
    JsonWriter json = block_event("content_block_start");
    json.key("content_block").begin_object().key("type").string("tool_use");
    json.key("id").string(call.id);
    json.key("name").string(call.name);
    json.key("input").begin_object().end_object().end_object().end_object();
    out += sse_event("content_block_start", json.text());
  }

  void piece(std::string& out, std::string_view type, std::string_view key,
             std::string_view text) const {
    JsonWriter json = block_event("content_block_delta");
    json.key("delta").begin_object().key("type").string(type);
    json.key(key).string(text).end_object().end_object();
    out += sse_event("content_block_delta", json.text());
  }

  void leave(std::string& out) {
    if (open_ == Kind::kNone) return;
    if (open_ == Kind::kThinking) piece(out, "signature_delta", "signature", kSignature);
    JsonWriter json = block_event("content_block_stop");
    json.end_object();
    out += sse_event("content_block_stop", json.text());
    open_ = Kind::kNone;
    ++index_;
  }

  const bool thinking_;
  const AnswerHead head_;
  bool begun_ = false;
  Kind open_ = Kind::kNone;
  int64_t index_ = 0;  // of the open block, or of the next one
  Usage usage_;
  Finish finish_ = Finish::kStop;
  std::string stop_text_;
};

}  // namespace

std::string count_tokens_response(size_t tokens) {
  JsonWriter json;
  json.begin_object().key("input_tokens").integer(static_cast<int64_t>(tokens)).end_object();
  return json.take();
}

std::string anthropic_error(const Error& error, std::string_view request_id) {
  JsonWriter json;
  json.begin_object().key("type").string("error");
  json.key("error").begin_object();
  json.key("type").string(error_type(error.http));
  json.key("message").string(error.message).end_object();
  json.key("request_id");
  request_id.empty() ? json.null() : json.string(request_id);
  json.end_object();
  return json.take();
}

std::unique_ptr<AnswerWriter> messages_writer(const MessagesRequest& request, AnswerHead head) {
  return std::make_unique<MessagesWriter>(request.chat.include_reasoning, std::move(head));
}

}  // namespace galley::api

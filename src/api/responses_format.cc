// Answers in the shapes of OpenAI's Responses API (api/responses.h).
#include <utility>
#include <vector>

#include "api/json_writer.h"
#include "api/responses.h"
#include "api/sse.h"

namespace galley::api {
namespace json = boost::json;
namespace {

enum class Kind : uint8_t { kNone, kReasoning, kMessage, kCall };

// One output item, whole or as far as it has come.
struct Item {
  Kind kind = Kind::kNone;
  std::string id;
  std::string text;  // thought, answer or arguments
  std::string call_id, name;
};

void write_part(JsonWriter& json, Kind kind, std::string_view text) {
  json.begin_object();
  json.key("type").string(kind == Kind::kMessage ? "output_text" : "reasoning_text");
  json.key("text").string(text);
  if (kind == Kind::kMessage) {
    json.key("annotations").begin_array().end_array();
    json.key("logprobs").begin_array().end_array();
  }
  json.end_object();
}

void write_item(JsonWriter& json, const Item& item, std::string_view status) {
  json.begin_object().key("id").string(item.id);
  const bool begun = status != "in_progress";
  switch (item.kind) {
    case Kind::kReasoning:
      json.key("type").string("reasoning");
      json.key("summary").begin_array().end_array();
      json.key("content").begin_array();
      if (begun) write_part(json, item.kind, item.text);
      json.end_array();
      break;
    case Kind::kMessage:
      json.key("type").string("message");
      json.key("role").string("assistant");
      json.key("content").begin_array();
      if (begun) write_part(json, item.kind, item.text);
      json.end_array();
      break;
    default:
      json.key("type").string("function_call");
      json.key("call_id").string(item.call_id);
      json.key("name").string(item.name);
      json.key("arguments").string(begun ? item.text : "");
  }
  json.key("status").string(status).end_object();
}

void write_usage(JsonWriter& json, const Usage& usage) {
  json.begin_object().key("input_tokens").integer(usage.prompt_tokens);
  json.key("input_tokens_details").begin_object();
  json.key("cached_tokens").integer(usage.cached_tokens).end_object();
  json.key("output_tokens").integer(usage.completion_tokens);
  json.key("output_tokens_details").begin_object();
  json.key("reasoning_tokens").integer(usage.reasoning_tokens).end_object();
  json.key("total_tokens").integer(usage.prompt_tokens + usage.completion_tokens).end_object();
}

class ResponsesWriter : public AnswerWriter {
 public:
  ResponsesWriter(const ResponsesRequest& request, AnswerHead head, KeepResponse keep)
      : head_(std::move(head)),
        id_("resp_" + head_.id),
        keep_(std::move(keep)),
        echo_(request.echo),
        store_(request.store),
        instructions_(request.instructions),
        previous_(request.previous_response_id),
        sampling_(request.chat.common.sampling),
        max_tokens_(request.chat.common.max_tokens),
        parallel_(request.chat.parallel_tool_calls),
        messages_(request.chat.messages) {
    if (!instructions_.empty()) messages_.erase(messages_.begin());
  }

  std::string whole(const Choice& choice) override {
    if (!choice.reasoning.empty()) items_.push_back(make_item(Kind::kReasoning, choice.reasoning));
    if (!choice.content.empty()) items_.push_back(make_item(Kind::kMessage, choice.content));
    for (const ToolCallDelta& call : choice.tool_calls) {
      Item item = make_item(Kind::kCall, call.arguments);
      item.call_id = call.id;
      item.name = call.name;
      items_.push_back(std::move(item));
    }
    finish_ = choice.finish;
    usage_ = choice.usage;
    std::string body = response(status());
    keep(body);
    return body;
  }

  std::string begin() override {
    std::string out;
    for (const char* type : {"response.created", "response.in_progress"})
      response_event(out, type, "in_progress");
    return out;
  }

  std::string delta(const Delta& delta) override {
    std::string out;
    if (!delta.reasoning.empty()) {
      enter(Kind::kReasoning, out);
      piece(out, "response.reasoning_text.delta", delta.reasoning);
    }
    if (!delta.content.empty()) {
      enter(Kind::kMessage, out);
      piece(out, "response.output_text.delta", delta.content);
    }
    for (const ToolCallDelta& call : delta.tool_calls) {
      if (!call.id.empty()) {
        leave(out);
        open(Kind::kCall, out, &call);
      }
      if (!call.arguments.empty())
        piece(out, "response.function_call_arguments.delta", call.arguments);
    }
    usage_ = delta.usage;
    if (delta.finish != Finish::kNone) finish_ = delta.finish;
    return out;
  }

  std::string end() override {
    std::string out;
    leave(out);
    const std::string body = response(status());
    keep(body);
    JsonWriter json = event("response." + std::string(status()));
    json.key("response").raw(body).end_object();
    out += sse_event("response." + std::string(status()), json.text());
    return out;
  }

  std::string failed(const Error& error) override {
    std::string out;
    error_ = error;
    response_event(out, "response.failed", "failed");
    return out;
  }

 private:
  std::string_view status() const {
    return finish_ == Finish::kLength ? "incomplete" : "completed";
  }

  Item make_item(Kind kind, std::string text) const {
    const char* prefix = kind == Kind::kReasoning ? "rs_" : kind == Kind::kMessage ? "msg_" : "fc_";
    Item item;
    item.kind = kind;
    item.id = prefix + head_.id + "_" + std::to_string(items_.size());
    item.text = std::move(text);
    return item;
  }

  void text_or_null(JsonWriter& json, std::string_view key, const std::string& text) const {
    json.key(key);
    text.empty() ? json.null() : json.string(text);
  }

  // The response object: what is done of its output, and what was asked for.
  std::string response(std::string_view status) const {
    JsonWriter json;
    json.begin_object().key("id").string(id_);
    json.key("object").string("response");
    json.key("created_at").integer(head_.created_s);
    json.key("status").string(status);
    json.key("background").boolean(false);
    json.key("error");
    if (error_) {
      json.begin_object().key("code").string(error_->http == 429 ? "rate_limit_exceeded"
                                                                 : "server_error");
      json.key("message").string(error_->message).end_object();
    } else {
      json.null();
    }
    json.key("incomplete_details");
    if (status == "incomplete") {
      json.begin_object().key("reason").string("max_output_tokens").end_object();
    } else {
      json.null();
    }
    text_or_null(json, "instructions", instructions_);
    json.key("max_output_tokens");
    max_tokens_ ? json.integer(*max_tokens_) : json.null();
    json.key("model").string(head_.model);
    json.key("output").begin_array();
    for (size_t i = 0; i < items_.size(); ++i) {
      const bool cut = status == "incomplete" && i + 1 == items_.size();
      write_item(json, items_[i], cut ? "incomplete" : "completed");
    }
    json.end_array();
    json.key("parallel_tool_calls").boolean(parallel_);
    text_or_null(json, "previous_response_id", previous_);
    json.key("store").boolean(store_);
    json.key("temperature").number(sampling_.temperature);
    json.key("top_p").number(sampling_.top_p);
    json.key("truncation").string("disabled");
    for (const auto& [key, value] : echo_)
      json.key({key.data(), key.size()}).raw(json::serialize(value));
    json.key("usage");
    status == "completed" || status == "incomplete" ? write_usage(json, usage_)
                                                    : static_cast<void>(json.null());
    json.end_object();
    return json.take();
  }

  JsonWriter event(std::string_view type) {
    JsonWriter json;
    json.begin_object().key("type").string(type);
    json.key("sequence_number").integer(sequence_++);
    return json;
  }

  void response_event(std::string& out, std::string_view type, std::string_view status) {
    JsonWriter json = event(type);
    json.key("response").raw(response(status)).end_object();
    out += sse_event(type, json.text());
  }

  // An event about the open item.
  JsonWriter item_event(std::string_view type) {
    JsonWriter json = event(type);
    json.key("output_index").integer(static_cast<int64_t>(items_.size()));
    json.key("item_id").string(item_.id);
    return json;
  }

  void whole_item_event(std::string& out, std::string_view type, std::string_view status) {
    JsonWriter json = event(type);
    json.key("output_index").integer(static_cast<int64_t>(items_.size()));
    json.key("item");
    write_item(json, item_, status);
    json.end_object();
    out += sse_event(type, json.text());
  }

  void part_event(std::string& out, std::string_view type) {
    JsonWriter json = item_event(type);
    json.key("content_index").integer(0).key("part");
    write_part(json, item_.kind, item_.text);
    json.end_object();
    out += sse_event(type, json.text());
  }

  void enter(Kind kind, std::string& out) {
    if (item_.kind == kind) return;
    leave(out);
    open(kind, out, nullptr);
  }

  void open(Kind kind, std::string& out, const ToolCallDelta* call) {
    item_ = make_item(kind, "");
    if (call != nullptr) {
      item_.call_id = call->id;
      item_.name = call->name;
    }
    whole_item_event(out, "response.output_item.added", "in_progress");
    if (kind != Kind::kCall) part_event(out, "response.content_part.added");
  }

  void piece(std::string& out, std::string_view type, const std::string& text) {
    item_.text += text;
    JsonWriter json = item_event(type);
    if (item_.kind != Kind::kCall) json.key("content_index").integer(0);
    json.key("delta").string(text);
    if (item_.kind == Kind::kMessage) json.key("logprobs").begin_array().end_array();
    json.end_object();
    out += sse_event(type, json.text());
  }

  void leave(std::string& out) {
    if (item_.kind == Kind::kNone) return;
    const bool call = item_.kind == Kind::kCall;
    const std::string_view type = call ? "response.function_call_arguments.done"
                                  : item_.kind == Kind::kMessage ? "response.output_text.done"
                                                                 : "response.reasoning_text.done";
    JsonWriter json = item_event(type);
    if (call) {
      json.key("name").string(item_.name);
    } else {
      json.key("content_index").integer(0);
    }
    json.key(call ? "arguments" : "text").string(item_.text);
    if (item_.kind == Kind::kMessage) json.key("logprobs").begin_array().end_array();
    json.end_object();
    out += sse_event(type, json.text());
    if (!call) part_event(out, "response.content_part.done");
    const bool cut = finish_ == Finish::kLength;
    whole_item_event(out, "response.output_item.done", cut ? "incomplete" : "completed");
    items_.push_back(std::exchange(item_, Item{}));
  }

  // The conversation with this answer, for whoever goes on from it.
  void keep(const std::string& body) {
    if (!store_ || !keep_) return;
    json::object turn{{"role", "assistant"}, {"content", nullptr}};
    json::array calls;
    for (const Item& item : items_) {
      if (item.kind == Kind::kReasoning) turn["reasoning_content"] = item.text;
      if (item.kind == Kind::kMessage) turn["content"] = item.text;
      if (item.kind == Kind::kCall) {
        calls.push_back({{"id", item.call_id},
                         {"type", "function"},
                         {"function", {{"name", item.name}, {"arguments", item.text}}}});
      }
    }
    if (calls.empty() && turn["content"].is_null()) turn["content"] = "";
    if (!calls.empty()) turn["tool_calls"] = std::move(calls);
    messages_.push_back(std::move(turn));
    keep_(id_, {std::move(messages_), body});
  }

  const AnswerHead head_;
  const std::string id_;
  const KeepResponse keep_;
  const json::object echo_;
  const bool store_;
  const std::string instructions_, previous_;
  const engine::SamplingParams sampling_;
  const std::optional<int32_t> max_tokens_;
  const bool parallel_;
  json::array messages_;
  std::vector<Item> items_;  // done
  Item item_;                // of the stream, in progress
  int64_t sequence_ = 0;
  Usage usage_;
  Finish finish_ = Finish::kStop;
  std::optional<Error> error_;
};

}  // namespace

std::unique_ptr<AnswerWriter> responses_writer(const ResponsesRequest& request, AnswerHead head,
                                               KeepResponse keep) {
  return std::make_unique<ResponsesWriter>(request, std::move(head), std::move(keep));
}

}  // namespace galley::api

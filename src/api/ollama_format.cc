// Answers in Ollama's shapes (api/ollama.h).
#include <array>
#include <ctime>
#include <utility>

#include "api/json_writer.h"
#include "api/ollama.h"

namespace galley::api {
namespace {

std::string utc_time(int64_t seconds) {
  const auto time = static_cast<std::time_t>(seconds);
  std::tm parts{};
  ::gmtime_r(&time, &parts);
  std::array<char, 32> text{};
  const size_t size = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return {text.data(), size};
}

void begin_answer(JsonWriter& json, const AnswerHead& head) {
  json.begin_object().key("model").string(head.model);
  json.key("created_at").string(utc_time(head.created_s));
}

class OllamaWriter : public AnswerWriter {
 public:
  OllamaWriter(const OllamaRequest& request, AnswerHead head, const Clock* clock)
      : generate_(request.generate),
        thinking_(request.thinking),
        head_(std::move(head)),
        clock_(clock),
        begun_us_(clock->now_us()) {}

  std::string whole(const Choice& choice) override {
    if (first_us_ < 0) first_us_ = clock_->now_us();
    JsonWriter json;
    begin_answer(json, head_);
    write_text(json, choice.content, choice.reasoning, choice.tool_calls);
    write_end(json, choice.finish, choice.usage);
    return json.take();
  }

  std::string begin() override { return {}; }

  std::string delta(const Delta& delta) override {
    if (first_us_ < 0) first_us_ = clock_->now_us();
    usage_ = delta.usage;
    if (delta.finish != Finish::kNone) finish_ = delta.finish;
    const bool thought = thinking_ && !delta.reasoning.empty();
    if (delta.content.empty() && !thought && delta.tool_calls.empty()) return {};
    JsonWriter json;
    begin_answer(json, head_);
    write_text(json, delta.content, delta.reasoning, delta.tool_calls);
    json.key("done").boolean(false).end_object();
    return json.take() + "\n";
  }

  std::string end() override {
    if (first_us_ < 0) first_us_ = clock_->now_us();
    JsonWriter json;
    begin_answer(json, head_);
    write_text(json, "", "", {});
    write_end(json, finish_, usage_);
    return json.take() + "\n";
  }

  std::string failed(const Error& error) override {
    return error_body(Dialect::kOllama, error, head_.request_id) + "\n";
  }

 private:
  void write_text(JsonWriter& json, const std::string& content, const std::string& thought,
                  const std::vector<ToolCallDelta>& calls) const {
    if (!generate_) {
      json.key("message").begin_object();
      json.key("role").string("assistant");
    }
    json.key(generate_ ? "response" : "content").string(content);
    if (thinking_ && !thought.empty()) json.key("thinking").string(thought);
    if (!calls.empty()) {
      json.key("tool_calls").begin_array();
      for (const ToolCallDelta& call : calls) {
        json.begin_object().key("function").begin_object();
        json.key("name").string(call.name);
        json.key("arguments").raw(object_text(call.arguments)).end_object().end_object();
      }
      json.end_array();
    }
    if (!generate_) json.end_object();
  }

  // Durations are in nanoseconds.
  void write_end(JsonWriter& json, Finish finish, const Usage& usage) const {
    const int64_t now_us = clock_->now_us();
    json.key("done").boolean(true);
    json.key("done_reason").string(finish == Finish::kLength ? "length" : "stop");
    json.key("total_duration").integer((now_us - begun_us_) * 1000);
    json.key("load_duration").integer(0);
    json.key("prompt_eval_count").integer(usage.prompt_tokens);
    json.key("prompt_eval_duration").integer((first_us_ - begun_us_) * 1000);
    json.key("eval_count").integer(usage.completion_tokens);
    json.key("eval_duration").integer((now_us - first_us_) * 1000);
    json.end_object();
  }

  const bool generate_, thinking_;
  const AnswerHead head_;
  const Clock* const clock_;
  const int64_t begun_us_;
  int64_t first_us_ = -1;  // when the first token came
  Usage usage_;
  Finish finish_ = Finish::kStop;
};

}  // namespace

std::string ollama_tags(const ModelCard& card) {
  JsonWriter json;
  json.begin_object().key("models").begin_array();
  for (const std::string& name : card.names) {
    json.begin_object().key("name").string(name);
    json.key("model").string(name);
    json.key("modified_at").string(utc_time(card.created_s));
    json.key("size").integer(0);
    json.key("digest").string("");
    json.key("details").begin_object();
    for (const char* key : {"parent_model", "family", "parameter_size", "quantization_level"})
      json.key(key).string("");
    json.key("format").string("safetensors").end_object().end_object();
  }
  json.end_array().end_object();
  return json.take();
}

std::string ollama_loaded(const OllamaRequest& request, const AnswerHead& head) {
  JsonWriter json;
  begin_answer(json, head);
  if (request.generate) {
    json.key("response").string("");
  } else {
    json.key("message").begin_object().key("role").string("assistant");
    json.key("content").string("").end_object();
  }
  json.key("done").boolean(true).key("done_reason").string("load").end_object();
  return json.take();
}

std::unique_ptr<AnswerWriter> ollama_writer(const OllamaRequest& request, AnswerHead head,
                                            const Clock* clock) {
  return std::make_unique<OllamaWriter>(request, std::move(head), clock);
}

}  // namespace galley::api

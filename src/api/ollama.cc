// Reading of Ollama's requests (api/ollama.h).
#include "api/ollama.h"

#include <deque>
#include <limits>
#include <utility>

#include "api/grammar_fields.h"

namespace galley::api {
namespace json = boost::json;
namespace {

constexpr size_t kTypeBytesMax = 64;
constexpr int32_t kInt32Max = std::numeric_limits<int32_t>::max();

std::string indexed(std::string_view name, size_t index) {
  return std::string(name) + "[" + std::to_string(index) + "]";
}

void refuse_images(FieldReader& fields) {
  const json::value* images = fields.find("images");
  if (images == nullptr || (images->is_array() && images->get_array().empty())) return;
  fields.refuse("images", "the model takes text only");
}

// Ollama's calls have no ids: results answer the calls before them in order.
class OllamaMessages {
 public:
  OllamaMessages(FieldReader& reader, const Limits& limits, json::array& out)
      : reader_(reader), limits_(limits), out_(out) {}

  void read() {
    const json::value* value = reader_.find("messages");
    if (value == nullptr) return;
    if (!value->is_array()) return reader_.wrong_type("messages", "an array of messages", *value);
    const json::array& messages = value->get_array();
    if (messages.size() > limits_.messages_max) {
      return reader_.fail("messages", "array_above_max_length",
                          "messages has " + std::to_string(messages.size()) + " entries; at most " +
                              std::to_string(limits_.messages_max) + " are allowed");
    }
    for (size_t i = 0; i < messages.size() && reader_.ok(); ++i)
      read_message(messages[i], reader_.name(indexed("messages", i)));
  }

 private:
  void read_message(const json::value& message, const std::string& path) {
    if (!message.is_object()) {
      return reader_.fail(
          invalid(path, "invalid_type", path + " must be an object, not " + shown(message)));
    }
    FieldReader fields(message.get_object(), path + ".");
    std::string role, content, thought;
    fields.string("role", kTypeBytesMax, role);
    fields.string("content", limits_.prompt_bytes_max, content);
    refuse_images(fields);
    if (fields.ok() && role != "system" && role != "user" && role != "assistant" &&
        role != "tool") {
      fields.fail("role", role.empty() ? "missing_required_parameter" : "invalid_value",
                  path + ".role must be 'system', 'user', 'assistant' or 'tool', not '" +
                      excerpt(role) + "'");
    }
    json::object out{{"role", role}, {"content", content}};
    if (role == "assistant") {
      fields.string("thinking", limits_.prompt_bytes_max, thought);
      if (!thought.empty()) out["reasoning_content"] = thought;
      read_calls(fields, out);
    } else if (role == "tool") {
      out["tool_call_id"] = open_calls_.empty() ? "" : open_calls_.front();
      if (!open_calls_.empty()) open_calls_.pop_front();
    }
    if (!fields.ok()) return reader_.fail(*fields.error());
    out_.push_back(std::move(out));
  }

  void read_calls(FieldReader& fields, json::object& out) {
    const json::value* value = fields.find("tool_calls");
    if (value == nullptr) return;
    if (!value->is_array()) return fields.wrong_type("tool_calls", "an array", *value);
    if (value->get_array().size() > limits_.tool_calls_max) {
      return fields.fail("tool_calls", "array_above_max_length",
                         fields.name("tool_calls") + " has more than " +
                             std::to_string(limits_.tool_calls_max) + " entries");
    }
    json::array calls;
    size_t at = 0;
    for (const json::value& call : value->get_array()) {
      const std::string path = fields.name(indexed("tool_calls", at++));
      const json::value* function =
          call.is_object() ? call.get_object().if_contains("function") : nullptr;
      if (function == nullptr || !function->is_object()) {
        return fields.fail(invalid(path + ".function", "missing_required_parameter",
                                   path + ".function must be an object with name and arguments"));
      }
      FieldReader inner(function->get_object(), path + ".function.");
      std::string name;
      inner.string("name", limits_.name_bytes_max, name);
      if (inner.ok() && name.empty())
        inner.fail("name", "missing_required_parameter", path + ".function.name is missing");
      const json::value* arguments = inner.find("arguments");
      if (inner.ok() && arguments != nullptr && !arguments->is_object())
        inner.wrong_type("arguments", "an object", *arguments);
      if (!inner.ok()) return fields.fail(*inner.error());
      open_calls_.push_back("call_" + std::to_string(num_calls_++));
      calls.push_back(
          {{"id", open_calls_.back()},
           {"type", "function"},
           {"function",
            {{"name", name},
             {"arguments", arguments != nullptr ? json::serialize(*arguments) : "{}"}}}});
    }
    if (!calls.empty()) out["tool_calls"] = std::move(calls);
  }

  FieldReader& reader_;
  const Limits& limits_;
  json::array& out_;
  std::deque<std::string> open_calls_;
  int64_t num_calls_ = 0;
};

void read_stops(FieldReader& fields, const Limits& limits, CommonFields& out) {
  const json::value* value = fields.find("stop");
  if (value == nullptr) return;
  const auto add = [&](const json::value& item) {
    if (!item.is_string()) return fields.wrong_type("stop", "an array of strings", item);
    const json::string& text = item.get_string();
    if (text.empty() || text.size() > limits.stop_bytes_max || out.stop.size() >= limits.stop_max) {
      return fields.fail("stop", "invalid_value",
                         fields.name("stop") + " must be at most " +
                             std::to_string(limits.stop_max) + " strings, each of 1 to " +
                             std::to_string(limits.stop_bytes_max) + " bytes");
    }
    out.stop.emplace_back(text.data(), text.size());
  };
  if (!value->is_array()) return add(*value);
  for (const json::value& item : value->get_array()) add(item);
}

void read_options(FieldReader& reader, const ParseContext& context, CommonFields& out) {
  const json::value* value = reader.find("options");
  if (value == nullptr) return;
  if (!value->is_object()) return reader.wrong_type("options", "an object", *value);
  FieldReader fields(value->get_object(), "options.");
  engine::SamplingParams& sampling = out.sampling;
  fields.number("temperature", {0, 2}, sampling.temperature);
  fields.number("top_p", {0, 1, true}, sampling.top_p);
  fields.number("min_p", {0, 1}, sampling.min_p);
  fields.integer("top_k", {-1, kInt32Max}, sampling.top_k);
  if (sampling.top_k == -1) sampling.top_k = 0;
  fields.number("repeat_penalty", {0, 2, true}, sampling.repetition_penalty);
  fields.number("presence_penalty", {-2, 2}, sampling.presence_penalty);
  fields.number("frequency_penalty", {-2, 2}, sampling.frequency_penalty);
  if (fields.find("seed") != nullptr) {
    int64_t seed = 0;
    fields.integer(
        "seed", {std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max()}, seed);
    out.seed = seed;
  }
  int32_t num_predict = -1;  // -1 and -2: as many as there is room for
  fields.integer("num_predict", {-2, kInt32Max}, num_predict);
  if (fields.ok() && num_predict == 0)
    fields.fail("num_predict", "invalid_value", "options.num_predict must not be 0");
  if (num_predict > 0) out.max_tokens = num_predict;
  read_stops(fields, context.limits, out);
  if (!fields.ok()) reader.fail(*fields.error());
}

// true, false, or an effort.
void read_think(FieldReader& reader, const ReasoningEfforts& efforts, ChatRequest& chat,
                bool& shown_thought) {
  const json::value* value = reader.find("think");
  if (value == nullptr) return;
  if (value->is_bool()) {
    chat.thinking.enabled = value->get_bool();
    shown_thought = value->get_bool();
    return;
  }
  if (!value->is_string())
    return reader.wrong_type("think", "true, false, 'low', 'medium' or 'high'", *value);
  chat.thinking.enabled = true;
  if (*value == "low") {
    chat.thinking.budget_tokens = efforts.low_tokens;
  } else if (*value == "medium") {
    chat.thinking.budget_tokens = efforts.medium_tokens;
  } else if (*value != "high" && *value != "max") {
    reader.fail("think", "invalid_value", "think must be true, false, 'low', 'medium' or 'high'");
  }
}

// What both endpoints have.
void read_shared(FieldReader& reader, const ParseContext& context, CommonFields& common) {
  common.sampling = context.defaults;
  common.stream = true;
  common.whole_tool_calls = true;
  reader.string("model", context.limits.name_bytes_max, common.model);
  common.model = ollama_name(std::move(common.model));
  reader.boolean("stream", common.stream);
  read_options(reader, context, common);
  read_ollama_format(reader, context.limits, common);
  for (const char* ignored : {"keep_alive", "truncate", "shift", "logprobs", "top_logprobs"})
    reader.find(ignored);
}

// A conversation of one question, in the model's template.
ChatRequest one_question(FieldReader& reader, const Limits& limits, CommonFields common,
                         const std::string& prompt) {
  ChatRequest chat;
  chat.common = std::move(common);
  std::string system;
  reader.string("system", limits.prompt_bytes_max, system);
  if (!system.empty()) chat.messages.push_back({{"role", "system"}, {"content", system}});
  chat.messages.push_back({{"role", "user"}, {"content", prompt}});
  return chat;
}

}  // namespace

std::string ollama_name(std::string name) {
  constexpr std::string_view kLatest = ":latest";
  if (name.ends_with(kLatest)) name.resize(name.size() - kLatest.size());
  return name;
}

Parsed<OllamaRequest> parse_ollama_chat(std::string_view body, const ParseContext& context) {
  Parsed<OllamaRequest> parsed;
  Parsed<json::object> object = parse_body(body, context.limits.json_depth_max);
  if (!object.ok()) {
    parsed.error = std::move(object.error);
    return parsed;
  }
  FieldReader reader(object.value);
  ChatRequest chat;
  read_shared(reader, context, chat.common);
  OllamaMessages(reader, context.limits, chat.messages).read();
  read_tools(reader, context.limits, chat.tools);
  read_think(reader, context.efforts, chat, parsed.value.thinking);
  parsed.error = reader.error();
  parsed.value.load_only = chat.messages.empty();
  chat.unknown_fields = reader.unknown();
  parsed.value.asked = std::move(chat);
  return parsed;
}

Parsed<OllamaRequest> parse_ollama_generate(std::string_view body, const ParseContext& context) {
  Parsed<OllamaRequest> parsed;
  Parsed<json::object> object = parse_body(body, context.limits.json_depth_max);
  if (!object.ok()) {
    parsed.error = std::move(object.error);
    return parsed;
  }
  OllamaRequest& request = parsed.value;
  request.generate = true;
  FieldReader reader(object.value);
  CommonFields common;
  read_shared(reader, context, common);
  refuse_images(reader);
  reader.refuse("template", "the model's own template is used");
  reader.refuse("context", "send the conversation to /api/chat");
  std::string prompt, suffix;
  reader.string("prompt", context.limits.prompt_bytes_max, prompt);
  reader.string("suffix", context.limits.prompt_bytes_max, suffix);
  bool raw = false;
  reader.boolean("raw", raw);
  request.load_only = prompt.empty();
  if (raw || !suffix.empty()) {
    CompletionRequest completion;
    completion.common = std::move(common);
    completion.prompts.emplace_back(std::move(prompt));
    completion.suffix = std::move(suffix);
    completion.unknown_fields = reader.unknown();
    request.asked = std::move(completion);
  } else {
    ChatRequest chat = one_question(reader, context.limits, std::move(common), prompt);
    read_think(reader, context.efforts, chat, request.thinking);
    chat.unknown_fields = reader.unknown();
    request.asked = std::move(chat);
  }
  parsed.error = reader.error();
  return parsed;
}

}  // namespace galley::api

// Reading of OpenAI's Responses requests, and their store (api/responses.h).
#include "api/responses.h"

#include <limits>
#include <utility>

#include "api/grammar_fields.h"

namespace galley::api {
namespace json = boost::json;
namespace {

constexpr size_t kTypeBytesMax = 64;
constexpr size_t kItemOverheadBytes = 256;  // of an entry of the store, beside its text
constexpr IntegerRange kPositive{1, std::numeric_limits<int32_t>::max()};

std::string indexed(std::string_view name, size_t index) {
  return std::string(name) + "[" + std::to_string(index) + "]";
}

class InputReader {
 public:
  InputReader(FieldReader& reader, const Limits& limits, json::array& out)
      : reader_(reader), limits_(limits), out_(out) {}

  void read() {
    const json::value* value = reader_.find("input");
    if (value == nullptr) {
      return reader_.fail("input", "missing_required_parameter",
                          "input is missing; it must be a string or an array of items");
    }
    if (value->is_string()) {
      std::string text;
      reader_.string("input", limits_.prompt_bytes_max, text);
      out_.push_back({{"role", "user"}, {"content", text}});
      return;
    }
    if (!value->is_array()) return reader_.wrong_type("input", "a string or an array", *value);
    const json::array& items = value->get_array();
    if (items.empty())
      return reader_.fail("input", "empty_array", "input is empty; it needs at least one item");
    if (items.size() > limits_.messages_max) {
      return reader_.fail("input", "array_above_max_length",
                          "input has " + std::to_string(items.size()) + " items; at most " +
                              std::to_string(limits_.messages_max) + " are allowed");
    }
    for (size_t i = 0; i < items.size() && reader_.ok(); ++i)
      read_item(items[i], reader_.name(indexed("input", i)));
    if (reader_.ok() && out_.empty())
      reader_.fail("input", "empty_array", "input says nothing; it needs a message");
  }

 private:
  void read_item(const json::value& item, const std::string& path) {
    if (!item.is_object()) {
      return reader_.fail(
          invalid(path, "invalid_type", path + " must be an object, not " + shown(item)));
    }
    FieldReader fields(item.get_object(), path + ".");
    std::string type = "message";
    fields.string("type", kTypeBytesMax, type);
    if (!fields.ok()) {
    } else if (type == "message") {
      read_message(fields, path);
    } else if (type == "reasoning") {
      read_reasoning(fields);
    } else if (type == "function_call") {
      read_call(fields, path);
    } else if (type == "function_call_output") {
      const std::string id = required(fields, "call_id", limits_.name_bytes_max);
      const std::string text = text_of(fields, "output");
      out_.push_back({{"role", "tool"}, {"content", text}, {"tool_call_id", id}});
    } else {
      fields.fail("type", "unsupported_content",
                  path +
                      ".type must be 'message', 'reasoning', 'function_call' or "
                      "'function_call_output', not '" +
                      excerpt(type) + "'");
    }
    if (!fields.ok()) reader_.fail(*fields.error());
  }

  std::string required(FieldReader& fields, const char* key, size_t bytes_max) {
    std::string text;
    fields.string(key, bytes_max, text);
    if (fields.ok() && text.empty())
      fields.fail(key, "missing_required_parameter", fields.name(key) + " is missing");
    return text;
  }

  // A string, or an array of text parts, joined by line breaks.
  std::string text_of(FieldReader& fields, const char* key) {
    std::string text;
    const json::value* value = fields.find(key);
    if (value == nullptr) {
      fields.fail(key, "missing_required_parameter", fields.name(key) + " is missing");
    } else if (value->is_string()) {
      fields.string(key, limits_.prompt_bytes_max, text);
    } else if (!value->is_array()) {
      fields.wrong_type(key, "a string or an array of text parts", *value);
    } else if (value->get_array().size() > limits_.parts_max) {
      fields.fail(key, "array_above_max_length",
                  fields.name(key) + " has " + std::to_string(value->get_array().size()) +
                      " parts; at most " + std::to_string(limits_.parts_max) + " are allowed");
    } else {
      size_t at = 0;
      for (const json::value& part : value->get_array()) {
        if (at > 0) text += '\n';
        append_part(fields, part, fields.name(indexed(key, at++)), text);
      }
    }
    return text;
  }

  void append_part(FieldReader& fields, const json::value& part, const std::string& path,
                   std::string& text) {
    if (!part.is_object()) {
      return fields.fail(
          invalid(path, "invalid_type", path + " must be an object, not " + shown(part)));
    }
    FieldReader inner(part.get_object(), path + ".");
    std::string type;
    inner.string("type", kTypeBytesMax, type);
    const bool refusal = type == "refusal";
    const bool known = refusal || type == "input_text" || type == "output_text" || type == "text" ||
                       type == "reasoning_text" || type == "summary_text";
    if (inner.ok() && !known) {
      inner.fail("type", type.empty() ? "missing_required_parameter" : "unsupported_content",
                 path + ".type must be 'input_text' or 'output_text', not '" + excerpt(type) +
                     "': the model takes text only");
    }
    std::string piece;
    const char* key = refusal ? "refusal" : "text";
    if (inner.ok() && inner.find(key) == nullptr)
      inner.fail(key, "missing_required_parameter", path + "." + key + " is missing");
    inner.string(key, limits_.prompt_bytes_max, piece);
    if (!inner.ok()) return fields.fail(*inner.error());
    text += piece;
  }

  void read_message(FieldReader& fields, const std::string& path) {
    std::string role = required(fields, "role", kTypeBytesMax);
    if (role == "developer") role = "system";
    if (fields.ok() && role != "system" && role != "user" && role != "assistant") {
      fields.fail("role", "invalid_value",
                  path + ".role must be 'user', 'assistant', 'system' or 'developer', not '" +
                      excerpt(role) + "'");
    }
    const std::string text = text_of(fields, "content");
    if (role == "assistant") {
      json::object& turn = assistant_turn(false);
      turn["content"] = text;
    } else {
      out_.push_back({{"role", role}, {"content", text}});
    }
  }

  // The thought itself, if the client has it: summaries are not what the model wrote.
  void read_reasoning(FieldReader& fields) {
    const json::value* content = fields.find("content");
    if (content == nullptr || (content->is_array() && content->get_array().empty())) return;
    const std::string text = text_of(fields, "content");
    out_.push_back({{"role", "assistant"}, {"content", nullptr}, {"reasoning_content", text}});
  }

  void read_call(FieldReader& fields, const std::string& path) {
    const std::string id = required(fields, "call_id", limits_.name_bytes_max);
    const std::string name = required(fields, "name", limits_.name_bytes_max);
    std::string arguments;
    fields.string("arguments", limits_.prompt_bytes_max, arguments);
    json::object& turn = assistant_turn(true);
    json::value& calls = turn["tool_calls"];
    if (!calls.is_array()) calls = json::array();
    if (calls.get_array().size() >= limits_.tool_calls_max) {
      fields.fail("type", "array_above_max_length",
                  path + " is one call too many; at most " +
                      std::to_string(limits_.tool_calls_max) + " are allowed in one turn");
    }
    calls.get_array().push_back({{"id", id},
                                 {"type", "function"},
                                 {"function", {{"name", name}, {"arguments", arguments}}}});
  }

  // The message of the assistant that the next item belongs to: its text follows a thought, a call
  // follows both.
  json::object& assistant_turn(bool for_call) {
    if (!out_.empty()) {
      json::object& last = out_.back().get_object();
      const bool open =
          last.at("role") == "assistant" &&
          (for_call || (last.at("content").is_null() && !last.contains("tool_calls")));
      if (open) return last;
    }
    out_.push_back({{"role", "assistant"}, {"content", nullptr}});
    return out_.back().get_object();
  }

  FieldReader& reader_;
  const Limits& limits_;
  json::array& out_;
};

// {"type": "function", "name", ...} as the function that templates know.
void read_flat_tools(FieldReader& reader, const Limits& limits, ResponsesRequest& out) {
  const json::value* value = reader.find("tools");
  out.echo["tools"] = json::array();
  if (value == nullptr) return;
  if (!value->is_array()) return reader.wrong_type("tools", "an array", *value);
  json::array functions;
  size_t at = 0;
  for (const json::value& tool : value->get_array()) {
    const std::string path = reader.name(indexed("tools", at++));
    if (!tool.is_object()) {
      return reader.fail(
          invalid(path, "invalid_type", path + " must be an object, not " + shown(tool)));
    }
    FieldReader fields(tool.get_object(), path + ".");
    std::string type;
    fields.string("type", kTypeBytesMax, type);
    if (fields.ok() && type != "function") {
      fields.fail("type", type.empty() ? "missing_required_parameter" : "unsupported_parameter",
                  path + ".type must be 'function', not '" + excerpt(type) +
                      "': other tools would be run by the server");
    }
    if (!fields.ok()) return reader.fail(*fields.error());
    json::object function;
    for (const char* key : {"name", "description", "parameters", "strict"})
      if (const json::value* given = fields.find(key); given != nullptr) function[key] = *given;
    functions.push_back({{"type", "function"}, {"function", std::move(function)}});
  }
  const json::object wrapped{{"tools", std::move(functions)}};
  FieldReader checked(wrapped);
  read_tools(checked, limits, out.chat.tools);
  if (!checked.ok()) return reader.fail(*checked.error());
  out.echo["tools"] = *value;
}

void read_flat_tool_choice(FieldReader& reader, ResponsesRequest& out) {
  out.echo["tool_choice"] = "auto";
  const json::value* value = reader.find("tool_choice");
  if (value == nullptr) return;
  out.echo["tool_choice"] = *value;
  if (value->is_object()) {
    FieldReader fields(value->get_object(), "tool_choice.");
    std::string type, name;
    fields.string("type", kTypeBytesMax, type);
    fields.string("name", kTypeBytesMax, name);
    if (fields.ok() && (type != "function" || name.empty())) {
      fields.fail("type", "invalid_value",
                  "tool_choice as an object must have type 'function' and the name of one");
    }
    if (!fields.ok()) return reader.fail(*fields.error());
    return require_tool(reader, name, out.chat);
  }
  if (!value->is_string())
    return reader.wrong_type("tool_choice", "'none', 'auto', 'required' or an object", *value);
  if (*value == "required") return require_tool(reader, {}, out.chat);
  if (*value != "auto" && *value != "none") {
    return reader.fail("tool_choice", "invalid_value",
                       "tool_choice must be 'none', 'auto' or 'required'");
  }
  if (*value == "none") out.chat.tools.clear();
}

void read_reasoning_effort(FieldReader& reader, const ReasoningEfforts& efforts,
                           ResponsesRequest& out) {
  out.echo["reasoning"] = {{"effort", nullptr}, {"summary", nullptr}};
  const json::value* value = reader.find("reasoning");
  if (value == nullptr) return;
  if (!value->is_object()) return reader.wrong_type("reasoning", "an object", *value);
  FieldReader fields(value->get_object(), "reasoning.");
  std::string effort;
  fields.string("effort", kTypeBytesMax, effort);
  if (!effort.empty() && fields.ok()) {
    ThinkingFields& thinking = out.chat.thinking;
    thinking.enabled = effort != "none";
    if (effort == "minimal") {
      thinking.budget_tokens = efforts.minimal_tokens;
    } else if (effort == "low") {
      thinking.budget_tokens = efforts.low_tokens;
    } else if (effort == "medium") {
      thinking.budget_tokens = efforts.medium_tokens;
    } else if (effort != "none" && effort != "high" && effort != "xhigh" && effort != "max") {
      fields.fail("effort", "invalid_value",
                  "reasoning.effort must be 'none', 'minimal', 'low', 'medium' or 'high', not '" +
                      excerpt(effort) + "'");
    }
    out.echo["reasoning"].get_object()["effort"] = effort;
  }
  if (!fields.ok()) reader.fail(*fields.error());
}

void read_text_format(FieldReader& reader, const Limits& limits, ResponsesRequest& out) {
  out.echo["text"] = {{"format", {{"type", "text"}}}};
  const json::value* value = reader.find("text");
  if (value == nullptr) return;
  if (!value->is_object()) return reader.wrong_type("text", "an object", *value);
  FieldReader fields(value->get_object(), "text.");
  read_flat_format(fields, "format", limits, out.chat.common);
  if (!fields.ok()) return reader.fail(*fields.error());
  if (const json::value* format = fields.find("format"); format != nullptr)
    out.echo["text"].get_object()["format"] = *format;
}

void refuse_responses_only(FieldReader& reader) {
  bool background = false;
  reader.boolean("background", background);
  if (background) {
    reader.fail("background", "unsupported_parameter",
                "background is not supported by this server: set it to false and stream");
  }
  reader.refuse("conversation", "use previous_response_id");
  reader.refuse("prompt", "send the text as input and instructions");
  std::string truncation = "disabled";
  reader.string("truncation", kTypeBytesMax, truncation);
  if (reader.ok() && truncation != "disabled")
    reader.refuse("truncation", "input that is too long is an error; shorten it");
  for (const char* ignored : {"include", "user", "service_tier", "safety_identifier",
                              "prompt_cache_key", "stream_options", "max_tool_calls"})
    reader.find(ignored);
}

}  // namespace

Parsed<ResponsesRequest> parse_responses_request(std::string_view body,
                                                 const ParseContext& context) {
  Parsed<ResponsesRequest> parsed;
  Parsed<json::object> object = parse_body(body, context.limits.json_depth_max);
  if (!object.ok()) {
    parsed.error = std::move(object.error);
    return parsed;
  }
  ResponsesRequest& request = parsed.value;
  CommonFields& common = request.chat.common;
  common.sampling = context.defaults;
  FieldReader reader(object.value);
  reader.string("model", context.limits.name_bytes_max, common.model);
  InputReader(reader, context.limits, request.chat.messages).read();
  reader.string("instructions", context.limits.prompt_bytes_max, request.instructions);
  reader.string("previous_response_id", context.limits.name_bytes_max,
                request.previous_response_id);
  reader.boolean("store", request.store);
  reader.boolean("stream", common.stream);
  if (reader.find("max_output_tokens") != nullptr) {
    int32_t tokens = 0;
    reader.integer("max_output_tokens", kPositive, tokens);
    common.max_tokens = tokens;
  }
  reader.number("temperature", {0, 2}, common.sampling.temperature);
  reader.number("top_p", {0, 1, true}, common.sampling.top_p);
  read_flat_tools(reader, context.limits, request);
  read_flat_tool_choice(reader, request);
  reader.boolean("parallel_tool_calls", request.chat.parallel_tool_calls);
  read_reasoning_effort(reader, context.efforts, request);
  read_text_format(reader, context.limits, request);
  check_one_form(reader, request.chat);
  refuse_responses_only(reader);
  const json::value* metadata = reader.find("metadata");
  if (metadata != nullptr && !metadata->is_object())
    reader.wrong_type("metadata", "an object", *metadata);
  request.echo["metadata"] = metadata != nullptr ? *metadata : json::object();
  parsed.error = reader.error();
  request.chat.unknown_fields = reader.unknown();
  return parsed;
}

std::optional<Error> resume(ResponsesRequest& request, const StoredResponse* previous) {
  json::array messages;
  if (!request.instructions.empty())
    messages.push_back({{"role", "system"}, {"content", request.instructions}});
  if (!request.previous_response_id.empty()) {
    if (previous == nullptr) {
      return invalid("previous_response_id", "previous_response_not_found",
                     "there is no response '" + excerpt(request.previous_response_id) +
                         "' (any more); send the conversation as input");
    }
    messages.insert(messages.end(), previous->messages.begin(), previous->messages.end());
  }
  messages.insert(messages.end(), request.chat.messages.begin(), request.chat.messages.end());
  request.chat.messages = std::move(messages);
  return std::nullopt;
}

// --- the store ----------------------------------------------------------------------------------

std::string ResponseStore::key_of(const std::string& owner, const std::string& id) {
  return std::to_string(owner.size()) + ":" + owner + id;
}

void ResponseStore::put(const std::string& owner, const std::string& id, StoredResponse response) {
  erase(owner, id);
  Entry entry{key_of(owner, id), std::move(response), 0};
  entry.bytes = entry.key.size() + entry.response.body.size() +
                json::serialize(entry.response.messages).size() + kItemOverheadBytes;
  if (entry.bytes > limits_.bytes_max) return;
  while (!entries_.empty() &&
         (entries_.size() >= limits_.responses_max || bytes_ + entry.bytes > limits_.bytes_max))
    erase(std::prev(entries_.end()));
  bytes_ += entry.bytes;
  entries_.push_front(std::move(entry));
  by_key_.emplace(entries_.front().key, entries_.begin());
}

const StoredResponse* ResponseStore::find(const std::string& owner, const std::string& id) {
  const auto found = by_key_.find(key_of(owner, id));
  if (found == by_key_.end()) return nullptr;
  entries_.splice(entries_.begin(), entries_, found->second);
  return &found->second->response;
}

bool ResponseStore::erase(const std::string& owner, const std::string& id) {
  const auto found = by_key_.find(key_of(owner, id));
  if (found == by_key_.end()) return false;
  erase(found->second);
  return true;
}

void ResponseStore::erase(Place place) {
  bytes_ -= place->bytes;
  by_key_.erase(place->key);
  entries_.erase(place);
}

}  // namespace galley::api

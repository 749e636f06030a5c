// The messages and tools of a chat request: checked and brought into one shape (api/chat.h).
#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <utility>

#include "api/chat.h"

namespace galley::api {
namespace json = boost::json;
namespace {

constexpr size_t kRoleBytesMax = 64;
constexpr size_t kToolNameBytesMax = 64;  // OpenAI's bound.

std::string_view view(const json::string& text) {
  return {text.data(), text.size()};
}

std::string indexed(std::string_view name, size_t index) {
  return std::string(name) + "[" + std::to_string(index) + "]";
}

class MessageReader {
 public:
  MessageReader(const json::object& message, std::string path, const Limits& limits)
      : fields_(message, path + "."), path_(std::move(path)), limits_(limits) {}

  json::object read(bool& prefix) {
    json::object out;
    std::string role;
    fields_.string("role", kRoleBytesMax, role);
    if (fields_.ok() && role.empty()) {
      fields_.fail("role", "missing_required_parameter", path_ + ".role is missing");
    } else if (role == "developer") {
      role = "system";
    } else if (fields_.ok() && role != "system" && role != "user" && role != "assistant" &&
               role != "tool") {
      fields_.fail("role", "invalid_value",
                   path_ +
                       ".role must be 'system', 'developer', 'user', 'assistant' or 'tool', "
                       "not '" +
                       excerpt(role) + "'");
    }
    out["role"] = role;
    const bool has_content = read_content(out);
    copy_string("name", limits_.name_bytes_max, out);
    if (role == "assistant") {
      const bool has_calls = read_tool_calls(out);
      copy_string("reasoning_content", limits_.prompt_bytes_max, out);
      fields_.boolean("prefix", prefix);
      if (!has_content && has_calls) out["content"] = nullptr;
      if (!has_content && !has_calls) out["content"] = "";
    } else if (fields_.ok() && !has_content) {
      fields_.fail("content", "missing_required_parameter",
                   path_ + ".content is missing; it must be a string or an array of text parts");
    }
    if (role == "tool") copy_string("tool_call_id", limits_.name_bytes_max, out);
    return out;
  }

  const std::optional<Error>& error() const { return fields_.error(); }

 private:
  void copy_string(std::string_view key, size_t bytes_max, json::object& out) {
    if (fields_.find(key) == nullptr) return;
    std::string text;
    fields_.string(key, bytes_max, text);
    out[{key.data(), key.size()}] = text;
  }

  bool read_content(json::object& out) {
    const json::value* content = fields_.find("content");
    if (content == nullptr) return false;
    if (content->is_string()) {
      std::string text;
      fields_.string("content", limits_.prompt_bytes_max, text);
      out["content"] = text;
      return true;
    }
    if (!content->is_array()) {
      fields_.wrong_type("content", "a string or an array of text parts", *content);
      return true;
    }
    const json::array& parts = content->get_array();
    if (parts.size() > limits_.parts_max) {
      fields_.fail("content", "array_above_max_length",
                   path_ + ".content has " + std::to_string(parts.size()) + " parts; at most " +
                       std::to_string(limits_.parts_max) + " are allowed");
      return true;
    }
    std::string text;
    for (size_t i = 0; i < parts.size() && fields_.ok(); ++i) {
      if (i > 0) text += '\n';
      append_part(parts[i], path_ + "." + indexed("content", i), text);
    }
    out["content"] = text;
    return true;
  }

  void append_part(const json::value& part, const std::string& path, std::string& text) {
    if (part.is_string()) {
      text += view(part.get_string());
      return;
    }
    if (!part.is_object()) {
      return fields_.fail(
          invalid(path, "invalid_type", path + " must be an object, not " + shown(part)));
    }
    FieldReader fields(part.get_object(), path + ".");
    std::string type;
    fields.string("type", kRoleBytesMax, type);
    if (fields.ok() && type != "text") {
      fields.fail(
          "type", type.empty() ? "missing_required_parameter" : "unsupported_content",
          path + ".type must be 'text', not '" + excerpt(type) + "': the model takes text only");
    }
    std::string piece;
    if (fields.ok() && fields.find("text") == nullptr)
      fields.fail("text", "missing_required_parameter", path + ".text is missing");
    fields.string("text", limits_.prompt_bytes_max, piece);
    if (!fields.ok()) return fields_.fail(*fields.error());
    text += piece;
  }

  bool read_tool_calls(json::object& out) {
    const json::value* value = fields_.find("tool_calls");
    if (value == nullptr) return false;
    if (!value->is_array()) {
      fields_.wrong_type("tool_calls", "an array", *value);
      return true;
    }
    const json::array& calls = value->get_array();
    if (calls.empty()) return false;
    if (calls.size() > limits_.tool_calls_max) {
      fields_.fail("tool_calls", "array_above_max_length",
                   path_ + ".tool_calls has " + std::to_string(calls.size()) +
                       " entries; at most " + std::to_string(limits_.tool_calls_max) +
                       " are allowed");
      return true;
    }
    json::array checked;
    for (size_t i = 0; i < calls.size() && fields_.ok(); ++i)
      checked.push_back(read_call(calls[i], path_ + "." + indexed("tool_calls", i)));
    out["tool_calls"] = std::move(checked);
    return true;
  }

  json::object read_call(const json::value& call, const std::string& path) {
    if (!call.is_object()) {
      fields_.fail(invalid(path, "invalid_type", path + " must be an object, not " + shown(call)));
      return {};
    }
    FieldReader outer(call.get_object(), path + ".");
    std::string id;
    outer.string("id", limits_.name_bytes_max, id);
    const json::value* function = outer.find("function");
    if (outer.ok() && (function == nullptr || !function->is_object())) {
      outer.fail("function", "missing_required_parameter",
                 path + ".function must be an object with name and arguments");
    }
    if (!outer.ok()) {
      fields_.fail(*outer.error());
      return {};
    }
    FieldReader inner(function->get_object(), path + ".function.");
    std::string name;
    std::string arguments;
    inner.string("name", limits_.name_bytes_max, name);
    if (inner.ok() && name.empty())
      inner.fail("name", "missing_required_parameter", path + ".function.name is missing");
    inner.string("arguments", limits_.prompt_bytes_max, arguments);
    if (!inner.ok()) {
      fields_.fail(*inner.error());
      return {};
    }
    return {
        {"id", id}, {"type", "function"}, {"function", {{"name", name}, {"arguments", arguments}}}};
  }

  FieldReader fields_;
  const std::string path_;
  const Limits& limits_;
};

bool is_tool_name(std::string_view name) {
  return !name.empty() && name.size() <= kToolNameBytesMax &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '_' || c == '-' || c == '.';
         });
}

std::optional<Error> check_tool(const json::value& tool, const std::string& path) {
  if (!tool.is_object())
    return invalid(path, "invalid_type", path + " must be an object, not " + shown(tool));
  FieldReader outer(tool.get_object(), path + ".");
  std::string type = "function";
  outer.string("type", kRoleBytesMax, type);
  if (outer.ok() && type != "function") {
    outer.fail("type", "invalid_value",
               path + ".type must be 'function', not '" + excerpt(type) + "'");
  }
  const json::value* function = outer.find("function");
  if (outer.ok() && (function == nullptr || !function->is_object())) {
    outer.fail("function", "missing_required_parameter",
               path + ".function must be an object with a name");
  }
  if (!outer.ok()) return outer.error();
  FieldReader inner(function->get_object(), path + ".function.");
  std::string name;
  inner.string("name", kToolNameBytesMax, name);
  if (inner.ok() && !is_tool_name(name)) {
    inner.fail("name", "invalid_value",
               path + ".function.name must have 1 to 64 letters, digits, '_', '-' or '.', not '" +
                   excerpt(name) + "'");
  }
  const json::value* parameters = inner.find("parameters");
  if (inner.ok() && parameters != nullptr && !parameters->is_object())
    inner.wrong_type("parameters", "an object", *parameters);
  bool strict = false;
  inner.boolean("strict", strict);
  return inner.error();
}

}  // namespace

void read_messages(FieldReader& reader, const Limits& limits, json::array& out,
                   bool& last_is_prefix) {
  const json::value* value = reader.find("messages");
  if (value == nullptr) {
    return reader.fail("messages", "missing_required_parameter",
                       "messages is missing; it must be an array of messages");
  }
  if (!value->is_array()) return reader.wrong_type("messages", "an array of messages", *value);
  const json::array& messages = value->get_array();
  if (messages.empty()) {
    return reader.fail("messages", "empty_array",
                       "messages is empty; it needs at least one message");
  }
  if (messages.size() > limits.messages_max) {
    return reader.fail("messages", "array_above_max_length",
                       "messages has " + std::to_string(messages.size()) + " entries; at most " +
                           std::to_string(limits.messages_max) + " are allowed");
  }
  for (size_t i = 0; i < messages.size(); ++i) {
    const std::string path = reader.name(indexed("messages", i));
    if (!messages[i].is_object()) {
      return reader.fail(
          invalid(path, "invalid_type", path + " must be an object, not " + shown(messages[i])));
    }
    MessageReader message(messages[i].get_object(), path, limits);
    bool prefix = false;
    out.push_back(message.read(prefix));
    if (message.error()) return reader.fail(*message.error());
    if (prefix && i + 1 < messages.size()) {
      return reader.fail(invalid(path + ".prefix", "invalid_value",
                                 path + ".prefix may be true only in the last message"));
    }
    last_is_prefix = prefix;
  }
}

void read_tools(FieldReader& reader, const Limits& limits, json::array& out) {
  const json::value* value = reader.find("tools");
  if (value == nullptr) return;
  if (!value->is_array()) return reader.wrong_type("tools", "an array", *value);
  const json::array& tools = value->get_array();
  if (tools.size() > limits.tools_max) {
    return reader.fail("tools", "array_above_max_length",
                       "tools has " + std::to_string(tools.size()) + " entries; at most " +
                           std::to_string(limits.tools_max) + " are allowed");
  }
  for (size_t i = 0; i < tools.size(); ++i) {
    if (auto error = check_tool(tools[i], reader.name(indexed("tools", i))))
      return reader.fail(std::move(*error));
  }
  out = tools;
}

}  // namespace galley::api

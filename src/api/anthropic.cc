// Reading of Anthropic's requests (api/anthropic.h).
#include "api/anthropic.h"

#include <limits>
#include <utility>

#include "api/grammar_fields.h"

namespace galley::api {
namespace json = boost::json;
namespace {

constexpr size_t kTypeBytesMax = 64;
constexpr IntegerRange kPositive{1, std::numeric_limits<int32_t>::max()};

std::string indexed(std::string_view name, size_t index) {
  return std::string(name) + "[" + std::to_string(index) + "]";
}

// One content block, for whoever reads it; `fields` is ready to read its members.
struct Block {
  FieldReader& fields;
  const std::string& type;
  const std::string& path;
};

// Calls `use` for each block of `value`: a string is one text block, an array has objects with a
// type. Errors go to `reader`.
template <typename Use>
void for_each_block(FieldReader& reader, const json::value& value, std::string_view key,
                    const Limits& limits, Use use) {
  static const std::string kText = "text";
  if (value.is_string()) {
    const json::object block{{"text", value}};
    FieldReader fields(block, reader.name(key) + ".");
    const std::string path = reader.name(key);
    use(Block{fields, kText, path});
    if (!fields.ok()) reader.fail(*fields.error());
    return;
  }
  if (!value.is_array()) return reader.wrong_type(key, "a string or an array of blocks", value);
  const json::array& blocks = value.get_array();
  if (blocks.size() > limits.parts_max) {
    return reader.fail(key, "array_above_max_length",
                       reader.name(key) + " has " + std::to_string(blocks.size()) +
                           " blocks; at most " + std::to_string(limits.parts_max) + " are allowed");
  }
  for (size_t i = 0; i < blocks.size() && reader.ok(); ++i) {
    const std::string path = reader.name(indexed(key, i));
    if (!blocks[i].is_object()) {
      return reader.fail(
          invalid(path, "invalid_type", path + " must be an object, not " + shown(blocks[i])));
    }
    FieldReader fields(blocks[i].get_object(), path + ".");
    std::string type;
    fields.string("type", kTypeBytesMax, type);
    if (fields.ok() && type.empty())
      fields.fail("type", "missing_required_parameter", path + ".type is missing");
    if (fields.ok()) use(Block{fields, type, path});
    if (!fields.ok()) reader.fail(*fields.error());
  }
}

void refuse_block(const Block& block, std::string_view allowed) {
  block.fields.fail("type", "unsupported_content",
                    block.path + ".type must be " + std::string(allowed) + ", not '" +
                        excerpt(block.type) + "': the model takes text only");
}

std::string text_of(const Block& block, const char* key, size_t bytes_max) {
  std::string text;
  if (block.fields.find(key) == nullptr) {
    block.fields.fail(key, "missing_required_parameter",
                      block.path + "." + key + " is missing; it must be a string");
  }
  block.fields.string(key, bytes_max, text);
  return text;
}

// The texts of `value`, joined by line breaks; only text blocks may stand in it.
std::string joined_text(FieldReader& reader, const json::value& value, std::string_view key,
                        const Limits& limits) {
  std::string out;
  bool first = true;
  for_each_block(reader, value, key, limits, [&](const Block& block) {
    if (block.type != "text") return refuse_block(block, "'text'");
    if (!std::exchange(first, false)) out += '\n';
    out += text_of(block, "text", limits.prompt_bytes_max);
  });
  return out;
}

class MessagesReader {
 public:
  MessagesReader(FieldReader& reader, const Limits& limits, json::array& out)
      : reader_(reader), limits_(limits), out_(out) {}

  void read() {
    if (const json::value* system = reader_.find("system"); system != nullptr) {
      std::string text = joined_text(reader_, *system, "system", limits_);
      if (!text.empty()) out_.push_back({{"role", "system"}, {"content", text}});
    }
    const json::value* value = reader_.find("messages");
    if (value == nullptr) {
      return reader_.fail("messages", "missing_required_parameter",
                          "messages is missing; it must be an array of messages");
    }
    if (!value->is_array()) return reader_.wrong_type("messages", "an array of messages", *value);
    const json::array& messages = value->get_array();
    if (messages.empty()) {
      return reader_.fail("messages", "empty_array",
                          "messages is empty; it needs at least one message");
    }
    if (messages.size() > limits_.messages_max) {
      return reader_.fail("messages", "array_above_max_length",
                          "messages has " + std::to_string(messages.size()) + " entries; at most " +
                              std::to_string(limits_.messages_max) + " are allowed");
    }
    for (size_t i = 0; i < messages.size() && reader_.ok(); ++i)
      read_message(messages[i], reader_.name(indexed("messages", i)));
    if (reader_.ok() && out_.empty())
      reader_.fail("messages", "empty_array", "messages say nothing; one needs content");
  }

 private:
  void read_message(const json::value& message, const std::string& path) {
    if (!message.is_object()) {
      return reader_.fail(
          invalid(path, "invalid_type", path + " must be an object, not " + shown(message)));
    }
    FieldReader fields(message.get_object(), path + ".");
    std::string role;
    fields.string("role", kTypeBytesMax, role);
    const json::value* content = fields.find("content");
    if (fields.ok() && role != "user" && role != "assistant") {
      fields.fail("role", role.empty() ? "missing_required_parameter" : "invalid_value",
                  path + ".role must be 'user' or 'assistant', not '" + excerpt(role) + "'");
    } else if (fields.ok() && content == nullptr) {
      fields.fail("content", "missing_required_parameter",
                  path + ".content is missing; it must be a string or an array of blocks");
    } else if (fields.ok()) {
      role == "user" ? read_user(fields, *content) : read_assistant(fields, *content);
    }
    if (!fields.ok()) reader_.fail(*fields.error());
  }

  // Results of tools are messages of their own and stand before what the user says with them.
  void read_user(FieldReader& fields, const json::value& content) {
    std::string text;
    bool has_text = false;
    for_each_block(fields, content, "content", limits_, [&](const Block& block) {
      if (block.type == "tool_result") return add_result(block);
      if (block.type != "text") return refuse_block(block, "'text' or 'tool_result'");
      if (std::exchange(has_text, true)) text += '\n';
      text += text_of(block, "text", limits_.prompt_bytes_max);
    });
    if (has_text) out_.push_back({{"role", "user"}, {"content", text}});
  }

  void add_result(const Block& block) {
    const std::string id = text_of(block, "tool_use_id", limits_.name_bytes_max);
    std::string text;
    if (const json::value* content = block.fields.find("content"); content != nullptr)
      text = joined_text(block.fields, *content, "content", limits_);
    bool is_error = false;
    block.fields.boolean("is_error", is_error);
    if (is_error) text = "Error: " + text;
    out_.push_back({{"role", "tool"}, {"content", text}, {"tool_call_id", id}});
  }

  void read_assistant(FieldReader& fields, const json::value& content) {
    std::string text, thought;
    bool has_text = false;
    json::array calls;
    for_each_block(fields, content, "content", limits_, [&](const Block& block) {
      if (block.type == "text") {
        if (std::exchange(has_text, true)) text += '\n';
        text += text_of(block, "text", limits_.prompt_bytes_max);
      } else if (block.type == "thinking") {
        thought += text_of(block, "thinking", limits_.prompt_bytes_max);
      } else if (block.type == "tool_use") {
        if (calls.size() >= limits_.tool_calls_max) {
          return block.fields.fail("type", "array_above_max_length",
                                   block.path + " is one tool_use too many; at most " +
                                       std::to_string(limits_.tool_calls_max) + " are allowed");
        }
        calls.push_back(read_call(block));
      } else if (block.type != "redacted_thinking") {  // Nothing of that one can be read.
        refuse_block(block, "'text', 'thinking' or 'tool_use'");
      }
    });
    json::object message{{"role", "assistant"}};
    message["content"] = has_text || calls.empty() ? json::value(text) : json::value(nullptr);
    if (!thought.empty()) message["reasoning_content"] = thought;
    if (!calls.empty()) message["tool_calls"] = std::move(calls);
    out_.push_back(std::move(message));
  }

  json::object read_call(const Block& block) {
    const std::string id = text_of(block, "id", limits_.name_bytes_max);
    const std::string name = text_of(block, "name", limits_.name_bytes_max);
    const json::value* input = block.fields.find("input");
    if (input == nullptr || !input->is_object()) {
      block.fields.fail("input", "invalid_type", block.path + ".input must be an object");
      return {};
    }
    if (!block.fields.ok()) return {};
    return {{"id", id},
            {"type", "function"},
            {"function", {{"name", name}, {"arguments", json::serialize(*input)}}}};
  }

  FieldReader& reader_;
  const Limits& limits_;
  json::array& out_;
};

// {"name", "description", "input_schema"} as the function that templates know.
void read_messages_tools(FieldReader& reader, const Limits& limits, json::array& out) {
  const json::value* value = reader.find("tools");
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
    std::string type = "custom";
    fields.string("type", kTypeBytesMax, type);
    if (fields.ok() && type != "custom") {
      fields.fail("type", "unsupported_parameter",
                  path + ".type is '" + excerpt(type) +
                      "'; only tools that the client runs ('custom') are known here");
    }
    json::object function;
    for (const char* key : {"name", "description", "strict"})
      if (const json::value* given = fields.find(key); given != nullptr) function[key] = *given;
    const json::value* schema = fields.find("input_schema");
    if (fields.ok() && schema == nullptr) {
      fields.fail("input_schema", "missing_required_parameter",
                  path + ".input_schema is missing; it must be a JSON Schema");
    }
    if (!fields.ok()) return reader.fail(*fields.error());
    function["parameters"] = *schema;
    functions.push_back({{"type", "function"}, {"function", std::move(function)}});
  }
  const json::object wrapped{{"tools", std::move(functions)}};
  FieldReader checked(wrapped);
  read_tools(checked, limits, out);
  if (!checked.ok()) reader.fail(*checked.error());
}

void read_messages_tool_choice(FieldReader& reader, ChatRequest& out) {
  const json::value* value = reader.find("tool_choice");
  if (value == nullptr) return;
  if (!value->is_object()) return reader.wrong_type("tool_choice", "an object", *value);
  FieldReader fields(value->get_object(), reader.name("tool_choice") + ".");
  std::string type;
  fields.string("type", kTypeBytesMax, type);
  bool one_call = false;
  fields.boolean("disable_parallel_tool_use", one_call);
  std::string name;
  if (fields.ok() && type == "tool") {
    fields.string("name", kTypeBytesMax, name);
    if (fields.ok() && name.empty()) {
      fields.fail("name", "missing_required_parameter",
                  "tool_choice.name is missing; it says which tool must be called");
    }
  } else if (fields.ok() && type != "auto" && type != "any" && type != "none") {
    fields.fail(
        "type", type.empty() ? "missing_required_parameter" : "invalid_value",
        "tool_choice.type must be 'auto', 'any', 'tool' or 'none', not '" + excerpt(type) + "'");
  }
  if (!fields.ok()) return reader.fail(*fields.error());
  out.parallel_tool_calls = !one_call;
  if (type == "none") out.tools.clear();
  if (type == "any" || type == "tool") require_tool(reader, name, out);
}

// {"type": "json_schema", "schema": ...}, by itself in output_format or within output_config.
void read_messages_format(FieldReader& reader, const Limits& limits, CommonFields& out) {
  read_flat_format(reader, "output_format", limits, out);
  const json::value* value = reader.find("output_config");
  if (value == nullptr) return;
  if (!value->is_object()) return reader.wrong_type("output_config", "an object", *value);
  FieldReader fields(value->get_object(), "output_config.");
  read_flat_format(fields, "format", limits, out);
  if (!fields.ok()) reader.fail(*fields.error());
}

// Without `thinking` the model does as it does, and the thought is left out of the answer.
void read_messages_thinking(FieldReader& reader, ChatRequest& out) {
  out.include_reasoning = false;
  const json::value* value = reader.find("thinking");
  if (value == nullptr) return;
  if (!value->is_object()) return reader.wrong_type("thinking", "an object", *value);
  FieldReader fields(value->get_object(), reader.name("thinking") + ".");
  std::string type;
  fields.string("type", kTypeBytesMax, type);
  if (fields.ok() && type != "enabled" && type != "disabled" && type != "adaptive") {
    fields.fail(
        "type", type.empty() ? "missing_required_parameter" : "invalid_value",
        "thinking.type must be 'enabled', 'adaptive' or 'disabled', not '" + excerpt(type) + "'");
  }
  int32_t budget = -1;
  fields.integer("budget_tokens", {0, kPositive.max}, budget);
  if (fields.ok() && type == "enabled" && budget < 0) {
    fields.fail("budget_tokens", "missing_required_parameter",
                "thinking.budget_tokens is missing; it says how many tokens the thought may have");
  } else if (fields.ok() && type != "enabled" && budget >= 0) {
    fields.fail("budget_tokens", "invalid_value",
                "thinking.budget_tokens needs thinking.type 'enabled'");
  }
  if (!fields.ok()) return reader.fail(*fields.error());
  if (type != "adaptive") out.thinking.enabled = type == "enabled";
  if (budget >= 0) out.thinking.budget_tokens = budget;
  out.include_reasoning = type != "disabled";
}

void read_stop_sequences(FieldReader& reader, const Limits& limits, CommonFields& out) {
  const json::value* value = reader.find("stop_sequences");
  if (value == nullptr) return;
  if (!value->is_array()) return reader.wrong_type("stop_sequences", "an array", *value);
  if (value->get_array().size() > limits.stop_max) {
    return reader.fail("stop_sequences", "array_above_max_length",
                       "stop_sequences has " + std::to_string(value->get_array().size()) +
                           " strings; at most " + std::to_string(limits.stop_max) + " are allowed");
  }
  for (const json::value& item : value->get_array()) {
    if (!item.is_string()) return reader.wrong_type("stop_sequences", "an array of strings", item);
    const json::string& text = item.get_string();
    if (text.empty() || text.size() > limits.stop_bytes_max) {
      return reader.fail("stop_sequences", "invalid_value",
                         "a stop sequence must have from 1 to " +
                             std::to_string(limits.stop_bytes_max) + " bytes, not " +
                             std::to_string(text.size()));
    }
    out.stop.emplace_back(text.data(), text.size());
  }
}

// What says which prompt: shared by both endpoints.
void read_conversation(FieldReader& reader, const Limits& limits, ChatRequest& out) {
  reader.string("model", limits.name_bytes_max, out.common.model);
  MessagesReader(reader, limits, out.messages).read();
  read_messages_tools(reader, limits, out.tools);
  read_messages_tool_choice(reader, out);
  read_messages_thinking(reader, out);
  if (!reader.ok() || out.messages.empty()) return;
  const json::object& last = out.messages.back().get_object();
  if (last.at("role") == "assistant" && !last.contains("tool_calls")) {
    out.continue_final_message = true;
    out.add_generation_prompt = false;
  }
}

}  // namespace

Parsed<MessagesRequest> parse_messages_request(std::string_view body, const ParseContext& context) {
  Parsed<MessagesRequest> parsed;
  Parsed<json::object> object = parse_body(body, context.limits.json_depth_max);
  if (!object.ok()) {
    parsed.error = std::move(object.error);
    return parsed;
  }
  ChatRequest& chat = parsed.value.chat;
  CommonFields& common = chat.common;
  common.sampling = context.defaults;
  FieldReader reader(object.value);
  read_conversation(reader, context.limits, chat);
  int32_t max_tokens = 0;
  reader.integer("max_tokens", kPositive, max_tokens);
  if (reader.ok() && max_tokens == 0) {
    reader.fail("max_tokens", "missing_required_parameter",
                "max_tokens is missing; it must be a number of tokens, at least 1");
  }
  common.max_tokens = max_tokens;
  reader.number("temperature", {0, 1}, common.sampling.temperature);
  reader.number("top_p", {0, 1, true}, common.sampling.top_p);
  reader.integer("top_k", {0, kPositive.max}, common.sampling.top_k);
  read_stop_sequences(reader, context.limits, common);
  read_messages_format(reader, context.limits, common);
  check_one_form(reader, chat);
  reader.boolean("stream", common.stream);
  for (const char* ignored : {"metadata", "service_tier", "inference_geo"}) reader.find(ignored);
  for (const char* other : {"mcp_servers", "container", "context_management"})
    reader.refuse(other, "remove it");
  parsed.error = reader.error();
  chat.unknown_fields = reader.unknown();
  return parsed;
}

Parsed<TokenizeRequest> parse_count_tokens_request(std::string_view body,
                                                   const ParseContext& context) {
  Parsed<TokenizeRequest> parsed;
  Parsed<json::object> object = parse_body(body, context.limits.json_depth_max);
  if (!object.ok()) {
    parsed.error = std::move(object.error);
    return parsed;
  }
  FieldReader reader(object.value);
  read_conversation(reader, context.limits, parsed.value.chat);
  parsed.value.model = parsed.value.chat.common.model;
  parsed.value.add_special_tokens = false;  // The template writes them.
  parsed.error = reader.error();
  return parsed;
}

}  // namespace galley::api

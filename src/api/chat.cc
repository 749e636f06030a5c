#include "api/chat.h"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

namespace galley::api {
namespace json = boost::json;
namespace {

constexpr IntegerRange kPositive{1, std::numeric_limits<int32_t>::max()};

void read_max_tokens(FieldReader& reader, CommonFields& out) {
  for (const std::string_view key : {"max_tokens", "max_completion_tokens"}) {  // The last wins.
    if (reader.find(key) == nullptr) continue;
    int32_t tokens = 0;
    reader.integer(key, kPositive, tokens);
    out.max_tokens = tokens;
  }
  if (reader.ok() && out.max_tokens && out.sampling.min_tokens > *out.max_tokens) {
    reader.fail("min_tokens", "invalid_value",
                "min_tokens is " + std::to_string(out.sampling.min_tokens) +
                    "; it must be at most max_tokens, which is " + std::to_string(*out.max_tokens));
  }
}

void read_logprobs(FieldReader& reader, const Limits& limits, CommonFields& out) {
  bool wanted = false;
  reader.boolean("logprobs", wanted);
  int32_t top = 0;
  reader.integer("top_logprobs", {0, limits.logprobs_max}, top);
  if (reader.ok() && top > 0 && !wanted) {
    reader.fail("top_logprobs", "invalid_value",
                "top_logprobs needs logprobs: set logprobs to true");
  }
  out.sampling.logprobs = wanted ? top : -1;
}

// DeepSeek's `thinking`, OpenAI's `reasoning_effort`, vLLM's `thinking_token_budget`. An exact
// budget goes before an effort; two different budgets contradict each other.
class ThinkingReader {
 public:
  ThinkingReader(FieldReader& reader, const ReasoningEfforts& efforts)
      : reader_(reader), efforts_(efforts) {}

  void read(ThinkingFields& out) {
    read_effort(out);
    read_thinking(out);
    read_budget(out);
    if (reader_.ok() && exact_) out.budget_tokens = exact_;
    if (reader_.ok() && no_limit_ && !exact_) out.budget_tokens.reset();
  }

 private:
  void read_effort(ThinkingFields& out) {
    if (reader_.find("reasoning_effort") == nullptr) return;
    std::string effort;
    reader_.string("reasoning_effort", 64, effort);
    if (!reader_.ok()) return;
    out.enabled = effort != "none";
    if (effort == "minimal") {
      out.budget_tokens = efforts_.minimal_tokens;
    } else if (effort == "low") {
      out.budget_tokens = efforts_.low_tokens;
    } else if (effort == "medium") {
      out.budget_tokens = efforts_.medium_tokens;
    } else if (effort != "none" && effort != "high") {
      reader_.fail("reasoning_effort", "invalid_value",
                   "reasoning_effort must be 'none', 'minimal', 'low', 'medium' or 'high', not '" +
                       excerpt(effort) + "'");
    }
  }

  void read_thinking(ThinkingFields& out) {
    const json::value* value = reader_.find("thinking");
    if (value == nullptr) return;
    if (!value->is_object())
      return reader_.wrong_type("thinking", "an object with a field type", *value);
    FieldReader fields(value->get_object(), reader_.name("thinking") + ".");
    std::string type;
    fields.string("type", 64, type);
    if (fields.ok() && type != "enabled" && type != "disabled") {
      fields.fail("type", type.empty() ? "missing_required_parameter" : "invalid_value",
                  "thinking.type must be 'enabled' or 'disabled', not '" + excerpt(type) + "'");
    }
    out.enabled = type == "enabled";
    int32_t budget = -1;
    fields.integer("budget_tokens", {0, kPositive.max}, budget);
    if (fields.ok() && budget >= 0 && type == "disabled") {
      fields.fail("budget_tokens", "invalid_value",
                  "thinking.budget_tokens needs thinking.type 'enabled'");
    }
    if (!fields.ok()) return reader_.fail(*fields.error());
    if (budget >= 0) exact_ = budget;
  }

  void read_budget(ThinkingFields& out) {
    if (reader_.find("thinking_token_budget") == nullptr) return;
    int32_t budget = 0;
    reader_.integer("thinking_token_budget", {-1, kPositive.max}, budget);
    if (!reader_.ok()) return;
    if (exact_ && *exact_ != budget) {
      return reader_.fail("thinking_token_budget", "invalid_value",
                          "thinking_token_budget and thinking.budget_tokens differ; give one");
    }
    if (budget >= 0 && out.enabled == false) {
      return reader_.fail("thinking_token_budget", "invalid_value",
                          "thinking_token_budget is given but thinking is off; give one of them");
    }
    if (budget == -1) {
      no_limit_ = true;
    } else {
      exact_ = budget;
    }
  }

  FieldReader& reader_;
  const ReasoningEfforts& efforts_;
  std::optional<int32_t> exact_;
  bool no_limit_ = false;
};

// {"type": "function", "function": {"name": ...}}
void read_named_tool(FieldReader& reader, const json::object& choice, ChatRequest& out) {
  FieldReader fields(choice, "tool_choice.");
  std::string type;
  fields.string("type", 64, type);
  const json::value* function = fields.find("function");
  if (fields.ok() && (type != "function" || function == nullptr || !function->is_object())) {
    return reader.fail("tool_choice", "invalid_value",
                       "tool_choice as an object must have type 'function' and a function with a "
                       "name");
  }
  if (fields.ok()) {
    FieldReader named(function->get_object(), "tool_choice.function.");
    named.string("name", 64, out.tool_name);
    if (!named.ok()) return reader.fail(*named.error());
  }
  if (!fields.ok()) return reader.fail(*fields.error());
  require_tool(reader, out.tool_name, out);
}

void read_tool_choice(FieldReader& reader, ChatRequest& out) {
  const json::value* value = reader.find("tool_choice");
  if (value == nullptr || !reader.ok()) return;
  if (value->is_object()) return read_named_tool(reader, value->get_object(), out);
  if (!value->is_string())
    return reader.wrong_type("tool_choice", "'none', 'auto', 'required' or an object", *value);
  const std::string_view choice(value->get_string().data(), value->get_string().size());
  if (choice != "none" && choice != "auto" && choice != "required") {
    return reader.fail(
        "tool_choice", "invalid_value",
        "tool_choice must be 'none', 'auto' or 'required', not '" + excerpt(choice) + "'");
  }
  if (choice != "none" && out.tools.empty()) {
    return reader.fail("tool_choice", "invalid_value",
                       "tool_choice '" + std::string(choice) +
                           "' needs tools; give tools or leave tool_choice out");
  }
  if (choice == "none") out.tools.clear();
  if (choice == "required") require_tool(reader, {}, out);
}

void refuse_chat_only(FieldReader& reader) {
  reader.refuse("functions", "use tools");
  reader.refuse("function_call", "use tool_choice");
  reader.refuse("audio", "the model takes and gives text only");
  const json::value* modalities = reader.find("modalities");
  if (modalities == nullptr) return;
  if (!modalities->is_array()) return reader.wrong_type("modalities", "an array", *modalities);
  for (const json::value& modality : modalities->get_array()) {
    if (!modality.is_string() || modality.get_string() != "text")
      return reader.refuse("modalities", "the model takes and gives text only");
  }
}

}  // namespace

void require_tool(FieldReader& reader, const std::string& name, ChatRequest& out) {
  if (!reader.ok()) return;
  const bool is_there = std::ranges::any_of(out.tools, [&](const json::value& tool) {
    return name.empty() || tool.at("function").at("name").get_string() == name;
  });
  if (!is_there) {
    return reader.fail("tool_choice", "invalid_value",
                       name.empty() ? "tool_choice asks for a call and there are no tools"
                                    : "tool_choice names the function '" + excerpt(name) +
                                          "', which is not among tools");
  }
  out.tool_required = true;
  out.tool_name = name;
}

void check_one_form(FieldReader& reader, const ChatRequest& request) {
  if (!reader.ok() || !request.tool_required ||
      request.common.grammar.kind == text::GrammarSpec::Kind::kNone)
    return;
  reader.fail("tool_choice", "invalid_value",
              "tool_choice asks for a call and " + request.common.grammar_field +
                  " for another form of answer; give one of them");
}

void read_template_fields(FieldReader& reader, ChatRequest& out) {
  reader.boolean("add_generation_prompt", out.add_generation_prompt);
  reader.boolean("continue_final_message", out.continue_final_message);
  if (const json::value* kwargs = reader.find("chat_template_kwargs"); kwargs != nullptr) {
    if (!kwargs->is_object())
      return reader.wrong_type("chat_template_kwargs", "an object", *kwargs);
    out.template_kwargs = kwargs->get_object();
    for (const std::string_view taken : {"messages", "tools", "chat_template", "tokenize"}) {
      if (out.template_kwargs.contains({taken.data(), taken.size()})) {
        return reader.fail("chat_template_kwargs", "invalid_value",
                           "chat_template_kwargs must not contain '" + std::string(taken) + "'");
      }
    }
  }
  if (const json::value* documents = reader.find("documents"); documents != nullptr) {
    if (!documents->is_array()) return reader.wrong_type("documents", "an array", *documents);
    for (const json::value& document : documents->get_array()) {
      if (!document.is_object())
        return reader.wrong_type("documents", "an array of objects", document);
    }
    out.template_kwargs["documents"] = *documents;
  }
  reader.refuse("chat_template", "the model's own template is used");
}

void apply_model_alias(std::string_view name, ThinkingFields& thinking) {
  if (thinking.enabled || thinking.budget_tokens) return;
  if (name == "deepseek-chat") thinking.enabled = false;
  if (name == "deepseek-reasoner") thinking.enabled = true;
}

Parsed<ChatRequest> parse_chat_request(std::string_view body, const ParseContext& context) {
  Parsed<ChatRequest> parsed;
  Parsed<json::object> object = parse_body(body, context.limits.json_depth_max);
  if (!object.ok()) {
    parsed.error = std::move(object.error);
    return parsed;
  }
  ChatRequest& request = parsed.value;
  FieldReader reader(object.value);
  read_common_fields(reader, context, request.common);
  bool last_is_prefix = false;
  read_messages(reader, context.limits, request.messages, last_is_prefix);
  read_max_tokens(reader, request.common);
  read_logprobs(reader, context.limits, request.common);
  ThinkingReader(reader, context.efforts).read(request.thinking);
  reader.boolean("include_reasoning", request.include_reasoning);
  read_tools(reader, context.limits, request.tools);
  read_tool_choice(reader, request);
  reader.boolean("parallel_tool_calls", request.parallel_tool_calls);
  check_one_form(reader, request);
  const bool says_generation_prompt = reader.find("add_generation_prompt") != nullptr;
  read_template_fields(reader, request);
  if (last_is_prefix && !says_generation_prompt) {
    request.continue_final_message = true;
    request.add_generation_prompt = false;
  }
  if (reader.ok() && request.continue_final_message && request.add_generation_prompt) {
    reader.fail("continue_final_message", "invalid_value",
                "continue_final_message needs add_generation_prompt set to false");
  }
  refuse_chat_only(reader);
  parsed.error = reader.error();
  request.unknown_fields = reader.unknown();
  return parsed;
}

}  // namespace galley::api

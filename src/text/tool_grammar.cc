#include "text/tool_grammar.h"

#include <utility>

#include "text/json_schema.h"

namespace galley::text {
namespace {

namespace json = boost::json;

constexpr int kWhitespaceMax = 8;  // between the tokens of the arguments

json::value constant(std::string_view text) {
  return {{"type", "const_string"}, {"value", text}};
}

json::value sequence(json::array elements) {
  return {{"type", "sequence"}, {"elements", std::move(elements)}};
}

json::value any_of(json::array elements) {
  if (elements.size() == 1) return elements[0];
  return {{"type", "or"}, {"elements", std::move(elements)}};
}

class ToolGrammar {
 public:
  explicit ToolGrammar(const ToolGrammarOptions& options) : options_(options) {}

  Result<GrammarSpec> make(const json::array& tools) {
    json::array calls;
    bool any_strict = false;
    for (size_t i = 0; i < tools.size(); ++i) {
      const json::object& function = tools[i].at("function").get_object();
      const json::string& name = function.at("name").get_string();
      if (!options_.only.empty() && options_.only != std::string_view(name)) continue;
      const json::value* strict = function.if_contains("strict");
      const bool is_strict = strict != nullptr && strict->is_bool() && strict->get_bool();
      any_strict = any_strict || is_strict;
      GALLEY_ASSIGN_OR_RETURN(
          json::value arguments,
          arguments_of(function, is_strict, "tools[" + std::to_string(i) + "]"));
      calls.push_back(call({name.data(), name.size()}, std::move(arguments)));
    }
    if (calls.empty()) return Status(Code::kInvalid, "no function may be called");
    const bool has_marker = options_.format != ToolFormat::kLlama;
    if (!options_.required && (!any_strict || !has_marker)) return GrammarSpec();
    json::value format = all_calls(any_of(std::move(calls)));
    if (!options_.required) {
      format = sequence({free_text(), {{"type", "optional"}, {"content", std::move(format)}}});
    }
    const json::value tag = {{"type", "structural_tag"}, {"format", std::move(format)}};
    return GrammarSpec{GrammarSpec::Kind::kStructuralTag, json::serialize(tag)};
  }

 private:
  // A marker, as the token it is in the vocabulary, else as text.
  json::value marker(std::string_view text) const {
    if (const std::optional<int32_t> id = options_.token_id(text))
      return {{"type", "token"}, {"token", *id}};
    return constant(text);
  }

  bool is_deepseek() const {
    return options_.format == ToolFormat::kDeepseekV3 ||
           options_.format == ToolFormat::kDeepseekV31;
  }
  std::string_view first_marker() const {
    return is_deepseek() ? kCallsBegin : std::string_view("<tool_call>");
  }

  // Text without a call in it.
  json::value free_text() const {
    if (const std::optional<int32_t> id = options_.token_id(first_marker()))
      return {{"type", "any_tokens"}, {"exclude_tokens", {*id}}};
    return {{"type", "any_text"}, {"excludes", {first_marker()}}};
  }

  Result<json::value> arguments_of(const json::object& function, bool is_strict,
                                   const std::string& path) const {
    json::value schema = {{"type", "object"}, {"additionalProperties", true}};
    if (const json::value* parameters = function.if_contains("parameters");
        parameters != nullptr && parameters->is_object() && !parameters->get_object().empty()) {
      json::object asked = parameters->get_object();
      asked.emplace("type", "object");
      Result<json::value> obeyable = obeyable_schema(asked, options_.schema);
      if (obeyable.ok()) {
        schema = *std::move(obeyable);
      } else if (is_strict) {
        return Status(Code::kInvalid, path + ".function.parameters." + obeyable.message());
      }
    }
    return json::value{{"type", "json_schema"},
                       {"json_schema", std::move(schema)},
                       {"max_whitespace_cnt", kWhitespaceMax}};
  }

  json::value call(std::string_view name, json::value arguments) const {
    const std::string text(name);
    switch (options_.format) {
      case ToolFormat::kDeepseekV3:
        return sequence({marker(kCallBegin), constant("function"), marker(kCallSeparator),
                         constant(text + "\n```json\n"), std::move(arguments), constant("\n```"),
                         marker(kCallEnd)});
      case ToolFormat::kDeepseekV31:
        return sequence({marker(kCallBegin), constant(text), marker(kCallSeparator),
                         std::move(arguments), marker(kCallEnd)});
      case ToolFormat::kHermes:
        return sequence({marker("<tool_call>"),
                         constant("\n{\"name\": \"" + text + "\", \"arguments\": "),
                         std::move(arguments), constant("}\n"), marker("</tool_call>")});
      case ToolFormat::kLlama:
        break;
    }
    return sequence({constant("{\"name\": \"" + text + "\", \"parameters\": "),
                     std::move(arguments), constant("}")});
  }

  std::string_view separator() const {
    if (options_.format == ToolFormat::kLlama) return "; ";
    return options_.format == ToolFormat::kDeepseekV31 ? "" : "\n";
  }

  json::value all_calls(json::value one) const {
    json::array parts;
    if (is_deepseek()) parts.push_back(marker(kCallsBegin));
    parts.push_back(one);
    if (options_.parallel && options_.only.empty()) {
      json::array next;
      if (!separator().empty()) next.push_back(constant(separator()));
      next.push_back(std::move(one));
      parts.push_back({{"type", "star"}, {"content", sequence(std::move(next))}});
    }
    if (is_deepseek()) parts.push_back(marker(kCallsEnd));
    return sequence(std::move(parts));
  }

  const ToolGrammarOptions& options_;
};

}  // namespace

Result<GrammarSpec> tool_grammar(const json::array& tools, const ToolGrammarOptions& options) {
  return ToolGrammar(options).make(tools);
}

}  // namespace galley::text

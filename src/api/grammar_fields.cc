#include "api/grammar_fields.h"

#include <algorithm>
#include <utility>

namespace galley::api {
namespace json = boost::json;
namespace {

using Kind = text::GrammarSpec::Kind;

std::string_view view(const json::string& text) {
  return {text.data(), text.size()};
}

class GrammarReader {
 public:
  GrammarReader(FieldReader& reader, const Limits& limits, CommonFields& out)
      : reader_(reader), limits_(limits), out_(out) {}

  void read() {
    read_response_format();
    read_structured_outputs();
    read_member(reader_, "guided_json", Kind::kJsonSchema);
    read_member(reader_, "guided_regex", Kind::kRegex);
    read_member(reader_, "guided_choice", Kind::kChoice);
    read_member(reader_, "guided_grammar", Kind::kGrammar);
    // How to make grammars is the server's affair.
    reader_.find("guided_decoding_backend");
    reader_.find("guided_whitespace_pattern");
  }

  void read_flat_format(std::string_view key) {
    const json::value* format = reader_.find(key);
    if (format == nullptr) return;
    if (!format->is_object()) return reader_.wrong_type(key, "an object", *format);
    FieldReader fields(format->get_object(), reader_.name(key) + ".");
    const std::string type = format_type(fields);
    if (type == "json_object") take(reader_, key, Kind::kJsonObject, {});
    if (type == "json_schema") read_schema(fields);
    if (!fields.ok()) reader_.fail(*fields.error());
  }

  void read_ollama_format() {
    const json::value* format = reader_.find("format");
    if (format == nullptr) return;
    if (format->is_object())
      return take(reader_, "format", Kind::kJsonSchema, json::serialize(*format));
    if (!format->is_string())
      return reader_.wrong_type("format", "'json' or a JSON Schema", *format);
    const std::string_view name = view(format->get_string());
    if (name == "json") return take(reader_, "format", Kind::kJsonObject, {});
    if (!name.empty()) {
      reader_.fail("format", "invalid_value",
                   "format must be 'json' or a JSON Schema, not '" + excerpt(name) + "'");
    }
  }

 private:
  void take(FieldReader& at, std::string_view key, Kind kind, std::string source) {
    if (!reader_.ok()) return;
    if (out_.grammar.kind != Kind::kNone) {
      return reader_.fail(invalid(at.name(key), "invalid_value",
                                  at.name(key) + " and " + out_.grammar_field +
                                      " both say what the answer must look like; give one"));
    }
    if (source.size() > limits_.grammar_bytes_max) {
      return reader_.fail(invalid(at.name(key), "string_above_max_length",
                                  at.name(key) + " has " + std::to_string(source.size()) +
                                      " bytes; at most " +
                                      std::to_string(limits_.grammar_bytes_max) + " are allowed"));
    }
    out_.grammar = {kind, std::move(source)};
    out_.grammar_field = at.name(key);
  }

  void read_response_format() {
    const json::value* format = reader_.find("response_format");
    if (format == nullptr) return;
    if (!format->is_object()) return reader_.wrong_type("response_format", "an object", *format);
    FieldReader fields(format->get_object(), reader_.name("response_format") + ".");
    const std::string type = format_type(fields);
    if (type == "json_object") take(reader_, "response_format", Kind::kJsonObject, {});
    if (type == "json_schema") read_named_schema(fields);
    if (!fields.ok()) reader_.fail(*fields.error());
  }

  // Empty when it is none of the three.
  std::string format_type(FieldReader& format) {
    std::string type;
    format.string("type", 64, type);
    if (!format.ok() || type == "text" || type == "json_object" || type == "json_schema")
      return type;
    format.fail("type", type.empty() ? "missing_required_parameter" : "invalid_value",
                format.name("type") + " must be 'text', 'json_object' or 'json_schema', not '" +
                    excerpt(type) + "'");
    return {};
  }

  // {"name", "description", "schema", "strict"}. What is generated always fits the schema, so
  // strict makes no difference.
  void read_named_schema(FieldReader& format) {
    const json::value* named = format.find("json_schema");
    if (named == nullptr || !named->is_object()) {
      return format.fail("json_schema", "missing_required_parameter",
                         "response_format.json_schema must be an object with a schema");
    }
    FieldReader fields(named->get_object(), format.name("json_schema") + ".");
    read_schema(fields);
    if (!fields.ok()) format.fail(*fields.error());
  }

  void read_schema(FieldReader& fields) {
    bool strict = false;
    fields.boolean("strict", strict);
    const json::value* schema = fields.find("schema");
    if (schema == nullptr) {
      fields.fail("schema", "missing_required_parameter",
                  fields.name("schema") + " is missing; it must be a JSON Schema");
    } else if (!schema->is_object() && !schema->is_bool()) {
      fields.wrong_type("schema", "a JSON Schema", *schema);
    } else {
      take(fields, "schema", Kind::kJsonSchema, json::serialize(*schema));
    }
  }

  void read_structured_outputs() {
    const json::value* outputs = reader_.find("structured_outputs");
    if (outputs == nullptr) return;
    if (!outputs->is_object())
      return reader_.wrong_type("structured_outputs", "an object", *outputs);
    FieldReader fields(outputs->get_object(), reader_.name("structured_outputs") + ".");
    read_member(fields, "json", Kind::kJsonSchema);
    read_member(fields, "regex", Kind::kRegex);
    read_member(fields, "choice", Kind::kChoice);
    read_member(fields, "grammar", Kind::kGrammar);
    bool any_object = false;
    fields.boolean("json_object", any_object);
    if (fields.ok() && any_object) take(fields, "json_object", Kind::kJsonObject, {});
    for (const char* key : {"structural_tag", "disable_any_whitespace", "whitespace_pattern"})
      fields.refuse(key, "remove it");
    if (!fields.ok()) return reader_.fail(*fields.error());
    if (reader_.ok() && out_.grammar.kind == Kind::kNone) {
      reader_.fail("structured_outputs", "invalid_value",
                   "structured_outputs needs one of json, regex, choice, grammar or json_object");
    }
  }

  void read_member(FieldReader& fields, std::string_view key, Kind kind) {
    const json::value* value = fields.find(key);
    if (value == nullptr) return;
    if (kind == Kind::kChoice) {
      const bool all_strings =
          value->is_array() && std::ranges::all_of(value->get_array(), [](const json::value& one) {
            return one.is_string();
          });
      if (!all_strings) {
        fields.wrong_type(key, "an array of strings", *value);
      } else {
        take(fields, key, kind, json::serialize(*value));
      }
    } else if (kind == Kind::kJsonSchema && (value->is_object() || value->is_bool())) {
      take(fields, key, kind, json::serialize(*value));
    } else if (value->is_string()) {  // a schema may come as JSON text, too
      take(fields, key, kind, std::string(view(value->get_string())));
    } else {
      fields.wrong_type(key, kind == Kind::kJsonSchema ? "a JSON Schema" : "a string", *value);
    }
    if (!fields.ok()) reader_.fail(*fields.error());
  }

  FieldReader& reader_;
  const Limits& limits_;
  CommonFields& out_;
};

}  // namespace

void read_grammar_fields(FieldReader& reader, const Limits& limits, CommonFields& out) {
  GrammarReader(reader, limits, out).read();
}

void read_flat_format(FieldReader& reader, std::string_view key, const Limits& limits,
                      CommonFields& out) {
  GrammarReader(reader, limits, out).read_flat_format(key);
}

void read_ollama_format(FieldReader& reader, const Limits& limits, CommonFields& out) {
  GrammarReader(reader, limits, out).read_ollama_format();
}

}  // namespace galley::api

#include "text/json_schema.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

namespace galley::text {
namespace {

namespace json = boost::json;

constexpr std::array<std::string_view, 7> kTypes = {"null",   "boolean", "object", "array",
                                                    "number", "integer", "string"};

// Keywords that say nothing about values, or nothing that a generator could get wrong.
constexpr std::array kAnnotations = {
    "title",    "description", "default",     "examples", "example",         "deprecated",
    "readOnly", "writeOnly",   "$comment",    "$schema",  "$defs",           "definitions",
    "$id",      "id",          "$vocabulary", "$anchor",  "contentEncoding", "contentMediaType",
    "format"};

// Keywords that mean something and that no grammar here can promise.
constexpr std::array kRefused = {"not",
                                 "if",
                                 "then",
                                 "else",
                                 "dependentRequired",
                                 "dependentSchemas",
                                 "dependencies",
                                 "contains",
                                 "$dynamicRef",
                                 "$recursiveRef",
                                 "contentSchema"};

struct TypeKeyword {
  std::string_view name;
  std::string_view type;
};
constexpr std::array kTypeKeywords = {TypeKeyword{"properties", "object"},
                                      TypeKeyword{"required", "object"},
                                      TypeKeyword{"additionalProperties", "object"},
                                      TypeKeyword{"patternProperties", "object"},
                                      TypeKeyword{"propertyNames", "object"},
                                      TypeKeyword{"minProperties", "object"},
                                      TypeKeyword{"maxProperties", "object"},
                                      TypeKeyword{"unevaluatedProperties", "object"},
                                      TypeKeyword{"items", "array"},
                                      TypeKeyword{"prefixItems", "array"},
                                      TypeKeyword{"additionalItems", "array"},
                                      TypeKeyword{"unevaluatedItems", "array"},
                                      TypeKeyword{"minItems", "array"},
                                      TypeKeyword{"maxItems", "array"},
                                      TypeKeyword{"uniqueItems", "array"},
                                      TypeKeyword{"minimum", "number"},
                                      TypeKeyword{"maximum", "number"},
                                      TypeKeyword{"exclusiveMinimum", "number"},
                                      TypeKeyword{"exclusiveMaximum", "number"},
                                      TypeKeyword{"multipleOf", "number"},
                                      TypeKeyword{"minLength", "string"},
                                      TypeKeyword{"maxLength", "string"},
                                      TypeKeyword{"pattern", "string"}};

std::string_view view(const json::string& text) {
  return {text.data(), text.size()};
}

bool is_one_of(std::string_view word, const auto& list) {
  return std::ranges::find(list, word) != list.end();
}

bool is_true(const json::value& value) {
  return value.is_bool() && value.get_bool();
}

bool is_false(const json::value& value) {
  return value.is_bool() && !value.get_bool();
}

bool matches_type(const json::value& value, std::string_view type) {
  if (type == "null") return value.is_null();
  if (type == "boolean") return value.is_bool();
  if (type == "object") return value.is_object();
  if (type == "array") return value.is_array();
  if (type == "string") return value.is_string();
  if (type == "number") return value.is_number();
  return value.is_int64() || value.is_uint64();
}

class Reader {
 public:
  Reader(const json::value& root, const SchemaLimits& limits) : root_(root), limits_(limits) {}

  Result<json::value> read() {
    json::value out = schema(root_, "");
    if (!status_.ok()) return status_;
    return out;
  }

 private:
  json::value schema(const json::value& value, const std::string& path) {
    if (!status_.ok()) return nullptr;
    if (++num_nodes_ > limits_.nodes_max) {
      return fail(path, "the schema has more than " + std::to_string(limits_.nodes_max) +
                            " schemas within it");
    }
    if (is_true(value)) return json::object();
    if (is_false(value)) return fail(path, "a schema that is false allows nothing");
    if (!value.is_object()) return fail(path, "a schema must be an object or a boolean");
    const json::object& in = value.get_object();
    check_known(in, path);
    if (!status_.ok()) return nullptr;
    json::object out;
    if (in.contains("$ref")) {
      out = reference(in, path);
    } else if (in.contains("const")) {
      out = constant(in, path);
    } else if (in.contains("enum")) {
      out = enumeration(in, path);
    } else if (in.contains("anyOf")) {
      out = alternatives(in, "anyOf", path);
    } else if (in.contains("oneOf")) {
      out = alternatives(in, "oneOf", path);
    } else if (in.contains("allOf")) {
      out = all_of(in, path);
    } else {
      out = typed(in, path);
    }
    for (const char* definitions : {"$defs", "definitions"})
      if (in.contains(definitions))
        out[definitions] = schemas(in.at(definitions), path_of(path, definitions));
    return out;
  }

  // Keyword names that no kind of schema here may have.
  void check_known(const json::object& in, const std::string& path) {
    for (const auto& entry : in) {
      const std::string_view key(entry.key().data(), entry.key().size());
      if (is_one_of(key, kRefused)) {
        fail(path_of(path, key), "the keyword is not supported");
      } else if ((key == "$id" || key == "id" || key == "$anchor") && !path.empty() &&
                 entry.value().is_string() && !path.ends_with("properties")) {
        fail(path_of(path, key), "the keyword is supported at the root only");
      }
    }
  }

  // `in` has nothing beside `kind` that constrains, except what `also` names.
  void check_alone(const json::object& in, std::string_view kind, const std::string& path,
                   std::string_view also = {}) {
    for (const auto& entry : in) {
      const std::string_view key(entry.key().data(), entry.key().size());
      if (key == kind || key == also || is_one_of(key, kAnnotations)) continue;
      const bool means =
          key == "type" || key == "enum" || key == "const" || key == "anyOf" || key == "oneOf" ||
          key == "allOf" ||
          std::ranges::find(kTypeKeywords, key, &TypeKeyword::name) != kTypeKeywords.end();
      if (means)
        fail(path_of(path, key), "the keyword is not supported beside " + std::string(kind));
    }
  }

  json::object reference(const json::object& in, const std::string& path) {
    check_alone(in, "$ref", path);
    const json::value& target = in.at("$ref");
    if (!target.is_string() ||
        (target.get_string() != "#" && !view(target.get_string()).starts_with("#/"))) {
      fail(path_of(path, "$ref"), "only references within the schema (#/...) are supported");
      return {};
    }
    check_reference(target.get_string(), path_of(path, "$ref"));
    return {{"$ref", target}};
  }

  // Follows references to references: a ring of them describes nothing.
  void check_reference(std::string_view target, const std::string& path) {
    for (int hops = 0; hops < kReferenceHopsMax; ++hops) {
      json::error_code missing;
      if (target.find_first_of("~%") != std::string_view::npos) {
        fail(path, "references with escapes (~, %) are not supported");
        return;
      }
      const json::value* found =
          root_.find_pointer({target.data() + 1, target.size() - 1}, missing);
      if (found == nullptr || (!found->is_object() && !found->is_bool())) {
        fail(path, "there is no schema at '" + std::string(target.substr(0, 100)) + "'");
        return;
      }
      if (!found->is_object() || !found->get_object().contains("$ref")) return;
      const json::value& next = found->get_object().at("$ref");
      if (!next.is_string() || !view(next.get_string()).starts_with("#")) return;
      target = view(next.get_string());
    }
    fail(path, "the references go in a ring");
  }

  json::object constant(const json::object& in, const std::string& path) {
    check_alone(in, "const", path, "type");
    const json::value& value = in.at("const");
    if (in.contains("type") && !is_of_types(value, in.at("type")))
      fail(path_of(path, "const"), "the value is not of the type");
    return {{"const", value}};
  }

  json::object enumeration(const json::object& in, const std::string& path) {
    check_alone(in, "enum", path, "type");
    const json::value& values = in.at("enum");
    if (!values.is_array() || values.get_array().size() > limits_.enum_values_max) {
      fail(path_of(path, "enum"),
           "it must be an array of at most " + std::to_string(limits_.enum_values_max) + " values");
      return {};
    }
    json::array kept;
    for (const json::value& value : values.get_array())
      if (!in.contains("type") || is_of_types(value, in.at("type"))) kept.push_back(value);
    if (kept.empty()) fail(path_of(path, "enum"), "no value of it is allowed");
    return {{"enum", std::move(kept)}};
  }

  static bool is_of_types(const json::value& value, const json::value& types) {
    if (types.is_string()) return matches_type(value, view(types.get_string()));
    if (!types.is_array()) return false;
    return std::ranges::any_of(types.get_array(), [&](const json::value& type) {
      return type.is_string() && matches_type(value, view(type.get_string()));
    });
  }

  // anyOf and oneOf. A type beside them is moved into the branches that name none.
  json::object alternatives(const json::object& in, std::string_view kind,
                            const std::string& path) {
    check_alone(in, kind, path, "type");
    const json::value& list = in.at(kind);
    if (!list.is_array() || list.get_array().empty()) {
      fail(path_of(path, kind), "it must be an array of schemas");
      return {};
    }
    json::array out;
    size_t index = 0;
    for (const json::value& branch : list.get_array()) {
      const std::string branch_path = path_of(path, kind) + "[" + std::to_string(index++) + "]";
      if (!in.contains("type")) {
        out.push_back(schema(branch, branch_path));
      } else if (branch.is_object() && !branch.get_object().contains("type") &&
                 !branch.get_object().contains("$ref")) {
        json::object narrowed = branch.get_object();
        narrowed["type"] = in.at("type");
        out.push_back(schema(narrowed, branch_path));
      } else if (branch.is_object() && branch.get_object().contains("type") &&
                 branch.get_object().at("type") == in.at("type")) {
        out.push_back(schema(branch, branch_path));
      } else {
        fail(path_of(path, "type"),
             "a type beside " + std::string(kind) + " must be that of each of its schemas");
      }
    }
    return {{kind, std::move(out)}};
  }

  json::object all_of(const json::object& in, const std::string& path) {
    check_alone(in, "allOf", path);
    const json::value& list = in.at("allOf");
    if (!list.is_array() || list.get_array().size() != 1) {
      fail(path_of(path, "allOf"), "only an allOf of one schema is supported");
      return {};
    }
    const json::value only = schema(list.get_array()[0], path_of(path, "allOf[0]"));
    return only.is_object() ? only.get_object() : json::object();
  }

  // The types the schema names, or that its keywords imply.
  std::vector<std::string> types_of(const json::object& in, const std::string& path) {
    std::vector<std::string> types;
    if (in.contains("type")) {
      const json::value& type = in.at("type");
      const auto add = [&](const json::value& one) {
        if (!one.is_string() || !is_one_of(view(one.get_string()), kTypes)) {
          fail(path_of(path, "type"), "it must be a JSON type or an array of them");
        } else {
          types.emplace_back(view(one.get_string()));
        }
      };
      if (type.is_array() && !type.get_array().empty()) {
        for (const json::value& one : type.get_array()) add(one);
      } else {
        add(type);
      }
      return types;
    }
    for (const TypeKeyword& keyword : kTypeKeywords) {
      if (!in.contains(keyword.name)) continue;
      if (types.empty()) types.emplace_back(keyword.type);
      if (types[0] != keyword.type) {
        fail(path_of(path, keyword.name), "the schema needs a type: it has keywords of " +
                                              types[0] + " and of " + std::string(keyword.type));
        break;
      }
    }
    // A format alone is about strings, as an annotation.
    return types;
  }

  json::object typed(const json::object& in, const std::string& path) {
    const std::vector<std::string> types = types_of(in, path);
    if (!status_.ok() || types.empty()) return {};
    if (types.size() == 1) return of_type(in, types[0], path);
    json::array branches;
    for (const std::string& type : types) branches.push_back(of_type(in, type, path));
    return {{"anyOf", std::move(branches)}};
  }

  json::object of_type(const json::object& in, const std::string& type, const std::string& path) {
    if (type == "object") return object(in, path);
    if (type == "array") return array(in, path);
    if (type == "string") return string(in, path);
    if (type == "integer" || type == "number") return number(in, type, path);
    return {{"type", type}};
  }

  json::object number(const json::object& in, const std::string& type, const std::string& path) {
    json::object out = {{"type", type}};
    for (const char* key : {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}) {
      if (!in.contains(key)) continue;
      if (!in.at(key).is_number()) fail(path_of(path, key), "it must be a number");
      out[key] = in.at(key);
    }
    if (in.contains("multipleOf")) {
      if (type == "number") fail(path_of(path, "multipleOf"), "it is supported for integers only");
      out["multipleOf"] = in.at("multipleOf");
    }
    return out;
  }

  json::object string(const json::object& in, const std::string& path) {
    json::object out = {{"type", "string"}};
    copy_count(in, "minLength", path, out);
    copy_count(in, "maxLength", path, out);
    const bool is_long = out.size() > 1;
    for (const char* key : {"pattern", "format"}) {
      if (!in.contains(key)) continue;
      if (!in.at(key).is_string()) {
        fail(path_of(path, key), "it must be a string");
        return {};
      }
    }
    if (in.contains("pattern")) {
      if (is_long) fail(path_of(path, "pattern"), "it is not supported beside a length");
      out["pattern"] = in.at("pattern");
    } else if (in.contains("format") && !is_long) {
      out["format"] = in.at("format");
    }
    return out;
  }

  json::object array(const json::object& in, const std::string& path) {
    json::object out = {{"type", "array"}};
    if (in.contains("uniqueItems") && !is_false(in.at("uniqueItems")))
      fail(path_of(path, "uniqueItems"), "the keyword is not supported");
    copy_count(in, "minItems", path, out);
    copy_count(in, "maxItems", path, out);
    if (in.contains("prefixItems")) {
      if (!in.at("prefixItems").is_array()) {
        fail(path_of(path, "prefixItems"), "it must be an array");
        return {};
      }
      json::array prefix;
      for (const json::value& item : in.at("prefixItems").get_array())
        prefix.push_back(schema(item, path_of(path, "prefixItems")));
      if (!prefix.empty()) out["prefixItems"] = std::move(prefix);
    }
    if (in.contains("additionalItems"))
      fail(path_of(path, "additionalItems"), "the keyword is not supported; use prefixItems");
    if (in.contains("items") && in.at("items").is_array()) {
      fail(path_of(path, "items"), "an array of items is not supported; use prefixItems");
    } else if (in.contains("items")) {
      out["items"] = is_false(in.at("items")) ? json::value(false)
                                              : schema(in.at("items"), path_of(path, "items"));
    } else if (in.contains("unevaluatedItems")) {
      const json::value& rest = in.at("unevaluatedItems");
      out["items"] =
          is_false(rest) ? json::value(false) : schema(rest, path_of(path, "unevaluatedItems"));
    } else {
      out["items"] = json::object();
    }
    return out;
  }

  json::object object(const json::object& in, const std::string& path) {
    json::object out = {{"type", "object"}};
    json::object properties;
    if (in.contains("properties"))
      properties = schemas(in.at("properties"), path_of(path, "properties"));
    const json::value* rest = in.if_contains("additionalProperties");
    if (rest == nullptr) rest = in.if_contains("unevaluatedProperties");
    json::value rest_schema = json::object();
    if (rest != nullptr && !rest->is_bool())
      rest_schema = schema(*rest, path_of(path, "additionalProperties"));
    const bool closed = rest != nullptr && is_false(*rest);
    json::array required = required_of(in, path, closed, rest_schema, properties);
    if (!status_.ok()) return {};
    copy_count(in, "minProperties", path, out);
    copy_count(in, "maxProperties", path, out);
    const bool is_patterned = in.contains("patternProperties");
    const bool is_named = in.contains("propertyNames");
    if (!properties.empty()) {
      if (is_patterned) fail(path_of(path, "patternProperties"), kNotBesideProperties);
      if (is_named) fail(path_of(path, "propertyNames"), kNotBesideProperties);
      out["properties"] = std::move(properties);
      if (!required.empty()) out["required"] = std::move(required);
      out["additionalProperties"] = false;
      return out;
    }
    // Names may repeat in what follows, and of the values of one name a reader takes the last.
    if (out.contains("minProperties") && out.at("minProperties").as_int64() > 1)
      fail(path_of(path, "minProperties"), "above 1 it needs properties");
    if (is_patterned) {
      const json::value& patterns = in.at("patternProperties");
      if (is_named || !patterns.is_object() || patterns.get_object().size() != 1) {
        fail(path_of(path, "patternProperties"), "only one pattern, by itself, is supported");
        return {};
      }
      out["patternProperties"] = schemas(patterns, path_of(path, "patternProperties"));
      out["additionalProperties"] = false;
      return out;
    }
    if (closed) {
      out["additionalProperties"] = false;
      return out;
    }
    if (is_named) {
      if (!in.at("propertyNames").is_object()) {
        fail(path_of(path, "propertyNames"), "it must be a schema of names");
        return {};
      }
      json::object names = in.at("propertyNames").get_object();
      names.emplace("type", "string");
      out["propertyNames"] = schema(names, path_of(path, "propertyNames"));
      if (rest != nullptr && !rest->is_bool())
        fail(path_of(path, "additionalProperties"),
             "a schema is not supported beside propertyNames");
    }
    out["additionalProperties"] = std::move(rest_schema);
    if (out.at("additionalProperties").get_object().empty()) out["additionalProperties"] = true;
    return out;
  }

  // Names without a property get one: of what additionalProperties asks.
  json::array required_of(const json::object& in, const std::string& path, bool closed,
                          const json::value& rest, json::object& properties) {
    json::array required;
    if (!in.contains("required")) return required;
    if (!in.at("required").is_array()) {
      fail(path_of(path, "required"), "it must be an array of names");
      return required;
    }
    for (const json::value& name : in.at("required").get_array()) {
      if (!name.is_string()) {
        fail(path_of(path, "required"), "it must be an array of names");
        return required;
      }
      if (!properties.contains(name.get_string())) {
        if (closed || in.contains("patternProperties") || in.contains("propertyNames")) {
          fail(path_of(path, "required"), "'" +
                                              std::string(view(name.get_string())).substr(0, 100) +
                                              "' is not among the properties");
          return required;
        }
        properties[name.get_string()] = rest;
      }
      required.push_back(name);
    }
    return required;
  }

  json::object schemas(const json::value& value, const std::string& path) {
    json::object out;
    if (!value.is_object()) {
      fail(path, "it must be an object of schemas");
      return out;
    }
    for (const auto& entry : value.get_object()) {
      const std::string name(entry.key().data(), entry.key().size());
      out[entry.key()] = schema(entry.value(), path_of(path, name.substr(0, 60)));
    }
    return out;
  }

  void copy_count(const json::object& in, const char* key, const std::string& path,
                  json::object& out) {
    if (!in.contains(key)) return;
    const json::value& value = in.at(key);
    double number = -1;
    if (value.is_number()) number = value.to_number<double>();
    if (!(number >= 0) || number != static_cast<double>(static_cast<int64_t>(number))) {
      fail(path_of(path, key), "it must be a whole number, 0 or more");
    } else if (number > static_cast<double>(limits_.count_max)) {
      fail(path_of(path, key), "at most " + std::to_string(limits_.count_max) + " is supported");
    } else {
      out[key] = static_cast<int64_t>(number);
    }
  }

  static std::string path_of(const std::string& path, std::string_view key) {
    return path.empty() ? std::string(key) : path + "." + std::string(key);
  }

  json::value fail(const std::string& path, const std::string& why) {
    constexpr size_t kPathShownMax = 300;
    if (status_.ok()) {
      status_ = Status(Code::kInvalid,
                       (path.empty() ? "the schema" : path.substr(0, kPathShownMax)) + ": " + why);
    }
    return nullptr;
  }

  static constexpr int kReferenceHopsMax = 64;
  static constexpr const char* kNotBesideProperties =
      "the keyword is not supported beside properties (or required)";

  const json::value& root_;
  const SchemaLimits& limits_;
  size_t num_nodes_ = 0;
  Status status_;
};

}  // namespace

Result<json::value> obeyable_schema(const json::value& schema, const SchemaLimits& limits) {
  return Reader(schema, limits).read();
}

}  // namespace galley::text

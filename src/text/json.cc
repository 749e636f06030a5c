#include "text/json.h"

namespace galley::text {

namespace json = boost::json;

namespace {

Status missing(std::string_view key, const std::string& where) {
  return {Code::kCorrupt, where + ": field '" + std::string(key) + "' is missing"};
}

Status wrong_kind(std::string_view key, const std::string& where, std::string_view wanted,
                  const json::value& found) {
  return {Code::kCorrupt, where + ": field '" + std::string(key) + "' is " +
                              std::string(json_kind(found)) + ", expected " + std::string(wanted)};
}

}  // namespace

Result<json::value> parse_json(std::string_view text, const std::string& name, size_t depth_max) {
  json::parse_options options;
  options.max_depth = depth_max;
  json::error_code error;
  json::value value =
      json::parse(json::string_view(text.data(), text.size()), error, json::storage_ptr(), options);
  if (error) return Status(Code::kCorrupt, name + ": not valid JSON: " + error.message());
  return value;
}

std::string_view json_kind(const json::value& value) {
  switch (value.kind()) {
    case json::kind::null:
      return "null";
    case json::kind::bool_:
      return "a boolean";
    case json::kind::int64:
    case json::kind::uint64:
      return "an integer";
    case json::kind::double_:
      return "a number";
    case json::kind::string:
      return "a string";
    case json::kind::array:
      return "an array";
    case json::kind::object:
      return "an object";
  }
  return "unknown";
}

Result<std::string> string_field(const json::object& object, std::string_view key,
                                 const std::string& where, std::optional<std::string> fallback) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr || value->is_null()) {
    if (fallback) return *std::move(fallback);
    return missing(key, where);
  }
  if (!value->is_string()) return wrong_kind(key, where, "a string", *value);
  return std::string(value->get_string());
}

Result<bool> bool_field(const json::object& object, std::string_view key, const std::string& where,
                        std::optional<bool> fallback) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr || value->is_null()) {
    if (fallback) return *fallback;
    return missing(key, where);
  }
  if (!value->is_bool()) return wrong_kind(key, where, "true or false", *value);
  return value->get_bool();
}

Result<int64_t> int_field(const json::object& object, std::string_view key,
                          const std::string& where, std::optional<int64_t> fallback) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr || value->is_null()) {
    if (fallback) return *fallback;
    return missing(key, where);
  }
  if (!value->is_int64()) return wrong_kind(key, where, "an integer", *value);
  return value->get_int64();
}

Result<const json::object*> object_of(const json::value& value, const std::string& where) {
  if (!value.is_object()) {
    return Status(Code::kCorrupt,
                  where + " is " + std::string(json_kind(value)) + ", expected an object");
  }
  return &value.get_object();
}

Result<const json::array*> array_of(const json::value& value, const std::string& where) {
  if (!value.is_array()) {
    return Status(Code::kCorrupt,
                  where + " is " + std::string(json_kind(value)) + ", expected an array");
  }
  return &value.get_array();
}

Status add_sequence(const json::object& object, std::string_view key, const std::string& where,
                    const AddStep& add) {
  const std::string inside = where + "." + std::string(key);
  GALLEY_ASSIGN_OR_RETURN(const json::value* list, field(object, key, where));
  GALLEY_ASSIGN_OR_RETURN(const json::array* steps, array_of(*list, inside));
  for (const json::value& step : *steps) GALLEY_RETURN_IF_ERROR(add(step, inside));
  return {};
}

Result<const json::value*> field(const json::object& object, std::string_view key,
                                 const std::string& where) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr) return missing(key, where);
  return value;
}

}  // namespace galley::text

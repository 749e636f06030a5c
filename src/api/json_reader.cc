#include "api/json_reader.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "api/json_writer.h"
#include "base/check.h"
#include "text/json.h"

namespace galley::api {
namespace json = boost::json;
namespace {

constexpr size_t kUnknownNamesMax = 16;
constexpr double kExactWholeMax = 9007199254740992.0;  // 2^53

double as_double(const json::value& value) {
  if (value.is_double()) return value.get_double();
  if (value.is_int64()) return static_cast<double>(value.get_int64());
  return static_cast<double>(value.get_uint64());
}

std::string number_text(double value) {
  if (std::isinf(value)) return value > 0 ? "too large a number" : "too small a number";
  JsonWriter json;
  if (value == std::floor(value) && std::abs(value) < kExactWholeMax) {
    json.integer(static_cast<int64_t>(value));
  } else {
    json.number(value);
  }
  return json.take();
}

std::string range_text(NumberRange range) {
  if (range.min_excluded)
    return "a number above " + number_text(range.min) + " and at most " + number_text(range.max);
  return "a number from " + number_text(range.min) + " to " + number_text(range.max);
}

std::string range_text(IntegerRange range) {
  return "an integer from " + std::to_string(range.min) + " to " + std::to_string(range.max);
}

thread_local FieldListener* listener = nullptr;

void set_bounds(json::object& schema, IntegerRange range) {
  schema["minimum"] = range.min;
  schema["maximum"] = range.max;
}

}  // namespace

FieldListener::FieldListener() {
  GALLEY_CHECK(listener == nullptr, "one listener to a thread");
  listener = this;
}
FieldListener::~FieldListener() {
  listener = nullptr;
}

Parsed<json::object> parse_body(std::string_view body, size_t depth_max) {
  json::parse_options options;
  options.max_depth = depth_max;
  json::error_code failure;
  json::value value = json::parse({body.data(), body.size()}, failure, {}, options);
  if (failure) {
    std::string reason = failure.message();
    if (failure == json::error::too_deep)
      reason = "nested deeper than " + std::to_string(depth_max) + " levels";
    return {{}, invalid("", "invalid_json", "the body is not valid JSON: " + reason)};
  }
  if (!value.is_object())
    return {{},
            invalid("", "invalid_json",
                    "the body must be a JSON object, not " + std::string(text::json_kind(value)))};
  return {std::move(value.get_object()), std::nullopt};
}

std::string shown(const json::value& value) {
  if (value.is_bool()) return value.get_bool() ? "true" : "false";
  if (value.is_int64()) return std::to_string(value.get_int64());
  if (value.is_uint64()) return std::to_string(value.get_uint64());
  if (value.is_double()) return number_text(value.get_double());
  return std::string(text::json_kind(value));
}

bool is_number(const json::value& value) {
  return value.is_int64() || value.is_uint64() || value.is_double();
}

std::optional<int64_t> whole_number(const json::value& value, IntegerRange range) {
  int64_t whole = 0;
  if (value.is_int64()) {
    whole = value.get_int64();
  } else if (value.is_double()) {
    const double number = value.get_double();
    if (!(std::abs(number) <= kExactWholeMax) || number != std::floor(number)) return std::nullopt;
    whole = static_cast<int64_t>(number);
  } else {  // Not a number, or a uint64 above every range.
    return std::nullopt;
  }
  if (whole < range.min || whole > range.max) return std::nullopt;
  return whole;
}

FieldReader::FieldReader(const json::object& object, std::string path)
    : object_(object), path_(std::move(path)) {}

const json::value* FieldReader::find(std::string_view key) {
  known_.push_back(key);
  if (listener != nullptr) listener->field(name(key), {});
  const json::value* value = object_.if_contains({key.data(), key.size()});
  return value != nullptr && !value->is_null() ? value : nullptr;
}

void FieldReader::number(std::string_view key, NumberRange range, float& out) {
  if (listener != nullptr) {
    listener->field(name(key), {{"type", {"number", "null"}},
                                {range.min_excluded ? "exclusiveMinimum" : "minimum", range.min},
                                {"maximum", range.max}});
  }
  const json::value* value = find(key);
  if (value == nullptr) return;
  if (!is_number(*value)) return wrong_type(key, range_text(range), *value);
  const double number = as_double(*value);
  const bool above = range.min_excluded ? number > range.min : number >= range.min;
  // Narrowing may round a tiny value to an excluded bound.
  const auto narrow = static_cast<float>(number);
  const bool narrow_above = range.min_excluded ? static_cast<double>(narrow) > range.min : true;
  if (!(above && narrow_above && number <= range.max))
    return wrong_value(key, range_text(range), *value);
  if (ok()) out = narrow;
}

void FieldReader::integer(std::string_view key, IntegerRange range, int64_t& out) {
  if (listener != nullptr) {
    json::object schema{{"type", {"integer", "null"}}};
    set_bounds(schema, range);
    listener->field(name(key), std::move(schema));
  }
  const json::value* value = find(key);
  if (value == nullptr) return;
  if (!is_number(*value)) return wrong_type(key, range_text(range), *value);
  const std::optional<int64_t> whole = whole_number(*value, range);
  if (!whole) return wrong_value(key, range_text(range), *value);
  if (ok()) out = *whole;
}

void FieldReader::integer(std::string_view key, IntegerRange range, int32_t& out) {
  int64_t wide = out;
  integer(key, range, wide);
  out = static_cast<int32_t>(wide);
}

void FieldReader::boolean(std::string_view key, bool& out) {
  if (listener != nullptr) listener->field(name(key), {{"type", {"boolean", "null"}}});
  const json::value* value = find(key);
  if (value == nullptr) return;
  if (!value->is_bool()) return wrong_type(key, "true or false", *value);
  if (ok()) out = value->get_bool();
}

void FieldReader::string(std::string_view key, size_t bytes_max, std::string& out) {
  if (listener != nullptr)
    listener->field(name(key), {{"type", {"string", "null"}}, {"maxLength", bytes_max}});
  const json::value* value = find(key);
  if (value == nullptr) return;
  if (!value->is_string()) return wrong_type(key, "a string", *value);
  if (value->get_string().size() > bytes_max) {
    return fail(key, "string_above_max_length",
                name(key) + " has " + std::to_string(value->get_string().size()) +
                    " bytes; at most " + std::to_string(bytes_max) + " are allowed");
  }
  if (ok()) out.assign(value->get_string().data(), value->get_string().size());
}

void FieldReader::integers(std::string_view key, IntegerRange range, size_t count_max,
                           std::vector<int32_t>& out) {
  if (listener != nullptr) {
    json::object item{{"type", "integer"}};
    set_bounds(item, range);
    listener->field(
        name(key),
        {{"type", {"array", "null"}}, {"items", std::move(item)}, {"maxItems", count_max}});
  }
  const json::value* value = find(key);
  if (value == nullptr) return;
  if (!value->is_array()) return wrong_type(key, "an array of integers", *value);
  const json::array& items = value->get_array();
  if (items.size() > count_max) {
    return fail(key, "array_above_max_length",
                name(key) + " has " + std::to_string(items.size()) + " entries; at most " +
                    std::to_string(count_max) + " are allowed");
  }
  std::vector<int32_t> numbers;
  numbers.reserve(items.size());
  for (const json::value& item : items) {
    if (!is_number(item))
      return wrong_type(key, "an array whose entries are each " + range_text(range), item);
    const std::optional<int64_t> whole = whole_number(item, range);
    if (!whole)
      return wrong_value(key, "an array whose entries are each " + range_text(range), item);
    numbers.push_back(static_cast<int32_t>(*whole));
  }
  if (ok()) out = std::move(numbers);
}

void FieldReader::refuse(std::string_view key, std::string_view remedy) {
  if (listener != nullptr) listener->field(name(key), {{"type", "null"}});
  if (find(key) == nullptr) return;
  fail(key, "unsupported_parameter",
       name(key) + " is not supported by this server: " + std::string(remedy));
}

void FieldReader::fail(std::string_view key, std::string code, std::string message) {
  fail(invalid(name(key), std::move(code), std::move(message)));
}

void FieldReader::fail(Error error) {
  if (ok()) error_ = std::move(error);
}

void FieldReader::wrong_type(std::string_view key, std::string_view must_be,
                             const json::value& found) {
  fail(key, "invalid_type",
       name(key) + " must be " + std::string(must_be) + ", not " + shown(found));
}

void FieldReader::wrong_value(std::string_view key, std::string_view must_be,
                              const json::value& found) {
  fail(key, "invalid_value",
       name(key) + " must be " + std::string(must_be) + ", not " + shown(found));
}

std::vector<std::string> FieldReader::unknown() const {
  std::vector<std::string> names;
  for (const auto& field : object_) {
    const std::string_view key(field.key().data(), field.key().size());
    if (std::find(known_.begin(), known_.end(), key) != known_.end()) continue;
    names.push_back(excerpt(key));
    if (names.size() == kUnknownNamesMax) break;
  }
  return names;
}

}  // namespace galley::api

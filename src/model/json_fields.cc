#include "model/json_fields.h"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <cmath>

namespace galley::model {
namespace {

namespace json = boost::json;

constexpr size_t kDepthMax = 32;
constexpr size_t kShownBytesMax = 80;  // of a wrong value, in a message

std::string shown(const json::value& value) {
  if (value.is_object()) return "an object";
  if (value.is_array()) return "a list";
  std::string text = json::serialize(value);
  if (text.size() > kShownBytesMax) text = text.substr(0, kShownBytesMax) + "...";
  return text;
}

std::string shown(double value) {
  return json::serialize(json::value(value));
}

std::optional<int64_t> as_integer(const json::value& value) {
  if (value.is_int64()) return value.get_int64();
  if (value.is_double()) {
    // Python's json writes an integer that went through a float as 128.0.
    const double number = value.get_double();
    if (number == std::floor(number) && std::fabs(number) < 9.0e15)
      return static_cast<int64_t>(number);
  }
  return std::nullopt;
}

}  // namespace

Result<json::object> parse_object(std::string_view text, const std::string& where) {
  json::parse_options options;
  options.max_depth = kDepthMax;
  json::error_code error;
  json::value value = json::parse({text.data(), text.size()}, error, {}, options);
  if (error) return Status(Code::kInvalid, where + ": not valid JSON: " + error.message());
  if (!value.is_object())
    return Status(Code::kInvalid, where + ": expected a JSON object, found " + shown(value));
  return std::move(value.get_object());
}

const json::value* Fields::find(std::string_view key) const {
  const json::value* const value = object_.if_contains({key.data(), key.size()});
  return value == nullptr || value->is_null() ? nullptr : value;
}

bool Fields::has(std::string_view key) const {
  return find(key) != nullptr;
}

void Fields::fail(std::string_view key, const std::string& why) {
  if (!status_.ok()) return;
  status_ = Status(Code::kInvalid, where_ + ": " + std::string(key) + " " + why);
}

int64_t Fields::integer(std::string_view key, int64_t min, int64_t max,
                        std::optional<int64_t> fallback) {
  const json::value* const value = find(key);
  if (value == nullptr) {
    if (!fallback.has_value()) missing(key);
    return fallback.value_or(min);
  }
  const std::optional<int64_t> number = as_integer(*value);
  if (!number.has_value() || *number < min || *number > max) {
    fail(key, "is " + shown(*value) + ", expected an integer from " + std::to_string(min) + " to " +
                  std::to_string(max));
    return min;
  }
  return *number;
}

double Fields::number(std::string_view key, double min, double max,
                      std::optional<double> fallback) {
  const json::value* const value = find(key);
  if (value == nullptr) {
    if (!fallback.has_value()) missing(key);
    return fallback.value_or(min);
  }
  const double number = value->is_number() ? value->to_number<double>() : NAN;
  if (!(number >= min && number <= max)) {
    fail(key,
         "is " + shown(*value) + ", expected a number from " + shown(min) + " to " + shown(max));
    return min;
  }
  return number;
}

bool Fields::boolean(std::string_view key, std::optional<bool> fallback) {
  const json::value* const value = find(key);
  if (value == nullptr) {
    if (!fallback.has_value()) missing(key);
    return fallback.value_or(false);
  }
  if (!value->is_bool()) fail(key, "is " + shown(*value) + ", expected true or false");
  return value->is_bool() && value->get_bool();
}

std::string Fields::text(std::string_view key, std::optional<std::string> fallback) {
  const json::value* const value = find(key);
  if (value == nullptr) {
    if (!fallback.has_value()) missing(key);
    return std::move(fallback).value_or("");
  }
  if (!value->is_string()) {
    fail(key, "is " + shown(*value) + ", expected a string");
    return "";
  }
  return std::string(value->get_string());
}

size_t Fields::choice(std::string_view key, std::initializer_list<std::string_view> choices,
                      std::optional<size_t> fallback) {
  const json::value* const value = find(key);
  if (value == nullptr) {
    if (!fallback.has_value()) missing(key);
    return fallback.value_or(0);
  }
  std::string names;
  size_t idx = 0;
  for (const std::string_view name : choices) {
    if (value->is_string() && std::string_view(value->get_string()) == name) return idx;
    names += (idx++ == 0 ? "" : ", ") + std::string(name);
  }
  fail(key, "is " + shown(*value) + ", which is not supported (known: " + names + ")");
  return 0;
}

std::vector<int32_t> Fields::integers(std::string_view key, int64_t min, int64_t max,
                                      size_t count_max) {
  std::vector<int32_t> numbers;
  const json::value* const value = find(key);
  if (value == nullptr) return numbers;
  const std::span<const json::value> list =
      value->is_array()
          ? std::span<const json::value>(value->get_array().data(), value->get_array().size())
          : std::span<const json::value>(value, 1);
  if (list.size() > count_max) {
    fail(key, "has " + std::to_string(list.size()) + " entries, at most " +
                  std::to_string(count_max) + " are read");
    return numbers;
  }
  for (const json::value& entry : list) {
    const std::optional<int64_t> number = as_integer(entry);
    if (!number.has_value() || *number < min || *number > max) {
      fail(key, "holds " + shown(entry) + ", expected integers from " + std::to_string(min) +
                    " to " + std::to_string(max));
      return {};
    }
    numbers.push_back(static_cast<int32_t>(*number));
  }
  return numbers;
}

const json::object* Fields::object(std::string_view key) {
  const json::value* const value = find(key);
  if (value == nullptr) return nullptr;
  if (!value->is_object()) fail(key, "is " + shown(*value) + ", expected an object");
  return value->if_object();
}

}  // namespace galley::model

// JSON from a model folder, parsed within bounds and read field by field.
//
// Fields remembers the first thing that is wrong and then answers fallbacks, so that the reader of
// a config is a list of fields and asks status() once, at the end.
#pragma once

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace galley::model {

// Parses `text` into an object. Errors  kInvalid  names `where`: not JSON, deeper than 32 levels,
// not an object.
Result<boost::json::object> parse_object(std::string_view text, const std::string& where);

class Fields {
 public:
  // `where` names the object in messages: "config.json", "config.json: rope_scaling".
  Fields(const boost::json::object& object, std::string where)
      : object_(object), where_(std::move(where)) {}

  bool has(std::string_view key) const;  // present and not null

  // The field's value; `fallback` when it is absent or null, and an error when there is none. A
  // wrong type or a value outside [min, max] is an error.
  int64_t integer(std::string_view key, int64_t min, int64_t max,
                  std::optional<int64_t> fallback = std::nullopt);
  double number(std::string_view key, double min, double max,
                std::optional<double> fallback = std::nullopt);
  bool boolean(std::string_view key, std::optional<bool> fallback = std::nullopt);
  std::string text(std::string_view key, std::optional<std::string> fallback = std::nullopt);
  // One of `choices`: its index. An unknown value is refused with its name and the choices.
  size_t choice(std::string_view key, std::initializer_list<std::string_view> choices,
                std::optional<size_t> fallback = std::nullopt);
  // A number or a list of at most `count_max` numbers; absent: empty.
  std::vector<int32_t> integers(std::string_view key, int64_t min, int64_t max, size_t count_max);
  // The object in the field, or null when the field is absent or null.
  const boost::json::object* object(std::string_view key);

  void fail(std::string_view key, const std::string& why);
  // Takes over what is wrong with an object inside this one.
  void adopt(const Status& inner) {
    if (status_.ok()) status_ = inner;
  }
  const Status& status() const { return status_; }
  const std::string& where() const { return where_; }

 private:
  const boost::json::value* find(std::string_view key) const;
  // Reports a field that is absent and has no fallback.
  void missing(std::string_view key) { fail(key, "is missing"); }

  const boost::json::object& object_;
  std::string where_;
  Status status_;
};

}  // namespace galley::model

// Reading of request bodies: bounded JSON and typed fields whose errors name the field.
//
// What counts as JSON is RFC 8259, strictly: no trailing commas, comments, NaN, byte order mark,
// invalid UTF-8 or lone surrogates. Of a duplicate key the last value counts, as in Python's json,
// which the servers clients know are built on. null is the same as absent. A whole number may be
// written 16.0; a bool is never a number, a string never a number.
//
// FieldReader keeps the first error; later calls do nothing, so a parser reads all its fields and
// asks once at the end. Pure.
#pragma once

#include <boost/json.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/errors.h"

namespace galley::api {

// A parsed value or why not.
template <typename T>
struct Parsed {
  T value{};
  std::optional<Error> error;
  bool ok() const { return !error.has_value(); }
};

// The JSON object in `body`. Errors have code "invalid_json".
Parsed<boost::json::object> parse_body(std::string_view body, size_t depth_max);

// The value for a message: its kind, or its short text if it is a number, bool or null.
std::string shown(const boost::json::value& value);

struct NumberRange {
  double min = 0;
  double max = 0;
  bool min_excluded = false;
};

struct IntegerRange {
  int64_t min = 0;
  int64_t max = 0;
};

// Hears which fields a parser reads, with a JSON Schema of what each takes (empty: only that it is
// known). So the description of an endpoint comes from the code that parses (api/openapi.h).
class FieldListener {
 public:
  // From here to its end the FieldReaders of this thread tell it.
  FieldListener();
  virtual ~FieldListener();
  FieldListener(const FieldListener&) = delete;
  FieldListener& operator=(const FieldListener&) = delete;

  // `name` as in errors: "messages[0].role".
  virtual void field(const std::string& name, boost::json::object schema) = 0;
};

class FieldReader {
 public:
  // Both must outlive the reader. `path` stands before every name in errors: "thinking.".
  explicit FieldReader(const boost::json::object& object, std::string path = "");

  // The value of `key`, null when it is absent or JSON null. Marks the key as known.
  const boost::json::value* find(std::string_view key);

  // Each leaves `out` alone when the field is absent, null or wrong.
  void number(std::string_view key, NumberRange range, float& out);
  void integer(std::string_view key, IntegerRange range, int32_t& out);
  void integer(std::string_view key, IntegerRange range, int64_t& out);
  void boolean(std::string_view key, bool& out);
  void string(std::string_view key, size_t bytes_max, std::string& out);
  // An array of integers, as a client sends token ids.
  void integers(std::string_view key, IntegerRange range, size_t count_max,
                std::vector<int32_t>& out);

  // The field must be absent or null: this server does not have what it asks for.
  void refuse(std::string_view key, std::string_view remedy);

  void fail(std::string_view key, std::string code, std::string message);
  void fail(Error error);
  // "temperature must be ..., not 3": `must_be` starts after "must be".
  void wrong_type(std::string_view key, std::string_view must_be, const boost::json::value& found);
  void wrong_value(std::string_view key, std::string_view must_be, const boost::json::value& found);

  bool ok() const { return !error_.has_value(); }
  const std::optional<Error>& error() const { return error_; }
  std::string name(std::string_view key) const { return path_ + std::string(key); }

  // Keys of the object nobody asked for, at most 16, for the debug log. Names only.
  std::vector<std::string> unknown() const;

 private:
  const boost::json::object& object_;
  const std::string path_;
  std::vector<std::string_view> known_;
  std::optional<Error> error_;
};

// `value` as a whole number within `range`; nothing when it is none.
std::optional<int64_t> whole_number(const boost::json::value& value, IntegerRange range);

// Whether `value` is a number at all.
bool is_number(const boost::json::value& value);

}  // namespace galley::api

// JsonWriter: appends JSON to one string. Used for everything this server sends.
//
// Numbers are the shortest that read back equal; a number JSON has no spelling for (NaN, infinite)
// is clamped by number(). Bytes that are not UTF-8 become U+FFFD, so what leaves is always valid.
// The caller nests rightly: begin/end pairs and one value per key are not checked.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace galley::api {

class JsonWriter {
 public:
  JsonWriter& begin_object();
  JsonWriter& end_object();
  JsonWriter& begin_array();
  JsonWriter& end_array();
  JsonWriter& key(std::string_view name);
  JsonWriter& string(std::string_view text);
  JsonWriter& integer(int64_t value);
  JsonWriter& number(double value);  // -inf and NaN: -9999.0 (vLLM's spelling); +inf: 9999.0
  JsonWriter& number(float value);   // as above, shortest for a float
  JsonWriter& boolean(bool value);
  JsonWriter& null();
  // `json` must be one valid JSON value.
  JsonWriter& raw(std::string_view json);
  // Zero or more values with commas between, such as another writer's text without brackets.
  JsonWriter& raw_items(std::string_view items);

  const std::string& text() const { return out_; }
  std::string take() { return std::move(out_); }

 private:
  void before_value();
  template <typename T>
  void append_number(T value);

  std::string out_;
  bool comma_ = false;  // a value stands directly before
};

// `text` if it is one JSON object, else "{}": a call that was cut off has half of one.
std::string object_text(const std::string& text, size_t depth_max = 64);

// Appends `text` as a JSON string, with quotes.
void append_json_string(std::string& out, std::string_view text);

}  // namespace galley::api

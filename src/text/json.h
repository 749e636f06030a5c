// Reading of the JSON files in a model folder: bounded, with errors that name file and field.
//
// Files are hostile until parsed: size and depth have bounds, and every access says what it found
// where. `where` is the place for messages, such as "tokenizer.json: model".
#pragma once

#include <boost/json.hpp>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"

namespace galley::text {

// Parses one JSON document. kCorrupt, naming `name` and the reason, when it is not one or is nested
// deeper than `depth_max`.
Result<boost::json::value> parse_json(std::string_view text, const std::string& name,
                                      size_t depth_max);

// "string", "object", ... for messages.
std::string_view json_kind(const boost::json::value& value);

// Fields of an object. An absent or null field takes `fallback`; without one it is an error.
Result<std::string> string_field(const boost::json::object& object, std::string_view key,
                                 const std::string& where,
                                 std::optional<std::string> fallback = std::nullopt);
Result<bool> bool_field(const boost::json::object& object, std::string_view key,
                        const std::string& where, std::optional<bool> fallback = std::nullopt);
Result<int64_t> int_field(const boost::json::object& object, std::string_view key,
                          const std::string& where, std::optional<int64_t> fallback = std::nullopt);
Result<const boost::json::object*> object_of(const boost::json::value& value,
                                             const std::string& where);
Result<const boost::json::array*> array_of(const boost::json::value& value,
                                           const std::string& where);

// The steps of a tokenizer component of type "Sequence": `add(step, where)` for each entry of the
// array `key`, up to the first that fails. `where` then has the key, too.
using AddStep = std::function<Status(const boost::json::value& step, const std::string& where)>;
Status add_sequence(const boost::json::object& object, std::string_view key,
                    const std::string& where, const AddStep& add);

// The field `key`, which must exist. The pointer lives as long as `object`.
Result<const boost::json::value*> field(const boost::json::object& object, std::string_view key,
                                        const std::string& where);

}  // namespace galley::text

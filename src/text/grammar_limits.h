// Bounds of what a client may ask an answer to look like.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace galley::text {

struct SchemaLimits {
  size_t nodes_max = 50'000;      // schemas within the schema, after `allOf` of one is unwrapped
  size_t enum_values_max = 5000;  // of one enum
  int64_t count_max = 100'000;    // minLength, maxItems, ...: what exceeds it is refused
};

struct GrammarLimits {
  const std::atomic<bool>* cancelled = nullptr;  // set: compiling ends soon, as out of time
  size_t source_bytes_max = size_t{256} << 10;
  size_t nesting_max = 128;   // brackets in a regex or grammar
  size_t choices_max = 1024;  // strings of a choice
  int64_t compile_ms_max = 5'000;
  uint64_t states_max = 2'000'000;  // made while compiling, intermediate ones too
  size_t compiled_bytes_max = size_t{128} << 20;
  int64_t fill_ms_max = 250;    // one mask; the request ends when it takes longer
  int32_t whitespace_max = 32;  // in a row, between the tokens of JSON
  SchemaLimits schema;
};

}  // namespace galley::text

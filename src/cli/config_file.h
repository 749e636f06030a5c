// The --config file: one YAML mapping from option names to values, read with bounds.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"

namespace galley::cli {

struct ConfigEntry {
  enum class Shape : uint8_t { kScalar, kList, kMapping };
  std::string key;
  Shape shape = Shape::kScalar;
  std::vector<std::string> values;  // kMapping: one, the mapping as JSON text
  int line = 0;                     // from 1
};

// The entries in the order of the file.
// Errors  kNotFound  no such file; kInvalid names file, line and cause: not YAML, not a mapping, a
// key twice, a value of null, more than kConfigBytesMax bytes.
Result<std::vector<ConfigEntry>> read_config_file(const std::string& path);
Result<std::vector<ConfigEntry>> parse_config(const std::string& text, const std::string& path);

}  // namespace galley::cli

// Log lines for people and log collectors: time, level, one sentence, on standard error.
//
// Any thread may log; lines never mix. Prompts, completions and keys never belong in a line. The
// engine thread logs nothing on the step path. spdlog writes the lines; only log.cc includes it.
#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"

namespace galley {

enum class LogLevel : uint8_t { kDebug, kInfo, kWarning, kError, kOff };

// debug, info, warning, error, off. Errors  kInvalid names the value and the choices.
Result<LogLevel> parse_log_level(std::string_view name);
std::string_view log_level_name(LogLevel level);

// Lines below `level` are dropped from now on. Before the first call: kInfo.
void set_log_level(LogLevel level);
bool log_enabled(LogLevel level);
// One line, whatever the level is now. Control characters are written as \xNN, so that text from
// outside cannot forge a line.
void log_line(LogLevel level, std::string_view line);

namespace log_internal {

inline void append(std::string* line, std::string_view part) {
  line->append(part);
}
inline void append(std::string* line, char part) {
  line->push_back(part);
}
void append(std::string* line, double part);  // six significant digits
template <std::integral T>
void append(std::string* line, T part) {
  if constexpr (std::same_as<T, bool>) {  // as an overload it would also take string literals
    line->append(part ? "true" : "false");
  } else {
    line->append(std::to_string(part));
  }
}

template <typename... Parts>
void log(LogLevel level, const Parts&... parts) {
  if (!log_enabled(level)) return;
  std::string line;
  (append(&line, parts), ...);
  log_line(level, line);
}

}  // namespace log_internal

// The parts, joined: log_info("listening on ", host, ":", port).
template <typename... Parts>
void log_debug(const Parts&... parts) {
  log_internal::log(LogLevel::kDebug, parts...);
}
template <typename... Parts>
void log_info(const Parts&... parts) {
  log_internal::log(LogLevel::kInfo, parts...);
}
template <typename... Parts>
void log_warning(const Parts&... parts) {
  log_internal::log(LogLevel::kWarning, parts...);
}
template <typename... Parts>
void log_error(const Parts&... parts) {
  log_internal::log(LogLevel::kError, parts...);
}

}  // namespace galley

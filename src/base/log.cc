#include "base/log.h"

#define FMT_HEADER_ONLY
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <array>
#include <atomic>
#include <cstdio>
#include <memory>

namespace galley {

namespace {

constexpr std::array<std::string_view, 5> kNames = {"debug", "info", "warning", "error", "off"};

std::atomic<LogLevel> g_level{LogLevel::kInfo};

spdlog::logger& logger() {
  // Never destroyed: a thread may log while the process exits.
  static spdlog::logger* const instance = [] {
    auto* made =
        new spdlog::logger("galley", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
    made->set_pattern("%Y-%m-%d %H:%M:%S.%e %^%-7l%$ %v");
    made->set_level(spdlog::level::trace);
    made->flush_on(spdlog::level::info);
    return made;
  }();
  return *instance;
}

spdlog::level::level_enum to_spdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
    case LogLevel::kOff:
      break;
  }
  return spdlog::level::off;
}

}  // namespace

Result<LogLevel> parse_log_level(std::string_view name) {
  for (size_t i = 0; i < kNames.size(); ++i) {
    if (kNames[i] == name) return static_cast<LogLevel>(i);
  }
  return Status(Code::kInvalid, "'" + std::string(name) +
                                    "' is no log level; choose debug, info, warning, error or off");
}

std::string_view log_level_name(LogLevel level) {
  return kNames[static_cast<size_t>(level)];
}

void set_log_level(LogLevel level) {
  g_level.store(level, std::memory_order_relaxed);
}

bool log_enabled(LogLevel level) {
  return level >= g_level.load(std::memory_order_relaxed) && level != LogLevel::kOff;
}

void log_line(LogLevel level, std::string_view line) {
  std::string safe;
  safe.reserve(line.size());
  for (const char c : line) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte != 0x7f) {
      safe.push_back(c);
      continue;
    }
    std::array<char, 5> escaped{};
    std::snprintf(escaped.data(), escaped.size(), "\\x%02x", byte);
    safe.append(escaped.data());
  }
  logger().log(to_spdlog(level), spdlog::string_view_t(safe.data(), safe.size()));
}

namespace log_internal {

void append(std::string* line, double part) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.6g", part);
  line->append(text.data());
}

}  // namespace log_internal

}  // namespace galley

#include "cli/numbers.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <limits>

namespace galley::cli {

namespace {

struct Split {
  double number = 0;
  int64_t whole = 0;  // valid if !fraction
  bool fraction = false;
  std::string_view suffix;
};

// Splits "1.5GiB" into 1.5 and "GiB". False if no number stands in front.
bool split(std::string_view text, Split* out) {
  size_t digits = 0;
  size_t i = 0;
  if (i < text.size() && text[i] == '-') ++i;
  for (; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '.' && !out->fraction) {
      out->fraction = true;
    } else if (c >= '0' && c <= '9') {
      ++digits;
    } else {
      break;
    }
  }
  if (digits == 0) return false;
  const std::string_view number = text.substr(0, i);
  out->suffix = text.substr(i);
  const char* const end = number.data() + number.size();
  if (!out->fraction) {
    const auto [stop, error] = std::from_chars(number.data(), end, out->whole);
    if (error != std::errc() || stop != end) return false;
    out->number = static_cast<double>(out->whole);
    return true;
  }
  const auto [stop, error] = std::from_chars(number.data(), end, out->number);
  return error == std::errc() && stop == end;
}

// number * factor as an integer, if it is one and fits.
bool scale(const Split& parts, int64_t factor, int64_t* out) {
  if (!parts.fraction) return !__builtin_mul_overflow(parts.whole, factor, out);
  const double product = parts.number * static_cast<double>(factor);
  if (!(std::fabs(product) < 9.0e18) || product != std::floor(product)) return false;
  *out = static_cast<int64_t>(product);
  return true;
}

std::string quoted(std::string_view text) {
  return "'" + std::string(text) + "'";
}

std::string format(const char* pattern, double value, const char* unit) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), pattern, value, unit);
  return text.data();
}

}  // namespace

Result<int64_t> parse_count(std::string_view text) {
  const Status wrong(Code::kInvalid,
                     quoted(text) + " is not a whole number; write 4096, 4K (4096) or 4k (4000)");
  Split parts;
  if (!split(text, &parts)) return wrong;
  int64_t factor = 1;
  if (parts.suffix.size() > 1) return wrong;
  if (parts.suffix.size() == 1) {
    constexpr std::string_view kDecimal = "kmgt";
    constexpr std::string_view kBinary = "KMGT";
    const size_t decimal = kDecimal.find(parts.suffix[0]);
    const size_t binary = kBinary.find(parts.suffix[0]);
    if (decimal == std::string_view::npos && binary == std::string_view::npos) return wrong;
    const bool is_decimal = decimal != std::string_view::npos;
    if (!is_decimal && parts.fraction) return wrong;
    const size_t power = (is_decimal ? decimal : binary) + 1;
    for (size_t i = 0; i < power; ++i) factor *= is_decimal ? 1000 : 1024;
  } else if (parts.fraction) {
    return wrong;
  }
  int64_t value = 0;
  if (!scale(parts, factor, &value)) return wrong;
  return value;
}

Result<int64_t> parse_size(std::string_view text) {
  const Status wrong(Code::kInvalid,
                     quoted(text) + " is not a size; write 8GiB, 512MiB or a number of bytes");
  Split parts;
  if (!split(text, &parts) || parts.number < 0) return wrong;
  std::string_view suffix = parts.suffix;
  int64_t base = 1024;
  if (suffix.ends_with("iB")) {
    suffix.remove_suffix(2);
    if (suffix.empty()) return wrong;
  } else if (suffix.size() == 2 && suffix.ends_with('B')) {
    suffix.remove_suffix(1);
    base = 1000;
  } else if (suffix == "B") {
    suffix = {};
  }
  int64_t factor = 1;
  if (!suffix.empty()) {
    constexpr std::string_view kUnits = "KMGT";
    const size_t power = kUnits.find(suffix[0]);
    if (suffix.size() != 1 || power == std::string_view::npos) return wrong;
    for (size_t i = 0; i <= power; ++i) factor *= base;
  }
  int64_t value = 0;
  if (parts.fraction) {  // a byte more or less does not matter in 1.3GiB
    parts.number = std::floor(parts.number * static_cast<double>(factor));
    factor = 1;
  }
  if (!scale(parts, factor, &value)) return wrong;
  return value;
}

Result<double> parse_real(std::string_view text) {
  if (text == "inf") return std::numeric_limits<double>::infinity();
  double value = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end || !std::isfinite(value)) {
    return Status(Code::kInvalid, quoted(text) + " is not a number");
  }
  return value;
}

Result<bool> parse_switch(std::string_view text) {
  for (const std::string_view yes : {"true", "yes", "on", "1"}) {
    if (text == yes) return true;
  }
  for (const std::string_view no : {"false", "no", "off", "0"}) {
    if (text == no) return false;
  }
  return Status(Code::kInvalid, quoted(text) + " is neither true nor false");
}

std::string show_size(double bytes) {
  constexpr std::array<const char*, 5> kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  while (std::fabs(bytes) >= 1024 && unit + 1 < kUnits.size()) {
    bytes /= 1024;
    ++unit;
  }
  return format(unit == 0 ? "%.0f %s" : "%.2f %s", bytes, kUnits[unit]);
}

std::string show_count(double count) {
  constexpr std::array<const char*, 5> kUnits = {"", " k", " M", " G", " T"};
  size_t unit = 0;
  while (std::fabs(count) >= 1000 && unit + 1 < kUnits.size()) {
    count /= 1000;
    ++unit;
  }
  return format(unit == 0 ? "%.0f%s" : "%.1f%s", count, kUnits[unit]);
}

std::string show_real(double value, int digits) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%.*f", digits, value);
  return text.data();
}

std::string show_grouped(int64_t value) {
  std::string text = std::to_string(value);
  const size_t first = text.starts_with('-') ? 1 : 0;
  for (size_t at = text.size(); at > first + 3;) {
    at -= 3;
    text.insert(at, ",");
  }
  return text;
}

}  // namespace galley::cli

// Numbers as people type them on a command line, and as they read them in a report.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"

namespace galley::cli {

// "65536", "64K" (times 1024), "64k" (times 1000), "1.5m"; k m g t count in 1000s and may follow a
// decimal fraction, K M G T count in 1024s: vLLM's rule for its integer flags. May be negative.
// Errors  kInvalid  names the text and shows what a count looks like.
Result<int64_t> parse_count(std::string_view text);

// Bytes: "1073741824", "1G" and "1GiB" (2^30), "1GB" (10^9), "1.5GiB".
Result<int64_t> parse_size(std::string_view text);

// A finite decimal number, or "inf".
Result<double> parse_real(std::string_view text);

// true/false, yes/no, on/off, 1/0.
Result<bool> parse_switch(std::string_view text);

std::string show_size(double bytes);              // "1.50 GiB"
std::string show_count(double count);             // "26.5 M"
std::string show_real(double value, int digits);  // fixed digits after the point
// 1234567 -> "1,234,567"
std::string show_grouped(int64_t value);

}  // namespace galley::cli

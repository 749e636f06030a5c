#include "hub/progress.h"

#include <algorithm>
#include <array>
#include <cstdio>

namespace galley::hub {
namespace {

constexpr int64_t kWindowMs = 10'000;
constexpr int64_t kStepMs = 250;  // of the window: bytes in between are put together

std::string duration_text(int64_t s) {
  if (s >= 3600) return std::to_string(s / 3600) + " h " + std::to_string(s % 3600 / 60) + " min";
  if (s >= 60) return std::to_string(s / 60) + " min " + std::to_string(s % 60) + " s";
  return std::to_string(s) + " s";
}

}  // namespace

std::string size_text(int64_t bytes) {
  constexpr std::array<const char*, 5> kUnits = {"B", "kB", "MB", "GB", "TB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 999.95 && unit + 1 < kUnits.size()) {
    value /= 1000;
    ++unit;
  }
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), unit == 0 ? "%.0f %s" : "%.1f %s", value, kUnits[unit]);
  return text.data();
}

void Progress::add(int64_t bytes, int64_t now_ms) {
  done_ += bytes;
  if (!recent_.empty() && now_ms - recent_.back().first < kStepMs) {
    recent_.back().second += bytes;
  } else {
    recent_.emplace_back(now_ms, bytes);
  }
  while (recent_.front().first < now_ms - kWindowMs) recent_.pop_front();
}

double Progress::rate(int64_t now_ms) const {
  int64_t bytes = 0;
  int64_t since = now_ms;
  for (const auto& [time, count] : recent_) {
    if (time < now_ms - kWindowMs) continue;
    since = std::min(since, time);
    bytes += count;
  }
  const int64_t took = std::max(now_ms - since, kStepMs);
  return static_cast<double>(std::max<int64_t>(bytes, 0)) * 1000 / static_cast<double>(took);
}

int64_t Progress::left_s(int64_t now_ms) const {
  const double speed = rate(now_ms);
  if (speed < 1) return -1;
  return static_cast<int64_t>(static_cast<double>(total_ - done_) / speed + 0.5);
}

std::string Progress::line(int64_t files_done, int64_t files, int64_t now_ms) const {
  const int64_t percent = total_ == 0 ? 100 : 100 * done_ / total_;
  const int64_t left = left_s(now_ms);
  return std::to_string(files_done) + " of " + std::to_string(files) + " files, " +
         size_text(done_) + " of " + size_text(total_) + " (" + std::to_string(percent) + " %), " +
         size_text(static_cast<int64_t>(rate(now_ms))) + "/s" +
         (left < 0 ? "" : ", " + duration_text(left) + " left");
}

}  // namespace galley::hub

// History: what the engine did in the last hours, a sample each period, for whoever looks at the
// page. A scraper has /metrics; this is for machines that nobody scrapes.
//
// Rates and percentiles are of the time since the sample before. Pure; time is an argument.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>

#include "base/histogram.h"
#include "engine/engine_stats.h"

namespace galley::gateway {

struct HistoryLimits {
  int64_t period_s = 10;
  size_t samples_max = 2160;  // 6 hours
};

// The `q` quantile of what `after` has seen and `before`, an earlier state of it, had not; within a
// bucket as if spread evenly, above the last bound that bound. Nothing: nothing was seen.
std::optional<double> quantile_between(const Histogram& before, const Histogram& after, double q);

class History {
 public:
  explicit History(const HistoryLimits& limits) : limits_(limits) {}

  // `stats` at `time_s`, the wall clock. `waiting`: sequences in front of the engine. `refused`:
  // requests refused since the start.
  void add(int64_t time_s, const engine::EngineStats& stats, int64_t waiting, uint64_t refused);

  // {"period_s": 10, "time_s": [...], "running": [...], ...}: samples younger than `after_s`,
  // oldest first, null where there was nothing to measure.
  std::string json(int64_t after_s) const;

  const HistoryLimits& limits() const { return limits_; }
  size_t size() const { return samples_.size(); }

 private:
  struct Sample {
    int64_t time_s = 0;
    int64_t running = 0, waiting = 0, refused = 0;
    double kv_used = 0;                                  // 0 to 1
    std::optional<double> prompt_rate, generation_rate;  // tokens/s
    std::optional<double> ttft_p50_s, ttft_p99_s, itl_p50_s, itl_p99_s;
    std::optional<double> accepted, prefix_hits;  // 0 to 1, of drafts and prompt tokens
  };

  const HistoryLimits limits_;
  std::deque<Sample> samples_;
  std::optional<engine::EngineStats> last_;
  int64_t last_s_ = 0;
  uint64_t last_refused_ = 0;
};

}  // namespace galley::gateway

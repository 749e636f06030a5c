// The figures of `galley bench overload`, from what became of each request. Pure.
#pragma once

#include <string>
#include <vector>

#include "cli/load_report.h"
#include "cli/overload_load.h"

namespace galley::cli {

// A span of a run, ms.
struct Window {
  double from_ms = 0, to_ms = 0;
  double seconds() const { return (to_ms - from_ms) / 1000; }
};

struct GroupReport {
  std::string name;
  int64_t requests = 0;  // that came within the window, as all counts
  int64_t good = 0, refused = 0, late = 0, failed = 0;
  double served_cost = 0;  // delivered within the window, whatever became of it
  double good_cost = 0;    // of this, of answers that were good
  Distribution ttft_ms;    // of good answers, from when the client wanted it
  Distribution e2e_ms;
};

// How honest the waits were that clients were told.
struct EstimateReport {
  int64_t scored = 0;         // told, and then started
  double error_median = 0;    // |told - real start| / the whole wait
  double within_p90 = 0;      // share that started before the 90 % bound
  int64_t never_started = 0;  // told, and not started in time
};

struct LegReport {
  std::string name;
  std::string policy;     // "fair", "fcfs"
  double load = 0;        // offered, of capacity
  double good_share = 0;  // good_cost a second, of capacity
  double answers_per_s = 0;
  double wasted_share = 0;  // served cost that made no good answer
  double tries_per_request = 0;
  Distribution refusal_ms;  // how long a no took
  EstimateReport estimates;
  double fairness = 0;  // most over least served of the groups that are to be equal; 0: not asked
  double recovery_s = -1;  // -1: not asked
  double lag_ms_max = 0;
  std::vector<GroupReport> groups;
  std::vector<std::pair<std::string, int64_t>> failures;  // why, and how often

  const GroupReport& group(const std::string& group_name) const;
};

struct LegQuestion {
  std::string name, policy;
  double load = 0;
  double capacity_cost_per_s = 0;
  Window window;
  std::vector<size_t> equal_groups = {};  // whose service is compared
  // Of the group named, from this time on: when are its waits back below the bound? -1: not asked.
  double burst_end_ms = -1;
  double normal_ttft_ms = 0;
  size_t recovery_group = 0;
};

// Token cost delivered to `attempt` within the window: its prompt with the first text, its output
// evenly from then to the end.
double cost_within(const Attempt& attempt, const Window& window);
EstimateReport score_estimates(const std::vector<Attempt>& attempts);
LegReport summarise(const OverloadRun& run, const std::vector<ClientGroup>& groups,
                    const LegQuestion& question);

struct OverloadReport {
  std::string model;
  std::string machine;
  double capacity_cost_per_s = 0;
  double capacity_requests_per_s = 0;
  int64_t patience_ms = 0;
  std::vector<LegReport> legs;
};
std::string render(const OverloadReport& report);
std::string to_json(const OverloadReport& report);
// A page with the figures and their plots, all in one file.
std::string to_html(const OverloadReport& report);

}  // namespace galley::cli

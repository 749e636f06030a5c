#include "cli/overload_report.h"

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <cmath>
#include <cstdio>

#include "base/check.h"

namespace galley::cli {
namespace {

constexpr double kRecoveryBucketMs = 500;

bool within(double at_ms, const Window& window) {
  return at_ms >= window.from_ms && at_ms < window.to_ms;
}

std::string fixed(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof(text), "%.*f", digits, value);
  return text;
}

std::string padded(std::string text, size_t width) {
  if (text.size() < width) text.insert(0, width - text.size(), ' ');
  return text;
}

boost::json::object to_object(const Distribution& d) {
  return {{"count", d.count}, {"mean", d.mean}, {"p50", d.p50}, {"p90", d.p90}, {"p99", d.p99}};
}

// From the end of the burst until everybody who came later was served as before it.
double recovery_s(const OverloadRun& run, const LegQuestion& question) {
  double last_bad_ms = question.burst_end_ms;
  for (const Attempt& attempt : run.attempts) {
    if (attempt.group != question.recovery_group || attempt.wanted_ms < question.burst_end_ms)
      continue;
    const bool good = attempt.outcome == Outcome::kGood &&
                      attempt.first_ms - attempt.wanted_ms <= question.normal_ttft_ms;
    if (!good) last_bad_ms = std::max(last_bad_ms, attempt.wanted_ms);
  }
  const double passed = last_bad_ms - question.burst_end_ms;
  return std::ceil(passed / kRecoveryBucketMs) * kRecoveryBucketMs / 1000;
}

}  // namespace

const GroupReport& LegReport::group(const std::string& group_name) const {
  const auto found = std::find_if(groups.begin(), groups.end(),
                                  [&](const GroupReport& one) { return one.name == group_name; });
  GALLEY_CHECK(found != groups.end(), "the leg has the group");
  return *found;
}

double cost_within(const Attempt& attempt, const Window& window) {
  if (attempt.first_ms < 0) return 0;
  double cost = within(attempt.first_ms, window) ? attempt.lengths.input_tokens : 0;
  const double took = std::max(attempt.done_ms - attempt.first_ms, 1e-3);
  const double from = std::max(attempt.first_ms, window.from_ms);
  const double to = std::min(attempt.first_ms + took, window.to_ms);
  if (to > from) cost += 2.0 * attempt.output_received * (to - from) / took;
  return cost;
}

EstimateReport score_estimates(const std::vector<Attempt>& attempts) {
  EstimateReport out;
  std::vector<double> errors;
  int64_t in_time = 0;
  for (const Attempt& attempt : attempts) {
    if (attempt.told_ms < 0) continue;
    if (attempt.start_ms < 0) {
      ++out.never_started;
      continue;
    }
    const double wait = std::max(attempt.start_ms - attempt.accepted_try_ms, 1.0);
    errors.push_back(std::abs(attempt.told_ms + attempt.told_median_ms - attempt.start_ms) / wait);
    if (attempt.start_ms <= attempt.told_ms + attempt.told_p90_ms) ++in_time;
  }
  out.scored = static_cast<int64_t>(errors.size());
  if (errors.empty()) return out;
  out.error_median = describe(errors).p50;
  out.within_p90 = static_cast<double>(in_time) / static_cast<double>(errors.size());
  return out;
}

LegReport summarise(const OverloadRun& run, const std::vector<ClientGroup>& groups,
                    const LegQuestion& question) {
  LegReport out;
  out.name = question.name;
  out.policy = question.policy;
  out.load = question.load;
  out.lag_ms_max = run.lag_ms_max;
  out.failures.assign(run.failures.begin(), run.failures.end());
  std::vector<std::vector<double>> ttft(groups.size()), e2e(groups.size());
  std::vector<double> refusals;
  for (const ClientGroup& group : groups) out.groups.emplace_back().name = group.name;
  double good_cost = 0, served_cost = 0;
  int64_t good = 0, requests = 0, tries = 0;
  for (const Attempt& attempt : run.attempts) {
    GroupReport& group = out.groups[attempt.group];
    const double cost = cost_within(attempt, question.window);
    group.served_cost += cost;
    if (attempt.outcome == Outcome::kGood) group.good_cost += cost;
    const bool after = groups[attempt.group].from_s * 1000 >= question.window.to_ms;
    if (after) {  // The calm after the burst: shown, and no part of the burst's figures.
      ++group.requests;
      group.good += attempt.outcome == Outcome::kGood;
      group.refused += attempt.outcome == Outcome::kRefused;
      group.late += attempt.outcome == Outcome::kLate;
      group.failed += attempt.outcome == Outcome::kFailed;
      if (attempt.outcome == Outcome::kGood)
        ttft[attempt.group].push_back(attempt.first_ms - attempt.wanted_ms);
      continue;
    }
    if (!within(attempt.wanted_ms, question.window)) continue;
    ++requests;
    tries += attempt.tries;
    ++group.requests;
    group.good += attempt.outcome == Outcome::kGood;
    group.refused += attempt.outcome == Outcome::kRefused;
    group.late += attempt.outcome == Outcome::kLate;
    group.failed += attempt.outcome == Outcome::kFailed || attempt.outcome == Outcome::kPending;
    if (attempt.refusal_ms >= 0) refusals.push_back(attempt.refusal_ms);
    if (attempt.outcome != Outcome::kGood) continue;
    ++good;
    ttft[attempt.group].push_back(attempt.first_ms - attempt.wanted_ms);
    e2e[attempt.group].push_back(attempt.done_ms - attempt.wanted_ms);
  }
  for (size_t g = 0; g < groups.size(); ++g) {
    out.groups[g].ttft_ms = describe(std::move(ttft[g]));
    out.groups[g].e2e_ms = describe(std::move(e2e[g]));
    good_cost += out.groups[g].good_cost;
    served_cost += out.groups[g].served_cost;
  }
  const double seconds = question.window.seconds();
  out.good_share = good_cost / seconds / question.capacity_cost_per_s;
  out.answers_per_s = static_cast<double>(good) / seconds;
  out.wasted_share = served_cost > 0 ? 1 - good_cost / served_cost : 0;
  out.tries_per_request =
      requests > 0 ? static_cast<double>(tries) / static_cast<double>(requests) : 0;
  out.refusal_ms = describe(std::move(refusals));
  out.estimates = score_estimates(run.attempts);
  if (!question.equal_groups.empty()) {
    double most = 0, least = 1e300;
    for (const size_t g : question.equal_groups) {
      most = std::max(most, out.groups[g].served_cost);
      least = std::min(least, out.groups[g].served_cost);
    }
    out.fairness = least > 0 ? most / least : 1e9;
  }
  if (question.burst_end_ms >= 0) out.recovery_s = recovery_s(run, question);
  return out;
}

std::string render(const OverloadReport& report) {
  std::string out = "capacity " + fixed(report.capacity_requests_per_s, 1) + " requests/s, " +
                    fixed(report.capacity_cost_per_s, 0) + " cost/s; patience " +
                    fixed(static_cast<double>(report.patience_ms) / 1000, 1) + " s; " +
                    report.model + "\n\n";
  out +=
      "leg                    policy  load  goodput  wasted  ttft p50    p99  no after  tries  "
      "fair  est.err  in p90\n";
  for (const LegReport& leg : report.legs) {
    std::vector<double> p50, p99;
    std::string name = leg.name;
    name.resize(std::max<size_t>(name.size(), 22), ' ');
    const GroupReport& first = leg.groups.front();
    out += name + " " + leg.policy + padded(fixed(leg.load, 1) + "x", 8) +
           padded(fixed(leg.good_share * 100, 0) + " %", 9) +
           padded(fixed(leg.wasted_share * 100, 0) + " %", 8) +
           padded(fixed(first.ttft_ms.p50, 0), 10) + padded(fixed(first.ttft_ms.p99, 0), 7) +
           padded(fixed(leg.refusal_ms.p50, 1), 10) + padded(fixed(leg.tries_per_request, 1), 7) +
           padded(leg.fairness > 0 ? fixed(leg.fairness, 2) : "-", 6);
    if (leg.estimates.scored > 0) {
      out += padded(fixed(leg.estimates.error_median * 100, 0) + " %", 9) +
             padded(fixed(leg.estimates.within_p90 * 100, 0) + " %", 8);
    }
    out += "\n";
    for (const GroupReport& group : leg.groups) {
      std::string label = "  " + group.name;
      label.resize(std::max<size_t>(label.size(), 22), ' ');
      out += label + padded(std::to_string(group.requests), 6) + " requests" +
             padded(std::to_string(group.good), 7) + " good" +
             padded(std::to_string(group.refused), 7) + " refused" +
             padded(std::to_string(group.late), 6) + " late" +
             padded(std::to_string(group.failed), 4) + " failed, ttft p99 " +
             fixed(group.ttft_ms.p99, 0) + " ms\n";
    }
    if (leg.recovery_s >= 0)
      out += "  back to normal        " + fixed(leg.recovery_s, 1) + " s after the burst\n";
    for (const auto& [why, count] : leg.failures)
      out += "  failed " + std::to_string(count) + " times: " + why + "\n";
    if (leg.lag_ms_max > 100)
      out += "  the generator was up to " + fixed(leg.lag_ms_max, 0) + " ms late\n";
  }
  return out;
}

std::string to_json(const OverloadReport& report) {
  boost::json::array legs;
  for (const LegReport& leg : report.legs) {
    boost::json::array groups;
    for (const GroupReport& group : leg.groups) {
      groups.push_back({{"name", group.name},
                        {"requests", group.requests},
                        {"good", group.good},
                        {"refused", group.refused},
                        {"late", group.late},
                        {"failed", group.failed},
                        {"served_cost", group.served_cost},
                        {"good_cost", group.good_cost},
                        {"ttft_ms", to_object(group.ttft_ms)},
                        {"e2e_ms", to_object(group.e2e_ms)}});
    }
    legs.push_back(
        {{"name", leg.name},
         {"policy", leg.policy},
         {"load", leg.load},
         {"goodput_of_capacity", leg.good_share},
         {"good_answers_per_s", leg.answers_per_s},
         {"wasted_share", leg.wasted_share},
         {"tries_per_request", leg.tries_per_request},
         {"refusal_ms", to_object(leg.refusal_ms)},
         {"estimates", boost::json::object{{"scored", leg.estimates.scored},
                                           {"error_median", leg.estimates.error_median},
                                           {"within_p90", leg.estimates.within_p90},
                                           {"never_started", leg.estimates.never_started}}},
         {"fairness_max_over_min", leg.fairness},
         {"recovery_s", leg.recovery_s},
         {"send_lag_ms_max", leg.lag_ms_max},
         {"groups", std::move(groups)}});
  }
  return boost::json::serialize(
      boost::json::object{{"model", report.model},
                          {"machine", report.machine},
                          {"capacity_cost_per_s", report.capacity_cost_per_s},
                          {"capacity_requests_per_s", report.capacity_requests_per_s},
                          {"patience_ms", report.patience_ms},
                          {"legs", std::move(legs)}});
}

}  // namespace galley::cli

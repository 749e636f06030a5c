#include "cli/load_report.h"

#include <algorithm>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <cmath>
#include <map>

#include "cli/numbers.h"

namespace galley::cli {

namespace {

constexpr size_t kErrorsMax = 8;

double ms(int64_t us) {
  return static_cast<double>(us) / 1000.0;
}

// Time per output token after the first; 0 where there is no second.
double tpot_ms(const RequestRecord& record) {
  if (record.output_tokens < 2) return 0;
  return ms(record.done_us - record.first_us) / static_cast<double>(record.output_tokens - 1);
}

bool meets(const RequestRecord& record, const Objective& objective) {
  const auto within = [](double value, double bound) { return bound <= 0 || value <= bound; };
  return within(ms(record.first_us - record.intended_us), objective.ttft_ms) &&
         within(tpot_ms(record), objective.tpot_ms) &&
         within(ms(record.done_us - record.intended_us), objective.e2e_ms);
}

boost::json::object to_object(const Distribution& d) {
  return {{"count", d.count}, {"mean", d.mean}, {"min", d.min}, {"p50", d.p50},
          {"p90", d.p90},     {"p95", d.p95},   {"p99", d.p99}, {"max", d.max}};
}

std::string row(const char* name, const Distribution& d) {
  std::string out = "  ";
  out += name;
  out.append(out.size() < 26 ? 26 - out.size() : 1, ' ');
  for (const double value : {d.mean, d.p50, d.p90, d.p95, d.p99, d.max}) {
    const std::string cell = show_real(value, value < 100 ? 2 : 0);
    out.append(cell.size() < 10 ? 10 - cell.size() : 1, ' ');
    out += cell;
  }
  return out + "\n";
}

}  // namespace

double percentile(const std::vector<double>& sorted, double percent) {
  if (sorted.empty()) return 0;
  const double at = percent / 100.0 * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(std::floor(at));
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (sorted[above] - sorted[below]) * (at - std::floor(at));
}

Distribution describe(std::vector<double> values) {
  Distribution out;
  out.count = values.size();
  if (values.empty()) return out;
  std::sort(values.begin(), values.end());
  double sum = 0;
  for (const double value : values) sum += value;
  out.mean = sum / static_cast<double>(values.size());
  out.min = values.front();
  out.p50 = percentile(values, 50);
  out.p90 = percentile(values, 90);
  out.p95 = percentile(values, 95);
  out.p99 = percentile(values, 99);
  out.max = values.back();
  return out;
}

Result<Objective> parse_objective(const std::vector<std::string>& terms) {
  Objective out;
  for (const std::string& term : terms) {
    const size_t colon = term.find(':');
    const std::string name = term.substr(0, colon);
    double* const bound = name == "ttft"                    ? &out.ttft_ms
                          : name == "tpot"                  ? &out.tpot_ms
                          : name == "e2el" || name == "e2e" ? &out.e2e_ms
                                                            : nullptr;
    if (bound == nullptr || colon == std::string::npos) {
      return Status(Code::kInvalid, "--goodput: '" + term +
                                        "' is not like ttft:500, tpot:50 or e2el:10000 (in ms)");
    }
    const Result<double> value = parse_real(term.substr(colon + 1));
    if (!value.ok() || !(*value > 0)) {
      return Status(Code::kInvalid, "--goodput: '" + term + "' needs a number of ms above 0");
    }
    *bound = *value;
  }
  return out;
}

LoadReport summarise(const std::vector<RequestRecord>& records, const Objective& objective,
                     double duration_s) {
  LoadReport out;
  out.requests = static_cast<int64_t>(records.size());
  out.duration_s = duration_s;
  out.has_objective = objective.ttft_ms > 0 || objective.tpot_ms > 0 || objective.e2e_ms > 0;
  std::vector<double> ttft, itl, tpot, e2e, lag;
  std::map<std::string, int64_t> errors;
  for (const RequestRecord& record : records) {
    if (record.sent_us >= 0) lag.push_back(ms(record.sent_us - record.intended_us));
    if (!record.ok) {
      ++out.failed;
      ++errors[record.error];
      continue;
    }
    ++out.completed;
    out.input_tokens += record.input_tokens;
    out.cached_tokens += record.cached_tokens;
    out.output_tokens += record.output_tokens;
    ttft.push_back(ms(record.first_us - record.intended_us));
    e2e.push_back(ms(record.done_us - record.intended_us));
    if (record.output_tokens > 1) tpot.push_back(tpot_ms(record));
    for (const int32_t gap : record.gaps_us) itl.push_back(ms(gap));
    if (meets(record, objective)) ++out.good;
  }
  out.ttft_ms = describe(std::move(ttft));
  out.itl_ms = describe(std::move(itl));
  out.tpot_ms = describe(std::move(tpot));
  out.e2e_ms = describe(std::move(e2e));
  out.lag_ms = describe(std::move(lag));
  if (duration_s > 0) {
    out.requests_per_s = static_cast<double>(out.completed) / duration_s;
    out.input_tokens_per_s = static_cast<double>(out.input_tokens) / duration_s;
    out.output_tokens_per_s = static_cast<double>(out.output_tokens) / duration_s;
    out.goodput_per_s = static_cast<double>(out.good) / duration_s;
  }
  out.errors.assign(errors.begin(), errors.end());
  std::stable_sort(out.errors.begin(), out.errors.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  if (out.errors.size() > kErrorsMax) out.errors.resize(kErrorsMax);
  return out;
}

std::string render(const LoadReport& report) {
  std::string out = "Requests: " + std::to_string(report.completed) + " completed, " +
                    std::to_string(report.failed) + " failed, in " +
                    show_real(report.duration_s, 2) + " s\n";
  for (const auto& [error, count] : report.errors) {
    out += "  " + std::to_string(count) + " x " + error + "\n";
  }
  out += "Throughput: " + show_real(report.requests_per_s, 2) + " requests/s, " +
         show_real(report.input_tokens_per_s, 1) + " input tokens/s, " +
         show_real(report.output_tokens_per_s, 1) + " output tokens/s\n";
  out += "Tokens: " + show_grouped(report.input_tokens) + " in (" +
         show_grouped(report.cached_tokens) + " from the prefix cache), " +
         show_grouped(report.output_tokens) + " out\n";
  out += "Latency in ms, from the intended time of sending\n";
  out += "                              mean       p50       p90       p95       p99       max\n";
  out += row("time to first token", report.ttft_ms);
  out += row("between texts (ITL)", report.itl_ms);
  out += row("per output token (TPOT)", report.tpot_ms);
  out += row("end to end", report.e2e_ms);
  out += row("sent late by", report.lag_ms);
  if (report.has_objective) {
    out += "Goodput: " + show_real(report.goodput_per_s, 2) + " requests/s (" +
           std::to_string(report.good) + " of " + std::to_string(report.requests) +
           " within the objective)\n";
  }
  return out;
}

std::string to_json(const LoadReport& report) {
  boost::json::object errors;
  for (const auto& [error, count] : report.errors) errors[error] = count;
  boost::json::object out = {{"requests", report.requests},
                             {"completed", report.completed},
                             {"failed", report.failed},
                             {"duration_s", report.duration_s},
                             {"input_tokens", report.input_tokens},
                             {"cached_tokens", report.cached_tokens},
                             {"output_tokens", report.output_tokens},
                             {"requests_per_s", report.requests_per_s},
                             {"input_tokens_per_s", report.input_tokens_per_s},
                             {"output_tokens_per_s", report.output_tokens_per_s},
                             {"ttft_ms", to_object(report.ttft_ms)},
                             {"itl_ms", to_object(report.itl_ms)},
                             {"tpot_ms", to_object(report.tpot_ms)},
                             {"e2e_ms", to_object(report.e2e_ms)},
                             {"send_lag_ms", to_object(report.lag_ms)},
                             {"errors", std::move(errors)}};
  if (report.has_objective) {
    out["good"] = report.good;
    out["goodput_per_s"] = report.goodput_per_s;
  }
  return boost::json::serialize(out);
}

}  // namespace galley::cli

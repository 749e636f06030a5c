// The figures of a load test: percentiles of latency, throughput, goodput under an objective.
//
// Latency counts from the moment a request was meant to be sent, not from when it was: a generator
// that falls behind a slow server must not hide the wait (coordinated omission). Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace galley::cli {

// The value below which `percent` of the sorted `values` lie, interpolated between neighbours as
// numpy's default does. 0 for none.
double percentile(const std::vector<double>& sorted, double percent);

struct Distribution {
  size_t count = 0;
  double mean = 0, min = 0, p50 = 0, p90 = 0, p95 = 0, p99 = 0, max = 0;
};
Distribution describe(std::vector<double> values);

// What became of one request. Times in microseconds from the start of the run; -1: never happened.
struct RequestRecord {
  int64_t intended_us = 0;
  int64_t sent_us = -1;
  int64_t first_us = -1;  // first text
  int64_t done_us = -1;
  std::vector<int32_t> gaps_us;  // between pieces of text
  int64_t input_tokens = 0;
  int64_t cached_tokens = 0;
  int64_t output_tokens = 0;
  bool ok = false;
  std::string error;  // if !ok
};

// 0: no bound.
struct Objective {
  double ttft_ms = 0;
  double tpot_ms = 0;
  double e2e_ms = 0;
};
// "ttft:500", "tpot:50", "e2el:10000" (vLLM's names), in ms.
// Errors  kInvalid  names the text
Result<Objective> parse_objective(const std::vector<std::string>& terms);

struct LoadReport {
  int64_t requests = 0;
  int64_t completed = 0;
  int64_t failed = 0;
  double duration_s = 0;
  int64_t input_tokens = 0;
  int64_t cached_tokens = 0;
  int64_t output_tokens = 0;
  double requests_per_s = 0;
  double input_tokens_per_s = 0;
  double output_tokens_per_s = 0;
  Distribution ttft_ms, itl_ms, tpot_ms, e2e_ms;
  Distribution lag_ms;  // from intended to sent: large means the generator, not the server, waited
  bool has_objective = false;
  int64_t good = 0;  // completed within the objective
  double goodput_per_s = 0;
  std::vector<std::pair<std::string, int64_t>> errors;  // commonest first, at most 8
};

LoadReport summarise(const std::vector<RequestRecord>& records, const Objective& objective,
                     double duration_s);
std::string render(const LoadReport& report);
std::string to_json(const LoadReport& report);  // one object, no line end

}  // namespace galley::cli

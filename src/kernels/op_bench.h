// Times each operation of the CPU backend on the shapes of real models, beside what this machine's
// memory and multipliers were measured to give. `galley bench ops` prints it.
//
// Every result is checked against the portable implementation: a wrong kernel has no speed.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "kernels/ops.h"

namespace galley::kernels {

struct OpBenchOptions {
  Isa isa = Isa::kAuto;
  int32_t threads = 0;  // 0: one for each core this process may use
  Precision precision = Precision::kBFloat16;
  double seconds = 0.2;  // for each operation, at least
  std::string filter;    // only rows whose "model operation" contains it
};

struct OpBenchRow {
  std::string model;
  std::string operation;
  std::string shape;
  int64_t tokens = 0;
  double microseconds = 0;  // best of the calls
  double gb_per_s = 0;      // bytes that must be read: weights, or the cache
  double gflop_per_s = 0;
  double percent = 0;        // of the limit that binds: memory or multipliers
  bool memory_bound = true;  // which one
  double error = 0;          // relative to the portable result, as norms
  bool correct = false;
};

struct OpBenchReport {
  std::string backend;
  int32_t threads = 0;
  double memory_gb_per_s = 0;   // all threads reading 512 MiB
  double bf16_gflop_per_s = 0;  // all threads multiplying registers
  double f32_gflop_per_s = 0;
  std::vector<OpBenchRow> rows;
};

// Needs about 1 GiB of memory.
// Errors  kUnavailable  the instruction set is not here
//         kNotFound     the filter leaves nothing
Result<OpBenchReport> run_op_bench(const OpBenchOptions& options);

std::string to_text(const OpBenchReport& report);
std::string to_json(const OpBenchReport& report);

}  // namespace galley::kernels

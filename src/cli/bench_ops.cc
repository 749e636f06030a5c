// `galley bench ops`: each operation of the CPU backend beside the machine's measured limits.
#include <algorithm>
#include <cstdio>

#include "cli/bench.h"
#include "kernels/op_bench.h"

namespace galley::cli {

Status run_bench_ops(Args args, const Variables& variables) {
  std::string isa = "auto", dtype = "bfloat16", filter;
  int64_t threads = 0;
  double seconds = 0.2;
  bool json = false;
  Settings settings("galley bench ops",
                    "Times each operation on real models' shapes: GB/s, GFLOP/s and percent of what"
                    " this machine was measured to give.");
  settings.add_choice({"isa", "NAME", "auto, portable, avx2, avx512 or amx"},
                      {"auto", "portable", "avx2", "avx512", "amx"}, &isa);
  settings.add({"threads", "N", "0: one for each core this process may use"},
               {.min = 0, .max = 1024}, &threads);
  settings.add_choice({"dtype", "TYPE", "bfloat16 or float32"}, {"bfloat16", "float32"}, &dtype);
  settings.add({"seconds", "S", "time for each operation"}, {.min = 0.001, .max = 600}, &seconds);
  settings.add({"filter", "TEXT", "only operations whose model and name contain it"}, &filter);
  settings.add_switch({"json", "", "print JSON"}, &json);
  GALLEY_RETURN_IF_ERROR(settings.parse(args, variables));
  if (print_and_stop(settings)) return Status();

  kernels::OpBenchOptions options{
      .threads = static_cast<int32_t>(threads), .seconds = seconds, .filter = filter};
  if (isa == "portable") options.isa = kernels::Isa::kPortable;
  if (isa == "avx2") options.isa = kernels::Isa::kAvx2;
  if (isa == "avx512") options.isa = kernels::Isa::kAvx512;
  if (isa == "amx") options.isa = kernels::Isa::kAmx;
  if (dtype == "float32") options.precision = kernels::Precision::kFloat32;
  GALLEY_ASSIGN_OR_RETURN(const kernels::OpBenchReport report, kernels::run_op_bench(options));
  const std::string text = json ? kernels::to_json(report) + "\n" : kernels::to_text(report);
  std::fputs(text.c_str(), stdout);
  const auto correct = [](const kernels::OpBenchRow& row) { return row.correct; };
  if (!std::all_of(report.rows.begin(), report.rows.end(), correct))
    return Status(Code::kCorrupt, "an operation's result is wrong: see the last column");
  return Status();
}

}  // namespace galley::cli

#include "cli/bench.h"

namespace galley::cli {

Status run_bench(Args args, const Variables& variables) {
  static constexpr Command kCommands[] = {
      {"offline", "the engine without a server, by batch size", run_bench_offline},
      {"ops", "each operation beside the machine's limits", run_bench_ops},
      {"overload", "who is served when ten times too much is asked", run_bench_overload},
      {"serve", "a load against any OpenAI-compatible server", run_bench_serve},
  };
  return dispatch("galley bench", "Measures speed and latency.", kCommands, args, variables);
}

}  // namespace galley::cli

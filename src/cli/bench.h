// The measurements of `galley bench`, one file each.
#pragma once

#include "cli/command.h"

namespace galley::cli {

Status run_bench_ops(Args args, const Variables& variables);
Status run_bench_offline(Args args, const Variables& variables);
Status run_bench_overload(Args args, const Variables& variables);
Status run_bench_serve(Args args, const Variables& variables);

}  // namespace galley::cli

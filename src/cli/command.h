// The subcommands of the program. main.cc picks one; each lives in the file of its name.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "cli/settings.h"

namespace galley::cli {

using Args = std::span<const std::string>;

// Runs until the work is done, printing results on standard output and everything else on standard
// error. A Status that is not ok is printed by main; kInvalid means the command was typed wrong.
using Run = Status (*)(Args args, const Variables& variables);

struct Command {
  std::string_view name;
  std::string_view summary;
  Run run;
};

Status run_bench(Args args, const Variables& variables);
Status run_serve(Args args, const Variables& variables);
Status run_chat(Args args, const Variables& variables);
Status run_pull(Args args, const Variables& variables);
Status run_inspect(Args args, const Variables& variables);
Status run_tenant(Args args, const Variables& variables);
Status run_key(Args args, const Variables& variables);
Status run_tokenize(Args args, const Variables& variables);
Status run_version(Args args, const Variables& variables);

// Prints what `settings` has to say: warnings, or the help that was asked for. True: the command
// ends here.
bool print_and_stop(const Settings& settings);

// Lets `settings`, all declared, take the --config file that `serve` reads: keys of serve's that it
// has no option for are skipped, and so are those in `unlike`, which mean something else here.
void allow_serve_config(Settings* settings, std::vector<std::string> unlike = {});

// Picks the command that args[0] names out of `commands` and runs it with the rest of `args`.
// Without a name, or with --help, prints `title` and the list. `prefix` is what was typed so far.
Status dispatch(std::string_view prefix, std::string_view title, std::span<const Command> commands,
                Args args, const Variables& variables);

}  // namespace galley::cli

// The program: picks the subcommand and turns its outcome into an exit status.
#include <csignal>
#include <cstdio>
#include <string>
#include <vector>

#include "cli/command.h"

namespace {

constexpr galley::cli::Command kCommands[] = {
    {"bench", "measure speed and latency", galley::cli::run_bench},
    {"serve", "serve a model over the OpenAI API", galley::cli::run_serve},
    {"chat", "talk with a model", galley::cli::run_chat},
    {"pull", "fetch a model from Hugging Face or ModelScope", galley::cli::run_pull},
    {"inspect", "show a model folder and the memory it needs", galley::cli::run_inspect},
    {"tenant", "manage tenants and tiers of a server", galley::cli::run_tenant},
    {"key", "manage API keys of a server", galley::cli::run_key},
    {"tokenize", "text to token ids and back", galley::cli::run_tokenize},
    {"version", "print the version and what this machine offers", galley::cli::run_version},
};

constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);  // a closed peer or pipe is an error code, not the end
  std::vector<std::string> args(argv + 1, argv + argc);
  if (!args.empty() && args[0] == "--version") args[0] = "version";
  const galley::Status status =
      galley::cli::dispatch("galley", "Galley serves DeepSeek-class language models.", kCommands,
                            args, galley::cli::process_variables());
  if (status.ok()) return 0;
  std::fprintf(stderr, "galley: %s\n", status.message().c_str());
  return status.code() == galley::Code::kInvalid ? kExitUsage : kExitFailed;
}

#include "cli/command.h"

#include <cstdio>

#include "base/log.h"

namespace galley::cli {

bool print_and_stop(const Settings& settings) {
  for (const std::string& warning : settings.warnings()) log_warning(warning);
  if (settings.help_text().empty()) return false;
  std::fputs(settings.help_text().c_str(), stdout);
  return true;
}

Status dispatch(std::string_view prefix, std::string_view title, std::span<const Command> commands,
                Args args, const Variables& variables) {
  const std::string start(prefix);
  if (args.empty() || args[0] == "--help" || args[0] == "-h" || args[0] == "help") {
    std::string text = std::string(title) + "\n\nUsage: " + start + " COMMAND [flags]\n\n";
    for (const Command& command : commands) {
      std::string line = "  " + std::string(command.name);
      line.append(line.size() < 14 ? 14 - line.size() : 1, ' ');
      text += line + std::string(command.summary) + "\n";
    }
    text += "\n'" + start + " COMMAND --help' explains one command.\n";
    std::fputs(text.c_str(), args.empty() ? stderr : stdout);
    if (!args.empty()) return Status();
    return Status(Code::kInvalid, "which command?");
  }
  std::vector<std::string> names;
  for (const Command& command : commands) {
    if (command.name == args[0]) return command.run(args.subspan(1), variables);
    names.emplace_back(command.name);
  }
  const std::string nearest = nearest_name(args[0], names);
  return Status(Code::kInvalid,
                "unknown command '" + args[0] + "'; " +
                    (nearest.empty() ? "'" + start + " --help' lists the commands"
                                     : "did you mean '" + start + " " + nearest + "'?"));
}

}  // namespace galley::cli

#include "cli/version.h"

#include <cstdio>

#include "cli/command.h"

namespace galley::cli {

std::string_view version() {
  return GALLEY_VERSION;
}
std::string_view commit() {
  return GALLEY_COMMIT;
}

Status run_version(Args args, const Variables& variables) {
  bool json = false;
  Settings settings("galley version", "Prints the version and what this machine offers.");
  settings.add_switch({"json", "", "print JSON"}, &json);
  GALLEY_RETURN_IF_ERROR(settings.parse(args, variables));
  if (print_and_stop(settings)) return Status();
  const std::string name(version());
  const std::string hash(commit());
  std::printf(json ? "{\"version\": \"%s\", \"commit\": \"%s\", \"compiler\": \"%s\"}\n"
                   : "galley %s (commit %s, compiled by %s)\n",
              name.c_str(), hash.c_str(), GALLEY_COMPILER);
  return Status();
}

}  // namespace galley::cli

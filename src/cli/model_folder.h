// Which model folder is meant, and what it is called.
#pragma once

#include <string>

#include "base/status.h"

namespace galley::cli {

// The folder of the demo model: models/demo of the source tree the program was built in, or
// ../share/galley/models/demo beside an installed one.
Result<std::string> find_demo_model();

// "demo" for "models/demo/", "org/name" for ".../models--org--name/snapshots/COMMIT": what a model
// is called if nobody says.
std::string folder_name(const std::string& folder);

}  // namespace galley::cli

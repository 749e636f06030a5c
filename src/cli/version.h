// What this program is, for `galley version`, /version and the start of a server's log.
#pragma once

#include <string_view>

namespace galley::cli {

std::string_view version();  // "0.1.0"
std::string_view commit();   // short hash the build was configured at; "unknown" outside git

}  // namespace galley::cli

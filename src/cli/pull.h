// Models by their name at a hub: the flags that say which and where from, and the fetching, with
// progress on standard error.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "cli/settings.h"
#include "hub/pull.h"

namespace galley::cli {

struct HubFlags {
  std::string revision;  // empty: the hub's usual branch
  std::string hub = "huggingface";
  std::string download_dir;  // empty: where huggingface_hub keeps them
  std::string endpoint;      // empty: from the environment
  std::vector<std::string> include;
  int64_t connections = 8;
};

// --revision, --hub and --download-dir.
void declare(HubFlags* flags, Settings* settings);

// Whether --model names a model at a hub: "org/name", and there is no such folder.
bool is_hub_name(const std::string& model);

// Fetches what is missing. Errors  as hub::pull
Result<hub::Pulled> pull_model(const std::string& repository, const HubFlags& flags);

}  // namespace galley::cli

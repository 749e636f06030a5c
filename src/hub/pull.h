// pull(): a model's files from a hub into the cache, verified; what has been fetched before is not
// fetched again, and what was cut off goes on. When it returns ok the folder is complete: a half
// download never has that name.
//
// Several files at a time, each on a thread and connection of its own. Whatever may pass (a broken
// line, 5xx, 429 with its Retry-After) is tried again as long as bytes arrive, at most tries_max
// times in a row without any; wrong bytes are thrown away and fetched once more. The token goes to
// the endpoint only, never to where it redirects, and never from https to http.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "hub/http_fetch.h"
#include "hub/repository.h"

namespace galley::hub {

struct PullOptions {
  Source source = Source::kHuggingFace;
  std::string endpoint;  // "https://huggingface.co"
  std::string token;     // empty: none
  std::string cache;     // folder
  bool offline = false;  // only what is there
  std::string repository;
  std::string revision;               // branch, tag or commit; empty: the hub's usual branch
  std::vector<std::string> patterns;  // see wanted()
  int64_t connections = 8;
  int64_t first_wait_ms = 500;  // before a second try; doubles
  HubLimits limits;
  FetchLimits fetch;
  // A line of progress, four times a second; and what else there is to say, with `lasting`.
  std::function<void(const std::string& line, bool lasting)> report;
};

using Environment = std::function<const char*(const char* name)>;

// Endpoint, token, cache and offline from the variables that huggingface_hub and modelscope read:
// HF_ENDPOINT, HF_TOKEN (or the file that `hf auth login` writes), HF_HUB_CACHE, HF_HOME,
// XDG_CACHE_HOME, HF_HUB_OFFLINE; MODELSCOPE_ENDPOINT (or _DOMAIN), MODELSCOPE_API_TOKEN,
// MODELSCOPE_CACHE.
PullOptions options_from(Source source, const Environment& environment);

struct Pulled {
  std::string folder;
  std::string commit;
  int64_t files = 0;
  int64_t bytes = 0;          // of all files
  int64_t fetched_bytes = 0;  // now
};

// Errors  kInvalid      a name; the hub wants a token or refuses this one
//         kNotFound     no such model, revision or weights; not in the cache, and offline
//         kUnavailable  the hub or the disk failed      kTooLarge  does not fit the disk
//         kCorrupt      the hub's answers or files are not what it says they are
Result<Pulled> pull(const PullOptions& options);

}  // namespace galley::hub

// What a hub says a model consists of: names, and the list of files with sizes and hashes. The two
// protocols are told apart here and nowhere else. Pure.
//
// Sources: huggingface_hub 1.x, `HfApi.model_info(files_metadata=True)` and file_download.py;
// modelscope 1.x, hub/api.py: get_model_files.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace galley::hub {

enum class Source : uint8_t { kHuggingFace, kModelScope };

struct HubLimits {
  size_t listing_bytes_max = 32 << 20;
  size_t files_max = 20'000;
  size_t name_bytes_max = 512;  // of one file, with its folders
  int redirects_max = 5;
  int tries_max = 6;                   // without a byte gained
  int64_t retry_wait_ms_max = 60'000;  // also what a Retry-After may ask
  int connections_max = 32;
};

struct RemoteFile {
  std::string path;  // checked: below the folder it is put in, whatever the server wrote
  int64_t size = 0;
  std::string sha256;    // 64 hexadecimal digits, or
  std::string git_sha1;  // 40: of "blob SIZE\0" and the bytes, as git names small files

  // Under which name the cache keeps it.
  const std::string& etag() const { return sha256.empty() ? git_sha1 : sha256; }
};

struct Listing {
  std::string commit;  // 40 hexadecimal digits; where a hub tells none, made of the files' hashes
  std::vector<RemoteFile> files;
};

// "org/name" or, as some old ones, "name": letters, digits, '-', '_', '.', no "--" or "..".
Status check_repository(std::string_view name);
// Whether `text` can only be a repository's name: it has one '/', and is no folder's path.
bool looks_like_repository(std::string_view text);
Status check_revision(std::string_view revision);
// A path from a server: relative, no "." or "..", nothing but plain characters.
Status check_path(std::string_view path, size_t bytes_max);

// Paths at a hub, after the endpoint.
std::string listing_target(Source source, const std::string& repository,
                           const std::string& revision);
std::string file_target(Source source, const std::string& repository, const std::string& commit,
                        const std::string& revision, const std::string& path);

// Errors  kCorrupt  names what is missing or hostile in the answer
Result<Listing> parse_listing(Source source, std::string_view body, const HubLimits& limits);

// Whether a server needs `path`: weights as safetensors, configuration, tokenizer, templates,
// licence and description, all from the top folder. `patterns`: instead, those that match one ('*'
// and '?').
bool wanted(std::string_view path, const std::vector<std::string>& patterns);
bool matches(std::string_view text, std::string_view pattern);

}  // namespace galley::hub

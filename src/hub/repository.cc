#include "hub/repository.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <set>

#include "hub/digest.h"
#include "hub/http_fetch.h"

namespace galley::hub {
namespace {

namespace json = boost::json;

bool is_hex(std::string_view text, size_t digits) {
  return text.size() == digits && text.find_first_not_of("0123456789abcdef") == text.npos;
}

bool is_name_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '_' || c == '.';
}

Status bad_listing(const std::string& why) {
  return Status(Code::kCorrupt, "the hub's list of files " + why);
}

std::string text_of(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains({name.data(), name.size()});
  return value != nullptr && value->is_string() ? std::string(value->as_string()) : std::string();
}

// -1: there is none, or it is no size.
int64_t size_of(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains({name.data(), name.size()});
  return value != nullptr && value->is_int64() && value->as_int64() >= 0 ? value->as_int64() : -1;
}

const json::array* array_of(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains({name.data(), name.size()});
  return value == nullptr ? nullptr : value->if_array();
}

Status check_file(const RemoteFile& file, const HubLimits& limits) {
  GALLEY_RETURN_IF_ERROR(check_path(file.path, limits.name_bytes_max));
  if (file.size < 0) return bad_listing("has no size for '" + file.path + "'");
  if (!is_hex(file.sha256, 64) && !(file.sha256.empty() && is_hex(file.git_sha1, 40)))
    return bad_listing("has no hash for '" + file.path + "'");
  return Status();
}

Status read_hugging_face(const json::object& body, const HubLimits& limits, Listing* out) {
  out->commit = text_of(body, "sha");
  if (!is_hex(out->commit, 40)) return bad_listing("names no commit");
  const json::array* files = array_of(body, "siblings");
  if (files == nullptr || files->size() > limits.files_max)
    return bad_listing("is missing or too long");
  for (const json::value& one : *files) {
    if (!one.is_object()) return bad_listing("has an entry that is no object");
    const json::object& entry = one.as_object();
    RemoteFile file;
    file.path = text_of(entry, "rfilename");
    file.size = size_of(entry, "size");
    file.git_sha1 = text_of(entry, "blobId");
    if (const json::value* lfs = entry.if_contains("lfs"); lfs != nullptr && lfs->is_object()) {
      file.sha256 = text_of(lfs->as_object(), "sha256");
      file.size = size_of(lfs->as_object(), "size");
      file.git_sha1.clear();
    }
    GALLEY_RETURN_IF_ERROR(check_file(file, limits));
    out->files.push_back(std::move(file));
  }
  return Status();
}

Status read_model_scope(const json::object& body, const HubLimits& limits, Listing* out) {
  const json::value* data = body.if_contains("Data");
  const json::array* files =
      data != nullptr && data->is_object() ? array_of(data->as_object(), "Files") : nullptr;
  if (files == nullptr || files->size() > limits.files_max) {
    const std::string message = text_of(body, "Message");
    return bad_listing("is missing or too long" + (message.empty() ? "" : ": " + message));
  }
  for (const json::value& one : *files) {
    if (!one.is_object()) return bad_listing("has an entry that is no object");
    const json::object& entry = one.as_object();
    if (text_of(entry, "Type") == "tree") continue;
    RemoteFile file;
    file.path = text_of(entry, "Path");
    file.size = size_of(entry, "Size");
    file.sha256 = text_of(entry, "Sha256");
    GALLEY_RETURN_IF_ERROR(check_file(file, limits));
    out->files.push_back(std::move(file));
  }
  return Status();
}

}  // namespace

Status check_repository(std::string_view name) {
  const bool plain =
      std::all_of(name.begin(), name.end(), [](char c) { return is_name_char(c) || c == '/'; });
  const auto edge = [](char c) { return c == '/' || c == '.' || c == '-'; };
  const bool well = !name.empty() && name.size() <= 96 && plain &&
                    std::count(name.begin(), name.end(), '/') <= 1 && !edge(name.front()) &&
                    !edge(name.back()) && name.find("--") == name.npos &&
                    name.find("..") == name.npos && name.find("/.") == name.npos;
  if (well) return Status();
  return Status(Code::kInvalid,
                "'" + std::string(name.substr(0, 100)) + "' is no model's name; write org/name");
}

bool looks_like_repository(std::string_view text) {
  return std::count(text.begin(), text.end(), '/') == 1 && check_repository(text).ok();
}

Status check_revision(std::string_view revision) {
  const bool plain = std::all_of(revision.begin(), revision.end(),
                                 [](char c) { return is_name_char(c) || c == '/'; });
  if (!revision.empty() && revision.size() <= 200 && plain && revision.front() != '/' &&
      revision.back() != '/' && revision.find("..") == revision.npos &&
      revision.find("//") == revision.npos)
    return Status();
  return Status(Code::kInvalid, "--revision '" + std::string(revision.substr(0, 100)) +
                                    "' is no branch, tag or commit");
}

Status check_path(std::string_view path, size_t bytes_max) {
  const auto refused = [&](const char* why) {
    return bad_listing("names '" + std::string(path.substr(0, 100)) + "', which " + why);
  };
  if (path.empty() || path.size() > bytes_max) return refused("is empty or too long");
  for (const char c : path) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F || c == '\\')
      return refused("has characters that no file of a model has");
  }
  size_t begin = 0;
  while (begin <= path.size()) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view part = path.substr(begin, end - begin);
    if (part.empty() || part == "." || part == "..") return refused("leads out of its folder");
    if (part.size() > 200) return refused("is too long");
    begin = end + 1;
  }
  return Status();
}

std::string listing_target(Source source, const std::string& repository,
                           const std::string& revision) {
  const std::string repo = encode_path(repository, true);
  const std::string rev = encode_path(revision, false);
  if (source == Source::kModelScope)
    return "/api/v1/models/" + repo + "/repo/files?Revision=" + rev + "&Recursive=true";
  return "/api/models/" + repo + "/revision/" + rev + "?blobs=true";
}

std::string file_target(Source source, const std::string& repository, const std::string& commit,
                        const std::string& revision, const std::string& path) {
  const std::string repo = encode_path(repository, true);
  if (source == Source::kModelScope) {
    return "/api/v1/models/" + repo + "/repo?Revision=" + encode_path(revision, false) +
           "&FilePath=" + encode_path(path, false);
  }
  return "/" + repo + "/resolve/" + commit + "/" + encode_path(path, true);
}

Result<Listing> parse_listing(Source source, std::string_view body, const HubLimits& limits) {
  boost::system::error_code error;
  json::parse_options options;
  options.max_depth = 16;
  const json::value value = json::parse({body.data(), body.size()}, error, {}, options);
  if (error || !value.is_object()) return bad_listing("is no JSON");
  Listing out;
  GALLEY_RETURN_IF_ERROR(source == Source::kModelScope
                             ? read_model_scope(value.as_object(), limits, &out)
                             : read_hugging_face(value.as_object(), limits, &out));
  std::sort(out.files.begin(), out.files.end(),
            [](const RemoteFile& a, const RemoteFile& b) { return a.path < b.path; });
  std::set<std::string_view> seen;
  for (const RemoteFile& file : out.files) {
    if (!seen.insert(file.path).second) return bad_listing("names '" + file.path + "' twice");
  }
  if (out.commit.empty()) {  // The files are the version.
    Digest digest(Digest::Kind::kSha256);
    for (const RemoteFile& file : out.files) digest.add(file.path + "\n" + file.sha256 + "\n");
    out.commit = digest.hex().substr(0, 40);
  }
  return out;
}

bool matches(std::string_view text, std::string_view pattern) {
  size_t t = 0, p = 0;
  size_t star = pattern.npos, resume = 0;
  while (t < text.size()) {
    if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t]) && pattern[p] != '*') {
      ++t, ++p;
    } else if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = t;
    } else if (star != pattern.npos) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

bool wanted(std::string_view path, const std::vector<std::string>& patterns) {
  if (!patterns.empty()) {
    return std::any_of(patterns.begin(), patterns.end(),
                       [&](const std::string& pattern) { return matches(path, pattern); });
  }
  constexpr std::array<std::string_view, 8> kUseful = {
      "*.safetensors", "*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken", "LICENSE*", "*.md"};
  if (path.find('/') != path.npos) return false;
  return std::any_of(kUseful.begin(), kUseful.end(),
                     [&](std::string_view pattern) { return matches(path, pattern); });
}

}  // namespace galley::hub

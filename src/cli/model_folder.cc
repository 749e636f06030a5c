#include "cli/model_folder.h"

#include <unistd.h>

#include <array>
#include <cstdlib>
#include <string_view>

#include "base/file.h"

namespace galley::cli {

namespace {

// Where the program itself is: "/usr/local/bin/galley".
std::string program_path() {
  std::array<char, 4096> path{};
  const ssize_t size = ::readlink("/proc/self/exe", path.data(), path.size());
  return size > 0 ? std::string(path.data(), static_cast<size_t>(size)) : std::string();
}

std::string parent(const std::string& path) {
  const size_t slash = path.find_last_of('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}

// The repository whose snapshot in a cache `folder` is; empty: none.
std::string hub_name(const std::string& folder) {
  constexpr std::string_view kModels = "models--";
  const std::string snapshots = parent(folder);
  if (!snapshots.ends_with("/snapshots")) return {};
  const std::string repository = parent(snapshots);
  std::string name = repository.substr(repository.find_last_of('/') + 1);
  if (!name.starts_with(kModels)) return {};
  name.erase(0, kModels.size());
  const size_t dashes = name.find("--");
  return dashes == std::string::npos ? name : name.replace(dashes, 2, "/");
}

}  // namespace

Result<std::string> find_demo_model() {
  const std::string bin = parent(program_path());
  // build/bin and build/<preset>/bin of a source tree; bin of an installation.
  for (const char* place :
       {"/../../models/demo", "/../../../models/demo", "/../share/galley/models/demo"}) {
    const std::string folder = bin + place;
    if (!file_exists(folder + "/config.json")) continue;
    std::array<char, 4096> resolved{};
    return std::string(::realpath(folder.c_str(), resolved.data()) != nullptr ? resolved.data()
                                                                              : folder.c_str());
  }
  return Status(Code::kNotFound,
                "--model: the demo model is not beside the program; name a model folder");
}

std::string folder_name(const std::string& folder) {
  const size_t end = folder.find_last_not_of('/');
  if (end == std::string::npos) return folder;
  if (std::string repository = hub_name(folder.substr(0, end + 1)); !repository.empty())
    return repository;
  const size_t slash = folder.find_last_of('/', end);
  const size_t begin = slash == std::string::npos ? 0 : slash + 1;
  std::string name = folder.substr(begin, end + 1 - begin);
  if (name != "." && name != "..") return name;
  std::array<char, 4096> resolved{};
  if (::realpath(folder.c_str(), resolved.data()) == nullptr) return name;
  return folder_name(resolved.data());
}

}  // namespace galley::cli

// Reading files that somebody else wrote: whole and bounded, or mapped.
//
// Only regular files are read: a folder, pipe or device is refused by name. A mapped file that is
// truncated while mapped kills the process (SIGBUS); checkpoints are not edited in place.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/status.h"

namespace galley {

bool file_exists(const std::string& path);  // a regular file, links followed

// The bytes of `path`.
// Errors  kNotFound  it is not there;  kInvalid  not a regular file, not readable, or longer than
//         `bytes_max`, with the size
Result<std::string> read_file(const std::string& path, size_t bytes_max);

// The first 64 KiB of a file of the system, like /proc/meminfo, whose size says nothing.
Result<std::string> read_system_file(const std::string& path);

// A read-only mapping, released by the destructor. Moves, never copies. Any thread may read it.
class MappedFile {
 public:
  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept { swap(other); }
  MappedFile& operator=(MappedFile&& other) noexcept {
    swap(other);
    return *this;
  }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  // Errors  as read_file, without the bound. An empty file maps to no bytes.
  static Result<MappedFile> open(const std::string& path);

  std::span<const std::byte> bytes() const { return {data_, size_}; }

 private:
  void swap(MappedFile& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
  }

  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace galley

#include "base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace galley {
namespace {

// An open descriptor, closed at the end of the scope.
struct Descriptor {
  int fd = -1;
  size_t size = 0;

  Descriptor() = default;
  Descriptor(Descriptor&& other) noexcept : fd(other.fd), size(other.size) { other.fd = -1; }
  Descriptor& operator=(Descriptor&&) = delete;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

Result<Descriptor> open_regular(const std::string& path) {
  if (path.find('\0') != std::string::npos)
    return Status(Code::kInvalid, "a file name may not contain a zero byte");
  Descriptor file;
  // Not blocking: opening a pipe that nobody writes would wait for ever.
  file.fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file.fd < 0) {
    const Code code = errno == ENOENT || errno == ENOTDIR ? Code::kNotFound : Code::kInvalid;
    return Status(code, path + ": " + std::strerror(errno));
  }
  struct stat info = {};
  if (::fstat(file.fd, &info) != 0)
    return Status(Code::kInvalid, path + ": " + std::strerror(errno));
  if (!S_ISREG(info.st_mode)) return Status(Code::kInvalid, path + ": not a regular file");
  file.size = static_cast<size_t>(info.st_size);
  return file;
}

// Reads until `text` is full or the file ends; returns the bytes read.
Result<size_t> read_into(const std::string& path, int fd, std::string* text) {
  size_t done = 0;
  while (done < text->size()) {
    const ssize_t got = ::read(fd, text->data() + done, text->size() - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Status(Code::kInvalid, path + ": " + std::strerror(errno));
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  return done;
}

}  // namespace

bool file_exists(const std::string& path) {
  struct stat info = {};
  return ::stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode);
}

Result<std::string> read_system_file(const std::string& path) {
  GALLEY_ASSIGN_OR_RETURN(const Descriptor file, open_regular(path));
  std::string text(size_t{64} << 10, '\0');
  GALLEY_ASSIGN_OR_RETURN(const size_t done, read_into(path, file.fd, &text));
  text.resize(done);
  return text;
}

Result<std::string> read_file(const std::string& path, size_t bytes_max) {
  GALLEY_ASSIGN_OR_RETURN(const Descriptor file, open_regular(path));
  if (file.size > bytes_max) {
    return Status(Code::kInvalid, path + ": " + std::to_string(file.size) + " bytes, but at most " +
                                      std::to_string(bytes_max) + " are read");
  }
  std::string text(file.size, '\0');
  GALLEY_ASSIGN_OR_RETURN(const size_t done, read_into(path, file.fd, &text));
  if (done < text.size())
    return Status(Code::kCorrupt, path + ": became shorter while it was read");
  return text;
}

Result<MappedFile> MappedFile::open(const std::string& path) {
  GALLEY_ASSIGN_OR_RETURN(const Descriptor file, open_regular(path));
  MappedFile mapped;
  if (file.size == 0) return mapped;
  void* const data = ::mmap(nullptr, file.size, PROT_READ, MAP_SHARED, file.fd, 0);
  if (data == MAP_FAILED)
    return Status(Code::kInvalid, path + ": cannot be mapped: " + std::strerror(errno));
  mapped.data_ = static_cast<const std::byte*>(data);
  mapped.size_ = file.size;
  return mapped;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

}  // namespace galley

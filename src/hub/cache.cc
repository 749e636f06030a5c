#include "hub/cache.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <functional>
#include <thread>
#include <utility>

#include "base/file.h"

namespace galley::hub {
namespace {

namespace fs = std::filesystem;

constexpr size_t kPieceBytes = 1 << 20;
constexpr size_t kMarkBytesMax = 8 << 20;
constexpr auto kLockPoll = std::chrono::milliseconds(200);

Status failed(const std::string& what, const std::string& path) {
  return Status(Code::kUnavailable, what + " " + path + ": " + std::strerror(errno));
}

Status make_folder(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (!error) return Status();
  return Status(Code::kUnavailable, "cannot make the folder " + path + ": " + error.message());
}

// Whole or not at all, whoever reads it meanwhile.
Status write_whole(const std::string& path, const std::string& text) {
  GALLEY_RETURN_IF_ERROR(make_folder(fs::path(path).parent_path()));
  const std::string temporary = path + "." + std::to_string(::getpid());
  const int file = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (file < 0) return failed("cannot write", temporary);
  const bool written =
      ::write(file, text.data(), text.size()) == static_cast<ssize_t>(text.size()) &&
      ::fsync(file) == 0;
  ::close(file);
  if (!written || ::rename(temporary.c_str(), path.c_str()) != 0)
    return failed("cannot write", path);
  return Status();
}

bool is_commit(const std::string& text) {
  return text.size() == 40 && text.find_first_not_of("0123456789abcdef") == text.npos;
}

std::string folder_of(const std::string& repository) {
  std::string out = "models--";
  for (const char c : repository) c == '/' ? out += "--" : out += c;
  return out;
}

}  // namespace

BlobWriter::BlobWriter(BlobWriter&& other) noexcept {
  *this = std::move(other);
}

BlobWriter& BlobWriter::operator=(BlobWriter&& other) noexcept {
  std::swap(blob_, other.blob_);
  std::swap(incomplete_, other.incomplete_);
  std::swap(lock_, other.lock_);
  std::swap(file_, other.file_);
  std::swap(size_, other.size_);
  std::swap(published_, other.published_);
  return *this;
}

BlobWriter::~BlobWriter() {
  release();
}

void BlobWriter::release() {
  if (file_ >= 0) ::close(file_);
  if (lock_ >= 0) ::close(lock_);  // Which lets it go.
  file_ = lock_ = -1;
}

Status BlobWriter::read_back(const std::function<void(std::string_view)>& add) const {
  std::string piece(kPieceBytes, '\0');
  for (int64_t at = 0; at < size_;) {
    const auto wanted = static_cast<size_t>(std::min<int64_t>(kPieceBytes, size_ - at));
    const ssize_t got = ::pread(file_, piece.data(), wanted, at);
    if (got <= 0) return failed("cannot read", incomplete_);
    add({piece.data(), static_cast<size_t>(got)});
    at += got;
  }
  return Status();
}

Status BlobWriter::append(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(file_, bytes.data(), bytes.size(), size_);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return failed("cannot write", incomplete_);
    size_ += written;
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return Status();
}

Status BlobWriter::restart() {
  size_ = 0;
  return ::ftruncate(file_, 0) == 0 ? Status() : failed("cannot empty", incomplete_);
}

Status BlobWriter::publish() {
  if (::fsync(file_) != 0 || ::rename(incomplete_.c_str(), blob_.c_str()) != 0)
    return failed("cannot finish", blob_);
  published_ = true;
  release();
  return Status();
}

Cache::Cache(std::string root, const std::string& repository)
    : root_(std::move(root)), name_(folder_of(repository)), folder_(root_ + "/" + name_) {}

std::string Cache::snapshot(const std::string& commit) const {
  return folder_ + "/snapshots/" + commit;
}

bool Cache::has_blob(const RemoteFile& file) const {
  struct stat found {};
  return ::stat(blob(file).c_str(), &found) == 0 && S_ISREG(found.st_mode) &&
         found.st_size == file.size;
}

Result<BlobWriter> Cache::open_blob(const RemoteFile& file, const std::function<bool()>& stop) {
  const std::string locks = root_ + "/.locks/" + name_;
  GALLEY_RETURN_IF_ERROR(make_folder(locks));
  GALLEY_RETURN_IF_ERROR(make_folder(folder_ + "/blobs"));
  BlobWriter writer;
  writer.blob_ = blob(file);
  writer.incomplete_ = writer.blob_ + ".incomplete";
  const std::string lock = locks + "/" + file.etag() + ".lock";
  writer.lock_ = ::open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (writer.lock_ < 0) return failed("cannot open", lock);
  while (::flock(writer.lock_, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) return failed("cannot lock", lock);
    if (stop()) return Status(Code::kCancelled, "stopped");
    std::this_thread::sleep_for(kLockPoll);
  }
  writer.published_ = has_blob(file);
  if (writer.published_) return writer;
  writer.file_ = ::open(writer.incomplete_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (writer.file_ < 0) return failed("cannot write", writer.incomplete_);
  struct stat found {};
  if (::fstat(writer.file_, &found) != 0) return failed("cannot read", writer.incomplete_);
  writer.size_ = found.st_size;
  if (writer.size_ > file.size) GALLEY_RETURN_IF_ERROR(writer.restart());
  return writer;
}

Status Cache::link(const std::string& commit, const RemoteFile& file) {
  const std::string path = snapshot(commit) + "/" + file.path;
  GALLEY_RETURN_IF_ERROR(make_folder(fs::path(path).parent_path()));
  std::string target = "../../";
  for (const char c : file.path)
    if (c == '/') target += "../";
  target += "blobs/" + file.etag();
  std::error_code ignored;
  if (fs::read_symlink(path, ignored) == target) return Status();
  const std::string temporary = path + "." + std::to_string(::getpid());
  ::unlink(temporary.c_str());
  if (::symlink(target.c_str(), temporary.c_str()) != 0 ||
      ::rename(temporary.c_str(), path.c_str()) != 0)
    return failed("cannot link", path);
  return Status();
}

Status Cache::write_ref(const std::string& revision, const std::string& commit) {
  if (revision == commit) return Status();
  return write_whole(folder_ + "/refs/" + revision, commit);
}

std::optional<std::string> Cache::read_ref(const std::string& revision) const {
  const auto text = read_file(folder_ + "/refs/" + revision, 100);
  if (text.ok() && is_commit(*text)) return *text;
  if (is_commit(revision)) return revision;
  return std::nullopt;
}

Status Cache::mark_complete(const std::string& commit, const std::vector<RemoteFile>& files) {
  std::string text;
  for (const RemoteFile& file : files) text += file.etag() + " " + file.path + "\n";
  return write_whole(folder_ + "/.galley-" + commit, text);
}

bool Cache::is_complete(const std::string& commit) const {
  const auto text = read_file(folder_ + "/.galley-" + commit, kMarkBytesMax);
  if (!text.ok() || text->empty()) return false;
  size_t begin = 0;
  while (begin < text->size()) {
    const size_t end = std::min(text->find('\n', begin), text->size());
    const std::string_view line = std::string_view(*text).substr(begin, end - begin);
    const size_t space = line.find(' ');
    if (space == line.npos) return false;
    if (!file_exists(snapshot(commit) + "/" + std::string(line.substr(space + 1)))) return false;
    begin = end + 1;
  }
  return true;
}

int64_t Cache::free_bytes() const {
  std::error_code ignored;
  fs::path there = root_;
  while (!there.empty() && !fs::exists(there, ignored) && there != there.parent_path())
    there = there.parent_path();
  struct statvfs space {};
  if (::statvfs(there.empty() ? "." : there.c_str(), &space) != 0) return -1;
  return static_cast<int64_t>(space.f_bavail) * static_cast<int64_t>(space.f_frsize);
}

}  // namespace galley::hub

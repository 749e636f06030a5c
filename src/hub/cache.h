// Cache: the folder of downloaded models, laid out as huggingface_hub lays it out, so that each
// finds what the other has fetched:
//
//   models--org--name/blobs/ETAG               a file's bytes, complete and verified
//   models--org--name/blobs/ETAG.incomplete    being fetched; a later fetch goes on with it
//   models--org--name/snapshots/COMMIT/PATH    a link to a blob
//   models--org--name/refs/REVISION            the commit that a branch or tag was last seen at
//   models--org--name/.galley-COMMIT           ours: every wanted file of that commit is there
//   .locks/models--org--name/ETAG.lock         held while a blob is written, by us as by them
//
// A blob gets its name only after its hash was right and its bytes are on the disk. All calls block
// on the file system; a Cache may be used from several threads.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "hub/repository.h"

namespace galley::hub {

// A file that one process writes at a time.
class BlobWriter {
 public:
  BlobWriter() = default;
  BlobWriter(BlobWriter&& other) noexcept;
  BlobWriter& operator=(BlobWriter&& other) noexcept;
  ~BlobWriter();

  int64_t size() const { return size_; }  // bytes that are there already
  // Calls `add` with what is there, in pieces.
  Status read_back(const std::function<void(std::string_view)>& add) const;
  Status append(std::string_view bytes);
  Status restart();  // from nothing
  // Onto the disk, under its own name; others may have it now.
  Status publish();
  // Something else has published it meanwhile.
  bool published() const { return published_; }

 private:
  friend class Cache;
  void release();

  std::string blob_, incomplete_;
  int lock_ = -1, file_ = -1;
  int64_t size_ = 0;
  bool published_ = false;
};

class Cache {
 public:
  // `root` is made when something is first written.
  Cache(std::string root, const std::string& repository);

  std::string snapshot(const std::string& commit) const;
  bool has_blob(const RemoteFile& file) const;
  // Waits for whoever writes it now; `stop` gives up. Errors  kUnavailable  names the path
  Result<BlobWriter> open_blob(const RemoteFile& file, const std::function<bool()>& stop);
  // A link to the blob in the snapshot.
  Status link(const std::string& commit, const RemoteFile& file);

  Status write_ref(const std::string& revision, const std::string& commit);
  // Nothing: never seen. A revision that is a commit is itself.
  std::optional<std::string> read_ref(const std::string& revision) const;
  // That all of `files` are linked, for later, when the hub cannot be asked.
  Status mark_complete(const std::string& commit, const std::vector<RemoteFile>& files);
  bool is_complete(const std::string& commit) const;

  int64_t free_bytes() const;
  const std::string& folder() const { return folder_; }

 private:
  std::string blob(const RemoteFile& file) const { return folder_ + "/blobs/" + file.etag(); }

  const std::string root_;
  const std::string name_;    // models--org--name
  const std::string folder_;  // root/name
};

}  // namespace galley::hub

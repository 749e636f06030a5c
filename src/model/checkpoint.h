// A model folder's weights, mapped: one safetensors file, or an index and its shards.
//
// Owns the mappings; the tensors it hands out point into them, so it must outlive every user. Built
// at start-up; afterwards any thread may read it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/file.h"
#include "base/status.h"
#include "model/safetensors.h"

namespace galley::model {

struct CheckpointLimits {
  static constexpr size_t kIndexBytesMax = size_t{64} << 20;
  static constexpr size_t kShardsMax = 4096;
  static constexpr int kReadersMax = 16;  // threads of page_in
};

class Checkpoint {
 public:
  // `folder` holds model.safetensors, or model.safetensors.index.json and the shards it names.
  // Errors  kNotFound  neither is there, or a shard is not
  //         kInvalid   the index is not what it should be, or names a file outside the folder
  //         kCorrupt   a shard is malformed, or index and shards disagree about a tensor
  static Result<Checkpoint> open(const std::string& folder);

  const StoredTensor* find(std::string_view name) const;  // null: there is none
  const std::vector<StoredTensor>& tensors() const { return tensors_; }
  int64_t size_bytes() const { return size_bytes_; }  // of all mapped files

  // Reads all pages in, with several threads, and calls `progress` (may be null) from the calling
  // thread with the bytes done so far, about ten times a second and once at the end.
  void page_in(const std::function<void(int64_t)>& progress) const;

 private:
  Status add_file(const std::string& path, const std::string& name);
  Status add_shards(const std::string& folder, const std::string& index_text);

  std::vector<MappedFile> files_;
  std::vector<StoredTensor> tensors_;
  std::unordered_map<std::string_view, size_t> by_name_;  // keys point into tensors_
  int64_t size_bytes_ = 0;
};

}  // namespace galley::model

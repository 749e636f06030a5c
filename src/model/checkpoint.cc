#include "model/checkpoint.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>

#include "model/json_fields.h"

namespace galley::model {
namespace {

namespace json = boost::json;
using Limits = CheckpointLimits;

constexpr char kSingleName[] = "model.safetensors";
constexpr char kIndexName[] = "model.safetensors.index.json";

bool is_plain_name(std::string_view name) {
  return !name.empty() && name.size() <= 255 && name.front() != '.' &&
         name.find('/') == std::string_view::npos && name.find('\0') == std::string_view::npos;
}

// Shard -> names that the index says it holds. Ordered, so that messages do not depend on a hash.
using ShardMap = std::map<std::string, std::vector<std::string>>;

Result<ShardMap> parse_index(const std::string& text) {
  GALLEY_ASSIGN_OR_RETURN(const json::object root, parse_object(text, kIndexName));
  Fields fields(root, kIndexName);
  const json::object* const map = fields.object("weight_map");
  if (!fields.status().ok()) return fields.status();
  if (map == nullptr) return Status(Code::kInvalid, std::string(kIndexName) + ": no weight_map");
  ShardMap shards;
  for (const auto& [name, file] : *map) {
    if (!file.is_string() || !is_plain_name(file.get_string())) {
      return Status(Code::kInvalid, std::string(kIndexName) + ": weight_map of \"" +
                                        std::string(name).substr(0, 200) +
                                        "\" is not the name of a file in this folder");
    }
    shards[std::string(file.get_string())].emplace_back(name);
    if (shards.size() > Limits::kShardsMax)
      return Status(Code::kInvalid, std::string(kIndexName) + ": more than 4096 shards");
  }
  return shards;
}

// Counts what the readers have done and wakes the thread that reports it.
struct ReadState {
  std::atomic<size_t> next{0};
  std::atomic<int64_t> bytes_done{0};
  std::mutex mutex;
  std::condition_variable all_done;
  int readers_left = 0;
};

constexpr size_t kPieceBytes = size_t{8} << 20;
constexpr size_t kPageBytes = 4096;

// Touches one byte of every page of the pieces it takes.
void read_pieces(const std::vector<std::span<const std::byte>>& pieces, ReadState* state) {
  unsigned sum = 0;
  for (size_t i = state->next++; i < pieces.size(); i = state->next++) {
    for (size_t at = 0; at < pieces[i].size(); at += kPageBytes)
      sum += static_cast<unsigned>(static_cast<const volatile std::byte&>(pieces[i][at]));
    state->bytes_done += static_cast<int64_t>(pieces[i].size());
  }
  static std::atomic<unsigned> sink;
  sink += sum;
  const std::lock_guard lock(state->mutex);
  if (--state->readers_left == 0) state->all_done.notify_all();
}

}  // namespace

Result<Checkpoint> Checkpoint::open(const std::string& folder) {
  Checkpoint checkpoint;
  const std::string single = folder + "/" + kSingleName;
  const std::string index = folder + "/" + kIndexName;
  if (file_exists(single)) {
    GALLEY_RETURN_IF_ERROR(checkpoint.add_file(single, kSingleName));
  } else if (file_exists(index)) {
    GALLEY_ASSIGN_OR_RETURN(const std::string text, read_file(index, Limits::kIndexBytesMax));
    GALLEY_RETURN_IF_ERROR(checkpoint.add_shards(folder, text));
  } else {
    return Status(Code::kNotFound,
                  folder + ": neither " + kSingleName + " nor " + kIndexName + " is there");
  }
  for (size_t i = 0; i < checkpoint.tensors_.size(); ++i) {
    const auto [at, is_new] = checkpoint.by_name_.emplace(checkpoint.tensors_[i].name, i);
    if (!is_new) {
      return Status(Code::kCorrupt,
                    folder + ": tensor \"" + std::string(at->first) + "\" is in two shards");
    }
  }
  return checkpoint;
}

Status Checkpoint::add_file(const std::string& path, const std::string& name) {
  GALLEY_ASSIGN_OR_RETURN(MappedFile file, MappedFile::open(path));
  GALLEY_ASSIGN_OR_RETURN(std::vector<StoredTensor> tensors, parse_safetensors(file.bytes(), name));
  size_bytes_ += static_cast<int64_t>(file.bytes().size());
  std::move(tensors.begin(), tensors.end(), std::back_inserter(tensors_));
  files_.push_back(std::move(file));
  return {};
}

Status Checkpoint::add_shards(const std::string& folder, const std::string& index_text) {
  GALLEY_ASSIGN_OR_RETURN(const ShardMap shards, parse_index(index_text));
  for (const auto& [file, names] : shards) {
    const size_t first = tensors_.size();
    GALLEY_RETURN_IF_ERROR(add_file((folder + "/").append(file), file));
    std::unordered_map<std::string_view, bool> listed;
    for (const std::string& name : names) listed.emplace(name, false);
    for (size_t i = first; i < tensors_.size(); ++i) {
      const auto at = listed.find(tensors_[i].name);
      if (at == listed.end()) {
        return Status(Code::kCorrupt, file + ": tensor \"" + tensors_[i].name +
                                          "\" is not listed in " + kIndexName + " for this file");
      }
      at->second = true;
    }
    for (const std::string& name : names) {
      if (!listed.at(name)) {
        std::string message = std::string(kIndexName) + ": tensor \"";
        message.append(name).append("\" is not in ").append(file).append(" as it says");
        return Status(Code::kCorrupt, message);
      }
    }
  }
  return {};
}

const StoredTensor* Checkpoint::find(std::string_view name) const {
  const auto at = by_name_.find(name);
  return at == by_name_.end() ? nullptr : &tensors_[at->second];
}

void Checkpoint::page_in(const std::function<void(int64_t)>& progress) const {
  std::vector<std::span<const std::byte>> pieces;
  for (const MappedFile& file : files_) {
    for (size_t at = 0; at < file.bytes().size(); at += kPieceBytes)
      pieces.push_back(file.bytes().subspan(at, std::min(kPieceBytes, file.bytes().size() - at)));
  }
  ReadState state;
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  state.readers_left = std::clamp(cores, 1, Limits::kReadersMax);
  std::vector<std::jthread> readers;
  for (int i = state.readers_left; i > 0; --i)
    readers.emplace_back([&pieces, &state] { read_pieces(pieces, &state); });
  std::unique_lock lock(state.mutex);
  while (!state.all_done.wait_for(lock, std::chrono::milliseconds(100),
                                  [&state] { return state.readers_left == 0; })) {
    if (progress) progress(state.bytes_done);
  }
  lock.unlock();
  readers.clear();  // joins before `state` goes
  if (progress) progress(state.bytes_done);
}

}  // namespace galley::model

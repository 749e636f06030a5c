// UsageJournal: what was delivered, on disk before the client gets it, so that a kill at any moment
// neither loses tokens nor bills them twice.
//
// A text file beside the store, appended by write(2): what was written survives the death of the
// process (not that of the machine: rows reach the store, which syncs, within a second or so).
//
//   o SEQUENCE REQUEST TENANT KEY PRICES(3) AT USER MODEL    a request begins; names in hexadecimal
//   t SEQUENCE PROMPT CACHED OUTPUT                          delivered so far
//   d SEQUENCE                                               its row is in the store
//
// A line that is torn or makes no sense is where the process died: it and what follows are left
// out. The store ignores rows it has already, so replaying is always safe. Each process locks one
// of kFilesMax files: several gateways may share a store.
//
// Event loop only.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/status.h"
#include "gateway/tenant_store.h"

namespace galley::gateway {

class UsageJournal {
 public:
  static constexpr int kFilesMax = 16;
  static constexpr size_t kRewriteBytes = 8u << 20;  // the file is rewritten beyond

  // Locks a file at `store_path`.usage-N, and books into `store` what files of dead processes hold.
  // Errors  kUnavailable  all files are in use, or the disk
  static Result<std::unique_ptr<UsageJournal>> open(const std::string& store_path,
                                                    TenantStore* store);
  ~UsageJournal();

  // `row`: of a request that begins; its counts are 0. Returns its sequence number.
  Result<uint64_t> begin(const UsageRow& row, const Tier& tier);
  // To be called before the tokens are handed to the client.
  Status delivered(uint64_t sequence, int64_t prompt_tokens, int64_t cached_tokens,
                   int64_t output_tokens);
  // The row as it is to be booked. The sequence stays known until booked().
  UsageRow row(uint64_t sequence) const;
  // The row is in the store, or there was nothing to bill.
  Status booked(uint64_t sequence);

  size_t live() const { return live_.size(); }
  size_t bytes() const { return bytes_; }

  // Of the text of a journal: the rows that are not known to be booked and have tokens.
  static std::vector<UsageRow> replay(std::string_view text);

 private:
  struct Live {
    UsageRow row;
    Tier prices;
  };
  UsageJournal(int file, std::string path) : file_(file), path_(std::move(path)) {}
  Status append(const std::string& lines);
  Status rewrite();
  static std::string begin_line(uint64_t sequence, const Live& live);
  static std::string count_line(uint64_t sequence, const UsageRow& row);

  int file_;
  const std::string path_;
  size_t bytes_ = 0;
  uint64_t last_ = 0;
  std::unordered_map<uint64_t, Live> live_;
};

}  // namespace galley::gateway

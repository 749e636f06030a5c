// Ledger: the tenant store of a running server. Journals on the event loop, books on a thread of
// its own, and brings changes that others made to the store back to the event loop.
//
// What a thread takes from the store and when is told in one order: a snapshot's balances hold
// exactly the rows that were booked before it, and Ledger takes those that were not off again.
//
// Event loop only, but for its own thread.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/status.h"
#include "gateway/callers.h"
#include "gateway/tenant_store.h"
#include "gateway/usage_journal.h"

namespace galley::gateway {

struct LedgerLimits {
  int64_t poll_ms = 1000;       // how late a change of the store may be noticed
  size_t batch_rows_max = 512;  // of one transaction
};

class Ledger {
 public:
  // Opens the store, books what a dead process left, and fills `callers`, which outlives it.
  // Errors  as open_sqlite_store and UsageJournal::open
  static Result<std::unique_ptr<Ledger>> open(const std::string& path, const LedgerLimits& limits,
                                              boost::asio::any_io_executor executor,
                                              Callers* callers);
  ~Ledger();  // books what is left

  // A request begins to be answered.
  Result<uint64_t> begin(const UsageRow& row, const Tier& prices);
  // Before tokens are handed to the client.
  Status delivered(uint64_t sequence, int64_t prompt_tokens, int64_t cached_tokens,
                   int64_t output_tokens);
  // It is over: what was delivered is booked and taken off the balance.
  void end(uint64_t sequence);

  size_t unbooked() const { return unbooked_.size(); }
  uint64_t booked() const { return booked_; }
  uint64_t failures() const { return failures_; }

 private:
  struct Entry {
    uint64_t sequence = 0;
    UsageRow row;
  };
  Ledger(const LedgerLimits& limits, std::unique_ptr<TenantStore> store,
         std::unique_ptr<UsageJournal> journal, boost::asio::any_io_executor executor,
         Callers* callers);
  void work();  // the thread
  bool book_batch();
  void look_for_changes();
  void on_booked(size_t count);
  void on_snapshot(const StoreSnapshot& snapshot);

  const LedgerLimits limits_;
  const std::unique_ptr<TenantStore> store_;  // the thread's
  const std::unique_ptr<UsageJournal> journal_;
  const boost::asio::any_io_executor executor_;
  Callers* const callers_;
  // Posts to the event loop may outlive this object.
  const std::shared_ptr<Ledger*> self_;
  std::deque<Entry> unbooked_;  // the event loop's; the thread books them from the front
  uint64_t booked_ = 0, failures_ = 0;
  int64_t version_ = 0;  // the thread's

  std::mutex mutex_;  // guards what follows
  std::condition_variable wake_;
  std::deque<UsageRow> queue_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace galley::gateway

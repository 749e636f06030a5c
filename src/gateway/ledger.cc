#include "gateway/ledger.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <chrono>
#include <utility>

#include "base/log.h"

namespace galley::gateway {

Ledger::Ledger(const LedgerLimits& limits, std::unique_ptr<TenantStore> store,
               std::unique_ptr<UsageJournal> journal, boost::asio::any_io_executor executor,
               Callers* callers)
    : limits_(limits),
      store_(std::move(store)),
      journal_(std::move(journal)),
      executor_(std::move(executor)),
      callers_(callers),
      self_(std::make_shared<Ledger*>(this)) {}

Result<std::unique_ptr<Ledger>> Ledger::open(const std::string& path, const LedgerLimits& limits,
                                             boost::asio::any_io_executor executor,
                                             Callers* callers) {
  GALLEY_ASSIGN_OR_RETURN(std::unique_ptr<TenantStore> store, open_sqlite_store(path));
  GALLEY_ASSIGN_OR_RETURN(std::unique_ptr<UsageJournal> journal,
                          UsageJournal::open(path, store.get()));
  GALLEY_ASSIGN_OR_RETURN(const int64_t version, store->version());
  GALLEY_ASSIGN_OR_RETURN(const StoreSnapshot snapshot, store->load());
  callers->replace(snapshot);
  std::unique_ptr<Ledger> out(
      new Ledger(limits, std::move(store), std::move(journal), std::move(executor), callers));
  out->version_ = version;
  out->thread_ = std::thread([ledger = out.get()] { ledger->work(); });
  return out;
}

Ledger::~Ledger() {
  *self_ = nullptr;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

Result<uint64_t> Ledger::begin(const UsageRow& row, const Tier& prices) {
  Result<uint64_t> sequence = journal_->begin(row, prices);
  if (!sequence.ok()) ++failures_;
  return sequence;
}

Status Ledger::delivered(uint64_t sequence, int64_t prompt_tokens, int64_t cached_tokens,
                         int64_t output_tokens) {
  Status status = journal_->delivered(sequence, prompt_tokens, cached_tokens, output_tokens);
  if (!status.ok()) ++failures_;
  return status;
}

void Ledger::end(uint64_t sequence) {
  UsageRow row = journal_->row(sequence);
  if (row.prompt_tokens == 0 && row.output_tokens == 0) {
    if (!journal_->booked(sequence).ok()) ++failures_;
    return;
  }
  callers_->charge(static_cast<uint64_t>(row.tenant), row.cost_pico);
  unbooked_.push_back({sequence, row});
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(row));
  }
  wake_.notify_one();
}

void Ledger::work() {
  auto looked = std::chrono::steady_clock::now();
  const std::chrono::milliseconds poll(limits_.poll_ms);
  while (true) {
    bool stopping = false, empty = false;
    {
      std::unique_lock lock(mutex_);
      wake_.wait_until(lock, looked + poll, [this] { return stopping_ || !queue_.empty(); });
      stopping = stopping_;
      empty = queue_.empty();
    }
    if (!empty && !book_batch()) {
      if (stopping) return;  // The journal has it.
      std::this_thread::sleep_for(poll);
    }
    if (stopping && empty) return;
    if (stopping || std::chrono::steady_clock::now() < looked + poll) continue;
    looked = std::chrono::steady_clock::now();
    look_for_changes();
  }
}

bool Ledger::book_batch() {
  std::vector<UsageRow> rows;
  {
    const std::lock_guard lock(mutex_);
    const size_t count = std::min(queue_.size(), limits_.batch_rows_max);
    rows.assign(queue_.begin(), queue_.begin() + static_cast<std::ptrdiff_t>(count));
  }
  const Status status = store_->book(rows);
  if (!status.ok()) {
    log_error("the usage ledger: ", status.message(), "; will be tried again");
    return false;
  }
  {
    const std::lock_guard lock(mutex_);
    queue_.erase(queue_.begin(), queue_.begin() + static_cast<std::ptrdiff_t>(rows.size()));
  }
  boost::asio::post(executor_, [self = self_, count = rows.size()] {
    if (*self != nullptr) (*self)->on_booked(count);
  });
  return true;
}

void Ledger::look_for_changes() {
  const Result<int64_t> version = store_->version();
  if (!version.ok() || *version == version_) return;
  const Result<StoreSnapshot> snapshot = store_->load();
  if (!snapshot.ok()) {
    log_error("the tenant store: ", snapshot.message(), "; will be tried again");
    return;
  }
  version_ = *version;
  boost::asio::post(executor_, [self = self_, taken = *snapshot] {
    if (*self != nullptr) (*self)->on_snapshot(taken);
  });
}

void Ledger::on_booked(size_t count) {
  for (size_t i = 0; i < count; ++i) {
    if (!journal_->booked(unbooked_.front().sequence).ok()) ++failures_;
    unbooked_.pop_front();
  }
  booked_ += count;
}

void Ledger::on_snapshot(const StoreSnapshot& snapshot) {
  callers_->replace(snapshot);
  for (const Entry& entry : unbooked_)
    callers_->charge(static_cast<uint64_t>(entry.row.tenant), entry.row.cost_pico);
}

}  // namespace galley::gateway

#include "engine/mask_maker.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace galley::engine {
namespace {

constexpr unsigned kThreadsMax = 8;

}  // namespace

MaskMaker::MaskMaker(size_t jobs_max) {
  jobs_.reserve(jobs_max);
}

MaskMaker::~MaskMaker() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void MaskMaker::add(Job job) {
  GALLEY_CHECK(jobs_.size() < jobs_.capacity(), "as many jobs as requests in a step");
  jobs_.push_back(std::move(job));
}

void MaskMaker::start() {
  if (jobs_.empty()) return;
  if (threads_.empty()) {
    const unsigned cores = std::max(std::thread::hardware_concurrency(), 2u);
    for (unsigned i = 0; i < std::min(cores / 2, kThreadsMax); ++i)
      threads_.emplace_back([this] { work(); });
  }
  {
    const std::lock_guard lock(mutex_);
    next_ = num_done_ = 0;
    num_jobs_ = jobs_.size();
  }
  wake_.notify_all();
}

// Does one job, if one is left.
bool MaskMaker::take(std::unique_lock<std::mutex>& lock) {
  if (next_ >= num_jobs_) return false;
  Job& job = jobs_[next_++];
  lock.unlock();
  job.status = job.constraint->fill(job.tokens, job.first_row);
  lock.lock();
  if (++num_done_ == num_jobs_) done_.notify_all();
  return true;
}

void MaskMaker::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return stopping_ || next_ < num_jobs_; });
    if (stopping_) return;
    take(lock);
  }
}

std::span<const MaskMaker::Job> MaskMaker::finish() {
  if (jobs_.empty()) return {};
  std::unique_lock lock(mutex_);
  while (take(lock)) {
  }
  done_.wait(lock, [this] { return num_done_ == num_jobs_; });
  next_ = num_jobs_ = num_done_ = 0;
  return jobs_;
}

}  // namespace galley::engine

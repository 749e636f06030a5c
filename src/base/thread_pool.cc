#include "base/thread_pool.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <chrono>

#include "base/check.h"

namespace galley {
namespace {

// About 30 us on a core of 3 GHz: longer than the gap between two regions of a step, short beside
// the gap between two steps of an idle server.
constexpr int kSpins = 1000;
// The owner waits for tasks that run, not for sleep: after this it lets other threads run.
constexpr int kOwnerSpins = 20000;

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace

std::vector<int32_t> usable_cores() {
  std::vector<int32_t> cores;
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) {
    for (int32_t core = 0; core < CPU_SETSIZE; ++core) {
      if (CPU_ISSET(static_cast<size_t>(core), &set)) cores.push_back(core);
    }
  }
  if (cores.empty()) cores.push_back(0);
  return cores;
}

ThreadPool::ThreadPool(int32_t threads, bool pin) {
  GALLEY_CHECK(threads >= 0, "a pool has no negative number of threads");
  const std::vector<int32_t> cores = usable_cores();
  size_ = threads == 0 ? static_cast<int32_t>(cores.size()) : threads;
  // More threads than cores: pinning would put two on one core while another is free.
  const bool pinned = pin && static_cast<size_t>(size_) <= cores.size();
  for (int32_t i = 1; i < size_; ++i) {
    const int32_t core = pinned ? cores[static_cast<size_t>(i)] : -1;
    workers_.emplace_back([this, i, core] { work(i, core); });
  }
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(sleep_mutex_);
    stop_.store(true);
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::run(int64_t count, const void* context, Call call) {
  context_ = context;
  call_ = call;
  count_ = count;
  next_task_.store(0, std::memory_order_relaxed);
  // Sequentially consistent, as is everything on open_region_, inside_ and sleeping_: either a
  // worker that goes to sleep sees the region, or we see the sleeper; either one that enters sees
  // the region closed, or we see it inside.
  open_region_.store(++regions_);
  if (sleeping_.load() > 0) {
    { const std::lock_guard lock(sleep_mutex_); }
    wake_.notify_all();
  }
  claim_tasks(0);
  open_region_.store(0);
  for (int spins = 0; inside_.load() != 0; ++spins) {
    if (spins < kOwnerSpins) {
      relax();
    } else {
      std::this_thread::yield();
    }
  }
}

void ThreadPool::claim_tasks(int32_t thread) {
  for (;;) {
    const int64_t index = next_task_.fetch_add(1, std::memory_order_relaxed);
    if (index >= count_) return;
    call_(context_, index, thread);
  }
}

uint64_t ThreadPool::next_region(uint64_t last) const {
  const uint64_t region = open_region_.load();
  return region == last ? 0 : region;
}

void ThreadPool::work(int32_t thread, int32_t core) {
  if (core >= 0) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(static_cast<size_t>(core), &set);
    // A refusal costs speed, nothing else.
    (void)pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
  }
  uint64_t last = 0;
  int spins = 0;
  while (!stop_.load(std::memory_order_relaxed)) {
    if (next_region(last) == 0) {
      if (++spins < kSpins) {
        relax();
        continue;
      }
      std::unique_lock lock(sleep_mutex_);
      sleeping_.fetch_add(1);
      wake_.wait(lock, [&] { return stop_.load() || next_region(last) != 0; });
      sleeping_.fetch_sub(1);
      spins = 0;
      continue;
    }
    inside_.fetch_add(1);
    const uint64_t region = open_region_.load();
    if (region != 0) {
      last = region;
      claim_tasks(thread);
      spins = 0;
    }
    inside_.fetch_sub(1);
  }
}

}  // namespace galley

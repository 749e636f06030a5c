// ThreadPool: short parallel regions, about a hundred for each token.
//
// The thread that calls for_each() works too, as thread 0; the others are pinned to one core each.
// Between regions they spin for a moment, then sleep. Tasks are claimed one by one from a counter,
// so a core that the system took away delays nothing but its own task, and a worker that wakes late
// is not waited for. Which thread runs a task is therefore not fixed: results must not depend on
// it.
//
// One thread owns the pool: for_each() may not be called by two threads at once, nor by a task.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace galley {

class ThreadPool {
 public:
  // `threads` counts the caller; 0: one for each core this process may use.
  ThreadPool(int32_t threads, bool pin);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int32_t size() const { return size_; }

  // task(index, thread) for each index in [0, count), thread in [0, size()); returns when all are
  // done. Never allocates. One task or one thread: plain calls.
  template <typename Task>
  void for_each(int64_t count, const Task& task) {
    static_assert(std::is_invocable_v<const Task&, int64_t, int32_t>);
    if (count <= 1 || size_ == 1) {
      for (int64_t i = 0; i < count; ++i) task(i, 0);
      return;
    }
    run(count, &task, [](const void* context, int64_t index, int32_t thread) {
      (*static_cast<const Task*>(context))(index, thread);
    });
  }

 private:
  using Call = void (*)(const void* context, int64_t index, int32_t thread);

  void run(int64_t count, const void* context, Call call);
  void work(int32_t thread, int32_t core);
  uint64_t next_region(uint64_t last) const;  // the open region if it is not `last`, else 0
  void claim_tasks(int32_t thread);

  int32_t size_ = 1;
  std::vector<std::thread> workers_;

  // Written by the owner while no worker is inside; read by workers inside.
  const void* context_ = nullptr;
  Call call_ = nullptr;
  int64_t count_ = 0;
  uint64_t regions_ = 0;  // owner only

  // Each on its own cache line: they are written from several cores.
  alignas(64) std::atomic<int64_t> next_task_{0};
  alignas(64) std::atomic<uint64_t> open_region_{0};  // its number; 0: closed
  alignas(64) std::atomic<int32_t> inside_{0};        // workers that may touch the region
  alignas(64) std::atomic<int32_t> sleeping_{0};
  std::atomic<bool> stop_{false};
  std::mutex sleep_mutex_;
  std::condition_variable wake_;
};

// Cores this process may use, in the order of their numbers; never empty.
std::vector<int32_t> usable_cores();

}  // namespace galley

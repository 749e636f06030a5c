#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

namespace galley {
namespace {

TEST(ThreadPool, RunsEachTaskOnce) {
  ThreadPool pool(3, /*pin=*/false);
  for (const int64_t count : {0, 1, 2, 3, 7, 1000}) {
    std::vector<std::atomic<int>> runs(static_cast<size_t>(count));
    pool.for_each(count, [&](int64_t i, int32_t) { runs[static_cast<size_t>(i)].fetch_add(1); });
    for (const auto& n : runs) EXPECT_EQ(n.load(), 1);
  }
}

TEST(ThreadPool, ThreadNumbersAreNeverSharedAtOneTime) {
  ThreadPool pool(4, /*pin=*/false);
  std::vector<std::atomic<int>> busy(4);
  for (int round = 0; round < 200; ++round) {
    pool.for_each(16, [&](int64_t, int32_t thread) {
      EXPECT_EQ(busy[static_cast<size_t>(thread)].fetch_add(1), 0);
      busy[static_cast<size_t>(thread)].fetch_sub(1);
    });
  }
}

// What a region wrote without atomics is visible to the owner after it, and to the next region.
TEST(ThreadPool, RegionsAreOrdered) {
  ThreadPool pool(2, /*pin=*/true);
  std::vector<int64_t> values(64, 0);
  for (int round = 0; round < 2000; ++round) {
    pool.for_each(64, [&](int64_t i, int32_t) {
      values[static_cast<size_t>(i)] = values[static_cast<size_t>(63 - i)] * 0 + round + i;
    });
    ASSERT_EQ(values[5], round + 5);
    // Every now and then long enough for the worker to fall asleep.
    if (round % 500 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

TEST(ThreadPool, OneThreadIsTheCaller) {
  ThreadPool pool(1, /*pin=*/true);
  const auto self = std::this_thread::get_id();
  pool.for_each(5, [&](int64_t, int32_t thread) {
    EXPECT_EQ(std::this_thread::get_id(), self);
    EXPECT_EQ(thread, 0);
  });
}

TEST(ThreadPool, ZeroMeansEveryUsableCore) {
  ThreadPool pool(0, /*pin=*/true);
  EXPECT_EQ(static_cast<size_t>(pool.size()), usable_cores().size());
}

}  // namespace
}  // namespace galley

// Many threads at once: what TSan looks at. Each request ends exactly once, whoever submits,
// cancels, reads statistics, drains or stops meanwhile.
#include <gtest/gtest.h>

#include <atomic>
#include <random>

#include "engine/testing/harness.h"

namespace galley::engine {
namespace {

using testing::expected_of;
using testing::Harness;
using testing::Heard;
using testing::request_of;
using testing::tokens_from;

constexpr int kThreads = 4;
constexpr int kRequestsEach = 60;

struct Sent {
  Request request;
  bool cancelled = false;
};

TEST(EngineStress, EveryRequestEndsOnceWhateverTheThreadsDo) {
  EngineLimits limits = {.requests_max = 16, .batch_requests_max = 6, .step_tokens_max = 24};
  Harness harness({.limits = limits, .num_blocks = 40, .drafts = 2});
  harness.start();
  std::vector<std::vector<Sent>> sent(kThreads);
  std::atomic<int> num_refused = 0;
  std::atomic<bool> done = false;
  std::thread reader([&] {
    while (!done) {
      const EngineStats stats = harness.engine().stats();
      EXPECT_LE(stats.requests_running, 6);
      EXPECT_LE(stats.requests_running + stats.requests_waiting, 16 + 16);
      std::this_thread::yield();
    }
  });
  std::vector<std::thread> clients;
  clients.reserve(kThreads);
  for (int t = 0; t < kThreads; ++t) {
    clients.emplace_back([&, t] {
      std::mt19937 random(static_cast<uint32_t>(t + 1));
      for (int i = 0; i < kRequestsEach; ++i) {
        const RequestId id =
            RequestId{1000} * static_cast<RequestId>(t) + static_cast<RequestId>(i) + 1;
        Request request =
            request_of(id, tokens_from(random() % 4, static_cast<int32_t>(1 + random() % 30)),
                       static_cast<int32_t>(1 + random() % 20));
        while (!harness.engine().submit(request).ok()) {
          ++num_refused;
          std::this_thread::sleep_for(std::chrono::microseconds(50));
        }
        const bool cancels = random() % 4 == 0;
        if (cancels) harness.engine().cancel(id);
        sent[static_cast<size_t>(t)].push_back({std::move(request), cancels});
      }
    });
  }
  for (std::thread& client : clients) client.join();
  harness.finish();
  done = true;
  reader.join();

  for (const auto& of_thread : sent) {
    for (const auto& [request, cancelled] : of_thread) {
      const Heard heard = harness.heard(request.id);
      EXPECT_EQ(heard.num_finishes, 1) << "request " << request.id;
      if (!cancelled || heard.finish == FinishReason::kLength) {
        EXPECT_EQ(heard.tokens, expected_of(request)) << "request " << request.id;
      } else {
        EXPECT_EQ(heard.finish, FinishReason::kCancelled);
      }
    }
  }
  const EngineStats stats = harness.engine().stats();
  EXPECT_EQ(stats.refused_overloaded, static_cast<uint64_t>(num_refused));
  EXPECT_EQ(stats.blocks_held, 0);
  EXPECT_EQ(stats.requests_running + stats.requests_waiting, 0);
}

TEST(EngineStress, StopAmidTrafficEndsEverything) {
  for (int round = 0; round < 20; ++round) {
    Harness harness({});
    harness.start();
    std::atomic<uint64_t> num_taken = 0;
    std::thread client([&] {
      for (RequestId id = 1;; ++id) {
        const Status status = harness.engine().submit(request_of(id, {1, 2, 3}, 100));
        if (status.code() == Code::kUnavailable) return;
        if (status.ok()) num_taken = id;
        if (status.code() == Code::kOverloaded) std::this_thread::yield();
      }
    });
    std::this_thread::sleep_for(std::chrono::microseconds(200 * round));
    harness.stop();
    client.join();
    uint64_t num_finished = 0;
    for (RequestId id = 1; id <= num_taken; ++id)
      num_finished += static_cast<uint64_t>(harness.heard(id).num_finishes);
    const EngineStats stats = harness.engine().stats();
    EXPECT_EQ(stats.requests_running + stats.requests_waiting, 0);
    EXPECT_EQ(num_finished, stats.finished[static_cast<size_t>(FinishReason::kLength)] +
                                stats.finished[static_cast<size_t>(FinishReason::kError)]);
  }
}

}  // namespace
}  // namespace galley::engine

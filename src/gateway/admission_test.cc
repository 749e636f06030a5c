#include "gateway/admission.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "gateway/testing/seed.h"

namespace galley::gateway {
namespace {

using Kind = Verdict::Kind;

AdmissionLimits exact() {
  AdmissionLimits limits;
  limits.spare_sequences = 0;
  return limits;
}

Ask make(uint64_t id, uint64_t tenant = 1) {
  Ask ask;
  ask.id = id;
  ask.tenant = tenant;
  ask.prompt_tokens = 10;
  ask.output_max = 20;
  return ask;
}

Served whole(int64_t prompt, int64_t output) {
  return {prompt, prompt, output, true};
}

TEST(Admission, StartsWhatFitsAndQueuesTheRest) {
  Admission admission(exact(), {.slots = 2, .kv_tokens = 1000}, 1);
  EXPECT_EQ(admission.ask(make(1), 0).kind, Kind::kStart);
  EXPECT_EQ(admission.ask(make(2), 0).kind, Kind::kStart);
  EXPECT_EQ(admission.ask(make(3), 0).kind, Kind::kQueue);
  EXPECT_FALSE(admission.start_next(0));
  EXPECT_EQ(admission.news(500).front().second.reason, Reason::kSlot);
  EXPECT_EQ(admission.news(500).front().second.waited_ms, 500);
  admission.finish(1, whole(10, 20), 100);
  EXPECT_EQ(admission.start_next(100), 3u);
  admission.check_invariants();
}

TEST(Admission, CountsTheCacheNotOnlySlots) {
  Admission admission(exact(), {.slots = 8, .kv_tokens = 50}, 1);
  EXPECT_EQ(admission.ask(make(1), 0).kind, Kind::kStart);  // 30 tokens expected
  EXPECT_EQ(admission.ask(make(2), 0).kind, Kind::kQueue);
  EXPECT_EQ(admission.news(0).front().second.reason, Reason::kMemory);
  Ask huge = make(3);
  huge.prompt_tokens = 500;
  admission.ask(huge, 0);
  admission.finish(1, whole(10, 20), 1);
  EXPECT_EQ(admission.start_next(1), 2u);
  admission.finish(2, whole(10, 20), 2);
  EXPECT_EQ(admission.start_next(2), 3u);  // Alone, whatever is expected.
}

TEST(Admission, AHigherLevelDoesNotWaitForLowerOnes) {
  Admission admission(exact(), {.slots = 2}, 1);
  for (uint64_t i = 0; i < 4; ++i) admission.ask(make(i), 0);
  for (uint64_t i = 10; i < 14; ++i) {
    Ask high = make(i, 2);
    high.level = 1;
    EXPECT_EQ(admission.ask(high, 0).kind, i < 12 ? Kind::kStart : Kind::kQueue);
  }
  EXPECT_EQ(admission.running_sequences(), 4);
  admission.check_invariants();
}

TEST(Admission, LimitsRefuseFirstAndCostNothing) {
  Admission admission(exact(), {.slots = 1}, 1);
  Ask ask = make(1);
  ask.scopes[0] = {77, {.requests_per_minute = 1}};
  EXPECT_EQ(admission.ask(ask, 0).kind, Kind::kStart);
  ask.id = 2;
  const Verdict refused = admission.ask(ask, 0);
  EXPECT_EQ(refused.kind, Kind::kRefuse);
  EXPECT_EQ(refused.reason, Reason::kRequestRate);
  EXPECT_EQ(refused.limit_scope, 77u);
  EXPECT_GE(refused.retry_after_ms, 60'000);
  EXPECT_LE(refused.retry_after_ms, 90'000);
  EXPECT_EQ(admission.queue().size(), 0u);
}

TEST(Admission, RetryAfterIsSpread) {
  Admission admission(exact(), {.slots = 1}, 1);
  Ask ask = make(0);
  ask.scopes[0] = {77, {.requests_per_minute = 1}};
  admission.ask(ask, 0);
  std::map<int64_t, int> seen;
  for (ask.id = 1; ask.id < 200; ++ask.id) ++seen[admission.ask(ask, 0).retry_after_ms / 1000];
  EXPECT_GE(seen.size(), 20u);
}

// What takes a second each, one after the other.
TEST(Admission, TellsAtOnceThatADeadlineCannotBeKept) {
  Admission admission(exact(), {.slots = 1}, 1);
  int64_t now = 0;
  for (uint64_t i = 0; i < 40; ++i) admission.ask(make(i), now);
  for (uint64_t i = 0; i < 30; ++i) {
    admission.progress(i, 1, now + 100);
    admission.finish(i, whole(10, 20), now += 1000);
    admission.start_next(now);
  }
  Ask hurried = make(100);
  hurried.deadline_ms = now + 3000;
  Verdict verdict = admission.ask(hurried, now);
  EXPECT_EQ(verdict.kind, Kind::kRefuse);
  EXPECT_EQ(verdict.reason, Reason::kDeadline);
  EXPECT_GT(verdict.retry_after_ms, 2000);
  hurried.deadline_ms = now + 60'000;
  EXPECT_EQ(admission.ask(hurried, now).kind, Kind::kQueue);
  Ask impatient = make(101);
  impatient.wait_ms_max = 100;
  EXPECT_EQ(admission.ask(impatient, now).reason, Reason::kWait);
  const QueueNews last = admission.news(now).back().second;
  EXPECT_NEAR(last.start.median_ms, 10'000, 4'000);
  EXPECT_GE(last.start.p90_ms, last.start.median_ms);
}

// One second each: who waits until less than that is left would be late, and is not begun.
TEST(Admission, WhatWouldBeLateLeavesTheQueue) {
  Admission admission(exact(), {.slots = 1}, 1);
  int64_t now = 0;
  for (uint64_t i = 0; i < 40; ++i) admission.ask(make(i), now);
  for (uint64_t i = 0; i < 39; ++i) {
    admission.progress(i, 1, now + 100);
    admission.finish(i, whole(10, 20), now += 1000);
    admission.start_next(now);
  }
  Ask ask = make(100);
  ask.deadline_ms = now + 10'000;
  ASSERT_EQ(admission.ask(ask, now).kind, Kind::kQueue);
  EXPECT_TRUE(admission.overdue(now + 7000).empty());
  ASSERT_EQ(admission.overdue(now + 9200).size(), 1u);
  EXPECT_FALSE(admission.is_waiting(100));
  admission.check_invariants();
}

TEST(Admission, RefusesEarlyWithoutTakingAnything) {
  AdmissionLimits limits = exact();
  limits.queued_sequences_max = 2;
  Admission admission(limits, {.slots = 1}, 1);
  Ask limited = make(1);
  limited.scopes[0] = {77, {.requests_per_minute = 1}};
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(admission.refuse_early(limited, 0));
  EXPECT_EQ(admission.ask(limited, 0).kind, Kind::kStart);
  limited.id = 2;
  EXPECT_EQ(admission.refuse_early(limited, 0)->reason, Reason::kRequestRate);
  admission.ask(make(3), 0);
  EXPECT_FALSE(admission.refuse_early(make(4), 0));
  admission.ask(make(4), 0);
  EXPECT_EQ(admission.refuse_early(make(5), 0)->reason, Reason::kQueueFull);
  EXPECT_FALSE(admission.is_waiting(5));
  admission.check_invariants();
}

TEST(Admission, TimeIsUpWhileItWaits) {
  Admission admission(exact(), {.slots = 1}, 1);
  admission.ask(make(1), 0);
  Ask ask = make(2);
  ask.deadline_ms = 5000;
  ASSERT_EQ(admission.ask(ask, 0).kind, Kind::kQueue);
  EXPECT_TRUE(admission.overdue(4999).empty());
  const std::vector<Overdue> gone = admission.overdue(5000);
  ASSERT_EQ(gone.size(), 1u);
  EXPECT_EQ(gone[0].id, 2u);
  EXPECT_EQ(gone[0].reason, Reason::kDeadline);
  EXPECT_FALSE(admission.is_waiting(2));
  admission.check_invariants();
}

TEST(Admission, TheQueueHasABound) {
  AdmissionLimits limits = exact();
  limits.queued_sequences_max = 2;
  Admission admission(limits, {.slots = 1}, 1);
  admission.ask(make(1), 0);
  EXPECT_EQ(admission.ask(make(2), 0).kind, Kind::kQueue);
  EXPECT_EQ(admission.ask(make(3), 0).kind, Kind::kQueue);
  const Verdict refused = admission.ask(make(4), 0);
  EXPECT_EQ(refused.reason, Reason::kQueueFull);
  EXPECT_GT(refused.retry_after_ms, 0);
}

// A whole day of arrivals, answers, aborts and deadlines against a simulated engine: nothing is
// lost or started twice, the bounds hold, the books are empty at the end.
TEST(Admission, RandomRuns) {
  for (uint64_t round = 0; round < 20; ++round) {
    const uint64_t seed = testing::seed_of(round);
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    const auto pick = [&random](int64_t low, int64_t high) {
      return std::uniform_int_distribution<int64_t>(low, high)(random);
    };
    AdmissionLimits limits;
    limits.spare_sequences = static_cast<int32_t>(pick(0, 3));
    limits.queued_sequences_max = 60;
    const EngineCapacity capacity{static_cast<int32_t>(pick(1, 6)), pick(100, 2000)};
    Admission admission(limits, capacity, seed);
    enum class At { kQueue, kEngine, kGone };
    std::map<uint64_t, At> where;
    std::map<uint64_t, Ask> asks;
    uint64_t next_id = 0;
    int64_t now = 0;
    const auto any = [&](At at) -> uint64_t {
      std::vector<uint64_t> ids;
      for (const auto& [id, place] : where)
        if (place == at) ids.push_back(id);
      return ids.empty() ? 0 : ids[static_cast<size_t>(pick(0, int64_t(ids.size()) - 1))];
    };
    for (int step = 0; step < 3000; ++step) {
      now += pick(0, 50);
      const int64_t what = pick(0, 9);
      if (what < 5) {
        Ask ask = make(++next_id, static_cast<uint64_t>(pick(1, 4)));
        ask.prompt_tokens = pick(1, 200);
        ask.output_max = static_cast<int32_t>(pick(1, 100));
        ask.sequences = static_cast<int32_t>(pick(1, 3));
        ask.level = static_cast<int32_t>(pick(0, 1));
        if (pick(0, 3) == 0) ask.deadline_ms = now + pick(1, 3000);
        if (pick(0, 3) == 0) ask.wait_ms_max = pick(0, 1000);
        ask.scopes[1] = {ask.tenant, {.tokens_per_minute = 200'000, .concurrency = 30}};
        const Verdict verdict = admission.ask(ask, now);
        if (verdict.kind == Kind::kRefuse) {
          ASSERT_GT(verdict.retry_after_ms, 0);
          continue;
        }
        asks[ask.id] = ask;
        where[ask.id] = verdict.kind == Kind::kStart ? At::kEngine : At::kQueue;
      } else if (const uint64_t id = any(At::kEngine); id != 0 && what < 8) {
        const int64_t most = int64_t{asks[id].output_max} * asks[id].sequences;
        const int64_t tokens = pick(0, most);
        admission.progress(id, tokens, now);
        if (what == 7) continue;
        admission.finish(
            id, {asks[id].prompt_tokens, pick(0, asks[id].prompt_tokens), tokens, pick(0, 4) > 0},
            now);
        where[id] = At::kGone;
      } else if (const uint64_t waiter = any(At::kQueue); waiter != 0 && what == 8) {
        admission.finish(waiter, {}, now);
        where[waiter] = At::kGone;
      }
      for (const Overdue& gone : admission.overdue(now)) {
        ASSERT_EQ(where[gone.id], At::kQueue);
        where[gone.id] = At::kGone;
      }
      while (const auto id = admission.start_next(now)) {
        ASSERT_EQ(where[*id], At::kQueue);
        where[*id] = At::kEngine;
      }
      const int64_t bound = 2 * capacity.slots + limits.spare_sequences;
      ASSERT_TRUE(admission.running_sequences() <= bound || admission.running() == 1);
      ASSERT_LE(admission.queue().sequences(), limits.queued_sequences_max + 3);
      if (step % 50 == 0) {
        admission.check_invariants();
        ASSERT_EQ(admission.news(now).size(), admission.queue().size());
      }
      // The engine is never idle while somebody waits.
      ASSERT_TRUE(admission.queue().size() == 0 || admission.running() > 0);
    }
    for (const auto& [id, at] : where)
      if (at != At::kGone) admission.finish(id, whole(10, 1), now);
    EXPECT_EQ(admission.running(), 0);
    EXPECT_EQ(admission.queue().size(), 0u);
    EXPECT_EQ(admission.limiter().reservations(), 0u);
    admission.check_invariants();
  }
}

}  // namespace
}  // namespace galley::gateway

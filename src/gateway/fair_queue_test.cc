#include "gateway/fair_queue.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <vector>

#include "gateway/testing/seed.h"

namespace galley::gateway {
namespace {

QueueItem make(uint64_t id, uint64_t tenant, double cost, int64_t arrived_ms = 0) {
  QueueItem item;
  item.id = id;
  item.tenant = tenant;
  item.cost = cost;
  item.arrived_ms = arrived_ms;
  return item;
}

FairQueueLimits strict() {
  FairQueueLimits limits;
  limits.window = 0;
  return limits;
}

uint64_t take_next(FairQueue& queue) {
  const uint64_t id = queue.next()->id;
  queue.take(id);
  return id;
}

TEST(FairQueue, TheTenantServedLeastGoesNext) {
  FairQueue queue(strict());
  for (uint64_t i = 0; i < 4; ++i) queue.push(make(i, 1, 100));
  for (uint64_t i = 10; i < 12; ++i) queue.push(make(i, 2, 100, 5));
  EXPECT_EQ(queue.order(), (std::vector<uint64_t>{0, 10, 1, 11, 2, 3}));
}

TEST(FairQueue, WeightsDivideTheService) {
  FairQueue queue(strict());
  for (uint64_t i = 0; i < 100; ++i) {
    queue.push(make(i, 1, 10));
    QueueItem heavy = make(1000 + i, 2, 10);
    heavy.weight = 3;
    queue.push(heavy);
  }
  int of_heavy = 0;
  for (int i = 0; i < 80; ++i) of_heavy += take_next(queue) >= 1000 ? 1 : 0;
  EXPECT_NEAR(of_heavy, 60, 1);
}

TEST(FairQueue, IdlenessEarnsNothing) {
  FairQueue queue(strict());
  for (uint64_t i = 0; i < 20; ++i) queue.push(make(i, 1, 100));
  for (int i = 0; i < 10; ++i) take_next(queue);
  for (uint64_t i = 100; i < 110; ++i) queue.push(make(i, 2, 100));
  int of_newcomer = 0;
  for (int i = 0; i < 6; ++i) of_newcomer += take_next(queue) >= 100 ? 1 : 0;
  EXPECT_LE(of_newcomer, 4);
  EXPECT_GE(of_newcomer, 3);
}

TEST(FairQueue, UsersOfATenantShareItsPart) {
  FairQueue queue(strict());
  for (uint64_t i = 0; i < 10; ++i) queue.push(make(i, 1, 100));
  QueueItem other = make(50, 1, 100, 9);
  other.user = 7;
  queue.push(other);
  const std::vector<uint64_t> order = queue.order();
  EXPECT_LE(std::ranges::find(order, 50u) - order.begin(), 1);
}

TEST(FairQueue, InsideTheWindowLevelThenPriorityThenAgeDecide) {
  FairQueueLimits limits;
  limits.window = 1000;
  limits.ms_per_cost = 0;
  FairQueue queue(limits);
  queue.push(make(1, 1, 10, 0));
  queue.push(make(2, 2, 10, 1));
  QueueItem high = make(3, 3, 10, 2);
  high.level = 1;
  queue.push(high);
  QueueItem urgent = make(4, 4, 10, 3);
  urgent.priority = -1;
  queue.push(urgent);
  QueueItem talked = make(5, 5, 10, 1000);
  talked.continued = true;
  queue.push(talked);
  EXPECT_EQ(queue.order(), (std::vector<uint64_t>{3, 4, 5, 1, 2}));
}

TEST(FairQueue, AShortRequestDoesNotWaitBehindALongOne) {
  FairQueueLimits limits;
  limits.window = 1e9;
  FairQueue queue(limits);
  queue.push(make(1, 1, 8000, 0));
  queue.push(make(2, 2, 10, 5000));
  EXPECT_EQ(queue.next()->id, 2u);
  queue.push(make(3, 3, 10, 8000));  // Yet not past everything that came before it.
  EXPECT_EQ(queue.order(), (std::vector<uint64_t>{2, 1, 3}));
}

TEST(FairQueue, TheBoundRefuses) {
  FairQueueLimits limits;
  limits.items_max = 2;
  FairQueue queue(limits);
  EXPECT_TRUE(queue.push(make(1, 1, 1)));
  EXPECT_TRUE(queue.push(make(2, 1, 1)));
  EXPECT_FALSE(queue.push(make(3, 2, 1)));
  EXPECT_EQ(queue.remove(2)->id, 2u);
  EXPECT_FALSE(queue.remove(2).has_value());
  EXPECT_TRUE(queue.push(make(3, 2, 1)));
}

TEST(FairQueue, RemembersABoundedNumberOfTenants) {
  FairQueueLimits limits;
  limits.tenants_max = 8;
  FairQueue queue(limits);
  for (uint64_t i = 0; i < 1000; ++i) {
    queue.push(make(i, i, 5));
    take_next(queue);
    EXPECT_LE(queue.tenants(), 8u);
  }
}

// The bounds of the header, after every step of random runs: arrivals, takes, removals, and
// corrections of charges that were estimates.
TEST(FairQueue, BoundsHoldInRandomRuns) {
  for (uint64_t round = 0; round < 20; ++round) {
    const uint64_t seed = testing::seed_of(round);
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    const auto pick = [&random](int64_t low, int64_t high) {
      return std::uniform_int_distribution<int64_t>(low, high)(random);
    };
    constexpr double kCostMax = 1000;
    FairQueueLimits limits;
    limits.window = static_cast<double>(pick(0, 3000));
    limits.candidates_max = 64;
    FairQueue queue(limits);
    struct InEngine {
      QueueItem item;
      double open;  // the most it may still be corrected by
    };
    std::vector<InEngine> engine;
    std::map<uint64_t, double> weights;
    for (uint64_t tenant = 0; tenant < 8; ++tenant)
      weights[tenant] = static_cast<double>(pick(1, 10));
    std::map<uint64_t, std::vector<int64_t>> taken_arrivals;
    std::map<uint64_t, int> waiting;  // by tenant
    uint64_t next_id = 0;
    for (int64_t step = 0; step < 4000; ++step) {
      if (pick(0, 99) < 55 && queue.size() < 200) {
        QueueItem item = make(++next_id, static_cast<uint64_t>(pick(0, 7)),
                              static_cast<double>(pick(1, 1000)), step);
        item.user = static_cast<uint64_t>(pick(0, 2));
        item.weight = weights[item.tenant];
        item.level = static_cast<int32_t>(pick(0, 2));
        item.priority = static_cast<int32_t>(pick(-3, 3));
        item.continued = pick(0, 1) == 1;
        ASSERT_TRUE(queue.push(item));
        ++waiting[item.tenant];
      } else if (queue.size() > 0 && pick(0, 9) == 0) {
        const std::vector<uint64_t> order = queue.order();
        const uint64_t id = order[static_cast<size_t>(pick(0, int64_t(order.size()) - 1))];
        --waiting[queue.remove(id)->tenant];
      } else if (const QueueItem* next = queue.next()) {
        const QueueItem item = queue.take(next->id);
        --waiting[item.tenant];
        engine.push_back({item, item.cost});
      }
      if (engine.size() > 4) {  // One ends, having cost anything up to twice what was thought.
        const auto at = static_cast<size_t>(pick(0, int64_t(engine.size()) - 1));
        const double real = static_cast<double>(pick(0, 2 * int64_t(engine[at].item.cost)));
        queue.charge(engine[at].item.tenant, engine[at].item.user, real - engine[at].item.cost);
        engine.erase(engine.begin() + static_cast<std::ptrdiff_t>(at));
      }
      if (step % 64 == 0) queue.check_invariants();
      double low = 1e300, high = -1e300, weight_min = 1e300;
      for (const auto& [tenant, count] : waiting) {
        if (count == 0) continue;
        low = std::min(low, queue.counter(tenant));
        high = std::max(high, queue.counter(tenant));
        weight_min = std::min(weight_min, weights[tenant]);
      }
      if (low > high) continue;
      // Five under way at most, each corrected by at most its cost.
      ASSERT_LE(high - low, limits.window + (kCostMax + 5 * kCostMax) / weight_min);
    }
  }
}

// Two tenants that always wait get the same, to the stated bound, whatever their requests cost.
TEST(FairQueue, EqualTenantsGetEqualService) {
  const uint64_t seed = testing::seed_of(7);
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  FairQueueLimits limits;
  limits.window = 500;
  FairQueue queue(limits);
  uint64_t next_id = 0;
  std::map<uint64_t, double> served;
  std::map<uint64_t, int> waiting;
  for (int i = 0; i < 20'000; ++i) {
    for (uint64_t tenant = 0; tenant < 4; ++tenant) {
      // Tenant 3 sends ten times as much, tenant 0 only large ones.
      while (waiting[tenant] < (tenant == 3 ? 20 : 2)) {
        const double cost = tenant == 0 ? 900 : std::uniform_real_distribution<>(1, 900)(random);
        queue.push(make(++next_id, tenant, cost, i));
        ++waiting[tenant];
      }
    }
    const QueueItem item = queue.take(queue.next()->id);
    served[item.tenant] += item.cost;
    --waiting[item.tenant];
    const auto [least, most] = std::minmax({served[0], served[1], served[2], served[3]});
    ASSERT_LE(most - least, 2 * 500 + 2 * 900);
  }
  EXPECT_LE(served[3] / served[0], 1.01);
}

// A request is started before its tenant's counter can be passed by more than the window: so among
// n equal tenants that flood it waits for at most n * (window + largest cost) of work, besides its
// own tenant's.
TEST(FairQueue, NobodyStarves) {
  FairQueueLimits limits;
  limits.window = 2000;
  FairQueue queue(limits);
  uint64_t next_id = 100;
  QueueItem humble = make(1, 99, 50);
  humble.level = 0;
  humble.priority = 8;
  queue.push(humble);
  double work = 0;
  constexpr int kTenants = 5;
  while (queue.waits(1)) {
    for (uint64_t tenant = 0; tenant < kTenants; ++tenant) {
      QueueItem item = make(++next_id, tenant, 300, 0);
      item.level = 3;
      item.priority = -8;
      queue.push(item);
    }
    work += queue.take(queue.next()->id).cost;
    ASSERT_LE(work, kTenants * (2000 + 300) + 50);
  }
}

TEST(FairQueue, CostAheadIsNearTheOrder) {
  FairQueue queue(strict());
  uint64_t next_id = 0;
  for (int i = 0; i < 30; ++i) queue.push(make(++next_id, 1, 100));
  for (int i = 0; i < 5; ++i) queue.push(make(++next_id, 2, 100));
  QueueItem third = make(1000, 3, 100);
  EXPECT_LE(queue.cost_ahead(third), 100);
  EXPECT_NEAR(queue.cost_ahead(make(1000, 2, 100)), 1000, 100);
  EXPECT_NEAR(queue.cost_ahead(make(1000, 1, 100)), 3500, 1);
}

}  // namespace
}  // namespace galley::gateway

// FairQueue: who goes next, by weighted token cost. The queue in front of the engine.
//
// Virtual counters, after VTC (Sheng et al., "Fairness in Serving Large Language Models", OSDI
// 2024): each tenant has a counter of the cost served to it, divided by its weight; the next
// request is of the tenant whose counter is lowest. A tenant that comes back from idleness starts
// at the counter of those who waited, so that idleness earns nothing. Within a tenant its users are
// treated the same way, all with weight 1.
//
// Fairness comes first, yet not to the last token: tenants whose counter is at most `window` above
// the lowest count as equal, and among them the higher level goes first, then the lower rank: when
// it came, plus what priority adds, minus what a continued conversation and a short answer earn.
//
// What is guaranteed, and asserted by fair_queue_test.cc after every step, with U the largest cost
// of one request and E the largest sum of corrections a tenant has not yet been charged:
//   - the counters of two tenants that both wait differ by at most window + (U + E) / weight;
//   - so over any time in which both wait, their services per weight differ by at most
//     2 * window + (U + E) / weight_a + (U + E) / weight_b;
//   - inside a user's queue a request is passed only by those that came less than
//     rank_shift_ms_max() after it.
//
// Pure: no clock, no threads, no I/O.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <set>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

namespace galley::gateway {

struct FairQueueLimits {
  size_t items_max = 4096;       // waiting
  size_t tenants_max = 16384;    // remembered: waiting, or ahead of those who wait
  size_t users_max = 4096;       // the same, of one tenant
  size_t candidates_max = 16;    // looked at for one choice
  double window = 2048;          // cost per weight: counters this near count as equal
  int32_t priority_abs_max = 8;  // beyond, a priority counts as this
  int64_t priority_step_ms = 30'000;
  int64_t continued_ms = 2'000;  // head start of a conversation that is being answered
  double ms_per_cost = 1.0;      // what an expected token costs in rank, so that short goes first
  int64_t length_shift_ms = 10'000;  // at most

  // The most two ranks of equal arrival differ.
  int64_t rank_shift_ms_max() const {
    return 2 * priority_abs_max * priority_step_ms + continued_ms + length_shift_ms;
  }
};

struct QueueItem {
  uint64_t id = 0;  // unique among those waiting
  uint64_t tenant = 0;
  uint64_t user = 0;  // within the tenant
  double weight = 1;  // of the tenant, > 0; the newest item's counts
  double cost = 1;    // expected, > 0
  int32_t sequences = 1;
  int32_t level = 0;     // of the tier; higher first
  int32_t priority = 0;  // lower first
  bool continued = false;
  int64_t arrived_ms = 0;
  int64_t deadline_ms = std::numeric_limits<int64_t>::max();
};

class FairQueue {
 public:
  explicit FairQueue(const FairQueueLimits& limits) : limits_(limits) {}

  // From now on counters this near count as equal; the bounds above then hold for the widest since.
  void set_window(double window) { limits_.window = window; }
  // False: items_max wait already.
  bool push(const QueueItem& item);
  // The item that goes next; null when none waits. Valid until the next change.
  const QueueItem* next() const;
  // Takes `id` out and charges its cost to tenant and user; `id` waits. Usually next()'s.
  QueueItem take(uint64_t id);
  // Takes `id` out without a charge, if it waits.
  std::optional<QueueItem> remove(uint64_t id);
  // Corrects what was charged by `cost`, which may be negative.
  void charge(uint64_t tenant, uint64_t user, double cost);

  // About how much cost goes before `item`, which does not wait, would it come now; by counters
  // alone. Cost: the tenants that wait, and the users of its own.
  double cost_ahead(const QueueItem& item) const;
  // The ids in the order they would go if nothing came and nothing were corrected. Cost: a copy.
  std::vector<uint64_t> order() const;

  bool waits(uint64_t id) const { return where_.count(id) > 0; }
  const QueueItem& item(uint64_t id) const { return where_.at(id).item; }
  size_t size() const { return where_.size(); }
  int64_t sequences() const { return sequences_; }
  int64_t sequences_of(uint64_t tenant) const;
  double cost() const { return cost_; }
  size_t tenants() const { return tenants_.size(); }
  // For tests and the bounds above. A tenant that is not remembered stands at the floor.
  double counter(uint64_t tenant) const;
  // GALLEY_CHECKs what must hold. Cost: all items.
  void check_invariants() const;

 private:
  // Place inside a user's queue: rank, deadline, then order of arrival.
  using Place = std::tuple<int64_t, int64_t, uint64_t>;
  struct Waiting {
    QueueItem item;
    Place place;
  };
  struct User {
    double counter = 0;
    double cost = 0;                             // waiting
    std::set<std::pair<Place, uint64_t>> items;  // with id
  };
  struct Tenant {
    double counter = 0;
    double weight = 1;
    double floor = 0;  // of its users
    double cost = 0;   // waiting
    int64_t sequences = 0;
    std::unordered_map<uint64_t, User> users;
    std::set<std::pair<double, uint64_t>> active;  // users that wait, by counter
  };

  int64_t rank(const QueueItem& item) const;
  const Waiting* head(const Tenant& tenant) const;
  QueueItem extract(uint64_t id);
  void forget_idle();

  FairQueueLimits limits_;
  std::unordered_map<uint64_t, Tenant> tenants_;
  std::set<std::pair<double, uint64_t>> active_;  // tenants that wait, by counter
  std::unordered_map<uint64_t, Waiting> where_;
  double floor_ = 0;  // never falls: the lowest counter of those who waited at the last take()
  uint64_t arrivals_ = 0;
  int64_t sequences_ = 0;
  double cost_ = 0;
};

}  // namespace galley::gateway

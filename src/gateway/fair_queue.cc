#include "gateway/fair_queue.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace galley::gateway {

bool FairQueue::push(const QueueItem& item) {
  GALLEY_CHECK(item.cost > 0 && item.weight > 0, "cost and weight are above zero");
  GALLEY_CHECK(!waits(item.id), "the id waits already");
  if (where_.size() >= limits_.items_max) return false;
  if (tenants_.size() >= limits_.tenants_max) forget_idle();
  auto [found, fresh] = tenants_.try_emplace(item.tenant);
  Tenant& tenant = found->second;
  if (tenant.active.empty()) tenant.counter = std::max(tenant.counter, floor_);
  tenant.weight = item.weight;
  if (tenant.users.size() >= limits_.users_max) {
    std::erase_if(tenant.users, [&tenant](const auto& entry) {
      return entry.second.items.empty() && entry.second.counter <= tenant.floor;
    });
  }
  // Too many users are ahead of others at once: the one more shares a place.
  const bool full = tenant.users.size() >= limits_.users_max && !tenant.users.contains(item.user);
  Waiting waiting{item, {rank(item), item.deadline_ms, ++arrivals_}};
  if (full) waiting.item.user = tenant.users.begin()->first;
  User& user = tenant.users[waiting.item.user];
  if (user.items.empty()) user.counter = std::max(user.counter, tenant.floor);
  if (tenant.active.empty()) active_.emplace(tenant.counter, item.tenant);
  user.items.emplace(waiting.place, item.id);
  tenant.active.emplace(user.counter, waiting.item.user);
  sequences_ += item.sequences;
  cost_ += item.cost;
  tenant.cost += item.cost;
  tenant.sequences += item.sequences;
  user.cost += item.cost;
  where_.emplace(item.id, std::move(waiting));
  return true;
}

int64_t FairQueue::rank(const QueueItem& item) const {
  const int64_t priority =
      std::clamp(item.priority, -limits_.priority_abs_max, limits_.priority_abs_max);
  const double length =
      std::min(item.cost * limits_.ms_per_cost, static_cast<double>(limits_.length_shift_ms));
  return item.arrived_ms + priority * limits_.priority_step_ms + static_cast<int64_t>(length) -
         (item.continued ? limits_.continued_ms : 0);
}

// The best of the tenant's users whose counters count as equal.
const FairQueue::Waiting* FairQueue::head(const Tenant& tenant) const {
  const Waiting* best = nullptr;
  size_t looked_at = 0;
  const double end = tenant.active.begin()->first + limits_.window;
  for (const auto& [counter, id] : tenant.active) {
    if (counter > end || ++looked_at > limits_.candidates_max) break;
    const Waiting& first = where_.at(tenant.users.at(id).items.begin()->second);
    if (best == nullptr || first.place < best->place) best = &first;
  }
  return best;
}

const QueueItem* FairQueue::next() const {
  const Waiting* best = nullptr;
  size_t looked_at = 0;
  if (active_.empty()) return nullptr;
  const double end = active_.begin()->first + limits_.window;
  for (const auto& [counter, id] : active_) {
    if (counter > end || ++looked_at > limits_.candidates_max) break;
    const Waiting* first = head(tenants_.at(id));
    const bool better = best == nullptr || first->item.level > best->item.level ||
                        (first->item.level == best->item.level && first->place < best->place);
    if (better) best = first;
  }
  return &best->item;
}

// Out of all indices, at unchanged counters.
QueueItem FairQueue::extract(uint64_t id) {
  const auto found = where_.find(id);
  const Waiting waiting = std::move(found->second);
  where_.erase(found);
  Tenant& tenant = tenants_.at(waiting.item.tenant);
  User& user = tenant.users.at(waiting.item.user);
  user.items.erase({waiting.place, id});
  user.cost = user.items.empty() ? 0 : user.cost - waiting.item.cost;
  if (user.items.empty()) tenant.active.erase({user.counter, waiting.item.user});
  tenant.cost = tenant.active.empty() ? 0 : tenant.cost - waiting.item.cost;
  if (tenant.active.empty()) active_.erase({tenant.counter, waiting.item.tenant});
  tenant.sequences -= waiting.item.sequences;
  sequences_ -= waiting.item.sequences;
  cost_ = where_.empty() ? 0 : cost_ - waiting.item.cost;
  return waiting.item;
}

QueueItem FairQueue::take(uint64_t id) {
  GALLEY_CHECK(waits(id), "the id does not wait");
  floor_ = std::max(floor_, active_.begin()->first);
  Tenant& tenant = tenants_.at(item(id).tenant);
  tenant.floor = std::max(tenant.floor, tenant.active.begin()->first);
  QueueItem item = extract(id);
  charge(item.tenant, item.user, item.cost);
  return item;
}

std::optional<QueueItem> FairQueue::remove(uint64_t id) {
  if (!waits(id)) return std::nullopt;
  return extract(id);
}

void FairQueue::charge(uint64_t tenant_id, uint64_t user_id, double cost) {
  const auto found = tenants_.find(tenant_id);
  if (found == tenants_.end()) return;  // Forgotten: it had fallen to the floor.
  Tenant& tenant = found->second;
  const bool waits_too = !tenant.active.empty();
  if (waits_too) active_.erase({tenant.counter, tenant_id});
  tenant.counter += cost / tenant.weight;
  if (waits_too) active_.emplace(tenant.counter, tenant_id);
  const auto user = tenant.users.find(user_id);
  if (user == tenant.users.end()) return;
  const bool user_waits = !user->second.items.empty();
  if (user_waits) tenant.active.erase({user->second.counter, user_id});
  user->second.counter += cost;
  if (user_waits) tenant.active.emplace(user->second.counter, user_id);
}

// Those at the floor are as if they had never been here. If that frees nothing, the idle tenant
// that is least ahead loses its memory.
void FairQueue::forget_idle() {
  std::erase_if(tenants_, [this](const auto& entry) {
    return entry.second.active.empty() && entry.second.counter <= floor_;
  });
  if (tenants_.size() < limits_.tenants_max) return;
  auto least = tenants_.end();
  for (auto it = tenants_.begin(); it != tenants_.end(); ++it) {
    if (!it->second.active.empty()) continue;
    if (least == tenants_.end() || it->second.counter < least->second.counter) least = it;
  }
  if (least != tenants_.end()) tenants_.erase(least);
}

double FairQueue::cost_ahead(const QueueItem& item) const {
  double own = 0, counter = floor_;
  if (const auto found = tenants_.find(item.tenant); found != tenants_.end()) {
    const Tenant& tenant = found->second;
    if (!tenant.active.empty() || tenant.counter > floor_) counter = tenant.counter;
    double user_counter = tenant.floor;
    if (const auto user = tenant.users.find(item.user); user != tenant.users.end()) {
      user_counter = std::max(user_counter, user->second.counter) + user->second.cost;
      own = user->second.cost;
    }
    for (const auto& [other_counter, id] : tenant.active) {
      if (id == item.user) continue;
      const double lead = std::max(0.0, user_counter - other_counter);
      own += std::min(tenant.users.at(id).cost, lead);
    }
  }
  const double end = counter + own / item.weight;
  double ahead = own;
  for (const auto& [other_counter, id] : active_) {
    if (other_counter >= end) break;
    if (id == item.tenant) continue;
    const Tenant& other = tenants_.at(id);
    ahead += std::min(other.cost, (end - other_counter) * other.weight);
  }
  return ahead;
}

std::vector<uint64_t> FairQueue::order() const {
  std::vector<uint64_t> ids;
  ids.reserve(size());
  FairQueue copy = *this;
  while (const QueueItem* item = copy.next()) {
    ids.push_back(item->id);
    copy.take(item->id);
  }
  return ids;
}

double FairQueue::counter(uint64_t tenant) const {
  const auto found = tenants_.find(tenant);
  return found == tenants_.end() ? floor_ : found->second.counter;
}

int64_t FairQueue::sequences_of(uint64_t tenant) const {
  const auto found = tenants_.find(tenant);
  return found == tenants_.end() ? 0 : found->second.sequences;
}

void FairQueue::check_invariants() const {
  size_t items = 0, active_tenants = 0;
  int64_t sequences = 0;
  double cost = 0;
  for (const auto& [id, tenant] : tenants_) {
    size_t active_users = 0;
    sequences += tenant.sequences;
    for (const auto& [user_id, user] : tenant.users) {
      items += user.items.size();
      if (user.items.empty()) continue;
      ++active_users;
      GALLEY_CHECK(tenant.active.contains({user.counter, user_id}), "a user that waits is indexed");
    }
    GALLEY_CHECK(active_users == tenant.active.size(), "an idle user is not indexed");
    if (active_users == 0) continue;
    ++active_tenants;
    GALLEY_CHECK(active_.contains({tenant.counter, id}), "a tenant that waits is indexed");
  }
  for (const auto& [id, waiting] : where_) cost += waiting.item.cost;
  GALLEY_CHECK(sequences == sequences_, "each sequence is a tenant's");
  GALLEY_CHECK(items == where_.size() && active_tenants == active_.size(), "nobody is lost");
  GALLEY_CHECK(std::abs(cost - cost_) <= 1e-6 * (1 + cost), "the cost waiting adds up");
}

}  // namespace galley::gateway

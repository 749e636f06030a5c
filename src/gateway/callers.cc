#include "gateway/callers.h"

#include <cstring>
#include <limits>

namespace galley::gateway {
namespace {

constexpr std::string_view kBearer = "bearer ";
// Ids of scopes: a tenant's and a key's must differ.
constexpr uint64_t kKeyScope = uint64_t{1} << 63;

bool is_bearer(std::string_view scheme) {
  if (scheme.size() != kBearer.size()) return false;
  for (size_t i = 0; i < scheme.size(); ++i) {
    const char c = scheme[i];
    const char lower = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    if (lower != kBearer[i]) return false;
  }
  return true;
}

uint64_t first_bytes(const KeyDigest& digest) {
  uint64_t out = 0;
  std::memcpy(&out, digest.data(), sizeof(out));
  return out;
}

}  // namespace

size_t Callers::DigestHash::operator()(const KeyDigest& digest) const {
  return static_cast<size_t>(first_bytes(digest));
}

Callers::Callers() : stored_(true) {}

Callers::Callers(const std::vector<std::string>& api_keys) : stored_(false) {
  auto caller = std::make_shared<Caller>();
  caller->tier.name = "default";
  caller->tier.priority_min = std::numeric_limits<int32_t>::min();
  everybody_ = std::move(caller);
  for (const std::string& key : api_keys) keys_.emplace(digest_of_key(key), everybody_);
}

std::shared_ptr<const Caller> Callers::find(std::string_view authorization) const {
  if (!required()) return everybody_;
  if (!is_bearer(authorization.substr(0, kBearer.size()))) return nullptr;
  const auto found = keys_.find(digest_of_key(authorization.substr(kBearer.size())));
  return found == keys_.end() ? nullptr : found->second;
}

void Callers::replace(const StoreSnapshot& snapshot) {
  std::unordered_map<std::string, const Tier*> tiers;
  std::unordered_map<int64_t, const Tenant*> tenants;
  tiers_.clear();
  for (const Tier& tier : snapshot.tiers) {
    tiers.emplace(tier.name, &tier);
    tiers_.push_back(tier.name);
  }
  balances_.clear();
  for (const Tenant& tenant : snapshot.tenants) {
    balances_[static_cast<uint64_t>(tenant.id)] = tenant.balance_pico;
    if (tenant.active) tenants.emplace(tenant.id, &tenant);
  }
  keys_.clear();
  for (const ApiKey& key : snapshot.keys) {
    const auto owner = tenants.find(key.tenant);
    if (owner == tenants.end()) continue;  // Suspended.
    const Tenant& tenant = *owner->second;
    auto caller = std::make_shared<Caller>();
    caller->stored = true;
    caller->tenant = static_cast<uint64_t>(tenant.id);
    caller->tenant_name = tenant.name;
    caller->key = key.id;
    caller->tier = *tiers.at(tenant.tier);
    caller->prepaid = tenant.prepaid;
    caller->currency = tenant.currency;
    caller->key_scope = {first_bytes(key.digest) | kKeyScope, key.limits};
    caller->tenant_scope = {caller->tenant, caller->tier.limits};
    keys_.emplace(key.digest, std::move(caller));
  }
}

int64_t Callers::balance_pico(uint64_t tenant) const {
  const auto found = balances_.find(tenant);
  return found == balances_.end() ? 0 : found->second;
}

void Callers::charge(uint64_t tenant, int64_t pico) {
  if (const auto found = balances_.find(tenant); found != balances_.end()) found->second -= pico;
}

}  // namespace galley::gateway

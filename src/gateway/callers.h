// Callers: who a request comes from, by its API key.
//
// Without a tenant store there is one tenant, "default", that may do anything; with one the keys,
// tenants and tiers of its newest snapshot count. Keys are kept and looked up as SHA-256 digests:
// what a lookup's time tells about a digest tells nothing about the key.
//
// Event loop only.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "gateway/rate_limiter.h"
#include "gateway/tenant_store.h"

namespace galley::gateway {

struct Caller {
  bool stored = false;  // of a tenant store
  uint64_t tenant = 0;
  std::string tenant_name = "default";
  std::string key;  // id
  Tier tier;
  bool prepaid = false;
  std::string currency = "USD";
  LimitScope key_scope, tenant_scope;
};

class Callers {
 public:
  // One tenant with these keys; without any, everybody is it.
  explicit Callers(const std::vector<std::string>& api_keys);
  // From a store; knows nobody before replace().
  Callers();

  bool required() const { return stored_ || !keys_.empty(); }
  // Of "Bearer KEY"; null for a key that is not valid.
  std::shared_ptr<const Caller> find(std::string_view authorization) const;

  void replace(const StoreSnapshot& snapshot);
  // With a store: what is left, and taking from it.
  int64_t balance_pico(uint64_t tenant) const;
  void charge(uint64_t tenant, int64_t pico);
  // Names of tiers, for metrics.
  const std::vector<std::string>& tiers() const { return tiers_; }

 private:
  struct DigestHash {
    // A digest is as good as random.
    size_t operator()(const KeyDigest& digest) const;
  };
  const bool stored_;
  std::shared_ptr<const Caller> everybody_;
  std::unordered_map<KeyDigest, std::shared_ptr<const Caller>, DigestHash> keys_;
  std::unordered_map<uint64_t, int64_t> balances_;
  std::vector<std::string> tiers_ = {"default"};
};

}  // namespace galley::gateway

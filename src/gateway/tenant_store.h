// TenantStore: who may use the server, what they may, and what they used. Kept on disk.
//
// Money is counted exactly, in pico-units of the tenant's currency: a price in micro-units per
// million tokens is a price in pico-units per token, so a request's cost is a sum of products of
// whole numbers.
//
// A seam: SQLite here; a store shared by several gateways comes behind the same calls, and
// tenant_store_test.cc runs on each. One thread uses a store at a time.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "gateway/rate_limiter.h"

namespace galley::gateway {

struct StoreLimits {
  size_t tiers_max = 32;  // they label metrics
  size_t tenants_max = 100'000;
  size_t keys_max = 1'000'000;
  size_t name_bytes_max = 64;
};

constexpr int64_t kPicoPerUnit = 1'000'000'000'000;
constexpr int64_t kBalanceUnitsMax = 1'000'000;  // of a currency, either way

// Data, not code: what its tenants get.
struct Tier {
  std::string name = {};
  double weight = 1;         // share of the engine when all wait
  int32_t level = 0;         // goes first among equally served; does not wait for lower ones' slots
  RateLimits limits = {};    // of each tenant
  int32_t priority_min = 0;  // the best `priority` its requests may ask for; 0: none above normal
  int64_t price_input = 0;   // micro-units per million tokens
  int64_t price_cached = 0;  // of prompt tokens found in the prefix cache
  int64_t price_output = 0;
  int64_t promise_ttft_ms = 0;  // what its tenants were told; 0: nothing
};

struct Tenant {
  int64_t id = 0;
  std::string name = {};
  std::string tier = {};
  std::string currency = "USD";
  bool active = true;
  bool prepaid = false;      // without balance: 402
  int64_t balance_pico = 0;  // may end below 0: a request is never cut off for money
};

using KeyDigest = std::array<unsigned char, 32>;

struct ApiKey {
  std::string id = {};  // "k" and hexadecimal; not secret
  int64_t tenant = 0;
  std::string name = {};
  std::string hint = {};  // how the secret begins
  KeyDigest digest{};
  int64_t created_s = 0;
  int64_t revoked_s = 0;   // 0: valid
  RateLimits limits = {};  // of this key, beside the tenant's
};

struct UsageRow {
  std::string request = {};  // unique; a second row of the same name is ignored
  int64_t tenant = 0;
  std::string key = {};
  std::string user = {};
  std::string model = {};
  int64_t prompt_tokens = 0;
  int64_t cached_tokens = 0;  // of the prompt
  int64_t output_tokens = 0;
  int64_t cost_pico = 0;
  int64_t at_s = 0;

  bool operator==(const UsageRow&) const = default;
};

struct UsageTotal {
  int64_t requests = 0;
  int64_t prompt_tokens = 0;
  int64_t cached_tokens = 0;
  int64_t output_tokens = 0;
  int64_t cost_pico = 0;
};

struct StoreSnapshot {
  std::vector<Tier> tiers;
  std::vector<Tenant> tenants;
  std::vector<ApiKey> keys;  // valid ones
};

// SHA-256.
KeyDigest digest_of_key(std::string_view key);
// The price of `row`'s tokens.
int64_t cost_pico(const Tier& tier, int64_t prompt_tokens, int64_t cached_tokens,
                  int64_t output_tokens);
// "12.5" as pico-units, and back, without trailing zeros but at least two decimals.
Result<int64_t> parse_money(std::string_view text);
std::string format_money(int64_t pico);

class TenantStore {
 public:
  virtual ~TenantStore() = default;

  virtual Result<StoreSnapshot> load() = 0;
  // Differs from the last call's when somebody else has changed something since.
  virtual Result<int64_t> version() = 0;

  // Errors of all below  kNotFound  no such name; kInvalid  a value, a name that is taken
  //                      kTooLarge  a bound of StoreLimits; kUnavailable  the disk, a lock
  virtual Status put_tier(const Tier& tier) = 0;            // new, or changed
  virtual Status remove_tier(const std::string& name) = 0;  // kInvalid: tenants have it
  virtual Result<Tenant> create_tenant(const Tenant& tenant) = 0;
  // Tier, active, prepaid. The balance changes by add_balance() alone.
  virtual Status update_tenant(const Tenant& tenant) = 0;
  virtual Result<Tenant> find_tenant(const std::string& name) = 0;
  virtual Result<int64_t> add_balance(const std::string& tenant, int64_t pico) = 0;
  // The secret is returned here and never again.
  virtual Result<std::pair<ApiKey, std::string>> create_key(const std::string& tenant,
                                                            const std::string& name,
                                                            const RateLimits& limits) = 0;
  virtual Status revoke_key(const std::string& id) = 0;
  virtual Result<std::vector<ApiKey>> keys(const std::string& tenant) = 0;  // revoked ones too

  // Books rows and takes their cost off the balances, all in one transaction. Rows whose request
  // is booked already change nothing.
  virtual Status book(std::span<const UsageRow> rows) = 0;
  virtual Result<UsageTotal> usage(const std::string& tenant, int64_t from_s, int64_t to_s) = 0;
  // Newest first; for support and tests.
  virtual Result<std::vector<UsageRow>> rows(const std::string& tenant, int64_t max) = 0;
};

// A file, made with the tiers free, paid, batch and internal when it does not exist.
// Errors  kInvalid  not a database of this program, or of a newer one; kUnavailable  the disk
Result<std::unique_ptr<TenantStore>> open_sqlite_store(const std::string& path,
                                                       const StoreLimits& limits = {});

}  // namespace galley::gateway

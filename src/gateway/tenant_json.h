// Tenants, tiers, keys and usage as JSON: the admin API's and the command line's.
#pragma once

#include <string>

#include "gateway/tenant_store.h"

namespace galley::gateway {

std::string tier_json(const Tier& tier);
std::string tenant_json(const Tenant& tenant);
// `secret`: only when the key has just been made.
std::string key_json(const ApiKey& key, const std::string& secret);
std::string row_json(const UsageRow& row);
std::string usage_json(const UsageTotal& total);
// GET /user/balance, as DeepSeek answers it.
std::string balance_json(const Tenant& tenant);

}  // namespace galley::gateway

#include "gateway/tenant_json.h"

#include <boost/json.hpp>

namespace galley::gateway {
namespace {

namespace json = boost::json;

json::object limits_object(const RateLimits& limits) {
  return {{"requests_per_minute", limits.requests_per_minute},
          {"tokens_per_minute", limits.tokens_per_minute},
          {"concurrency", limits.concurrency}};
}

}  // namespace

std::string tier_json(const Tier& tier) {
  return json::serialize(json::object{{"name", tier.name},
                                      {"weight", tier.weight},
                                      {"level", tier.level},
                                      {"limits", limits_object(tier.limits)},
                                      {"priority_min", tier.priority_min},
                                      {"price_input", format_money(tier.price_input * 1'000'000)},
                                      {"price_cached", format_money(tier.price_cached * 1'000'000)},
                                      {"price_output", format_money(tier.price_output * 1'000'000)},
                                      {"promise_ttft_ms", tier.promise_ttft_ms}});
}

std::string tenant_json(const Tenant& tenant) {
  return json::serialize(json::object{{"id", tenant.id},
                                      {"name", tenant.name},
                                      {"tier", tenant.tier},
                                      {"active", tenant.active},
                                      {"prepaid", tenant.prepaid},
                                      {"balance", format_money(tenant.balance_pico)},
                                      {"currency", tenant.currency}});
}

std::string key_json(const ApiKey& key, const std::string& secret) {
  json::object out{
      {"id", key.id},     {"tenant", key.tenant},     {"name", key.name},
      {"hint", key.hint}, {"created", key.created_s}, {"limits", limits_object(key.limits)}};
  if (key.revoked_s != 0) out["revoked"] = key.revoked_s;
  if (!secret.empty()) out["key"] = secret;
  return json::serialize(out);
}

std::string row_json(const UsageRow& row) {
  return json::serialize(json::object{{"request", row.request},
                                      {"key", row.key},
                                      {"user", row.user},
                                      {"model", row.model},
                                      {"prompt_tokens", row.prompt_tokens},
                                      {"cached_tokens", row.cached_tokens},
                                      {"output_tokens", row.output_tokens},
                                      {"cost", format_money(row.cost_pico)},
                                      {"at", row.at_s}});
}

std::string usage_json(const UsageTotal& total) {
  return json::serialize(json::object{{"requests", total.requests},
                                      {"prompt_tokens", total.prompt_tokens},
                                      {"cached_tokens", total.cached_tokens},
                                      {"output_tokens", total.output_tokens},
                                      {"cost", format_money(total.cost_pico)}});
}

std::string balance_json(const Tenant& tenant) {
  const std::string balance = format_money(tenant.balance_pico);
  json::object info{{"currency", tenant.currency},
                    {"total_balance", balance},
                    {"granted_balance", "0.00"},
                    {"topped_up_balance", balance}};
  return json::serialize(json::object{{"is_available", !tenant.prepaid || tenant.balance_pico > 0},
                                      {"balance_infos", json::array{std::move(info)}}});
}

}  // namespace galley::gateway

// `galley tenant` and `galley key`: who may use a server that was started with --tenants. They work
// on the file; a running server takes changes up within a second or so.
#include <chrono>
#include <cstdio>

#include "cli/command.h"
#include "gateway/tenant_json.h"
#include "gateway/tenant_store.h"

namespace galley::cli {

namespace {

using gateway::ApiKey;
using gateway::RateLimits;
using gateway::Tenant;
using gateway::TenantStore;
using gateway::Tier;

constexpr int64_t kQuotaMax = 1'000'000'000'000;

// What all of these commands have.
struct StoreFlags {
  std::string tenants;
  bool json = false;
};

void declare(StoreFlags* flags, Settings* settings) {
  settings->add({"tenants", "FILE", "the tenant store; made if it does not exist"},
                &flags->tenants);
  settings->add_switch({"json", "", "print JSON"}, &flags->json);
}

Result<std::unique_ptr<TenantStore>> open(const StoreFlags& flags) {
  if (flags.tenants.empty())
    return Status(Code::kInvalid, "--tenants FILE (or GALLEY_TENANTS) names the tenant store");
  return gateway::open_sqlite_store(flags.tenants);
}

void declare_limits(RateLimits* limits, Settings* settings) {
  settings->add({"rpm", "N", "requests per minute; 0: no limit"}, {.min = 0, .max = kQuotaMax},
                &limits->requests_per_minute);
  settings->add({"tpm", "N", "tokens per minute; 0: no limit"}, {.min = 0, .max = kQuotaMax},
                &limits->tokens_per_minute);
  settings->add({"concurrency", "N", "requests at once; 0: no limit"}, {.min = 0, .max = kQuotaMax},
                &limits->concurrency);
}

Status need(const std::string& value, const char* what) {
  return value.empty() ? Status(Code::kInvalid, std::string(what) + " is missing") : Status();
}

std::string quota(int64_t value) {
  return value == 0 ? "-" : std::to_string(value);
}

std::string limits_text(const RateLimits& limits) {
  return quota(limits.requests_per_minute) + " rpm, " + quota(limits.tokens_per_minute) + " tpm, " +
         quota(limits.concurrency) + " at once";
}

void print(const Tenant& tenant) {
  std::printf("%-24s tier %-12s %s %s%s%s\n", tenant.name.c_str(), tenant.tier.c_str(),
              gateway::format_money(tenant.balance_pico).c_str(), tenant.currency.c_str(),
              tenant.prepaid ? ", prepaid" : "", tenant.active ? "" : ", suspended");
}

void print_json(const std::string& text) {
  std::printf("%s\n", text.c_str());
}

Status tenant_create(Args args, const Variables& variables) {
  StoreFlags store_flags;
  Tenant tenant;
  tenant.tier = "free";
  std::string balance = "0";
  Settings settings("galley tenant create", "Adds a tenant.");
  settings.add({"name", "NAME", "of the tenant"}, &tenant.name);
  settings.add({"tier", "NAME", "one of `galley tenant tiers`"}, &tenant.tier);
  settings.add({"balance", "AMOUNT", "to begin with"}, &balance);
  settings.add({"currency", "NAME", "USD or CNY"}, &tenant.currency);
  settings.add_switch({"prepaid", "", "refuse with 402 when the balance is used up"},
                      &tenant.prepaid);
  declare(&store_flags, &settings);
  settings.positional("NAME", "name");
  settings.example("Example: galley tenant create acme --tier paid --tenants tenants.db");
  GALLEY_RETURN_IF_ERROR(settings.parse(args, variables));
  if (print_and_stop(settings)) return Status();
  GALLEY_RETURN_IF_ERROR(need(tenant.name, "NAME"));
  const Result<int64_t> pico = gateway::parse_money(balance);
  if (!pico.ok()) return Status(Code::kInvalid, "--balance: " + pico.message());
  tenant.balance_pico = *pico;
  GALLEY_ASSIGN_OR_RETURN(const auto store, open(store_flags));
  GALLEY_ASSIGN_OR_RETURN(const Tenant made, store->create_tenant(tenant));
  store_flags.json ? print_json(gateway::tenant_json(made)) : print(made);
  return Status();
}

Status tenant_list(Args args, const Variables& variables) {
  StoreFlags store_flags;
  Settings settings("galley tenant list", "Lists tenants.");
  declare(&store_flags, &settings);
  GALLEY_RETURN_IF_ERROR(settings.parse(args, variables));
  if (print_and_stop(settings)) return Status();
  GALLEY_ASSIGN_OR_RETURN(const auto store, open(store_flags));
  GALLEY_ASSIGN_OR_RETURN(const gateway::StoreSnapshot all, store->load());
  for (const Tenant& tenant : all.tenants)
    store_flags.json ? print_json(gateway::tenant_json(tenant)) : print(tenant);
  return Status();
}

Status tenant_set(Args args, const Variables& variables) {
  StoreFlags store_flags;
  std::string name, tier;
  bool active = true, prepaid = false;
  Settings settings("galley tenant set", "Changes a tenant.");
  settings.add({"name", "NAME", "of the tenant"}, &name);
  settings.add({"tier", "NAME", "one of `galley tenant tiers`"}, &tier);
  settings.add_switch({"active", "", "its keys work"}, &active);
  settings.add_switch({"prepaid", "", "refuse with 402 when the balance is used up"}, &prepaid);
  declare(&store_flags, &settings);
  settings.positional("NAME", "name");
  GALLEY_RETURN_IF_ERROR(settings.parse(args, variables));
  if (print_and_stop(settings)) return Status();
  GALLEY_RETURN_IF_ERROR(need(name, "NAME"));
  GALLEY_ASSIGN_OR_RETURN(const auto store, open(store_flags));
  GALLEY_ASSIGN_OR_RETURN(Tenant tenant, store->find_tenant(name));
  if (settings.given("tier")) tenant.tier = tier;
  if (settings.given("active")) tenant.active = active;
  if (settings.given("prepaid")) tenant.prepaid = prepaid;
  GALLEY_RETURN_IF_ERROR(store->update_tenant(tenant));
  store_flags.json ? print_json(gateway::tenant_json(tenant)) : print(tenant);
  return Status();
}

Status tenant_credit(Args args, const Variables& variables) {
  StoreFlags store_flags;
  std::string name, amount;
  Settings settings("galley tenant credit", "Adds to a tenant's balance.");
  settings.add({"name", "NAME", "of the tenant"}, &name);
  settings.add({"amount", "AMOUNT", "negative takes off"}, &amount);
  declare(&store_flags, &settings);
  settings.positional("NAME", "name");
  settings.example("Example: galley tenant credit acme --amount 20");
  GALLEY_RETURN_IF_ERROR(settings.parse(args, variables));
  if (print_and_stop(settings)) return Status();
  GALLEY_RETURN_IF_ERROR(need(name, "NAME"));
  GALLEY_ASSIGN_OR_RETURN(const int64_t pico, gateway::parse_money(amount));
  GALLEY_ASSIGN_OR_RETURN(const auto store, open(store_flags));
  GALLEY_RETURN_IF_ERROR(store->add_balance(name, pico).status());
  GALLEY_ASSIGN_OR_RETURN(const Tenant tenant, store->find_tenant(name));
  store_flags.json ? print_json(gateway::tenant_json(tenant)) : print(tenant);
  return Status();
}

Status tenant_usage(Args args, const Variables& variables) {
  StoreFlags store_flags;
  std::string name;
  int64_t days = 30;
  Settings settings("galley tenant usage", "Sums up what a tenant used.");
  settings.add({"name", "NAME", "of the tenant"}, &name);
  settings.add({"days", "N", "until now"}, {.min = 1, .max = 36500}, &days);
  declare(&store_flags, &settings);
  settings.positional("NAME", "name");
  GALLEY_RETURN_IF_ERROR(settings.parse(args, variables));
  if (print_and_stop(settings)) return Status();
  GALLEY_RETURN_IF_ERROR(need(name, "NAME"));
  GALLEY_ASSIGN_OR_RETURN(const auto store, open(store_flags));
  const int64_t now_s = std::chrono::duration_cast<std::chrono::seconds>(
                            std::chrono::system_clock::now().time_since_epoch())
                            .count();
  GALLEY_ASSIGN_OR_RETURN(const gateway::UsageTotal total,
                          store->usage(name, now_s - days * 86400, now_s + 60));
  if (store_flags.json) {
    print_json(gateway::usage_json(total));
    return Status();
  }
  std::printf("%lld requests, %lld prompt tokens (%lld cached), %lld output tokens, %s\n",
              static_cast<long long>(total.requests), static_cast<long long>(total.prompt_tokens),
              static_cast<long long>(total.cached_tokens),
              static_cast<long long>(total.output_tokens),
              gateway::format_money(total.cost_pico).c_str());
  return Status();
}

Status tenant_tiers(Args args, const Variables& variables) {
  StoreFlags store_flags;
  Settings settings("galley tenant tiers", "Lists tiers.");
  declare(&store_flags, &settings);
  GALLEY_RETURN_IF_ERROR(settings.parse(args, variables));
  if (print_and_stop(settings)) return Status();
  GALLEY_ASSIGN_OR_RETURN(const auto store, open(store_flags));
  GALLEY_ASSIGN_OR_RETURN(const gateway::StoreSnapshot all, store->load());
  for (const Tier& tier : all.tiers) {
    if (store_flags.json) {
      print_json(gateway::tier_json(tier));
      continue;
    }
    std::printf("%-12s weight %g, level %d, %s, priority from %d\n", tier.name.c_str(), tier.weight,
                tier.level, limits_text(tier.limits).c_str(), tier.priority_min);
  }
  return Status();
}

// A price a person types, in units per million tokens.
Status set_price(const Settings& settings, const char* flag, const std::string& text,
                 int64_t* micro) {
  if (!settings.given(flag)) return Status();
  const Result<int64_t> pico = gateway::parse_money(text);
  if (!pico.ok()) return Status(Code::kInvalid, std::string("--") + flag + ": " + pico.message());
  if (*pico % 1'000'000 != 0)
    return Status(Code::kInvalid, std::string("--") + flag + ": at most 6 decimals");
  *micro = *pico / 1'000'000;
  return Status();
}

Status tenant_tier(Args args, const Variables& variables) {
  StoreFlags store_flags;
  std::string name, input, cached, output;
  double weight = 1;
  int64_t level = 0, priority_min = 0, promise = 0;
  RateLimits limits;
  bool remove = false;
  Settings settings("galley tenant tier", "Makes, changes or removes a tier.");
  settings.add({"name", "NAME", "of the tier"}, &name);
  settings.add({"weight", "W", "share of the engine when all wait"},
               Settings::RealRange{.min = 0.001, .max = 1000}, &weight);
  settings.add({"level", "N", "goes first among equally served"}, {.min = -100, .max = 100},
               &level);
  declare_limits(&limits, &settings);
  settings.add({"priority-min", "N", "the best priority its requests may ask for"},
               {.min = -1000, .max = 0}, &priority_min);
  settings.add({"price-input", "AMOUNT", "per million prompt tokens"}, &input);
  settings.add({"price-cached", "AMOUNT", "per million found in the cache"}, &cached);
  settings.add({"price-output", "AMOUNT", "per million output tokens"}, &output);
  settings.add({"promise-ttft", "MS", "to the first token; 0: nothing promised"},
               {.min = 0, .max = 86'400'000}, &promise);
  settings.add_switch({"remove", "", "remove it; no tenant may have it"}, &remove);
  declare(&store_flags, &settings);
  settings.positional("NAME", "name");
  settings.example("Example: galley tenant tier paid --weight 8 --price-output 1.10");
  GALLEY_RETURN_IF_ERROR(settings.parse(args, variables));
  if (print_and_stop(settings)) return Status();
  GALLEY_RETURN_IF_ERROR(need(name, "NAME"));
  GALLEY_ASSIGN_OR_RETURN(const auto store, open(store_flags));
  if (remove) return store->remove_tier(name);
  GALLEY_ASSIGN_OR_RETURN(const gateway::StoreSnapshot all, store->load());
  Tier tier;
  for (const Tier& one : all.tiers)
    if (one.name == name) tier = one;
  tier.name = name;
  if (settings.given("weight")) tier.weight = weight;
  if (settings.given("level")) tier.level = static_cast<int32_t>(level);
  if (settings.given("rpm")) tier.limits.requests_per_minute = limits.requests_per_minute;
  if (settings.given("tpm")) tier.limits.tokens_per_minute = limits.tokens_per_minute;
  if (settings.given("concurrency")) tier.limits.concurrency = limits.concurrency;
  if (settings.given("priority-min")) tier.priority_min = static_cast<int32_t>(priority_min);
  if (settings.given("promise-ttft")) tier.promise_ttft_ms = promise;
  GALLEY_RETURN_IF_ERROR(set_price(settings, "price-input", input, &tier.price_input));
  GALLEY_RETURN_IF_ERROR(set_price(settings, "price-cached", cached, &tier.price_cached));
  GALLEY_RETURN_IF_ERROR(set_price(settings, "price-output", output, &tier.price_output));
  GALLEY_RETURN_IF_ERROR(store->put_tier(tier));
  print_json(gateway::tier_json(tier));
  return Status();
}

Status key_create(Args args, const Variables& variables) {
  StoreFlags store_flags;
  std::string tenant, name = "key";
  RateLimits limits;
  Settings settings("galley key create", "Makes an API key; it is shown once.");
  settings.add({"tenant", "NAME", "whose key"}, &tenant);
  settings.add({"name", "NAME", "to tell keys apart"}, &name);
  declare_limits(&limits, &settings);
  declare(&store_flags, &settings);
  settings.positional("TENANT", "tenant");
  GALLEY_RETURN_IF_ERROR(settings.parse(args, variables));
  if (print_and_stop(settings)) return Status();
  GALLEY_RETURN_IF_ERROR(need(tenant, "TENANT"));
  GALLEY_ASSIGN_OR_RETURN(const auto store, open(store_flags));
  GALLEY_ASSIGN_OR_RETURN(const auto made, store->create_key(tenant, name, limits));
  if (store_flags.json) {
    print_json(gateway::key_json(made.first, made.second));
    return Status();
  }
  std::fprintf(stderr, "key %s of %s; this is the only time it is shown:\n", made.first.id.c_str(),
               tenant.c_str());
  std::printf("%s\n", made.second.c_str());
  return Status();
}

Status key_list(Args args, const Variables& variables) {
  StoreFlags store_flags;
  std::string tenant;
  Settings settings("galley key list", "Lists a tenant's keys.");
  settings.add({"tenant", "NAME", "whose keys"}, &tenant);
  declare(&store_flags, &settings);
  settings.positional("TENANT", "tenant");
  GALLEY_RETURN_IF_ERROR(settings.parse(args, variables));
  if (print_and_stop(settings)) return Status();
  GALLEY_RETURN_IF_ERROR(need(tenant, "TENANT"));
  GALLEY_ASSIGN_OR_RETURN(const auto store, open(store_flags));
  GALLEY_ASSIGN_OR_RETURN(const std::vector<ApiKey> keys, store->keys(tenant));
  for (const ApiKey& key : keys) {
    if (store_flags.json) {
      print_json(gateway::key_json(key, ""));
      continue;
    }
    std::printf("%s  %s...  %-16s %s%s\n", key.id.c_str(), key.hint.c_str(), key.name.c_str(),
                limits_text(key.limits).c_str(), key.revoked_s != 0 ? "  revoked" : "");
  }
  return Status();
}

Status key_revoke(Args args, const Variables& variables) {
  StoreFlags store_flags;
  std::string id;
  Settings settings("galley key revoke", "Ends a key; servers refuse it within seconds.");
  settings.add({"id", "ID", "of `galley key list`"}, &id);
  declare(&store_flags, &settings);
  settings.positional("ID", "id");
  GALLEY_RETURN_IF_ERROR(settings.parse(args, variables));
  if (print_and_stop(settings)) return Status();
  GALLEY_RETURN_IF_ERROR(need(id, "ID"));
  GALLEY_ASSIGN_OR_RETURN(const auto store, open(store_flags));
  return store->revoke_key(id);
}

}  // namespace

Status run_tenant(Args args, const Variables& variables) {
  static constexpr Command kCommands[] = {
      {"create", "add a tenant", tenant_create},
      {"list", "list tenants", tenant_list},
      {"set", "change tier, suspend, prepaid", tenant_set},
      {"credit", "add to a balance", tenant_credit},
      {"usage", "what a tenant used", tenant_usage},
      {"tiers", "list tiers", tenant_tiers},
      {"tier", "make, change or remove a tier", tenant_tier},
  };
  return dispatch("galley tenant", "Manages tenants and tiers.", kCommands, args, variables);
}

Status run_key(Args args, const Variables& variables) {
  static constexpr Command kCommands[] = {
      {"create", "make an API key", key_create},
      {"list", "list a tenant's keys", key_list},
      {"revoke", "end a key", key_revoke},
  };
  return dispatch("galley key", "Manages API keys.", kCommands, args, variables);
}

}  // namespace galley::cli

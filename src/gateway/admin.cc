#include "gateway/admin.h"

#include <charconv>
#include <chrono>
#include <functional>
#include <optional>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "api/errors.h"
#include "api/json_reader.h"
#include "gateway/callers.h"
#include "gateway/server.h"
#include "gateway/tenant_json.h"
#include "gateway/tenant_store.h"

namespace galley::gateway {
namespace {

constexpr size_t kDepthMax = 8;
constexpr int64_t kQuotaMax = 1'000'000'000'000;
constexpr int64_t kDayS = 86'400;
constexpr int64_t kDaysMax = 36'500;
constexpr int64_t kRowsShown = 1000;
constexpr std::string_view kRoot = "/admin/";

int64_t wall_clock_s() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

HttpResponse answer(std::string body) {
  HttpResponse response;
  response.body = std::move(body);
  return response;
}

HttpResponse failure(int status, std::string code, std::string message) {
  api::Error error;
  error.http = status;
  error.code = std::move(code);
  error.message = std::move(message);
  return error_response(error);
}

// A list as OpenAI writes them.
template <typename Items, typename ToJson>
HttpResponse list(const Items& items, ToJson to_json) {
  std::string body = "{\"object\":\"list\",\"data\":[";
  bool first = true;
  for (const auto& item : items) {
    if (!std::exchange(first, false)) body += ',';
    body += to_json(item);
  }
  return answer(body + "]}");
}

std::vector<std::string> words_of(std::string_view path) {
  std::vector<std::string> words;
  while (!path.empty()) {
    const size_t end = std::min(path.find('/'), path.size());
    words.emplace_back(path.substr(0, end));
    path.remove_prefix(std::min(end + 1, path.size()));
  }
  return words;
}

// The fields of a body; the first that is wrong, or that nobody knows, is the answer.
class Body {
 public:
  explicit Body(const std::string& text)
      : parsed_(api::parse_body(text.empty() ? "{}" : text, kDepthMax)), fields_(parsed_.value) {
    if (parsed_.error) fields_.fail(*parsed_.error);
  }
  api::FieldReader& fields() { return fields_; }

  void money(std::string_view key, int64_t* pico) {
    std::string text;
    fields_.string(key, 64, text);
    if (text.empty()) return;
    const Result<int64_t> value = parse_money(text);
    if (!value.ok())
      return fields_.fail(key, "invalid_value", std::string(key) + ": " + value.message());
    *pico = *value;
  }
  // Of a million tokens.
  void price(std::string_view key, int64_t* micro) {
    int64_t pico = *micro * 1'000'000;
    money(key, &pico);
    if (pico < 0 || pico % 1'000'000 != 0)
      return fields_.fail(key, "invalid_value",
                          std::string(key) + " must be 0 or more, with at most 6 decimals");
    *micro = pico / 1'000'000;
  }
  void limits(RateLimits* limits) {
    const api::IntegerRange range{0, kQuotaMax};
    fields_.integer("requests_per_minute", range, limits->requests_per_minute);
    fields_.integer("tokens_per_minute", range, limits->tokens_per_minute);
    fields_.integer("concurrency", range, limits->concurrency);
  }
  std::optional<HttpResponse> error() {
    if (fields_.ok() && !fields_.unknown().empty()) {
      const std::string name = fields_.unknown().front();
      fields_.fail(name, "unknown_field", "there is no field '" + api::excerpt(name) + "' here");
    }
    if (fields_.ok()) return std::nullopt;
    return error_response(*fields_.error());
  }

 private:
  api::Parsed<boost::json::object> parsed_;
  api::FieldReader fields_;
};

class AdminRouter : public Handler {
 public:
  AdminRouter(std::string key, std::unique_ptr<TenantStore> store)
      : callers_({std::move(key)}), store_(std::move(store)) {}

  std::optional<HttpResponse> check_head(const HttpRequest& request) override {
    if (callers_.find(request.header("Authorization")) != nullptr) return std::nullopt;
    return failure(401, "invalid_api_key", "send 'Authorization: Bearer KEY' with the admin key");
  }

  void handle(std::shared_ptr<Exchange> exchange) override {
    const HttpRequest& request = exchange->request();
    const std::string body = exchange->take_body();
    std::vector<std::string> words;
    if (request.path.starts_with(kRoot)) words = words_of(request.path.substr(kRoot.size()));
    const std::string& method = request.method == "HEAD" ? kGet : request.method;
    exchange->respond(route(method, words, request.target, body));
  }

  void shape_error(const HttpRequest&, std::string_view, HttpResponse*) const override {}
  void on_answered(const HttpRequest&, int, int64_t) override {}

 private:
  using Words = std::vector<std::string>;
  inline static const std::string kGet = "GET";

  HttpResponse route(const std::string& method, const Words& words, const std::string& target,
                     const std::string& body) {
    const bool get = method == "GET", post = method == "POST", erase = method == "DELETE";
    const size_t count = words.size();
    if (count == 1 && words[0] == "tenants" && get) return tenants();
    if (count == 1 && words[0] == "tenants" && post) return create_tenant(body);
    if (count == 2 && words[0] == "tenants" && get) return shown(words[1]);
    if (count == 2 && words[0] == "tenants" && post) return change_tenant(words[1], body);
    if (count == 3 && words[0] == "tenants") {
      const std::string& what = words[2];
      if (what == "credit" && post) return credit(words[1], body);
      if (what == "keys" && get) return keys(words[1]);
      if (what == "keys" && post) return create_key(words[1], body);
      if (what == "usage" && get) return usage(words[1], target);
      if (what == "ledger" && get) return rows(words[1]);
    }
    if (count == 2 && words[0] == "keys" && erase) return revoke(words[1]);
    if (count == 1 && words[0] == "tiers" && get) return tiers();
    if (count == 2 && words[0] == "tiers" && post) return put_tier(words[1], body);
    if (count == 2 && words[0] == "tiers" && erase) return done(store_->remove_tier(words[1]));
    return failure(404, "not_found",
                   "there is no " + api::excerpt(method, 16) +
                       " for this path; docs/api.md has "
                       "those of the admin port");
  }

  static HttpResponse failed(const Status& status) { return error_response(api::error_of(status)); }
  static HttpResponse done(const Status& status) {
    return status.ok() ? answer("{\"ok\":true}") : failed(status);
  }

  HttpResponse tenants() {
    const Result<StoreSnapshot> all = store_->load();
    return all.ok() ? list(all->tenants, tenant_json) : failed(all.status());
  }
  HttpResponse tiers() {
    const Result<StoreSnapshot> all = store_->load();
    return all.ok() ? list(all->tiers, tier_json) : failed(all.status());
  }
  HttpResponse shown(const std::string& name) {
    const Result<Tenant> tenant = store_->find_tenant(name);
    return tenant.ok() ? answer(tenant_json(*tenant)) : failed(tenant.status());
  }
  HttpResponse create_tenant(const std::string& text) {
    Body body(text);
    Tenant tenant;
    tenant.tier = "free";
    body.fields().string("name", 256, tenant.name);
    body.fields().string("tier", 256, tenant.tier);
    body.fields().string("currency", 16, tenant.currency);
    body.fields().boolean("prepaid", tenant.prepaid);
    body.money("balance", &tenant.balance_pico);
    if (auto error = body.error()) return *error;
    const Result<Tenant> made = store_->create_tenant(tenant);
    return made.ok() ? answer(tenant_json(*made)) : failed(made.status());
  }
  HttpResponse change_tenant(const std::string& name, const std::string& text) {
    Result<Tenant> tenant = store_->find_tenant(name);
    if (!tenant.ok()) return failed(tenant.status());
    Body body(text);
    body.fields().string("tier", 256, tenant->tier);
    body.fields().boolean("active", tenant->active);
    body.fields().boolean("prepaid", tenant->prepaid);
    if (auto error = body.error()) return *error;
    const Status status = store_->update_tenant(*tenant);
    return status.ok() ? shown(name) : failed(status);
  }
  HttpResponse credit(const std::string& name, const std::string& text) {
    Body body(text);
    int64_t pico = 0;
    if (body.fields().find("amount") == nullptr)
      body.fields().fail("amount", "missing_field", "amount is missing: write \"20.00\"");
    body.money("amount", &pico);
    if (auto error = body.error()) return *error;
    const Result<int64_t> balance = store_->add_balance(name, pico);
    return balance.ok() ? shown(name) : failed(balance.status());
  }
  HttpResponse keys(const std::string& name) {
    const Result<std::vector<ApiKey>> all = store_->keys(name);
    if (!all.ok()) return failed(all.status());
    return list(*all, [](const ApiKey& key) { return key_json(key, ""); });
  }
  HttpResponse create_key(const std::string& tenant, const std::string& text) {
    Body body(text);
    std::string name = "key";
    RateLimits limits;
    body.fields().string("name", 256, name);
    body.limits(&limits);
    if (auto error = body.error()) return *error;
    const auto made = store_->create_key(tenant, name, limits);
    return made.ok() ? answer(key_json(made->first, made->second)) : failed(made.status());
  }
  HttpResponse revoke(const std::string& id) { return done(store_->revoke_key(id)); }

  HttpResponse usage(const std::string& name, const std::string& target) {
    constexpr std::string_view kParameter = "?days=";
    int64_t days = 30;
    if (const size_t at = target.find('?'); at != std::string::npos) {
      const std::string_view query = std::string_view(target).substr(at);
      const char* const end = query.data() + query.size();
      const bool known = query.starts_with(kParameter);
      if (known) days = 0;
      const auto parsed = known ? std::from_chars(query.data() + kParameter.size(), end, days)
                                : std::from_chars_result{end, std::errc::invalid_argument};
      if (parsed.ec != std::errc() || parsed.ptr != end || days < 1 || days > kDaysMax)
        return failure(400, "invalid_value",
                       "the query must be days=N, N from 1 to " + std::to_string(kDaysMax));
    }
    const int64_t now_s = wall_clock_s();
    const Result<UsageTotal> total = store_->usage(name, now_s - days * kDayS, now_s + 60);
    return total.ok() ? answer(usage_json(*total)) : failed(total.status());
  }
  HttpResponse rows(const std::string& name) {
    const Result<std::vector<UsageRow>> all = store_->rows(name, kRowsShown);
    return all.ok() ? list(*all, row_json) : failed(all.status());
  }
  HttpResponse put_tier(const std::string& name, const std::string& text) {
    const Result<StoreSnapshot> all = store_->load();
    if (!all.ok()) return failed(all.status());
    Tier tier;
    for (const Tier& one : all->tiers)
      if (one.name == name) tier = one;
    tier.name = name;
    Body body(text);
    auto weight = static_cast<float>(tier.weight);
    body.fields().number("weight", {.min = 0.001, .max = 1000}, weight);
    if (body.fields().find("weight") != nullptr) tier.weight = weight;
    body.fields().integer("level", {-100, 100}, tier.level);
    body.fields().integer("priority_min", {-1000, 0}, tier.priority_min);
    body.fields().integer("promise_ttft_ms", {0, kDayS * 1000}, tier.promise_ttft_ms);
    body.limits(&tier.limits);
    body.price("price_input", &tier.price_input);
    body.price("price_cached", &tier.price_cached);
    body.price("price_output", &tier.price_output);
    if (auto error = body.error()) return *error;
    const Status status = store_->put_tier(tier);
    return status.ok() ? answer(tier_json(tier)) : failed(status);
  }

  const Callers callers_;
  const std::unique_ptr<TenantStore> store_;
};

}  // namespace

struct AdminServer::Parts {
  explicit Parts(const ServerOptions& options) : server(options) {}
  Server server;
  std::unique_ptr<AdminRouter> router;
  std::thread thread;
};

AdminServer::AdminServer(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

Result<std::unique_ptr<AdminServer>> AdminServer::start(const AdminOptions& options) {
  ServerOptions server;
  server.host = options.host;
  server.port = options.port;
  server.api_keys = {options.key};
  server.handle_signals = false;
  server.limits.connections_max = 64;
  server.limits.body_bytes_max = 64u << 10;
  const Status valid = validate(server);
  if (!valid.ok()) return Status(valid.code(), "admin server: " + valid.message());
  auto parts = std::make_unique<Parts>(server);
  GALLEY_ASSIGN_OR_RETURN(std::unique_ptr<TenantStore> store,
                          open_sqlite_store(options.tenants_path));
  parts->router = std::make_unique<AdminRouter>(options.key, std::move(store));
  const Status listening = parts->server.listen();
  if (!listening.ok()) return Status(listening.code(), "admin server: " + listening.message());
  parts->thread = std::thread([p = parts.get()] { p->server.run(p->router.get()); });
  return std::unique_ptr<AdminServer>(new AdminServer(std::move(parts)));
}

AdminServer::~AdminServer() {
  parts_->server.stop();
  parts_->thread.join();
}

std::string AdminServer::url() const {
  return parts_->server.url();
}

}  // namespace galley::gateway

// TenantStore in one SQLite file. Written ahead (WAL), so that readers never wait for writers: the
// server, the command line and the admin API share the file.
#include <fcntl.h>
#include <openssl/rand.h>
#include <sqlite3.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <utility>

#include "gateway/http_response.h"
#include "gateway/tenant_store.h"

namespace galley::gateway {
namespace {

constexpr int kSchema = 1;
constexpr int kApplicationId = 0x47616c79;  // "Galy"
constexpr int kBusyMs = 5000;

constexpr const char* kTables = R"(
CREATE TABLE tiers (
  name TEXT PRIMARY KEY, weight REAL NOT NULL, level INTEGER NOT NULL,
  requests_per_minute INTEGER NOT NULL, tokens_per_minute INTEGER NOT NULL,
  concurrency INTEGER NOT NULL, priority_min INTEGER NOT NULL,
  price_input INTEGER NOT NULL, price_cached INTEGER NOT NULL, price_output INTEGER NOT NULL,
  promise_ttft_ms INTEGER NOT NULL) STRICT;
CREATE TABLE tenants (
  id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE,
  tier TEXT NOT NULL REFERENCES tiers(name), currency TEXT NOT NULL, active INTEGER NOT NULL,
  prepaid INTEGER NOT NULL, balance_pico INTEGER NOT NULL) STRICT;
CREATE TABLE keys (
  id TEXT PRIMARY KEY, tenant INTEGER NOT NULL REFERENCES tenants(id), name TEXT NOT NULL,
  hint TEXT NOT NULL, digest BLOB NOT NULL UNIQUE, created_s INTEGER NOT NULL,
  revoked_s INTEGER NOT NULL, requests_per_minute INTEGER NOT NULL,
  tokens_per_minute INTEGER NOT NULL, concurrency INTEGER NOT NULL) STRICT;
CREATE INDEX keys_of_tenant ON keys(tenant);
CREATE TABLE usage (
  request TEXT PRIMARY KEY, tenant INTEGER NOT NULL REFERENCES tenants(id), key TEXT NOT NULL,
  user TEXT NOT NULL, model TEXT NOT NULL, prompt_tokens INTEGER NOT NULL,
  cached_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL, cost_pico INTEGER NOT NULL,
  at_s INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX usage_of_tenant ON usage(tenant, at_s);
)";

// What a new store begins with. Prices are zero: whoever sells sets them.
const Tier kFirstTiers[] = {
    {.name = "free", .weight = 1, .level = 0, .limits = {60, 100'000, 4}},
    {.name = "paid", .weight = 8, .level = 1, .limits = {}, .priority_min = -4},
    {.name = "batch", .weight = 0.25, .level = -1, .limits = {}},
    {.name = "internal", .weight = 4, .level = 1, .limits = {}, .priority_min = -8},
};

int64_t now_s() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

Status check_name(const std::string& what, const std::string& name, size_t bytes_max) {
  bool good = !name.empty() && name.size() <= bytes_max;
  for (const char c : name) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    good = good && (letter || c == '-' || c == '_' || c == '.' || c == '@');
  }
  if (good) return Status();
  return Status(Code::kInvalid, what + " '" + name + "': use 1 to " + std::to_string(bytes_max) +
                                    " letters, digits, and - _ . @");
}

Status check_limits(const RateLimits& limits) {
  constexpr int64_t kMax = 1'000'000'000'000;
  for (const int64_t value :
       {limits.requests_per_minute, limits.tokens_per_minute, limits.concurrency}) {
    if (value < 0 || value > kMax)
      return Status(Code::kInvalid,
                    "a limit must be from 0 (none) to 10^12, not " + std::to_string(value));
  }
  return Status();
}

// A prepared statement; reset when it goes out of scope.
class Query {
 public:
  Query(sqlite3* db, const char* sql) : db_(db) {
    failed_ = sqlite3_prepare_v2(db, sql, -1, &statement_, nullptr) != SQLITE_OK;
  }
  ~Query() { sqlite3_finalize(statement_); }
  Query(const Query&) = delete;
  Query& operator=(const Query&) = delete;

  Query& bind(int64_t value) {
    if (!failed_) sqlite3_bind_int64(statement_, ++bound_, value);
    return *this;
  }
  Query& bind(double value) {
    if (!failed_) sqlite3_bind_double(statement_, ++bound_, value);
    return *this;
  }
  Query& bind(const std::string& value) {
    if (!failed_)
      sqlite3_bind_text(statement_, ++bound_, value.data(), static_cast<int>(value.size()),
                        SQLITE_TRANSIENT);
    return *this;
  }
  Query& bind(const KeyDigest& value) {
    if (!failed_)
      sqlite3_bind_blob(statement_, ++bound_, value.data(), static_cast<int>(value.size()),
                        SQLITE_TRANSIENT);
    return *this;
  }
  // True: there is a row.
  bool step() {
    if (failed_) return false;
    const int result = sqlite3_step(statement_);
    failed_ = result != SQLITE_ROW && result != SQLITE_DONE;
    return result == SQLITE_ROW;
  }
  void again() {
    if (failed_) return;
    sqlite3_reset(statement_);
    bound_ = 0;
  }
  // Runs a statement without rows.
  Status run() {
    step();
    return status();
  }
  Status status() const {
    if (!failed_) return Status();
    const int code = sqlite3_errcode(db_);
    return Status(
        code == SQLITE_NOTADB || code == SQLITE_CORRUPT ? Code::kCorrupt : Code::kUnavailable,
        std::string("the tenant store: ") + sqlite3_errmsg(db_));
  }
  bool constraint() const { return failed_ && sqlite3_errcode(db_) == SQLITE_CONSTRAINT; }

  int64_t integer(int column) { return sqlite3_column_int64(statement_, column); }
  int32_t small(int column) { return sqlite3_column_int(statement_, column); }
  double real(int column) { return sqlite3_column_double(statement_, column); }
  std::string text(int column) {
    const auto* begin = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
    const int bytes = sqlite3_column_bytes(statement_, column);
    return begin == nullptr ? std::string() : std::string(begin, static_cast<size_t>(bytes));
  }
  KeyDigest digest(int column) {
    KeyDigest out{};
    const auto* begin = static_cast<const unsigned char*>(sqlite3_column_blob(statement_, column));
    if (sqlite3_column_bytes(statement_, column) == static_cast<int>(out.size()))
      std::copy(begin, begin + out.size(), out.begin());
    return out;
  }

 private:
  sqlite3* const db_;
  sqlite3_stmt* statement_ = nullptr;
  int bound_ = 0;
  bool failed_ = false;
};

RateLimits limits_at(Query& query, int column) {
  return {query.integer(column), query.integer(column + 1), query.integer(column + 2)};
}

constexpr const char* kTenantColumns =
    "SELECT id, name, tier, currency, active, prepaid, balance_pico FROM tenants";
constexpr const char* kKeyColumns =
    "SELECT keys.id, keys.tenant, keys.name, hint, digest, created_s, revoked_s, "
    "requests_per_minute, tokens_per_minute, concurrency FROM keys";

Tenant tenant_at(Query& query) {
  return {query.integer(0),      query.text(1),         query.text(2),   query.text(3),
          query.integer(4) != 0, query.integer(5) != 0, query.integer(6)};
}

ApiKey key_at(Query& query) {
  return {query.text(0),   query.integer(1), query.text(2),    query.text(3),
          query.digest(4), query.integer(5), query.integer(6), limits_at(query, 7)};
}

std::string hex(const unsigned char* bytes, size_t count) {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string out;
  for (size_t i = 0; i < count; ++i) {
    out += kHex[bytes[i] >> 4];
    out += kHex[bytes[i] & 15];
  }
  return out;
}

class SqliteStore : public TenantStore {
 public:
  SqliteStore(sqlite3* db, const StoreLimits& limits) : db_(db), limits_(limits) {}
  ~SqliteStore() override { sqlite3_close_v2(db_); }

  Status prepare() {
    for (const char* sql :
         {"PRAGMA journal_mode = WAL", "PRAGMA synchronous = NORMAL", "PRAGMA foreign_keys = ON"})
      GALLEY_RETURN_IF_ERROR(Query(db_, sql).run());
    GALLEY_RETURN_IF_ERROR(begin());
    Query version(db_, "PRAGMA user_version");
    Query application(db_, "PRAGMA application_id");
    Query tables(db_, "SELECT count(*) FROM sqlite_master");
    version.step();
    application.step();
    tables.step();
    GALLEY_RETURN_IF_ERROR(tables.status());
    const bool fresh = tables.integer(0) == 0;
    if (!fresh && application.integer(0) != kApplicationId)
      return end(Status(Code::kInvalid, "the file is not a tenant store of Galley"));
    if (!fresh && version.integer(0) != kSchema)
      return end(Status(Code::kInvalid, "the tenant store has schema " +
                                            std::to_string(version.integer(0)) +
                                            ", this program knows " + std::to_string(kSchema)));
    version.again();
    application.again();
    tables.again();
    if (!fresh) return end(Status());
    char* message = nullptr;
    const std::string sql = std::string(kTables) +
                            "PRAGMA user_version = " + std::to_string(kSchema) +
                            "; PRAGMA application_id = " + std::to_string(kApplicationId) + ";";
    if (sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, &message) != SQLITE_OK) {
      const std::string why = message == nullptr ? "?" : message;
      sqlite3_free(message);
      return end(Status(Code::kUnavailable, "the tenant store cannot be made: " + why));
    }
    for (const Tier& tier : kFirstTiers) {
      if (const Status status = put_tier(tier); !status.ok()) return end(status);
    }
    return end(Status());
  }

  Result<int64_t> version() override {
    Query query(db_, "PRAGMA data_version");
    query.step();
    GALLEY_RETURN_IF_ERROR(query.status());
    return query.integer(0);
  }

  Result<StoreSnapshot> load() override {
    StoreSnapshot out;
    GALLEY_RETURN_IF_ERROR(begin("BEGIN"));
    Query tiers(db_,
                "SELECT name, weight, level, requests_per_minute, tokens_per_minute, concurrency, "
                "priority_min, price_input, price_cached, price_output, promise_ttft_ms FROM "
                "tiers ORDER BY level DESC, name");
    while (tiers.step()) {
      Tier tier;
      tier.name = tiers.text(0);
      tier.weight = tiers.real(1);
      tier.level = tiers.small(2);
      tier.limits = limits_at(tiers, 3);
      tier.priority_min = tiers.small(6);
      tier.price_input = tiers.integer(7);
      tier.price_cached = tiers.integer(8);
      tier.price_output = tiers.integer(9);
      tier.promise_ttft_ms = tiers.integer(10);
      out.tiers.push_back(std::move(tier));
    }
    Query tenants(db_, (std::string(kTenantColumns) + " ORDER BY id").c_str());
    while (tenants.step()) out.tenants.push_back(tenant_at(tenants));
    Query keys(db_, (std::string(kKeyColumns) + " WHERE revoked_s = 0").c_str());
    while (keys.step()) out.keys.push_back(key_at(keys));
    for (const Query* query : {&tiers, &tenants, &keys})
      if (!query->status().ok()) return end(query->status());
    tiers.again();
    tenants.again();
    keys.again();
    GALLEY_RETURN_IF_ERROR(end(Status()));
    return out;
  }

  Status put_tier(const Tier& tier) override {
    GALLEY_RETURN_IF_ERROR(check_name("tier", tier.name, limits_.name_bytes_max));
    GALLEY_RETURN_IF_ERROR(check_limits(tier.limits));
    if (!(tier.weight >= 0.001 && tier.weight <= 1000))
      return Status(Code::kInvalid, "weight must be from 0.001 to 1000");
    if (tier.level < -100 || tier.level > 100)
      return Status(Code::kInvalid, "level must be from -100 to 100");
    if (tier.priority_min > 0 || tier.priority_min < -1000)
      return Status(Code::kInvalid, "priority-min must be from -1000 to 0");
    for (const int64_t price : {tier.price_input, tier.price_cached, tier.price_output})
      if (price < 0 || price > 10'000'000'000)
        return Status(Code::kInvalid, "a price must be from 0 to 10,000 units per million tokens");
    if (tier.promise_ttft_ms < 0) return Status(Code::kInvalid, "a promise is not negative");
    Query count(db_, "SELECT count(*) FROM tiers WHERE name != ?");
    count.bind(tier.name).step();
    if (count.integer(0) >= static_cast<int64_t>(limits_.tiers_max))
      return Status(Code::kTooLarge, "there are " + std::to_string(limits_.tiers_max) +
                                         " tiers already; remove one");
    Query put(db_, "INSERT OR REPLACE INTO tiers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    // Replacing would offend tenants that refer to it: update instead.
    Query update(db_,
                 "UPDATE tiers SET weight = ?2, level = ?3, requests_per_minute = ?4, "
                 "tokens_per_minute = ?5, concurrency = ?6, priority_min = ?7, price_input = ?8, "
                 "price_cached = ?9, price_output = ?10, promise_ttft_ms = ?11 WHERE name = ?1");
    for (Query* query : {&update, &put}) {
      query->bind(tier.name).bind(tier.weight).bind(int64_t{tier.level});
      query->bind(tier.limits.requests_per_minute).bind(tier.limits.tokens_per_minute);
      query->bind(tier.limits.concurrency).bind(int64_t{tier.priority_min});
      query->bind(tier.price_input).bind(tier.price_cached).bind(tier.price_output);
      query->bind(tier.promise_ttft_ms);
    }
    GALLEY_RETURN_IF_ERROR(update.run());
    if (sqlite3_changes(db_) > 0) return Status();
    return put.run();
  }

  Status remove_tier(const std::string& name) override {
    Query query(db_, "DELETE FROM tiers WHERE name = ?");
    const Status status = query.bind(name).run();
    if (query.constraint())
      return Status(Code::kInvalid, "tier '" + name + "' has tenants; give them another first");
    GALLEY_RETURN_IF_ERROR(status);
    return changed("tier", name);
  }

  Result<Tenant> create_tenant(const Tenant& tenant) override {
    GALLEY_RETURN_IF_ERROR(check_name("tenant", tenant.name, limits_.name_bytes_max));
    if (tenant.currency != "USD" && tenant.currency != "CNY")
      return Status(Code::kInvalid, "currency must be USD or CNY, not '" + tenant.currency + "'");
    Query count(db_, "SELECT count(*) FROM tenants");
    count.step();
    if (count.integer(0) >= static_cast<int64_t>(limits_.tenants_max))
      return Status(Code::kTooLarge,
                    "there are " + std::to_string(limits_.tenants_max) + " tenants already");
    GALLEY_RETURN_IF_ERROR(check_tier(tenant.tier));
    Query query(db_,
                "INSERT INTO tenants (name, tier, currency, active, prepaid, balance_pico) VALUES "
                "(?, ?, ?, ?, ?, ?)");
    query.bind(tenant.name).bind(tenant.tier).bind(tenant.currency);
    query.bind(int64_t{tenant.active}).bind(int64_t{tenant.prepaid}).bind(tenant.balance_pico);
    const Status status = query.run();
    if (query.constraint())
      return Status(Code::kInvalid, "tenant '" + tenant.name + "' exists already");
    GALLEY_RETURN_IF_ERROR(status);
    return find_tenant(tenant.name);
  }

  Status update_tenant(const Tenant& tenant) override {
    GALLEY_RETURN_IF_ERROR(check_tier(tenant.tier));
    Query query(db_, "UPDATE tenants SET tier = ?, active = ?, prepaid = ? WHERE name = ?");
    query.bind(tenant.tier).bind(int64_t{tenant.active}).bind(int64_t{tenant.prepaid});
    GALLEY_RETURN_IF_ERROR(query.bind(tenant.name).run());
    return changed("tenant", tenant.name);
  }

  Result<Tenant> find_tenant(const std::string& name) override {
    Query query(db_, (std::string(kTenantColumns) + " WHERE name = ?").c_str());
    if (query.bind(name).step()) return tenant_at(query);
    GALLEY_RETURN_IF_ERROR(query.status());
    return Status(Code::kNotFound, "there is no tenant '" + name + "'");
  }

  Result<int64_t> add_balance(const std::string& tenant, int64_t pico) override {
    constexpr int64_t kMax = kBalanceUnitsMax * kPicoPerUnit;
    if (pico > kMax || pico < -kMax) return Status(Code::kInvalid, "the amount is too large");
    Query query(db_,
                "UPDATE tenants SET balance_pico = balance_pico + ?1 WHERE name = ?2 AND "
                "balance_pico + ?1 BETWEEN ?3 AND ?4 RETURNING balance_pico");
    const bool found = query.bind(pico).bind(tenant).bind(-kMax).bind(kMax).step();
    const int64_t balance = found ? query.integer(0) : 0;
    query.step();
    GALLEY_RETURN_IF_ERROR(query.status());
    if (found) return balance;
    GALLEY_RETURN_IF_ERROR(find_tenant(tenant).status());
    return Status(Code::kInvalid, "the balance would exceed " + std::to_string(kBalanceUnitsMax));
  }

  Result<std::pair<ApiKey, std::string>> create_key(const std::string& tenant,
                                                    const std::string& name,
                                                    const RateLimits& limits) override {
    GALLEY_ASSIGN_OR_RETURN(const Tenant owner, find_tenant(tenant));
    GALLEY_RETURN_IF_ERROR(check_name("key", name, limits_.name_bytes_max));
    GALLEY_RETURN_IF_ERROR(check_limits(limits));
    Query count(db_, "SELECT count(*) FROM keys");
    count.step();
    if (count.integer(0) >= static_cast<int64_t>(limits_.keys_max))
      return Status(Code::kTooLarge, "there are " + std::to_string(limits_.keys_max) + " keys");
    std::array<unsigned char, 40> draw;
    if (RAND_bytes(draw.data(), static_cast<int>(draw.size())) != 1)
      return Status(Code::kUnavailable, "the system has no random numbers");
    ApiKey key;
    const std::string secret = "sk-" + hex(draw.data(), 32);
    key.id = "k" + hex(draw.data() + 32, 8);
    key.tenant = owner.id;
    key.name = name;
    key.hint = secret.substr(0, 9);
    key.digest = digest_of_key(secret);
    key.created_s = now_s();
    key.limits = limits;
    Query query(db_, "INSERT INTO keys VALUES (?, ?, ?, ?, ?, ?, 0, ?, ?, ?)");
    query.bind(key.id).bind(key.tenant).bind(name).bind(key.hint).bind(key.digest);
    query.bind(key.created_s).bind(limits.requests_per_minute).bind(limits.tokens_per_minute);
    GALLEY_RETURN_IF_ERROR(query.bind(limits.concurrency).run());
    return std::pair(key, secret);
  }

  Status revoke_key(const std::string& id) override {
    Query query(db_, "UPDATE keys SET revoked_s = ? WHERE id = ? AND revoked_s = 0");
    GALLEY_RETURN_IF_ERROR(query.bind(now_s()).bind(id).run());
    return changed("valid key", id);
  }

  Result<std::vector<ApiKey>> keys(const std::string& tenant) override {
    std::vector<ApiKey> out;
    GALLEY_ASSIGN_OR_RETURN(const Tenant owner, find_tenant(tenant));
    Query query(db_, (std::string(kKeyColumns) + " WHERE tenant = ? ORDER BY created_s").c_str());
    query.bind(owner.id);
    while (query.step()) out.push_back(key_at(query));
    GALLEY_RETURN_IF_ERROR(query.status());
    return out;
  }

  Status book(std::span<const UsageRow> rows) override {
    if (rows.empty()) return Status();
    GALLEY_RETURN_IF_ERROR(begin());
    Query insert(db_, "INSERT OR IGNORE INTO usage VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    Query charge(db_, "UPDATE tenants SET balance_pico = balance_pico - ? WHERE id = ?");
    for (const UsageRow& row : rows) {
      insert.bind(row.request).bind(row.tenant).bind(row.key).bind(row.user).bind(row.model);
      insert.bind(row.prompt_tokens).bind(row.cached_tokens).bind(row.output_tokens);
      if (const Status status = insert.bind(row.cost_pico).bind(row.at_s).run(); !status.ok())
        return end(status);
      insert.again();
      if (sqlite3_changes(db_) == 0 || row.cost_pico == 0) continue;
      if (const Status status = charge.bind(row.cost_pico).bind(row.tenant).run(); !status.ok())
        return end(status);
      charge.again();
    }
    return end(Status());
  }

  Result<UsageTotal> usage(const std::string& tenant, int64_t from_s, int64_t to_s) override {
    GALLEY_ASSIGN_OR_RETURN(const Tenant owner, find_tenant(tenant));
    Query query(db_,
                "SELECT count(*), total(prompt_tokens), total(cached_tokens), "
                "total(output_tokens), coalesce(sum(cost_pico), 0) FROM usage WHERE tenant = ? "
                "AND at_s >= ? AND at_s < ?");
    query.bind(owner.id).bind(from_s).bind(to_s).step();
    GALLEY_RETURN_IF_ERROR(query.status());
    return UsageTotal{query.integer(0), query.integer(1), query.integer(2), query.integer(3),
                      query.integer(4)};
  }

  Result<std::vector<UsageRow>> rows(const std::string& tenant, int64_t max) override {
    GALLEY_ASSIGN_OR_RETURN(const Tenant owner, find_tenant(tenant));
    Query query(db_, "SELECT * FROM usage WHERE tenant = ? ORDER BY at_s DESC, request LIMIT ?");
    query.bind(owner.id).bind(max);
    std::vector<UsageRow> out;
    while (query.step()) {
      out.push_back({query.text(0), query.integer(1), query.text(2), query.text(3), query.text(4),
                     query.integer(5), query.integer(6), query.integer(7), query.integer(8),
                     query.integer(9)});
    }
    GALLEY_RETURN_IF_ERROR(query.status());
    return out;
  }

 private:
  Status begin(const char* sql = "BEGIN IMMEDIATE") { return Query(db_, sql).run(); }
  // Commits when `status` is ok, else takes everything back and returns it.
  Status end(const Status& status) {
    const Status ended = Query(db_, status.ok() ? "COMMIT" : "ROLLBACK").run();
    if (status.ok() && !ended.ok()) (void)Query(db_, "ROLLBACK").run();
    return status.ok() ? ended : status;
  }
  Status check_tier(const std::string& name) {
    Query query(db_, "SELECT 1 FROM tiers WHERE name = ?");
    if (query.bind(name).step()) return Status();
    GALLEY_RETURN_IF_ERROR(query.status());
    return Status(Code::kNotFound,
                  "there is no tier '" + name + "'; `galley tenant tiers` lists them");
  }
  Status changed(const std::string& what, const std::string& name) {
    if (sqlite3_changes(db_) > 0) return Status();
    return Status(Code::kNotFound, "there is no " + what + " '" + name + "'");
  }

  sqlite3* const db_;
  const StoreLimits limits_;
};

}  // namespace

Result<std::unique_ptr<TenantStore>> open_sqlite_store(const std::string& path,
                                                       const StoreLimits& limits) {
  // Made by us, so that nobody but the owner may read it.
  const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (file < 0)
    return Status(Code::kUnavailable, "'" + path +
                                          "' cannot be opened for writing; check folder "
                                          "and permissions");
  ::close(file);
  sqlite3* db = nullptr;
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_FULLMUTEX;
  if (sqlite3_open_v2(path.c_str(), &db, flags, nullptr) != SQLITE_OK) {
    const std::string why = db == nullptr ? "no memory" : sqlite3_errmsg(db);
    sqlite3_close_v2(db);
    return Status(Code::kUnavailable, "'" + path + "': " + why);
  }
  sqlite3_busy_timeout(db, kBusyMs);
  auto store = std::make_unique<SqliteStore>(db, limits);
  if (const Status status = store->prepare(); !status.ok())
    return Status(status.code(), "'" + path + "': " + status.message());
  return std::unique_ptr<TenantStore>(std::move(store));
}

}  // namespace galley::gateway

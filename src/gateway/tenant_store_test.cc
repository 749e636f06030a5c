// The contract of TenantStore, and the journal that makes its books exact.
#include "gateway/tenant_store.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>

#include "gateway/testing/seed.h"
#include "gateway/usage_journal.h"

namespace galley::gateway {
namespace {

class StoreTest : public ::testing::Test {
 protected:
  StoreTest() {
    std::string pattern = ::testing::TempDir() + "galley-store-XXXXXX";
    folder_ = ::mkdtemp(pattern.data());
    store_ = open();
  }
  ~StoreTest() override {
    store_.reset();
    std::filesystem::remove_all(folder_);
  }
  std::string path() const { return folder_ + "/tenants.db"; }
  std::unique_ptr<TenantStore> open() {
    Result<std::unique_ptr<TenantStore>> store = open_sqlite_store(path());
    EXPECT_TRUE(store.ok()) << store.message();
    return std::move(store).value();
  }
  Tenant add(const std::string& name, const std::string& tier = "free") {
    const Result<Tenant> made = store_->create_tenant({.name = name, .tier = tier});
    EXPECT_TRUE(made.ok()) << made.message();
    return *made;
  }
  UsageRow row(const std::string& request, int64_t tenant, int64_t cost) {
    return {request, tenant, "k1", "u", "m", 10, 2, 5, cost, 1000};
  }

  std::string folder_;
  std::unique_ptr<TenantStore> store_;
};

TEST_F(StoreTest, ANewStoreHasTheFirstTiers) {
  const StoreSnapshot snapshot = *store_->load();
  ASSERT_EQ(snapshot.tiers.size(), 4u);
  EXPECT_EQ(snapshot.tiers[0].level, 1);
  EXPECT_EQ(snapshot.tiers[3].name, "batch");
  EXPECT_TRUE(snapshot.tenants.empty());
}

TEST_F(StoreTest, TenantsAndKeysLast) {
  const Tenant made = add("acme", "paid");
  const auto key = store_->create_key("acme", "laptop", {.requests_per_minute = 5});
  ASSERT_TRUE(key.ok()) << key.message();
  EXPECT_EQ(key->second.size(), 67u);
  store_ = open();
  const StoreSnapshot snapshot = *store_->load();
  ASSERT_EQ(snapshot.tenants.size(), 1u);
  EXPECT_EQ(snapshot.tenants[0].tier, "paid");
  ASSERT_EQ(snapshot.keys.size(), 1u);
  EXPECT_EQ(snapshot.keys[0].tenant, made.id);
  EXPECT_EQ(snapshot.keys[0].digest, digest_of_key(key->second));
  EXPECT_EQ(snapshot.keys[0].limits.requests_per_minute, 5);
  std::ifstream file(path(), std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(file)), {});
  EXPECT_EQ(bytes.find(key->second), std::string::npos);  // The secret is nowhere.
}

TEST_F(StoreTest, ARevokedKeyIsNotLoadedAndOthersSeeTheChange) {
  add("acme");
  const auto key = store_->create_key("acme", "k", {});
  const auto reader = open();
  const int64_t before = *reader->version();
  EXPECT_EQ(*reader->version(), before);
  ASSERT_TRUE(store_->revoke_key(key->first.id).ok());
  EXPECT_NE(*reader->version(), before);
  EXPECT_TRUE(reader->load()->keys.empty());
  EXPECT_EQ(store_->revoke_key(key->first.id).code(), Code::kNotFound);
  EXPECT_GT((*store_->keys("acme"))[0].revoked_s, 0);
}

TEST_F(StoreTest, WhatIsWrongIsNamed) {
  EXPECT_EQ(store_->create_tenant({.name = "a b", .tier = "free"}).code(), Code::kInvalid);
  EXPECT_EQ(store_->create_tenant({.name = "a", .tier = "gold"}).code(), Code::kNotFound);
  add("a");
  EXPECT_EQ(store_->create_tenant({.name = "a", .tier = "free"}).code(), Code::kInvalid);
  EXPECT_EQ(store_->create_key("b", "k", {}).code(), Code::kNotFound);
  EXPECT_EQ(store_->remove_tier("free").code(), Code::kInvalid);
  EXPECT_TRUE(store_->remove_tier("batch").ok());
  EXPECT_EQ(store_->put_tier({.name = "x", .weight = 0}).code(), Code::kInvalid);
  std::ofstream(folder_ + "/other") << "not a database, but long enough to look like a file";
  EXPECT_FALSE(open_sqlite_store(folder_ + "/other").ok());
  EXPECT_EQ(open_sqlite_store("/nonexistent/x").code(), Code::kUnavailable);
}

TEST_F(StoreTest, ATierWithTenantsCanBeChanged) {
  add("a", "paid");
  ASSERT_TRUE(store_->put_tier({.name = "paid", .weight = 3, .price_output = 2'000'000}).ok());
  const StoreSnapshot snapshot = *store_->load();
  for (const Tier& tier : snapshot.tiers) {
    EXPECT_EQ(tier.weight == 3, tier.name == "paid");
  }
}

TEST_F(StoreTest, ARowIsBookedOnce) {
  const Tenant a = add("a");
  ASSERT_TRUE(store_->add_balance("a", 1000).ok());
  const std::vector<UsageRow> rows = {row("r1", a.id, 100), row("r2", a.id, 50),
                                      row("r1", a.id, 100)};
  ASSERT_TRUE(store_->book(rows).ok());
  ASSERT_TRUE(store_->book(rows).ok());
  EXPECT_EQ(store_->find_tenant("a")->balance_pico, 850);
  const UsageTotal total = *store_->usage("a", 0, 2000);
  EXPECT_EQ(total.requests, 2);
  EXPECT_EQ(total.output_tokens, 10);
  EXPECT_EQ(total.cost_pico, 150);
  EXPECT_EQ(store_->usage("a", 0, 1000)->requests, 0);
}

TEST_F(StoreTest, ABatchIsBookedWholeOrNotAtAll) {
  const Tenant a = add("a");
  const std::vector<UsageRow> rows = {row("r1", a.id, 100), row("r2", 999, 50)};
  EXPECT_FALSE(store_->book(rows).ok());  // There is no tenant 999.
  EXPECT_EQ(store_->usage("a", 0, 2000)->requests, 0);
  EXPECT_EQ(store_->find_tenant("a")->balance_pico, 0);
}

TEST(Money, IsExact) {
  EXPECT_EQ(*parse_money("12.5"), 12'500'000'000'000);
  EXPECT_EQ(*parse_money("-0.000000000001"), -1);
  EXPECT_EQ(format_money(-1), "-0.000000000001");
  EXPECT_EQ(format_money(12'500'000'000'000), "12.50");
  for (const char* bad : {"", "1e3", ".5", "1.0000000000001", "12345678", "1,5", "+1"})
    EXPECT_FALSE(parse_money(bad).ok()) << bad;
  // 0.27 units per million: 1000 tokens cost 270 micro-units.
  EXPECT_EQ(cost_pico({.price_input = 270'000}, 1000, 0, 0), 270'000'000);
  EXPECT_EQ(cost_pico({.price_input = 100, .price_cached = 10, .price_output = 1}, 10, 4, 3), 643);
}

TEST_F(StoreTest, TheJournalBooksWhatADeadProcessDelivered) {
  const Tenant a = add("a");
  const Tier tier{.price_input = 3, .price_output = 7};
  {
    auto journal = std::move(UsageJournal::open(path(), store_.get())).value();
    UsageRow one{.request = "r1", .tenant = a.id, .key = "", .user = "a b\n", .model = "m"};
    const uint64_t first = *journal->begin(one, tier);
    one.request = "r2";
    const uint64_t second = *journal->begin(one, tier);
    ASSERT_TRUE(journal->delivered(first, 10, 0, 1).ok());
    ASSERT_TRUE(journal->delivered(first, 10, 0, 2).ok());
    ASSERT_TRUE(journal->delivered(second, 10, 0, 9).ok());
    ASSERT_TRUE(store_->book(std::vector{journal->row(second)}).ok());
    // Dies before booked(second).
  }
  const auto journal = std::move(UsageJournal::open(path(), store_.get())).value();
  const UsageTotal total = *store_->usage("a", 0, 2000);
  EXPECT_EQ(total.requests, 2);
  EXPECT_EQ(total.output_tokens, 11);
  EXPECT_EQ(total.cost_pico, 20 * 3 + 11 * 7);
  EXPECT_EQ((*store_->rows("a", 10))[0].user, "a b\n");
  EXPECT_EQ(journal->bytes(), 0u);
}

TEST_F(StoreTest, ATornJournalLosesItsLastLineOnly) {
  const std::string whole = "o 1 7231 1 6b 1 1 1 5 - 6d\nt 1 4 0 2\n";
  EXPECT_EQ(UsageJournal::replay(whole + "t 1 4 0 3")[0].output_tokens, 2);
  EXPECT_EQ(UsageJournal::replay(whole + "t 1 4 x 3\nt 1 4 0 4\n")[0].output_tokens, 2);
  EXPECT_TRUE(UsageJournal::replay(whole + "d 1\n").empty());
  EXPECT_TRUE(UsageJournal::replay("t 1 4 0 2\n").empty());
  for (size_t cut = 0; cut < whole.size(); ++cut)
    EXPECT_TRUE(UsageJournal::replay(whole.substr(0, cut)).empty());
}

TEST_F(StoreTest, TwoServersHaveJournalsOfTheirOwn) {
  const auto first = std::move(UsageJournal::open(path(), store_.get())).value();
  const auto second = std::move(UsageJournal::open(path(), store_.get())).value();
  EXPECT_TRUE(second->begin({.request = "x"}, {}).ok());
  EXPECT_EQ(first->bytes(), 0u);
}

// A process serves, books now and then, rewrites its journal, and is killed at a random moment,
// again and again. What it said it delivered (in shared memory, after the journal took it) is what
// is billed; the one delivery under way at the kill may be billed too.
TEST_F(StoreTest, KillsNeitherLoseNorBillTwice) {
  const Tenant a = add("a");
  const Tier tier{.price_input = 1, .price_output = 1};
  ASSERT_TRUE(store_->add_balance("a", kPicoPerUnit).ok());
  int64_t expected_low = 0, expected_high = 0;
  for (uint64_t round = 0; round < 12; ++round) {
    const uint64_t seed = testing::seed_of(round);
    SCOPED_TRACE("seed " + std::to_string(seed));
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    store_.reset();
    const pid_t child = ::fork();
    if (child == 0) {
      auto store = std::move(open_sqlite_store(path())).value();
      auto journal = std::move(UsageJournal::open(path(), store.get())).value();
      std::mt19937_64 random(seed);
      for (uint64_t i = 0;; ++i) {
        UsageRow row{.request = std::to_string(seed) + "-" + std::to_string(i), .tenant = a.id};
        const uint64_t sequence = *journal->begin(row, tier);
        const auto tokens = static_cast<int64_t>(random() % 20);
        for (int64_t t = 1; t <= tokens; ++t) {
          if (!journal->delivered(sequence, 1, 0, t).ok()) std::abort();
          // 2 for the first, the prompt's token too.
          const char said = t == 1 ? 2 : 1;
          if (::write(ends[1], &said, 1) != 1) std::abort();
        }
        if (random() % 3 > 0) continue;  // Cut off; booked by the next process.
        if (!store->book(std::vector{journal->row(sequence)}).ok()) std::abort();
        if (!journal->booked(sequence).ok()) std::abort();
      }
    }
    ::close(ends[1]);
    ::usleep(static_cast<useconds_t>(3000 + 2711 * (seed % 7)));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    char said[4096];
    for (ssize_t got = 0; (got = ::read(ends[0], said, sizeof(said))) > 0;)
      for (ssize_t i = 0; i < got; ++i) expected_low += said[i];
    expected_high = expected_low + 2;
    ::close(ends[0]);
    store_ = open();
    const auto journal = std::move(UsageJournal::open(path(), store_.get())).value();
    const UsageTotal total = *store_->usage("a", 0, 1);
    ASSERT_GE(total.cost_pico, expected_low);
    ASSERT_LE(total.cost_pico, expected_high);
    ASSERT_EQ(store_->find_tenant("a")->balance_pico, kPicoPerUnit - total.cost_pico);
    expected_low = total.cost_pico;  // The delivery under way is known now.
  }
  EXPECT_GT(expected_low, 100);
}

}  // namespace
}  // namespace galley::gateway

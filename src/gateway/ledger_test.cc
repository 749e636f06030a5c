// The ledger under aborts at any moment: what was delivered is what is booked, to the token.
// GALLEY_LEDGER_ABORTS=100000 for the long form.
#include "gateway/ledger.h"

#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "gateway/testing/seed.h"

namespace galley::gateway {
namespace {

int64_t aborts() {
  const char* given = std::getenv("GALLEY_LEDGER_ABORTS");
  return given != nullptr ? std::strtoll(given, nullptr, 10) : 3000;
}

TEST(Ledger, RandomAbortsAreBilledToTheToken) {
  const uint64_t seed = testing::seed_of(0);
  SCOPED_TRACE("GALLEY_SEED=" + std::to_string(seed));
  std::mt19937_64 random(seed);
  std::string pattern = ::testing::TempDir() + "galley-ledger-XXXXXX";
  const std::string folder = ::mkdtemp(pattern.data());
  const std::string path = folder + "/tenants.db";
  auto store = std::move(open_sqlite_store(path)).value();
  const Tenant tenant = *store->create_tenant({.name = "acme", .tier = "paid"});
  const Tier prices{.name = "paid", .price_input = 3, .price_cached = 1, .price_output = 7};
  int64_t prompt = 0, cached = 0, output = 0, requests = 0;
  {
    boost::asio::io_context loop;
    Callers callers;
    auto ledger = std::move(Ledger::open(path, {}, loop.get_executor(), &callers)).value();
    struct Live {
      uint64_t sequence;
      int64_t prompt, cached, output;
    };
    std::vector<Live> live;
    for (int64_t begun = 0; begun < aborts() || !live.empty();) {
      if (begun < aborts() && (live.empty() || random() % 4 == 0)) {
        const UsageRow row{.request = "r" + std::to_string(begun++), .tenant = tenant.id};
        const auto length = static_cast<int64_t>(1 + random() % 200);
        live.push_back({*ledger->begin(row, prices), length, length / 3, 0});
        continue;
      }
      const size_t at = random() % live.size();
      Live& one = live[at];
      if (random() % 3 > 0) {
        one.output += static_cast<int64_t>(1 + random() % 2);
        ASSERT_TRUE(ledger->delivered(one.sequence, one.prompt, one.cached, one.output).ok());
        continue;
      }
      if (one.output > 0) {  // Who left before the first token owes nothing.
        ++requests;
        prompt += one.prompt;
        cached += one.cached;
        output += one.output;
      }
      ledger->end(one.sequence);
      live.erase(live.begin() + static_cast<std::ptrdiff_t>(at));
      loop.poll();
      loop.restart();
    }
  }
  const UsageTotal total = *store->usage("acme", 0, 1);
  EXPECT_GT(requests, 0);
  EXPECT_EQ(total.requests, requests);
  EXPECT_EQ(total.prompt_tokens, prompt);
  EXPECT_EQ(total.cached_tokens, cached);
  EXPECT_EQ(total.output_tokens, output);
  const int64_t cost = 3 * (prompt - cached) + cached + 7 * output;
  EXPECT_EQ(total.cost_pico, cost);
  EXPECT_EQ(store->find_tenant("acme")->balance_pico, -cost);
  store.reset();
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace galley::gateway

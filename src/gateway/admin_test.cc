// The admin API over a real socket and a real store.
#include "gateway/admin.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "gateway/tenant_store.h"
#include "gateway/testing/client.h"

namespace galley::gateway {
namespace {

namespace json = boost::json;

class AdminTest : public ::testing::Test {
 protected:
  AdminTest() {
    std::string pattern = ::testing::TempDir() + "galley-admin-XXXXXX";
    folder_ = ::mkdtemp(pattern.data());
    auto started = AdminServer::start({.key = "secret", .tenants_path = folder_ + "/t.db"});
    EXPECT_TRUE(started.ok()) << started.message();
    admin_ = std::move(started).value();
    const std::string url = admin_->url();
    port_ = static_cast<uint16_t>(std::stoi(url.substr(url.rfind(':') + 1)));
  }
  ~AdminTest() override {
    admin_.reset();
    std::filesystem::remove_all(folder_);
  }

  // Status and body.
  std::pair<int, json::value> ask(const std::string& method, const std::string& path,
                                  const std::string& body = "", const std::string& key = "secret") {
    testing::Client client(port_);
    client.send(method + " " + path + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + key +
                "\r\nContent-Type: application/json\r\nContent-Length: " +
                std::to_string(body.size()) + "\r\n\r\n" + body);
    const std::string response = client.read_response();
    const size_t at = response.find("\r\n\r\n");
    boost::system::error_code ignored;
    return {std::stoi(response.substr(9, 3)), json::parse(response.substr(at + 4), ignored)};
  }

  std::string folder_;
  std::unique_ptr<AdminServer> admin_;
  uint16_t port_ = 0;
};

TEST_F(AdminTest, WithoutItsKeyNothingIsSaid) {
  for (const char* path : {"/admin/tenants", "/admin/nothing", "/"})
    EXPECT_EQ(ask("GET", path, "", "guess").first, 401);
  EXPECT_EQ(ask("GET", "/admin/tenants").first, 200);
}

TEST_F(AdminTest, TenantsKeysAndMoney) {
  auto [status, made] = ask("POST", "/admin/tenants",
                            R"({"name": "acme", "tier": "paid", "balance": "5", "prepaid": true})");
  ASSERT_EQ(status, 200) << json::serialize(made);
  EXPECT_EQ(made.at("balance"), "5.00");
  EXPECT_EQ(ask("POST", "/admin/tenants/acme/credit", R"({"amount": "-1.5"})").second.at("balance"),
            "3.50");
  EXPECT_EQ(
      ask("POST", "/admin/tenants/acme", R"({"tier": "batch", "active": false})").second.at("tier"),
      "batch");
  const json::value key =
      ask("POST", "/admin/tenants/acme/keys", R"({"name": "k", "requests_per_minute": 5})").second;
  EXPECT_EQ(key.at("limits").at("requests_per_minute"), 5);
  ASSERT_TRUE(key.at("key").is_string());
  const json::value keys = ask("GET", "/admin/tenants/acme/keys").second;
  EXPECT_EQ(keys.at("data").as_array().size(), 1u);
  EXPECT_FALSE(keys.at("data").at(0).as_object().contains("key"));  // Shown once.
  const std::string id(key.at("id").as_string());
  EXPECT_EQ(ask("DELETE", "/admin/keys/" + id).first, 200);
  EXPECT_TRUE(ask("GET", "/admin/tenants/acme/keys")
                  .second.at("data")
                  .at(0)
                  .as_object()
                  .contains("revoked"));
  EXPECT_EQ(ask("DELETE", "/admin/keys/k0000").first, 404);
}

TEST_F(AdminTest, TiersAreData) {
  const json::value tier =
      ask("POST", "/admin/tiers/gold", R"({"weight": 16, "price_output": "1.10"})").second;
  EXPECT_EQ(tier.at("price_output"), "1.10");
  EXPECT_EQ(ask("POST", "/admin/tiers/gold", R"({"level": 2})").second.at("weight"), 16.0);
  EXPECT_EQ(ask("GET", "/admin/tiers").second.at("data").as_array().size(), 5u);
  EXPECT_EQ(ask("DELETE", "/admin/tiers/gold").first, 200);
  EXPECT_EQ(ask("POST", "/admin/tiers/gold", R"({"price_output": "0.0000001"})").first, 400);
}

TEST_F(AdminTest, UsageAndLedger) {
  ask("POST", "/admin/tenants", R"({"name": "acme"})");
  const auto store = std::move(open_sqlite_store(folder_ + "/t.db")).value();
  const int64_t tenant = store->find_tenant("acme")->id;
  const UsageRow row{"r1", tenant, "k1", "u", "m", 10, 2, 5, kPicoPerUnit / 2, 1000};
  ASSERT_TRUE(store->book(std::vector{row}).ok());
  const json::value rows = ask("GET", "/admin/tenants/acme/ledger").second;
  EXPECT_EQ(rows.at("data").at(0).at("cost"), "0.50");
  EXPECT_EQ(ask("GET", "/admin/tenants/acme/usage?days=36500").second.at("output_tokens"), 5);
  EXPECT_EQ(ask("GET", "/admin/tenants/acme/usage").second.at("output_tokens"), 0);
  for (const char* query : {"?days=", "?days=0", "?days=x", "?days=1&a=2", "?day=1"})
    EXPECT_EQ(ask("GET", std::string("/admin/tenants/acme/usage") + query).first, 400) << query;
}

TEST_F(AdminTest, WhatIsWrongIsNamed) {
  EXPECT_EQ(ask("POST", "/admin/tenants", R"({"name": "a", "teir": "paid"})")
                .second.at("error")
                .at("param"),
            "teir");
  EXPECT_EQ(ask("POST", "/admin/tenants", R"({"name": 3})").second.at("error").at("param"), "name");
  EXPECT_EQ(ask("POST", "/admin/tenants", "{").first, 400);
  EXPECT_EQ(ask("POST", "/admin/tenants", "").first, 400);
  EXPECT_EQ(ask("GET", "/admin/tenants/nobody").first, 404);
  EXPECT_EQ(ask("PUT", "/admin/tenants").first, 404);
  EXPECT_EQ(ask("POST", "/admin/tenants/nobody/credit", R"({"amount": "1"})").first, 404);
}

}  // namespace
}  // namespace galley::gateway

#include "gateway/history.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>

namespace galley::gateway {
namespace {

constexpr double kBounds[] = {1, 2, 4};

boost::json::object read(const History& history, int64_t after_s = 0) {
  return boost::json::parse(history.json(after_s)).as_object();
}

TEST(History, QuantilesAreOfWhatCameBetween) {
  Histogram before(kBounds);
  before.observe(0.5, 1000);  // Must not count.
  Histogram after = before;
  EXPECT_FALSE(quantile_between(before, after, 0.5));
  after.observe(3, 4);  // In (2, 4].
  EXPECT_DOUBLE_EQ(*quantile_between(before, after, 0.5), 3.0);
  EXPECT_DOUBLE_EQ(*quantile_between(before, after, 1.0), 4.0);
  after.observe(1.5, 12);  // In (1, 2].
  EXPECT_DOUBLE_EQ(*quantile_between(before, after, 0.5), 1.0 + 8.0 / 12.0);
  after.observe(100, 16);  // Above all bounds.
  EXPECT_DOUBLE_EQ(*quantile_between(before, after, 0.99), 4.0);
}

TEST(History, RatesAreOfTheTimeBetweenSamples) {
  History history({.period_s = 10, .samples_max = 100});
  engine::EngineStats stats;
  stats.blocks_total = 10;
  history.add(1000, stats, 0, 0);
  stats.generation_tokens = 500;
  stats.prompt_tokens = 200;
  stats.requests_running = 3;
  stats.requests_waiting = 1;
  stats.blocks_held = 4;
  stats.drafts_proposed = 8;
  stats.drafts_accepted = 6;
  stats.prefix_query_tokens = 100;
  stats.prefix_hit_tokens = 25;
  stats.time_to_first_token.observe(0.001, 2);
  history.add(1010, stats, 5, 7);
  history.add(1020, stats, 0, 7);
  const auto json = read(history);
  const auto at = [&](const char* name, size_t i) { return json.at(name).as_array().at(i); };
  EXPECT_TRUE(at("generation_tokens_per_s", 0).is_null()) << "nothing came before";
  EXPECT_EQ(at("generation_tokens_per_s", 1).to_number<double>(), 50);
  EXPECT_EQ(at("generation_tokens_per_s", 2).to_number<double>(), 0);
  EXPECT_EQ(at("prompt_tokens_per_s", 1).to_number<double>(), 20);
  EXPECT_EQ(at("running", 1), 3);
  EXPECT_EQ(at("waiting", 1), 6) << "in front of the engine and in it";
  EXPECT_EQ(at("refused", 1), 7);
  EXPECT_EQ(at("refused", 2), 0);
  EXPECT_EQ(at("kv_used", 1).to_number<double>(), 0.4);
  EXPECT_EQ(at("drafts_accepted", 1).to_number<double>(), 0.75);
  EXPECT_TRUE(at("drafts_accepted", 2).is_null());
  EXPECT_EQ(at("prefix_hits", 1).to_number<double>(), 0.25);
  EXPECT_FALSE(at("ttft_p50_s", 1).is_null());
  EXPECT_TRUE(at("ttft_p50_s", 2).is_null());
  EXPECT_TRUE(at("itl_p99_s", 1).is_null());
}

TEST(History, KeepsTheNewestAndGivesWhatIsNew) {
  History history({.period_s = 10, .samples_max = 3});
  for (int64_t i = 1; i <= 10; ++i) history.add(i * 10, {}, i, 0);
  EXPECT_EQ(history.size(), 3u);
  EXPECT_EQ(boost::json::serialize(read(history).at("time_s")), "[80,90,100]");
  EXPECT_EQ(boost::json::serialize(read(history, 90).at("waiting")), "[10]");
  EXPECT_EQ(boost::json::serialize(read(history, 100).at("time_s")), "[]");
}

}  // namespace
}  // namespace galley::gateway

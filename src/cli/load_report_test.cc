#include "cli/load_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>

namespace galley::cli {
namespace {

using ::testing::HasSubstr;

RequestRecord record(int64_t intended_us, int64_t sent_us, int64_t first_us, int64_t done_us,
                     int64_t output_tokens) {
  RequestRecord out;
  out.intended_us = intended_us;
  out.sent_us = sent_us;
  out.first_us = first_us;
  out.done_us = done_us;
  out.output_tokens = output_tokens;
  out.input_tokens = 10;
  out.ok = true;
  return out;
}

TEST(Percentile, InterpolatesBetweenNeighbours) {
  const std::vector<double> values = {1, 2, 3, 4};
  EXPECT_DOUBLE_EQ(percentile(values, 0), 1);
  EXPECT_DOUBLE_EQ(percentile(values, 50), 2.5);
  EXPECT_DOUBLE_EQ(percentile(values, 90), 3.7);
  EXPECT_DOUBLE_EQ(percentile(values, 100), 4);
  EXPECT_DOUBLE_EQ(percentile({7}, 99), 7);
  EXPECT_DOUBLE_EQ(percentile({}, 99), 0);
}

TEST(Percentile, DescribeSortsAndCounts) {
  const Distribution d = describe({3, 1, 2});
  EXPECT_EQ(d.count, 3u);
  EXPECT_DOUBLE_EQ(d.mean, 2);
  EXPECT_DOUBLE_EQ(d.min, 1);
  EXPECT_DOUBLE_EQ(d.p50, 2);
  EXPECT_DOUBLE_EQ(d.max, 3);
}

TEST(LoadReport, LatencyCountsFromTheIntendedTime) {
  // Meant for 1 s, sent only at 3 s because the generator was held up.
  const LoadReport report =
      summarise({record(1'000'000, 3'000'000, 3'500'000, 4'500'000, 11)}, {}, 5);
  EXPECT_DOUBLE_EQ(report.ttft_ms.p50, 2500);
  EXPECT_DOUBLE_EQ(report.e2e_ms.p50, 3500);
  EXPECT_DOUBLE_EQ(report.lag_ms.p50, 2000);
  EXPECT_DOUBLE_EQ(report.tpot_ms.p50, 100);
  EXPECT_DOUBLE_EQ(report.output_tokens_per_s, 11.0 / 5);
}

TEST(LoadReport, GoodputCountsOnlyWhatMeetsEveryBound) {
  RequestRecord failed;
  failed.error = "HTTP 503: full";
  const std::vector<RequestRecord> records = {
      record(0, 0, 100'000, 1'100'000, 11),  // ttft 100, tpot 100
      record(0, 0, 600'000, 1'600'000, 11),  // ttft too long
      record(0, 0, 100'000, 3'100'000, 11),  // tpot too long
      record(0, 0, 100'000, 100'000, 1),     // one token has no tpot
      failed};
  Objective objective;
  objective.ttft_ms = 500;
  objective.tpot_ms = 200;
  const LoadReport report = summarise(records, objective, 2);
  EXPECT_EQ(report.good, 2);
  EXPECT_DOUBLE_EQ(report.goodput_per_s, 1);
  EXPECT_EQ(report.failed, 1);
  EXPECT_EQ(report.tpot_ms.count, 3u);
  ASSERT_EQ(report.errors.size(), 1u);
  EXPECT_THAT(render(report), HasSubstr("1 x HTTP 503: full"));
  const auto json = boost::json::parse(to_json(report)).as_object();
  EXPECT_EQ(json.at("good").as_int64(), 2);
  EXPECT_DOUBLE_EQ(json.at("ttft_ms").as_object().at("max").as_double(), 600);
}

TEST(LoadReport, ObjectivesAreParsedStrictly) {
  const Objective objective = *parse_objective({"ttft:500", "e2el:2.5"});
  EXPECT_DOUBLE_EQ(objective.ttft_ms, 500);
  EXPECT_DOUBLE_EQ(objective.e2e_ms, 2.5);
  EXPECT_DOUBLE_EQ(objective.tpot_ms, 0);
  for (const char* term : {"ttft", "ttft:", "ttft:0", "ttft:-1", "x:1", ":", "ttft:1s"}) {
    EXPECT_FALSE(parse_objective({term}).ok()) << term;
  }
}

TEST(LoadReport, NothingAtAllIsReportedToo) {
  const LoadReport report = summarise({}, {}, 0);
  EXPECT_EQ(report.requests, 0);
  EXPECT_FALSE(render(report).empty());
}

}  // namespace
}  // namespace galley::cli

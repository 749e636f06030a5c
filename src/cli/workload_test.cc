#include "cli/workload.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace galley::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

int64_t count_words(const std::string& text) {
  return 1 + std::count(text.begin(), text.end(), ' ');
}

TEST(Workload, PoissonArrivalsHaveTheRateAndRepeatForASeed) {
  ArrivalOptions options;
  options.requests_per_s = 50;
  options.count = 20'000;
  options.seed = 7;
  const std::vector<PlannedRequest> plan = plan_arrivals(options);
  EXPECT_EQ(plan.front().at_us, 0);
  double sum = 0, squares = 0;
  for (size_t i = 1; i < plan.size(); ++i) {
    const double gap = static_cast<double>(plan[i].at_us - plan[i - 1].at_us) * 1e-6;
    ASSERT_GE(gap, 0);
    sum += gap;
    squares += gap * gap;
  }
  const double mean = sum / 19'999;
  const double variance = squares / 19'999 - mean * mean;
  EXPECT_NEAR(mean, 0.02, 0.02 * 0.03);
  EXPECT_NEAR(std::sqrt(variance) / mean, 1.0, 0.05);  // exponential gaps
  EXPECT_EQ(plan_arrivals(options)[9999].at_us, plan[9999].at_us);
  options.seed = 8;
  EXPECT_NE(plan_arrivals(options)[9999].at_us, plan[9999].at_us);
}

TEST(Workload, BurstinessSetsTheSpreadOfTheGaps) {
  for (const double shape : {0.25, 0.9, 4.0}) {
    Random random(3);
    double sum = 0, squares = 0;
    constexpr int kDraws = 100'000;
    for (int i = 0; i < kDraws; ++i) {
      const double x = random.gamma(shape, 2.0);
      sum += x;
      squares += x * x;
    }
    const double mean = sum / kDraws;
    const double deviation = std::sqrt(squares / kDraws - mean * mean);
    EXPECT_NEAR(mean, 2.0, 0.05) << shape;
    EXPECT_NEAR(deviation / mean, 1 / std::sqrt(shape), 0.05) << shape;
  }
}

TEST(Workload, InfiniteRateSendsAllAtOnce) {
  ArrivalOptions options;
  options.requests_per_s = std::numeric_limits<double>::infinity();
  options.count = 3;
  for (const PlannedRequest& request : plan_arrivals(options)) EXPECT_EQ(request.at_us, 0);
}

TEST(Trace, ReadsMooncakeLines) {
  const auto plan = parse_trace(
      "{\"timestamp\": 27000, \"input_length\": 900, \"output_length\": 5, \"hash_ids\": [1, 2]}\n"
      "{\"timestamp\": 3000, \"input_length\": 700, \"output_length\": 4, \"x\": null}\r\n\n");
  ASSERT_TRUE(plan.ok()) << plan.message();
  ASSERT_EQ(plan->size(), 2u);
  EXPECT_EQ(plan->at(0).at_us, 0);
  EXPECT_EQ(plan->at(0).input_tokens, 700);
  EXPECT_EQ(plan->at(1).at_us, 24'000'000);
  EXPECT_THAT(plan->at(1).prefix_blocks, ElementsAre(1u, 2u));
}

TEST(Trace, ReadsAzureCsvAcrossMidnight) {
  const auto plan = parse_trace(
      "TIMESTAMP,ContextTokens,GeneratedTokens\n"
      "2024-02-28 23:59:59.5000000,374,44\n2024-03-01 00:00:00.2500000+00:00,396,109\n");
  ASSERT_TRUE(plan.ok()) << plan.message();
  ASSERT_EQ(plan->size(), 2u);
  EXPECT_EQ(plan->at(1).at_us, (24 * 3600) * int64_t{1'000'000} + 750'000);  // a leap day between
  EXPECT_EQ(plan->at(1).input_tokens, 396);
  EXPECT_EQ(plan->at(1).output_tokens, 109);
}

TEST(Trace, RefusesWithLineAndField) {
  const auto message = [](const std::string& text) { return parse_trace(text).message(); };
  EXPECT_THAT(message(""), HasSubstr("no request"));
  EXPECT_THAT(message("a,b,c\n1,2,3\n"), HasSubstr("neither"));
  EXPECT_THAT(message("{\"timestamp\": 0, \"input_length\": 1}\n"),
              HasSubstr("line 1: output_length is missing"));
  EXPECT_THAT(message("{\"timestamp\": -1, \"input_length\": 1, \"output_length\": 1}"),
              HasSubstr("timestamp"));
  EXPECT_THAT(message("{\"timestamp\": 0, \"input_length\": 1e300, \"output_length\": 1}"),
              HasSubstr("input_length"));
  EXPECT_THAT(message("{\"timestamp\": 0, \"input_length\": 1, \"output_length\": 1,"
                      " \"hash_ids\": [\"x\"]}"),
              HasSubstr("hash_ids"));
  EXPECT_THAT(message("{\"timestamp\": 0,\n"), HasSubstr("line 1"));
  const std::string header = "TIMESTAMP,ContextTokens,GeneratedTokens\n";
  EXPECT_THAT(message(header + "2024-01-01 00:00:00,1\n"), HasSubstr("line 2"));
  EXPECT_THAT(message(header + "2024-13-01 00:00:00,1,1\n"), HasSubstr("TIMESTAMP"));
  EXPECT_THAT(message(header + "2024-01-01 00:00:00,-1,1\n"), HasSubstr("ContextTokens"));
  EXPECT_THAT(message(header + "2024-01-01 00:00:00,1,9999999999\n"), HasSubstr("Generated"));
  WorkloadLimits limits;
  limits.requests_max = 1;
  const std::string row = "2024-01-01 00:00:00,1,1\n";
  EXPECT_EQ(parse_trace(header + row + row, limits).code(), Code::kTooLarge);
  EXPECT_FALSE(parse_trace(std::string(100'000, '[')).ok());
  EXPECT_FALSE(parse_trace("{" + std::string(100'000, '[')).ok());
}

TEST(Trace, ReplayIsCutAndScaled) {
  std::vector<PlannedRequest> plan(3);
  plan[1].at_us = 4'000'000;
  plan[1].input_tokens = 1000;
  plan[1].output_tokens = 50;
  plan[2].at_us = 9'000'000;
  ReplayOptions options;
  options.speed = 2;
  options.duration_s = 4;
  options.input_tokens_max = 300;
  options.output_tokens_max = 20;
  shape_replay(options, &plan);
  ASSERT_EQ(plan.size(), 2u);
  EXPECT_EQ(plan[0].input_tokens, 1);  // a prompt has a token
  EXPECT_EQ(plan[1].at_us, 2'000'000);
  EXPECT_EQ(plan[1].input_tokens, 300);
  EXPECT_EQ(plan[1].output_tokens, 20);
}

TEST(Prompts, HaveTheLengthThatWasAskedFor) {
  const PromptShape shape = *fit_prompt_shape(100, 135, 300, 385);
  EXPECT_DOUBLE_EQ(shape.tokens_per_word, 1.25);
  EXPECT_DOUBLE_EQ(shape.tokens_fixed, 10);
  PlannedRequest request;
  request.input_tokens = 1260;
  EXPECT_EQ(count_words(make_prompt(request, shape, 1, 0)), 1000);
  request.input_tokens = 1;  // less than the server adds by itself
  EXPECT_EQ(count_words(make_prompt(request, shape, 1, 0)), 1);
  EXPECT_FALSE(fit_prompt_shape(100, 10, 300, 10).ok());
  EXPECT_FALSE(fit_prompt_shape(100, 300, 300, 100).ok());
}

TEST(Prompts, EqualBlocksGiveEqualTextAndTheRestDiffers) {
  const PromptShape shape;
  PlannedRequest a, b;
  a.input_tokens = b.input_tokens = 1500;
  a.prefix_blocks = {10, 11, 12};
  b.prefix_blocks = {10, 11, 13};
  const std::string text_a = make_prompt(a, shape, 1, 0);
  const std::string text_b = make_prompt(b, shape, 1, 1);
  EXPECT_EQ(count_words(text_a), 1500);
  const auto split = std::mismatch(text_a.begin(), text_a.end(), text_b.begin());
  const std::string common(text_a.begin(), split.first);
  // Two blocks are shared; the third does not fit into 1500 tokens and differs by request.
  EXPECT_GE(count_words(common), 1024);
  EXPECT_LT(count_words(common), 1030);
  EXPECT_EQ(text_a, make_prompt(a, shape, 1, 0));
  EXPECT_NE(text_a, make_prompt(a, shape, 2, 0));
}

}  // namespace
}  // namespace galley::cli

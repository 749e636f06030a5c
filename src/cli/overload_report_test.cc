#include "cli/overload_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace galley::cli {
namespace {

using ::testing::HasSubstr;

// Wanted at `at_ms`, first text after 100 ms, then 10 tokens a second.
Attempt good(uint32_t group, double at_ms, int32_t output) {
  Attempt out;
  out.group = group;
  out.lengths = {100, output};
  out.wanted_ms = out.accepted_try_ms = at_ms;
  out.start_ms = at_ms + 90;
  out.first_ms = at_ms + 100;
  out.done_ms = out.first_ms + 100.0 * output;
  out.output_received = output;
  out.tries = 1;
  out.outcome = Outcome::kGood;
  return out;
}

TEST(OverloadReport, CostFallsIntoTheWindowInWhichItCame) {
  const Attempt attempt = good(0, 0, 20);  // text from 100 to 2100 ms
  EXPECT_NEAR(cost_within(attempt, {0, 10'000}), 140, 1e-9);
  EXPECT_NEAR(cost_within(attempt, {0, 1100}), 120, 1e-9);
  EXPECT_NEAR(cost_within(attempt, {1100, 1600}), 10, 1e-9);
  EXPECT_EQ(cost_within(attempt, {3000, 4000}), 0);
  EXPECT_EQ(cost_within(Attempt{}, {0, 1000}), 0);  // Refused.
}

TEST(OverloadReport, EstimatesAreHeldAgainstTheWholeWait) {
  std::vector<Attempt> attempts(4);
  for (Attempt& one : attempts) {
    one.accepted_try_ms = 0;
    one.told_ms = 1000;
    one.told_median_ms = 1000;  // at 2000
    one.told_p90_ms = 3000;     // at 4000
  }
  attempts[0].start_ms = 2000;
  attempts[1].start_ms = 2500;
  attempts[2].start_ms = 5000;
  const EstimateReport report = score_estimates(attempts);
  EXPECT_EQ(report.scored, 3);
  EXPECT_EQ(report.never_started, 1);
  EXPECT_NEAR(report.error_median, 0.2, 1e-9);  // of 0, 0.2 and 0.6
  EXPECT_NEAR(report.within_p90, 2.0 / 3, 1e-9);
}

TEST(OverloadReport, SumsUpALeg) {
  std::vector<ClientGroup> groups(3);
  groups[0].name = "a";
  groups[1].name = "b";
  groups[2].name = "calm";
  groups[2].from_s = 10;
  OverloadRun run;
  for (int i = 0; i < 10; ++i) run.attempts.push_back(good(0, 1000.0 * i, 5));
  for (int i = 0; i < 5; ++i) run.attempts.push_back(good(1, 1000.0 * i, 5));
  Attempt late = good(1, 5000, 5);
  late.outcome = Outcome::kLate;
  run.attempts.push_back(late);
  Attempt refused;
  refused.group = 1;
  refused.wanted_ms = 6000;
  refused.tries = 3;
  refused.refusal_ms = 2;
  refused.outcome = Outcome::kRefused;
  run.attempts.push_back(refused);
  run.attempts.push_back(good(2, 10'000, 5));
  run.attempts.back().first_ms += 5000;  // slow, right after the burst
  run.attempts.push_back(good(2, 12'700, 5));
  LegQuestion asked;
  asked.capacity_cost_per_s = 220;
  asked.window = {0, 10'000};
  asked.equal_groups = {0, 1};
  asked.recovery_group = 2;
  asked.burst_end_ms = 9'900;
  asked.normal_ttft_ms = 500;
  const LegReport report = summarise(run, groups, asked);
  EXPECT_EQ(report.group("a").good, 10);
  EXPECT_EQ(report.group("b").requests, 7);
  EXPECT_EQ(report.group("b").late, 1);
  EXPECT_EQ(report.group("b").refused, 1);
  EXPECT_EQ(report.group("calm").requests, 2);
  EXPECT_NEAR(report.good_share, 15 * 110 / 10.0 / 220, 1e-9);
  EXPECT_NEAR(report.wasted_share, 1.0 / 16, 1e-9);
  EXPECT_NEAR(report.fairness, 10.0 / 6, 1e-9);
  EXPECT_NEAR(report.tries_per_request, (16 + 3) / 17.0, 1e-9);
  EXPECT_EQ(report.recovery_s, 0.5);
  EXPECT_EQ(report.group("a").ttft_ms.p99, 100);
}

TEST(OverloadReport, ThePageIsOneFileAndEscapesNames) {
  OverloadReport report;
  report.model = "<model>";
  for (const double load : {0.5, 10.0}) {
    LegReport& leg = report.legs.emplace_back();
    leg.name = "sweep";
    leg.policy = "fair";
    leg.load = load;
    leg.good_share = 0.5;
    leg.groups.emplace_back().name = "a&b";
  }
  const std::string page = to_html(report);
  EXPECT_THAT(page, HasSubstr("&lt;model&gt;"));
  EXPECT_THAT(page, HasSubstr("a&amp;b"));
  EXPECT_THAT(page, HasSubstr("<svg"));
  EXPECT_EQ(page.find("<model>"), std::string::npos);
  EXPECT_EQ(page.find("src="), std::string::npos);
  EXPECT_THAT(to_json(report), HasSubstr("\"goodput_of_capacity\":5E-1"));
}

}  // namespace
}  // namespace galley::cli

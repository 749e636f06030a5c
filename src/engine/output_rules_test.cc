#include "engine/output_rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace galley::engine {
namespace {

constexpr int32_t kEnd = 9, kEos = 8, kThink = 20, kThinkEnd = 21, kNewline = 22;
constexpr int32_t kEosTokens[] = {kEos};

Request request_with(const SamplingParams& sampling) {
  Request request;
  request.prompt = {1};
  request.sampling = sampling;
  return request;
}

Request thinker(int32_t budget, bool open_at_start = true) {
  SamplingParams sampling;
  sampling.max_tokens = 10;
  Request request = request_with(sampling);
  request.thinking = {.open_at_start = open_at_start,
                      .begin = kThink,
                      .end = kThinkEnd,
                      .budget = budget,
                      .close = {kNewline, kThinkEnd, kNewline}};
  return request;
}

TEST(OutputRules, EndOfTextStops) {
  OutputRules rules(request_with({}), kEosTokens);
  EXPECT_EQ(rules.add(1).finish, FinishReason::kNone);
  const auto verdict = rules.add(kEos);
  EXPECT_EQ(verdict.finish, FinishReason::kStop);
  EXPECT_EQ(verdict.stop_token, kEos);
}

TEST(OutputRules, IgnoreEosKeepsStopTokens) {
  SamplingParams sampling;
  sampling.ignore_eos = true;
  sampling.stop_token_ids = {kEnd};
  OutputRules rules(request_with(sampling), kEosTokens);
  EXPECT_EQ(rules.add(kEos).finish, FinishReason::kNone);
  const auto verdict = rules.add(kEnd);
  EXPECT_EQ(verdict.finish, FinishReason::kStop);
  EXPECT_EQ(verdict.stop_token, kEnd);
}

TEST(OutputRules, MaxTokensIsLengthUnlessTheLastOneStops) {
  SamplingParams sampling;
  sampling.max_tokens = 2;
  OutputRules rules(request_with(sampling), kEosTokens);
  EXPECT_EQ(rules.drafts_max(), 1);
  EXPECT_EQ(rules.add(1).finish, FinishReason::kNone);
  EXPECT_EQ(rules.drafts_max(), 0);
  EXPECT_EQ(rules.add(1).finish, FinishReason::kLength);

  OutputRules stops(request_with(sampling), kEosTokens);
  stops.add(1);
  EXPECT_EQ(stops.add(kEos).finish, FinishReason::kStop);
}

TEST(OutputRules, EndTokensAreBannedBelowMinTokens) {
  SamplingParams sampling;
  sampling.max_tokens = 9;
  sampling.min_tokens = 2;
  sampling.stop_token_ids = {kEnd};
  OutputRules rules(request_with(sampling), kEosTokens);
  EXPECT_THAT(std::vector<int32_t>(rules.banned().begin(), rules.banned().end()),
              ::testing::UnorderedElementsAre(kEnd, kEos));
  EXPECT_EQ(rules.drafts_max(), 1) << "the row after two tokens has other banned tokens";
  rules.add(1);
  EXPECT_EQ(rules.drafts_max(), 0);
  EXPECT_FALSE(rules.banned().empty());
  rules.add(1);
  EXPECT_TRUE(rules.banned().empty());
  EXPECT_EQ(rules.drafts_max(), 6);
  EXPECT_EQ(rules.add(kEnd).finish, FinishReason::kStop);
}

TEST(OutputRules, TheBudgetsLastTokenClosesTheThought) {
  OutputRules rules(thinker(2), kEosTokens);
  EXPECT_FALSE(rules.closes_at_start());
  EXPECT_FALSE(rules.add(1).closes_thinking);
  EXPECT_TRUE(rules.add(1).closes_thinking);
  for (const int32_t token : rules.close_tokens())
    EXPECT_EQ(rules.add_forced(token).finish, FinishReason::kNone);
  EXPECT_EQ(rules.num_tokens(), 5);
  EXPECT_FALSE(rules.add(1).closes_thinking) << "the answer has no budget";
}

TEST(OutputRules, AThoughtThatEndsInTimeIsNotClosed) {
  OutputRules rules(thinker(2), kEosTokens);
  rules.add(1);
  EXPECT_FALSE(rules.add(kThinkEnd).closes_thinking) << "the end is no thought";
  EXPECT_FALSE(rules.add(1).closes_thinking);
}

TEST(OutputRules, AThoughtThatTheModelOpensIsBoundedToo) {
  OutputRules rules(thinker(1, /*open_at_start=*/false), kEosTokens);
  EXPECT_FALSE(rules.add(1).closes_thinking);
  EXPECT_FALSE(rules.add(kThink).closes_thinking);
  EXPECT_TRUE(rules.add(1).closes_thinking);
}

TEST(OutputRules, AllThoughtsShareOneBudget) {
  OutputRules rules(thinker(2), kEosTokens);
  rules.add(1);
  rules.add(kThinkEnd);
  rules.add(kThink);
  EXPECT_TRUE(rules.add(1).closes_thinking);
  for (const int32_t token : rules.close_tokens()) rules.add_forced(token);
  EXPECT_TRUE(rules.add(kThink).closes_thinking) << "nothing is left for a third";
}

TEST(OutputRules, NoBudgetClosesAtTheStart) {
  EXPECT_TRUE(OutputRules(thinker(0), kEosTokens).closes_at_start());
  EXPECT_FALSE(OutputRules(thinker(0, false), kEosTokens).closes_at_start());
  EXPECT_FALSE(OutputRules(thinker(-1), kEosTokens).closes_at_start()) << "-1 is no limit";
}

TEST(OutputRules, MaxTokensCutsTheForcedCloseToo) {
  Request request = thinker(2);
  request.sampling.max_tokens = 4;
  OutputRules rules(request, kEosTokens);
  rules.add(1);
  ASSERT_TRUE(rules.add(1).closes_thinking);
  EXPECT_EQ(rules.add_forced(kNewline).finish, FinishReason::kNone);
  EXPECT_EQ(rules.add_forced(kThinkEnd).finish, FinishReason::kLength);
}

TEST(OutputRules, EndOfTextInsideAThoughtStops) {
  OutputRules rules(thinker(2), kEosTokens);
  rules.add(1);
  const auto verdict = rules.add(kEos);
  EXPECT_EQ(verdict.finish, FinishReason::kStop);
  EXPECT_FALSE(verdict.closes_thinking);
}

}  // namespace
}  // namespace galley::engine

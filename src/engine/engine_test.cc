// Tests of Engine: what a client hears. FakeRunner's tokens follow from the cache rows, so equal
// tokens prove that every row was computed, kept and shared rightly.
#include "engine/engine.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "engine/testing/harness.h"

namespace galley::engine {
namespace {

using testing::expected_of;
using testing::FakeRunner;
using testing::Harness;
using testing::Heard;
using testing::kVocab;
using testing::request_of;
using testing::tokens_from;

TEST(Engine, DeliversEveryTokenOnceAndInOrder) {
  Harness harness({.num_blocks = 12});  // Small: the requests compete.
  std::vector<Request> requests;
  for (RequestId id = 1; id <= 6; ++id)
    requests.push_back(request_of(id, tokens_from(static_cast<uint32_t>(id), 9), 20));
  for (const Request& request : requests) ASSERT_TRUE(harness.engine().submit(request).ok());
  harness.finish();
  for (const Request& request : requests) {
    const Heard heard = harness.heard(request.id);
    EXPECT_EQ(heard.tokens, expected_of(request)) << "request " << request.id;
    EXPECT_EQ(heard.finish, FinishReason::kLength);
    EXPECT_EQ(heard.num_finishes, 1);
  }
  const EngineStats stats = harness.engine().stats();
  EXPECT_GT(stats.preemptions, 0u) << "12 blocks of 4 tokens cannot hold all six";
  EXPECT_EQ(stats.generation_tokens, 120u);
  EXPECT_EQ(stats.prompt_tokens, 54u);
  EXPECT_EQ(stats.blocks_held, 0);
  EXPECT_EQ(stats.requests_running, 0);
  EXPECT_EQ(stats.finished[static_cast<size_t>(FinishReason::kLength)], 6u);
  EXPECT_EQ(stats.time_to_first_token.count(), 6u);
  EXPECT_EQ(stats.inter_token_latency.count(), 114u);
  EXPECT_EQ(harness.runner().forgotten.size(), 6u);
}

TEST(Engine, EndOfTextAndStopTokensEnd) {
  Harness harness({});
  Request request = request_of(1, {1, 2, 3}, 100);
  const std::vector<int32_t> all = expected_of(request);
  request.sampling.stop_token_ids = {all[5]};
  ASSERT_TRUE(harness.engine().submit(request).ok());
  harness.finish();
  const Heard heard = harness.heard(1);
  EXPECT_EQ(heard.finish, FinishReason::kStop);
  EXPECT_EQ(heard.stop_token, all[5]);
  const auto first = std::find(all.begin(), all.end(), all[5]);
  EXPECT_EQ(heard.tokens, std::vector<int32_t>(all.begin(), first + 1));
}

TEST(Engine, MinTokensBansEndTokens) {
  Harness harness({.drafts = 3});
  Request request = request_of(1, {1, 2, 3}, 40);
  // Bans so many tokens that some would be drawn.
  for (int32_t token = 0; token < 60; ++token) request.sampling.stop_token_ids.push_back(token);
  request.sampling.min_tokens = 20;
  ASSERT_TRUE(harness.engine().submit(request).ok());
  harness.finish();
  const Heard heard = harness.heard(1);
  const auto expected = FakeRunner::reference(request.prompt, request.sampling, kVocab, 40,
                                              request.sampling.stop_token_ids);
  ASSERT_GT(heard.tokens.size(), 20u);
  EXPECT_EQ(heard.tokens,
            std::vector<int32_t>(expected.begin(),
                                 expected.begin() + static_cast<ptrdiff_t>(heard.tokens.size())));
  EXPECT_EQ(heard.finish, FinishReason::kStop);
}

TEST(Engine, AnAnswerIsAPrefixHitForTheNextTurn) {
  Harness harness({});
  harness.start();
  Request first = request_of(1, tokens_from(1, 10), 11);
  ASSERT_TRUE(harness.engine().submit(first).ok());
  harness.wait_for(1);
  EXPECT_EQ(harness.heard(1).cached_tokens, 0);

  std::vector<int32_t> chat = first.prompt;
  for (const int32_t token : harness.heard(1).tokens) chat.push_back(token);
  chat.push_back(5);
  const Request second = request_of(2, chat, 5);
  ASSERT_TRUE(harness.engine().submit(second).ok());
  harness.wait_for(2);
  EXPECT_EQ(harness.heard(2).cached_tokens, 20) << "five blocks of 4; 20 rows were computed";
  EXPECT_EQ(harness.heard(2).tokens, expected_of(second));

  Request other_scope = request_of(3, chat, 5);
  other_scope.cache_scope = 9;
  ASSERT_TRUE(harness.engine().submit(other_scope).ok());
  harness.wait_for(3);
  EXPECT_EQ(harness.heard(3).cached_tokens, 0);
  harness.finish();
  EXPECT_EQ(harness.engine().stats().prefix_hit_tokens, 20u);
}

TEST(Engine, PromptLogprobsComeOnceAndTakeNoHit) {
  EngineLimits limits = {.requests_max = 8, .batch_requests_max = 2, .step_tokens_max = 7};
  Harness harness({.limits = limits});
  harness.start();
  Request request = request_of(1, tokens_from(1, 30), 3);
  ASSERT_TRUE(harness.engine().submit(request).ok());
  harness.wait_for(1);
  request.id = 2;
  request.sampling.prompt_logprobs = 0;
  ASSERT_TRUE(harness.engine().submit(request).ok());
  harness.wait_for(2);
  const Heard heard = harness.heard(2);
  EXPECT_EQ(heard.cached_tokens, 0);
  EXPECT_EQ(heard.tokens, expected_of(request));
  ASSERT_EQ(heard.prompt_logprobs.size(), 29u);
  for (size_t i = 0; i < 29; ++i) EXPECT_EQ(heard.prompt_logprobs[i].token, request.prompt[i + 1]);
}

TEST(Engine, ACancelledRequestIsFreedWithinOneStep) {
  Harness harness({});
  harness.runner().before_step = [&] {
    if (harness.runner().num_steps == 3) harness.engine().cancel(1);
  };
  const Request kept = request_of(2, {4, 5}, 10);
  ASSERT_TRUE(harness.engine().submit(request_of(1, {1, 2}, 100)).ok());
  ASSERT_TRUE(harness.engine().submit(kept).ok());
  harness.finish();
  const Heard heard = harness.heard(1);
  EXPECT_EQ(heard.finish, FinishReason::kCancelled);
  EXPECT_EQ(heard.status.code(), Code::kCancelled);
  EXPECT_EQ(heard.tokens.size(), 4u) << "the fourth step was under way, and no other came";
  EXPECT_EQ(harness.heard(2).tokens, expected_of(kept));
  EXPECT_EQ(harness.engine().stats().blocks_held, 0);
  harness.engine().cancel(1);  // Unknown by now: ignored.
}

TEST(Engine, DeadlinesEndWhatRunsAndWhatWaits) {
  EngineLimits limits = {.requests_max = 8, .batch_requests_max = 1, .step_tokens_max = 8};
  Harness harness({.limits = limits});
  harness.runner().before_step = [&] { harness.clock().advance_ms(10); };
  Request runs = request_of(1, {1}, 100);
  runs.deadline_ms = 45;
  Request waits = request_of(2, {1}, 100);
  waits.deadline_ms = 25;
  const Request after = request_of(3, {1}, 3);
  for (const Request& request : {runs, waits, after})
    ASSERT_TRUE(harness.engine().submit(request).ok());
  harness.finish();
  EXPECT_EQ(harness.heard(1).status.code(), Code::kDeadline);
  EXPECT_EQ(harness.heard(1).finish, FinishReason::kError);
  EXPECT_EQ(harness.heard(1).tokens.size(), 5u);
  EXPECT_EQ(harness.heard(2).status.code(), Code::kDeadline);
  EXPECT_TRUE(harness.heard(2).tokens.empty());
  EXPECT_EQ(harness.heard(3).tokens, expected_of(after));
  EXPECT_EQ(harness.finish_order(), (std::vector<RequestId>{2, 1, 3}));
}

TEST(Engine, PriorityThenArrival) {
  EngineLimits limits = {.requests_max = 8, .batch_requests_max = 1, .step_tokens_max = 8};
  Harness harness({.limits = limits});
  const std::pair<RequestId, int32_t> priorities[] = {{1, 1}, {2, 0}, {3, 1}, {4, -5}};
  for (const auto& [id, priority] : priorities) {
    Request request = request_of(id, {1}, 3);
    request.priority = priority;
    ASSERT_TRUE(harness.engine().submit(request).ok());
  }
  harness.finish();
  EXPECT_EQ(harness.finish_order(), (std::vector<RequestId>{4, 2, 1, 3}));
}

TEST(Engine, RefusesAtOnceWhenFull) {
  EngineLimits limits = {.requests_max = 2, .batch_requests_max = 2, .step_tokens_max = 8};
  Harness harness({.limits = limits});
  ASSERT_TRUE(harness.engine().submit(request_of(1, {1}, 2)).ok());
  EXPECT_EQ(harness.engine().submit(request_of(1, {1}, 2)).code(), Code::kInvalid)
      << "the id is in use";
  ASSERT_TRUE(harness.engine().submit(request_of(2, {1}, 2)).ok());
  EXPECT_EQ(harness.engine().submit(request_of(3, {1}, 2)).code(), Code::kOverloaded);
  EXPECT_EQ(harness.engine().stats().refused_overloaded, 1u);
  EXPECT_EQ(harness.engine().stats().requests_waiting, 2);
  harness.start();
  harness.wait_for(1);
  harness.wait_for(2);
  EXPECT_TRUE(harness.engine().submit(request_of(3, {1}, 2)).ok()) << "the place is free again";
}

TEST(Engine, DrainFinishesAndStopEnds) {
  {
    Harness harness({});
    const Request request = request_of(1, {1}, 5);
    ASSERT_TRUE(harness.engine().submit(request).ok());
    harness.engine().drain();
    EXPECT_EQ(harness.engine().submit(request_of(2, {1}, 5)).code(), Code::kUnavailable);
    harness.finish();
    EXPECT_EQ(harness.heard(1).tokens, expected_of(request));
  }
  Harness harness({});
  harness.runner().before_step = [&] {
    if (harness.runner().num_steps == 2) harness.engine().stop();
  };
  ASSERT_TRUE(harness.engine().submit(request_of(1, {1}, 100)).ok());
  harness.finish();
  EXPECT_EQ(harness.heard(1).finish, FinishReason::kError);
  EXPECT_EQ(harness.heard(1).status.code(), Code::kUnavailable);
  EXPECT_EQ(harness.heard(1).num_finishes, 1);
}

TEST(Engine, AFailingRunnerEndsItsRequestsAndTheEngineLivesOn) {
  Harness harness({});
  harness.runner().failing = {1};
  const Request neighbour = request_of(2, tokens_from(1, 9), 5);
  ASSERT_TRUE(harness.engine().submit(request_of(1, tokens_from(1, 9), 5)).ok());
  ASSERT_TRUE(harness.engine().submit(neighbour).ok());
  harness.start();
  harness.wait_for(1);
  harness.wait_for(2);
  EXPECT_EQ(harness.heard(1).finish, FinishReason::kError);
  EXPECT_EQ(harness.heard(1).status.message(), "the fake device is gone");
  EXPECT_EQ(harness.heard(2).tokens, expected_of(neighbour));
  const Request later = request_of(3, tokens_from(1, 9), 5);
  ASSERT_TRUE(harness.engine().submit(later).ok());
  harness.wait_for(3);
  EXPECT_EQ(harness.heard(3).tokens, expected_of(later));
}

Request thinking_request(RequestId id, int32_t budget, int32_t max_tokens) {
  Request request = request_of(id, {1, 2, 3}, max_tokens);
  request.thinking = {
      .open_at_start = true, .begin = 200, .end = 90, .budget = budget, .close = {91, 90, 91}};
  return request;
}

TEST(Engine, AThinkingBudgetClosesTheThoughtAndGoesOn) {
  for (const int32_t budget : {0, 1, 2, 7}) {
    for (const int32_t drafts : {0, 3}) {
      SCOPED_TRACE("budget " + std::to_string(budget) + ", drafts " + std::to_string(drafts));
      Harness harness({.drafts = drafts});
      const Request request = thinking_request(1, budget, 20);
      ASSERT_TRUE(harness.engine().submit(request).ok());
      harness.finish();
      const Heard heard = harness.heard(1);

      std::vector<int32_t> expected =
          FakeRunner::reference(request.prompt, request.sampling, kVocab, budget);
      ASSERT_EQ(std::count(expected.begin(), expected.end(), 90), 0) << "choose another seed";
      for (const int32_t token : request.thinking.close) expected.push_back(token);
      std::vector<int32_t> known = request.prompt;
      known.insert(known.end(), expected.begin(), expected.end());
      for (const int32_t token :
           FakeRunner::reference(known, request.sampling, kVocab, 20 - budget - 3))
        expected.push_back(token);
      EXPECT_EQ(heard.tokens, expected);
      for (size_t i = 0; i < heard.forced.size(); ++i) {
        const auto first = static_cast<size_t>(budget);
        EXPECT_EQ(heard.forced[i], i >= first && i < first + 3) << "token " << i;
      }
    }
  }
}

TEST(Engine, AForcedCloseStopsAtMaxTokens) {
  Harness harness({});
  ASSERT_TRUE(harness.engine().submit(thinking_request(1, 0, 2)).ok());
  ASSERT_TRUE(harness.engine().submit(thinking_request(2, 3, 5)).ok());
  Request scored = thinking_request(3, 0, 9);  // Forced tokens are no part of the prompt's scores.
  scored.sampling.prompt_logprobs = 0;
  ASSERT_TRUE(harness.engine().submit(scored).ok());
  harness.finish();
  EXPECT_EQ(harness.heard(1).tokens, (std::vector<int32_t>{91, 90}));
  EXPECT_EQ(harness.heard(1).finish, FinishReason::kLength);
  EXPECT_EQ(harness.heard(2).tokens.size(), 5u);
  EXPECT_EQ(harness.heard(2).finish, FinishReason::kLength);
  EXPECT_EQ(harness.heard(3).prompt_logprobs.size(), 2u);
  EXPECT_EQ(harness.heard(3).tokens.size(), 9u);
}

TEST(Engine, RightDraftsSaveSteps) {
  Harness slow({}), fast({.drafts = 3});
  const Request request = request_of(1, {1, 2}, 60);
  for (Harness* harness : {&slow, &fast}) {
    ASSERT_TRUE(harness->engine().submit(request).ok());
    harness->finish();
    EXPECT_EQ(harness->heard(1).tokens, expected_of(request));
  }
  EXPECT_EQ(slow.runner().num_steps, 60);
  EXPECT_LT(fast.runner().num_steps, 45);
  const EngineStats stats = fast.engine().stats();
  EXPECT_GT(stats.drafts_proposed, stats.drafts_accepted);
  EXPECT_EQ(stats.drafts_accepted, stats.drafts_accepted_at[0] + stats.drafts_accepted_at[1] +
                                       stats.drafts_accepted_at[2]);
  EXPECT_GE(stats.drafts_accepted_at[0], stats.drafts_accepted_at[1]);
  EXPECT_EQ(stats.steps + stats.drafts_accepted, 60u);
}

TEST(Engine, ChecksItsInvariantsWheneverIdle) {
  Harness harness({});
  harness.start();
  for (RequestId id = 1; id <= 3; ++id) {
    ASSERT_TRUE(harness.engine().submit(request_of(id, {1}, 2)).ok());
    harness.wait_for(id);
  }
  harness.finish();
  EXPECT_GE(harness.engine().stats().invariant_checks, 2u);
}

TEST(Engine, MeasuresOnItsClock) {
  EngineLimits limits = {.requests_max = 8, .batch_requests_max = 1, .step_tokens_max = 8};
  Harness harness({.limits = limits});
  harness.runner().before_step = [&] { harness.clock().advance_ms(100); };
  ASSERT_TRUE(harness.engine().submit(request_of(1, {1}, 3)).ok());
  ASSERT_TRUE(harness.engine().submit(request_of(2, {1}, 3)).ok());
  harness.finish();
  const EngineStats stats = harness.engine().stats();
  EXPECT_NEAR(stats.time_to_first_token.sum(), 0.1 + 0.4, 1e-9);
  EXPECT_NEAR(stats.inter_token_latency.sum(), 4 * 0.1, 1e-9);
  EXPECT_NEAR(stats.e2e_request_latency.sum(), 0.3 + 0.6, 1e-9);
  EXPECT_NEAR(stats.request_queue_time.sum(), 0.3, 1e-9);
  EXPECT_NEAR(stats.request_prefill_time.sum(), 0.2, 1e-9);
  EXPECT_NEAR(stats.request_decode_time.sum(), 0.4, 1e-9);
  EXPECT_NEAR(stats.request_time_per_output_token.sum(), 0.2, 1e-9);
  EXPECT_EQ(stats.iteration_tokens.count(), 6u);
}

}  // namespace
}  // namespace galley::engine

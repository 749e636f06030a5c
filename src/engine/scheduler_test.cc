// Tests of Scheduler: one case per rule in scheduler.h. scheduler_random_test.cc has the long runs.
#include "engine/scheduler.h"

#include <gtest/gtest.h>

#include <map>
#include <numeric>

namespace galley::engine {
namespace {

constexpr SchedulerLimits kLimits = {.requests_max = 8,
                                     .batch_requests_max = 4,
                                     .step_tokens_max = 32,
                                     .drafts_max = 4,
                                     .priority_step_ms = 1000};

struct Fixture {
  Fixture(int32_t num_blocks, int32_t block_tokens, const SchedulerLimits& limits = kLimits,
          bool prefix_caching = false)
      : pool(num_blocks, block_tokens),
        tree({.enabled = prefix_caching, .key = {1, 2}, .model = "m"}, &pool),
        scheduler(limits, &tree) {}

  // Prompt tokens are 0, 1, 2, ... with `first` added.
  Slot submit(int32_t prompt_tokens, int32_t output_tokens_max, int32_t first = 0) {
    return submit(
        {.prompt = sequence(prompt_tokens, first), .output_tokens_max = output_tokens_max});
  }
  Slot submit(SequenceSpec spec) {
    const int32_t output_tokens_max = spec.output_tokens_max;
    const auto prompt_tokens = static_cast<int32_t>(spec.prompt.size());
    const Slot slot = scheduler.submit(std::move(spec), now_ms);
    tokens_left[slot] = output_tokens_max;
    prompts[slot] = prompt_tokens;
    return slot;
  }
  static std::vector<int32_t> sequence(int32_t num_tokens, int32_t first = 0) {
    std::vector<int32_t> tokens(static_cast<size_t>(num_tokens));
    std::iota(tokens.begin(), tokens.end(), first);
    return tokens;
  }

  // One whole step; every sampling item gets token 1000, and ends at its output_tokens_max.
  std::vector<PlannedItem> step(std::span<const int32_t> drafts = {}) {
    const auto plan = scheduler.plan_step();
    std::vector<PlannedItem> items(plan.begin(), plan.end());
    static constexpr int32_t kToken[] = {1000};
    std::vector<Outcome> outcomes;
    for (const PlannedItem& item : items) {
      Outcome outcome;
      if (item.samples) {
        outcome.tokens = kToken;
        outcome.over = --tokens_left[item.slot] == 0;
        if (!outcome.over) outcome.drafts = drafts;
      }
      outcomes.push_back(outcome);
    }
    if (!items.empty()) scheduler.finish_step(outcomes);
    scheduler.check_invariants();
    return items;
  }

  kv::BlockPool pool;
  kv::PrefixTree tree;
  Scheduler scheduler;
  int64_t now_ms = 0;
  std::map<Slot, int32_t> tokens_left, prompts;
};

TEST(Scheduler, LongPromptIsComputedInChunks) {
  Fixture f(16, 16);
  f.submit(70, 2);
  EXPECT_EQ(f.step()[0].token_count, 32);
  EXPECT_EQ(f.step()[0].token_count, 32);
  const auto last_chunk = f.step();
  EXPECT_EQ(last_chunk[0].token_count, 6);
  EXPECT_TRUE(last_chunk[0].samples);
  EXPECT_EQ(f.step()[0].token_count, 1) << "then it decodes";
  EXPECT_TRUE(f.scheduler.idle());
  EXPECT_EQ(f.pool.num_free(), 16);
}

TEST(Scheduler, StreamsDoNotStallBehindALongPrompt) {
  Fixture f(32, 16);
  f.submit({.prompt = f.sequence(100), .output_tokens_max = 9, .priority = -1});
  for (int i = 0; i < 2; ++i) f.step();
  f.submit({.prompt = f.sequence(4), .output_tokens_max = 9, .priority = 0});
  f.step();
  const auto mixed = f.step();  // The first samples its token here.
  ASSERT_EQ(mixed.size(), 2u);
  const Slot late = f.submit({.prompt = f.sequence(100), .output_tokens_max = 9, .priority = -9});
  const auto items = f.step();
  ASSERT_EQ(items.size(), 3u) << "both streams go on beside the urgent prompt";
  EXPECT_EQ(items[2].slot, late);
  EXPECT_EQ(items[2].token_count, 30);
}

TEST(Scheduler, AShortPromptDoesNotWaitForALongOne) {
  Fixture f(64, 16);
  f.submit(320, 2);
  EXPECT_EQ(f.step()[0].token_count, 32);
  const Slot late = f.submit(4, 2);
  const auto items = f.step();
  ASSERT_EQ(items.size(), 2u);
  EXPECT_EQ(items[0].token_count, 28) << "what the short one does not need goes back";
  EXPECT_EQ(items[1].slot, late);
  EXPECT_TRUE(items[1].samples);
}

TEST(Scheduler, ThoseThatComeLaterLeaveThePromptBeforeThemHalf) {
  Fixture f(64, 16);
  f.submit(320, 1);
  f.step();
  f.submit(320, 1);
  f.submit(320, 1);
  auto items = f.step();
  ASSERT_EQ(items.size(), 2u);
  EXPECT_EQ(items[0].token_count, 16);
  EXPECT_EQ(items[1].token_count, 16) << "the first that waits is the last to share";
  items = f.step();
  ASSERT_EQ(items.size(), 3u);
  EXPECT_EQ(items[0].token_count, 16);
  EXPECT_EQ(items[1].token_count, 8);
  EXPECT_EQ(items[2].token_count, 8);
}

TEST(Scheduler, NothingIsKeptForAPromptThatCannotBeAdmitted) {
  Fixture f(/*num_blocks=*/8, /*block_tokens=*/16);
  f.submit(100, 8);
  f.step();
  f.submit(60, 8);  // 4 blocks, of which 1 is to spare.
  EXPECT_EQ(f.step().at(0).token_count, 32);
}

TEST(Scheduler, DraftsCountInTheBudgetAndComeAfterTokens) {
  SchedulerLimits limits = kLimits;
  limits.step_tokens_max = 6;
  Fixture f(16, 16, limits);
  const int32_t drafts[] = {1, 2, 3};
  for (int i = 0; i < 3; ++i) f.submit(2, 9);
  ASSERT_EQ(f.step(drafts).size(), 3u);
  const auto items = f.step(drafts);
  ASSERT_EQ(items.size(), 3u);
  EXPECT_EQ(items[0].draft_count, 3) << "three tokens are left for drafts, the first takes them";
  EXPECT_EQ(items[1].draft_count, 0);
  f.submit(4, 1);
  const auto beside_a_prompt = f.step(drafts);
  ASSERT_EQ(beside_a_prompt.size(), 4u);
  EXPECT_EQ(beside_a_prompt[0].draft_count, 1) << "half of what is left is for prompts";
  EXPECT_EQ(beside_a_prompt[3].token_count, 2);
}

TEST(Scheduler, ADraftNeverCostsAnotherItsBlocks) {
  Fixture f(/*num_blocks=*/5, /*block_tokens=*/4);
  const int32_t drafts[] = {1, 2, 3};
  f.submit(6, 5);
  f.submit(6, 5);
  ASSERT_EQ(f.step(drafts).size(), 2u);
  const auto items = f.step(drafts);  // 7 known each; with drafts both want the fifth block.
  ASSERT_EQ(items.size(), 2u);
  EXPECT_EQ(items[0].draft_count, 3);
  EXPECT_EQ(items[1].draft_count, 0);
  EXPECT_EQ(f.scheduler.num_preemptions(), 0u);
}

TEST(Scheduler, AcceptedDraftsAreComputedAndRejectedOnesComputedAgain) {
  Fixture f(8, 4);
  const Slot slot = f.submit(3, 9);
  const int32_t drafts[] = {7, 8, 9};
  f.step(drafts);
  auto plan = f.scheduler.plan_step();
  ASSERT_EQ(plan[0].draft_count, 3);
  const int32_t tokens[] = {7, 8, 5};  // Two are right, then another token.
  f.scheduler.finish_step(std::vector<Outcome>{{.tokens = tokens, .num_accepted = 2}});
  EXPECT_EQ(f.scheduler.num_computed(slot), 6) << "3 prompt, 1 output, 2 drafts";
  EXPECT_EQ(f.scheduler.known(slot).size(), 7u);
  plan = f.scheduler.plan_step();
  EXPECT_EQ(plan[0].token_begin, 6);
  EXPECT_EQ(plan[0].token_count, 1);
}

TEST(Scheduler, YoungestPaysWhenBlocksRunOut) {
  Fixture f(/*num_blocks=*/4, /*block_tokens=*/4);
  const Slot first = f.submit(4, 9);
  f.submit(4, 9);
  // Side by side up to 8 tokens each, which fills the pool. Then both need a block, none is free,
  // and the second gives back its two.
  for (int i = 0; i < 5; ++i) ASSERT_EQ(f.step().size(), 2u) << "step " << i;
  const auto items = f.step();
  ASSERT_EQ(items.size(), 1u);
  EXPECT_EQ(items[0].slot, first);
  EXPECT_EQ(items[0].token_begin, 8);
  EXPECT_EQ(f.scheduler.num_preemptions(), 1u);
}

TEST(Scheduler, LowestPriorityPaysBeforeTheYoungest) {
  Fixture f(/*num_blocks=*/4, /*block_tokens=*/4);
  f.submit({.prompt = f.sequence(4), .output_tokens_max = 9, .priority = 1});
  const Slot younger = f.submit({.prompt = f.sequence(4), .output_tokens_max = 9, .priority = 0});
  for (int i = 0; i < 5; ++i) ASSERT_EQ(f.step().size(), 2u) << "step " << i;
  const auto items = f.step();
  ASSERT_EQ(items.size(), 1u);
  EXPECT_EQ(items[0].slot, younger);
}

TEST(Scheduler, AdmitsOnlyWithASpareBlockForEachRunningSequence) {
  Fixture f(/*num_blocks=*/3, /*block_tokens=*/4);
  f.submit(2, 3);
  const Slot second = f.submit(8, 1);
  // The first holds one block and may need one more; the one left is not enough for the second,
  // though two are free.
  EXPECT_EQ(f.step().size(), 1u);
  f.step();
  f.step();  // The first is over.
  const auto items = f.step();
  ASSERT_EQ(items.size(), 1u);
  EXPECT_EQ(items[0].slot, second);
}

TEST(Scheduler, CountsTheRestOfALongPromptBeforeAdmitting) {
  SchedulerLimits limits = kLimits;
  limits.step_tokens_max = 8;
  Fixture f(/*num_blocks=*/6, /*block_tokens=*/4, limits);
  f.submit(18, 2);
  f.step();  // 8 of 18 tokens: two blocks held, three more to come.
  f.submit(4, 1);
  f.step();
  const auto last_chunk = f.step();
  EXPECT_EQ(last_chunk.size(), 1u) << "the second was let in on blocks that the first needs";
  EXPECT_EQ(last_chunk[0].token_begin, 16);
}

TEST(Scheduler, TheFirstThatWaitsIsNeverSkipped) {
  Fixture f(/*num_blocks=*/6, /*block_tokens=*/4);
  f.submit(8, 9);
  f.step();
  f.submit(20, 1);  // Does not fit beside the first.
  f.submit(1, 1);   // Would.
  EXPECT_EQ(f.step().size(), 1u);
}

TEST(Scheduler, PriorityGoesBeforeArrivalForABoundedTime) {
  SchedulerLimits limits = kLimits;
  limits.batch_requests_max = 1;
  Fixture f(16, 16, limits);
  const Slot low = f.submit({.prompt = f.sequence(4), .output_tokens_max = 1, .priority = 1});
  f.now_ms = 999;
  const Slot in_time = f.submit({.prompt = f.sequence(4), .output_tokens_max = 1, .priority = 0});
  f.now_ms = 1001;
  const Slot too_late = f.submit({.prompt = f.sequence(4), .output_tokens_max = 1, .priority = 0});
  EXPECT_EQ(f.step()[0].slot, in_time);
  EXPECT_EQ(f.step()[0].slot, low) << "it has waited for a whole priority_step_ms";
  EXPECT_EQ(f.step()[0].slot, too_late);
}

TEST(Scheduler, AHigherPriorityTakesThePlaceOfALowerOne) {
  SchedulerLimits limits = kLimits;
  limits.batch_requests_max = 1;
  Fixture f(16, 16, limits);
  const Slot low = f.submit({.prompt = f.sequence(4), .output_tokens_max = 9, .priority = 1});
  f.step();
  const Slot same = f.submit({.prompt = f.sequence(4), .output_tokens_max = 9, .priority = 1});
  EXPECT_EQ(f.step()[0].slot, low) << "an equal one waits";
  const Slot high = f.submit({.prompt = f.sequence(4), .output_tokens_max = 1, .priority = 0});
  EXPECT_EQ(f.step()[0].slot, high);
  const auto resumed = f.step();
  EXPECT_EQ(resumed[0].slot, low) << "then the older one goes on";
  EXPECT_EQ(resumed[0].token_count, 6) << "it computes again what it knew";
  EXPECT_EQ(f.scheduler.waiting()[0], same);
}

TEST(Scheduler, APrefixHitLeavesOneTokenToCompute) {
  Fixture f(16, 4, kLimits, /*prefix_caching=*/true);
  f.submit(8, 1);
  f.step();
  const Slot again = f.submit(8, 1);
  const auto items = f.step();
  EXPECT_EQ(items[0].token_begin, 4) << "not 8: the last token's logits are needed";
  EXPECT_EQ(items[0].token_count, 4);
  EXPECT_EQ(f.scheduler.num_cached(again), 4);
  EXPECT_EQ(f.scheduler.prefix_query_tokens(), 16u);
  EXPECT_EQ(f.scheduler.prefix_hit_tokens(), 4u);
}

TEST(Scheduler, ManyAnswersToOnePromptCostOnePrefill) {
  SchedulerLimits limits = kLimits;
  limits.step_tokens_max = 100;
  Fixture f(64, 4, limits, true);
  for (int i = 0; i < 4; ++i) f.submit(30, 5);
  const auto first = f.step();
  ASSERT_EQ(first.size(), 1u) << "the others wait for its blocks";
  EXPECT_EQ(first[0].token_count, 30);
  const auto second = f.step();
  ASSERT_EQ(second.size(), 4u);
  for (size_t i = 1; i < 4; ++i) EXPECT_EQ(second[i].token_count, 2) << "28 of 30 were found";
}

TEST(Scheduler, NobodyWaitsForBlocksThatDiffer) {
  Fixture f(64, 4, kLimits, true);
  f.submit(8, 5);
  f.submit(8, 5, /*first=*/100);
  f.submit({.prompt = f.sequence(8), .output_tokens_max = 5, .scores_prompt = true});
  EXPECT_EQ(f.step().size(), 3u);
}

TEST(Scheduler, AnEarlierAnswerIsAHitToo) {
  Fixture f(16, 4, kLimits, true);
  f.submit(4, 6);
  while (!f.scheduler.idle()) f.step();
  std::vector<int32_t> chat = f.sequence(4);
  for (int i = 0; i < 6; ++i) chat.push_back(1000);
  chat.push_back(5);
  f.submit({.prompt = chat, .output_tokens_max = 1});
  EXPECT_EQ(f.step()[0].token_begin, 8) << "the tenth token of the first was never computed";
}

TEST(Scheduler, ScoringAPromptTakesNoHit) {
  Fixture f(16, 4, kLimits, true);
  f.submit(8, 1);
  f.step();
  f.submit({.prompt = f.sequence(8), .output_tokens_max = 1, .scores_prompt = true});
  EXPECT_EQ(f.step()[0].token_begin, 0);
}

TEST(Scheduler, APreemptedSequenceFindsItsBlocksAgain) {
  SchedulerLimits limits = kLimits;
  limits.batch_requests_max = 1;
  Fixture f(16, 4, limits, true);
  const Slot low = f.submit({.prompt = f.sequence(10), .output_tokens_max = 9, .priority = 1});
  f.step();
  f.submit({.prompt = f.sequence(4, 500), .output_tokens_max = 1, .priority = 0});
  f.step();
  const auto resumed = f.step();
  EXPECT_EQ(resumed[0].slot, low);
  EXPECT_EQ(resumed[0].token_begin, 8);
  EXPECT_EQ(f.scheduler.num_cached(low), 0) << "usage speaks of other requests' work only";
}

TEST(Scheduler, AFailedItemLeavesNothingInTheTree) {
  Fixture f(16, 4, kLimits, true);
  f.submit(8, 1);
  (void)f.scheduler.plan_step();
  f.scheduler.finish_step(std::vector<Outcome>{{.failed = true, .over = true}});
  f.scheduler.check_invariants();
  EXPECT_TRUE(f.scheduler.idle());
  EXPECT_EQ(f.pool.num_free(), 16);
}

TEST(Scheduler, SaysWhoseDeadlineHasCome) {
  Fixture f(16, 16);
  f.submit(4, 9);
  const Slot hasty =
      f.submit({.prompt = f.sequence(4), .output_tokens_max = 9, .deadline_ms = 100});
  EXPECT_TRUE(f.scheduler.expired(99).empty());
  ASSERT_EQ(f.scheduler.expired(100).size(), 1u);
  EXPECT_EQ(f.scheduler.expired(100)[0], hasty);
}

TEST(Scheduler, KnowsWhatCouldNeverRun) {
  Fixture f(2, 16);
  EXPECT_TRUE(f.scheduler.fits(32, 1)) << "the last token needs no row";
  EXPECT_FALSE(f.scheduler.fits(32, 2));
}

TEST(SchedulerDeathTest, EndInsideAStepIsABug) {
  Fixture f(4, 16);
  const Slot slot = f.submit(4, 4);
  (void)f.scheduler.plan_step();
  EXPECT_DEATH(f.scheduler.end(slot), "inside a step");
}

}  // namespace
}  // namespace galley::engine

#include "text/grammar_cache.h"

#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <thread>

#include "text/tokenizer.h"

namespace galley::text {
namespace {

using Kind = GrammarSpec::Kind;
using Clock = std::chrono::steady_clock;

std::shared_ptr<const GrammarVocabulary> demo_vocabulary() {
  const auto tokenizer = *Tokenizer::load(GALLEY_SOURCE_DIR "/models/demo");
  const std::vector<int32_t> end = {*tokenizer->eos_id()};
  return *GrammarVocabulary::make(*tokenizer, tokenizer->vocab_size(), end);
}

std::future<GrammarCache::Outcome> ask(GrammarCache& cache, uint64_t scope, Kind kind,
                                       std::string source) {
  auto promise = std::make_shared<std::promise<GrammarCache::Outcome>>();
  auto future = promise->get_future();
  cache.get(scope, {kind, std::move(source)},
            [promise](const GrammarCache::Outcome& outcome) { promise->set_value(outcome); });
  return future;
}

GrammarCache::Outcome outcome_of(std::future<GrammarCache::Outcome> future) {
  if (future.wait_for(std::chrono::seconds(60)) != std::future_status::ready)
    return Status(Code::kDeadline, "no outcome in 60 s");
  return future.get();
}

// Each is another source, and takes seconds.
std::string hard_schema(int salt) {
  std::string schema = R"({"type":"object","properties":{)";
  for (int i = 0; i < 3000; ++i)
    schema += (i > 0 ? "," : "") + ("\"" + std::to_string(salt) + "p" + std::to_string(i)) +
              R"(":{"type":"number","minimum":0.5})";
  return schema + "}}";
}

TEST(GrammarCache, AScopeFindsItsOwnOnly) {
  GrammarCache cache(demo_vocabulary(), {});
  const auto first = outcome_of(ask(cache, 1, Kind::kRegex, "[ab]+"));
  const auto again = outcome_of(ask(cache, 1, Kind::kRegex, "[ab]+"));
  const auto other = outcome_of(ask(cache, 2, Kind::kRegex, "[ab]+"));
  ASSERT_TRUE(first.ok() && again.ok() && other.ok());
  EXPECT_EQ(*first, *again);
  EXPECT_NE(*first, *other);
  EXPECT_EQ(cache.num_entries(), 2u);
}

TEST(GrammarCache, RefusalsAreKept) {
  GrammarCache cache(demo_vocabulary(), {});
  EXPECT_EQ(outcome_of(ask(cache, 1, Kind::kRegex, "a(")).code(), Code::kInvalid);
  EXPECT_EQ(outcome_of(ask(cache, 1, Kind::kRegex, "a(")).code(), Code::kInvalid);
  EXPECT_EQ(cache.num_entries(), 1u);
}

TEST(GrammarCache, ItStaysWithinItsBounds) {
  GrammarCacheLimits limits;
  limits.entries_of_scope_max = 3;
  GrammarCache cache(demo_vocabulary(), limits);
  for (int i = 0; i < 8; ++i)
    EXPECT_TRUE(
        outcome_of(ask(cache, 1, Kind::kRegex, "[ab]{" + std::to_string(i + 1) + "}")).ok());
  EXPECT_EQ(cache.num_entries(), 3u);
  limits.bytes_max = 1;
  GrammarCache tiny(demo_vocabulary(), limits);
  EXPECT_TRUE(outcome_of(ask(tiny, 1, Kind::kRegex, "[ab]")).ok());
  EXPECT_EQ(tiny.num_entries(), 0u);
  EXPECT_EQ(tiny.size_bytes(), 0u);
}

// One scope keeps the slow thread busy; another one's easy source is done at once all the same.
TEST(GrammarCache, HardSourcesDelayEachOtherOnly) {
  GrammarCacheLimits limits;
  limits.quick_ms = 20;
  limits.grammar.compile_ms_max = 400;
  limits.grammar.states_max = UINT64_MAX - 1;
  GrammarCache cache(demo_vocabulary(), limits);
  std::vector<std::future<GrammarCache::Outcome>> hard;
  hard.reserve(6);
  for (int i = 0; i < 6; ++i) hard.push_back(ask(cache, 1, Kind::kJsonSchema, hard_schema(i)));
  for (int i = 0; i < 3; ++i)
    EXPECT_TRUE(outcome_of(ask(cache, 2, Kind::kRegex, "x{" + std::to_string(i + 1) + "}")).ok());
  // The easy ones took turns on the quick thread, while the slow one has most of its work before
  // it.
  size_t unfinished = 0;
  for (const auto& one : hard)
    unfinished += one.wait_for(std::chrono::seconds(0)) != std::future_status::ready ? 1 : 0;
  EXPECT_GE(unfinished, 3u);
  for (auto& one : hard) EXPECT_EQ(outcome_of(std::move(one)).code(), Code::kTooLarge);
}

TEST(GrammarCache, AFullQueueRefuses) {
  GrammarCacheLimits limits;
  limits.queue_of_scope_max = 1;
  limits.grammar.compile_ms_max = 300;
  GrammarCache cache(demo_vocabulary(), limits);
  std::vector<std::future<GrammarCache::Outcome>> all;
  all.reserve(12);
  for (int i = 0; i < 12; ++i) all.push_back(ask(cache, 1, Kind::kJsonSchema, hard_schema(i)));
  int refused = 0;
  for (auto& one : all) refused += outcome_of(std::move(one)).code() == Code::kOverloaded ? 1 : 0;
  EXPECT_GT(refused, 0);
}

}  // namespace
}  // namespace galley::text

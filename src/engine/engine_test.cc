// Tests of Engine: what a client hears. FakeRunner's tokens follow from the cache rows, so equal
// tokens prove that every row was computed, kept and shared rightly.
#include "engine/engine.h"

#include <gtest/gtest.h>

#include "engine/testing/harness.h"

namespace galley::engine {
namespace {

using testing::expected_of;
using testing::FakeRunner;
using testing::Harness;
using testing::Heard;
using testing::kEos;
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

}  // namespace
}  // namespace galley::engine

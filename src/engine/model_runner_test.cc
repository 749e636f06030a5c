#include "engine/model_runner.h"

#include <gtest/gtest.h>

#include "engine/load_model.h"
#include "engine/testing/tiny_models.h"

namespace galley::engine {
namespace {

using testing::load_tiny;
using testing::TinyOptions;
using testing::TinySequence;

// Tokens of `count` greedy steps after `prompt`, the prompt computed in chunks of `chunk`.
std::vector<int32_t> generate(LoadedModel* model, std::vector<int32_t> prompt, int32_t count,
                              int32_t chunk, bool drafts) {
  TinySequence sequence(model, std::move(prompt));
  sequence.prefill(chunk);
  while (static_cast<int32_t>(sequence.output().size()) < count) sequence.decode(drafts);
  std::vector<int32_t> tokens = sequence.output();
  tokens.resize(static_cast<size_t>(count));
  return tokens;
}

TEST(ModelRunner, ChunksAndDraftsDoNotChangeTokens) {
  const std::vector<int32_t> prompt = {5, 17, 3, 99, 42, 8, 1, 63, 77, 20, 11};
  auto plain = load_tiny({.drafts = 0});
  ASSERT_TRUE(plain.ok()) << plain.message();
  const std::vector<int32_t> expected = generate(&*plain, prompt, 40, 11, false);
  EXPECT_EQ(generate(&*plain, prompt, 40, 1, false), expected);
  EXPECT_EQ(generate(&*plain, prompt, 40, 4, false), expected);
  for (const int32_t drafts : {1, 3}) {
    auto drafting = load_tiny({.drafts = drafts});
    ASSERT_TRUE(drafting.ok()) << drafting.message();
    EXPECT_EQ(generate(&*drafting, prompt, 40, 5, true), expected) << drafts;
  }
}

TEST(ModelRunner, LoadsEveryArchitecture) {
  for (const char* name : {"v3", "v2_lite", "qwen2", "llama"}) {
    auto model = load_tiny({.name = name, .drafts = -1});
    ASSERT_TRUE(model.ok()) << name << ": " << model.message();
    EXPECT_EQ(generate(&*model, {1, 2, 3}, 8, 3, false), generate(&*model, {1, 2, 3}, 8, 2, false));
  }
}

}  // namespace
}  // namespace galley::engine

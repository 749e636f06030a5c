#include "engine/model_runner.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "engine/load_model.h"
#include "engine/testing/tiny_models.h"

namespace galley::engine {
namespace {

using testing::load_tiny;
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

// Logits do not depend on the request's own rules, so a prompt scored and a token reported agree.
TEST(ModelRunner, PromptScoresAreTheLogprobsOfThePrompt) {
  auto model = load_tiny({.drafts = 0});
  ASSERT_TRUE(model.ok()) << model.message();
  TinySequence first(&*model, {5, 17, 3, 99});
  first.prefill(4);
  while (first.output().size() < 90) first.decode(false);  // more rows than one piece of the head
  std::vector<int32_t> prompt = {5, 17, 3, 99};
  for (const int32_t token : first.output()) prompt.push_back(token);
  for (const int32_t chunk : {94, 13, 1}) {
    SamplingParams sampling = TinySequence::greedy();
    sampling.prompt_logprobs = 2;
    TinySequence scored(&*model, prompt, sampling);
    scored.prefill(chunk);
    ASSERT_EQ(scored.prompt_scores().size(), prompt.size() - 1);
    for (size_t i = 0; i < first.logprobs().size(); ++i) {
      const kernels::SampleResult& score = scored.prompt_scores()[i + 3];
      EXPECT_EQ(score.token, prompt[i + 4]);
      EXPECT_EQ(score.logprob, first.logprobs()[i]) << i;
      EXPECT_EQ(score.rank, 1) << "greedy took the best";
      ASSERT_EQ(score.num_top, 2);
      EXPECT_EQ(score.top[0].token, score.token);
    }
  }
}

TEST(ModelRunner, PenaltiesCountFromStepToStepAndThroughDrafts) {
  SamplingParams sampling = TinySequence::greedy();
  sampling.presence_penalty = 2.0f;
  sampling.frequency_penalty = 2.0f;
  sampling.repetition_penalty = 1.5f;
  const std::vector<int32_t> prompt = {5, 17, 3, 99, 5};
  auto plain = load_tiny({.drafts = 0});
  auto drafting = load_tiny({.drafts = 3});
  ASSERT_TRUE(plain.ok() && drafting.ok());
  TinySequence expected(&*plain, prompt, sampling), free(&*drafting, prompt);
  expected.prefill(5);
  while (expected.output().size() < 60) expected.decode(false);
  TinySequence actual(&*drafting, prompt, sampling, 8);
  actual.prefill(2);
  while (actual.output().size() < 60) actual.decode(true);
  std::vector<int32_t> tokens = actual.output();
  tokens.resize(expected.output().size());
  EXPECT_EQ(tokens, expected.output());
  // Each token of the output is new while there are any that were not: 160 of them.
  const std::set<int32_t> distinct(tokens.begin(), tokens.end());
  EXPECT_GT(distinct.size(), tokens.size() * 9 / 10);
  free.prefill(5);
  while (free.output().size() < 60) free.decode(true);
  const std::vector<int32_t> unbound = free.output();
  EXPECT_LT(std::set<int32_t>(unbound.begin(), unbound.end()).size(), distinct.size());
  // Forgotten, the same id starts from nothing.
  drafting->runner->forget(1);
  TinySequence again(&*drafting, prompt, sampling, 8);
  again.prefill(5);
  while (again.output().size() < 60) again.decode(true);
  EXPECT_EQ(again.output()[40], expected.output()[40]);
}

TEST(ModelRunner, BansEndTokensUntilMinTokensAlsoAmongDrafts) {
  auto plain = load_tiny({.drafts = 0});
  auto drafting = load_tiny({.drafts = 3});
  ASSERT_TRUE(plain.ok() && drafting.ok());
  const std::vector<int32_t> prompt = {9, 8, 7};
  TinySequence free(&*plain, prompt);
  free.prefill(3);
  while (free.output().size() < 30) free.decode(false);
  // Bans what greedy would take, for ten tokens.
  std::vector<int32_t> banned = free.output();
  banned.resize(20);
  SamplingParams sampling = TinySequence::greedy();
  sampling.min_tokens = 10;
  TinySequence expected(&*plain, prompt, sampling), actual(&*drafting, prompt, sampling);
  expected.ban(banned);
  actual.ban(banned);
  expected.prefill(3);
  actual.prefill(3);
  while (expected.output().size() < 30) expected.decode(false);
  while (actual.output().size() < 30) actual.decode(true);
  for (size_t i = 0; i < 30; ++i) {
    EXPECT_EQ(actual.output()[i], expected.output()[i]) << i;
    const bool is_banned =
        std::find(banned.begin(), banned.end(), expected.output()[i]) != banned.end();
    EXPECT_FALSE(is_banned && i < 10) << i;
  }
}

// logit_bias cannot allow what min_tokens bans; when nothing is left the item fails, not the step.
TEST(ModelRunner, AnItemWithoutAnyTokenFailsAlone) {
  auto model = load_tiny({.drafts = 1});
  ASSERT_TRUE(model.ok()) << model.message();
  std::vector<int32_t> all(160);
  std::iota(all.begin(), all.end(), 0);
  SamplingParams sampling = TinySequence::greedy();
  sampling.min_tokens = 1;
  const std::vector<int32_t> known = {1, 2, 3};
  const BlockId blocks[] = {0, 1};
  StepItem items[2];
  for (size_t i = 0; i < 2; ++i) {
    items[i].id = i + 1;
    items[i].known = known;
    items[i].prompt_len = 3;
    items[i].token_count = 3;
    items[i].samples = true;
    items[i].blocks = std::span(&blocks[i], 1);
    items[i].sampling = &sampling;
  }
  items[0].banned = all;
  const auto results = model->runner->execute(items);
  ASSERT_EQ(results.size(), 2u);
  EXPECT_EQ(results[0].status.code(), Code::kInvalid);
  EXPECT_TRUE(results[0].drafts.empty());
  EXPECT_TRUE(results[1].status.ok());
  EXPECT_EQ(results[1].tokens.size(), 1u);
  EXPECT_EQ(results[1].drafts.size(), 1u);
}

// Drafts stop where the request's blocks end.
TEST(ModelRunner, DraftsStayInsideTheBlocks) {
  auto model = load_tiny({.drafts = 3});
  ASSERT_TRUE(model.ok()) << model.message();
  const SamplingParams sampling = TinySequence::greedy();
  for (const auto& [length, drafts] :
       {std::pair<size_t, size_t>{60, 3}, {62, 3}, {63, 2}, {64, 1}}) {
    const std::vector<int32_t> known(length, 7);
    const BlockId block = 3;
    StepItem item;
    item.id = 1;
    item.known = known;
    item.prompt_len = item.token_count = static_cast<int32_t>(length);
    item.samples = true;
    item.blocks = {&block, 1};
    item.sampling = &sampling;
    EXPECT_EQ(model->runner->execute({&item, 1})[0].drafts.size(), drafts) << length;
  }
}

TEST(LoadModel, NamesWhatIsWrong) {
  const auto refused = [](const LoadOptions& options, Code code, const std::string& why) {
    const auto loaded = load_model_runner(options, nullptr);
    ASSERT_FALSE(loaded.ok()) << why;
    EXPECT_EQ(loaded.code(), code) << loaded.message();
    EXPECT_NE(loaded.message().find(why), std::string::npos) << loaded.message();
    EXPECT_EQ(plan_model(options).ok(), code == Code::kTooLarge);
  };
  LoadOptions options;
  options.folder = "/nonexistent";
  refused(options, Code::kNotFound, "config.json");
  const model::testing::TemporaryFolder folder;
  options.folder = folder.path();
  folder.write("config.json", testing::tiny_config("qwen2"));
  refused(options, Code::kNotFound, "model.safetensors");
  options.format = LoadFormat::kDummy;
  options.num_speculative_tokens = 1;
  refused(options, Code::kInvalid, "--speculative-config");
  options.num_speculative_tokens = -1;
  options.cache = CacheChoice::kFp8;
  refused(options, Code::kInvalid, "--kv-cache-dtype");
  options.cache = CacheChoice::kAuto;
  options.memory_bytes = 1 << 20;
  refused(options, Code::kTooLarge, "1048576 are available");
  EXPECT_FALSE(parse_dtype("int4").ok());
  EXPECT_FALSE(parse_cache_dtype("fp4").ok());
  EXPECT_FALSE(parse_load_format("gguf").ok());
  EXPECT_EQ(parse_cache_dtype("fp8_e4m3").value(), CacheChoice::kFp8);
}

// Quantised latents cost accuracy, not sense: the FP8 cache stays near the bf16 one.
TEST(LoadModel, EveryCacheFormatAnswers) {
  for (const CacheChoice cache :
       {CacheChoice::kFloat32, CacheChoice::kBFloat16, CacheChoice::kFp8}) {
    auto model = load_tiny({.drafts = 1, .cache = cache});
    ASSERT_TRUE(model.ok()) << model.message();
    EXPECT_EQ(generate(&*model, {4, 5, 6}, 20, 3, true),
              generate(&*model, {4, 5, 6}, 20, 1, false));
  }
}

}  // namespace
}  // namespace galley::engine

#include "cli/model_flags.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/text_model.h"

namespace galley::cli {
namespace {

using ::testing::HasSubstr;

TEST(SpeculativeConfig, IsReadStrictly) {
  EXPECT_EQ(*parse_speculative_config(R"({"method": "mtp", "num_speculative_tokens": 2})"), 2);
  EXPECT_EQ(*parse_speculative_config(R"({"method": "mtp"})"), -1);
  EXPECT_EQ(*parse_speculative_config(R"({"method": "none"})"), 0);
  const auto message = [](const char* text) { return parse_speculative_config(text).message(); };
  EXPECT_THAT(message(""), HasSubstr("not a JSON object"));
  EXPECT_THAT(message("[]"), HasSubstr("not a JSON object"));
  EXPECT_THAT(message("{}"), HasSubstr("method is missing"));
  EXPECT_THAT(message(R"({"method": "ngram"})"), HasSubstr("unknown method 'ngram'"));
  EXPECT_THAT(message(R"({"method": "mtp", "num_speculative_tokens": 0})"), HasSubstr("from 1"));
  EXPECT_THAT(message(R"({"method": "mtp", "num_speculative_tokens": "2"})"), HasSubstr("from 1"));
  EXPECT_THAT(message(R"({"method": "mtp", "model": "x"})"), HasSubstr("unknown key 'model'"));
  EXPECT_THAT(message(R"({"method": "none", "num_speculative_tokens": 1})"), HasSubstr("takes no"));
}

TEST(ModelFlags, WhatThePlanChoseIsFilledIn) {
  ModelFlags flags;
  model::MemoryPlan plan;
  plan.max_model_len = 4096;
  plan.max_num_seqs = 64;
  plan.max_num_batched_tokens = 2048;
  plan.num_blocks = 99;
  plan.memory_bytes = 1 << 30;
  fill_in(plan, &flags);
  EXPECT_EQ(flags.max_model_len, 4096);
  EXPECT_EQ(flags.max_num_batched_tokens, 2048);
  EXPECT_EQ(flags.num_blocks, 99);
  EXPECT_EQ(flags.memory_limit_bytes, 1 << 30);
  EXPECT_GT(flags.threads, 0);
}

TEST(ModelFolder, IsCalledByItsLastPart) {
  EXPECT_EQ(folder_name("models/demo"), "demo");
  EXPECT_EQ(folder_name("models/demo///"), "demo");
  EXPECT_EQ(folder_name("demo"), "demo");
  EXPECT_EQ(folder_name("/"), "/");
  EXPECT_EQ(folder_name("/c/models--org--a.b/snapshots/c0ffee/"), "org/a.b");
  EXPECT_EQ(folder_name("/c/models--gpt2/snapshots/c0ffee"), "gpt2");
  EXPECT_EQ(folder_name("/c/snapshots/x"), "x");
  EXPECT_NE(folder_name("."), ".");
}

TEST(TextModel, SeesWhetherATemplateWantsParsedArguments) {
  EXPECT_TRUE(wants_parsed_arguments("{{ tool_call.arguments | tojson }}"));
  EXPECT_TRUE(wants_parsed_arguments("{{tool['function']['arguments']|tojson}}"));
  EXPECT_FALSE(wants_parsed_arguments("{{ tool['function']['arguments'] + 'x' }}"));
  EXPECT_FALSE(wants_parsed_arguments("{{ tools | tojson }} arguments"));
  EXPECT_FALSE(wants_parsed_arguments("arguments |"));
}

TEST(TextModel, NamesTheFileThatIsMissing) {
  TextModelOptions options;
  options.folder = "/nonexistent";
  EXPECT_THAT(load_text_model(options).message(), HasSubstr("/nonexistent"));
}

}  // namespace
}  // namespace galley::cli

#include "gateway/choice_stream.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "gateway/testing/text_models.h"

namespace galley::gateway {
namespace {

constexpr int32_t kEos = 301;
constexpr int32_t kThink = 302;
constexpr int32_t kThinkEnd = 303;

std::vector<int32_t> bytes(const std::string& text) {
  std::vector<int32_t> out;
  for (const char c : text) out.push_back(static_cast<unsigned char>(c));
  return out;
}

std::vector<int32_t> joined(std::initializer_list<std::vector<int32_t>> parts) {
  std::vector<int32_t> out;
  for (const auto& part : parts) out.insert(out.end(), part.begin(), part.end());
  return out;
}

struct Case {
  std::vector<int32_t> tokens;
  ChoiceOptions options = {};
  api::CommonFields common = {};
  engine::FinishReason finish = engine::FinishReason::kLength;
  bool thinks = false;
};

// Runs the tokens in events of the sizes `next_size` gives.
template <typename NextSize>
api::Choice run(const Case& c, NextSize next_size) {
  const TextModel text = testing::tiny_text_model(c.thinks);
  ChoiceStream stream(c.options, c.common, text);
  api::Choice choice;
  size_t at = 0;
  while (at < c.tokens.size() && !stream.over()) {
    engine::Event event;
    event.prompt_tokens = 7;
    event.cached_tokens = 3;
    const size_t end = std::min(c.tokens.size(), at + next_size());
    for (; at < end; ++at) {
      engine::OutputToken token;
      token.token = c.tokens[at];
      token.logprob = -0.5f;
      event.tokens.push_back(token);
    }
    if (at == c.tokens.size()) {
      event.finish = c.finish;
      if (c.finish == engine::FinishReason::kStop) event.stop_token = c.tokens.back();
    }
    choice.append(stream.add(event));
  }
  EXPECT_TRUE(stream.over());
  return choice;
}

// One token at a time, and then a few random cuts, which must say the same.
api::Choice run(const Case& c) {
  api::Choice one = run(c, [] { return size_t{1}; });
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  for (int i = 0; i < 50; ++i) {
    const api::Choice other = run(c, [&] { return size_t{random() % 5 + 1}; });
    EXPECT_EQ(other.content, one.content);
    EXPECT_EQ(other.reasoning, one.reasoning);
    EXPECT_EQ(other.token_ids, one.token_ids);
    EXPECT_EQ(other.stop_text, one.stop_text);
    EXPECT_EQ(other.finish, one.finish);
    EXPECT_EQ(other.tool_calls.size(), one.tool_calls.size());
    EXPECT_EQ(other.usage.completion_tokens, one.usage.completion_tokens);
    EXPECT_EQ(other.usage.reasoning_tokens, one.usage.reasoning_tokens);
  }
  return one;
}

TEST(ChoiceStream, TextAndUsage) {
  Case c{.tokens = joined({bytes("a\xC3\xA9z"), {kEos}}), .finish = engine::FinishReason::kStop};
  const api::Choice out = run(c);
  EXPECT_EQ(out.content, "a\xC3\xA9z");
  EXPECT_EQ(out.finish, api::Finish::kStop);
  EXPECT_EQ(out.stop_token, -1);  // The model's own end is no stop_reason.
  EXPECT_EQ(out.usage.completion_tokens, 5);
  EXPECT_EQ(out.usage.prompt_tokens, 7);
  EXPECT_EQ(out.usage.cached_tokens, 3);
  EXPECT_EQ(out.token_ids.size(), 5u);
}

TEST(ChoiceStream, UnfinishedCharacterAtTheEnd) {
  const Case c{.tokens = bytes("a\xF0\x9F")};
  EXPECT_EQ(run(c).content, "a\xEF\xBF\xBD");
}

TEST(ChoiceStream, StopStringsAcrossTokens) {
  Case c{.tokens = bytes("one two three")};
  c.common.stop = {"never", "o th", "three"};
  api::Choice out = run(c);
  EXPECT_EQ(out.content, "one tw");
  EXPECT_EQ(out.stop_text, "o th");
  EXPECT_EQ(out.finish, api::Finish::kStop);
  EXPECT_EQ(out.usage.completion_tokens, 10);
  c.common.include_stop_str_in_output = true;
  EXPECT_EQ(run(c).content, "one two th");
}

TEST(ChoiceStream, AStopStringThatOnlyBeginsIsText) {
  Case c{.tokens = bytes("abcab")};
  c.common.stop = {"abd", "bca\xC3"};
  const api::Choice out = run(c);
  EXPECT_EQ(out.content, "abcab");
  EXPECT_EQ(out.finish, api::Finish::kLength);
  EXPECT_EQ(out.stop_text, "");
}

TEST(ChoiceStream, StopStringsWaitForMinTokens) {
  Case c{.tokens = bytes("axbxcx")};
  c.common.stop = {"x"};
  c.common.sampling.min_tokens = 3;
  const api::Choice out = run(c);
  EXPECT_EQ(out.content, "axb");
  EXPECT_EQ(out.usage.completion_tokens, 4);
}

TEST(ChoiceStream, StopTokensHaveNoText) {
  Case c{.tokens = bytes("abz"), .finish = engine::FinishReason::kStop};
  api::Choice out = run(c);
  EXPECT_EQ(out.content, "ab");
  EXPECT_EQ(out.stop_token, 'z');
  c.common.include_stop_str_in_output = true;
  EXPECT_EQ(run(c).content, "abz");
}

TEST(ChoiceStream, ThoughtOpenedByTheTemplate) {
  Case c{.tokens = joined({bytes("\nhm, so \n"), {kThinkEnd}, bytes("\n\nyes \n")}),
         .options = {.chat = true, .thinking_open = true},
         .thinks = true};
  const api::Choice out = run(c);
  EXPECT_EQ(out.reasoning, "hm, so");
  EXPECT_EQ(out.content, "yes \n");
  EXPECT_EQ(out.usage.reasoning_tokens, 9);
}

TEST(ChoiceStream, ThoughtOpenedByTheModel) {
  Case c{.tokens = joined({{'\n', kThink}, bytes("hm"), {kThinkEnd}, bytes("yes")}),
         .options = {.chat = true},
         .thinks = true};
  api::Choice out = run(c);
  EXPECT_EQ(out.reasoning, "hm");
  EXPECT_EQ(out.content, "yes");
  EXPECT_EQ(out.usage.reasoning_tokens, 2);
  c.tokens = bytes("<think>spelt</think>out");  // As text, not as tokens.
  out = run(c);
  EXPECT_EQ(out.reasoning, "spelt");
  EXPECT_EQ(out.content, "out");
}

TEST(ChoiceStream, ThoughtThatNeverEnds) {
  const Case c{.tokens = bytes("hm </thi"),
               .options = {.chat = true, .thinking_open = true},
               .thinks = true};
  const api::Choice out = run(c);
  EXPECT_EQ(out.reasoning, "hm </thi");
  EXPECT_EQ(out.content, "");
}

TEST(ChoiceStream, NoThought) {
  Case c{.tokens = bytes("<thin ice"), .options = {.chat = true}, .thinks = true};
  EXPECT_EQ(run(c).content, "<thin ice");
  c.tokens = bytes("  <");
  EXPECT_EQ(run(c).content, "  <");
  c.options.chat = false;  // Text completions are given as they are.
  c.tokens = bytes("<think>a</think>b");
  EXPECT_EQ(run(c).content, "<think>a</think>b");
}

TEST(ChoiceStream, StopStringInsideTheThought) {
  Case c{.tokens = bytes("abc stop def"),
         .options = {.chat = true, .thinking_open = true},
         .thinks = true};
  c.common.stop = {"stop"};
  const api::Choice out = run(c);
  EXPECT_EQ(out.reasoning, "abc");
  EXPECT_EQ(out.finish, api::Finish::kStop);
}

std::string call_in_v3(const std::string& name, const std::string& arguments) {
  return "<｜tool▁call▁begin｜>function<｜tool▁sep｜>" + name + "\n```json\n" + arguments +
         "\n```<｜tool▁call▁end｜>";
}

TEST(ChoiceStream, ToolCallsOfV3) {
  Case c{.tokens = joined({bytes("so: <｜tool▁calls▁begin｜>" + call_in_v3("sum", "{\"a\": [1]}") +
                                 "\n" + call_in_v3("clock", "{}") + "<｜tool▁calls▁end｜>"),
                           {kEos}}),
         .options = {.chat = true, .tool_calls = true},
         .finish = engine::FinishReason::kStop};
  api::Choice out = run(c);
  EXPECT_EQ(out.content, "so: ");
  EXPECT_EQ(out.finish, api::Finish::kToolCalls);
  ASSERT_EQ(out.tool_calls.size(), 2u);
  EXPECT_EQ(out.tool_calls[0].name, "sum");
  EXPECT_EQ(out.tool_calls[0].arguments, "{\"a\": [1]}");
  EXPECT_EQ(out.tool_calls[1].name, "clock");
  EXPECT_EQ(out.tool_calls[1].index, 1);
  EXPECT_TRUE(out.tool_calls[0].id.starts_with("call_"));
  EXPECT_NE(out.tool_calls[0].id, out.tool_calls[1].id);
  c.options.one_tool_call = true;
  EXPECT_EQ(run(c).tool_calls.size(), 1u);
  c.options.tool_calls = false;  // Without tools it is text.
  EXPECT_TRUE(run(c).content.ends_with("<｜tool▁calls▁end｜>"));
}

TEST(ChoiceStream, ToolCallsOfV31) {
  const Case c{
      .tokens = bytes("<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>sum<｜tool▁sep｜>{\"a\":1}"
                      "<｜tool▁call▁end｜><｜tool▁calls▁end｜> done"),
      .options = {.chat = true, .tool_calls = true}};
  const api::Choice out = run(c);
  ASSERT_EQ(out.tool_calls.size(), 1u);
  EXPECT_EQ(out.tool_calls[0].name, "sum");
  EXPECT_EQ(out.tool_calls[0].arguments, "{\"a\":1}");
  EXPECT_EQ(out.content, " done");
  EXPECT_EQ(out.finish, api::Finish::kLength);
}

TEST(ChoiceStream, WhatIsNoCallIsText) {
  const std::string nonsense =
      "<｜tool▁calls▁begin｜>a<｜tool▁call▁end｜><｜tool▁call▁begin｜>b<｜tool▁call▁end｜>";
  Case c{.tokens = bytes(nonsense), .options = {.chat = true, .tool_calls = true}};
  api::Choice out = run(c);
  EXPECT_TRUE(out.tool_calls.empty());
  EXPECT_EQ(out.content, nonsense.substr(text::kCallsBegin.size()));
  c.tokens = bytes("<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>sum<｜tool▁sep｜>{\"a");
  out = run(c);
  EXPECT_TRUE(out.tool_calls.empty());
  EXPECT_TRUE(out.content.ends_with("{\"a"));
}

TEST(ChoiceStream, LogprobsStandWithTheirTokens) {
  Case c{.tokens = bytes("a\xC3\xA9")};
  c.common.sampling.logprobs = 0;
  const api::Choice out = run(c);
  ASSERT_EQ(out.logprobs.size(), 3u);
  EXPECT_EQ(out.logprobs[1].bytes, "\xC3");
  EXPECT_FLOAT_EQ(out.logprobs[1].logprob, -0.5f);
}

}  // namespace
}  // namespace galley::gateway

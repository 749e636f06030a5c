#include "api/chat.h"

#include <gtest/gtest.h>

#include <string>

#include "api/completions.h"
#include "api/tokenize.h"

namespace galley::api {
namespace {

ParseContext context() {
  ParseContext context;
  context.vocab_size = 1000;
  return context;
}

Parsed<ChatRequest> chat(const std::string& messages, const std::string& more = "") {
  return parse_chat_request("{\"messages\":" + messages + more + "}", context());
}

std::string text_of(const Parsed<ChatRequest>& parsed) {
  return boost::json::serialize(parsed.value.messages);
}

TEST(Messages, Shapes) {
  const auto parsed = chat(
      "[{\"role\":\"developer\",\"content\":\"be good\"},"
      "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},"
      "{\"type\":\"text\",\"text\":\"b\"}],\"name\":\"me\",\"odd\":1},"
      "{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"c1\",\"type\":\"function\","
      "\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},"
      "{\"role\":\"tool\",\"tool_call_id\":\"c1\",\"content\":\"42\"},"
      "{\"role\":\"assistant\",\"content\":\"x\",\"reasoning_content\":\"y\"}]");
  ASSERT_TRUE(parsed.ok()) << parsed.error->message;
  EXPECT_EQ(text_of(parsed),
            "[{\"role\":\"system\",\"content\":\"be good\"},"
            "{\"role\":\"user\",\"content\":\"a\\nb\",\"name\":\"me\"},"
            "{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"c1\",\"type\":\"function\","
            "\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}],\"content\":null},"
            "{\"role\":\"tool\",\"content\":\"42\",\"tool_call_id\":\"c1\"},"
            "{\"role\":\"assistant\",\"content\":\"x\",\"reasoning_content\":\"y\"}]");
}

TEST(Messages, ErrorsNameThePlace) {
  struct Case {
    const char* messages;
    const char* param;
  };
  for (const Case& c : {
           Case{"[]", "messages"},
           Case{"{}", "messages"},
           Case{"null", "messages"},
           Case{"[1]", "messages[0]"},
           Case{"[{}]", "messages[0].role"},
           Case{"[{\"role\":\"king\",\"content\":\"x\"}]", "messages[0].role"},
           Case{"[{\"role\":5,\"content\":\"x\"}]", "messages[0].role"},
           Case{"[{\"role\":\"user\"}]", "messages[0].content"},
           Case{"[{\"role\":\"user\",\"content\":5}]", "messages[0].content"},
           Case{"[{\"role\":\"user\",\"content\":[5]}]", "messages[0].content[0]"},
           Case{"[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}]",
                "messages[0].content[0].type"},
           Case{"[{\"role\":\"user\",\"content\":[{\"type\":\"text\"}]}]",
                "messages[0].content[0].text"},
           Case{"[{\"role\":\"assistant\",\"tool_calls\":5}]", "messages[0].tool_calls"},
           Case{"[{\"role\":\"assistant\",\"tool_calls\":[{}]}]",
                "messages[0].tool_calls[0].function"},
           Case{"[{\"role\":\"assistant\",\"tool_calls\":[{\"function\":{\"name\":1}}]}]",
                "messages[0].tool_calls[0].function.name"},
           Case{"[{\"role\":\"assistant\",\"content\":\"a\",\"prefix\":true},"
                "{\"role\":\"user\",\"content\":\"b\"}]",
                "messages[0].prefix"},
       }) {
    const auto parsed = chat(c.messages);
    ASSERT_FALSE(parsed.ok()) << c.messages;
    EXPECT_EQ(parsed.error->param, c.param) << parsed.error->message;
  }
}

TEST(Messages, AssistantMayBeEmpty) {
  EXPECT_TRUE(chat("[{\"role\":\"assistant\"}]").ok());
  EXPECT_TRUE(chat("[{\"role\":\"assistant\",\"content\":null}]").ok());
}

TEST(Messages, PrefixContinues) {
  const auto parsed = chat(
      "[{\"role\":\"user\",\"content\":\"a\"},"
      "{\"role\":\"assistant\",\"content\":\"b\",\"prefix\":true}]");
  ASSERT_TRUE(parsed.ok());
  EXPECT_TRUE(parsed.value.continue_final_message);
  EXPECT_FALSE(parsed.value.add_generation_prompt);
}

TEST(Thinking, Dialects) {
  const auto thinking = [](const std::string& fields) {
    const auto parsed = chat("[{\"role\":\"user\",\"content\":\"a\"}]", "," + fields);
    EXPECT_TRUE(parsed.ok()) << parsed.error->message;
    return parsed.value.thinking;
  };
  EXPECT_EQ(thinking("\"x\":1").enabled, std::nullopt);
  EXPECT_EQ(thinking("\"thinking\":{\"type\":\"disabled\"}").enabled, false);
  EXPECT_EQ(thinking("\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":7}").budget_tokens, 7);
  EXPECT_EQ(thinking("\"reasoning_effort\":\"none\"").enabled, false);
  EXPECT_EQ(thinking("\"reasoning_effort\":\"low\"").budget_tokens, 1024);
  EXPECT_EQ(thinking("\"reasoning_effort\":\"high\"").budget_tokens, std::nullopt);
  // The exact number goes before the effort.
  EXPECT_EQ(thinking("\"reasoning_effort\":\"low\",\"thinking_token_budget\":9").budget_tokens, 9);
  EXPECT_EQ(thinking("\"reasoning_effort\":\"low\",\"thinking_token_budget\":-1").budget_tokens,
            std::nullopt);
}

TEST(Chat, ToolsAreLeftOutWhenNotWanted) {
  const std::string tools =
      ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}],\"tool_choice\":";
  EXPECT_EQ(chat("[{\"role\":\"user\",\"content\":\"a\"}]", tools + "\"auto\"").value.tools.size(),
            1u);
  EXPECT_TRUE(
      chat("[{\"role\":\"user\",\"content\":\"a\"}]", tools + "\"none\"").value.tools.empty());
}

TEST(Chat, ACallCanBeForced) {
  const std::string tools =
      ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}],\"tool_choice\":";
  const std::string hello = "[{\"role\":\"user\",\"content\":\"a\"}]";
  EXPECT_FALSE(chat(hello, tools + "\"auto\"").value.tool_required);
  EXPECT_TRUE(chat(hello, tools + "\"required\"").value.tool_required);
  const auto named = chat(hello, tools + "{\"type\":\"function\",\"function\":{\"name\":\"f\"}}");
  EXPECT_TRUE(named.value.tool_required);
  EXPECT_EQ(named.value.tool_name, "f");
  EXPECT_EQ(
      chat(hello, tools + "{\"type\":\"function\",\"function\":{\"name\":\"g\"}}").error->param,
      "tool_choice");
  EXPECT_EQ(chat(hello, tools + "\"required\",\"response_format\":{\"type\":\"json_object\"}")
                .error->param,
            "tool_choice");
}

TEST(Chat, UnknownFieldsAreIgnored) {
  const auto parsed = chat("[{\"role\":\"user\",\"content\":\"a\"}]", ",\"store\":true,\"zz\":[1]");
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(parsed.value.unknown_fields, (std::vector<std::string>{"store", "zz"}));
}

TEST(Chat, ManyMessages) {
  std::string messages = "[{\"role\":\"user\",\"content\":\"a\"}";
  for (int i = 0; i < 4096; ++i) messages += ",{\"role\":\"user\",\"content\":\"a\"}";
  EXPECT_EQ(chat(messages + "]").error->code, "array_above_max_length");
}

TEST(Completions, PromptShapes) {
  const auto prompts = [](const std::string& prompt) {
    return parse_completion_request("{\"prompt\":" + prompt + "}", context());
  };
  EXPECT_EQ(std::get<std::string>(prompts("\"a\"").value.prompts.at(0)), "a");
  EXPECT_EQ(prompts("[\"a\",\"b\"]").value.prompts.size(), 2u);
  EXPECT_EQ(std::get<std::vector<int32_t>>(prompts("[1,2]").value.prompts.at(0)),
            (std::vector<int32_t>{1, 2}));
  EXPECT_EQ(prompts("[[1],[2,3]]").value.prompts.size(), 2u);
  for (const char* bad : {"null", "[]", "[[]]", "[1000]", "[-1]", "[1.5]", "[\"a\",1]", "[1,\"a\"]",
                          "[[1],\"a\"]", "[[\"a\"]]", "{}", "5", "[null]", "[1e309]"}) {
    const auto parsed = prompts(bad);
    ASSERT_FALSE(parsed.ok()) << bad;
    EXPECT_EQ(parsed.error->param, "prompt") << bad;
  }
  EXPECT_FALSE(parse_completion_request("{}", context()).ok());
}

TEST(Completions, ChoicesAreBounded) {
  const auto parsed = parse_completion_request("{\"prompt\":[\"a\",\"b\"],\"n\":65}", context());
  ASSERT_FALSE(parsed.ok());
  EXPECT_EQ(parsed.error->param, "n");
}

TEST(Tokenize, PromptOrMessages) {
  const auto by_prompt = parse_tokenize_request("{\"prompt\":\"a\"}", context());
  ASSERT_TRUE(by_prompt.ok());
  EXPECT_TRUE(by_prompt.value.add_special_tokens);
  const auto by_messages =
      parse_tokenize_request("{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}", context());
  ASSERT_TRUE(by_messages.ok());
  EXPECT_FALSE(by_messages.value.add_special_tokens);
  EXPECT_FALSE(parse_tokenize_request("{}", context()).ok());
  EXPECT_FALSE(parse_tokenize_request("{\"prompt\":1}", context()).ok());
  EXPECT_EQ(parse_detokenize_request("{\"tokens\":[1000]}", context()).error->param, "tokens");
  EXPECT_EQ(parse_detokenize_request("{}", context()).error->param, "tokens");
  EXPECT_TRUE(parse_detokenize_request("{\"tokens\":[]}", context()).ok());
}

TEST(Chat, ANameMaySayWhetherToThink) {
  const auto thinks = [](std::string_view name, ThinkingFields thinking = {}) {
    apply_model_alias(name, thinking);
    return thinking.enabled;
  };
  EXPECT_EQ(thinks("deepseek-chat"), false);
  EXPECT_EQ(thinks("deepseek-reasoner"), true);
  EXPECT_EQ(thinks("demo"), std::nullopt);
  EXPECT_EQ(thinks("deepseek-chat", {.enabled = true, .budget_tokens = {}}), true);
}

}  // namespace
}  // namespace galley::api

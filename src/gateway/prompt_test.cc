#include "gateway/prompt.h"

#include <gtest/gtest.h>

#include <string>

#include "gateway/testing/text_models.h"

namespace galley::gateway {
namespace {

namespace json = boost::json;

constexpr int32_t kContext = 1000;

api::ChatRequest chat(const std::string& content) {
  api::ChatRequest request;
  request.messages = {{{"role", "user"}, {"content", content}}};
  return request;
}

// What the template is given.
json::object context_of(const api::ChatRequest& request, bool arguments_as_objects = false) {
  json::object seen;
  TextModel text = testing::tiny_text_model(true);
  text.arguments_as_objects = arguments_as_objects;
  text.render_chat = [&seen](const json::object& context) -> Result<std::string> {
    seen = context;
    return std::string("x");
  };
  EXPECT_FALSE(prepare(request, text, kContext).error);
  return seen;
}

TEST(Prompt, TheTemplateGetsWhatWasAsked) {
  api::ChatRequest request = chat("hi");
  json::object context = context_of(request);
  EXPECT_FALSE(context.contains("tools"));
  EXPECT_FALSE(context.contains("thinking"));
  EXPECT_EQ(context.at("add_generation_prompt").as_bool(), true);
  request.tools = {{{"type", "function"}, {"function", {{"name", "f"}}}}};
  request.thinking.enabled = false;
  request.template_kwargs = {{"enable_thinking", true}, {"style", "short"}};
  context = context_of(request);
  EXPECT_EQ(context.at("tools").as_array().size(), 1u);
  EXPECT_EQ(context.at("thinking").as_bool(), false);
  EXPECT_EQ(context.at("enable_thinking").as_bool(), true);  // The client's own word counts.
  EXPECT_EQ(context.at("style").as_string(), "short");
}

TEST(Prompt, FillsInBetweenWhereTheModelCan) {
  TextModel text = testing::tiny_text_model(true);
  api::CompletionRequest request;
  request.prompts = {std::string("ab"), std::string("c")};
  request.suffix = "yz";
  const Prepared refused = prepare(request, text, kContext);
  ASSERT_TRUE(refused.error);
  EXPECT_EQ(refused.error->http, 400);
  EXPECT_EQ(refused.error->param, "suffix");
  text.fill = {"<think>", "</think>", "<eos>"};  // Any tokens will do.
  const Prepared filled = prepare(request, text, kContext);
  ASSERT_FALSE(filled.error);
  EXPECT_EQ(filled.prompts.at(0).tokens, (std::vector<int32_t>{302, 'a', 'b', 303, 'y', 'z', 301}));
  EXPECT_EQ(filled.prompts.at(1).tokens, (std::vector<int32_t>{302, 'c', 303, 'y', 'z', 301}));
}

TEST(Prompt, ArgumentsAsTheTemplateWantsThem) {
  const auto call = [](const char* arguments) {
    return json::object{{"function", {{"name", "f"}, {"arguments", arguments}}}};
  };
  api::ChatRequest request = chat("hi");
  request.messages.push_back(
      json::object{{"role", "assistant"},
                   {"content", nullptr},
                   {"tool_calls", json::array{call("{\"a\":1}"), call("}{"), call("[1]")}}});
  const auto arguments = [&](bool as_objects, size_t index) {
    const json::object context = context_of(request, as_objects);
    return context.at("messages").at(1).at("tool_calls").at(index).at("function").at("arguments");
  };
  EXPECT_EQ(arguments(false, 0).as_string(), "{\"a\":1}");
  EXPECT_EQ(arguments(true, 0).at("a").as_int64(), 1);
  EXPECT_EQ(arguments(true, 1).as_string(), "}{");  // Not JSON: left alone.
  EXPECT_EQ(arguments(true, 2).as_string(), "[1]");
}

TEST(Prompt, WhetherAThoughtIsOpen) {
  const auto open = [](const api::ChatRequest& request, bool thinks) {
    const Prepared prepared = prepare(request, testing::tiny_text_model(thinks), kContext);
    EXPECT_FALSE(prepared.error);
    return prepared.prompts.at(0).thinking_open;
  };
  EXPECT_TRUE(open(chat("hi"), true));
  EXPECT_FALSE(open(chat("hi"), false));
  api::ChatRequest request = chat("what does <think> mean?");
  request.add_generation_prompt = false;
  EXPECT_FALSE(open(request, true));
  request.messages.push_back(json::object{{"role", "assistant"}, {"content", "<think>well"}});
  request.continue_final_message = true;
  EXPECT_TRUE(open(request, true));
  request.messages.back().as_object()["content"] = "<think>well</think>so";
  EXPECT_FALSE(open(request, true));
}

TEST(Prompt, NothingToContinue) {
  api::ChatRequest request = chat("  ");
  request.continue_final_message = true;
  const Prepared prepared = prepare(request, testing::tiny_text_model(true), kContext);
  ASSERT_TRUE(prepared.error);
  EXPECT_EQ(prepared.error->param, "messages");
}

TEST(Prompt, TheContextIsABound) {
  const TextModel text = testing::tiny_text_model(true);
  api::CompletionRequest request;
  request.common.max_tokens = 1;
  const auto error = [&](size_t bytes) {
    request.prompts = {std::string(bytes, 'x')};
    return prepare(request, text, kContext).error;
  };
  EXPECT_FALSE(error(999));
  ASSERT_TRUE(error(1000));
  EXPECT_EQ(error(1000)->code, "context_length_exceeded");
  EXPECT_EQ(error(1000)->param, "prompt");
  request.common.max_tokens = 10;
  EXPECT_FALSE(error(990));
  EXPECT_TRUE(error(991));
  request.common.max_tokens = 0;  // An echo samples one token all the same.
  EXPECT_TRUE(error(1000));
}

TEST(Prompt, EngineRequest) {
  const TextModel text = testing::tiny_text_model(true);
  api::ChatRequest request = chat("hi");
  request.common.sampling.top_k = 7;
  request.thinking.budget_tokens = 9;
  const Prepared prepared = prepare(request, text, kContext);
  const PreparedPrompt& prompt = prepared.prompts.at(0);
  const auto make = [&](int32_t choice) {
    return engine_request(request, prompt, text, kContext, choice, 5);
  };
  const engine::Request first = make(0);
  EXPECT_EQ(first.sampling.seed, 5u);
  EXPECT_NE(make(1).sampling.seed, 5u);
  EXPECT_NE(make(1).sampling.seed, make(2).sampling.seed);
  EXPECT_EQ(first.sampling.max_tokens, kContext - static_cast<int32_t>(prompt.tokens.size()));
  EXPECT_EQ(first.sampling.top_k, 7);
  EXPECT_EQ(first.cache_scope, 0u);
  EXPECT_TRUE(first.thinking.open_at_start);
  EXPECT_EQ(first.thinking.budget, 9);
  request.thinking.enabled = false;
  EXPECT_EQ(make(0).thinking.budget, 0);
  request.common.cache_salt = "a";
  const uint64_t scope = make(0).cache_scope;
  EXPECT_NE(scope, 0u);
  EXPECT_EQ(make(1).cache_scope, scope);
  request.common.cache_salt = "b";
  EXPECT_NE(make(0).cache_scope, scope);
}

TEST(Prompt, Tokenize) {
  const TextModel text = testing::tiny_text_model(true);
  api::TokenizeRequest request;
  request.chat = chat("hi");
  const auto tokens = tokenize(request, text);
  ASSERT_TRUE(tokens.ok());
  EXPECT_EQ(text.tokenizer->decode(tokens.value.ids, false), "user:hi|A:<think>");
  EXPECT_TRUE(tokens.value.spellings.empty());
}

}  // namespace
}  // namespace galley::gateway

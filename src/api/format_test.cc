#include "api/format.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <string>

#include "api/errors.h"
#include "api/http_status.h"
#include "api/models.h"
#include "api/sse.h"
#include "api/tokenize.h"

namespace galley::api {
namespace {

namespace json = boost::json;

const ResponseHead kHead{"chatcmpl-1", 1700000000, "demo", "galley-0"};

json::value parsed(const std::string& text) {
  json::error_code failure;
  json::value value = json::parse(text, failure);
  EXPECT_FALSE(failure) << text;
  return value;
}

TokenLogprob token(const std::string& bytes, int32_t id, float logprob) {
  TokenLogprob out{bytes, id, logprob, 1, {}};
  out.top = {{bytes, id, logprob}, {"other", 9, -3.0f}};
  return out;
}

Choice choice() {
  Choice out;
  out.content = "hi \xF0\x9F\x98\x80";
  out.reasoning = "hm";
  out.logprobs = {token("hi", 5, -0.5f), token("\xF0\x9F", 6, -1.0f)};
  out.token_ids = {5, 6};
  out.finish = Finish::kStop;
  out.usage = {10, 4, 2, 1};
  return out;
}

TEST(ChatFormat, Whole) {
  PromptInfo prompt;
  prompt.token_ids = {1, 2};
  ResponseOptions options;
  const Usage usage{10, 4, 2, 1};
  EXPECT_EQ(chat_response(kHead, options, {choice()}, prompt, usage),
            "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1700000000,"
            "\"model\":\"demo\",\"system_fingerprint\":\"galley-0\",\"choices\":[{\"index\":0,"
            "\"message\":{\"role\":\"assistant\",\"content\":\"hi \xF0\x9F\x98\x80\","
            "\"refusal\":null,\"reasoning_content\":\"hm\"},\"logprobs\":null,"
            "\"finish_reason\":\"stop\",\"stop_reason\":null}],\"usage\":{\"prompt_tokens\":10,"
            "\"completion_tokens\":2,\"total_tokens\":12,"
            "\"prompt_tokens_details\":{\"cached_tokens\":4},"
            "\"completion_tokens_details\":{\"reasoning_tokens\":1},"
            "\"prompt_cache_hit_tokens\":4,\"prompt_cache_miss_tokens\":6}}");
}

TEST(ChatFormat, LogprobsHaveBytes) {
  ResponseOptions options;
  options.logprobs = true;
  options.token_ids = true;
  PromptInfo prompt;
  prompt.token_ids = {1, 2};
  const json::value body = parsed(chat_response(kHead, options, {choice()}, prompt, {}));
  const json::value& first = body.at("choices").at(0);
  const json::value& half = first.at("logprobs").at("content").at(1);
  EXPECT_EQ(json::serialize(half.at("bytes")), "[240,159]");
  EXPECT_EQ(half.at("token").as_string(), "\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_EQ(half.at("top_logprobs").as_array().size(), 2u);
  EXPECT_EQ(json::serialize(first.at("token_ids")), "[5,6]");
  EXPECT_EQ(json::serialize(body.at("prompt_token_ids")), "[1,2]");
  options.tokens_as_token_ids = true;
  const json::value by_id = parsed(chat_response(kHead, options, {choice()}, prompt, {}));
  EXPECT_EQ(by_id.at("choices").at(0).at("logprobs").at("content").at(0).at("token").as_string(),
            "token_id:5");
}

TEST(ChatFormat, ToolCalls) {
  Choice out;
  Delta first;
  first.tool_calls = {{0, "call_1", "clock", "{\"a\""}};
  Delta rest;
  rest.tool_calls = {{0, "", "", ":1}"}, {1, "call_2", "sum", "{}"}};
  rest.finish = Finish::kToolCalls;
  const ResponseOptions options;
  EXPECT_EQ(
      json::serialize(parsed(chat_chunk(kHead, options, first)).at("choices").at(0).at("delta")),
      "{\"tool_calls\":[{\"index\":0,\"id\":\"call_1\",\"type\":\"function\",\"function\":"
      "{\"name\":\"clock\",\"arguments\":\"{\\\"a\\\"\"}}]}");
  out.append(std::move(first));
  out.append(std::move(rest));
  const json::value body = parsed(chat_response(kHead, options, {out}, {}, {}));
  const json::value& message = body.at("choices").at(0).at("message");
  EXPECT_TRUE(message.at("content").is_null());
  EXPECT_EQ(message.at("tool_calls").at(0).at("function").at("arguments").as_string(), "{\"a\":1}");
  EXPECT_EQ(message.at("tool_calls").at(1).at("id").as_string(), "call_2");
  EXPECT_EQ(body.at("choices").at(0).at("finish_reason").as_string(), "tool_calls");
}

TEST(ChatFormat, Chunks) {
  ResponseOptions options;
  options.include_usage = true;
  EXPECT_EQ(chat_role_chunk(kHead, options, 1, {}),
            "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,"
            "\"model\":\"demo\",\"system_fingerprint\":\"galley-0\",\"choices\":[{\"index\":1,"
            "\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,"
            "\"finish_reason\":null}],\"usage\":null}");
  Delta nothing;
  EXPECT_EQ(chat_chunk(kHead, options, nothing), "");
  Delta end;
  end.finish = Finish::kStop;
  end.stop_text = "END";
  const json::value last = parsed(chat_chunk(kHead, options, end));
  EXPECT_EQ(json::serialize(last.at("choices").at(0).at("delta")), "{}");
  EXPECT_EQ(last.at("choices").at(0).at("stop_reason").as_string(), "END");
  const json::value usage = parsed(chat_usage_chunk(kHead, {3, 0, 4, 0}));
  EXPECT_TRUE(usage.at("choices").as_array().empty());
  EXPECT_EQ(usage.at("usage").at("total_tokens").as_int64(), 7);
  Delta thought;
  thought.reasoning = "hm";
  options.reasoning = false;
  EXPECT_EQ(chat_chunk(kHead, options, thought), "");
}

TEST(CompletionFormat, EchoWithLogprobs) {
  ResponseOptions options;
  options.logprobs = true;
  PromptInfo prompt;
  prompt.text = "a\xC3\xA9";
  prompt.tokens = {token("a", 1, 0), token("\xC3\xA9", 2, 0)};
  prompt.logprobs = {token("\xC3\xA9", 2, -2.0f)};
  Choice answer;
  answer.content = "b";
  answer.logprobs = {token("b", 3, -0.5f)};
  answer.finish = Finish::kLength;
  const json::value body =
      parsed(completion_response(kHead, options, {answer}, {prompt}, {.echo = true}, {}));
  const json::value& first = body.at("choices").at(0);
  EXPECT_EQ(first.at("text").as_string(),
            "a\xC3\xA9"
            "b");
  EXPECT_EQ(json::serialize(first.at("logprobs").at("tokens")), "[\"a\",\"\xC3\xA9\",\"b\"]");
  EXPECT_EQ(json::serialize(first.at("logprobs").at("text_offset")), "[0,1,2]");
  EXPECT_TRUE(first.at("logprobs").at("token_logprobs").at(0).is_null());
  EXPECT_TRUE(first.at("logprobs").at("top_logprobs").at(0).is_null());
  EXPECT_DOUBLE_EQ(first.at("logprobs").at("token_logprobs").at(2).as_double(), -0.5);
  const json::value only = parsed(
      completion_response(kHead, options, {answer}, {prompt}, {.echo = true, .only = true}, {}));
  EXPECT_EQ(only.at("choices").at(0).at("text").as_string(), "a\xC3\xA9");
  EXPECT_EQ(only.at("choices").at(0).at("logprobs").at("tokens").as_array().size(), 2u);
}

TEST(CompletionFormat, ChunksCountOffsets) {
  ResponseOptions options;
  options.logprobs = true;
  int64_t offset = 0;
  PromptInfo prompt;
  prompt.text = "abc";
  prompt.tokens = {token("abc", 1, 0)};
  EXPECT_FALSE(completion_echo_chunk(kHead, options, 0, prompt, offset).empty());
  EXPECT_EQ(offset, 3);
  Delta delta;
  delta.content = "de";
  delta.logprobs = {token("de", 4, -1.0f)};
  const json::value chunk = parsed(completion_chunk(kHead, options, delta, nullptr, offset));
  EXPECT_EQ(json::serialize(chunk.at("choices").at(0).at("logprobs").at("text_offset")), "[3]");
  EXPECT_EQ(offset, 5);
}

TEST(CompletionFormat, ChoicesFindTheirPrompts) {
  PromptInfo first;
  first.text = "A";
  PromptInfo second;
  second.prompt = 1;
  second.text = "B";
  const json::value body = parsed(completion_response(
      kHead, {}, {choice(), choice(), choice(), choice()}, {first, second}, {.echo = true}, {}));
  EXPECT_TRUE(body.at("choices").at(1).at("text").as_string().starts_with("A"));
  EXPECT_TRUE(body.at("choices").at(2).at("text").as_string().starts_with("B"));
  EXPECT_EQ(body.at("choices").at(3).at("index").as_int64(), 3);
}

TEST(Usage, SumsPromptsOnce) {
  std::vector<Choice> choices(4);
  for (Choice& one : choices) one.usage = {10, 4, 2, 1};
  const Usage sum = sum_usage(choices, 2);
  EXPECT_EQ(sum.prompt_tokens, 20);
  EXPECT_EQ(sum.cached_tokens, 8);
  EXPECT_EQ(sum.completion_tokens, 8);
  EXPECT_EQ(sum.reasoning_tokens, 4);
}

TEST(Errors, TableAndBody) {
  EXPECT_EQ(http_status(Code::kInvalid), 400);
  EXPECT_EQ(http_status(Code::kNotFound), 404);
  EXPECT_EQ(http_status(Code::kTooLarge), 413);
  EXPECT_EQ(http_status(Code::kOverloaded), 429);
  EXPECT_EQ(http_status(Code::kDeadline), 504);
  EXPECT_EQ(http_status(Code::kUnavailable), 503);
  EXPECT_EQ(http_status(Code::kCorrupt), 500);
  const Error error = error_of(Status(Code::kOverloaded, "later"));
  EXPECT_GT(error.retry_after_s, 0);
  EXPECT_EQ(error_body(error),
            "{\"error\":{\"message\":\"later\",\"type\":\"rate_limit_error\",\"param\":null,"
            "\"code\":\"overloaded\"}}");
  EXPECT_EQ(error_body(invalid("n", "invalid_value", "n is 0")),
            "{\"error\":{\"message\":\"n is 0\",\"type\":\"invalid_request_error\","
            "\"param\":\"n\",\"code\":\"invalid_value\"}}");
}

TEST(Models, List) {
  const ModelCard card{{"demo", "alias"}, "models/demo", 1700000000, 4096};
  const json::value list = parsed(model_list(card));
  EXPECT_EQ(list.at("data").as_array().size(), 2u);
  EXPECT_EQ(list.at("data").at(1).at("id").as_string(), "alias");
  EXPECT_EQ(list.at("data").at(0).at("max_model_len").as_int64(), 4096);
}

TEST(Tokenize, Responses) {
  EXPECT_EQ(tokenize_response({1, 2}, nullptr, 100),
            "{\"count\":2,\"max_model_len\":100,\"tokens\":[1,2],\"token_strs\":null}");
  const std::vector<std::string> spellings = {"a", "b"};
  EXPECT_EQ(tokenize_response({1, 2}, &spellings, 100),
            "{\"count\":2,\"max_model_len\":100,\"tokens\":[1,2],\"token_strs\":[\"a\",\"b\"]}");
  EXPECT_EQ(detokenize_response("a"), "{\"prompt\":\"a\"}");
}

TEST(Sse, Frames) {
  EXPECT_EQ(sse_event("{}"), "data: {}\n\n");
}

}  // namespace
}  // namespace galley::api

// Anthropic's messages: what is read, what is refused, the exact order of what is sent.
#include "api/anthropic.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <string>
#include <vector>

namespace galley::api {
namespace {

namespace json = boost::json;

ParseContext context() {
  ParseContext out;
  out.vocab_size = 100;
  return out;
}

MessagesRequest parsed(const std::string& body) {
  auto out = parse_messages_request(body, context());
  EXPECT_FALSE(out.error) << out.error->message;
  return std::move(out.value);
}

Error refused(const std::string& body) {
  const auto out = parse_messages_request(body, context());
  EXPECT_TRUE(out.error) << body;
  return out.error.value_or(Error{});
}

const std::string kHi = R"("max_tokens":5,"messages":[{"role":"user","content":"hi"}])";

TEST(Messages, ReadsEveryBlock) {
  const MessagesRequest request = parsed(R"({"model":"m","max_tokens":9,"stream":true,
    "system":[{"type":"text","text":"be"},{"type":"text","text":"brief","cache_control":{}}],
    "temperature":0.5,"top_p":0.9,"top_k":3,"stop_sequences":["X","Y"],
    "thinking":{"type":"enabled","budget_tokens":7},
    "tools":[{"name":"add","description":"d","input_schema":{"type":"object"}}],
    "tool_choice":{"type":"auto","disable_parallel_tool_use":true},
    "messages":[{"role":"user","content":"hi"},
      {"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"s"},
        {"type":"text","text":"so"},{"type":"tool_use","id":"t1","name":"add","input":{"a":1}}]},
      {"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":
        [{"type":"text","text":"3"}]},{"type":"tool_result","tool_use_id":"t2","content":"no",
        "is_error":true},{"type":"text","text":"and?"}]}]})");
  EXPECT_EQ(json::serialize(request.chat.messages),
            R"([{"role":"system","content":"be\nbrief"},{"role":"user","content":"hi"},)"
            R"({"role":"assistant","content":"so","reasoning_content":"hm","tool_calls":)"
            R"([{"id":"t1","type":"function","function":{"name":"add","arguments":)"
            R"("{\"a\":1}"}}]},{"role":"tool","content":"3","tool_call_id":"t1"},)"
            R"({"role":"tool","content":"Error: no","tool_call_id":"t2"},)"
            R"({"role":"user","content":"and?"}])");
  EXPECT_EQ(json::serialize(request.chat.tools),
            R"([{"type":"function","function":{"name":"add","description":"d","parameters":)"
            R"({"type":"object"}}}])");
  const CommonFields& common = request.chat.common;
  EXPECT_EQ(common.model, "m");
  EXPECT_EQ(common.max_tokens, 9);
  EXPECT_TRUE(common.stream);
  EXPECT_EQ(common.sampling.top_k, 3);
  EXPECT_EQ(common.stop, (std::vector<std::string>{"X", "Y"}));
  EXPECT_EQ(request.chat.thinking.enabled, true);
  EXPECT_EQ(request.chat.thinking.budget_tokens, 7);
  EXPECT_TRUE(request.chat.include_reasoning);
  EXPECT_FALSE(request.chat.parallel_tool_calls);
  EXPECT_FALSE(request.chat.continue_final_message);
}

TEST(Messages, ThoughtsAreShownToThoseWhoAsk) {
  EXPECT_FALSE(parsed("{" + kHi + "}").chat.include_reasoning);
  EXPECT_FALSE(parsed("{" + kHi + "}").chat.thinking.enabled);
  EXPECT_TRUE(parsed("{" + kHi + R"(,"thinking":{"type":"adaptive"}})").chat.include_reasoning);
  const auto off = parsed("{" + kHi + R"(,"thinking":{"type":"disabled"}})");
  EXPECT_EQ(off.chat.thinking.enabled, false);
}

TEST(Messages, ALastAnswerIsContinued) {
  const auto request = parsed(R"({"max_tokens":5,"messages":[{"role":"user","content":"hi"},
                                  {"role":"assistant","content":"The answer is"}]})");
  EXPECT_TRUE(request.chat.continue_final_message);
  EXPECT_FALSE(request.chat.add_generation_prompt);
}

const std::string kTools =
    R"(,"tools":[{"name":"add","input_schema":{"type":"object"},"strict":true}])";

TEST(Messages, ACallCanBeAskedFor) {
  const auto any = parsed("{" + kHi + kTools + R"(,"tool_choice":{"type":"any"}})").chat;
  EXPECT_TRUE(any.tool_required);
  EXPECT_EQ(any.tool_name, "");
  EXPECT_EQ(any.tools.at(0).at("function").at("strict").as_bool(), true);
  const auto one = parsed("{" + kHi + kTools + R"(,"tool_choice":{"type":"tool","name":"add"}})");
  EXPECT_TRUE(one.chat.tool_required);
  EXPECT_EQ(one.chat.tool_name, "add");
  EXPECT_FALSE(parsed("{" + kHi + kTools + "}").chat.tool_required);
  EXPECT_EQ(refused("{" + kHi + R"(,"tool_choice":{"type":"any"}})").param, "tool_choice");
  const auto wrong =
      refused("{" + kHi + kTools + R"(,"tool_choice":{"type":"tool","name":"sub"}})");
  EXPECT_EQ(wrong.param, "tool_choice");
  EXPECT_EQ(refused("{" + kHi + kTools + R"(,"tool_choice":{"type":"tool"}})").param,
            "tool_choice.name");
}

TEST(Messages, AFormatCanBeAskedFor) {
  const std::string format = R"({"type":"json_schema","schema":{"type":"array"}})";
  const std::string before = "{" + kHi + ",";
  for (const std::string& field :
       {"\"output_format\":" + format, "\"output_config\":{\"format\":" + format + "}"}) {
    const auto asked = parsed(before + field + "}").chat.common.grammar;
    EXPECT_EQ(asked.kind, text::GrammarSpec::Kind::kJsonSchema);
    EXPECT_EQ(asked.source, R"({"type":"array"})");
  }
  EXPECT_EQ(refused("{" + kHi + R"(,"output_format":{"type":"json_schema"}})").param,
            "output_format.schema");
  EXPECT_EQ(refused("{" + kHi + kTools + R"(,"tool_choice":{"type":"any"},"output_format":)" +
                    format + "}")
                .param,
            "tool_choice");
}

TEST(Messages, RefusesByName) {
  const auto param = [](const std::string& body) { return refused(body).param; };
  EXPECT_EQ(param(R"({"messages":[{"role":"user","content":"hi"}]})"), "max_tokens");
  EXPECT_EQ(param(R"({"max_tokens":1})"), "messages");
  EXPECT_EQ(param(R"({"max_tokens":1,"messages":[]})"), "messages");
  EXPECT_EQ(param(R"({"max_tokens":1,"messages":[{"role":"user","content":[]}]})"), "messages");
  EXPECT_EQ(param(R"({"max_tokens":1,"messages":[{"role":"system","content":"x"}]})"),
            "messages[0].role");
  EXPECT_EQ(param(R"({"max_tokens":1,"messages":[{"role":"user"}]})"), "messages[0].content");
  EXPECT_EQ(param(R"({"max_tokens":1,"messages":[{"role":"user","content":[{"type":"image"}]}]})"),
            "messages[0].content[0].type");
  EXPECT_EQ(param(R"({"max_tokens":1,"messages":[{"role":"user","content":[{"type":"text"}]}]})"),
            "messages[0].content[0].text");
  EXPECT_EQ(param(R"({"max_tokens":1,"messages":[{"role":"assistant","content":[
                   {"type":"tool_use","id":"a","name":"b","input":"x"}]}]})"),
            "messages[0].content[0].input");
  EXPECT_EQ(param("{" + kHi + R"(,"temperature":1.5})"), "temperature");
  EXPECT_EQ(param("{" + kHi + R"(,"thinking":{"type":"enabled"}})"), "thinking.budget_tokens");
  EXPECT_EQ(param("{" + kHi + R"(,"stop_sequences":[""]})"), "stop_sequences");
  EXPECT_EQ(param("{" + kHi + R"(,"tools":[{"name":"x"}]})"), "tools[0].input_schema");
  EXPECT_EQ(param("{" + kHi + R"(,"tools":[{"type":"web_search_20250305","name":"w"}]})"),
            "tools[0].type");
  EXPECT_EQ(param("{" + kHi + R"(,"mcp_servers":[]})"), "mcp_servers");
}

TEST(Messages, CountsWithoutMaxTokens) {
  const auto out = parse_count_tokens_request(
      R"({"model":"m","system":"s","messages":[{"role":"user","content":"hi"}]})", context());
  ASSERT_FALSE(out.error);
  EXPECT_EQ(out.value.model, "m");
  EXPECT_EQ(out.value.chat.messages.size(), 2u);
  EXPECT_FALSE(out.value.add_special_tokens);
  EXPECT_EQ(count_tokens_response(7), R"({"input_tokens":7})");
}

TEST(Messages, ErrorsHaveItsTypes) {
  Error error = invalid("x", "invalid_value", "x is wrong");
  EXPECT_EQ(anthropic_error(error, "r1"),
            R"({"type":"error","error":{"type":"invalid_request_error","message":"x is wrong"},)"
            R"("request_id":"r1"})");
  const auto type = [&](int http) {
    error.http = http;
    return std::string(json::parse(anthropic_error(error, "")).at("error").at("type").as_string());
  };
  EXPECT_EQ(type(401), "authentication_error");
  EXPECT_EQ(type(404), "not_found_error");
  EXPECT_EQ(type(413), "request_too_large");
  EXPECT_EQ(type(429), "rate_limit_error");
  EXPECT_EQ(type(500), "api_error");
  EXPECT_EQ(type(503), "overloaded_error");
  EXPECT_EQ(type(504), "timeout_error");
}

std::unique_ptr<AnswerWriter> writer(bool thinking) {
  MessagesRequest request;
  request.chat.include_reasoning = thinking;
  return messages_writer(request, {"1", "r1", 0, "m"});
}

std::vector<Delta> deltas() {
  std::vector<Delta> out(4);
  out[0].reasoning = "hm";
  out[0].usage = {10, 4, 1, 1};
  out[1].reasoning = ".";
  out[1].content = "so";
  out[1].usage = {10, 4, 3, 2};
  out[2].tool_calls = {{0, "c1", "add", "{\"a\":1}"}, {1, "c2", "sub", ""}};
  out[2].usage = {10, 4, 6, 2};
  out[3].finish = Finish::kToolCalls;
  out[3].usage = {10, 4, 7, 2};
  return out;
}

TEST(MessagesFormat, Whole) {
  Choice choice;
  for (Delta& delta : deltas()) choice.append(std::move(delta));
  EXPECT_EQ(
      writer(true)->whole(choice),
      R"({"id":"msg_1","type":"message","role":"assistant","model":"m","content":[)"
      R"({"type":"thinking","thinking":"hm.","signature":"unsigned"},{"type":"text","text":"so"},)"
      R"({"type":"tool_use","id":"c1","name":"add","input":{"a":1}},)"
      R"({"type":"tool_use","id":"c2","name":"sub","input":{}}],"stop_reason":"tool_use",)"
      R"("stop_sequence":null,"usage":{"input_tokens":6,"cache_creation_input_tokens":0,)"
      R"("cache_read_input_tokens":4,"output_tokens":7}})");
  choice.finish = Finish::kStop;
  choice.stop_text = "X";
  const json::value stopped = json::parse(writer(false)->whole(choice));
  EXPECT_EQ(stopped.at("stop_reason").as_string(), "stop_sequence");
  EXPECT_EQ(stopped.at("stop_sequence").as_string(), "X");
  EXPECT_EQ(stopped.at("content").at(0).at("type").as_string(), "text") << "no thinking block";
}

TEST(MessagesFormat, StreamsInItsOrder) {
  const auto one = writer(true);
  std::string stream = one->begin();
  for (const Delta& delta : deltas()) stream += one->delta(delta);
  stream += one->end();
  std::string order;
  for (size_t at = 0; (at = stream.find("event: ", at)) != std::string::npos;) {
    at += 7;
    order += stream.substr(at, stream.find('\n', at) - at) + " ";
    const size_t data = stream.find("data: ", at) + 6;
    const json::value event = json::parse(stream.substr(data, stream.find('\n', data) - data));
    EXPECT_TRUE(order.ends_with(std::string(event.at("type").as_string()) + " "));
  }
  EXPECT_EQ(order,
            "message_start ping content_block_start content_block_delta content_block_delta "
            "content_block_delta content_block_stop content_block_start content_block_delta "
            "content_block_stop content_block_start content_block_delta content_block_stop "
            "content_block_start content_block_stop message_delta message_stop ");
  EXPECT_NE(stream.find(R"("index":3,"content_block":{"type":"tool_use","id":"c2")"),
            std::string::npos);
  EXPECT_NE(stream.find(R"("delta":{"type":"signature_delta","signature":"unsigned"})"),
            std::string::npos);
  EXPECT_NE(one->failed(invalid("", "", "no")).find("event: error\n"), std::string::npos);
}

}  // namespace
}  // namespace galley::api

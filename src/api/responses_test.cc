// OpenAI's responses: input items, the store, the objects and the events.
#include "api/responses.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <string>
#include <vector>

namespace galley::api {
namespace {

namespace json = boost::json;

ResponsesRequest parsed(const std::string& body) {
  auto out = parse_responses_request(body, {});
  EXPECT_FALSE(out.error) << out.error->message;
  return std::move(out.value);
}

std::string refused(const std::string& body) {
  const auto out = parse_responses_request(body, {});
  EXPECT_TRUE(out.error) << body;
  return out.error ? out.error->param : "";
}

TEST(Responses, ItemsOfOneTurnBecomeOneMessage) {
  const ResponsesRequest request = parsed(R"({"model":"m","max_output_tokens":9,"input":[
    {"role":"developer","content":"be brief"},
    {"type":"message","role":"user","content":[{"type":"input_text","text":"a"},
                                               {"type":"input_text","text":"b"}]},
    {"type":"reasoning","id":"rs_1","summary":[],"content":[{"type":"reasoning_text","text":"hm"}]},
    {"type":"message","role":"assistant","content":[{"type":"output_text","text":"so"}]},
    {"type":"function_call","call_id":"c1","name":"add","arguments":"{}"},
    {"type":"function_call","call_id":"c2","name":"add","arguments":"{}"},
    {"type":"function_call_output","call_id":"c1","output":"3"},
    {"type":"function_call_output","call_id":"c2","output":"4"},
    {"type":"function_call","call_id":"c3","name":"add","arguments":"{}"}],
    "tools":[{"type":"function","name":"add","parameters":{"type":"object"},"strict":true}],
    "reasoning":{"effort":"low"}})");
  EXPECT_EQ(json::serialize(request.chat.messages),
            R"([{"role":"system","content":"be brief"},{"role":"user","content":"a\nb"},)"
            R"({"role":"assistant","content":"so","reasoning_content":"hm","tool_calls":[)"
            R"({"id":"c1","type":"function","function":{"name":"add","arguments":"{}"}},)"
            R"({"id":"c2","type":"function","function":{"name":"add","arguments":"{}"}}]},)"
            R"({"role":"tool","content":"3","tool_call_id":"c1"},)"
            R"({"role":"tool","content":"4","tool_call_id":"c2"},)"
            R"({"role":"assistant","content":null,"tool_calls":[)"
            R"({"id":"c3","type":"function","function":{"name":"add","arguments":"{}"}}]}])");
  EXPECT_EQ(request.chat.tools.at(0).at("function").at("name").as_string(), "add");
  EXPECT_EQ(request.chat.common.max_tokens, 9);
  EXPECT_EQ(request.chat.thinking.budget_tokens, 1024);
  EXPECT_TRUE(request.store);
}

TEST(Responses, ACallOrAFormCanBeAskedFor) {
  const std::string tools = R"(,"tools":[{"type":"function","name":"add"}])";
  const auto any = parsed(R"({"input":"x","tool_choice":"required")" + tools + "}");
  EXPECT_TRUE(any.chat.tool_required);
  EXPECT_EQ(any.echo.at("tool_choice"), "required");
  const auto one =
      parsed(R"({"input":"x","tool_choice":{"type":"function","name":"add"})" + tools + "}");
  EXPECT_EQ(one.chat.tool_name, "add");
  EXPECT_EQ(one.echo.at("tool_choice").at("name"), "add");
  EXPECT_EQ(refused(R"({"input":"x","tool_choice":"required"})"), "tool_choice");
  EXPECT_EQ(refused(R"({"input":"x","tool_choice":{"type":"function","name":"b"})" + tools + "}"),
            "tool_choice");
  EXPECT_EQ(refused(R"({"input":"x","tool_choice":{"type":"file_search"})" + tools + "}"),
            "tool_choice.type");
  const auto form = parsed(
      R"({"input":"x","text":{"format":{"type":"json_schema","name":"n","schema":{"type":"null"}}}})");
  EXPECT_EQ(form.chat.common.grammar.source, R"({"type":"null"})");
  EXPECT_EQ(form.echo.at("text").at("format").at("name"), "n");
  EXPECT_EQ(refused(R"({"input":"x","text":{"format":{"type":"json_schema"}}})"),
            "text.format.schema");
}

TEST(Responses, RefusesByName) {
  EXPECT_EQ(refused("{}"), "input");
  EXPECT_EQ(refused(R"({"input":[]})"), "input");
  EXPECT_EQ(refused(R"({"input":[{"type":"reasoning","summary":[]}]})"), "input");
  EXPECT_EQ(refused(R"({"input":[{"type":"item_reference","id":"x"}]})"), "input[0].type");
  EXPECT_EQ(refused(R"({"input":[{"role":"user","content":[{"type":"input_image"}]}]})"),
            "input[0].content[0].type");
  EXPECT_EQ(refused(R"({"input":[{"role":"tool","content":"x"}]})"), "input[0].role");
  EXPECT_EQ(refused(R"({"input":[{"type":"function_call","name":"x"}]})"), "input[0].call_id");
  EXPECT_EQ(refused(R"({"input":"x","background":true})"), "background");
  EXPECT_EQ(refused(R"({"input":"x","truncation":"auto"})"), "truncation");
  EXPECT_EQ(refused(R"({"input":"x","reasoning":{"effort":"much"}})"), "reasoning.effort");
  EXPECT_EQ(refused(R"({"input":"x","tools":[{"type":"web_search"}]})"), "tools[0].type");
  EXPECT_EQ(refused(R"({"input":"x","text":{"format":{"type":"xml"}}})"), "text.format.type");
  EXPECT_EQ(refused(R"({"input":"x","max_output_tokens":0})"), "max_output_tokens");
}

StoredResponse stored(size_t bytes) {
  return {json::array{{{"role", "user"}, {"content", std::string(bytes, 'x')}}}, "{}"};
}

TEST(ResponseStore, ForgetsTheLeastRecentlyUsed) {
  ResponseStore store({.responses_max = 3, .bytes_max = 1 << 20});
  for (const char* id : {"a", "b", "c"}) store.put("me", id, stored(10));
  EXPECT_NE(store.find("me", "a"), nullptr);  // Used: "b" is the oldest now.
  store.put("me", "d", stored(10));
  EXPECT_EQ(store.find("me", "b"), nullptr);
  EXPECT_NE(store.find("me", "a"), nullptr);
  EXPECT_EQ(store.size(), 3u);
  EXPECT_TRUE(store.erase("me", "a"));
  EXPECT_FALSE(store.erase("me", "a"));
}

TEST(ResponseStore, HoldsItsBytes) {
  ResponseStore store({.responses_max = 100, .bytes_max = 10'000});
  store.put("me", "big", stored(20'000));
  EXPECT_EQ(store.size(), 0u) << "larger than the whole store";
  for (int i = 0; i < 50; ++i) {
    store.put("me", std::to_string(i), stored(1000));
    EXPECT_LE(store.bytes(), 10'000u);
  }
  EXPECT_GT(store.size(), 3u);
  EXPECT_NE(store.find("me", "49"), nullptr);
  while (store.size() > 0) {
    const size_t before = store.size();
    for (int i = 0; i < 50; ++i) store.erase("me", std::to_string(i));
    ASSERT_LT(store.size(), before);
  }
  EXPECT_EQ(store.bytes(), 0u);
}

TEST(ResponseStore, OwnersDoNotMeet) {
  ResponseStore store({});
  store.put("me", "a", stored(1));
  EXPECT_EQ(store.find("you", "a"), nullptr);
  EXPECT_EQ(store.find("m", "ea"), nullptr) << "the key is not a mere concatenation";
  EXPECT_FALSE(store.erase("you", "a"));
}

std::vector<Delta> deltas() {
  std::vector<Delta> out(4);
  out[0].reasoning = "hm";
  out[1].reasoning = ".";
  out[1].content = "so";
  out[2].tool_calls = {{0, "c1", "add", "{\"a\":1}"}};
  out[3].finish = Finish::kToolCalls;
  out[3].usage = {10, 4, 7, 2};
  return out;
}

TEST(ResponsesFormat, StreamAndWholeAgreeAndAreKept) {
  ResponsesRequest request = parsed(R"({"input":"hi","instructions":"be brief"})");
  ASSERT_FALSE(resume(request, nullptr));
  EXPECT_EQ(request.chat.messages.size(), 2u);
  StoredResponse kept;
  const auto keep = [&](const std::string& id, StoredResponse response) {
    EXPECT_EQ(id, "resp_1");
    kept = std::move(response);
  };
  const AnswerHead head{"1", "r1", 1700000000, "m"};
  Choice choice;
  for (Delta& delta : deltas()) choice.append(std::move(delta));
  const std::string whole = responses_writer(request, head, keep)->whole(choice);
  EXPECT_EQ(kept.body, whole);
  EXPECT_EQ(json::serialize(kept.messages),
            R"([{"role":"user","content":"hi"},{"role":"assistant","content":"so",)"
            R"("reasoning_content":"hm.","tool_calls":[{"id":"c1","type":"function","function":)"
            R"({"name":"add","arguments":"{\"a\":1}"}}]}])")
      << "without the instructions, which do not carry over";

  const auto writer = responses_writer(request, head, keep);
  std::string stream = writer->begin();
  for (const Delta& delta : deltas()) stream += writer->delta(delta);
  stream += writer->end();
  EXPECT_EQ(kept.body, whole) << "a stream ends with the same object";
  std::string order;
  int64_t sequence = 0;
  for (size_t at = 0; (at = stream.find("data: ", at)) != std::string::npos;) {
    at += 6;
    const json::value event = json::parse(stream.substr(at, stream.find('\n', at) - at));
    EXPECT_EQ(event.at("sequence_number").as_int64(), sequence++);
    order += std::string(event.at("type").as_string()).substr(9) + " ";
  }
  EXPECT_EQ(order,
            "created in_progress output_item.added content_part.added reasoning_text.delta "
            "reasoning_text.delta reasoning_text.done content_part.done output_item.done "
            "output_item.added content_part.added output_text.delta output_text.done "
            "content_part.done output_item.done output_item.added function_call_arguments.delta "
            "function_call_arguments.done output_item.done completed ");
}

TEST(ResponsesFormat, GoesOnFromThePast) {
  ResponsesRequest request = parsed(R"({"input":"and?","previous_response_id":"resp_0"})");
  const auto unknown = resume(request, nullptr);
  ASSERT_TRUE(unknown);
  EXPECT_EQ(unknown->param, "previous_response_id");
  StoredResponse past;
  past.messages = {{{"role", "user"}, {"content", "hi"}},
                   {{"role", "assistant"}, {"content", "yo"}}};
  ASSERT_FALSE(resume(request, &past));
  EXPECT_EQ(json::serialize(request.chat.messages),
            R"([{"role":"user","content":"hi"},{"role":"assistant","content":"yo"},)"
            R"({"role":"user","content":"and?"}])");
}

TEST(ResponsesFormat, CutAnswersAreIncomplete) {
  const ResponsesRequest request = parsed(R"({"input":"hi","store":false})");
  bool was_kept = false;
  const auto writer =
      responses_writer(request, {"1", "r1", 0, "m"},
                       [&](const std::string&, const StoredResponse&) { was_kept = true; });
  Choice choice;
  choice.content = "half";
  choice.finish = Finish::kLength;
  const json::value body = json::parse(writer->whole(choice));
  EXPECT_EQ(body.at("status").as_string(), "incomplete");
  EXPECT_EQ(body.at("incomplete_details").at("reason").as_string(), "max_output_tokens");
  EXPECT_FALSE(was_kept);
  const std::string failed = writer->failed(invalid("", "x", "no"));
  EXPECT_NE(failed.find("event: response.failed\n"), std::string::npos);
}

}  // namespace
}  // namespace galley::api

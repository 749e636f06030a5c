// Ollama's requests, and its lines of answer.
#include "api/ollama.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <string>
#include <vector>

namespace galley::api {
namespace {

namespace json = boost::json;

ChatRequest chat_of(const std::string& body) {
  auto out = parse_ollama_chat(body, {});
  EXPECT_FALSE(out.error) << out.error->message;
  return std::get<ChatRequest>(std::move(out.value.asked));
}

TEST(Ollama, ReadsAChat) {
  const ChatRequest chat = chat_of(R"({"model":"demo:latest","think":"low","keep_alive":5,
    "options":{"temperature":0.5,"num_predict":9,"stop":["X"],"repeat_penalty":1.5,"num_gpu":3,
               "seed":7},
    "tools":[{"type":"function","function":{"name":"add","parameters":{"type":"object"}}}],
    "messages":[{"role":"user","content":"hi","images":[]},
      {"role":"assistant","content":"","thinking":"hm","tool_calls":[
        {"function":{"name":"add","arguments":{"a":1}}},{"function":{"name":"add"}}]},
      {"role":"tool","content":"1","tool_name":"add"},{"role":"tool","content":"2"}]})");
  EXPECT_EQ(chat.common.model, "demo");
  EXPECT_TRUE(chat.common.stream) << "unless told not to";
  EXPECT_EQ(chat.common.max_tokens, 9);
  EXPECT_EQ(chat.common.seed, 7);
  EXPECT_EQ(chat.common.stop, std::vector<std::string>{"X"});
  EXPECT_FLOAT_EQ(chat.common.sampling.repetition_penalty, 1.5f);
  EXPECT_EQ(chat.thinking.budget_tokens, 1024);
  EXPECT_EQ(chat.tools.size(), 1u);
  EXPECT_EQ(json::serialize(chat.messages),
            R"([{"role":"user","content":"hi"},{"role":"assistant","content":"",)"
            R"("reasoning_content":"hm","tool_calls":[{"id":"call_0","type":"function","function":)"
            R"({"name":"add","arguments":"{\"a\":1}"}},{"id":"call_1","type":"function",)"
            R"("function":{"name":"add","arguments":"{}"}}]},)"
            R"({"role":"tool","content":"1","tool_call_id":"call_0"},)"
            R"({"role":"tool","content":"2","tool_call_id":"call_1"}])");
}

TEST(Ollama, GeneratesFromATemplateOrRaw) {
  const auto plain = parse_ollama_generate(R"({"prompt":"hi","system":"s","stream":false})", {});
  ASSERT_FALSE(plain.error);
  const auto& chat = std::get<ChatRequest>(plain.value.asked);
  EXPECT_EQ(chat.messages.size(), 2u);
  EXPECT_FALSE(chat.common.stream);
  EXPECT_FALSE(chat.common.max_tokens);
  const auto raw = parse_ollama_generate(R"({"prompt":"hi","raw":true})", {});
  ASSERT_FALSE(raw.error);
  EXPECT_EQ(std::get<std::string>(std::get<CompletionRequest>(raw.value.asked).prompts.at(0)),
            "hi");
  const auto fill = parse_ollama_generate(R"({"prompt":"a","suffix":"z"})", {});
  EXPECT_EQ(std::get<CompletionRequest>(fill.value.asked).suffix, "z");
  EXPECT_TRUE(parse_ollama_generate(R"({"model":"demo"})", {}).value.load_only);
  EXPECT_TRUE(parse_ollama_chat(R"({"model":"demo"})", {}).value.load_only);
}

TEST(Ollama, AFormatCanBeAskedFor) {
  const auto grammar = [](const std::string& body) {
    const auto out = parse_ollama_generate(body, {});
    EXPECT_FALSE(out.error) << body;
    return std::get<ChatRequest>(out.value.asked).common.grammar;
  };
  using Kind = text::GrammarSpec::Kind;
  EXPECT_EQ(grammar(R"({"prompt":"x","format":"json"})").kind, Kind::kJsonObject);
  EXPECT_EQ(grammar(R"({"prompt":"x","format":""})").kind, Kind::kNone);
  const auto schema = grammar(R"({"prompt":"x","format":{"type":"null"}})");
  EXPECT_EQ(schema.kind, Kind::kJsonSchema);
  EXPECT_EQ(schema.source, R"({"type":"null"})");
}

TEST(Ollama, RefusesByName) {
  const auto param = [](const std::string& body) {
    const auto out = parse_ollama_chat(body, {});
    EXPECT_TRUE(out.error) << body;
    return out.error ? out.error->param : "";
  };
  EXPECT_EQ(param(R"({"messages":[{"role":"x","content":""}]})"), "messages[0].role");
  EXPECT_EQ(param(R"({"messages":[{"role":"user","images":["a"]}]})"), "messages[0].images");
  EXPECT_EQ(param(R"({"messages":[{"role":"assistant","tool_calls":[{}]}]})"),
            "messages[0].tool_calls[0].function");
  EXPECT_EQ(param(R"({"options":{"temperature":3}})"), "options.temperature");
  EXPECT_EQ(param(R"({"options":{"num_predict":0}})"), "options.num_predict");
  EXPECT_EQ(param(R"({"options":{"stop":[""]}})"), "options.stop");
  EXPECT_EQ(param(R"({"format":"xml"})"), "format");
  EXPECT_EQ(param(R"({"format":5})"), "format");
  EXPECT_EQ(param(R"({"think":"much"})"), "think");
  EXPECT_EQ(parse_ollama_generate(R"({"prompt":"x","template":"y"})", {}).error->param, "template");
}

std::vector<Delta> deltas() {
  std::vector<Delta> out(3);
  out[0].reasoning = "hm";
  out[1].content = "so";
  out[2].tool_calls = {{0, "c1", "add", "{\"a\":1}"}};
  out[2].finish = Finish::kToolCalls;
  out[2].usage = {10, 4, 7, 2};
  return out;
}

TEST(OllamaFormat, LinesAndTheirSum) {
  ManualClock clock;
  const AnswerHead head{"1", "r1", 1700000000, "demo"};
  OllamaRequest request;
  const auto writer = ollama_writer(request, head, &clock);
  clock.advance_us(3);
  std::string lines = writer->begin();
  for (const Delta& delta : deltas()) lines += writer->delta(delta);
  clock.advance_us(4);
  lines += writer->end();
  const std::string start = R"({"model":"demo","created_at":"2023-11-14T22:13:20Z",)";
  EXPECT_EQ(
      lines,
      start +
          R"("message":{"role":"assistant","content":"","thinking":"hm"},"done":false})"
          "\n" +
          start +
          R"("message":{"role":"assistant","content":"so"},"done":false})"
          "\n" +
          start +
          R"("message":{"role":"assistant","content":"","tool_calls":[{"function":{"name":"add",)"
          R"("arguments":{"a":1}}}]},"done":false})"
          "\n" +
          start +
          R"("message":{"role":"assistant","content":""},"done":true,"done_reason":"stop",)"
          R"("total_duration":7000,"load_duration":0,"prompt_eval_count":10,)"
          R"("prompt_eval_duration":3000,"eval_count":7,"eval_duration":4000})"
          "\n");
  Choice choice;
  for (Delta& delta : deltas()) choice.append(std::move(delta));
  request.generate = true;
  request.thinking = false;
  choice.finish = Finish::kLength;
  const json::value whole = json::parse(ollama_writer(request, head, &clock)->whole(choice));
  EXPECT_EQ(whole.at("response").as_string(), "so");
  EXPECT_FALSE(whole.as_object().contains("thinking"));
  EXPECT_EQ(whole.at("done_reason").as_string(), "length");
  EXPECT_EQ(writer->failed(invalid("", "x", "no")), "{\"error\":\"no\"}\n");
}

TEST(OllamaFormat, Tags) {
  const json::value tags = json::parse(ollama_tags({{"a", "b"}, "r", 0, 1}));
  EXPECT_EQ(tags.at("models").as_array().size(), 2u);
  EXPECT_EQ(tags.at("models").at(1).at("name").as_string(), "b");
}

}  // namespace
}  // namespace galley::api

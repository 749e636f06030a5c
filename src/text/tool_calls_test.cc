#include "text/tool_calls.h"

#include <gtest/gtest.h>

namespace galley::text {
namespace {

using Output = ToolCallParser::Output;

// Parses the text whole and cut after every byte, which must say the same.
Output parse(ToolFormat format, std::string_view text) {
  ToolCallParser whole(format);
  Output out;
  whole.push(text, out);
  whole.flush(out);
  ToolCallParser bytes(format);
  Output other;
  for (const char c : text) bytes.push(std::string_view(&c, 1), other);
  bytes.flush(other);
  EXPECT_EQ(out.content, other.content);
  EXPECT_EQ(out.calls.size(), other.calls.size());
  return out;
}

std::string call_in_v3(const std::string& name, const std::string& arguments) {
  return "<｜tool▁call▁begin｜>function<｜tool▁sep｜>" + name + "\n```json\n" + arguments +
         "\n```<｜tool▁call▁end｜>";
}

TEST(ToolCallParser, DeepseekV3) {
  const Output out = parse(ToolFormat::kDeepseekV3,
                           "so: <｜tool▁calls▁begin｜>" + call_in_v3("sum", "{\"a\": [1, 0.5]}") +
                               "\n" + call_in_v3("clock", "{}") + "<｜tool▁calls▁end｜>");
  EXPECT_EQ(out.content, "so: ");
  ASSERT_EQ(out.calls.size(), 2u);
  EXPECT_EQ(out.calls[0].name, "sum");
  EXPECT_EQ(out.calls[0].arguments, "{\"a\": [1, 0.5]}");
  EXPECT_EQ(out.calls[1].name, "clock");
}

TEST(ToolCallParser, DeepseekV31) {
  const Output out = parse(ToolFormat::kDeepseekV3,
                           "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>sum<｜tool▁sep｜>{\"a\":1}"
                           "<｜tool▁call▁end｜><｜tool▁calls▁end｜> done");
  ASSERT_EQ(out.calls.size(), 1u);
  EXPECT_EQ(out.calls[0].arguments, "{\"a\":1}");
  EXPECT_EQ(out.content, " done");
}

TEST(ToolCallParser, DeepseekWhatIsNoCallIsText) {
  const std::string broken = "<｜tool▁call▁begin｜>b<｜tool▁call▁end｜>";
  EXPECT_EQ(parse(ToolFormat::kDeepseekV3, "<｜tool▁calls▁begin｜>" + broken).content, broken);
  const std::string no_json = call_in_v3("sum", "{\"a\": }");
  const Output out =
      parse(ToolFormat::kDeepseekV3, "<｜tool▁calls▁begin｜>" + no_json + "<｜tool▁calls▁end｜>");
  EXPECT_TRUE(out.calls.empty());
  EXPECT_EQ(out.content, no_json);
  EXPECT_EQ(parse(ToolFormat::kDeepseekV3, "a<｜tool▁calls").content, "a<｜tool▁calls");
}

TEST(ToolCallParser, Hermes) {
  const Output out = parse(
      ToolFormat::kHermes,
      "I look.\n<tool_call>\n{\"name\": \"sum\", \"arguments\": {\"a\": 0.5, \"s\": \"}\\\"\"}}\n"
      "</tool_call>\n<tool_call>\n{\"arguments\": {}, \"name\": \"clock\"}\n</tool_call>\n");
  EXPECT_EQ(out.content, "I look.\n");
  ASSERT_EQ(out.calls.size(), 2u);
  EXPECT_EQ(out.calls[0].name, "sum");
  EXPECT_EQ(out.calls[0].arguments, "{\"a\": 0.5, \"s\": \"}\\\"\"}");
  EXPECT_EQ(out.calls[1].name, "clock");
  EXPECT_EQ(out.calls[1].arguments, "{}");
}

TEST(ToolCallParser, HermesWhatIsNoCallIsText) {
  for (const char* text :
       {"<tool_call>{\"name\": 3}</tool_call>", "<tool_call>{\"name\": \"a\", \"arg", "<tool_ca",
        "<tool_call>x</tool_call> y"}) {
    const Output out = parse(ToolFormat::kHermes, text);
    EXPECT_TRUE(out.calls.empty()) << text;
    EXPECT_EQ(out.content, text);
  }
}

TEST(ToolCallParser, Llama) {
  Output out = parse(ToolFormat::kLlama,
                     " {\"name\": \"sum\", \"parameters\": {\"a\": \";\"}}; {\"name\": \"f\", "
                     "\"parameters\": {}}");
  ASSERT_EQ(out.calls.size(), 2u);
  EXPECT_EQ(out.calls[0].arguments, "{\"a\": \";\"}");
  EXPECT_EQ(out.calls[1].name, "f");
  EXPECT_EQ(out.content, "");
  out = parse(ToolFormat::kLlama, "<|python_tag|>{\"name\": \"f\", \"parameters\": {}}");
  ASSERT_EQ(out.calls.size(), 1u);
  for (const char* text : {"Hello {\"name\": \"f\", \"parameters\": {}}", "{\"a\": 1}",
                           "{\"name\": \"f\"", "{} trailing", "<|py", "  "}) {
    out = parse(ToolFormat::kLlama, text);
    EXPECT_TRUE(out.calls.empty()) << text;
    EXPECT_EQ(out.content, text);
  }
}

TEST(ToolCallParser, TheTemplateTellsTheFormat) {
  EXPECT_EQ(tool_format_of("{{ '<｜tool▁calls▁begin｜>' }}"), ToolFormat::kDeepseekV31);
  EXPECT_EQ(tool_format_of("{{ '<｜tool▁calls▁begin｜>\n```json\n' }}"), ToolFormat::kDeepseekV3);
  EXPECT_EQ(tool_format_of("... <tool_call>\n{\"name\": ..."), ToolFormat::kHermes);
  EXPECT_EQ(tool_format_of("<|start_header_id|> '\"parameters\": '"), ToolFormat::kLlama);
  EXPECT_EQ(tool_format_of(""), ToolFormat::kDeepseekV3);
}

TEST(ToolCallParser, ALongCallIsNoTrouble) {
  ToolCallParser parser(ToolFormat::kHermes);
  Output out;
  parser.push("<tool_call>", out);
  for (int i = 0; i < 300'000; ++i) parser.push("word ", out);
  parser.flush(out);
  EXPECT_EQ(out.content.size(), 11u + 5u * 300'000u);
}

// Streamed byte by byte: the pieces put together, and how many there were.
struct Streamed {
  std::string content;
  std::vector<ToolCallParser::Call> calls;
  size_t pieces = 0;
};

Streamed stream(ToolFormat format, std::string_view text, size_t cut = 1) {
  ToolCallParser parser(format, true);
  Streamed out;
  const auto gather = [&](Output&& piece) {
    out.content += piece.content;
    for (ToolCallParser::Call& call : piece.calls) {
      ++out.pieces;
      if (!call.name.empty()) {
        out.calls.push_back(std::move(call));
      } else {
        out.calls.back().arguments += call.arguments;
      }
    }
  };
  for (size_t i = 0; i < text.size(); i += cut) {
    Output piece;
    parser.push(text.substr(i, cut), piece);
    gather(std::move(piece));
  }
  Output piece;
  parser.flush(piece);
  gather(std::move(piece));
  return out;
}

TEST(ToolCallParser, ArgumentsAreStreamed) {
  const std::string a = R"({"a": [1, {"b": "}\"<"}], "c": 0.50})";
  const std::pair<ToolFormat, std::string> kTexts[] = {
      {ToolFormat::kDeepseekV3, "x<｜tool▁calls▁begin｜>" + call_in_v3("f", a) + "\n" +
                                    call_in_v3("g", "{}") + "<｜tool▁calls▁end｜>"},
      {ToolFormat::kDeepseekV31,
       "x<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>" + a +
           "<｜tool▁call▁end｜><｜tool▁call▁begin｜>g<｜tool▁sep｜>{}<｜tool▁call▁end｜>"
           "<｜tool▁calls▁end｜>"},
      {ToolFormat::kHermes, "x<tool_call>\n{\"name\": \"f\", \"arguments\": " + a +
                                "}\n</tool_call>\n<tool_call>{\"name\":\"g\",\"arguments\":{}}"
                                "</tool_call>"},
      {ToolFormat::kLlama,
       "{\"name\": \"f\", \"parameters\": " + a + "}; {\"name\": \"g\", \"parameters\": {}}"},
  };
  for (const auto& [format, text] : kTexts) {
    for (const size_t cut : {size_t{1}, size_t{7}, text.size()}) {
      const Streamed out = stream(format, text, cut);
      EXPECT_EQ(out.content, format == ToolFormat::kLlama ? "" : "x");
      ASSERT_EQ(out.calls.size(), 2u) << text;
      EXPECT_EQ(out.calls[0].name, "f");
      EXPECT_EQ(out.calls[0].arguments, a);
      EXPECT_EQ(out.calls[1].name, "g");
      EXPECT_EQ(out.calls[1].arguments, "{}");
      if (cut == 1) {
        EXPECT_GT(out.pieces, 20u);
      }
    }
  }
}

TEST(ToolCallParser, WhatIsNoCallIsTextWhenStreamedToo) {
  const std::string odd = "<tool_call>{\"arguments\": {}, \"name\": \"f\"}</tool_call>";
  const Streamed held = stream(ToolFormat::kHermes, odd);  // another order: held, and a call
  ASSERT_EQ(held.calls.size(), 1u);
  EXPECT_EQ(held.calls[0].name, "f");
  EXPECT_EQ(stream(ToolFormat::kHermes, "<tool_call>hm</tool_call> y").content,
            "<tool_call>hm</tool_call> y");
  EXPECT_EQ(stream(ToolFormat::kLlama, "{\"a\": 1} is JSON").content, "{\"a\": 1} is JSON");
  const Streamed broken =
      stream(ToolFormat::kHermes,
             "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": oops}}</tool_call> y");
  ASSERT_EQ(broken.calls.size(), 1u);
  EXPECT_NE(broken.content.find("oops"), std::string::npos);
  EXPECT_NE(broken.content.find(" y"), std::string::npos);
}

}  // namespace
}  // namespace galley::text

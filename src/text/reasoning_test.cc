#include "text/reasoning.h"

#include <gtest/gtest.h>

namespace galley::text {
namespace {

using Output = ReasoningParser::Output;

Output parse(std::string_view text, bool open, size_t first_cut, size_t second_cut) {
  ReasoningParser parser("<think>", "</think>", open);
  Output out;
  parser.push(text.substr(0, first_cut), out);
  parser.push(text.substr(first_cut, second_cut - first_cut), out);
  parser.push(text.substr(second_cut), out);
  parser.flush(out);
  return out;
}

// Checks every way to cut the text into three, and byte by byte.
void expect(std::string_view text, bool open, const std::string& reasoning,
            const std::string& content) {
  SCOPED_TRACE(text);
  for (size_t i = 0; i <= text.size(); ++i) {
    for (size_t j = i; j <= text.size(); ++j) {
      const Output out = parse(text, open, i, j);
      ASSERT_EQ(out.reasoning, reasoning) << i << " " << j;
      ASSERT_EQ(out.content, content) << i << " " << j;
    }
  }
  ReasoningParser parser("<think>", "</think>", open);
  Output out;
  for (const char c : text) parser.push(std::string_view(&c, 1), out);
  parser.flush(out);
  EXPECT_EQ(out.reasoning, reasoning);
  EXPECT_EQ(out.content, content);
}

TEST(ReasoningParser, TheModelOpensTheThought) {
  expect("<think>a b</think>c d", false, "a b", "c d");
  expect("\n <think>\nfirst\n\nsecond\n</think>\n\nsaid\n", false, "first\n\nsecond", "said\n");
}

TEST(ReasoningParser, TheTemplateOpenedTheThought) {
  expect("hm\n</think>\n\nyes", true, "hm", "yes");
  expect("</think>yes", true, "", "yes");
}

TEST(ReasoningParser, AThoughtThatNeverEnds) {
  expect("hm </thin", true, "hm </thin", "");
  expect("<think>hm", false, "hm", "");
  expect("hm \n", true, "hm", "");
}

TEST(ReasoningParser, NoThought) {
  expect("plain </think> text", false, "", "plain </think> text");
  expect("<thinking>", false, "", "<thinking>");
  expect("  <thin", false, "", "  <thin");
  expect("", false, "", "");
}

TEST(ReasoningParser, TagsLookalikesInsideAreText) {
  expect("a </ think> <think> b</think>c</think>d", true, "a </ think> <think> b", "c</think>d");
}

}  // namespace
}  // namespace galley::text

#include "text/regex.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "text/pattern.h"

namespace galley::text {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<std::string> matches(std::string_view expression, std::string_view text) {
  Result<Pattern> pattern = Pattern::regex(expression, "test");
  EXPECT_TRUE(pattern.ok()) << pattern.message();
  std::vector<Span> spans;
  MatchBudget budget = {1'000'000};
  EXPECT_TRUE(pattern->find_all(text, budget, spans).ok());
  std::vector<std::string> out;
  out.reserve(spans.size());
  for (const Span& s : spans) out.emplace_back(text.substr(s.begin, s.end - s.begin));
  return out;
}

std::string refusal(std::string_view expression) {
  const Result<Regex> regex = Regex::compile(expression);
  return regex.ok() ? "accepted" : regex.message();
}

TEST(Regex, RunsGiveBack) {
  EXPECT_THAT(matches(R"(\s+(?!\S)|\s+)", "a   b  "), ElementsAre("  ", " ", "  "));
  EXPECT_THAT(matches(R"(\s*[\r\n]+)", "  \n\n  x"), ElementsAre("  \n\n"));
  EXPECT_THAT(matches(R"(a{2,3})", "aaaaaaa"), ElementsAre("aaa", "aaa"));
  EXPECT_THAT(matches(R"(a{2,3}?)", "aaaaaaa"), ElementsAre("aa", "aa", "aa"));
  EXPECT_THAT(matches(R"(a++a)", "aaaa"), IsEmpty());
  EXPECT_THAT(matches(R"((?>a|ab)c)", "abc ac"), ElementsAre("ac"));
  EXPECT_THAT(matches(R"((?:ab)*a)", "ababab"), ElementsAre("ababa"));
  EXPECT_THAT(matches(R"((?:ab){2,}+)", "ababab"), ElementsAre("ababab"));
}

TEST(Regex, AlternativesPreferTheFirst) {
  EXPECT_THAT(matches("a|ab|abc", "abc"), ElementsAre("a"));
  EXPECT_THAT(matches("(?:ab|a)(?:c|bcd)", "abcd"), ElementsAre("abc"));
}

TEST(Regex, CategoriesAreThoseOfUnicode16) {
  EXPECT_THAT(matches(R"(\p{L}+)", "a\xC3\xA9\xE4\xBD\xA0 1"),
              ElementsAre("a\xC3\xA9\xE4\xBD\xA0"));
  EXPECT_THAT(matches(R"(\p{N})",
                      "\xC2\xB2"
                      "7"),
              ElementsAre("\xC2\xB2", "7"));
  EXPECT_THAT(matches(R"(\P{^Lu}|\p{^L})", "aB1"), ElementsAre("B", "1"));
  // U+1C89, a capital letter since Unicode 16.
  EXPECT_THAT(matches(R"(\p{Lu})", "\xE1\xB2\x89"), ElementsAre("\xE1\xB2\x89"));
  // U+180E is no white space since Unicode 6.3; U+0085 is.
  EXPECT_THAT(matches(R"(\s)", "\xE1\xA0\x8E\xC2\x85"), ElementsAre("\xC2\x85"));
}

TEST(Regex, CaseIsFoldedSimply) {
  EXPECT_THAT(matches("(?i:'s|'re)", "'S 'rE 'x"), ElementsAre("'S", "'rE"));
  EXPECT_THAT(matches("(?i)K[a-c]",
                      "\xE2\x84\xAA"
                      "B kA"),
              ElementsAre("\xE2\x84\xAA"
                          "B",
                          "kA"));
  EXPECT_THAT(matches("(?i:s)", "\xC5\xBF"), ElementsAre("\xC5\xBF"));  // long s
  EXPECT_THAT(matches("a(?i)b|c", "aB aC AB"), ElementsAre("aB", "aC"));
  EXPECT_THAT(matches("(?i:a(?-i:b))", "Ab AB"), ElementsAre("Ab"));
}

TEST(Regex, AnchorsAndLooking) {
  EXPECT_THAT(matches(R"(\s+$)", "a \nb  "), ElementsAre(" ", "  "));
  EXPECT_THAT(matches("^a", "a\naa"), ElementsAre("a", "a"));
  EXPECT_THAT(matches(R"(\Aa|a\z)", "aaa"), ElementsAre("a", "a"));
  EXPECT_THAT(matches(R"(\bb)", "ab b"), ElementsAre("b"));
  EXPECT_THAT(matches("(?<=a|xyz)b", "ab xyzb cb"), ElementsAre("b", "b"));
  EXPECT_THAT(matches("(?<!a)b", "ab cb"), ElementsAre("b"));
  EXPECT_THAT(matches("a(?=b)", "ab ac"), ElementsAre("a"));
}

TEST(Regex, EmptyMatchesDoNotRepeat) {
  EXPECT_THAT(matches("a*", "aab"), ElementsAre("aa", ""));
  EXPECT_THAT(matches("", "\xC3\xA9"), ElementsAre("", ""));
}

TEST(Regex, ClassesAndEscapes) {
  EXPECT_THAT(matches(R"([!"\-./\[\\\]^_`{|}~])", R"(a-[\]^)"),
              ElementsAre("-", "[", "\\", "]", "^"));
  EXPECT_THAT(matches(R"([^\r\n\p{L}])", "a\r1"), ElementsAre("1"));
  EXPECT_THAT(matches(R"(\x41\x{4F60}\u597D)", "A\xE4\xBD\xA0\xE5\xA5\xBD"),
              ElementsAre("A\xE4\xBD\xA0\xE5\xA5\xBD"));
  EXPECT_THAT(matches("a{x}|{", "a{x} {"), ElementsAre("a{x}", "{"));
  EXPECT_THAT(matches("[a-]", "-b"), ElementsAre("-"));
}

TEST(Regex, NamesWhatItDoesNotSupport) {
  EXPECT_THAT(refusal(R"(\p{Han})"), HasSubstr("property 'Han'"));
  EXPECT_THAT(refusal(R"((a)\1)"), HasSubstr("\\1"));
  EXPECT_THAT(refusal("(?<name>a)"), HasSubstr("group"));
  EXPECT_THAT(refusal("[a&&b]"), HasSubstr("intersection"));
  EXPECT_THAT(refusal("(?:a*)*"), HasSubstr("nothing"));
  EXPECT_THAT(refusal("(?<=a+)"), HasSubstr("look-behind"));
  EXPECT_THAT(refusal("(a"), HasSubstr("')' is missing"));
  EXPECT_THAT(refusal("a)"), HasSubstr("without"));
  EXPECT_THAT(refusal("[b-a]"), HasSubstr("range"));
  EXPECT_THAT(refusal("a{99999}"), HasSubstr("out of range"));
  EXPECT_THAT(refusal("*a"), HasSubstr("nothing to repeat"));
  EXPECT_THAT(refusal(std::string(100, '(')), HasSubstr("too deep"));
  EXPECT_THAT(refusal("(?:(?:(?:abc){1000}){1000}){1000}"), HasSubstr("too large"));
}

TEST(Regex, ABudgetBoundsTheSearch) {
  const Regex regex = Regex::compile("(?:a|a)*b").value();
  MatchBudget budget = {100'000};
  Span span;
  const Result<bool> found = regex.find(std::string(64, 'a'), 0, budget, span);
  EXPECT_EQ(found.code(), Code::kInvalid);
  EXPECT_EQ(budget.steps, 0u);
}

}  // namespace
}  // namespace galley::text

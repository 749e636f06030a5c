// Random regular expressions, as such and as patterns of JSON strings, against std::regex.
#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <regex>
#include <string>
#include <vector>

#include "text/grammar.h"
#include "text/tokenizer.h"

namespace galley::text {
namespace {

using Kind = GrammarSpec::Kind;

const Tokenizer& tokenizer() {
  static const auto loaded = Tokenizer::load(GALLEY_SOURCE_DIR "/models/demo");
  return **loaded;
}

std::shared_ptr<const CompiledGrammar> compiled(Kind kind, const std::string& source) {
  static const auto vocabulary = [] {
    const std::vector<int32_t> end = {*tokenizer().eos_id()};
    return *GrammarVocabulary::make(tokenizer(), tokenizer().vocab_size(), end);
  }();
  auto grammar = CompiledGrammar::compile(vocabulary, {kind, source});
  EXPECT_TRUE(grammar.ok()) << source << ": " << grammar.message();
  return grammar.ok() ? *grammar : nullptr;
}

bool accepts(const std::shared_ptr<const CompiledGrammar>& grammar, const std::string& text) {
  GrammarMatcher matcher(grammar);
  const auto tokens = tokenizer().encode(text, {.add_special_tokens = false});
  for (const int32_t token : *tokens)
    if (!matcher.accept(token)) return false;
  return matcher.complete();
}

class Expressions {
 public:
  explicit Expressions(uint64_t seed) : random_(seed) {}

  size_t below(size_t end) { return std::uniform_int_distribution<size_t>(0, end - 1)(random_); }

  std::string expression(int depth) {
    const size_t kind = below(10);
    if (depth == 0 || kind < 3)
      return pick({"a", "b", "c", "[ab]", "[^a]", "\\d", "-", "[a-c]", "\\.", "\\w"});
    if (kind < 5) return expression(depth - 1) + expression(depth - 1);
    const std::string open = pick({"(", "(?:"});
    if (kind < 7) return open + expression(depth - 1) + "|" + expression(depth - 1) + ")";
    return open + expression(depth - 1) + ")" +
           pick({"?", "*", "+", "{2}", "{0,2}", "{1,3}", "{2,}", "{0,}", "{1}", "{0,1}"});
  }

  std::string text() {
    std::string out(below(7), ' ');
    for (char& letter : out) letter = "aabbc-.1"[below(8)];
    return out;
  }

 private:
  std::string pick(const std::vector<const char*>& among) { return among[below(among.size())]; }

  std::mt19937_64 random_;
};

TEST(GrammarRegex, RandomExpressionsMeanWhatTheySay) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  Expressions random(seed);
  int taken = 0;
  for (int i = 0; i < 300; ++i) {
    const std::string expression = random.expression(3);
    const std::regex right(expression);
    const auto plain = compiled(Kind::kRegex, expression);
    std::string quoted = expression;
    for (size_t at = 0; (at = quoted.find('\\', at)) != std::string::npos; at += 2)
      quoted.insert(at, 1, '\\');
    const auto pattern =
        compiled(Kind::kJsonSchema, R"({"type":"string","pattern":"^)" + quoted + "$\"}");
    ASSERT_TRUE(plain && pattern) << expression;
    for (int j = 0; j < 20; ++j) {
      const std::string text = random.text();
      const bool wanted = std::regex_match(text, right);
      taken += wanted ? 1 : 0;
      ASSERT_EQ(accepts(plain, text), wanted) << expression << " and '" << text << "'";
      ASSERT_EQ(accepts(pattern, "\"" + text + "\""), wanted) << expression << " and " << text;
    }
  }
  EXPECT_GT(taken, 100);  // Both answers were asked for.
}

TEST(GrammarRegex, WhatOnceWentWrong) {
  EXPECT_FALSE(accepts(compiled(Kind::kRegex, "a(-b+)?"), "ab"));
  EXPECT_TRUE(accepts(compiled(Kind::kRegex, "a(-b+)?"), "a"));
  EXPECT_FALSE(accepts(compiled(Kind::kRegex, "(b|(c|b{1,3}))"), "cb"));
  EXPECT_FALSE(accepts(compiled(Kind::kRegex, "((-){2,}){0,}"), "-"));
  EXPECT_TRUE(accepts(compiled(Kind::kRegex, "((-){2,}){0,}"), "-----"));
}

// A pattern whose matches would have to be escaped within JSON.
TEST(GrammarRegex, PatternsOfWhatJsonEscapesAreRefused) {
  const std::vector<int32_t> end = {*tokenizer().eos_id()};
  const auto vocabulary = *GrammarVocabulary::make(tokenizer(), tokenizer().vocab_size(), end);
  for (const char* source :
       {R"({"type":"string","pattern":"^\\\\d$"})", R"({"type":"string","pattern":"^\"$"})"}) {
    const auto grammar = CompiledGrammar::compile(vocabulary, {Kind::kJsonSchema, source});
    ASSERT_FALSE(grammar.ok()) << source;
    EXPECT_EQ(grammar.status().code(), Code::kInvalid) << grammar.message();
    EXPECT_NE(grammar.message().find("pattern"), std::string::npos) << grammar.message();
  }
}

// Tokens that are parts of characters must not come together as what is no character.
TEST(GrammarRegex, ClassesHoldCharactersOnly) {
  for (const auto kind : {Kind::kRegex, Kind::kGrammar}) {
    const auto grammar = compiled(kind, kind == Kind::kRegex ? "[^a]" : "root ::= [^a]");
    for (const auto& [bytes, is_text] :
         std::vector<std::pair<std::string, bool>>{{"\xED\x9F\xBF", true},
                                                   {"\xED\xA0\x80", false},
                                                   {"\xEE\x80\x80", true},
                                                   {"\xE0\x9F\xBF", false},
                                                   {"\xE0\xA0\x80", true},
                                                   {"\xF0\x8F\xBF\xBF", false},
                                                   {"\xF0\x90\x80\x80", true},
                                                   {"\xF4\x8F\xBF\xBF", true},
                                                   {"\xF4\x90\x80\x80", false},
                                                   {"\xC2\x80", true},
                                                   {"\xC1\xBF", false}}) {
      GrammarMatcher matcher(grammar);
      bool taken = true;
      for (const char byte : bytes) {
        int32_t token = -1;
        for (int32_t id = 0; id < tokenizer().vocab_size() && token < 0; ++id)
          if (tokenizer().token_bytes(id) == std::string_view(&byte, 1)) token = id;
        ASSERT_GE(token, 0);
        taken = taken && matcher.accept(token);
      }
      EXPECT_EQ(taken && matcher.complete(), is_text) << static_cast<int>(kind);
    }
  }
}

}  // namespace
}  // namespace galley::text

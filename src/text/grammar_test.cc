#include "text/grammar.h"

#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "text/tokenizer.h"

namespace galley::text {
namespace {

using Kind = GrammarSpec::Kind;

const Tokenizer& demo_tokenizer() {
  static const auto tokenizer = Tokenizer::load(GALLEY_SOURCE_DIR "/models/demo");
  return **tokenizer;
}

std::shared_ptr<const GrammarVocabulary> demo_vocabulary() {
  static const auto made = [] {
    const std::vector<int32_t> end = {*demo_tokenizer().eos_id()};
    return *GrammarVocabulary::make(demo_tokenizer(), demo_tokenizer().vocab_size(), end);
  }();
  return made;
}

Result<std::shared_ptr<const CompiledGrammar>> compile(Kind kind, std::string source,
                                                       GrammarLimits limits = {}) {
  return CompiledGrammar::compile(demo_vocabulary(), {kind, std::move(source)}, limits);
}

// Whether the grammar takes `text` and could end there, by masks and steps alike.
bool accepts(const std::shared_ptr<const CompiledGrammar>& grammar, const std::string& text) {
  GrammarMatcher matcher(grammar);
  const auto tokens = demo_tokenizer().encode(text, {.add_special_tokens = false});
  std::vector<uint32_t> mask(demo_vocabulary()->mask_words());
  for (const int32_t token : *tokens) {
    EXPECT_TRUE(matcher.fill(mask).ok());
    const auto bit = static_cast<uint32_t>(token);
    const bool allowed = ((mask[bit / 32] >> (bit % 32)) & 1u) != 0;
    EXPECT_EQ(allowed, matcher.accept(token)) << text;
    if (!allowed) return false;
  }
  return matcher.complete();
}

bool accepts(Kind kind, const std::string& source, const std::string& text) {
  const auto grammar = compile(kind, source);
  EXPECT_TRUE(grammar.ok()) << source << ": " << grammar.message();
  return grammar.ok() && accepts(*grammar, text);
}

TEST(Grammar, EachKindTakesWhatItSays) {
  EXPECT_TRUE(accepts(Kind::kJsonObject, "", R"({"a": [1, {"b": null}], "c": "x"})"));
  EXPECT_FALSE(accepts(Kind::kJsonObject, "", R"([1])"));
  const std::string schema =
      R"({"type":"object","properties":{"n":{"type":"integer"},"s":{"type":"string"}},"required":["n"]})";
  EXPECT_TRUE(accepts(Kind::kJsonSchema, schema, R"({"n": 12, "s": "a\"b"})"));
  EXPECT_TRUE(accepts(Kind::kJsonSchema, schema, R"({"n":1})"));
  EXPECT_FALSE(accepts(Kind::kJsonSchema, schema, R"({"s":"x"})"));
  EXPECT_FALSE(accepts(Kind::kJsonSchema, schema, R"({"n":1,"m":2})"));
  EXPECT_TRUE(accepts(Kind::kRegex, "[a-c]{2,3}", "abc"));
  EXPECT_FALSE(accepts(Kind::kRegex, "[a-c]{2,3}", "abca"));
  EXPECT_TRUE(accepts(Kind::kChoice, R"(["yes","no \"quoted\""])", "no \"quoted\""));
  EXPECT_FALSE(accepts(Kind::kChoice, R"(["yes","no"])", "ye"));
  EXPECT_TRUE(accepts(Kind::kGrammar, "root ::= \"a\" b\nb ::= [0-9]+", "a42"));
  EXPECT_FALSE(accepts(Kind::kGrammar, "root ::= \"a\" b\nb ::= [0-9]+", "a"));
}

TEST(Grammar, StringsHoldNoControlCharacters) {
  for (const char* schema :
       {R"({"type":"string"})", R"({"type":"string","minLength":1})",
        R"({"type":"string","maxLength":9})", R"({"type":"string","pattern":"^.+$"})",
        R"({"type":"string","pattern":"[^a]+"})"}) {
    EXPECT_TRUE(accepts(Kind::kJsonSchema, schema, "\"x y\"")) << schema;
    EXPECT_FALSE(accepts(Kind::kJsonSchema, schema, "\"x\ty\"")) << schema;
    EXPECT_FALSE(accepts(Kind::kJsonSchema, schema, "\"x\ny\"")) << schema;
  }
}

TEST(Grammar, RollsBackAndEndsWithTheEndTokenOnly) {
  GrammarMatcher matcher(*compile(Kind::kChoice, R"(["ab"])"));
  const auto tokens = *demo_tokenizer().encode("ab", {.add_special_tokens = false});
  for (const int32_t token : tokens) ASSERT_TRUE(matcher.accept(token));
  EXPECT_TRUE(matcher.complete());
  std::vector<uint32_t> mask(demo_vocabulary()->mask_words());
  ASSERT_TRUE(matcher.fill(mask).ok());
  const int32_t end = demo_vocabulary()->end_tokens()[0];
  size_t bits = 0;
  for (const uint32_t word : mask) bits += static_cast<size_t>(__builtin_popcount(word));
  EXPECT_EQ(bits, 1u);
  EXPECT_TRUE(matcher.accept(end));
  EXPECT_TRUE(matcher.ended());
  EXPECT_FALSE(matcher.accept(end));
  matcher.rollback(1 + static_cast<int32_t>(tokens.size()));
  EXPECT_FALSE(matcher.complete());
  EXPECT_FALSE(matcher.accept(end));
  EXPECT_TRUE(matcher.accept(tokens[0]));
}

TEST(Grammar, ControlTokensAreNoText) {
  GrammarMatcher matcher(*compile(Kind::kRegex, "[^b]*"));
  std::vector<uint32_t> mask(demo_vocabulary()->mask_words());
  ASSERT_TRUE(matcher.fill(mask).ok());
  for (int32_t id = 0; id < demo_tokenizer().vocab_size(); ++id) {
    if (!demo_tokenizer().is_added(id) || id == demo_vocabulary()->end_tokens()[0]) continue;
    EXPECT_FALSE(matcher.accept(id)) << demo_tokenizer().token_string(id);
    EXPECT_EQ((mask[static_cast<size_t>(id) / 32] >> (id % 32)) & 1u, 0u);
  }
}

TEST(Grammar, ATagMayNameATokenById) {
  const auto marker = demo_tokenizer().id_of("<｜tool▁call▁begin｜>");
  ASSERT_TRUE(marker);
  GrammarMatcher matcher(*compile(
      Kind::kStructuralTag, R"({"type":"structural_tag","format":{"type":"sequence","elements":[)"
                            R"({"type":"token","token":)" +
                                std::to_string(*marker) +
                                R"(},{"type":"const_string","value":"x"}]}})"));
  std::vector<uint32_t> mask(demo_vocabulary()->mask_words());
  ASSERT_TRUE(matcher.fill(mask).ok());
  EXPECT_NE((mask[static_cast<size_t>(*marker) / 32] >> (*marker % 32)) & 1u, 0u);
  EXPECT_TRUE(matcher.accept(*marker));
  EXPECT_FALSE(matcher.accept(*marker));
}

TEST(Grammar, WhatItCannotPromiseIsRefusedByPath) {
  const struct {
    const char* schema;
    const char* message;
  } kCases[] = {
      {R"({"type":"object","properties":{"a":{"not":{}}}})", "properties.a.not"},
      {R"({"type":"array","uniqueItems":true})", "uniqueItems"},
      {R"({"type":"number","multipleOf":0.5})", "multipleOf"},
      {R"({"type":"string","pattern":"a+","minLength":3})", "pattern"},
      {R"({"allOf":[{"type":"object"},{"type":"object"}]})", "allOf"},
      {R"({"oneOf":[{"type":"integer"},{"type":"number"}]})", "oneOf"},
      {R"({"minimum":1,"minLength":2})", "needs a type"},
      {R"({"$ref":"http://example.com/x"})", "$ref"},
      {R"({"$ref":"#/$defs/a","$defs":{"a":{"$ref":"#/$defs/a"}}})", "ring"},
      {R"({"type":"objekt"})", "type"},
      {R"({"properties":{"a":false}})", "properties.a"},
      {R"({"propertyNames":false})", "propertyNames"},
      {"{", "not JSON"},
  };
  for (const auto& one : kCases) {
    const auto grammar = compile(Kind::kJsonSchema, one.schema);
    ASSERT_FALSE(grammar.ok()) << one.schema;
    EXPECT_NE(grammar.message().find(one.message), std::string::npos)
        << one.schema << ": " << grammar.message();
  }
  EXPECT_FALSE(compile(Kind::kRegex, "a(").ok());
  EXPECT_FALSE(compile(Kind::kGrammar, "root ::= x").ok());
  EXPECT_FALSE(compile(Kind::kChoice, "[]").ok());
}

TEST(Grammar, HostileSourcesMeetABoundInTime) {
  GrammarLimits limits;
  limits.compile_ms_max = 300;
  std::string nested = "[ab]", rules = "root ::= r0\n", wide = R"({"type":"object","properties":{)";
  for (int i = 0; i < 100; ++i) nested.insert(0, "(").append("{1,9})");
  for (int i = 0; i < 2000; ++i)
    rules += "r" + std::to_string(i) + " ::= r" + std::to_string((i + 1) % 2000) + " r" +
             std::to_string((i + 7) % 2000) + " | \"a\"\n";
  for (int i = 0; i < 4000; ++i)
    wide +=
        (i > 0 ? "," : "") + ("\"p" + std::to_string(i)) + R"(":{"type":"number","minimum":0.5})";
  const std::pair<Kind, std::string> kSources[] = {
      {Kind::kRegex, nested},
      {Kind::kRegex, "(a|b)*a(a|b){500}"},
      {Kind::kRegex, "((a{1,1000}){1,1000}){1,1000}"},
      {Kind::kRegex, std::string(200'000, '(')},
      {Kind::kGrammar, rules},
      {Kind::kGrammar, "root ::= root root | root root root | \"a\""},
      {Kind::kJsonSchema, wide + "}}"},
      {Kind::kJsonSchema, R"({"type":"string","minLength":99999})"},
  };
  for (const auto& [kind, source] : kSources) {
    const auto begin = std::chrono::steady_clock::now();
    const auto grammar = compile(kind, source, limits);
    const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(
        std::chrono::steady_clock::now() - begin);
    // Either is fine; what counts is when. Sanitizers and a busy machine are slow.
    EXPECT_LT(took.count(), 20'000) << source.substr(0, 40);
    std::printf("%6ld ms  %s: %s\n", static_cast<long>(took.count()), source.substr(0, 40).c_str(),
                grammar.ok() ? "compiled" : grammar.message().c_str());
  }
}

}  // namespace
}  // namespace galley::text

// grammar_pipe MODEL_FOLDER: compiles schemas and tries texts, for tools/schemas/check.
//
// A line on standard input   {"schema": ..., "texts": ["...", ...], "generate": N, "seed": N}
// a line on standard output  {"ms": 1.5, "error": "..." or "accepts": [true, ...],
//                             "generated": ["..." or null, ...], "mask_us_max": N}
// A text is accepted when every token of it is allowed by the mask before it and the grammar may
// end behind it. Generated texts are drawn at random among the allowed tokens, in favour of those
// that close something; null: not at its end after kTokensMax tokens.
#include <boost/json.hpp>
#include <chrono>
#include <iostream>
#include <random>
#include <string>

#include "text/grammar.h"
#include "text/tokenizer.h"

namespace galley::text {
namespace {

namespace json = boost::json;
using Clock = std::chrono::steady_clock;

constexpr int kTokensMax = 1500;

double ms_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

class Pipe {
 public:
  Pipe(std::shared_ptr<const Tokenizer> tokenizer, std::shared_ptr<const GrammarVocabulary> words)
      : tokenizer_(std::move(tokenizer)), vocabulary_(std::move(words)) {
    mask_.resize(vocabulary_->mask_words());
  }

  json::object answer(const json::object& asked) {
    json::object out;
    mask_us_max_ = 0;
    const auto begin = Clock::now();
    const auto grammar = CompiledGrammar::compile(
        vocabulary_, {GrammarSpec::Kind::kJsonSchema, json::serialize(asked.at("schema"))});
    out["ms"] = ms_since(begin);
    if (!grammar.ok()) {
      out["error"] = grammar.message();
      return out;
    }
    json::array accepts;
    if (asked.contains("texts"))
      for (const json::value& text : asked.at("texts").as_array())
        accepts.push_back(accepts_text(*grammar, std::string(text.as_string())));
    out["accepts"] = std::move(accepts);
    json::array generated;
    const int64_t count = asked.contains("generate") ? asked.at("generate").as_int64() : 0;
    for (int64_t i = 0; i < count; ++i)
      generated.push_back(
          generate(*grammar, static_cast<uint64_t>(asked.at("seed").as_int64() + i)));
    out["generated"] = std::move(generated);
    out["mask_us_max"] = mask_us_max_;
    return out;
  }

 private:
  bool fill(GrammarMatcher& matcher) {
    const auto begin = Clock::now();
    const bool ok = matcher.fill(mask_).ok();
    mask_us_max_ = std::max(mask_us_max_, static_cast<int64_t>(ms_since(begin) * 1000));
    return ok;
  }
  bool allowed(int32_t token) const {
    return ((mask_[static_cast<size_t>(token) / 32] >> (token % 32)) & 1u) != 0;
  }

  bool accepts_text(const std::shared_ptr<const CompiledGrammar>& grammar,
                    const std::string& text) {
    GrammarMatcher matcher(grammar);
    const auto tokens =
        tokenizer_->encode(text, {.add_special_tokens = false, .parse_special = false});
    if (!tokens.ok()) return false;
    for (const int32_t token : *tokens)
      if (!fill(matcher) || !allowed(token) || !matcher.accept(token)) return false;
    return matcher.complete();
  }

  json::value generate(const std::shared_ptr<const CompiledGrammar>& grammar, uint64_t seed) {
    GrammarMatcher matcher(grammar);
    std::mt19937_64 random(seed);
    std::string text;
    for (int i = 0; i < kTokensMax; ++i) {
      if (!fill(matcher)) return nullptr;
      std::vector<int32_t> all, closing;
      for (int32_t token = 0; token < tokenizer_->vocab_size(); ++token) {
        if (!allowed(token)) continue;
        all.push_back(token);
        if (tokenizer_->token_bytes(token).find_first_of("\"]}") != std::string_view::npos)
          closing.push_back(token);
      }
      if (all.empty()) return nullptr;
      const int32_t end = vocabulary_->end_tokens()[0];
      if (allowed(end) && (all.size() == 1 || random() % 2 == 0)) return json::string(text);
      const auto& from = !closing.empty() && random() % 4 != 0 ? closing : all;
      const int32_t token = from[random() % from.size()];
      if (token == end) return json::string(text);
      if (!matcher.accept(token)) return nullptr;
      text += tokenizer_->token_bytes(token);
    }
    return nullptr;
  }

  const std::shared_ptr<const Tokenizer> tokenizer_;
  const std::shared_ptr<const GrammarVocabulary> vocabulary_;
  std::vector<uint32_t> mask_;
  int64_t mask_us_max_ = 0;
};

}  // namespace
}  // namespace galley::text

int main(int argc, char** argv) {
  using namespace galley::text;
  if (argc != 2) return 2;
  const auto tokenizer = Tokenizer::load(argv[1]);
  if (!tokenizer.ok() || !(*tokenizer)->eos_id()) {
    std::cerr << argv[1] << ": no tokenizer with an end token\n";
    return 2;
  }
  const std::vector<int32_t> end = {*(*tokenizer)->eos_id()};
  const auto vocabulary = GrammarVocabulary::make(**tokenizer, (*tokenizer)->vocab_size(), end);
  if (!vocabulary.ok()) return 2;
  Pipe pipe(*tokenizer, *vocabulary);
  for (std::string line; std::getline(std::cin, line);) {
    boost::json::error_code failure;
    boost::json::parse_options options;
    options.max_depth = 512;
    const boost::json::value asked = boost::json::parse(line, failure, {}, options);
    if (failure) {
      std::cout << R"({"ms": 0, "error": "the line is not JSON"})" << std::endl;
      continue;
    }
    std::cout << boost::json::serialize(pipe.answer(asked.as_object())) << std::endl;
  }
  return 0;
}

// Fuzzes the grammars: a source is refused, or every token a mask allows can be stepped over, one
// it does not allow cannot, and stepping back leads to the same mask.
//
// The input is a byte for the kind, one that says which tokens are drawn, then the source.
#include <pthread.h>

#include <boost/json.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "base/check.h"
#include "text/grammar.h"
#include "text/testing/tiny_tokenizer.h"
#include "text/tokenizer.h"

namespace galley::text {
namespace {

constexpr int kSteps = 24;
constexpr size_t kStackBytes = size_t{64} << 20;
constexpr GrammarSpec::Kind kKinds[] = {GrammarSpec::Kind::kJsonSchema, GrammarSpec::Kind::kRegex,
                                        GrammarSpec::Kind::kChoice, GrammarSpec::Kind::kGrammar};

const Tokenizer& tokenizer() {
  static const auto made = [] {
    auto parsed = Tokenizer::parse(testing::TinyTokenizer().json(), "{}");
    GALLEY_CHECK(parsed.ok(), "the tokenizer is right");
    return *parsed;
  }();
  return *made;
}

std::shared_ptr<const GrammarVocabulary> vocabulary() {
  static const auto made = [] {
    const std::vector<int32_t> end = {*tokenizer().id_of("<eos>")};
    auto vocabulary = GrammarVocabulary::make(tokenizer(), tokenizer().vocab_size(), end);
    GALLEY_CHECK(vocabulary.ok(), "the vocabulary is right");
    return *vocabulary;
  }();
  return made;
}

void walk(const std::shared_ptr<const CompiledGrammar>& grammar, uint32_t random) {
  GrammarMatcher matcher(grammar);
  std::vector<uint32_t> mask(vocabulary()->mask_words());
  std::vector<uint32_t> again(mask.size());
  const auto size = static_cast<uint32_t>(vocabulary()->vocab_size());
  for (int step = 0; step < kSteps && !matcher.ended(); ++step) {
    if (!matcher.fill(mask).ok()) return;
    random = random * 1664525u + 1013904223u;
    const uint32_t first = (random >> 8) % size;
    uint32_t drawn = size;
    for (uint32_t i = 0; i < size && drawn == size; ++i) {
      const uint32_t token = (first + i) % size;
      if (((mask[token / 32] >> (token % 32)) & 1u) != 0) drawn = token;
    }
    if (drawn != first)
      GALLEY_CHECK(!matcher.accept(static_cast<int32_t>(first)), "what is masked is refused");
    if (drawn == size) return;  // The grammar's only way on has no token.
    GALLEY_CHECK(matcher.accept(static_cast<int32_t>(drawn)), "what is allowed is taken");
    if (step % 4 != 3) continue;
    matcher.rollback(1);
    if (!matcher.fill(again).ok()) return;
    GALLEY_CHECK(mask == again, "a step back leads to the same mask");
    GALLEY_CHECK(matcher.accept(static_cast<int32_t>(drawn)), "a step can be taken again");
  }
}

struct Input {
  GrammarSpec spec;
  uint32_t random = 0;
};

void* run(void* argument) {
  const auto& input = *static_cast<const Input*>(argument);
  GrammarLimits limits;
  limits.source_bytes_max = 4096;
  limits.compile_ms_max = 1000;
  limits.states_max = 50'000;
  const auto grammar = CompiledGrammar::compile(vocabulary(), input.spec, limits);
  if (grammar.ok())
    walk(*grammar, input.random);
  else
    GALLEY_CHECK(!grammar.message().empty(), "a refusal has a message");
  return nullptr;
}

}  // namespace
}  // namespace galley::text

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace galley::text;
  if (size < 2) return 0;
  vocabulary();
  Input input;
  input.spec.kind = kKinds[data[0] % std::size(kKinds)];
  input.random = data[1];
  input.spec.source.assign(reinterpret_cast<const char*>(data) + 2, size - 2);
  // Grammars are compiled on such a thread in service, too.
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, kStackBytes);
  pthread_t thread;
  GALLEY_CHECK(pthread_create(&thread, &attributes, run, &input) == 0, "a thread");
  pthread_join(thread, nullptr);
  pthread_attr_destroy(&attributes);
  return 0;
}

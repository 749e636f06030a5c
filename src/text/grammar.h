// Grammars: which tokens may come next, so that an answer has the form that was asked for.
//
//   GrammarSpec        what a client asked for: a JSON Schema, a regular expression, ...
//   GrammarVocabulary  a model's tokens as the grammar engine wants them; one for a model
//   CompiledGrammar    both together; immutable, shared between requests and threads
//   GrammarMatcher     where one answer is in its grammar; one thread at a time
//
// Built on xgrammar (docs/dependencies.md). Every call that can be made to work hard by what a
// client sent is bounded in time and states and fails with kTooLarge. Nothing throws.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "text/grammar_limits.h"

namespace galley::text {

class Tokenizer;

struct GrammarSpec {
  enum class Kind : uint8_t {
    kNone,
    kJsonObject,     // any JSON object; no source
    kJsonSchema,     // source: a JSON Schema, as JSON
    kRegex,          // the whole answer matches; JavaScript's syntax, as xgrammar reads it
    kChoice,         // source: a JSON array of strings
    kGrammar,        // EBNF in GBNF's dialect, rule "root"
    kStructuralTag,  // xgrammar's JSON for text with tagged parts; ours only, never a client's
  };
  Kind kind = Kind::kNone;
  std::string source;
  bool operator==(const GrammarSpec&) const = default;
};

class GrammarVocabulary {
 public:
  // `vocab_size` is that of the model's logits. Control and added tokens stand for no text; one of
  // `end_tokens` ends an answer whose grammar is complete.
  // Errors  kInvalid  no end token, or more tokens than logits
  static Result<std::shared_ptr<const GrammarVocabulary>> make(const Tokenizer& tokenizer,
                                                               int32_t vocab_size,
                                                               std::span<const int32_t> end_tokens);
  ~GrammarVocabulary();

  int32_t vocab_size() const { return vocab_size_; }
  size_t mask_words() const { return (static_cast<size_t>(vocab_size_) + 31) / 32; }
  std::span<const int32_t> end_tokens() const { return end_tokens_; }

 private:
  friend class CompiledGrammar;
  struct Impl;
  GrammarVocabulary();
  int32_t vocab_size_ = 0;
  std::vector<int32_t> end_tokens_;
  std::unique_ptr<Impl> impl_;
};

class CompiledGrammar {
 public:
  // On the calling thread, for up to limits.compile_ms_max; deep input wants a stack of 64 MiB.
  // Errors  kInvalid   what is wrong with the source, or not supported
  //         kTooLarge  a bound was met, by name; `out_of_time`: it was that of time
  static Result<std::shared_ptr<const CompiledGrammar>> compile(
      std::shared_ptr<const GrammarVocabulary> vocabulary, const GrammarSpec& spec,
      const GrammarLimits& limits = {}, bool* out_of_time = nullptr);
  ~CompiledGrammar();

  const GrammarVocabulary& vocabulary() const { return *vocabulary_; }
  size_t size_bytes() const { return size_bytes_; }

 private:
  friend class GrammarMatcher;
  struct Impl;
  CompiledGrammar();
  std::shared_ptr<const GrammarVocabulary> vocabulary_;
  size_t size_bytes_ = 0;
  int64_t fill_ms_max_ = 0;
  std::unique_ptr<Impl> impl_;
};

class GrammarMatcher {
 public:
  explicit GrammarMatcher(std::shared_ptr<const CompiledGrammar> grammar);
  ~GrammarMatcher();
  GrammarMatcher(GrammarMatcher&&) noexcept;
  GrammarMatcher& operator=(GrammarMatcher&&) noexcept;

  // Steps over `token`. False: it may not come here, or the grammar has ended; nothing changes.
  bool accept(int32_t token);
  // Takes back the last `count` accepted tokens.
  void rollback(int32_t count);
  // Sets bit t of `mask`, [vocabulary().mask_words()], when token t may come next.
  // Errors  kTooLarge  it took too long; the matcher is then of no more use
  Status fill(std::span<uint32_t> mask);

  // The text so far is whole: an end token may come next.
  bool complete() const;
  // An end token was accepted: nothing may follow.
  bool ended() const;

 private:
  struct Impl;
  std::shared_ptr<const CompiledGrammar> grammar_;
  std::unique_ptr<Impl> impl_;
};

}  // namespace galley::text

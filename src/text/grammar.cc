#include "text/grammar.h"

#include <xgrammar/xgrammar.h>

#include <algorithm>
#include <boost/json.hpp>
#include <exception>
#include <utility>
#include <variant>

#include "base/check.h"
#include "text/grammar_hooks.h"
#include "text/json_schema.h"
#include "text/tokenizer.h"

namespace galley::text {
namespace {

namespace json = boost::json;

constexpr size_t kJsonDepthMax = 64;
constexpr size_t kMessageBytesMax = 400;

Status kind_error(const std::string& message) {
  return Status(Code::kInvalid, message.substr(0, kMessageBytesMax));
}

// The engine's messages begin with the check that failed, and may have lines of context.
std::string plain(std::string_view message) {
  constexpr std::string_view kIsFalse = ") is false: ";
  if (const size_t at = message.find(kIsFalse); at != std::string_view::npos)
    message.remove_prefix(at + kIsFalse.size());
  const size_t line = message.find('\n');
  return std::string(message.substr(0, line));
}

Status check_nesting(std::string_view source, size_t nesting_max) {
  size_t depth = 0;
  for (size_t i = 0; i < source.size(); ++i) {
    const char c = source[i];
    if (c == '\\') {
      ++i;
    } else if (c == '(' || c == '[' || c == '{') {
      if (++depth > nesting_max)
        return Status(Code::kTooLarge,
                      "brackets nest deeper than " + std::to_string(nesting_max) + " levels");
    } else if ((c == ')' || c == ']' || c == '}') && depth > 0) {
      --depth;
    }
  }
  return Status();
}

Result<json::value> parse_json(const std::string& source) {
  json::error_code failure;
  json::parse_options options;
  options.max_depth = kJsonDepthMax;
  json::value value = json::parse(source, failure, {}, options);
  if (failure) return Status(Code::kInvalid, "it is not JSON: " + failure.message());
  return value;
}

Result<std::string> choice_tag(const std::string& source, size_t choices_max) {
  GALLEY_ASSIGN_OR_RETURN(const json::value list, parse_json(source));
  if (!list.is_array() || list.get_array().empty() || list.get_array().size() > choices_max)
    return Status(Code::kInvalid,
                  "it must be an array of 1 to " + std::to_string(choices_max) + " strings");
  json::array elements;
  for (const json::value& one : list.get_array()) {
    if (!one.is_string() || one.get_string().empty())
      return Status(Code::kInvalid, "each choice must be a string that is not empty");
    elements.push_back({{"type", "const_string"}, {"value", one}});
  }
  const json::value tag = {{"type", "structural_tag"},
                           {"format", {{"type", "or"}, {"elements", std::move(elements)}}}};
  return json::serialize(tag);
}

Result<std::string> schema_source(const GrammarSpec& spec, const GrammarLimits& limits) {
  if (spec.kind == GrammarSpec::Kind::kJsonObject)
    return std::string(R"({"type":"object","additionalProperties":true})");
  GALLEY_ASSIGN_OR_RETURN(const json::value schema, parse_json(spec.source));
  GALLEY_ASSIGN_OR_RETURN(const json::value obeyable, obeyable_schema(schema, limits.schema));
  return json::serialize(obeyable);
}

}  // namespace

struct GrammarVocabulary::Impl {
  xgrammar::TokenizerInfo info;
};

GrammarVocabulary::GrammarVocabulary() = default;
GrammarVocabulary::~GrammarVocabulary() = default;

Result<std::shared_ptr<const GrammarVocabulary>> GrammarVocabulary::make(
    const Tokenizer& tokenizer, int32_t vocab_size, std::span<const int32_t> end_tokens) {
  if (end_tokens.empty())
    return Status(Code::kInvalid, "the model has no end-of-text token, so no grammar could end");
  if (tokenizer.vocab_size() > vocab_size)
    return Status(Code::kInvalid, "the tokenizer has " + std::to_string(tokenizer.vocab_size()) +
                                      " tokens, the model " + std::to_string(vocab_size));
  std::vector<std::string> tokens(static_cast<size_t>(vocab_size));
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    // An added token in a JSON string would be read as what it means, not as its text. A byte that
    // no text has keeps it out of all text; grammars may still name it by its id.
    const bool means = tokenizer.is_special(id) || tokenizer.is_added(id);
    tokens[static_cast<size_t>(id)] =
        means ? "\xFF" + std::to_string(id) : std::string(tokenizer.token_bytes(id));
  }
  std::shared_ptr<GrammarVocabulary> out(new GrammarVocabulary());
  out->vocab_size_ = vocab_size;
  out->end_tokens_.assign(end_tokens.begin(), end_tokens.end());
  try {
    out->impl_ = std::make_unique<Impl>(
        Impl{xgrammar::TokenizerInfo(tokens, xgrammar::VocabType::RAW, vocab_size,
                                     std::vector<int32_t>(end_tokens.begin(), end_tokens.end()))});
  } catch (const std::exception& error) {
    return Status(Code::kInvalid, "grammars cannot use this vocabulary: " + plain(error.what()));
  }
  return std::shared_ptr<const GrammarVocabulary>(std::move(out));
}

struct CompiledGrammar::Impl {
  xgrammar::CompiledGrammar grammar;
};

CompiledGrammar::CompiledGrammar() = default;
CompiledGrammar::~CompiledGrammar() = default;

Result<std::shared_ptr<const CompiledGrammar>> CompiledGrammar::compile(
    std::shared_ptr<const GrammarVocabulary> vocabulary, const GrammarSpec& spec,
    const GrammarLimits& limits, bool* out_of_time) {
  using Kind = GrammarSpec::Kind;
  if (spec.source.size() > limits.source_bytes_max)
    return Status(Code::kTooLarge, "it has " + std::to_string(spec.source.size()) +
                                       " bytes; at most " +
                                       std::to_string(limits.source_bytes_max) + " are allowed");
  std::string source = spec.source;
  if (spec.kind == Kind::kJsonObject || spec.kind == Kind::kJsonSchema) {
    GALLEY_ASSIGN_OR_RETURN(source, schema_source(spec, limits));
  } else if (spec.kind == Kind::kChoice) {
    GALLEY_ASSIGN_OR_RETURN(source, choice_tag(spec.source, limits.choices_max));
  } else if (spec.kind != Kind::kStructuralTag) {
    GALLEY_RETURN_IF_ERROR(check_nesting(source, limits.nesting_max));
  }

  std::shared_ptr<CompiledGrammar> out(new CompiledGrammar());
  std::string passed_over;
  Status failed;
  try {
    const ScopedGrammarBudget budget(limits.compile_ms_max, limits.states_max, &passed_over,
                                     limits.cancelled);
    xgrammar::GrammarCompiler compiler(vocabulary->impl_->info, 1, false);
    const auto made = [&]() -> xgrammar::CompiledGrammar {
      switch (spec.kind) {
        case Kind::kJsonObject:
        case Kind::kJsonSchema:
          return compiler.CompileJSONSchema(source, true, std::nullopt, std::nullopt, true,
                                            limits.whitespace_max);
        case Kind::kRegex:
          return compiler.CompileRegex(source);
        case Kind::kGrammar:
          return compiler.CompileGrammar(source, "root");
        case Kind::kChoice:
        case Kind::kStructuralTag:
          return compiler.CompileStructuralTag(source);
        case Kind::kNone:
          break;
      }
      GALLEY_CHECK(false, "no grammar was asked for");
      throw std::logic_error("unreachable");
    }();
    out->impl_ = std::make_unique<Impl>(Impl{made});
    out->size_bytes_ = made.MemorySizeBytes();
  } catch (const GrammarBudgetSpent& spent) {
    if (out_of_time != nullptr) *out_of_time = spent.is_time;
    failed =
        Status(Code::kTooLarge,
               spent.is_time ? "it takes longer than " + std::to_string(limits.compile_ms_max) +
                                   " ms to compile: make it simpler"
                             : "it needs more than " + std::to_string(limits.states_max) +
                                   " states: make it simpler");
  } catch (const std::exception& error) {
    failed = kind_error(plain(error.what()));
  }
  if (!failed.ok()) return failed;
  if (!passed_over.empty()) return kind_error(plain(passed_over));
  if (out->size_bytes_ > limits.compiled_bytes_max)
    return Status(Code::kTooLarge, "compiled it has " + std::to_string(out->size_bytes_) +
                                       " bytes; at most " +
                                       std::to_string(limits.compiled_bytes_max) + " are allowed");
  out->vocabulary_ = std::move(vocabulary);
  out->fill_ms_max_ = limits.fill_ms_max;
  return std::shared_ptr<const CompiledGrammar>(std::move(out));
}

struct GrammarMatcher::Impl {
  xgrammar::GrammarMatcher matcher;
};

GrammarMatcher::GrammarMatcher(std::shared_ptr<const CompiledGrammar> grammar)
    : grammar_(std::move(grammar)),
      impl_(std::make_unique<Impl>(Impl{xgrammar::GrammarMatcher(grammar_->impl_->grammar)})) {}
GrammarMatcher::~GrammarMatcher() = default;
GrammarMatcher::GrammarMatcher(GrammarMatcher&&) noexcept = default;
GrammarMatcher& GrammarMatcher::operator=(GrammarMatcher&&) noexcept = default;

bool GrammarMatcher::accept(int32_t token) {
  if (token < 0 || token >= grammar_->vocabulary().vocab_size() || ended()) return false;
  try {
    const ScopedGrammarBudget budget(grammar_->fill_ms_max_, UINT64_MAX);
    return impl_->matcher.AcceptToken(token);
  } catch (const std::exception&) {
    return false;
  }
}

void GrammarMatcher::rollback(int32_t count) {
  if (count > 0) impl_->matcher.Rollback(count);
}

Status GrammarMatcher::fill(std::span<uint32_t> mask) {
  const size_t words = grammar_->vocabulary().mask_words();
  GALLEY_CHECK(mask.size() == words, "a mask has a bit for each token");
  int64_t shape[1] = {static_cast<int64_t>(words)};
  DLTensor tensor{};
  tensor.data = mask.data();
  tensor.device = DLDevice{kDLCPU, 0};
  tensor.ndim = 1;
  tensor.dtype = xgrammar::GetBitmaskDLType();
  tensor.shape = shape;
  try {
    const ScopedGrammarBudget budget(grammar_->fill_ms_max_, UINT64_MAX);
    impl_->matcher.FillNextTokenBitmask(&tensor);
  } catch (const GrammarBudgetSpent&) {
    return Status(Code::kTooLarge, "the grammar needs more than " +
                                       std::to_string(grammar_->fill_ms_max_) +
                                       " ms for one token: make it simpler");
  } catch (const std::exception& error) {
    return kind_error("the grammar cannot go on: " + plain(error.what()));
  }
  return Status();
}

bool GrammarMatcher::complete() const {
  return impl_->matcher.IsCompleted();
}

bool GrammarMatcher::ended() const {
  return impl_->matcher.IsTerminated();
}

}  // namespace galley::text

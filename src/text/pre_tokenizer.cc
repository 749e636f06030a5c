#include "text/pre_tokenizer.h"

#include <algorithm>
#include <utility>

#include "text/byte_level.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace galley::text {
namespace {

// GPT-2's expression, which a ByteLevel step with use_regex applies (Radford et al. 2019).
constexpr std::string_view kGpt2Expression =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// Every character for which `predicate` holds, each a span of its own.
template <typename Predicate>
void find_characters(std::string_view text, Predicate predicate, std::vector<Span>& out) {
  out.clear();
  for (size_t pos = 0; pos < text.size();) {
    const size_t begin = pos;
    if (predicate(next_code_point(text, pos))) out.push_back({begin, pos});
  }
}

}  // namespace

Result<PreTokenizer> PreTokenizer::parse(const boost::json::value& value,
                                         const TokenizerLimits& limits, const std::string& where) {
  PreTokenizer pre;
  if (!value.is_null()) GALLEY_RETURN_IF_ERROR(pre.add(value, limits, where));
  if (!pre.steps_.empty() && std::holds_alternative<ByteSymbols>(pre.steps_.back())) {
    pre.steps_.pop_back();
    pre.raw_bytes_ = true;
  }
  return pre;
}

Status PreTokenizer::add(const boost::json::value& value, const TokenizerLimits& limits,
                         const std::string& where) {
  GALLEY_ASSIGN_OR_RETURN(const boost::json::object* object, object_of(value, where));
  GALLEY_ASSIGN_OR_RETURN(const std::string type, string_field(*object, "type", where));
  if (steps_.size() >= limits.steps_max) {
    return {Code::kTooLarge, where + ": more than " + std::to_string(limits.steps_max) + " steps"};
  }
  if (type == "Sequence") {
    return add_sequence(*object, "pretokenizers", where,
                        [&](const boost::json::value& step, const std::string& inside) {
                          return add(step, limits, inside);
                        });
  }
  if (type == "Split") return add_split(*object, limits, where);
  if (type == "ByteLevel") return add_byte_level(*object, where);
  if (type == "Metaspace") return add_metaspace(*object, where);
  if (type == "Digits") {
    GALLEY_ASSIGN_OR_RETURN(const bool individual,
                            bool_field(*object, "individual_digits", where, false));
    steps_.push_back(
        Cut{Digits{}, individual ? Behavior::kIsolated : Behavior::kContiguous, false});
    return {};
  }
  if (type == "Punctuation") {
    GALLEY_ASSIGN_OR_RETURN(const Behavior behavior, behavior_of(*object, where, "Isolated"));
    steps_.push_back(Cut{Punctuation{}, behavior, false});
    return {};
  }
  if (type == "WhitespaceSplit") {
    steps_.push_back(Cut{WhiteSpace{}, Behavior::kRemoved, false});
    return {};
  }
  return {Code::kInvalid, where + ": pre-tokenizer type '" + type + "' is not supported"};
}

Status PreTokenizer::add_split(const boost::json::object& object, const TokenizerLimits& limits,
                               const std::string& where) {
  GALLEY_ASSIGN_OR_RETURN(const boost::json::value* pattern, field(object, "pattern", where));
  GALLEY_ASSIGN_OR_RETURN(Pattern parsed,
                          Pattern::parse(*pattern, limits.pattern_bytes_max, where));
  GALLEY_ASSIGN_OR_RETURN(const Behavior behavior, behavior_of(object, where, std::nullopt));
  GALLEY_ASSIGN_OR_RETURN(const bool invert, bool_field(object, "invert", where, false));
  steps_.push_back(Cut{std::move(parsed), behavior, invert});
  return {};
}

Status PreTokenizer::add_byte_level(const boost::json::object& object, const std::string& where) {
  GALLEY_ASSIGN_OR_RETURN(const bool prefix, bool_field(object, "add_prefix_space", where, true));
  GALLEY_ASSIGN_OR_RETURN(const bool use_regex, bool_field(object, "use_regex", where, true));
  if (prefix) steps_.push_back(PrependSpace{});
  if (use_regex) {
    GALLEY_ASSIGN_OR_RETURN(Pattern parsed, Pattern::regex(std::string(kGpt2Expression), where));
    steps_.push_back(Cut{std::move(parsed), Behavior::kIsolated, false});
  }
  steps_.push_back(ByteSymbols{});
  return {};
}

Status PreTokenizer::add_metaspace(const boost::json::object& object, const std::string& where) {
  GALLEY_ASSIGN_OR_RETURN(const std::string replacement,
                          string_field(object, "replacement", where));
  GALLEY_ASSIGN_OR_RETURN(const bool prefix, bool_field(object, "add_prefix_space", where, true));
  GALLEY_ASSIGN_OR_RETURN(const std::string scheme, string_field(object, "prepend_scheme", where,
                                                                 prefix ? "always" : "never"));
  GALLEY_ASSIGN_OR_RETURN(const bool split, bool_field(object, "split", where, true));
  Metaspace step = {replacement, Prepend::kAlways};
  if (scheme == "first") {
    step.prepend = Prepend::kFirst;
  } else if (scheme == "never") {
    step.prepend = Prepend::kNever;
  } else if (scheme != "always") {
    return {Code::kInvalid, where + ": prepend_scheme '" + scheme + "' is not supported"};
  }
  size_t pos = 0;
  if (!replacement.empty()) (void)next_code_point(replacement, pos);
  if (replacement.empty() || pos != replacement.size()) {
    return {Code::kInvalid, where + ": replacement '" + replacement + "' is not one character"};
  }
  steps_.push_back(std::move(step));
  if (split) {
    steps_.push_back(Cut{Pattern::literal(replacement), Behavior::kMergedWithNext, false});
  }
  return {};
}

Result<PreTokenizer::Behavior> PreTokenizer::behavior_of(const boost::json::object& object,
                                                         const std::string& where,
                                                         std::optional<std::string> fallback) {
  GALLEY_ASSIGN_OR_RETURN(const std::string name,
                          string_field(object, "behavior", where, std::move(fallback)));
  if (name == "Removed") return Behavior::kRemoved;
  if (name == "Isolated") return Behavior::kIsolated;
  if (name == "MergedWithPrevious") return Behavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return Behavior::kMergedWithNext;
  if (name == "Contiguous") return Behavior::kContiguous;
  return Status(Code::kInvalid, where + ": behavior '" + name + "' is not supported");
}

Status PreTokenizer::split(std::vector<Piece>& pieces, Arena& arena, MatchBudget& budget) const {
  for (const Step& step : steps_) {
    if (const Cut* cut = std::get_if<Cut>(&step)) {
      GALLEY_RETURN_IF_ERROR(run_cut(*cut, pieces, budget));
    } else if (const Metaspace* metaspace = std::get_if<Metaspace>(&step)) {
      run_metaspace(*metaspace, pieces, arena);
    } else if (std::holds_alternative<PrependSpace>(step)) {
      for (Piece& piece : pieces) {
        if (piece.text.starts_with(' ')) continue;
        piece.text = arena.emplace_back(" " + std::string(piece.text));
      }
    } else {
      for (Piece& piece : pieces) piece.text = arena.emplace_back(to_byte_symbols(piece.text));
    }
  }
  return {};
}

Status PreTokenizer::run_cut(const Cut& cut, std::vector<Piece>& pieces, MatchBudget& budget) {
  std::vector<Piece> out;
  out.reserve(pieces.size());
  std::vector<Span> spans;
  std::vector<Stretch> stretches;
  for (const Piece& piece : pieces) {
    GALLEY_RETURN_IF_ERROR(stretches_of(cut, piece.text, budget, spans, stretches));
    join(cut.behavior, stretches, spans);
    for (const Span& span : spans) {
      if (span.begin == span.end) continue;
      out.push_back({piece.text.substr(span.begin, span.end - span.begin),
                     piece.at_start && span.begin == 0});
    }
  }
  pieces = std::move(out);
  return {};
}

// The whole of `text` as an alternation of matched and unmatched stretches, in order.
Status PreTokenizer::stretches_of(const Cut& cut, std::string_view text, MatchBudget& budget,
                                  std::vector<Span>& spans, std::vector<Stretch>& out) {
  if (const Pattern* pattern = std::get_if<Pattern>(&cut.matcher)) {
    GALLEY_RETURN_IF_ERROR(pattern->find_all(text, budget, spans));
  } else if (std::holds_alternative<Digits>(cut.matcher)) {
    find_characters(text, is_numeric, spans);
  } else if (std::holds_alternative<Punctuation>(cut.matcher)) {
    find_characters(text, is_punctuation, spans);
  } else {
    find_characters(text, is_white_space, spans);
  }
  out.clear();
  size_t at = 0;
  for (const Span& span : spans) {
    if (at != span.begin) out.push_back({{at, span.begin}, cut.invert});
    out.push_back({span, !cut.invert});
    at = span.end;
  }
  if (at != text.size()) out.push_back({{at, text.size()}, cut.invert});
  return {};
}

void PreTokenizer::join(Behavior behavior, const std::vector<Stretch>& stretches,
                        std::vector<Span>& out) {
  out.clear();
  bool previous = false;
  switch (behavior) {
    case Behavior::kIsolated:
      for (const Stretch& s : stretches) out.push_back(s.span);
      return;
    case Behavior::kRemoved:
      for (const Stretch& s : stretches) {
        if (!s.matched) out.push_back(s.span);
      }
      return;
    case Behavior::kContiguous:
      for (const Stretch& s : stretches) {
        if (s.matched == previous && !out.empty()) {
          out.back().end = s.span.end;
        } else {
          out.push_back(s.span);
        }
        previous = s.matched;
      }
      return;
    case Behavior::kMergedWithPrevious:
      for (const Stretch& s : stretches) {
        if (s.matched && !previous && !out.empty()) {
          out.back().end = s.span.end;
        } else {
          out.push_back(s.span);
        }
        previous = s.matched;
      }
      return;
    case Behavior::kMergedWithNext:
      for (size_t i = stretches.size(); i-- > 0;) {
        const Stretch& s = stretches[i];
        if (s.matched && !previous && !out.empty()) {
          out.back().begin = s.span.begin;
        } else {
          out.push_back(s.span);
        }
        previous = s.matched;
      }
      std::reverse(out.begin(), out.end());
      return;
  }
}

void PreTokenizer::run_metaspace(const Metaspace& step, std::vector<Piece>& pieces, Arena& arena) {
  for (Piece& piece : pieces) {
    std::string text;
    text.reserve(piece.text.size() + step.replacement.size());
    for (const char c : piece.text) {
      if (c == ' ') {
        text.append(step.replacement);
      } else {
        text.push_back(c);
      }
    }
    const bool wanted =
        step.prepend == Prepend::kAlways || (step.prepend == Prepend::kFirst && piece.at_start);
    if (wanted && !text.starts_with(step.replacement)) text.insert(0, step.replacement);
    piece.text = arena.emplace_back(std::move(text));
  }
}

}  // namespace galley::text

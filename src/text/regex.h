// Regular expressions of tokenizer.json, matched within a budget of steps.
//
// The expressions are written for Oniguruma, which Hugging Face tokenizers uses; this engine gives
// the same matches for the syntax below and refuses the rest by name. It exists because neither
// library at hand fits: Debian has no static Oniguruma, whose limits count per match, so one search
// over hostile text is still quadratic; PCRE2 bounds one start position only, differs in \s and
// has another Unicode version on every system, while token ids must be the same everywhere.
//
// Syntax: literals, . ^ $ \A \z \Z \b \B, classes with ranges and negation, \s \S \d \D \w \W \h
// \H \p{..} \P{..} (general categories), \t \n \r \f \v \a \e \xHH \x{H} \uHHHH, groups (captures
// are not kept), alternation, * + ? {n,m} greedy, lazy and possessive, atomic groups, look-ahead,
// fixed-length look-behind, (?i) with simple case folding. ^ and $ match at every line, as in
// Oniguruma. Matching backtracks over an explicit stack; every step is charged to the budget.
//
// Immutable after compile(); any number of threads may search at once.
#pragma once

#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"

namespace galley::text {

// [begin, end) in bytes.
struct Span {
  size_t begin = 0;
  size_t end = 0;
};

// What one call of encode may still spend on matching.
struct MatchBudget {
  uint64_t steps = 0;
};

// A set of code points.
class CharSet {
 public:
  void add(char32_t first, char32_t last);
  void add_categories(uint32_t mask, bool negated);
  void add_white_space(bool negated);
  void add_word(bool negated);
  // Call once, last. `fold`: a code point belongs if one that differs only in case does.
  void finish(bool negate, bool fold);

  bool contains(char32_t c) const { return c < 128 ? ascii_[c] : contains_slow(c); }
  // False when no code point from 128 on is in the set.
  bool has_non_ascii() const { return has_non_ascii_; }

 private:
  struct Item {
    uint32_t categories = 0;
    bool white_space = false;
    bool word = false;
    bool negated = false;
  };
  bool contains_slow(char32_t c) const;
  bool contains_item(char32_t c) const;
  bool contains_plain(char32_t c) const;

  std::vector<std::pair<char32_t, char32_t>> ranges_;
  std::vector<Item> items_;
  bool negate_ = false;
  bool fold_ = false;
  bool has_non_ascii_ = true;
  std::bitset<128> ascii_;
};

class Regex {
 public:
  // kInvalid says what is wrong or not supported, and where in the expression.
  static Result<Regex> compile(std::string_view expression);

  // Finds the leftmost match in valid UTF-8 that begins at or after `from`, by Perl's rules of
  // preference. Returns false for none. kInvalid when the budget or the stack's bound is reached.
  Result<bool> find(std::string_view text, size_t from, MatchBudget& budget, Span& out) const;

 private:
  friend class RegexCompiler;
  friend class RegexMatcher;

  enum class Op : uint8_t {
    kChar,           // one code point, `value`
    kSet,            // one of sets_[value]
    kRun,            // `min` to `max` of sets_[value], as many as possible, then fewer
    kRunPossessive,  // the same, never fewer
    kSplit,          // go on at `target`; failing that, at `other`
    kJump,           // go on at `target`
    kLineBegin,
    kLineEnd,
    kTextBegin,
    kTextEnd,
    kTextEndOrNewline,
    kWordBoundary,
    kNotWordBoundary,
    kLook,     // the program up to kAccept must match here; then go on at `target`
    kLookNot,  // must not match
    kAtomic,   // must match and is never tried again; go on at `target` behind it
    kBack,     // step back `value` code points
    kAccept,
  };
  struct Instruction {
    Op op = Op::kAccept;
    uint32_t value = 0;
    uint32_t min = 0;
    uint32_t max = 0;
    uint32_t target = 0;
    uint32_t other = 0;
  };

  std::vector<Instruction> program_;
  std::vector<CharSet> sets_;
  std::array<bool, 256> first_bytes_ = {};  // bytes a match can begin with
  bool nullable_ = false;                   // may match nothing, then first_bytes_ says nothing
};

}  // namespace galley::text

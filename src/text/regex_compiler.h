// Regex::compile at work: an expression becomes a tree, the tree a program.
//
// Internal to regex_*.cc: the parser is in regex_parse.cc, the rest in regex_emit.cc.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/regex.h"

namespace galley::text {

constexpr uint32_t kUnbounded = ~uint32_t{0};
constexpr uint32_t kRepeatMax = 10'000;
constexpr size_t kProgramMax = 50'000;
constexpr int kDepthMax = 64;

enum class RegexKind { kSequence, kAlternation, kSet, kChar, kRepeat, kAssert, kLook, kAtomic };
enum class RegexGreed { kGreedy, kLazy, kPossessive };

struct RegexNode {
  RegexKind kind = RegexKind::kSequence;
  std::vector<RegexNode> children = {};
  uint32_t value = 0;  // kChar: the code point; kSet: index; kAssert: the Op
  uint32_t min = 0;
  uint32_t max = 0;
  RegexGreed greed = RegexGreed::kGreedy;
  bool negate = false;
  bool behind = false;
};

// Length in code points when every match has the same one.
std::optional<uint32_t> fixed_length(const RegexNode& node);
bool is_nullable(const RegexNode& node);

class RegexCompiler {
 public:
  explicit RegexCompiler(std::string_view expression) : text_(expression) {}

  Result<Regex> compile() {
    GALLEY_ASSIGN_OR_RETURN(const RegexNode root, parse_alternation(false, 0));
    if (pos_ != text_.size()) return error("')' without '('");
    GALLEY_RETURN_IF_ERROR(emit(root));
    GALLEY_RETURN_IF_ERROR(emit({Op::kAccept}));
    regex_.nullable_ = is_nullable(root);
    if (!regex_.nullable_) mark_first(root);
    return std::move(regex_);
  }

 private:
  using Op = Regex::Op;
  using Instruction = Regex::Instruction;

  Status error(const std::string& what) const {
    return {Code::kInvalid, "regular expression, byte " + std::to_string(pos_) + ": " + what};
  }
  bool at_end() const { return pos_ == text_.size(); }
  bool accept(std::string_view token) {
    if (!text_.substr(pos_).starts_with(token)) return false;
    pos_ += token.size();
    return true;
  }

  // --- parsing ---
  Result<RegexNode> parse_alternation(bool fold, int depth);
  Result<RegexNode> parse_sequence(bool fold, int depth);
  Result<RegexNode> parse_atom(bool fold, int depth);
  Result<RegexNode> parse_group(bool fold, int depth);
  Result<RegexNode> parse_escape(bool fold);
  Result<RegexNode> parse_class(bool fold);
  Status parse_class_item(CharSet& set);
  Status parse_quantifier(RegexNode& atom);
  bool parse_interval(uint32_t& min, uint32_t& max);
  // \s, \p{..} and their like, after the backslash. False: not one of them.
  Result<bool> parse_set_escape(char32_t letter, CharSet& set);
  // \n, \x41 and escaped punctuation, after the backslash.
  Result<char32_t> parse_char_escape(char32_t letter);
  Result<char32_t> parse_hex(size_t digits_min, size_t digits_max);

  uint32_t keep(CharSet set, bool negate, bool fold) {
    set.finish(negate, fold);
    regex_.sets_.push_back(std::move(set));
    return static_cast<uint32_t>(regex_.sets_.size() - 1);
  }
  RegexNode set_node(CharSet set, bool negate, bool fold) {
    return {.kind = RegexKind::kSet, .value = keep(std::move(set), negate, fold)};
  }
  RegexNode char_node(char32_t c, bool fold) {
    if (!fold) return {.kind = RegexKind::kChar, .value = static_cast<uint32_t>(c)};
    CharSet set;
    set.add(c, c);
    return set_node(std::move(set), false, true);
  }
  static RegexNode assert_node(Op op) {
    return {.kind = RegexKind::kAssert, .value = static_cast<uint32_t>(op)};
  }

  // --- emitting ---
  Status emit(Instruction in) {
    if (regex_.program_.size() >= kProgramMax) return error("the expression is too large");
    regex_.program_.push_back(in);
    return {};
  }
  uint32_t here() const { return static_cast<uint32_t>(regex_.program_.size()); }
  Instruction& at(uint32_t pc) { return regex_.program_[pc]; }
  Status emit(const RegexNode& node);
  Status emit_alternation(const RegexNode& node);
  Status emit_repeat(const RegexNode& node);
  Status emit_loop(const RegexNode& node);
  // `body` as a program of its own behind one instruction.
  Status emit_enclosed(Op op, const RegexNode& body, uint32_t back);
  uint32_t single_set(const RegexNode& node);
  void mark_first(const RegexNode& node);

  const std::string_view text_;
  size_t pos_ = 0;
  Regex regex_;
};

}  // namespace galley::text

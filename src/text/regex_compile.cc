// Regex::compile: parses an expression to a tree and the tree to a program.
#include <algorithm>
#include <memory>
#include <optional>

#include "text/regex.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace galley::text {
namespace {

constexpr uint32_t kUnbounded = ~uint32_t{0};
constexpr uint32_t kRepeatMax = 10'000;
constexpr size_t kProgramMax = 50'000;
constexpr int kDepthMax = 64;

enum class Kind { kSequence, kAlternation, kSet, kChar, kRepeat, kAssert, kLook, kAtomic };
enum class Greed { kGreedy, kLazy, kPossessive };

struct Node {
  Kind kind = Kind::kSequence;
  std::vector<Node> children = {};
  uint32_t value = 0;  // kChar: the code point; kSet: index; kAssert: the Op
  uint32_t min = 0;
  uint32_t max = 0;
  Greed greed = Greed::kGreedy;
  bool negate = false;
  bool behind = false;
};

// Length in code points when every match has the same one.
std::optional<uint32_t> fixed_length(const Node& node) {
  switch (node.kind) {
    case Kind::kChar:
    case Kind::kSet:
      return 1;
    case Kind::kAssert:
    case Kind::kLook:
      return 0;
    case Kind::kRepeat: {
      const std::optional<uint32_t> one = fixed_length(node.children[0]);
      if (!one || node.min != node.max) return std::nullopt;
      return *one * node.min;
    }
    case Kind::kSequence:
    case Kind::kAtomic: {
      uint32_t sum = 0;
      for (const Node& child : node.children) {
        const std::optional<uint32_t> one = fixed_length(child);
        if (!one || *one > kRepeatMax) return std::nullopt;
        sum += *one;
      }
      return sum;
    }
    case Kind::kAlternation: {
      std::optional<uint32_t> length = fixed_length(node.children[0]);
      for (const Node& child : node.children) {
        if (fixed_length(child) != length) return std::nullopt;
      }
      return length;
    }
  }
  return std::nullopt;
}

bool is_nullable(const Node& node) {
  switch (node.kind) {
    case Kind::kChar:
    case Kind::kSet:
      return false;
    case Kind::kAssert:
    case Kind::kLook:
      return true;
    case Kind::kRepeat:
      return node.min == 0 || is_nullable(node.children[0]);
    case Kind::kSequence:
    case Kind::kAtomic:
      return std::all_of(node.children.begin(), node.children.end(), is_nullable);
    case Kind::kAlternation:
      return std::any_of(node.children.begin(), node.children.end(), is_nullable);
  }
  return true;
}

}  // namespace

class RegexCompiler {
 public:
  explicit RegexCompiler(std::string_view expression) : text_(expression) {}

  Result<Regex> compile() {
    GALLEY_ASSIGN_OR_RETURN(const Node root, parse_alternation(false, 0));
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
  Result<Node> parse_alternation(bool fold, int depth);
  Result<Node> parse_sequence(bool fold, int depth);
  Result<Node> parse_atom(bool fold, int depth);
  Result<Node> parse_group(bool fold, int depth);
  Result<Node> parse_escape(bool fold);
  Result<Node> parse_class(bool fold);
  Status parse_class_item(CharSet& set);
  Status parse_quantifier(Node& atom);
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
  Node set_node(CharSet set, bool negate, bool fold) {
    return {.kind = Kind::kSet, .value = keep(std::move(set), negate, fold)};
  }
  Node char_node(char32_t c, bool fold) {
    if (!fold) return {.kind = Kind::kChar, .value = static_cast<uint32_t>(c)};
    CharSet set;
    set.add(c, c);
    return set_node(std::move(set), false, true);
  }
  static Node assert_node(Op op) {
    return {.kind = Kind::kAssert, .value = static_cast<uint32_t>(op)};
  }

  // --- emitting ---
  Status emit(Instruction in) {
    if (regex_.program_.size() >= kProgramMax) return error("the expression is too large");
    regex_.program_.push_back(in);
    return {};
  }
  uint32_t here() const { return static_cast<uint32_t>(regex_.program_.size()); }
  Instruction& at(uint32_t pc) { return regex_.program_[pc]; }
  Status emit(const Node& node);
  Status emit_alternation(const Node& node);
  Status emit_repeat(const Node& node);
  Status emit_loop(const Node& node);
  // `body` as a program of its own behind one instruction.
  Status emit_enclosed(Op op, const Node& body, uint32_t back);
  uint32_t single_set(const Node& node);
  void mark_first(const Node& node);

  const std::string_view text_;
  size_t pos_ = 0;
  Regex regex_;
};

Result<Node> RegexCompiler::parse_alternation(bool fold, int depth) {
  if (depth > kDepthMax) return error("groups are nested too deep");
  GALLEY_ASSIGN_OR_RETURN(Node first, parse_sequence(fold, depth));
  if (at_end() || text_[pos_] != '|') return first;
  Node node = {.kind = Kind::kAlternation};
  node.children.push_back(std::move(first));
  while (accept("|")) {
    GALLEY_ASSIGN_OR_RETURN(Node next, parse_sequence(fold, depth));
    node.children.push_back(std::move(next));
  }
  return node;
}

Result<Node> RegexCompiler::parse_sequence(bool fold, int depth) {
  Node node = {.kind = Kind::kSequence};
  while (!at_end() && text_[pos_] != '|' && text_[pos_] != ')') {
    // (?i) holds to the end of the group, alternatives included, as Oniguruma has it.
    if (accept("(?i)")) {
      GALLEY_ASSIGN_OR_RETURN(Node rest, parse_alternation(true, depth + 1));
      node.children.push_back(std::move(rest));
      return node;
    }
    GALLEY_ASSIGN_OR_RETURN(Node atom, parse_atom(fold, depth));
    while (!at_end()) {
      const size_t before = pos_;
      GALLEY_RETURN_IF_ERROR(parse_quantifier(atom));
      if (pos_ == before) break;
    }
    node.children.push_back(std::move(atom));
  }
  return node;
}

Result<Node> RegexCompiler::parse_atom(bool fold, int depth) {
  const char c = text_[pos_];
  if (c == '(') return parse_group(fold, depth);
  if (c == '[') return parse_class(fold);
  if (c == '\\') return parse_escape(fold);
  if (c == '*' || c == '+' || c == '?') return error("nothing to repeat");
  if (accept(".")) {
    CharSet newline;
    newline.add('\n', '\n');
    return set_node(std::move(newline), true, false);
  }
  if (accept("^")) return assert_node(Op::kLineBegin);
  if (accept("$")) return assert_node(Op::kLineEnd);
  return char_node(next_code_point(text_, pos_), fold);
}

Result<Node> RegexCompiler::parse_group(bool fold, int depth) {
  Node node;
  if (accept("(?=")) {
    node = {.kind = Kind::kLook};
  } else if (accept("(?!")) {
    node = {.kind = Kind::kLook, .negate = true};
  } else if (accept("(?<=")) {
    node = {.kind = Kind::kLook, .behind = true};
  } else if (accept("(?<!")) {
    node = {.kind = Kind::kLook, .negate = true, .behind = true};
  } else if (accept("(?>")) {
    node = {.kind = Kind::kAtomic};
  } else if (accept("(?i:")) {
    fold = true;
  } else if (accept("(?-i:")) {
    fold = false;
  } else if (!accept("(?:")) {
    if (text_.substr(pos_).starts_with("(?")) return error("this kind of group is not supported");
    ++pos_;  // A capture is a group; what it captured is not kept.
  }
  GALLEY_ASSIGN_OR_RETURN(Node body, parse_alternation(fold, depth + 1));
  if (!accept(")")) return error("')' is missing");
  if (node.kind == Kind::kLook && node.behind) {
    const std::vector<Node> whole = {body};
    const std::vector<Node>& parts = body.kind == Kind::kAlternation ? body.children : whole;
    for (const Node& part : parts) {
      if (!fixed_length(part)) return error("look-behind of variable length is not supported");
    }
  }
  node.children.push_back(std::move(body));
  return node;
}

Result<Node> RegexCompiler::parse_escape(bool fold) {
  ++pos_;
  if (at_end()) return error("'\\' at the end");
  const char32_t letter = next_code_point(text_, pos_);
  switch (letter) {
    case 'A':
      return assert_node(Op::kTextBegin);
    case 'z':
      return assert_node(Op::kTextEnd);
    case 'Z':
      return assert_node(Op::kTextEndOrNewline);
    case 'b':
      return assert_node(Op::kWordBoundary);
    case 'B':
      return assert_node(Op::kNotWordBoundary);
    default:
      break;
  }
  CharSet set;
  GALLEY_ASSIGN_OR_RETURN(const bool is_set, parse_set_escape(letter, set));
  if (is_set) return set_node(std::move(set), false, fold);
  GALLEY_ASSIGN_OR_RETURN(const char32_t c, parse_char_escape(letter));
  return char_node(c, fold);
}

Result<bool> RegexCompiler::parse_set_escape(char32_t letter, CharSet& set) {
  switch (letter) {
    case 's':
    case 'S':
      set.add_white_space(letter == 'S');
      return true;
    case 'w':
    case 'W':
      set.add_word(letter == 'W');
      return true;
    case 'd':
    case 'D':
      set.add_categories(category_bit(Category::ND), letter == 'D');
      return true;
    case 'p':
    case 'P': {
      const size_t end = text_.find('}', pos_);
      if (!accept("{") || end == std::string_view::npos) return error("expected {name} after \\p");
      std::string_view name = text_.substr(pos_, end - pos_);
      bool negated = letter == 'P';
      if (name.starts_with('^')) {
        negated = !negated;
        name.remove_prefix(1);
      }
      const uint32_t mask = categories_named(name);
      if (mask == 0) {
        return error("property '" + std::string(name) +
                     "' is not a general category; others are not supported");
      }
      set.add_categories(mask, negated);
      pos_ = end + 1;
      return true;
    }
    case 'h':
      set.add('0', '9');
      set.add('a', 'f');
      set.add('A', 'F');
      return true;
    default:
      return false;
  }
}

Result<char32_t> RegexCompiler::parse_char_escape(char32_t letter) {
  switch (letter) {
    case 't':
      return U'\t';
    case 'n':
      return U'\n';
    case 'r':
      return U'\r';
    case 'f':
      return U'\f';
    case 'v':
      return U'\v';
    case 'a':
      return U'\a';
    case 'e':
      return U'\x1B';
    case 'u':
      return parse_hex(4, 4);
    case 'x': {
      if (!accept("{")) return parse_hex(1, 2);
      GALLEY_ASSIGN_OR_RETURN(const char32_t c, parse_hex(1, 8));
      if (!accept("}")) return error("'}' is missing");
      return c;
    }
    default:
      break;
  }
  if (letter < 128 && ((letter >= '0' && letter <= '9') || (letter >= 'a' && letter <= 'z') ||
                       (letter >= 'A' && letter <= 'Z'))) {
    return error(std::string("escape \\") + static_cast<char>(letter) + " is not supported");
  }
  return letter;
}

Result<char32_t> RegexCompiler::parse_hex(size_t digits_min, size_t digits_max) {
  uint32_t c = 0;
  size_t digits = 0;
  for (; digits < digits_max && !at_end(); ++digits, ++pos_) {
    const char d = text_[pos_];
    if (d >= '0' && d <= '9') {
      c = c * 16 + static_cast<uint32_t>(d - '0');
    } else if ((d >= 'a' && d <= 'f') || (d >= 'A' && d <= 'F')) {
      c = c * 16 + static_cast<uint32_t>((d | 0x20) - 'a') + 10;
    } else {
      break;
    }
  }
  if (digits < digits_min || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF)) {
    return error("not the number of a character");
  }
  return c;
}

Result<Node> RegexCompiler::parse_class(bool fold) {
  ++pos_;
  const bool negate = accept("^");
  CharSet set;
  bool empty = true;
  while (!accept("]")) {
    if (at_end()) return error("']' is missing");
    GALLEY_RETURN_IF_ERROR(parse_class_item(set));
    empty = false;
  }
  if (empty) return error("empty class");
  return set_node(std::move(set), negate, fold);
}

Status RegexCompiler::parse_class_item(CharSet& set) {
  if (text_[pos_] == '[') return error("'[' within a class must be escaped");
  if (text_.substr(pos_).starts_with("&&"))
    return error("intersection of classes is not supported");
  const auto one = [&]() -> Result<std::optional<char32_t>> {
    if (!accept("\\")) return std::optional<char32_t>(next_code_point(text_, pos_));
    if (at_end()) return error("'\\' at the end");
    const char32_t letter = next_code_point(text_, pos_);
    GALLEY_ASSIGN_OR_RETURN(const bool is_set, parse_set_escape(letter, set));
    if (is_set) return std::optional<char32_t>();
    if (letter == 'b') return std::optional<char32_t>(U'\b');
    GALLEY_ASSIGN_OR_RETURN(const char32_t c, parse_char_escape(letter));
    return std::optional<char32_t>(c);
  };
  GALLEY_ASSIGN_OR_RETURN(const std::optional<char32_t> first, one());
  if (!first) return {};
  const bool is_range = pos_ + 1 < text_.size() && text_[pos_] == '-' && text_[pos_ + 1] != ']';
  if (!is_range) {
    set.add(*first, *first);
    return {};
  }
  ++pos_;
  if (text_[pos_] == '[') return error("'[' within a class must be escaped");
  GALLEY_ASSIGN_OR_RETURN(const std::optional<char32_t> last, one());
  if (!last || *last < *first) return error("the range's end is not after its begin");
  set.add(*first, *last);
  return {};
}

// {n}, {n,}, {,m}, {n,m}. Anything else that begins with a brace is a literal.
bool RegexCompiler::parse_interval(uint32_t& min, uint32_t& max) {
  size_t at = pos_ + 1;
  const auto number = [&](uint32_t& out) {
    const size_t begin = at;
    out = 0;
    while (at < text_.size() && text_[at] >= '0' && text_[at] <= '9') {
      out = std::min(out * 10 + static_cast<uint32_t>(text_[at] - '0'), kRepeatMax + 1);
      ++at;
    }
    return at != begin;
  };
  const bool has_min = number(min);
  max = min;
  if (at < text_.size() && text_[at] == ',') {
    ++at;
    if (!number(max)) {
      if (!has_min) return false;
      max = kUnbounded;
    }
  } else if (!has_min) {
    return false;
  }
  if (at == text_.size() || text_[at] != '}') return false;
  pos_ = at + 1;
  return true;
}

Status RegexCompiler::parse_quantifier(Node& atom) {
  uint32_t min = 0;
  uint32_t max = kUnbounded;
  bool interval = false;
  if (accept("*")) {
  } else if (accept("+")) {
    min = 1;
  } else if (accept("?")) {
    max = 1;
  } else if (text_[pos_] == '{' && parse_interval(min, max)) {
    interval = true;
  } else {
    return {};
  }
  Node node = {.kind = Kind::kRepeat, .min = min, .max = max};
  if (min > kRepeatMax || (max != kUnbounded && max > kRepeatMax) || max < min) {
    return error("repeat count out of range");
  }
  if (accept("?")) {
    if (interval && min == max) return error("{n}? is not supported");
    node.greed = Greed::kLazy;
  } else if (!interval && accept("+")) {  // Behind an interval Oniguruma reads + as a repeat.
    node.greed = Greed::kPossessive;
  }
  if (is_nullable(atom) && max > 1) return error("repeats what may match nothing; not supported");
  node.children.push_back(std::move(atom));
  atom = std::move(node);
  return {};
}

Status RegexCompiler::emit(const Node& node) {
  switch (node.kind) {
    case Kind::kChar:
      return emit({.op = Op::kChar, .value = node.value});
    case Kind::kSet:
      return emit({.op = Op::kSet, .value = node.value});
    case Kind::kAssert:
      return emit(Instruction{.op = static_cast<Op>(node.value)});
    case Kind::kAlternation:
      return emit_alternation(node);
    case Kind::kRepeat:
      return emit_repeat(node);
    case Kind::kAtomic:
      return emit_enclosed(Op::kAtomic, node.children[0], 0);
    case Kind::kSequence:
      for (const Node& child : node.children) GALLEY_RETURN_IF_ERROR(emit(child));
      return {};
    case Kind::kLook:
      break;
  }
  const Op op = node.negate ? Op::kLookNot : Op::kLook;
  const Node& body = node.children[0];
  if (!node.behind) return emit_enclosed(op, body, 0);
  if (body.kind != Kind::kAlternation) return emit_enclosed(op, body, *fixed_length(body));
  // Look-behind at alternatives of different lengths: one step back for each.
  const uint32_t look = here();
  GALLEY_RETURN_IF_ERROR(emit({.op = op}));
  for (const Node& part : body.children) {
    const uint32_t split = here();
    GALLEY_RETURN_IF_ERROR(emit({.op = Op::kSplit, .target = split + 1}));
    GALLEY_RETURN_IF_ERROR(emit({.op = Op::kBack, .value = *fixed_length(part)}));
    GALLEY_RETURN_IF_ERROR(emit(part));
    GALLEY_RETURN_IF_ERROR(emit({.op = Op::kAccept}));
    at(split).other = here();
  }
  // None matched: a set without members fails here.
  GALLEY_RETURN_IF_ERROR(emit({.op = Op::kSet, .value = keep(CharSet(), false, false)}));
  at(look).target = here();
  return {};
}

Status RegexCompiler::emit_enclosed(Op op, const Node& body, uint32_t back) {
  const uint32_t start = here();
  GALLEY_RETURN_IF_ERROR(emit({.op = op}));
  if (back > 0) GALLEY_RETURN_IF_ERROR(emit({.op = Op::kBack, .value = back}));
  GALLEY_RETURN_IF_ERROR(emit(body));
  GALLEY_RETURN_IF_ERROR(emit({.op = Op::kAccept}));
  at(start).target = here();
  return {};
}

Status RegexCompiler::emit_alternation(const Node& node) {
  std::vector<uint32_t> jumps;
  for (size_t i = 0; i < node.children.size(); ++i) {
    const bool last = i + 1 == node.children.size();
    const uint32_t split = here();
    if (!last) GALLEY_RETURN_IF_ERROR(emit({.op = Op::kSplit, .target = split + 1}));
    GALLEY_RETURN_IF_ERROR(emit(node.children[i]));
    if (last) break;
    jumps.push_back(here());
    GALLEY_RETURN_IF_ERROR(emit({.op = Op::kJump}));
    at(split).other = here();
  }
  for (const uint32_t jump : jumps) at(jump).target = here();
  return {};
}

// The set of a node that matches exactly one code point.
uint32_t RegexCompiler::single_set(const Node& node) {
  if (node.kind == Kind::kSet) return node.value;
  CharSet set;
  set.add(node.value, node.value);
  return keep(std::move(set), false, false);
}

Status RegexCompiler::emit_repeat(const Node& node) {
  const Node& body = node.children[0];
  const bool single = body.kind == Kind::kSet || body.kind == Kind::kChar;
  if (single && node.greed != Greed::kLazy) {
    const Op op = node.greed == Greed::kGreedy ? Op::kRun : Op::kRunPossessive;
    return emit({.op = op, .value = single_set(body), .min = node.min, .max = node.max});
  }
  if (node.greed != Greed::kPossessive) return emit_loop(node);
  const uint32_t start = here();
  GALLEY_RETURN_IF_ERROR(emit({.op = Op::kAtomic}));
  GALLEY_RETURN_IF_ERROR(emit_loop(node));
  GALLEY_RETURN_IF_ERROR(emit({.op = Op::kAccept}));
  at(start).target = here();
  return {};
}

Status RegexCompiler::emit_loop(const Node& node) {
  const Node& body = node.children[0];
  const bool lazy = node.greed == Greed::kLazy;
  for (uint32_t i = 0; i < node.min; ++i) GALLEY_RETURN_IF_ERROR(emit(body));
  const auto set_exit = [&](uint32_t split, uint32_t exit) {
    at(split).target = lazy ? exit : split + 1;
    at(split).other = lazy ? split + 1 : exit;
  };
  if (node.max == kUnbounded) {
    const uint32_t split = here();
    GALLEY_RETURN_IF_ERROR(emit({.op = Op::kSplit}));
    GALLEY_RETURN_IF_ERROR(emit(body));
    GALLEY_RETURN_IF_ERROR(emit({.op = Op::kJump, .target = split}));
    set_exit(split, here());
    return {};
  }
  std::vector<uint32_t> splits;
  for (uint32_t i = node.min; i < node.max; ++i) {
    splits.push_back(here());
    GALLEY_RETURN_IF_ERROR(emit({.op = Op::kSplit}));
    GALLEY_RETURN_IF_ERROR(emit(body));
  }
  for (const uint32_t split : splits) set_exit(split, here());
  return {};
}

// Marks the bytes with which a match of `node`, which is not nullable, can begin.
void RegexCompiler::mark_first(const Node& node) {
  switch (node.kind) {
    case Kind::kChar: {
      std::string bytes;
      append_utf8(bytes, node.value);
      regex_.first_bytes_[static_cast<uint8_t>(bytes[0])] = true;
      return;
    }
    case Kind::kSet: {
      const CharSet& set = regex_.sets_[node.value];
      for (char32_t c = 0; c < 128; ++c) regex_.first_bytes_[c] |= set.contains(c);
      for (size_t b = 0xC2; b <= 0xF4; ++b) regex_.first_bytes_[b] |= set.has_non_ascii();
      return;
    }
    case Kind::kAssert:
    case Kind::kLook:
      return;
    case Kind::kRepeat:
      mark_first(node.children[0]);
      return;
    case Kind::kAlternation:
      for (const Node& child : node.children) mark_first(child);
      return;
    case Kind::kSequence:
    case Kind::kAtomic:
      for (const Node& child : node.children) {
        mark_first(child);
        if (!is_nullable(child)) return;
      }
      return;
  }
}

Result<Regex> Regex::compile(std::string_view expression) {
  if (!is_valid_utf8(expression)) return Status(Code::kInvalid, "regular expression: not UTF-8");
  return RegexCompiler(expression).compile();
}

}  // namespace galley::text

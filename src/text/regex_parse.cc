// The parser of regular expressions.
#include <algorithm>

#include "text/regex_compiler.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace galley::text {

Result<RegexNode> RegexCompiler::parse_alternation(bool fold, int depth) {
  if (depth > kDepthMax) return error("groups are nested too deep");
  GALLEY_ASSIGN_OR_RETURN(RegexNode first, parse_sequence(fold, depth));
  if (at_end() || text_[pos_] != '|') return first;
  RegexNode node = {.kind = RegexKind::kAlternation};
  node.children.push_back(std::move(first));
  while (accept("|")) {
    GALLEY_ASSIGN_OR_RETURN(RegexNode next, parse_sequence(fold, depth));
    node.children.push_back(std::move(next));
  }
  return node;
}

Result<RegexNode> RegexCompiler::parse_sequence(bool fold, int depth) {
  RegexNode node = {.kind = RegexKind::kSequence};
  while (!at_end() && text_[pos_] != '|' && text_[pos_] != ')') {
    // (?i) holds to the end of the group, alternatives included, as Oniguruma has it.
    if (accept("(?i)")) {
      GALLEY_ASSIGN_OR_RETURN(RegexNode rest, parse_alternation(true, depth + 1));
      node.children.push_back(std::move(rest));
      return node;
    }
    GALLEY_ASSIGN_OR_RETURN(RegexNode atom, parse_atom(fold, depth));
    while (!at_end()) {
      const size_t before = pos_;
      GALLEY_RETURN_IF_ERROR(parse_quantifier(atom));
      if (pos_ == before) break;
    }
    node.children.push_back(std::move(atom));
  }
  return node;
}

Result<RegexNode> RegexCompiler::parse_atom(bool fold, int depth) {
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

Result<RegexNode> RegexCompiler::parse_group(bool fold, int depth) {
  RegexNode node;
  if (accept("(?=")) {
    node = {.kind = RegexKind::kLook};
  } else if (accept("(?!")) {
    node = {.kind = RegexKind::kLook, .negate = true};
  } else if (accept("(?<=")) {
    node = {.kind = RegexKind::kLook, .behind = true};
  } else if (accept("(?<!")) {
    node = {.kind = RegexKind::kLook, .negate = true, .behind = true};
  } else if (accept("(?>")) {
    node = {.kind = RegexKind::kAtomic};
  } else if (accept("(?i:")) {
    fold = true;
  } else if (accept("(?-i:")) {
    fold = false;
  } else if (!accept("(?:")) {
    if (text_.substr(pos_).starts_with("(?")) return error("this kind of group is not supported");
    ++pos_;  // A capture is a group; what it captured is not kept.
  }
  GALLEY_ASSIGN_OR_RETURN(RegexNode body, parse_alternation(fold, depth + 1));
  if (!accept(")")) return error("')' is missing");
  if (node.kind == RegexKind::kLook && node.behind) {
    const std::vector<RegexNode> whole = {body};
    const std::vector<RegexNode>& parts =
        body.kind == RegexKind::kAlternation ? body.children : whole;
    for (const RegexNode& part : parts) {
      if (!fixed_length(part)) return error("look-behind of variable length is not supported");
    }
  }
  node.children.push_back(std::move(body));
  return node;
}

Result<RegexNode> RegexCompiler::parse_escape(bool fold) {
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

Result<RegexNode> RegexCompiler::parse_class(bool fold) {
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

Status RegexCompiler::parse_quantifier(RegexNode& atom) {
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
  RegexNode node = {.kind = RegexKind::kRepeat, .min = min, .max = max};
  if (min > kRepeatMax || (max != kUnbounded && max > kRepeatMax) || max < min) {
    return error("repeat count out of range");
  }
  if (accept("?")) {
    if (interval && min == max) return error("{n}? is not supported");
    node.greed = RegexGreed::kLazy;
  } else if (!interval && accept("+")) {  // Behind an interval Oniguruma reads + as a repeat.
    node.greed = RegexGreed::kPossessive;
  }
  if (is_nullable(atom) && max > 1) return error("repeats what may match nothing; not supported");
  node.children.push_back(std::move(atom));
  atom = std::move(node);
  return {};
}

}  // namespace galley::text

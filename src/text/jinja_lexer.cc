#include "text/jinja_lexer.h"

#include <algorithm>

#include "text/jinja_value.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace galley::text::jinja {
namespace {

// Python's str.isspace and \s: white space of Unicode and the four separators of ASCII.
bool is_space(char32_t c) {
  return is_white_space(c) || (c >= 0x1C && c <= 0x1F);
}

// The source with "\n" for every line end and without the last one.
std::string normalized(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      out += source[i];
    }
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(normalized(source)), text_(source_) {}

  std::vector<Token> run() {
    while (pos_ < text_.size()) lex_data();
    push(Token::kEnd, "");
    return std::move(tokens_);
  }

 private:
  void push(Token::Kind kind, std::string text) {
    tokens_.push_back({kind, std::move(text), line_});
  }
  bool at(std::string_view what) const { return text_.substr(pos_).starts_with(what); }
  // Moves to `end`, counting lines.
  void advance(size_t end) {
    line_ += static_cast<int>(std::count(text_.begin() + static_cast<ptrdiff_t>(pos_),
                                         text_.begin() + static_cast<ptrdiff_t>(end), '\n'));
    pos_ = end;
  }
  void skip_space() {
    size_t end = pos_;
    while (end < text_.size()) {
      size_t next = end;
      if (!is_space(next_code_point(text_, next))) break;
      end = next;
    }
    advance(end);
  }

  // Text up to the next tag, then the tag.
  void lex_data();
  void push_data(size_t end, char sign, bool is_variable);
  // Behind a tag's text: -%} eats white space, %} one newline; sets line_starting_.
  bool end_tag(std::string_view close, bool trims_newline);
  void lex_comment();
  bool lex_raw();
  void lex_inside(std::string_view close, Token::Kind end_kind);
  void lex_token();
  void lex_number();
  void lex_string();
  void append_escape(size_t& at, size_t end, std::string& out) const;

  const std::string source_;
  const std::string_view text_;
  size_t pos_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
  std::vector<Token> tokens_;
  std::vector<char> brackets_;
};

void Lexer::lex_data() {
  size_t tag = pos_;
  while (true) {
    tag = text_.find('{', tag);
    if (tag == std::string_view::npos || tag + 1 == text_.size()) {
      push_data(text_.size(), '+', true);
      return;
    }
    const char kind = text_[tag + 1];
    if (kind == '{' || kind == '%' || kind == '#') break;
    ++tag;
  }
  const char kind = text_[tag + 1];
  char sign = tag + 2 < text_.size() ? text_[tag + 2] : ' ';
  if (sign != '-' && sign != '+') sign = ' ';
  push_data(tag, sign, kind == '{');
  advance(tag + (sign == ' ' ? 2 : 3));
  if (kind == '#') {
    lex_comment();
  } else if (kind == '{') {
    push(Token::kVariableBegin, "");
    lex_inside("}}", Token::kVariableEnd);
  } else if (!lex_raw()) {
    push(Token::kBlockBegin, "");
    lex_inside("%}", Token::kBlockEnd);
  }
}

void Lexer::push_data(size_t end, char sign, bool is_variable) {
  std::string_view data = text_.substr(pos_, end - pos_);
  if (sign == '-') {
    while (!data.empty()) {
      const size_t last = last_code_point_at(data);
      size_t at = last;
      if (!is_space(next_code_point(data, at))) break;
      data = data.substr(0, last);
    }
  } else if (sign != '+' && !is_variable) {
    const size_t newline = data.rfind('\n');
    const size_t begin = newline == std::string_view::npos ? 0 : newline + 1;
    if (begin > 0 || line_starting_) {
      bool blank = true;
      for (size_t at = begin; at < data.size() && blank;)
        blank = is_space(next_code_point(data, at));
      if (blank) data = data.substr(0, begin);
    }
  }
  if (!data.empty()) push(Token::kData, std::string(data));
  advance(end);
}

bool Lexer::end_tag(std::string_view close, bool trims_newline) {
  const size_t begin = pos_;
  if (at("-" + std::string(close))) {
    advance(pos_ + 1 + close.size());
    skip_space();
  } else if (at("+" + std::string(close)) && trims_newline) {
    advance(pos_ + 1 + close.size());
  } else if (at(close)) {
    advance(pos_ + close.size());
    if (trims_newline && at("\n")) advance(pos_ + 1);
  } else {
    return false;
  }
  line_starting_ = pos_ > begin && text_[pos_ - 1] == '\n';
  return true;
}

void Lexer::lex_comment() {
  const size_t end = text_.find("#}", pos_);
  if (end == std::string_view::npos) throw Error("missing end of comment tag", line_);
  const bool signed_end = end > pos_ && (text_[end - 1] == '-' || text_[end - 1] == '+');
  advance(signed_end ? end - 1 : end);
  (void)end_tag("#}", true);
}

// {% raw %}: everything up to {% endraw %} is text. False when the tag is another one.
bool Lexer::lex_raw() {
  const size_t start = pos_;
  const int start_line = line_;
  skip_space();
  if (!at("raw")) {
    pos_ = start;
    line_ = start_line;
    return false;
  }
  advance(pos_ + 3);
  skip_space();
  if (!end_tag("%}", false)) {
    pos_ = start;
    line_ = start_line;
    return false;
  }
  for (size_t tag = pos_; (tag = text_.find("{%", tag)) != std::string_view::npos; tag += 2) {
    size_t at_name = tag + 2;
    char sign = at_name < text_.size() ? text_[at_name] : ' ';
    if (sign == '-' || sign == '+') {
      ++at_name;
    } else {
      sign = ' ';
    }
    while (at_name < text_.size() && is_space(static_cast<unsigned char>(text_[at_name])))
      ++at_name;
    if (!text_.substr(at_name).starts_with("endraw")) continue;
    push_data(tag, sign, false);
    advance(at_name + 6);
    skip_space();
    if (!end_tag("%}", true)) throw Error("expected the end of endraw", line_);
    return true;
  }
  throw Error("missing end of raw directive", start_line);
}

void Lexer::lex_inside(std::string_view close, Token::Kind end_kind) {
  brackets_.clear();
  const int start_line = line_;
  while (true) {
    skip_space();
    if (pos_ == text_.size()) throw Error("the tag is not closed", start_line);
    if (brackets_.empty()) {
      const int line = line_;
      if (end_tag(close, end_kind == Token::kBlockEnd)) {
        tokens_.push_back({end_kind, "", line});
        return;
      }
    }
    lex_token();
  }
}

void Lexer::lex_token() {
  size_t next = pos_;
  const char32_t c = next_code_point(text_, next);
  if (c >= '0' && c <= '9') return lex_number();
  if (c == '"' || c == '\'') return lex_string();
  const auto is_name = [](char32_t x) {
    if (x < 128)
      return (x >= 'a' && x <= 'z') || (x >= 'A' && x <= 'Z') || (x >= '0' && x <= '9') || x == '_';
    return (category_bit(category_of(x)) &
            (categories_of_class('L') | categories_of_class('M') | categories_of_class('N'))) != 0;
  };
  if (is_name(c)) {
    size_t end = next;
    while (next < text_.size() && is_name(next_code_point(text_, next))) end = next;
    push(Token::kName, std::string(text_.substr(pos_, end - pos_)));
    advance(end);
    return;
  }
  for (const std::string_view op : {"==", "!=", ">=", "<=", "//", "**"}) {
    if (!at(op)) continue;
    push(Token::kOperator, std::string(op));
    advance(pos_ + 2);
    return;
  }
  if (c >= 128 || std::string_view("+-*/%~[](){}<>=.:|,;").find(static_cast<char>(c)) ==
                      std::string_view::npos) {
    throw Error("unexpected character '" + std::string(text_.substr(pos_, next - pos_)) + "'",
                line_);
  }
  const char op = static_cast<char>(c);
  if (op == '(' || op == '[' || op == '{')
    brackets_.push_back(op == '(' ? ')' : op == '[' ? ']' : '}');
  if (op == ')' || op == ']' || op == '}') {
    if (brackets_.empty() || brackets_.back() != op)
      throw Error(std::string("unexpected '") + op + "'", line_);
    brackets_.pop_back();
  }
  push(Token::kOperator, std::string(1, op));
  advance(next);
}

// Digits may be grouped by underscores. A point or an exponent makes a float.
void Lexer::lex_number() {
  size_t end = pos_;
  std::string number;
  const auto digits = [&] {
    const size_t begin = end;
    while (end < text_.size()) {
      const bool grouped = text_[end] == '_' && end > begin && end + 1 < text_.size() &&
                           std::isdigit(static_cast<unsigned char>(text_[end + 1]));
      if (!grouped && !std::isdigit(static_cast<unsigned char>(text_[end]))) break;
      if (!grouped) number += text_[end];
      ++end;
    }
    return end > begin;
  };
  digits();
  if (number == "0" && end + 1 < text_.size()) {
    const char kind = static_cast<char>(text_[end] | 0x20);
    const std::string_view allowed = kind == 'x'   ? "0123456789abcdef"
                                     : kind == 'o' ? "01234567"
                                                   : "01";
    size_t at = end + 1;
    while ((kind == 'x' || kind == 'o' || kind == 'b') && at < text_.size() &&
           allowed.find(static_cast<char>(text_[at] | 0x20)) != std::string_view::npos) {
      ++at;
    }
    if (at > end + 1) {
      push(Token::kInteger,
           std::string("0") + kind + std::string(text_.substr(end + 1, at - end - 1)));
      advance(at);
      return;
    }
  }
  if (number.size() > 1 && number[0] == '0' && number.find_first_not_of('0') != std::string::npos) {
    throw Error("an integer may not begin with 0", line_);
  }
  bool is_float = false;
  if (end + 1 < text_.size() && text_[end] == '.' &&
      std::isdigit(static_cast<unsigned char>(text_[end + 1]))) {
    number += text_[end++];
    digits();
    is_float = true;
  }
  if (end < text_.size() && (text_[end] == 'e' || text_[end] == 'E')) {
    size_t at = end + 1;
    if (at < text_.size() && (text_[at] == '+' || text_[at] == '-')) ++at;
    if (at < text_.size() && std::isdigit(static_cast<unsigned char>(text_[at]))) {
      number += std::string(text_.substr(end, at - end));
      end = at;
      digits();
      is_float = true;
    }
  }
  push(is_float ? Token::kFloat : Token::kInteger, number);
  advance(end);
}

void Lexer::lex_string() {
  const char quote = text_[pos_];
  size_t end = pos_ + 1;
  while (end < text_.size() && text_[end] != quote) end += text_[end] == '\\' ? 2 : 1;
  if (end >= text_.size()) throw Error("the string is not closed", line_);
  std::string out;
  for (size_t at = pos_ + 1; at < end;) {
    if (text_[at] == '\\') {
      append_escape(at, end, out);
    } else {
      out += text_[at++];
    }
  }
  push(Token::kString, std::move(out));
  advance(end + 1);
}

// Python's string escapes; an unknown one stays as it is.
void Lexer::append_escape(size_t& at, size_t end, std::string& out) const {
  const char letter = text_[at + 1];
  at += 2;
  constexpr std::string_view kLetters = "abfnrtv\\'\"";
  constexpr std::string_view kMeant = "\a\b\f\n\r\t\v\\'\"";
  if (letter == '\n') return;
  if (const size_t i = kLetters.find(letter); i != std::string_view::npos) {
    out += kMeant[i];
    return;
  }
  size_t width = letter == 'x' ? 2 : letter == 'u' ? 4 : letter == 'U' ? 8 : 0;
  uint32_t base = 16;
  uint32_t code = 0;
  if (letter >= '0' && letter <= '7') {
    --at;
    base = 8;
    width = 1;
    while (width < 3 && at + width < end && text_[at + width] >= '0' && text_[at + width] <= '7')
      ++width;
  } else if (letter == 'N') {
    throw Error("\\N{...} in a string is not supported", line_);
  } else if (width == 0) {
    out += '\\';
    --at;
    return;
  }
  for (size_t i = 0; i < width; ++i, ++at) {
    const char d = at < end ? text_[at] : ' ';
    const uint32_t digit = d >= '0' && d <= '9'   ? static_cast<uint32_t>(d - '0')
                           : d >= 'a' && d <= 'f' ? static_cast<uint32_t>(d - 'a') + 10
                           : d >= 'A' && d <= 'F' ? static_cast<uint32_t>(d - 'A') + 10
                                                  : 99;
    if (digit >= base) throw Error("truncated escape in a string", line_);
    code = code * base + digit;
  }
  if (code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF))
    throw Error("an escape in a string is not a character", line_);
  append_utf8(out, code);
}

}  // namespace

std::vector<Token> tokenize(std::string_view source) {
  return Lexer(source).run();
}

}  // namespace galley::text::jinja

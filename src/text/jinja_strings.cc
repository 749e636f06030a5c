#include "text/jinja_strings.h"

#include <algorithm>

#include "text/unicode.h"
#include "text/utf8.h"

namespace galley::text::jinja {
namespace {

std::vector<std::string_view> code_points(std::string_view text) {
  std::vector<std::string_view> out;
  for (size_t pos = 0; pos < text.size();) {
    const size_t begin = pos;
    (void)next_code_point(text, pos);
    out.push_back(text.substr(begin, pos - begin));
  }
  return out;
}

bool is_line_end(char32_t c) {
  return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 ||
         c == 0x2029;
}

}  // namespace

bool is_python_space(char32_t c) {
  return is_white_space(c) || (c >= 0x1C && c <= 0x1F);
}

std::string_view strip(std::string_view text, const std::optional<std::string>& chars, bool left,
                       bool right) {
  const std::vector<std::string_view> set =
      chars ? code_points(*chars) : std::vector<std::string_view>();
  const auto goes = [&](std::string_view character) {
    if (chars) return std::find(set.begin(), set.end(), character) != set.end();
    size_t pos = 0;
    return is_python_space(next_code_point(character, pos));
  };
  while (left && !text.empty()) {
    size_t end = 0;
    (void)next_code_point(text, end);
    if (!goes(text.substr(0, end))) break;
    text.remove_prefix(end);
  }
  while (right && !text.empty()) {
    const size_t last = last_code_point_at(text);
    if (!goes(text.substr(last))) break;
    text = text.substr(0, last);
  }
  return text;
}

std::vector<std::string> split_space(std::string_view text, int64_t splits_max, bool from_right) {
  std::vector<std::string> out;
  text = strip(text, std::nullopt, !from_right, from_right);
  while (!text.empty()) {
    if (splits_max >= 0 && static_cast<int64_t>(out.size()) == splits_max) {
      out.emplace_back(text);
      break;
    }
    size_t cut = from_right ? text.size() : 0;
    while (from_right ? cut > 0 : cut < text.size()) {
      size_t pos = from_right ? last_code_point_at(text.substr(0, cut)) : cut;
      const size_t begin = pos;
      if (is_python_space(next_code_point(text, pos))) break;
      cut = from_right ? begin : pos;
    }
    if (from_right) {
      out.emplace_back(text.substr(cut));
      text = strip(text.substr(0, cut), std::nullopt, false, true);
    } else {
      out.emplace_back(text.substr(0, cut));
      text = strip(text.substr(cut), std::nullopt, true, false);
    }
  }
  if (from_right) std::reverse(out.begin(), out.end());
  return out;
}

std::vector<std::string> split_at(std::string_view text, std::string_view separator,
                                  int64_t splits_max, bool from_right) {
  std::vector<std::string> out;
  while (splits_max < 0 || static_cast<int64_t>(out.size()) < splits_max) {
    const size_t at = from_right ? text.rfind(separator) : text.find(separator);
    if (at == std::string_view::npos) break;
    out.emplace_back(from_right ? text.substr(at + separator.size()) : text.substr(0, at));
    text = from_right ? text.substr(0, at) : text.substr(at + separator.size());
  }
  out.emplace_back(text);
  if (from_right) std::reverse(out.begin(), out.end());
  return out;
}

std::vector<std::string> split_lines(std::string_view text, bool keep_ends) {
  std::vector<std::string> out;
  size_t begin = 0;
  for (size_t pos = 0; pos < text.size();) {
    const size_t at = pos;
    const char32_t c = next_code_point(text, pos);
    if (!is_line_end(c)) continue;
    if (c == '\r' && pos < text.size() && text[pos] == '\n') ++pos;
    out.emplace_back(text.substr(begin, (keep_ends ? pos : at) - begin));
    begin = pos;
  }
  if (begin < text.size()) out.emplace_back(text.substr(begin));
  return out;
}

std::string replace_all(std::string_view text, std::string_view from, std::string_view to,
                        int64_t count) {
  std::string out;
  if (from.empty()) {  // Python puts `to` before every character and at the end.
    int64_t done = 0;
    for (const std::string_view character : code_points(text)) {
      if (count < 0 || done++ < count) out += to;
      out += character;
    }
    if (count < 0 || done < count) out += to;
    return out;
  }
  size_t at = 0;
  for (int64_t done = 0; count < 0 || done < count; ++done) {
    const size_t found = text.find(from, at);
    if (found == std::string_view::npos) break;
    out.append(text.substr(at, found - at));
    out.append(to);
    at = found + from.size();
  }
  out.append(text.substr(at));
  return out;
}

std::string upper(std::string_view text) {
  std::string out;
  for (size_t pos = 0; pos < text.size();) append_upper(out, next_code_point(text, pos));
  return out;
}

std::string lower(std::string_view text) {
  std::string out;
  for (size_t pos = 0; pos < text.size();) append_lower(out, next_code_point(text, pos));
  return out;
}

std::string capitalize(std::string_view text) {
  size_t first = 0;
  if (!text.empty()) (void)next_code_point(text, first);
  return upper(text.substr(0, first)) + lower(text.substr(first));
}

bool is_cased(char32_t c) {
  const uint32_t cased =
      category_bit(Category::LU) | category_bit(Category::LL) | category_bit(Category::LT);
  return (category_bit(category_of(c)) & cased) != 0;
}

std::string title(std::string_view text) {
  std::string out;
  bool in_word = false;
  for (size_t pos = 0; pos < text.size();) {
    const char32_t c = next_code_point(text, pos);
    if (in_word) {
      append_lower(out, c);
    } else {
      append_upper(out, c);
    }
    in_word = is_cased(c);
  }
  return out;
}

}  // namespace galley::text::jinja

// CharSet: membership of code points, with case folding.
#include <utf8proc.h>

#include <algorithm>
#include <unordered_map>

#include "text/regex.h"
#include "text/unicode.h"

namespace galley::text {
namespace {

// Simple case folding: full folding where that is one code point.
char32_t fold_of(char32_t c) {
  utf8proc_int32_t out[8];
  const utf8proc_ssize_t n =
      utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), out, 8, UTF8PROC_CASEFOLD, nullptr);
  return n == 1 ? static_cast<char32_t>(out[0]) : c;
}

// Code points with a folding of their own end below this (Adlam, U+1E943).
constexpr char32_t kFoldEnd = 0x1E944;

using FoldGroups = std::unordered_map<char32_t, std::vector<char32_t>>;

const FoldGroups& fold_groups() {
  static const FoldGroups groups = [] {
    FoldGroups g;
    for (char32_t c = 0; c < kFoldEnd; ++c) {
      const char32_t folded = fold_of(c);
      if (folded != c) g[folded].push_back(c);
    }
    return g;
  }();
  return groups;
}

// \w as Oniguruma has it: letters, marks, digits, connectors, circled and squared letters, and the
// six numbers of Latin-1.
bool is_regex_word(char32_t c) {
  const uint32_t bit = category_bit(category_of(c));
  constexpr uint32_t kWord = categories_of_class('L') | categories_of_class('M') |
                             category_bit(Category::ND) | category_bit(Category::NL) |
                             category_bit(Category::PC);
  if ((bit & kWord) != 0) return true;
  return c == 0xB2 || c == 0xB3 || c == 0xB9 || (c >= 0xBC && c <= 0xBE) ||
         (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) ||
         (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189);
}

}  // namespace

void CharSet::add(char32_t first, char32_t last) {
  ranges_.emplace_back(first, last);
}

void CharSet::add_categories(uint32_t mask, bool negated) {
  items_.push_back({.categories = mask, .negated = negated});
}

void CharSet::add_white_space(bool negated) {
  items_.push_back({.white_space = true, .negated = negated});
}

void CharSet::add_word(bool negated) {
  items_.push_back({.word = true, .negated = negated});
}

void CharSet::finish(bool negate, bool fold) {
  negate_ = negate;
  fold_ = fold;
  for (char32_t c = 0; c < 128; ++c) ascii_[c] = contains_slow(c);
  has_non_ascii_ =
      negate || fold || !items_.empty() ||
      std::any_of(ranges_.begin(), ranges_.end(), [](const auto& r) { return r.second >= 128; });
}

bool CharSet::contains_item(char32_t c) const {
  for (const Item& item : items_) {
    bool in = false;
    if (item.categories != 0) in = (item.categories & category_bit(category_of(c))) != 0;
    if (item.white_space) in = is_white_space(c);
    if (item.word) in = is_regex_word(c);
    if (in != item.negated) return true;
  }
  return false;
}

bool CharSet::contains_plain(char32_t c) const {
  for (const auto& [first, last] : ranges_) {
    if (c >= first && c <= last) return true;
  }
  return !items_.empty() && contains_item(c);
}

bool CharSet::contains_slow(char32_t c) const {
  if (contains_plain(c)) return !negate_;
  if (!fold_) return negate_;
  const char32_t folded = fold_of(c);
  if (folded != c && contains_plain(folded)) return !negate_;
  const auto it = fold_groups().find(folded);
  if (it == fold_groups().end()) return negate_;
  for (const char32_t other : it->second) {
    if (contains_plain(other)) return !negate_;
  }
  return negate_;
}

}  // namespace galley::text

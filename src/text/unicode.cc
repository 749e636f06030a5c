#include "text/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <vector>

#include "text/utf8.h"

namespace galley::text {
namespace {

struct CategoryRange {
  uint32_t first;
  uint32_t last;
  Category category;
};

// What Unicode 15.1 and 16 changed against utf8proc 2.8, which knows 15.0: general categories of
// newly assigned code points and of one old one (U+1171E). From UnicodeData.txt of Unicode 16.
constexpr CategoryRange kSinceUnicode15[] = {
    {0x0897, 0x0897, Category::MN},   {0x1B4E, 0x1B4F, Category::PO},
    {0x1B7F, 0x1B7F, Category::PO},   {0x1C89, 0x1C89, Category::LU},
    {0x1C8A, 0x1C8A, Category::LL},   {0x2427, 0x2429, Category::SO},
    {0x2FFC, 0x2FFF, Category::SO},   {0x31E4, 0x31E5, Category::SO},
    {0x31EF, 0x31EF, Category::SO},   {0xA7CB, 0xA7CC, Category::LU},
    {0xA7CD, 0xA7CD, Category::LL},   {0xA7DA, 0xA7DA, Category::LU},
    {0xA7DB, 0xA7DB, Category::LL},   {0xA7DC, 0xA7DC, Category::LU},
    {0x105C0, 0x105F3, Category::LO}, {0x10D40, 0x10D49, Category::ND},
    {0x10D4A, 0x10D4D, Category::LO}, {0x10D4E, 0x10D4E, Category::LM},
    {0x10D4F, 0x10D4F, Category::LO}, {0x10D50, 0x10D65, Category::LU},
    {0x10D69, 0x10D6D, Category::MN}, {0x10D6E, 0x10D6E, Category::PD},
    {0x10D6F, 0x10D6F, Category::LM}, {0x10D70, 0x10D85, Category::LL},
    {0x10D8E, 0x10D8F, Category::SM}, {0x10EC2, 0x10EC4, Category::LO},
    {0x10EFC, 0x10EFC, Category::MN}, {0x11380, 0x11389, Category::LO},
    {0x1138B, 0x1138B, Category::LO}, {0x1138E, 0x1138E, Category::LO},
    {0x11390, 0x113B5, Category::LO}, {0x113B7, 0x113B7, Category::LO},
    {0x113B8, 0x113BA, Category::MC}, {0x113BB, 0x113C0, Category::MN},
    {0x113C2, 0x113C2, Category::MC}, {0x113C5, 0x113C5, Category::MC},
    {0x113C7, 0x113CA, Category::MC}, {0x113CC, 0x113CD, Category::MC},
    {0x113CE, 0x113CE, Category::MN}, {0x113CF, 0x113CF, Category::MC},
    {0x113D0, 0x113D0, Category::MN}, {0x113D1, 0x113D1, Category::LO},
    {0x113D2, 0x113D2, Category::MN}, {0x113D3, 0x113D3, Category::LO},
    {0x113D4, 0x113D5, Category::PO}, {0x113D7, 0x113D8, Category::PO},
    {0x113E1, 0x113E2, Category::MN}, {0x116D0, 0x116E3, Category::ND},
    {0x1171E, 0x1171E, Category::MC}, {0x11BC0, 0x11BE0, Category::LO},
    {0x11BE1, 0x11BE1, Category::PO}, {0x11BF0, 0x11BF9, Category::ND},
    {0x11F5A, 0x11F5A, Category::MN}, {0x13460, 0x143FA, Category::LO},
    {0x16100, 0x1611D, Category::LO}, {0x1611E, 0x16129, Category::MN},
    {0x1612A, 0x1612C, Category::MC}, {0x1612D, 0x1612F, Category::MN},
    {0x16130, 0x16139, Category::ND}, {0x16D40, 0x16D42, Category::LM},
    {0x16D43, 0x16D6A, Category::LO}, {0x16D6B, 0x16D6C, Category::LM},
    {0x16D6D, 0x16D6F, Category::PO}, {0x16D70, 0x16D79, Category::ND},
    {0x18CFF, 0x18CFF, Category::LO}, {0x1CC00, 0x1CCEF, Category::SO},
    {0x1CCF0, 0x1CCF9, Category::ND}, {0x1CD00, 0x1CEB3, Category::SO},
    {0x1E5D0, 0x1E5ED, Category::LO}, {0x1E5EE, 0x1E5EF, Category::MN},
    {0x1E5F0, 0x1E5F0, Category::LO}, {0x1E5F1, 0x1E5FA, Category::ND},
    {0x1E5FF, 0x1E5FF, Category::PO}, {0x1F8B2, 0x1F8BB, Category::SO},
    {0x1F8C0, 0x1F8C1, Category::SO}, {0x1FA89, 0x1FA89, Category::SO},
    {0x1FA8F, 0x1FA8F, Category::SO}, {0x1FABE, 0x1FABE, Category::SO},
    {0x1FAC6, 0x1FAC6, Category::SO}, {0x1FADC, 0x1FADC, Category::SO},
    {0x1FADF, 0x1FADF, Category::SO}, {0x1FAE9, 0x1FAE9, Category::SO},
    {0x1FBCB, 0x1FBEF, Category::SO}, {0x2EBF0, 0x2EE5D, Category::LO},
};

// Nothing below this is in the table.
constexpr char32_t kSinceUnicode15First = 0x0897;

// True when text made only of such characters is its own NFC: nothing here decomposes, combines
// with a neighbour or has a combining class. It covers Latin-1 to U+02FF and CJK ideographs.
bool is_nfc_inert(char32_t c) {
  return c < 0x300 || (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3000 && c <= 0x3029) ||
         (c >= 0xFF01 && c <= 0xFF60) || (c >= 0x2010 && c <= 0x2027);
}

bool is_nfc_inert(std::string_view text) {
  for (size_t pos = 0; pos < text.size();) {
    if (!is_nfc_inert(next_code_point(text, pos))) return false;
  }
  return true;
}

// Canonical ordering: sorts each run of non-starters by combining class, stably. utf8proc's own
// ordering is an insertion sort, quadratic in a run an attacker may choose; hence done here.
void order_marks(std::vector<utf8proc_int32_t>& points) {
  const auto mark_class = [](utf8proc_int32_t c) {
    return utf8proc_get_property(c)->combining_class;
  };
  for (size_t begin = 0; begin < points.size();) {
    if (mark_class(points[begin]) == 0) {
      ++begin;
      continue;
    }
    size_t end = begin + 1;
    while (end < points.size() && mark_class(points[end]) != 0) ++end;
    std::stable_sort(
        points.begin() + static_cast<ptrdiff_t>(begin),
        points.begin() + static_cast<ptrdiff_t>(end),
        [&](utf8proc_int32_t a, utf8proc_int32_t b) { return mark_class(a) < mark_class(b); });
    begin = end;
  }
}

}  // namespace

Category category_of(char32_t c) {
  const auto known = static_cast<Category>(utf8proc_category(static_cast<utf8proc_int32_t>(c)));
  if (c < kSinceUnicode15First || (known != Category::CN && c != 0x1171E)) return known;
  const CategoryRange* range =
      std::upper_bound(std::begin(kSinceUnicode15), std::end(kSinceUnicode15), c,
                       [](char32_t value, const CategoryRange& r) { return value < r.first; });
  if (range == std::begin(kSinceUnicode15)) return known;
  --range;
  return c <= range->last ? range->category : known;
}

uint32_t categories_named(std::string_view name) {
  // In the order of Category.
  constexpr std::string_view kNames =
      "CnLuLlLtLmLoMnMcMeNdNlNoPcPdPsPePiPfPoSmScSkSoZsZlZpCcCfCsCo";
  if (name.size() == 1) return categories_of_class(name[0]);
  if (name.size() != 2) return 0;
  for (size_t i = 0; i < kNames.size(); i += 2) {
    if (kNames.substr(i, 2) == name) return uint32_t{1} << (i / 2);
  }
  return 0;
}

bool is_white_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

bool is_numeric(char32_t c) {
  if (c < 0x80) return c >= '0' && c <= '9';
  return (category_bit(category_of(c)) & categories_of_class('N')) != 0;
}

bool is_punctuation(char32_t c) {
  if (c < 0x80) {
    return (c >= 0x21 && c <= 0x2F) || (c >= 0x3A && c <= 0x40) || (c >= 0x5B && c <= 0x60) ||
           (c >= 0x7B && c <= 0x7E);
  }
  return (category_bit(category_of(c)) & categories_of_class('P')) != 0;
}

bool is_nonspacing_mark(char32_t c) {
  return category_of(c) == Category::MN;
}

void append_lower(std::string& out, char32_t c) {
  if (c == 0x130) {  // The one code point whose lower case is two, whatever the context.
    out.append("i\xCC\x87");
    return;
  }
  append_utf8(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
}

void append_upper(std::string& out, char32_t c) {
  if (c == 0xDF) {
    out.append("SS");
    return;
  }
  append_utf8(out, static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c))));
}

std::string normalize(std::string_view text, NormalForm form) {
  if (form == NormalForm::kNfc && is_nfc_inert(text)) return std::string(text);
  const bool compat = form == NormalForm::kNfkc || form == NormalForm::kNfkd;
  const bool compose = form == NormalForm::kNfc || form == NormalForm::kNfkc;
  const auto stable = static_cast<int>(UTF8PROC_STABLE);
  const auto decompose = static_cast<utf8proc_option_t>(
      stable | UTF8PROC_DECOMPOSE | (compat ? static_cast<int>(UTF8PROC_COMPAT) : 0));

  std::vector<utf8proc_int32_t> points;
  points.reserve(text.size());
  // The longest decomposition of one code point is 18 (U+FDFA, compatibility).
  utf8proc_int32_t expanded[32];
  for (size_t pos = 0; pos < text.size();) {
    const char32_t c = next_code_point(text, pos);
    const utf8proc_ssize_t n =
        utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), expanded, 32, decompose, nullptr);
    points.insert(points.end(), expanded, expanded + n);
  }
  order_marks(points);
  if (compose) {
    const utf8proc_ssize_t n =
        utf8proc_normalize_utf32(points.data(), static_cast<utf8proc_ssize_t>(points.size()),
                                 static_cast<utf8proc_option_t>(stable | UTF8PROC_COMPOSE));
    points.resize(static_cast<size_t>(n));
  }
  std::string out;
  out.reserve(text.size());
  for (const utf8proc_int32_t c : points) append_utf8(out, static_cast<char32_t>(c));
  return out;
}

}  // namespace galley::text

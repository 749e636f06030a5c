// Properties of code points (Unicode 16) and normal forms, over utf8proc.
//
// A property must not depend on the system's utf8proc: token ids would differ between machines.
// Where utf8proc knows less than Unicode 16, unicode.cc adds what is missing.
//
// Where a rule comes from Rust's standard library (which Hugging Face tokenizers uses), the comment
// says so. All functions are pure and take valid UTF-8.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace galley::text {

// General categories, numbered as utf8proc does.
enum class Category : uint8_t {
  CN,
  LU,
  LL,
  LT,
  LM,
  LO,
  MN,
  MC,
  ME,
  ND,
  NL,
  NO,
  PC,
  PD,
  PS,
  PE,
  PI,
  PF,
  PO,
  SM,
  SC,
  SK,
  SO,
  ZS,
  ZL,
  ZP,
  CC,
  CF,
  CS,
  CO,
};

Category category_of(char32_t c);

// Sets of categories are masks with bit n for category n.
constexpr uint32_t category_bit(Category c) {
  return uint32_t{1} << static_cast<unsigned>(c);
}

// All categories of a class: 'L', 'M', 'N', 'P', 'S', 'Z' or 'C'; 0 for any other letter.
constexpr uint32_t categories_of_class(char letter) {
  const auto from_to = [](Category first, Category last) {
    return (category_bit(last) << 1) - category_bit(first);
  };
  switch (letter) {
    case 'L':
      return from_to(Category::LU, Category::LO);
    case 'M':
      return from_to(Category::MN, Category::ME);
    case 'N':
      return from_to(Category::ND, Category::NO);
    case 'P':
      return from_to(Category::PC, Category::PO);
    case 'S':
      return from_to(Category::SM, Category::SO);
    case 'Z':
      return from_to(Category::ZS, Category::ZP);
    case 'C':
      return from_to(Category::CC, Category::CO) | category_bit(Category::CN);
    default:
      return 0;
  }
}

// The categories that a property name means: "L", "Lu", "Nd", ...; 0 for an unknown name.
uint32_t categories_named(std::string_view name);

// White_Space of Unicode; Rust's char::is_whitespace.
bool is_white_space(char32_t c);

// General category Nd, Nl or No; Rust's char::is_numeric.
bool is_numeric(char32_t c);

// ASCII punctuation (symbols such as $ and + included) or general category P*.
bool is_punctuation(char32_t c);

// General category Mn.
bool is_nonspacing_mark(char32_t c);

// Appends the lower case of `c`: one code point, two for U+0130 (Rust's char::to_lowercase).
void append_lower(std::string& out, char32_t c);

// Appends the upper case of `c` by the simple mapping; U+00DF becomes "SS" as in Python.
void append_upper(std::string& out, char32_t c);

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };

// The normal form of `text`. O(n log n) also for hostile runs of combining marks.
std::string normalize(std::string_view text, NormalForm form);

}  // namespace galley::text

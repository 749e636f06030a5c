#include "text/byte_level.h"

#include <array>

#include "text/utf8.h"

namespace galley::text {
namespace {

struct Alphabet {
  std::array<char32_t, 256> symbol = {};
  std::array<int16_t, 0x144> byte = {};  // by symbol; -1 for none. 0x143 is the highest symbol.

  constexpr Alphabet() {
    for (int16_t& b : byte) b = -1;
    char32_t next = 0x100;
    for (uint32_t b = 0; b < 256; ++b) {
      const bool printable = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
      symbol[b] = printable ? static_cast<char32_t>(b) : next++;
      byte[symbol[b]] = static_cast<int16_t>(b);
    }
  }
};

constexpr Alphabet kAlphabet;

}  // namespace

char32_t byte_to_symbol(uint8_t byte) {
  return kAlphabet.symbol[byte];
}

std::string to_byte_symbols(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const char b : bytes) append_utf8(out, byte_to_symbol(static_cast<uint8_t>(b)));
  return out;
}

std::optional<std::string> from_byte_symbols(std::string_view symbols) {
  std::string out;
  out.reserve(symbols.size());
  for (size_t pos = 0; pos < symbols.size();) {
    const char32_t c = next_code_point(symbols, pos);
    if (c >= kAlphabet.byte.size() || kAlphabet.byte[c] < 0) return std::nullopt;
    out.push_back(static_cast<char>(kAlphabet.byte[c]));
  }
  return out;
}

}  // namespace galley::text

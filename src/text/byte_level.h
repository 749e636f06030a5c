// The byte-level alphabet of GPT-2: one printable character for each of the 256 bytes.
//
// tokenizer.json spells tokens in it. Printable Latin-1 stands for itself; the other 68 bytes take
// U+0100 onwards in order (a space is U+0120).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace galley::text {

// The character of `byte`.
char32_t byte_to_symbol(uint8_t byte);

// `bytes` spelt in the alphabet, as UTF-8.
std::string to_byte_symbols(std::string_view bytes);

// The bytes that `symbols` (valid UTF-8) spells; nothing when a character is not of the alphabet.
std::optional<std::string> from_byte_symbols(std::string_view symbols);

}  // namespace galley::text

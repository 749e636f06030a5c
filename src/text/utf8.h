// UTF-8: decoding, validation and the lossy decoding of a byte stream.
//
// Everything that becomes text for people passes through here. Broken input turns into U+FFFD once
// per maximal invalid piece (Unicode 15, section 3.9, "substitution of maximal subparts"), the rule
// Rust's from_utf8_lossy and therefore Hugging Face tokenizers follow. All functions are pure.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace galley::text {

// U+FFFD as UTF-8.
inline constexpr std::string_view kReplacementUtf8 = "\xEF\xBF\xBD";

// Appends `code_point` (a Unicode scalar value) to `out`.
void append_utf8(std::string& out, char32_t code_point);

// The code point that starts at `pos` of valid UTF-8; moves `pos` past it.
char32_t next_code_point(std::string_view valid, size_t& pos);

// The byte offset where the last code point of valid, non-empty UTF-8 begins.
size_t last_code_point_at(std::string_view valid);

// Number of bytes of the longest valid prefix; the size of `bytes` when all of it is valid.
size_t valid_utf8_prefix(std::string_view bytes);
inline bool is_valid_utf8(std::string_view bytes) {
  return valid_utf8_prefix(bytes) == bytes.size();
}

// Decodes a byte stream piece by piece. What push() and flush() return, joined, equals the lossy
// decoding of all bytes at once, wherever the pieces were cut.
class Utf8Stream {
 public:
  // Appends to `out` every character that is complete; keeps at most 3 bytes back.
  void push(std::string_view bytes, std::string& out);

  // Ends the stream: an unfinished character becomes U+FFFD.
  void flush(std::string& out);

  bool pending() const { return !pending_.empty(); }

 private:
  std::string pending_;
};

// The lossy decoding of `bytes` at once.
std::string to_valid_utf8(std::string_view bytes);

}  // namespace galley::text

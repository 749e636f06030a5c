// Detokenizer: token ids to text, one at a time.
//
// Stands between the engine's tokens and the parsers and wire. It gives out whole characters only:
// bytes of an unfinished one wait for the next token. What push() and flush() give, joined, equals
// Tokenizer::decode of all ids. One per stream; not shared between threads.
#pragma once

#include <cstdint>
#include <string>

#include "text/tokenizer.h"
#include "text/utf8.h"

namespace galley::text {

class Detokenizer {
 public:
  // `tokenizer` must outlive this. With `skip_special_tokens` special tokens give no text.
  Detokenizer(const Tokenizer& tokenizer, bool skip_special_tokens);

  // Appends to `out` the characters that `id` completes. An id without a token gives nothing.
  void push(int32_t id, std::string& out);

  // Ends the text: bytes of an unfinished character become U+FFFD. Start anew afterwards.
  void flush(std::string& out);

  // True when bytes of an unfinished character wait.
  bool pending() const { return utf8_.pending(); }

 private:
  const Tokenizer& tokenizer_;
  const bool skip_special_tokens_;
  size_t strip_left_;  // leading characters still to strip (decoder Strip)
  Utf8Stream utf8_;
};

}  // namespace galley::text

// StopMatcher: finds the first stop string in a text that comes in pieces.
//
// Text that could be the beginning of a stop string is held back until it is clear that it is none,
// so a stop string is found across token borders and never shown in part. Pure; one per choice.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace galley::text {

// Bytes at the end of `text` that could be the beginning of `word`, the whole word excepted.
size_t begun_at_end(std::string_view text, std::string_view word);

class StopMatcher {
 public:
  // `include`: the text given out ends with the stop string, not before it. No stop is empty.
  StopMatcher(std::vector<std::string> stops, bool include);

  // Appends to `out` what cannot be part of a stop string any more. True: one has come; of several
  // the one that ends first, and of those the longest, so that it does not depend on how the text
  // was cut. Nothing may be pushed afterwards.
  bool push(std::string_view piece, std::string& out);

  // Text that is not looked at, such as that of tokens before min_tokens.
  void pass(std::string_view piece, std::string& out);

  // Ends the text: what was held back is text after all.
  void flush(std::string& out);

  // The stop string that has come; empty before.
  const std::string& found() const { return found_; }

 private:
  const std::vector<std::string> stops_;
  const bool include_;
  std::string held_;
  std::string found_;
};

}  // namespace galley::text

// Added tokens: strings that are cut out of the text before anything else sees it.
//
// Two kinds, as in Hugging Face tokenizers: tokens matched in the text as it came, and tokens with
// "normalized" matched after the normalizer ran. At each place the longest token wins. Immutable
// once built.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "text/limits.h"
#include "text/normalizer.h"

namespace galley::text {

struct AddedToken {
  int32_t id = 0;
  std::string content;
  bool special = false;
  bool single_word = false;  // only where no word character touches it
  bool lstrip = false;       // takes white space before it
  bool rstrip = false;       // takes white space after it
  bool normalized = false;
};

// A stretch of text: a token, or text still to be encoded (id -1).
struct TextOrToken {
  std::string_view text;
  int32_t id = -1;
  bool at_start = false;  // begins where the text begins
};

class AddedTokens {
 public:
  // `tokens` must differ in content and id.
  static Result<AddedTokens> build(std::vector<AddedToken> tokens, const Normalizer& normalizer,
                                   const TokenizerLimits& limits);

  // Appends the stretches of `text` to `out`. With `parse_special` false, special tokens are text.
  void split(std::string_view text, bool at_start, bool normalized, bool parse_special,
             std::vector<TextOrToken>& out) const;

  const std::vector<AddedToken>& tokens() const { return tokens_; }

 private:
  // A byte trie; nodes in one array, children as sorted pairs of byte and node.
  struct Trie {
    struct Node {
      std::vector<std::pair<uint8_t, uint32_t>> children;
      int32_t token = -1;  // index into tokens_
    };
    std::vector<Node> nodes = std::vector<Node>(1);
    std::array<bool, 256> first = {};  // bytes with which some token begins

    void insert(std::string_view key, int32_t token);
    // The longest key that begins `text`: its token and length. Token -1 for none.
    std::pair<int32_t, size_t> longest(std::string_view text) const;
  };

  std::vector<AddedToken> tokens_;
  Trie as_given_;
  Trie normalized_;
};

}  // namespace galley::text

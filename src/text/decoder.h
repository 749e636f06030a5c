// Decoders of tokenizer.json: how the string of a token becomes bytes of text.
//
// What is supported gives each token its bytes once, at load, independent of its neighbours, except
// that characters may be stripped from the very start of a text. That is what lets text stream.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "text/json.h"
#include "text/limits.h"
#include "text/pattern.h"

namespace galley::text {

class Decoder {
 public:
  // Reads the "decoder" of tokenizer.json. An unknown type is refused by name.
  static Result<Decoder> parse(const boost::json::value& value, const TokenizerLimits& limits,
                               const std::string& where);

  // The bytes of a token that the file spells `token`.
  Result<std::string> bytes_of(std::string_view token) const;

  // At the start of a text, up to strip_count() leading copies of strip_text() are left out.
  const std::string& strip_text() const { return strip_text_; }
  size_t strip_count() const { return strip_count_; }

 private:
  Status add(const boost::json::value& value, const TokenizerLimits& limits,
             const std::string& where);
  Status add_strip(const boost::json::object& object, const std::string& where);

  bool byte_level_ = false;
  bool byte_fallback_ = false;
  bool fused_ = false;
  std::vector<std::pair<Pattern, std::string>> replacements_;
  std::string strip_text_;
  size_t strip_count_ = 0;
};

}  // namespace galley::text

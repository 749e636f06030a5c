// Normalizers of tokenizer.json: what happens to text before it is split into words.
//
// A Normalizer is the flattened list of the file's steps. Immutable after parse().
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "base/status.h"
#include "text/json.h"
#include "text/limits.h"
#include "text/pattern.h"
#include "text/unicode.h"

namespace galley::text {

class Normalizer {
 public:
  // Reads the "normalizer" of tokenizer.json; null means none. An unknown type is refused by name.
  static Result<Normalizer> parse(const boost::json::value& value, const TokenizerLimits& limits,
                                  const std::string& where);

  // Rewrites `text` (valid UTF-8) in place. kTooLarge when it grows beyond the limit.
  Status apply(std::string& text, MatchBudget& budget) const;

  bool empty() const { return steps_.empty(); }

 private:
  struct Form {
    NormalForm form;
  };
  struct Lowercase {};
  struct StripAccents {};
  struct Strip {
    bool left;
    bool right;
  };
  struct Prepend {
    std::string text;
  };
  struct Replace {
    Pattern pattern;
    std::string content;
  };
  using Step = std::variant<Form, Lowercase, StripAccents, Strip, Prepend, Replace>;

  Status add(const boost::json::value& value, const TokenizerLimits& limits,
             const std::string& where);
  static Status run(const Step& step, size_t bytes_max, MatchBudget& budget, std::string& text);

  std::vector<Step> steps_;
  size_t bytes_max_ = 0;
};

}  // namespace galley::text

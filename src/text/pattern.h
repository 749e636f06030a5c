// Patterns of tokenizer.json: a regular expression or a literal string.
//
// Immutable after parse(); any number of threads may search at once.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "text/json.h"
#include "text/regex.h"

namespace galley::text {

class Pattern {
 public:
  // Compiles a regular expression; errors begin with `where`.
  static Result<Pattern> regex(std::string_view expression, const std::string& where);
  static Pattern literal(std::string text);

  // Reads {"Regex": "..."} or {"String": "..."}, the two spellings of tokenizer.json.
  static Result<Pattern> parse(const boost::json::value& value, size_t pattern_bytes_max,
                               const std::string& where);

  // Sets `out` to all matches in `text` (valid UTF-8), leftmost first, not overlapping. An empty
  // match directly after another match is skipped. kInvalid when the budget runs out.
  Status find_all(std::string_view text, MatchBudget& budget, std::vector<Span>& out) const;

 private:
  Pattern() = default;

  std::shared_ptr<const Regex> regex_;  // null for a literal
  std::string literal_;
};

}  // namespace galley::text

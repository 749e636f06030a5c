// Fuzzes the regular expressions: an expression is refused, or its matches lie in the text, in
// order and on borders of characters, within the budget.
//
// The input is the expression, then a zero byte, then the text.
#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "text/pattern.h"
#include "text/utf8.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace galley::text;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t end = std::min(input.find('\0'), size);
  const auto pattern = Pattern::regex(input.substr(0, end), "fuzz");
  if (!pattern.ok()) return 0;
  const std::string text =
      to_valid_utf8(end < size ? input.substr(end + 1) : "aab  'S 12\n\n\xC3\xA9");
  MatchBudget budget = {100'000};
  std::vector<Span> spans;
  if (!pattern->find_all(text, budget, spans).ok()) return 0;
  size_t at = 0;
  for (const Span& span : spans) {
    GALLEY_CHECK(span.begin >= at && span.end >= span.begin && span.end <= text.size(),
                 "spans are in order");
    GALLEY_CHECK(is_valid_utf8(std::string_view(text).substr(span.begin, span.end - span.begin)),
                 "spans hold whole characters");
    at = span.end;
  }
  return 0;
}

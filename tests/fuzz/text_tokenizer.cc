// Fuzzes tokenizer.json: whatever the file says, it is refused or it encodes and decodes.
//
// The input is the file, then a zero byte, then a text to encode.
#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace galley::text;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t end = std::min(input.find('\0'), size);
  TokenizerLimits limits;
  limits.match_steps_base = 20'000;
  limits.vocab_max = 1 << 16;
  limits.normalized_bytes_max = 1 << 16;
  const auto tokenizer = Tokenizer::parse(input.substr(0, end), "", limits);
  if (!tokenizer.ok()) {
    GALLEY_CHECK(!tokenizer.message().empty(), "a refusal says why");
    return 0;
  }
  const std::string text = to_valid_utf8(end < size ? input.substr(end + 1) : "it's <eos> 123\n");
  for (const bool parse_special : {true, false}) {
    const auto ids = (*tokenizer)->encode(text, {.parse_special = parse_special});
    if (!ids.ok()) continue;
    for (const int32_t id : *ids) GALLEY_CHECK((*tokenizer)->has(id), "encode gives known tokens");
    GALLEY_CHECK(is_valid_utf8((*tokenizer)->decode(*ids, false)), "decode gives UTF-8");
  }
  return 0;
}

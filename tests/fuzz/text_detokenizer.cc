// Fuzzes the way from tokens to text: streaming gives whole characters only and, joined, the text
// at once. Every byte of the input is a token of a byte-level vocabulary; 0xF5 and up, which no
// UTF-8 has, are special and added tokens.
#include <cstdint>
#include <string>
#include <vector>

#include "base/check.h"
#include "text/detokenizer.h"
#include "text/testing/tiny_tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace galley::text;
  static const auto tokenizer = Tokenizer::parse(testing::TinyTokenizer().json(), "").value();
  std::vector<int32_t> ids;
  for (size_t i = 0; i < size; ++i)
    ids.push_back(data[i] < 0xF5 ? data[i] : 256 + (data[i] - 0xF5) * 5);
  for (const bool skip : {true, false}) {
    std::string bytes;
    std::string streamed;
    Detokenizer stream(*tokenizer, skip);
    for (const int32_t id : ids) {
      if (!skip || !tokenizer->is_special(id)) bytes += tokenizer->token_bytes(id);
      stream.push(id, streamed);
      GALLEY_CHECK(is_valid_utf8(streamed), "no half characters");
    }
    stream.flush(streamed);
    GALLEY_CHECK(streamed == to_valid_utf8(bytes), "the stream is the text");
    GALLEY_CHECK(streamed == tokenizer->decode(ids, skip), "decode is the stream");
  }
  return 0;
}

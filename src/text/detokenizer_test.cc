#include "text/detokenizer.h"

#include <gtest/gtest.h>

#include <random>

#include "text/testing/tiny_tokenizer.h"

namespace galley::text {
namespace {

std::shared_ptr<const Tokenizer> tiny() {
  return Tokenizer::parse(testing::TinyTokenizer().json(), "").value();
}

TEST(Detokenizer, HoldsBackAnUnfinishedCharacter) {
  const auto t = tiny();
  Detokenizer d(*t, true);
  std::string out;
  d.push(0xE4, out);
  d.push(0xBD, out);
  EXPECT_EQ(out, "");
  EXPECT_TRUE(d.pending());
  d.push(0xA0, out);
  EXPECT_EQ(out, "\xE4\xBD\xA0");
  EXPECT_FALSE(d.pending());
}

TEST(Detokenizer, AFollowingTokenEndsAnInvalidCharacter) {
  const auto t = tiny();
  Detokenizer d(*t, true);
  std::string out;
  d.push(0xE4, out);
  d.push(259, out);
  EXPECT_EQ(out, "\xEF\xBF\xBDhello");
  d.push(0xF0, out);
  d.flush(out);
  EXPECT_EQ(out, "\xEF\xBF\xBDhello\xEF\xBF\xBD");
}

TEST(Detokenizer, SkippedSpecialTokensDoNotSplitACharacter) {
  const auto t = tiny();
  std::string out;
  Detokenizer skipping(*t, true);
  for (const int32_t id : {0xC3, 301, 0xA9}) skipping.push(id, out);
  EXPECT_EQ(out, "\xC3\xA9");
  out.clear();
  Detokenizer keeping(*t, false);
  for (const int32_t id : {0xC3, 301, 0xA9}) keeping.push(id, out);
  keeping.flush(out);
  EXPECT_EQ(out, "\xEF\xBF\xBD<eos>\xEF\xBF\xBD");
}

TEST(Detokenizer, StreamEqualsTheTextAtOnce) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  const auto t = tiny();
  for (int round = 0; round < 20000; ++round) {
    std::vector<int32_t> ids;
    for (uint64_t n = random() % 16; n > 0; --n) {
      // Mostly bytes of multi-byte characters, so that characters begin, break and end.
      ids.push_back(
          static_cast<int32_t>(random() % 3 == 0 ? random() % 310 : 0x80 + random() % 0x80));
    }
    std::string bytes;
    std::string streamed;
    Detokenizer d(*t, true);
    for (const int32_t id : ids) {
      if (!t->is_special(id)) bytes += t->token_bytes(id);
      d.push(id, streamed);
      ASSERT_TRUE(is_valid_utf8(streamed));
    }
    d.flush(streamed);
    ASSERT_EQ(streamed, to_valid_utf8(bytes));
    ASSERT_EQ(streamed, t->decode(ids, true));
  }
}

}  // namespace
}  // namespace galley::text

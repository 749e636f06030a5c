#include "text/utf8.h"

#include <gtest/gtest.h>

#include <random>

namespace galley::text {
namespace {

TEST(Utf8, EveryCodePointRoundTrips) {
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string text;
    append_utf8(text, c);
    ASSERT_TRUE(is_valid_utf8(text)) << std::hex << static_cast<uint32_t>(c);
    size_t pos = 0;
    ASSERT_EQ(next_code_point(text, pos), c);
    ASSERT_EQ(pos, text.size());
    ASSERT_EQ(last_code_point_at("x" + text), 1u);
  }
}

TEST(Utf8, RefusesSurrogatesOverlongAndBeyondTheEnd) {
  for (const char* bad : {"\xED\xA0\x80", "\xC0\x80", "\xE0\x80\x80", "\xF0\x80\x80\x80",
                          "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\x80", "\xE4\xBD"}) {
    EXPECT_FALSE(is_valid_utf8(bad)) << bad;
  }
  EXPECT_EQ(valid_utf8_prefix("ab\xFFz"), 2u);
}

// The examples of Unicode 15, tables 3-8 to 3-11.
TEST(Utf8, EachMaximalInvalidPieceBecomesOneReplacement) {
  const std::string r(kReplacementUtf8);
  EXPECT_EQ(to_valid_utf8("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41"),
            r + r + r + r + r + r + r + r + "A");
  EXPECT_EQ(to_valid_utf8("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41"), r + r + r + r + "A");
  EXPECT_EQ(to_valid_utf8("\xED\xA0\x80"), r + r + r);
  EXPECT_EQ(to_valid_utf8("\xE4\xBD"), r);
}

TEST(Utf8, AnyCutOfAStreamGivesTheTextAtOnce) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  const std::string pieces[] = {"a",    "\xC3\xA9", "\xE4\xBD\xA0", "\xF0\x9F\x98\x80",
                                "\xE4", "\xF0\x9F", "\xFF",         "\x80"};
  for (int round = 0; round < 5000; ++round) {
    std::string bytes;
    for (uint64_t n = random() % 12; n > 0; --n) bytes += pieces[random() % std::size(pieces)];
    Utf8Stream stream;
    std::string out;
    for (size_t at = 0; at < bytes.size();) {
      const size_t n = 1 + random() % 4;
      stream.push(std::string_view(bytes).substr(at, n), out);
      ASSERT_TRUE(is_valid_utf8(out));
      at += n;
    }
    stream.flush(out);
    ASSERT_EQ(out, to_valid_utf8(bytes));
  }
}

}  // namespace
}  // namespace galley::text

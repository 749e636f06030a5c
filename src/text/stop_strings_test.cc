#include "text/stop_strings.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace galley::text {
namespace {

TEST(StopMatcher, HoldsBackWhatCouldBecomeAStop) {
  StopMatcher m({"<end>"}, false);
  std::string out;
  EXPECT_FALSE(m.push("a<en", out));
  EXPECT_EQ(out, "a");
  EXPECT_FALSE(m.push("x<", out));
  EXPECT_EQ(out, "a<enx");
  EXPECT_TRUE(m.push("end>more", out));
  EXPECT_EQ(out, "a<enx");
  EXPECT_EQ(m.found(), "<end>");
}

TEST(StopMatcher, IncludesTheStopWhenAsked) {
  StopMatcher m({"\n\n"}, true);
  std::string out;
  EXPECT_FALSE(m.push("a\n", out));
  EXPECT_TRUE(m.push("\nb", out));
  EXPECT_EQ(out, "a\n\n");
}

TEST(StopMatcher, PassedTextIsNotSearched) {
  StopMatcher m({"ab"}, false);
  std::string out;
  EXPECT_FALSE(m.push("a", out));
  m.pass("b", out);
  EXPECT_EQ(out, "ab");
  EXPECT_FALSE(m.push("a", out));
  m.flush(out);
  EXPECT_EQ(out, "aba");
}

// Whatever the cuts, the text ends where the stop that is complete first begins.
TEST(StopMatcher, RandomTextsAndCuts) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  const auto word = [&](uint64_t size) {
    std::string w;
    for (; size > 0; --size) w += static_cast<char>('a' + random() % 2);
    return w;
  };
  for (int round = 0; round < 20000; ++round) {
    std::vector<std::string> stops;
    for (uint64_t n = random() % 4; n > 0; --n) stops.push_back(word(1 + random() % 5));
    const std::string text = word(random() % 24);
    size_t end = std::string::npos;
    size_t begin = text.size();
    for (const std::string& stop : stops) {
      const size_t at = text.find(stop);
      if (at == std::string::npos) continue;
      if (at + stop.size() > end || (at + stop.size() == end && at > begin)) continue;
      begin = at;
      end = at + stop.size();
    }
    StopMatcher m(stops, false);
    std::string out;
    bool found = false;
    for (size_t at = 0; at < text.size() && !found;) {
      const size_t n = 1 + random() % 4;
      found = m.push(std::string_view(text).substr(at, n), out);
      at += n;
    }
    if (!found) m.flush(out);
    ASSERT_EQ(found, end != std::string::npos);
    ASSERT_EQ(out, text.substr(0, begin));
  }
}

}  // namespace
}  // namespace galley::text

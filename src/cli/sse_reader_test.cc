#include "cli/sse_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace galley::cli {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> read(const std::vector<std::string>& pieces) {
  SseReader reader(1000);
  std::vector<std::string> out;
  for (const std::string& piece : pieces) {
    EXPECT_TRUE(reader.feed(piece, [&](std::string_view data) { out.emplace_back(data); }).ok());
  }
  return out;
}

TEST(SseReader, ReadsEventsWithEveryLineEnd) {
  EXPECT_THAT(read({"data: a\n\ndata: b\r\n\r\ndata: c\r\r"}), ElementsAre("a", "b", "c"));
}

TEST(SseReader, JoinsDataLinesAndDropsTheRest) {
  EXPECT_THAT(read({": ping\n\nevent: x\ndata:a\ndata:  b\nid: 1\n\ndata\n\n"}),
              ElementsAre("a\n b", ""));
}

TEST(SseReader, AnUnfinishedEventIsNotGiven) {
  EXPECT_THAT(read({"data: a\n"}), ElementsAre());
}

TEST(SseReader, EverySplitGivesTheSame) {
  const std::string stream = "data: {\"a\": 1}\r\n\r\n: c\r\ndata: x\rdata: y\n\ndata: [DONE]\n\n";
  const std::vector<std::string> whole = read({stream});
  ASSERT_THAT(whole, ElementsAre("{\"a\": 1}", "x\ny", "[DONE]"));
  for (size_t i = 0; i <= stream.size(); ++i) {
    for (size_t j = i; j <= stream.size(); ++j) {
      EXPECT_EQ(read({stream.substr(0, i), stream.substr(i, j - i), stream.substr(j)}), whole);
    }
  }
}

TEST(SseReader, RefusesAnEndlessEvent) {
  SseReader reader(10);
  const auto ignore = [](std::string_view) {};
  EXPECT_TRUE(reader.feed("data: 1234", ignore).ok());
  EXPECT_EQ(reader.feed("5", ignore).code(), Code::kTooLarge);
  SseReader lines(20);
  EXPECT_EQ(lines.feed("data: 1234567890\ndata: 1234567890\n", ignore).code(), Code::kTooLarge);
}

}  // namespace
}  // namespace galley::cli

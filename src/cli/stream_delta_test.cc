#include "cli/stream_delta.h"

#include <gtest/gtest.h>

namespace galley::cli {
namespace {

TEST(StreamDelta, ReadsChatAndCompletions) {
  const StreamDelta chat = parse_stream_delta(
      R"({"choices":[{"index":0,"delta":{"content":"a","reasoning_content":"b"},)"
      R"("finish_reason":"stop"}],"usage":null})");
  EXPECT_EQ(chat.content, "a");
  EXPECT_EQ(chat.reasoning, "b");
  EXPECT_EQ(chat.finish_reason, "stop");
  EXPECT_EQ(chat.prompt_tokens, -1);
  EXPECT_EQ(parse_stream_delta(R"({"choices":[{"text":"c\u0000d"}]})").content,
            std::string("c\0d", 3));
}

TEST(StreamDelta, ReadsUsageInBothDialects) {
  const StreamDelta delta =
      parse_stream_delta(R"({"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4,)"
                         R"("prompt_tokens_details":{"cached_tokens":3}}})");
  EXPECT_EQ(delta.prompt_tokens, 9);
  EXPECT_EQ(delta.completion_tokens, 4);
  EXPECT_EQ(delta.cached_tokens, 3);
  EXPECT_EQ(parse_stream_delta(R"({"usage":{"prompt_cache_hit_tokens":2}})").cached_tokens, 2);
}

TEST(StreamDelta, ErrorsAndNonsenseAreSaid) {
  EXPECT_TRUE(parse_stream_delta("[DONE]").done);
  EXPECT_EQ(parse_stream_delta(R"({"error":{"message":"full"}})").error, "full");
  EXPECT_FALSE(parse_stream_delta(R"({"error":"x"})").error.empty());
  for (const char* text : {"", "[]", "{", "null", "{\"a\":1e999999}"}) {
    EXPECT_FALSE(parse_stream_delta(text).error.empty() &&
                 !parse_stream_delta(text).content.empty());
  }
  EXPECT_FALSE(parse_stream_delta("{").error.empty());
  // Wrong types inside are no text and no crash.
  EXPECT_EQ(parse_stream_delta(R"({"choices":[{"delta":[1],"text":5}],"usage":3})").content, "");
  EXPECT_EQ(parse_stream_delta(R"({"choices":[7]})").content, "");
}

}  // namespace
}  // namespace galley::cli

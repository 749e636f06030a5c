// Token ids recorded from Hugging Face tokenizers (tools/goldens/tokenizer/record.py).
#include <gtest/gtest.h>

#include "base/file.h"
#include "text/json.h"
#include "text/tokenizer.h"

namespace galley::text {
namespace {

namespace json = boost::json;

std::vector<int32_t> ids_of(const json::value& value) {
  return json::value_to<std::vector<int32_t>>(value);
}

std::vector<int32_t> encoded(const Tokenizer& tokenizer, std::string_view text,
                             EncodeOptions options) {
  Result<std::vector<int32_t>> ids = tokenizer.encode(text, options);
  EXPECT_TRUE(ids.ok()) << ids.message();
  return ids.value();
}

TEST(TokenizerGolden, EqualsHuggingFaceTokenizers) {
  const std::string file =
      read_file(GALLEY_SOURCE_DIR "/src/text/testdata/tokenizers.json", size_t{1} << 24).value();
  const json::value goldens = parse_json(file, "tokenizers.json", 64).value();
  ASSERT_EQ(goldens.as_array().size(), 8u);
  for (const json::value& golden : goldens.as_array()) {
    SCOPED_TRACE(golden.at("name").as_string());
    const auto loaded = Tokenizer::parse(json::serialize(golden.at("tokenizer")), "");
    ASSERT_TRUE(loaded.ok()) << loaded.message();
    const Tokenizer& tokenizer = **loaded;
    for (const json::value& entry : golden.at("encode").as_array()) {
      const json::object& expected = entry.as_object();
      const std::string text(expected.at("text").as_string());
      SCOPED_TRACE(text);
      EXPECT_EQ(encoded(tokenizer, text, {}), ids_of(expected.at("ids")));
      const json::value* plain = expected.if_contains("plain");
      EXPECT_EQ(encoded(tokenizer, text, {.add_special_tokens = false, .parse_special = false}),
                ids_of(plain == nullptr ? expected.at("ids") : *plain));
    }
    for (const json::value& expected : golden.at("decode").as_array()) {
      EXPECT_EQ(tokenizer.decode(ids_of(expected.at("ids")), true),
                expected.at("text").as_string());
    }
  }
}

}  // namespace
}  // namespace galley::text

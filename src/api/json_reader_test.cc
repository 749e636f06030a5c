#include "api/json_reader.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "api/json_writer.h"

namespace galley::api {
namespace {

constexpr size_t kDepthMax = 64;

// Documents of the kinds JSONTestSuite has, each wrapped into the object a body must be.
std::string wrapped(const std::string& value) {
  return "{\"a\":" + value + "}";
}

TEST(ParseBody, AcceptsWhatJsonAllows) {
  const std::vector<std::string> accepted = {"0",
                                             "-0",
                                             "1.5e+3",
                                             "1E5",
                                             "-1e-2",
                                             "123e65",
                                             "\"\\u0000\"",
                                             "\"\\ud83d\\ude00\"",
                                             "\"\xF0\x9F\x98\x80\"",
                                             "\"\x7F\"",
                                             "\"\\/\\b\\f\"",
                                             "\"\xEF\xBF\xBF\"",
                                             "[]",
                                             "{}",
                                             "[1 , 2]",
                                             "[\n\t1\r]",
                                             "true",
                                             "null",
                                             "1e309",
                                             "-1e400",
                                             "9007199254740993",
                                             "123456789012345678901234567890",
                                             "1e-500",
                                             "\"\\u2028\"",
                                             "{\"\":0}"};
  for (const std::string& value : accepted)
    EXPECT_TRUE(parse_body(wrapped(value), kDepthMax).ok()) << value;
}

TEST(ParseBody, RefusesWhatJsonForbids) {
  const std::vector<std::string> refused = {"",
                                            "NaN",
                                            "Infinity",
                                            "-Infinity",
                                            "nan",
                                            "+1",
                                            ".5",
                                            "1.",
                                            "-",
                                            "01",
                                            "0x1",
                                            "1e",
                                            "1e+",
                                            "--1",
                                            "1_000",
                                            "'a'",
                                            "\"a",
                                            "\"\\x41\"",
                                            "\"\\u12\"",
                                            "\"\t\"",
                                            "\"\n\"",
                                            std::string("\"\0\"", 3),
                                            "\"\\ud800\"",
                                            "\"\\ud800x\"",
                                            "\"\\udc00\"",
                                            "\"\\ud800\\ud800\"",
                                            "\"\xFF\"",
                                            "\"\xC0\xAF\"",
                                            "\"\xED\xA0\x80\"",
                                            "\"\xF4\x90\x80\x80\"",
                                            "\"\xE2\x82\"",
                                            "[1,]",
                                            "[,1]",
                                            "[1 2]",
                                            "[1",
                                            "{\"b\":1,}",
                                            "{\"b\"}",
                                            "{b:1}",
                                            "{\"b\":}",
                                            "{1:2}",
                                            "True",
                                            "tru",
                                            "nul",
                                            "1 // c",
                                            "/* c */ 1",
                                            "1} {\"b\":2",
                                            "1}x",
                                            "1}}"};
  for (const std::string& value : refused) {
    const auto parsed = parse_body(wrapped(value), kDepthMax);
    ASSERT_FALSE(parsed.ok()) << value;
    EXPECT_EQ(parsed.error->code, "invalid_json") << value;
    EXPECT_EQ(parsed.error->http, 400);
  }
  EXPECT_FALSE(parse_body("\xEF\xBB\xBF{}", kDepthMax).ok());  // byte order mark
  EXPECT_FALSE(parse_body("", kDepthMax).ok());
}

TEST(ParseBody, NeedsAnObject) {
  for (const char* body : {"[]", "1", "\"a\"", "null", "true"}) {
    const auto parsed = parse_body(body, kDepthMax);
    ASSERT_FALSE(parsed.ok());
    EXPECT_NE(parsed.error->message.find("must be a JSON object"), std::string::npos);
  }
}

TEST(ParseBody, BoundsDepth) {
  const auto nested = [](size_t depth) {
    return wrapped(std::string(depth, '[') + std::string(depth, ']'));
  };
  EXPECT_TRUE(parse_body(nested(kDepthMax - 1), kDepthMax).ok());
  EXPECT_FALSE(parse_body(nested(kDepthMax + 1), kDepthMax).ok());
  const auto deep = parse_body(nested(1'000'000), kDepthMax);
  ASSERT_FALSE(deep.ok());
  EXPECT_NE(deep.error->message.find("deeper than 64"), std::string::npos);
}

TEST(ParseBody, LastDuplicateCounts) {
  const auto parsed = parse_body("{\"a\":1,\"b\":2,\"a\":3}", kDepthMax);
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(parsed.value.at("a").as_int64(), 3);
}

TEST(FieldReader, KeepsTheFirstError) {
  const auto body = parse_body("{\"a\":5,\"b\":\"x\"}", kDepthMax);
  FieldReader reader(body.value, "outer.");
  int32_t a = 1;
  float b = 2;
  reader.integer("a", {0, 4}, a);
  reader.number("b", {0, 1}, b);
  ASSERT_FALSE(reader.ok());
  EXPECT_EQ(reader.error()->param, "outer.a");
  EXPECT_EQ(reader.error()->message, "outer.a must be an integer from 0 to 4, not 5");
  EXPECT_EQ(a, 1);
  EXPECT_EQ(b, 2);
}

TEST(FieldReader, WholeNumbers) {
  struct Case {
    const char* json;
    bool ok;
  };
  for (const Case& c : {Case{"5", true}, Case{"5.0", true}, Case{"5e0", true}, Case{"5.5", false},
                        Case{"1e309", false}, Case{"-1e309", false}, Case{"true", false},
                        Case{"\"5\"", false}, Case{"[5]", false}, Case{"9007199254740993", false},
                        Case{"18446744073709551615", false}, Case{"null", true}}) {
    const auto body = parse_body(wrapped(c.json), kDepthMax);
    FieldReader reader(body.value);
    int32_t value = 0;
    reader.integer("a", {0, 100}, value);
    EXPECT_EQ(reader.ok(), c.ok) << c.json;
  }
}

TEST(FieldReader, ListsUnknownNames) {
  const auto body = parse_body("{\"a\":1,\"secret\":2,\"b\":null}", kDepthMax);
  FieldReader reader(body.value);
  reader.find("a");
  EXPECT_EQ(reader.unknown(), (std::vector<std::string>{"secret", "b"}));
}

TEST(JsonWriter, EscapesAndRepairs) {
  JsonWriter json;
  json.begin_object();
  json.key("q\"").string("a\\b\n\x01\x7F");
  json.key("u").string("\xF0\x9F\x98\x80\xFF\xED\xA0\x80");
  json.end_object();
  EXPECT_EQ(json.text(),
            "{\"q\\\"\":\"a\\\\b\\n\\u0001\\u007f\",\"u\":\"\xF0\x9F\x98\x80"
            "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\"}");
  EXPECT_TRUE(parse_body(json.text(), 4).ok());
}

TEST(JsonWriter, Numbers) {
  JsonWriter json;
  json.begin_array();
  json.number(0.1f).number(-0.25).number(2.0).number(-1.0f / 0.0f).number(0.0 / 0.0).integer(-7);
  json.number(1e300).end_array();
  EXPECT_EQ(json.text(), "[0.1,-0.25,2.0,-9999.0,-9999.0,-7,1e+300]");
}

TEST(JsonWriter, Nesting) {
  JsonWriter json;
  json.begin_array().begin_object().end_object().begin_array().null().boolean(true).end_array();
  json.raw_items("").raw_items("1,2").end_array();
  EXPECT_EQ(json.text(), "[{},[null,true],1,2]");
}

TEST(Excerpt, CutsBetweenCharacters) {
  EXPECT_EQ(excerpt("short", 5), "short");
  EXPECT_EQ(excerpt("ab\xE4\xBD\xA0", 4), "ab...");
}

}  // namespace
}  // namespace galley::api

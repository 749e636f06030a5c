// What the door for request bodies, api::parse_body, takes as JSON and what it refuses: RFC 8259,
// by the categories parsers are known to differ in. Small alphabets are tried exhaustively against
// references written here from the RFC's grammar (section 6 for numbers, RFC 3629 for UTF-8).
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>

#include "api/json_reader.h"

namespace galley::api {
namespace {

constexpr size_t kDepth = 64;

bool accepts(const std::string& body) {
  return parse_body(body, kDepth).ok();
}
// parse_body takes objects only, so a value stands in one.
std::string wrapped(std::string_view value) {
  return "{\"v\":" + std::string(value) + "}";
}
bool accepts_value(std::string_view value) {
  return accepts(wrapped(value));
}
bool accepts_string(std::string_view inside) {
  return accepts_value("\"" + std::string(inside) + "\"");
}

std::string parsed_string(std::string_view inside) {
  auto parsed = parse_body(wrapped("\"" + std::string(inside) + "\""), kDepth);
  if (!parsed.ok()) return "refused: " + parsed.error->message;
  const auto& text = parsed.value["v"].as_string();
  return {text.data(), text.size()};
}

double parsed_number(std::string_view text) {
  auto parsed = parse_body(wrapped(text), kDepth);
  if (!parsed.ok()) return std::nan("");
  return parsed.value["v"].to_number<double>();
}

// Of everything refused: one clean error, whatever was wrong.
void expect_refused(const std::string& body, std::string_view what) {
  const auto parsed = parse_body(body, kDepth);
  ASSERT_FALSE(parsed.ok()) << what;
  EXPECT_EQ(parsed.error->http, 400) << what;
  EXPECT_EQ(parsed.error->code, "invalid_json") << what;
  EXPECT_EQ(parsed.error->type, "invalid_request_error") << what;
  EXPECT_EQ(parsed.error->param, "") << what;
  EXPECT_FALSE(parsed.error->message.empty()) << what;
  EXPECT_LT(parsed.error->message.size(), 300u) << what;
}

// The grammar of RFC 8259, section 6: -? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?
bool is_number_text(std::string_view text) {
  size_t at = 0;
  const auto digits = [&] {
    const size_t begin = at;
    while (at < text.size() && text[at] >= '0' && text[at] <= '9') ++at;
    return at - begin;
  };
  if (at < text.size() && text[at] == '-') ++at;
  const size_t whole_begin = at;
  const size_t whole = digits();
  if (whole == 0 || (whole > 1 && text[whole_begin] == '0')) return false;
  if (at < text.size() && text[at] == '.') {
    ++at;
    if (digits() == 0) return false;
  }
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    ++at;
    if (at < text.size() && (text[at] == '+' || text[at] == '-')) ++at;
    if (digits() == 0) return false;
  }
  return at == text.size();
}

// The table of RFC 3629, section 4.
bool is_utf8(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const auto tail = [&](size_t i, unsigned low, unsigned high) {
    return i < text.size() && byte(i) >= low && byte(i) <= high;
  };
  for (size_t i = 0; i < text.size();) {
    const unsigned lead = byte(i);
    if (lead < 0x80) {
      i += 1;
    } else if (lead >= 0xC2 && lead <= 0xDF) {
      if (!tail(i + 1, 0x80, 0xBF)) return false;
      i += 2;
    } else if (lead >= 0xE0 && lead <= 0xEF) {
      const unsigned low = lead == 0xE0 ? 0xA0 : 0x80;
      const unsigned high = lead == 0xED ? 0x9F : 0xBF;
      if (!tail(i + 1, low, high) || !tail(i + 2, 0x80, 0xBF)) return false;
      i += 3;
    } else if (lead >= 0xF0 && lead <= 0xF4) {
      const unsigned low = lead == 0xF0 ? 0x90 : 0x80;
      const unsigned high = lead == 0xF4 ? 0x8F : 0xBF;
      if (!tail(i + 1, low, high) || !tail(i + 2, 0x80, 0xBF) || !tail(i + 3, 0x80, 0xBF))
        return false;
      i += 4;
    } else {
      return false;
    }
  }
  return true;
}

std::string encode_utf8(uint32_t point) {
  const auto byte = [](uint32_t bits) { return static_cast<char>(bits); };
  if (point < 0x80) return {byte(point)};
  if (point < 0x800) return {byte(0xC0 | point >> 6), byte(0x80 | (point & 0x3F))};
  if (point < 0x10000)
    return {byte(0xE0 | point >> 12), byte(0x80 | (point >> 6 & 0x3F)),
            byte(0x80 | (point & 0x3F))};
  return {byte(0xF0 | point >> 18), byte(0x80 | (point >> 12 & 0x3F)),
          byte(0x80 | (point >> 6 & 0x3F)), byte(0x80 | (point & 0x3F))};
}

TEST(JsonStructure, TakesWhatTheGrammarAllows) {
  for (const std::string_view value :
       {"{}", "[]", "[[]]", "[{}]", "{\"\":0}", "{\"a\":{}}", "[1,2]", "[null,true,false]", "\"\"",
        "[ ]", " [\t1\n,\r2 ] ", "{\"a\":1,\"b\":[{\"c\":null}]}", "{\"a\\u0000b\":1}",
        "{\"a\":1,\"a\":2}", "[1,[2,[3]]]", "{\"\xe4\xb8\x80\":1}"})
    EXPECT_TRUE(accepts_value(value)) << value;
  EXPECT_TRUE(accepts("{}"));
  EXPECT_TRUE(accepts(" \t\r\n{ } \t\r\n"));
}

TEST(JsonStructure, RefusesEverythingElse) {
  for (const std::string_view value : {"",
                                       " ",
                                       ",",
                                       "]",
                                       "[",
                                       "[1",
                                       "[1,",
                                       "[1,]",
                                       "[,1]",
                                       "[,]",
                                       "[1,,2]",
                                       "[1 2]",
                                       "[1:2]",
                                       "[1]]",
                                       "[1}",
                                       "{",
                                       "{\"a\"",
                                       "{\"a\":",
                                       "{\"a\":1",
                                       "{\"a\":1,",
                                       "{\"a\":1,}",
                                       "{,}",
                                       "{:1}",
                                       "{\"a\",1}",
                                       "{\"a\" 1}",
                                       "{\"a\"::1}",
                                       "{a:1}",
                                       "{'a':1}",
                                       "{1:1}",
                                       "{null:1}",
                                       "{[]:1}",
                                       "{\"a\":1]",
                                       "{\"a\":}",
                                       "{\"a\":1 \"b\":2}",
                                       "{\"a\":1,,\"b\":2}",
                                       "{}{}",
                                       "[][]",
                                       "1 2",
                                       "nul",
                                       "nulll",
                                       "NULL",
                                       "Null",
                                       "tru",
                                       "truth",
                                       "True",
                                       "fals",
                                       "FALSE",
                                       "undefined",
                                       "//1",
                                       "/**/1",
                                       "1/**/",
                                       "#1",
                                       "[1]#",
                                       "(1)",
                                       "<1>",
                                       "`a`",
                                       "'a'",
                                       "a",
                                       "\\n",
                                       "\"a",
                                       "a\"",
                                       "\"a\"b",
                                       "[\"a\"",
                                       "[\"a",
                                       "[a",
                                       "*",
                                       "&",
                                       "@",
                                       "\xef\xbb\xbf"
                                       "1",
                                       "\xe2\x81\xa0",
                                       "\xc2\xa0"
                                       "1",
                                       "\v1",
                                       "\f1",
                                       "[1\xa0]",
                                       "\"\"\"\"",
                                       "+",
                                       "~",
                                       "...",
                                       "[1]x",
                                       "{\"a\":\"b\"}#"})
    expect_refused(wrapped(value), value);
}

TEST(JsonStructure, ABodyIsOneObject) {
  for (const std::string_view body :
       {"", " ", "null", "true", "1", "\"a\"", "[]", "[{}]", "{}{}", "{},", "{}x", "\xef\xbb\xbf{}",
        "{} {}", "data: {}", "{}\n{}"})
    expect_refused(std::string(body), body);
  expect_refused(std::string("{}\0", 3), "a NUL after the end");
  expect_refused(std::string("\0{}", 3), "a NUL before the start");
  expect_refused(std::string("{\0}", 3), "a NUL between");
  // UTF-16, both ends first.
  expect_refused(std::string("\xff\xfe{\0}\0", 6), "UTF-16LE");
  expect_refused(std::string("\xfe\xff\0{\0}", 6), "UTF-16BE");
  expect_refused(std::string("{\0}\0", 4), "UTF-16LE without its mark");
}

TEST(JsonStructure, EveryPrefixOfADocumentIsRefused) {
  const std::string body =
      " {\"a\": [1, -2.5e+3, \"x\\u00e9\\ud83e\\udd80\xe4\xb8\x80\", null, true, false, {}], "
      "\"b\": "
      "{\"c\": []}}";
  ASSERT_TRUE(accepts(body));
  for (size_t size = 0; size < body.size(); ++size)
    expect_refused(body.substr(0, size), "prefix of " + std::to_string(size) + " bytes");
}

TEST(JsonStructure, WhitespaceIsFourBytes) {
  for (int byte = 0; byte < 256; ++byte) {
    const bool space = byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r';
    const std::string one(1, static_cast<char>(byte));
    EXPECT_EQ(accepts("{" + one + "\"a\":[]}"), space) << byte;
    EXPECT_EQ(accepts("{\"a\":[]" + one + "}"), space) << byte;
    EXPECT_EQ(accepts("{}" + one), space) << byte;
  }
}

TEST(JsonDepth, IsBoundedExactly) {
  const auto arrays = [](size_t count) {  // The object around them is one level.
    return wrapped(std::string(count, '[') + std::string(count, ']'));
  };
  EXPECT_TRUE(accepts(arrays(kDepth - 1)));
  expect_refused(arrays(kDepth), "one level more");
  EXPECT_NE(parse_body(arrays(kDepth), kDepth).error->message.find("64"), std::string::npos);
  std::string objects;
  for (size_t i = 0; i < kDepth - 1; ++i) objects += "{\"a\":";
  EXPECT_TRUE(accepts_value(objects + "1" + std::string(kDepth - 1, '}')));
  EXPECT_FALSE(accepts_value(objects + "[]" + std::string(kDepth - 1, '}')));
  EXPECT_TRUE(accepts_value("[" + std::string(3000, ' ') + "[],[],[]]"));
}

TEST(JsonDepth, AMillionLevelsAreRefusedAtTheBound) {
  const auto begin = std::chrono::steady_clock::now();
  expect_refused(std::string(1'000'000, '['), "arrays");
  expect_refused("{\"v\":" + std::string(1'000'000, '['), "arrays in an object");
  std::string objects;
  for (int i = 0; i < 200'000; ++i) objects += "{\"a\":";
  expect_refused(objects, "objects");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(2));
}

TEST(JsonNumbers, EveryShortSpellingIsJudgedByTheGrammar) {
  constexpr std::string_view kAlphabet = "01-+.eE";
  size_t taken = 0;
  for (size_t length = 1; length <= 6; ++length) {
    size_t count = 1;
    for (size_t i = 0; i < length; ++i) count *= kAlphabet.size();
    for (size_t number = 0; number < count; ++number) {
      std::string text;
      for (size_t i = 0, rest = number; i < length; ++i, rest /= kAlphabet.size())
        text += kAlphabet[rest % kAlphabet.size()];
      const bool expected = is_number_text(text);
      taken += expected ? 1 : 0;
      ASSERT_EQ(accepts_value(text), expected) << text;
    }
  }
  EXPECT_GT(taken, 1000u);
}

TEST(JsonNumbers, OtherSpellingsAreRefused) {
  for (const std::string_view text :
       {"NaN",  "nan",   "Infinity", "-Infinity",    "inf",       "-inf",    "0x1F",  "0b1",
        "0o7",  "1_000", "1,000",    "1 000",        "--1",       "- 1",     "1e",    "1e+",
        "1.e1", ".5",    "5.",       "+1",           "01",        "-01",     "1.5.5", "1e5e5",
        "1e1.", "1f",    "1L",       "\xef\xbc\x91", "1\xc2\xb2", "\xd9\xa1"})
    expect_refused(wrapped(text), text);
}

TEST(JsonNumbers, ValuesAreRight) {
  EXPECT_EQ(parsed_number("0"), 0.0);
  EXPECT_TRUE(std::signbit(parsed_number("-0.0")));
  EXPECT_EQ(parsed_number("-0"), 0.0);
  EXPECT_EQ(parsed_number("1E2"), 100.0);
  EXPECT_EQ(parsed_number("1e-2"), 0.01);
  EXPECT_EQ(parsed_number("123.456e+1"), 1234.56);
  EXPECT_EQ(parsed_number("9007199254740993"), 9007199254740992.0);
  EXPECT_EQ(parsed_number("1e308"), 1e308);
  EXPECT_EQ(parsed_number("5e-324"), 5e-324);
  EXPECT_EQ(parsed_number("1e-400"), 0.0);
  EXPECT_EQ(parsed_number("0.000000000000000000000000000000000000000000001"), 1e-45);
  const auto whole = parse_body(wrapped("9223372036854775807"), kDepth);
  ASSERT_TRUE(whole.ok());
  EXPECT_EQ(whole.value.at("v").as_int64(), INT64_MAX);
  const auto least = parse_body(wrapped("-9223372036854775808"), kDepth);
  ASSERT_TRUE(least.ok());
  EXPECT_EQ(least.value.at("v").as_int64(), INT64_MIN);
}

// JSON sets no limit; what does not fit must be refused, or become a value no field takes.
TEST(JsonNumbers, TooLargeIsNeverTakenForSomethingElse) {
  for (const std::string& text :
       {std::string("1e309"), std::string("-1e309"), std::string("1e99999999999999999999"),
        "-3e" + std::string(1000, '9'), std::string(400, '9'), "-" + std::string(400, '9')}) {
    const auto parsed = parse_body(wrapped(text), kDepth);
    if (!parsed.ok()) continue;
    EXPECT_EQ(whole_number(parsed.value.at("v"), {INT64_MIN, INT64_MAX}), std::nullopt) << text;
    float out = 0.5f;
    FieldReader reader(parsed.value);
    reader.number("v", {-1e30, 1e30}, out);
    EXPECT_FALSE(reader.ok()) << text;
    EXPECT_EQ(out, 0.5f) << text;
  }
  EXPECT_TRUE(accepts_value("0." + std::string(100'000, '3')));
}

TEST(JsonStrings, EveryByteByItself) {
  for (int byte = 0; byte < 256; ++byte) {
    const bool plain = byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\';
    EXPECT_EQ(accepts_string(std::string(1, static_cast<char>(byte))), plain) << byte;
  }
}

TEST(JsonStrings, EveryByteAfterABackslash) {
  for (int byte = 0; byte < 256; ++byte) {
    const bool known = byte != 0 && std::string_view("\"\\/bfnrt").find(static_cast<char>(byte)) !=
                                        std::string_view::npos;
    EXPECT_EQ(accepts_string(std::string("\\") + static_cast<char>(byte)), known) << byte;
  }
  EXPECT_EQ(parsed_string("\\\"\\\\\\/\\b\\f\\n\\r\\t"), "\"\\/\b\f\n\r\t");
}

TEST(JsonStrings, HexEscapes) {
  EXPECT_EQ(parsed_string("\\u0041"), "A");
  EXPECT_EQ(parsed_string("\\u00e9\\u00E9"), "\xc3\xa9\xc3\xa9");
  EXPECT_EQ(parsed_string("\\u4e00"), "\xe4\xb8\x80");
  EXPECT_EQ(parsed_string("a\\u0000b"), std::string("a\0b", 3));
  EXPECT_EQ(parsed_string("\\uFFFF"), "\xef\xbf\xbf");
  EXPECT_EQ(parsed_string("\\ud83e\\udd80"), "\xf0\x9f\xa6\x80");
  EXPECT_EQ(parsed_string("\\uDBFF\\uDFFF"), "\xf4\x8f\xbf\xbf");
  EXPECT_EQ(parsed_string("\\\\u0041"), "\\u0041");
  for (const std::string_view text :
       {"\\u", "\\u0", "\\u00", "\\u004", "\\u004g", "\\u 041", "\\U0041", "\\u+041", "\\u-041",
        "\\u{41}", "\\x41", "\\u00\xc3\xa9"})
    expect_refused(wrapped("\"" + std::string(text) + "\""), text);
}

TEST(JsonStrings, SurrogatesComeInPairs) {
  for (const std::string_view text :
       {"\\ud800", "\\udbff", "\\udc00", "\\udfff", "\\ud800x", "\\ud800\\n", "\\ud800\\u0041",
        "\\ud800\\ud800", "\\ud800\\udbff", "\\udc00\\ud800", "\\ud83e\\u", "\\ud83e\\udd8",
        "\\ud83e\\", "\\ud83e\\udd80\\ud83e", "\\ud83edd80", "\xed\xa0\x80", "\xed\xbf\xbf",
        "\xed\xa0\xbe\xed\xb6\x80", "\\ud83e\xed\xb6\x80"})
    expect_refused(wrapped("\"" + std::string(text) + "\""), text);
}

TEST(JsonStrings, EveryCodePointComesBack) {
  std::string body = "{\"v\":\"";
  std::string escaped = body;
  std::string expected;
  for (uint32_t point = 0x20; point <= 0x10FFFF; ++point) {
    if (point == '"' || point == '\\' || (point >= 0xD800 && point <= 0xDFFF)) continue;
    const std::string text = encode_utf8(point);
    expected += text;
    body += text;
    std::array<char, 16> buffer{};
    if (point < 0x10000) {
      std::snprintf(buffer.data(), buffer.size(), "\\u%04x", point);
    } else {
      std::snprintf(buffer.data(), buffer.size(), "\\u%04X\\u%04X",
                    0xD800 + (point - 0x10000) / 1024, 0xDC00 + (point - 0x10000) % 1024);
    }
    escaped += buffer.data();
  }
  for (std::string* text : {&body, &escaped}) {
    *text += "\"}";
    const auto parsed = parse_body(*text, kDepth);
    ASSERT_TRUE(parsed.ok()) << parsed.error->message;
    const auto& value = parsed.value.at("v").as_string();
    EXPECT_TRUE(std::string_view(value.data(), value.size()) == expected);
  }
}

TEST(JsonStrings, EveryTwoBytesAreJudgedAsUtf8) {
  for (int first = 0x80; first < 256; ++first)
    for (int second = 0x20; second < 256; ++second) {
      if (second == '"' || second == '\\') continue;
      const std::string text{static_cast<char>(first), static_cast<char>(second)};
      ASSERT_EQ(accepts_string(text), is_utf8(text)) << first << ' ' << second;
      const std::string after = "a" + text + "b";
      ASSERT_EQ(accepts_string(after), is_utf8(after)) << first << ' ' << second;
    }
}

TEST(JsonStrings, RandomBytesAreJudgedAsUtf8) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  // Bytes at the edges of the table of RFC 3629.
  constexpr std::array<unsigned char, 20> kEdges = {0x20, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0,
                                                    0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xEC,
                                                    0xED, 0xEF, 0xF0, 0xF4, 0xF5, 0xFF};
  size_t valid = 0;
  for (int run = 0; run < 300'000; ++run) {
    std::string text;
    for (uint64_t left = 3 + random() % 4; left > 0; --left)
      text += static_cast<char>(kEdges[random() % kEdges.size()]);
    const bool expected = is_utf8(text);
    valid += expected ? 1 : 0;
    ASSERT_EQ(accepts_string(text), expected) << testing::PrintToString(text);
    // Keys are judged as values are.
    ASSERT_EQ(accepts("{\"" + text + "\":1}"), expected) << testing::PrintToString(text);
  }
  EXPECT_GT(valid, 100u);
}

TEST(JsonObjects, OfEqualKeysTheLastCounts) {
  const auto parsed = parse_body(R"({"a":1,"b":2,"a":{"c":3},"a":4,"\u0061":5})", kDepth);
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(parsed.value.size(), 2u);
  EXPECT_EQ(parsed.value.at("a").as_int64(), 5);
}

// Keys crafted to collide, or many of them, cost no more than their length.
TEST(JsonObjects, ManyKeysAreLinear) {
  std::string body = "{";
  for (int i = 0; i < 200'000; ++i) body += "\"k" + std::to_string(i) + "\":0,";
  body += "\"last\":1}";
  const auto begin = std::chrono::steady_clock::now();
  const auto parsed = parse_body(body, kDepth);
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(parsed.value.at("last").as_int64(), 1);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
}

}  // namespace
}  // namespace galley::api

#include "text/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "base/testing/compare.h"
#include "text/testing/tiny_tokenizer.h"

namespace galley::text {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::TinyTokenizer;

std::shared_ptr<const Tokenizer> make(const TinyTokenizer& tiny, std::string_view config = "") {
  Result<std::shared_ptr<const Tokenizer>> tokenizer = Tokenizer::parse(tiny.json(), config);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.message();
  return tokenizer.value();
}

std::vector<int32_t> ids(const Tokenizer& tokenizer, std::string_view text,
                         EncodeOptions options = {}) {
  Result<std::vector<int32_t>> result = tokenizer.encode(text, options);
  EXPECT_TRUE(result.ok()) << result.message();
  return result.value();
}

Status parse_error(const boost::json::object& document, std::string_view config = "") {
  return Tokenizer::parse(boost::json::serialize(document), config).status();
}

TEST(Tokenizer, MergesByRankThenLeftmost) {
  const auto t = make({});
  EXPECT_THAT(ids(*t, "hello"), ElementsAre(259));
  EXPECT_THAT(ids(*t, "hell world"), ElementsAre(258, 260, 'o', 'r', 'l', 'd'));
  EXPECT_THAT(ids(*t, "aaa"), ElementsAre(261, 'a'));
  EXPECT_THAT(ids(*t, "aaaaa"), ElementsAre(262, 'a'));
  EXPECT_THAT(ids(*t, "\xE4\xBD\xA0"), ElementsAre(0xE4, 0xBD, 0xA0));
  EXPECT_THAT(ids(*t, ""), ElementsAre());
}

TEST(Tokenizer, SpecialTokensInTextAreParsedOrNot) {
  const auto t = make({});
  EXPECT_THAT(ids(*t, "a<eos>a"), ElementsAre('a', 301, 'a'));
  EXPECT_THAT(ids(*t, "<eos>", {.parse_special = false}), ElementsAre('<', 'e', 'o', 's', '>'));
  // <think> is added but not special, so it is always a token.
  EXPECT_THAT(ids(*t, "<think>", {.parse_special = false}), ElementsAre(302));
}

TEST(Tokenizer, AddedTokensStripAndStandAlone) {
  TinyTokenizer tiny;
  boost::json::object strip = TinyTokenizer::added(310, "<m>", true);
  strip["lstrip"] = strip["rstrip"] = true;
  boost::json::object word = TinyTokenizer::added(311, "xy", false);
  word["single_word"] = true;
  tiny.added_tokens.push_back(strip);
  tiny.added_tokens.push_back(word);
  const auto t = make(tiny);
  EXPECT_THAT(ids(*t, "a  <m>\n\nb"), ElementsAre('a', 310, 'b'));
  EXPECT_THAT(ids(*t, "xy xyz"), ElementsAre(311, ' ', 'x', 'y', 'z'));
  EXPECT_THAT(ids(*t, "\xC3\xA9xy"), ElementsAre(0xC3, 0xA9, 'x', 'y'));
}

TEST(Tokenizer, TheLongestAddedTokenWins) {
  TinyTokenizer tiny;
  tiny.added_tokens.push_back(TinyTokenizer::added(310, "<<", false));
  tiny.added_tokens.push_back(TinyTokenizer::added(311, "<<<a", false));
  const auto t = make(tiny);
  EXPECT_THAT(ids(*t, "<<<a"), ElementsAre(311));
  EXPECT_THAT(ids(*t, "<<<b"), ElementsAre(310, '<', 'b'));
}

TEST(Tokenizer, PostProcessorAddsTokens) {
  TinyTokenizer tiny;
  tiny.post_processor = boost::json::parse(R"({"type":"Sequence","processors":[{"type":"ByteLevel"},
    {"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<bos>","type_id":0}},
     {"Sequence":{"id":"A","type_id":0}}],"pair":[],
     "special_tokens":{"<bos>":{"id":"<bos>","ids":[300],"tokens":["<bos>"]}}}]})");
  const auto t = make(tiny);
  EXPECT_THAT(ids(*t, "a"), ElementsAre(300, 'a'));
  EXPECT_THAT(ids(*t, "a", {.add_special_tokens = false}), ElementsAre('a'));
}

TEST(Tokenizer, ConfigNamesBosAndEosAndLlamaClassAddsThem) {
  const auto t = make({}, R"({"bos_token":{"content":"<bos>"},"eos_token":"<eos>",
    "tokenizer_class":"LlamaTokenizerFast","add_eos_token":true})");
  EXPECT_EQ(t->bos_id(), 300);
  EXPECT_EQ(t->eos_id(), 301);
  EXPECT_EQ(t->eos_token(), "<eos>");
  EXPECT_THAT(ids(*t, "a"), ElementsAre(300, 'a', 301));
  const auto other = make(
      {},
      R"({"bos_token":"<bos>","tokenizer_class":"PreTrainedTokenizerFast","add_bos_token":true})");
  EXPECT_THAT(ids(*other, "a"), ElementsAre('a'));
}

TEST(Tokenizer, TokensByIdAndString) {
  const auto t = make({});
  EXPECT_EQ(t->vocab_size(), 304);
  EXPECT_EQ(t->token_bytes(260), " w");
  EXPECT_EQ(t->token_string(260), "\xC4\xA0w");
  EXPECT_EQ(t->id_of("<think>"), 302);
  EXPECT_EQ(t->id_of("nothing"), std::nullopt);
  EXPECT_TRUE(t->is_special(300));
  EXPECT_FALSE(t->is_special(302));
  EXPECT_FALSE(t->has(280));  // a gap
  EXPECT_FALSE(t->has(-1));
  EXPECT_EQ(t->token_bytes(1 << 30), "");
}

TEST(Tokenizer, DecodesWithAndWithoutSpecialTokens) {
  const auto t = make({});
  EXPECT_EQ(t->decode({300, 259, 260, 301}, false), "<bos>hello w<eos>");
  EXPECT_EQ(t->decode({300, 259, 260, 301}, true), "hello w");
  EXPECT_EQ(t->decode({0xE4, 0xBD}, true), "\xEF\xBF\xBD");
}

TEST(Tokenizer, RefusesTextThatIsNotUtf8OrTooLong) {
  EXPECT_EQ(make({})->encode("ab\xFF").code(), Code::kInvalid);
  TokenizerLimits limits;
  limits.text_bytes_max = 3;
  const auto t = Tokenizer::parse(TinyTokenizer().json(), "", limits).value();
  EXPECT_EQ(t->encode("abcd").code(), Code::kTooLarge);
  EXPECT_TRUE(t->encode("abc").ok());
}

TEST(Tokenizer, NamesWhatItDoesNotSupport) {
  boost::json::object document = TinyTokenizer().document();
  document["normalizer"] = {{"type", "Nmt"}};
  EXPECT_THAT(parse_error(document).message(), HasSubstr("normalizer type 'Nmt'"));
  document = TinyTokenizer().document();
  document["pre_tokenizer"] = {{"type", "BertPreTokenizer"}};
  EXPECT_THAT(parse_error(document).message(), HasSubstr("'BertPreTokenizer'"));
  document = TinyTokenizer().document();
  document["decoder"] = {{"type", "WordPiece"}};
  EXPECT_THAT(parse_error(document).message(), HasSubstr("'WordPiece'"));
  document = TinyTokenizer().document();
  document["post_processor"] = {{"type", "BertProcessing"}};
  EXPECT_THAT(parse_error(document).message(), HasSubstr("'BertProcessing'"));
  document = TinyTokenizer().document();
  document["model"].as_object()["type"] = "Unigram";
  EXPECT_THAT(parse_error(document).message(), HasSubstr("'Unigram'"));
}

TEST(Tokenizer, RefusesFilesThatContradictThemselves) {
  boost::json::object document = TinyTokenizer().document();
  document["model"].as_object()["vocab"].as_object()["zz"] = 5;
  EXPECT_THAT(parse_error(document).message(), HasSubstr("same id 5"));
  document = TinyTokenizer().document();
  document["model"].as_object()["merges"].as_array().push_back("x yy");
  EXPECT_THAT(parse_error(document).message(), HasSubstr("merges[7]: 'yy'"));
  document = TinyTokenizer().document();
  document["added_tokens"].as_array().push_back(TinyTokenizer::added(299, "<bos>", true));
  EXPECT_THAT(parse_error(document).message(), HasSubstr("ids 300 and 299"));
  document = TinyTokenizer().document();
  document["model"].as_object()["vocab"].as_object()["zz"] = std::int64_t{1} << 40;
  EXPECT_EQ(parse_error(document).code(), Code::kCorrupt);
  EXPECT_THAT(parse_error(TinyTokenizer().document(), R"({"eos_token":"<none>"})").message(),
              HasSubstr("'<none>' is not a token"));
}

TEST(Tokenizer, RefusesDeepJson) {
  const std::string deep(1'000'000, '[');
  EXPECT_EQ(Tokenizer::parse(deep, "").code(), Code::kCorrupt);
  EXPECT_EQ(Tokenizer::parse(TinyTokenizer().json(), deep).code(), Code::kCorrupt);
}

TEST(Tokenizer, AMegabyteOfOneLetterIsNoTrouble) {
  const auto t = make({});
  const std::string text(1 << 20, 'a');
  const std::vector<int32_t> tokens = ids(*t, text);
  EXPECT_EQ(tokens.size(), (1u << 20) / 4);
  EXPECT_EQ(t->decode(tokens, true), text);
}

TEST(Tokenizer, ManyThreadsMayUseOne) {
  const auto t = make({});
  const std::vector<int32_t> expected = ids(*t, "hello world<eos> it's 12");
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  threads.reserve(4);
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 200; ++n) {
        const auto got = t->encode("hello world<eos> it's 12");
        wrong += !got.ok() || *got != expected || t->decode(*got, true) != "hello world it's 12";
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

// \s+$ tries every position against the whole rest: quadratic, stopped by the budget.
TEST(Tokenizer, HostileTextRunsIntoTheStepBound) {
  TinyTokenizer tiny;
  tiny.pre_tokenizer = boost::json::parse(R"({"type":"Sequence","pretokenizers":[
    {"type":"Split","pattern":{"Regex":"\\s+$"},"behavior":"Isolated","invert":false},
    {"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]})");
  const auto t = make(tiny);
  EXPECT_TRUE(t->encode(std::string(1000, ' ') + "x").ok());
  const Result<std::vector<int32_t>> result = t->encode(std::string(1 << 20, ' ') + "x");
  EXPECT_EQ(result.code(), Code::kInvalid);
  EXPECT_THAT(result.message(), HasSubstr("beyond its limit"));
}

}  // namespace
}  // namespace galley::text

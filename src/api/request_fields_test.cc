// Every parameter of both endpoints at, below and above its bounds, null, of wrong types and huge.
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "api/chat.h"
#include "api/completions.h"

namespace galley::api {
namespace {

ParseContext context() {
  ParseContext context;
  context.vocab_size = 1000;
  context.defaults.temperature = 0.6f;
  context.defaults.top_p = 0.95f;
  return context;
}

constexpr uint8_t kChat = 1;
constexpr uint8_t kText = 2;
constexpr uint8_t kBoth = 3;

std::string body_of(uint8_t endpoint, const std::string& fields) {
  return (endpoint == kChat ? "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
                            : "{\"prompt\":\"hi\"") +
         (fields.empty() ? "" : "," + fields) + "}";
}

std::optional<Error> parse(uint8_t endpoint, const std::string& fields) {
  const std::string body = body_of(endpoint, fields);
  return endpoint == kChat ? parse_chat_request(body, context()).error
                           : parse_completion_request(body, context()).error;
}

struct Field {
  std::string name;
  uint8_t endpoints;
  std::vector<std::string> good;
  std::vector<std::string> bad;
  std::string beside = {};  // fields it needs
};

std::vector<Field> fields() {
  const std::string long_name = "\"" + std::string(257, 'x') + "\"";
  return {
      {"temperature", kBoth, {"0", "0.7", "2", "2.0"}, {"-0.001", "2.001", "-1"}},
      {"top_p", kBoth, {"0.001", "1", "1.0"}, {"0", "1.01", "-1", "1e-60"}},
      {"min_p", kBoth, {"0", "1"}, {"-0.1", "1.1"}},
      {"top_k", kBoth, {"-1", "0", "1", "2147483647"}, {"-2", "2147483648", "1.5"}},
      {"presence_penalty", kBoth, {"-2", "2"}, {"-2.1", "2.1"}},
      {"frequency_penalty", kBoth, {"-2", "2"}, {"-2.1", "2.1"}},
      {"repetition_penalty", kBoth, {"0.01", "2"}, {"0", "2.1", "-1"}},
      {"n", kBoth, {"1", "128"}, {"0", "129", "-1", "1.5"}},
      {"seed",
       kBoth,
       {"0", "-1", "9007199254740993", "9223372036854775807", "-9223372036854775808"},
       {"9223372036854775808", "1.5"}},
      {"min_tokens", kBoth, {"0", "5"}, {"-1", "2147483648"}},
      {"priority", kBoth, {"-2147483648", "2147483647", "0"}, {"-2147483649", "2147483648"}},
      {"stop_token_ids",
       kBoth,
       {"[]", "[0,999]"},
       {"[-1]", "[1000]", "[\"1\"]", "[null]", "[1.5]"}},
      {"stop", kBoth, {"\"a\"", "[]", "[\"a\",\"b\"]"}, {"\"\"", "[\"\"]", "[1]", "[null]"}},
      {"logit_bias",
       kBoth,
       {"{}", "{\"0\":-100,\"999\":100}"},
       {"{\"1000\":1}", "{\"-1\":1}", "{\"a\":1}", "{\"1\":101}", "{\"1\":-101}", "{\"1\":\"x\"}",
        "{\"1.0\":1}", "{\"\":1}"}},
      {"prompt_logprobs", kBoth, {"0", "20"}, {"-1", "21"}},
      {"model", kBoth, {"\"m\""}, {long_name}},
      {"user", kBoth, {"\"u\""}, {long_name}},
      {"cache_salt", kBoth, {"\"s\""}, {"\"\"", long_name}},
      {"stream", kBoth, {"true", "false"}, {}},
      {"ignore_eos", kBoth, {"true", "false"}, {}},
      {"skip_special_tokens", kBoth, {"true", "false"}, {}},
      {"include_stop_str_in_output", kBoth, {"true", "false"}, {}},
      {"return_token_ids", kBoth, {"true", "false"}, {}},
      {"return_tokens_as_token_ids", kBoth, {"true", "false"}, {}},
      {"add_special_tokens", kBoth, {"true", "false"}, {}},
      {"stream_options",
       kBoth,
       {"{}", "{\"include_usage\":true,\"continuous_usage_stats\":false}"},
       {"{\"include_usage\":1}", "{\"continuous_usage_stats\":\"x\"}"},
       "\"stream\":true"},
      {"response_format",
       kBoth,
       {"{\"type\":\"text\"}", "{\"type\":\"json_object\"}",
        "{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"x\",\"strict\":true,\"schema\":{}}"
        "}"},
       {"{\"type\":\"json_schema\"}", "{\"type\":\"json_schema\",\"json_schema\":{}}",
        "{\"type\":\"json_schema\",\"json_schema\":{\"schema\":1}}", "{}", "{\"type\":\"xml\"}",
        "{\"type\":1}", "{\"type\":\"structural_tag\"}"}},
      {"structured_outputs",
       kBoth,
       {"{\"json\":{}}", "{\"json\":\"{}\"}", "{\"regex\":\"a\"}", "{\"choice\":[\"a\"]}",
        "{\"grammar\":\"root ::= x\"}", "{\"json_object\":true}"},
       {"{}", "{\"regex\":1}", "{\"choice\":\"a\"}", "{\"regex\":\"a\",\"json\":{}}",
        "{\"structural_tag\":\"x\",\"regex\":\"a\"}", "1"}},
      {"guided_json", kBoth, {"{}", "\"{}\""}, {"1", "[1]"}},
      {"guided_regex", kBoth, {"\"a\""}, {"1", "{}"}},
      {"guided_choice", kBoth, {"[\"a\"]"}, {"\"a\"", "{}"}},
      {"guided_grammar", kBoth, {"\"root ::= x\""}, {"1"}},
      {"max_tokens", kChat, {"1", "2147483647"}, {"0", "-1", "2147483648"}},
      {"max_tokens", kText, {"1", "2147483647"}, {"0", "-1", "2147483648"}},
      {"max_completion_tokens", kChat, {"1"}, {"0", "-1", "2147483648"}},
      {"logprobs", kChat, {"true", "false"}, {"1", "0"}},
      {"logprobs", kText, {"0", "20"}, {"-1", "21", "true"}},
      {"top_logprobs", kChat, {"0", "20"}, {"-1", "21"}, "\"logprobs\":true"},
      {"best_of", kText, {"1", "128"}, {"0", "129"}},
      {"echo", kText, {"true", "false"}, {}},
      {"suffix", kText, {"\"\"", "\"x\""}, {}},
      {"reasoning_effort",
       kChat,
       {"\"none\"", "\"minimal\"", "\"low\"", "\"medium\"", "\"high\""},
       {"\"max\"", "\"\""}},
      {"thinking",
       kChat,
       {"{\"type\":\"enabled\"}", "{\"type\":\"disabled\"}",
        "{\"type\":\"enabled\",\"budget_tokens\":0}"},
       {"{}", "{\"type\":\"auto\"}", "{\"type\":1}", "{\"type\":\"enabled\",\"budget_tokens\":-1}",
        "{\"type\":\"disabled\",\"budget_tokens\":5}"}},
      {"thinking_token_budget", kChat, {"-1", "0", "2147483647"}, {"-2", "2147483648"}},
      {"include_reasoning", kChat, {"true", "false"}, {}},
      {"parallel_tool_calls", kChat, {"true", "false"}, {}},
      {"add_generation_prompt", kChat, {"true", "false"}, {}},
      {"continue_final_message", kChat, {"true", "false"}, {}, "\"add_generation_prompt\":false"},
      {"chat_template_kwargs", kChat, {"{}", "{\"x\":1}"}, {"{\"tools\":1}"}},
      {"chat_template", kChat, {}, {"\"{{ messages }}\""}},
      {"documents", kChat, {"[]"}, {}},
      {"tool_choice", kChat, {"\"none\""}, {"\"auto\"", "\"required\"", "\"x\"", "{}"}},
      {"tools",
       kChat,
       {"[]", "[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{}}}]"},
       {"[1]", "[{}]", "[{\"type\":\"x\",\"function\":{\"name\":\"f\"}}]",
        "[{\"function\":{\"name\":\"a b\"}}]", "[{\"function\":{}}]",
        "[{\"function\":{\"name\":\"f\",\"parameters\":[]}}]"}},
      {"modalities", kChat, {"[\"text\"]"}, {"[\"audio\"]", "[1]"}},
  };
}

class EveryField : public testing::TestWithParam<uint8_t> {};

TEST_P(EveryField, BoundsAndTypes) {
  for (const Field& field : fields()) {
    if ((field.endpoints & GetParam()) == 0) continue;
    const auto with = [&](const std::string& value) {
      std::string members = field.beside.empty() ? "" : field.beside + ",";
      members.append("\"" + field.name + "\":").append(value);
      return parse(GetParam(), members);
    };
    for (const std::string& value : field.good) {
      const auto error = with(value);
      EXPECT_FALSE(error) << field.name << " = " << value << ": " << error->message;
    }
    EXPECT_FALSE(with("null")) << field.name << " = null";
    // A wrong type each: no field takes a nested array and a number both ways.
    std::vector<std::string> bad = field.bad;
    for (const char* wrong : {"[[[]]]", "1e309", "-1e400", "18446744073709551616"})
      bad.push_back(wrong);
    if (field.name != "seed" && field.name != "priority") bad.push_back("9007199254740993");
    for (const std::string& value : bad) {
      const auto error = with(value);
      ASSERT_TRUE(error) << field.name << " = " << value << " was taken";
      EXPECT_EQ(error->http, 400);
      EXPECT_FALSE(error->code.empty()) << field.name;
      EXPECT_EQ(error->param.substr(0, field.name.size()), field.name)
          << field.name << " = " << value << ": " << error->message;
      EXPECT_LT(error->message.size(), 400u);
    }
    const bool takes_text = field.name == "model" || field.name == "user" ||
                            field.name == "cache_salt" || field.name == "guided_json" ||
                            field.name == "guided_regex" || field.name == "guided_grammar";
    const auto huge = with("\"" + std::string(1u << 20, 'x') + "\"");
    if (field.name == "suffix") {  // As long as a prompt may be.
      EXPECT_FALSE(huge);
      continue;
    }
    ASSERT_TRUE(huge) << field.name << " takes a megabyte";
    EXPECT_LT(huge->message.size(), 400u) << field.name;
    if (!takes_text && field.name != "stop") {
      EXPECT_TRUE(with("\"1\"")) << field.name << " takes a string";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Endpoints, EveryField, testing::Values(kChat, kText),
                         [](const auto& endpoint) {
                           return endpoint.param == kChat ? "Chat" : "Text";
                         });

TEST(RequestFields, CountsAreBounded) {
  std::string stops = "\"stop\":[";
  for (int i = 0; i < 17; ++i) stops += i == 0 ? "\"a\"" : ",\"a\"";
  EXPECT_EQ(parse(kChat, stops + "]")->param, "stop");
  std::string biases = "\"logit_bias\":{";
  for (int i = 0; i < 1025; ++i) biases += (i == 0 ? "\"" : ",\"") + std::to_string(i) + "\":1";
  EXPECT_EQ(parse(kChat, biases + "}")->param, "logit_bias");
  std::string ids = "\"stop_token_ids\":[1";
  for (int i = 0; i < 128; ++i) ids += ",1";
  EXPECT_EQ(parse(kChat, ids + "]")->param, "stop_token_ids");
}

TEST(RequestFields, Refused) {
  for (const char* name : {"structural_tag", "bad_words", "allowed_token_ids", "logits_processors",
                           "truncate_prompt_tokens", "prompt_embeds", "kv_transfer_params"}) {
    const auto error = parse(kChat, "\"" + std::string(name) + "\":[1]");
    ASSERT_TRUE(error) << name;
    EXPECT_EQ(error->code, "unsupported_parameter");
    EXPECT_EQ(error->param, name);
  }
  EXPECT_EQ(parse(kText, "\"use_beam_search\":true")->param, "use_beam_search");
  EXPECT_FALSE(parse(kText, "\"use_beam_search\":false"));
  EXPECT_EQ(parse(kChat, "\"functions\":[]")->param, "functions");
}

TEST(RequestFields, Combinations) {
  EXPECT_EQ(parse(kChat, "\"top_logprobs\":1")->param, "top_logprobs");
  EXPECT_EQ(parse(kChat, "\"stream_options\":{}")->param, "stream_options");
  EXPECT_EQ(parse(kChat, "\"stream\":true,\"prompt_logprobs\":1")->param, "prompt_logprobs");
  EXPECT_EQ(parse(kChat, "\"min_tokens\":5,\"max_tokens\":4")->param, "min_tokens");
  EXPECT_EQ(parse(kText, "\"n\":3,\"best_of\":2")->param, "best_of");
  EXPECT_EQ(parse(kText, "\"best_of\":2,\"stream\":true")->param, "best_of");
  EXPECT_EQ(parse(kChat, "\"continue_final_message\":true")->param, "continue_final_message");
  EXPECT_FALSE(parse(kText, "\"max_tokens\":0,\"echo\":true"));
  EXPECT_EQ(parse(kChat,
                  "\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":1},"
                  "\"thinking_token_budget\":2")
                ->param,
            "thinking_token_budget");
}

TEST(RequestFields, DefaultsAreTheModels) {
  const auto chat = parse_chat_request(body_of(kChat, ""), context());
  ASSERT_TRUE(chat.ok());
  EXPECT_FLOAT_EQ(chat.value.common.sampling.temperature, 0.6f);
  EXPECT_FALSE(chat.value.common.max_tokens);
  EXPECT_FALSE(chat.value.common.seed);
  EXPECT_EQ(chat.value.common.sampling.logprobs, -1);
  const auto text = parse_completion_request(body_of(kText, ""), context());
  ASSERT_TRUE(text.ok());
  EXPECT_EQ(text.value.common.max_tokens, 16);
  const auto given =
      parse_chat_request(body_of(kChat, "\"temperature\":0,\"top_k\":-1"), context());
  EXPECT_FLOAT_EQ(given.value.common.sampling.temperature, 0.0f);
  EXPECT_EQ(given.value.common.sampling.top_k, 0);
}

}  // namespace
}  // namespace galley::api

// The description of the endpoints follows the code that parses.
#include "api/openapi.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <string>

#include "api/json_reader.h"

namespace galley::api {
namespace {

namespace json = boost::json;

json::value document() {
  ParseContext context;
  context.vocab_size = 100;
  return json::parse(openapi_document(context, "1.2"));
}

const json::object& schema(const json::value& document, const char* path) {
  return document.at("paths")
      .at(path)
      .at("post")
      .at("requestBody")
      .at("content")
      .at("application/json")
      .at("schema")
      .as_object();
}

TEST(OpenApi, FieldsHaveTheTypesAndBoundsTheyAreReadWith) {
  const json::value all = document();
  EXPECT_EQ(all.at("info").at("version").as_string(), "1.2");
  const json::object& chat = schema(all, "/v1/chat/completions");
  EXPECT_EQ(json::serialize(chat.at("required")), R"(["messages"])");
  const json::value& fields = chat.at("properties");
  EXPECT_EQ(json::serialize(fields.at("temperature")),
            R"({"type":["number","null"],"minimum":0E0,"maximum":2E0})");
  EXPECT_EQ(json::serialize(fields.at("stop_token_ids")),
            R"({"type":["array","null"],"items":{"type":"integer","minimum":0,"maximum":99},)"
            R"("maxItems":128})");
  EXPECT_EQ(json::serialize(fields.at("functions")), R"({"type":"null"})") << "refused";
  EXPECT_EQ(json::serialize(fields.at("thinking").at("properties").at("budget_tokens").at("type")),
            R"(["integer","null"])");
  const json::value& message = fields.at("messages").at("items").at("properties");
  EXPECT_TRUE(message.as_object().contains("tool_call_id"));
  EXPECT_EQ(
      json::serialize(message.at("content").at("items").at("properties").at("text").at("type")),
      R"(["string","null"])");
}

TEST(OpenApi, SaysWhatIsRequired) {
  const json::value all = document();
  const auto required = [&](const char* path) {
    const json::object& one = schema(all, path);
    return one.contains("required") ? json::serialize(one.at("required")) : "";
  };
  EXPECT_EQ(required("/v1/messages"), R"(["max_tokens","messages"])");
  EXPECT_EQ(required("/v1/responses"), R"(["input"])");
  EXPECT_EQ(required("/v1/completions"), R"(["prompt"])");
  EXPECT_EQ(required("/detokenize"), R"(["tokens"])");
  EXPECT_EQ(required("/api/chat"), "");
}

TEST(OpenApi, WhatStreamsSaysHow) {
  const json::value all = document();
  const auto kinds = [&](const char* path) {
    std::string out;
    const json::value& ok = all.at("paths").at(path).at("post").at("responses").at("200");
    for (const auto& kind : ok.at("content").as_object()) out += std::string(kind.key()) + " ";
    return out;
  };
  for (const char* path : {"/v1/chat/completions", "/v1/messages", "/v1/responses"})
    EXPECT_EQ(kinds(path), "application/json text/event-stream ") << path;
  EXPECT_EQ(kinds("/api/chat"), "application/json application/x-ndjson ");
  EXPECT_EQ(kinds("/tokenize"), "application/json ");
}

TEST(OpenApi, NobodyListensAfterwards) {
  document();
  const json::object body{{"a", 1}};
  FieldReader reader(body);
  EXPECT_NE(reader.find("a"), nullptr);
}

}  // namespace
}  // namespace galley::api

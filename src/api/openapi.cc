#include "api/openapi.h"

#include <functional>
#include <span>
#include <string_view>
#include <utility>

#include "api/anthropic.h"
#include "api/chat.h"
#include "api/completions.h"
#include "api/ollama.h"
#include "api/responses.h"
#include "api/tokenize.h"
#include "base/check.h"

namespace galley::api {
namespace json = boost::json;
namespace {

// Whether the parser takes the body.
using Takes = bool (*)(std::string_view body, const ParseContext& context);

template <auto kParse>
bool takes(std::string_view body, const ParseContext& context) {
  return kParse(body, context).ok();
}

struct Endpoint {
  const char* path;
  const char* summary;
  Takes takes;
  // A request that is taken and has every nested object there is, so that its reader is heard.
  const char* sample;
};

constexpr const char* kFunction =
    R"({"type":"function","function":{"name":"f","description":"d","parameters":{}}})";

constexpr Endpoint kEndpoints[] = {
    {"/v1/chat/completions", "Answers a conversation", takes<parse_chat_request>,
     R"({"messages":[{"role":"user","name":"n","content":[{"type":"text","text":"x"}]},
         {"role":"assistant","content":"x","reasoning_content":"y","tool_calls":[
           {"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]},
         {"role":"tool","content":"x","tool_call_id":"c"}],
         "tools":[FUNCTION],"thinking":{"type":"enabled","budget_tokens":1},
         "stream":true,"stream_options":{"include_usage":true},"response_format":{"type":"text"}})"},
    {"/v1/completions", "Continues text or token ids", takes<parse_completion_request>,
     R"({"prompt":"x","stream":true,"stream_options":{"include_usage":true}})"},
    {"/v1/responses", "Answers input items", takes<parse_responses_request>,
     R"({"input":[{"type":"message","role":"user","content":[{"type":"input_text","text":"x"}]},
         {"type":"function_call","call_id":"c","name":"f","arguments":"{}"},
         {"type":"function_call_output","call_id":"c","output":"x"}],
         "tools":[{"type":"function","name":"f","description":"d","parameters":{}}],
         "reasoning":{"effort":"low"},"text":{"format":{"type":"text"}}})"},
    {"/v1/messages", "Answers a conversation, as Anthropic does", takes<parse_messages_request>,
     R"({"max_tokens":1,"messages":[{"role":"user","content":[{"type":"text","text":"x"}]}],
         "thinking":{"type":"enabled","budget_tokens":1},"tool_choice":{"type":"auto"},
         "tools":[{"type":"custom","name":"f","description":"d","input_schema":{}}]})"},
    {"/v1/messages/count_tokens", "Counts the tokens of a conversation",
     takes<parse_count_tokens_request>,
     R"({"messages":[{"role":"user","content":[{"type":"text","text":"x"}]}]})"},
    {"/api/chat", "Answers a conversation, as Ollama does", takes<parse_ollama_chat>,
     R"({"messages":[{"role":"assistant","content":"x","thinking":"y","tool_calls":[
           {"function":{"name":"f","arguments":{}}}]}],"tools":[FUNCTION],"options":{}})"},
    {"/api/generate", "Continues a prompt, as Ollama does", takes<parse_ollama_generate>,
     R"({"prompt":"x","options":{}})"},
    {"/tokenize", "Text to token ids", takes<parse_tokenize_request>, R"({"prompt":"x"})"},
    {"/detokenize", "Token ids to text", takes<parse_detokenize_request>, R"({"tokens":[0]})"},
};

struct Page {
  const char* path;
  const char* summary;
};
constexpr Page kPages[] = {{"/v1/models", "The served names"},
                           {"/api/tags", "The served names, as Ollama lists them"},
                           {"/health", "200 while the process answers"},
                           {"/ready", "200 when requests are taken"},
                           {"/version", "The version of the program"}};

std::string sample_of(const Endpoint& endpoint) {
  std::string text = endpoint.sample;
  constexpr std::string_view kMark = "FUNCTION";
  if (const size_t at = text.find(kMark); at != std::string::npos)
    text.replace(at, kMark.size(), kFunction);
  return text;
}

// Grows one schema from the fields it hears of.
class SchemaListener : public FieldListener {
 public:
  void field(const std::string& name, json::object schema) override {
    json::object* node = &root;
    for (size_t at = 0; at < name.size();) {
      const size_t end = std::min(name.find_first_of(".[", at), name.size());
      node = &child(*node, "properties", std::string_view(name).substr(at, end - at));
      at = end;
      while (at < name.size() && name[at] == '[') {  // [0] and [1] are the same
        if (!node->contains("items")) (*node)["items"] = json::object();
        node = &(*node)["items"].get_object();
        at = std::min(name.find(']', at), name.size() - 1) + 1;
      }
      if (at < name.size()) ++at;  // the point
    }
    for (auto& [key, value] : schema) {
      if (node->contains(key) && node->at(key) != value) {
        // Read in two ways: what both take is not known here.
        node->erase(key);
      } else {
        (*node)[key] = value;
      }
    }
  }

  json::object root{{"type", "object"}};

 private:
  static json::object& child(json::object& node, const char* group, std::string_view name) {
    if (!node.contains(group)) node[group] = json::object();
    json::object& children = node[group].get_object();
    const json::string_view key(name.data(), name.size());
    if (!children.contains(key)) children[key] = json::object();
    return children[key].get_object();
  }
};

json::object schema_of(const Endpoint& endpoint, const ParseContext& context) {
  const std::string sample = sample_of(endpoint);
  json::object schema;
  {
    SchemaListener listener;
    GALLEY_CHECK(endpoint.takes(sample, context), "the sample of an endpoint is a good request");
    schema = std::move(listener.root);
  }
  // What cannot be left out is required.
  json::array required;
  const json::value parsed = json::parse(sample);
  for (const auto& field : parsed.get_object()) {
    json::object without = parsed.get_object();
    without.erase(field.key());
    if (field.key() == "stream") without.erase("stream_options");
    if (!endpoint.takes(json::serialize(without), context)) required.emplace_back(field.key());
  }
  if (!required.empty()) schema["required"] = std::move(required);
  return schema;
}

json::object operation(const char* summary) {
  const json::object any{{"content", {{"application/json", {{"schema", json::object()}}}}}};
  json::object ok = any, failed = any;
  ok["description"] = "The answer";
  failed["description"] = "An error: see its message";
  return {{"summary", summary}, {"responses", {{"200", ok}, {"default", failed}}}};
}

}  // namespace

std::string openapi_document(const ParseContext& context, const std::string& version) {
  json::object paths;
  for (const Endpoint& endpoint : kEndpoints) {
    json::object post = operation(endpoint.summary);
    json::object schema = schema_of(endpoint, context);
    const json::value* properties = schema.if_contains("properties");
    if (properties != nullptr && properties->as_object().contains("stream")) {
      const bool lines = std::string_view(endpoint.path).starts_with("/api/");  // Ollama's
      post.at("responses")
          .at("200")
          .at("content")
          .as_object()[lines ? "application/x-ndjson" : "text/event-stream"] = {
          {"schema", json::object()}};
    }
    post["requestBody"] = {{"required", true},
                           {"content", {{"application/json", {{"schema", std::move(schema)}}}}}};
    paths[endpoint.path] = {{"post", std::move(post)}};
  }
  for (const Page& page : kPages) paths[page.path] = {{"get", operation(page.summary)}};
  const json::object document{
      {"openapi", "3.1.0"},
      {"info", {{"title", "Galley"}, {"version", version}}},
      {"paths", std::move(paths)},
      {"security", json::array{json::object{{"key", json::array()}}}},
      {"components", {{"securitySchemes", {{"key", {{"type", "http"}, {"scheme", "bearer"}}}}}}}};
  return json::serialize(document);
}

}  // namespace galley::api

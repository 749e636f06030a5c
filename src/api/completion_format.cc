#include <algorithm>

#include "api/format.h"
#include "api/format_parts.h"

namespace galley::api {
namespace {

constexpr std::string_view kObject = "text_completion";

// OpenAI's four parallel arrays. The first token of a prompt has no log-probability: null.
class LogprobArrays {
 public:
  LogprobArrays(bool as_id, int64_t offset) : as_id_(as_id), offset_(offset) {}

  void add_prompt(const PromptInfo& prompt) {
    for (size_t i = 0; i < prompt.tokens.size(); ++i) {
      if (i == 0 || i > prompt.logprobs.size()) {
        add_name(prompt.tokens[i].bytes, prompt.tokens[i].token);
        logprobs_.null();
        top_.null();
      } else {
        add(prompt.logprobs[i - 1]);
      }
    }
  }

  void add(const TokenLogprob& token) {
    add_name(token.bytes, token.token);
    logprobs_.number(token.logprob);
    top_.begin_object();
    bool own = false;
    for (const TopLogprob& top : token.top) {
      top_.key(token_name(top.bytes, top.token, as_id_)).number(top.logprob);
      own = own || top.token == token.token;
    }
    if (!own) top_.key(token_name(token.bytes, token.token, as_id_)).number(token.logprob);
    top_.end_object();
  }

  void write(JsonWriter& json) {
    json.begin_object();
    json.key("text_offset").begin_array().raw_items(offsets_.text()).end_array();
    json.key("token_logprobs").begin_array().raw_items(logprobs_.text()).end_array();
    json.key("tokens").begin_array().raw_items(tokens_.text()).end_array();
    json.key("top_logprobs").begin_array().raw_items(top_.text()).end_array();
    json.end_object();
  }

  int64_t offset() const { return offset_; }

 private:
  void add_name(const std::string& bytes, int32_t token) {
    tokens_.string(token_name(bytes, token, as_id_));
    offsets_.integer(offset_);
    offset_ += count_characters(bytes);
  }

  const bool as_id_;
  int64_t offset_;
  JsonWriter tokens_, logprobs_, top_, offsets_;
};

void write_logprobs(JsonWriter& json, const ResponseOptions& options, const PromptInfo* prompt,
                    const std::vector<TokenLogprob>* answer, int64_t offset) {
  json.key("logprobs");
  if (!options.logprobs) {
    json.null();
    return;
  }
  LogprobArrays arrays(options.tokens_as_token_ids, offset);
  if (prompt != nullptr) arrays.add_prompt(*prompt);
  if (answer != nullptr)
    for (const TokenLogprob& token : *answer) arrays.add(token);
  arrays.write(json);
}

std::string end_chunk(JsonWriter& json, const ResponseOptions& options, const Usage& usage) {
  if (options.continuous_usage) {
    write_usage(json, usage);
  } else if (options.include_usage) {
    json.key("usage").null();
  }
  json.end_object();
  return json.take();
}

}  // namespace

int64_t count_characters(std::string_view text) {
  return std::count_if(text.begin(), text.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xC0u) != 0x80u; });
}

std::string completion_response(const ResponseHead& head, const ResponseOptions& options,
                                const std::vector<Choice>& choices,
                                const std::vector<PromptInfo>& prompts, const Echo& echo,
                                const Usage& usage) {
  const size_t n = std::max<size_t>(1, choices.size() / std::max<size_t>(1, prompts.size()));
  JsonWriter json;
  json.begin_object();
  write_head(json, head, kObject);
  json.key("choices").begin_array();
  for (size_t i = 0; i < choices.size(); ++i) {
    const Choice& choice = choices[i];
    const PromptInfo& prompt = prompts[i / n];
    json.begin_object();
    json.key("index").integer(static_cast<int64_t>(i));
    std::string text = echo.echo ? prompt.text : std::string();
    if (!echo.only) text += choice.content;
    json.key("text").string(text);
    write_logprobs(json, options, echo.echo ? &prompt : nullptr,
                   echo.only ? nullptr : &choice.logprobs, 0);
    write_finish(json, echo.only ? Finish::kLength : choice.finish, choice.stop_text,
                 choice.stop_token);
    if (options.prompt_logprobs) write_prompt_logprobs(json, prompt);
    if (options.token_ids) {
      write_ids(json, "token_ids", echo.only ? std::vector<int32_t>() : choice.token_ids);
      write_ids(json, "prompt_token_ids", prompt.token_ids);
    }
    json.end_object();
  }
  json.end_array();
  write_usage(json, usage);
  json.end_object();
  return json.take();
}

std::string completion_chunk(const ResponseHead& head, const ResponseOptions& options,
                             const Delta& delta, const PromptInfo* prompt, int64_t& text_offset) {
  const bool logprobs = options.logprobs && !delta.logprobs.empty();
  const bool token_ids = options.token_ids && !delta.token_ids.empty();
  if (delta.content.empty() && !logprobs && !token_ids && delta.finish == Finish::kNone) return {};
  JsonWriter json;
  json.begin_object();
  write_head(json, head, kObject);
  json.key("choices").begin_array().begin_object();
  json.key("index").integer(delta.choice);
  json.key("text").string(delta.content);
  ResponseOptions shown = options;
  shown.logprobs = logprobs;
  write_logprobs(json, shown, nullptr, &delta.logprobs, text_offset);
  for (const TokenLogprob& token : delta.logprobs) text_offset += count_characters(token.bytes);
  write_finish(json, delta.finish, delta.stop_text, delta.stop_token);
  if (options.token_ids) {
    write_ids(json, "token_ids", delta.token_ids);
    if (prompt != nullptr) write_ids(json, "prompt_token_ids", prompt->token_ids);
  }
  json.end_object().end_array();
  return end_chunk(json, options, delta.usage);
}

std::string completion_echo_chunk(const ResponseHead& head, const ResponseOptions& options,
                                  int32_t choice, const PromptInfo& prompt, int64_t& text_offset) {
  JsonWriter json;
  json.begin_object();
  write_head(json, head, kObject);
  json.key("choices").begin_array().begin_object();
  json.key("index").integer(choice);
  json.key("text").string(prompt.text);
  write_logprobs(json, options, &prompt, nullptr, 0);
  text_offset = count_characters(prompt.text);
  write_finish(json, Finish::kNone, "", -1);
  json.end_object().end_array();
  return end_chunk(json, options, {});
}

std::string completion_usage_chunk(const ResponseHead& head, const Usage& usage) {
  JsonWriter json;
  json.begin_object();
  write_head(json, head, kObject);
  json.key("choices").begin_array().end_array();
  write_usage(json, usage);
  json.end_object();
  return json.take();
}

}  // namespace galley::api

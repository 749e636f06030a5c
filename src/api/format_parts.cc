#include "api/format_parts.h"

namespace galley::api {

void write_head(JsonWriter& json, const ResponseHead& head, std::string_view object) {
  json.key("id").string(head.id);
  json.key("object").string(object);
  json.key("created").integer(head.created_s);
  json.key("model").string(head.model);
  json.key("system_fingerprint").string(head.fingerprint);
}

void write_usage(JsonWriter& json, const Usage& usage) {
  json.key("usage").begin_object();
  json.key("prompt_tokens").integer(usage.prompt_tokens);
  json.key("completion_tokens").integer(usage.completion_tokens);
  json.key("total_tokens").integer(int64_t{usage.prompt_tokens} + usage.completion_tokens);
  json.key("prompt_tokens_details").begin_object();
  json.key("cached_tokens").integer(usage.cached_tokens).end_object();
  json.key("completion_tokens_details").begin_object();
  json.key("reasoning_tokens").integer(usage.reasoning_tokens).end_object();
  json.key("prompt_cache_hit_tokens").integer(usage.cached_tokens);
  json.key("prompt_cache_miss_tokens").integer(usage.prompt_tokens - usage.cached_tokens);
  json.end_object();
}

void write_finish(JsonWriter& json, Finish finish, const std::string& stop_text,
                  int32_t stop_token) {
  json.key("finish_reason");
  finish == Finish::kNone ? json.null() : json.string(finish_name(finish));
  json.key("stop_reason");
  if (!stop_text.empty()) {
    json.string(stop_text);
  } else if (stop_token >= 0) {
    json.integer(stop_token);
  } else {
    json.null();
  }
}

void write_ids(JsonWriter& json, std::string_view key, const std::vector<int32_t>& ids) {
  json.key(key).begin_array();
  for (const int32_t id : ids) json.integer(id);
  json.end_array();
}

void write_prompt_logprobs(JsonWriter& json, const PromptInfo& prompt) {
  const auto entry = [&](const std::string& bytes, int32_t token, float logprob, int64_t rank) {
    json.key(std::to_string(token)).begin_object();
    json.key("logprob").number(logprob);
    json.key("rank").integer(rank);
    json.key("decoded_token").string(bytes).end_object();
  };
  json.key("prompt_logprobs").begin_array().null();
  for (const TokenLogprob& token : prompt.logprobs) {
    json.begin_object();
    entry(token.bytes, token.token, token.logprob, token.rank);
    int64_t rank = 0;
    for (const TopLogprob& top : token.top) {
      ++rank;
      if (top.token != token.token) entry(top.bytes, top.token, top.logprob, rank);
    }
    json.end_object();
  }
  json.end_array();
}

std::string token_name(const std::string& bytes, int32_t token, bool as_id) {
  return as_id ? "token_id:" + std::to_string(token) : bytes;
}

}  // namespace galley::api

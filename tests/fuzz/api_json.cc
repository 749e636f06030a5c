// Fuzzes the request parsers. Whatever is taken is within its bounds; whatever is refused is said
// in valid JSON.
#include <boost/json.hpp>
#include <cstdint>
#include <string_view>

#include "api/anthropic.h"
#include "api/chat.h"
#include "api/completions.h"
#include "api/errors.h"
#include "api/ollama.h"
#include "api/responses.h"
#include "api/tokenize.h"
#include "base/check.h"

namespace galley::api {
namespace {

constexpr int32_t kVocab = 1000;

void check_error(const std::optional<Error>& error) {
  if (!error) return;
  GALLEY_CHECK(error->http == 400 && !error->code.empty(), "a refusal has a code");
  GALLEY_CHECK(error->message.size() < 1000, "a message does not repeat the request");
  boost::json::error_code failure;
  boost::json::parse(error_body(*error), failure);
  GALLEY_CHECK(!failure, "an error is valid JSON");
}

void check_common(const CommonFields& common, const Limits& limits) {
  const engine::SamplingParams& s = common.sampling;
  GALLEY_CHECK(s.temperature >= 0 && s.temperature <= 2, "temperature");
  GALLEY_CHECK(s.top_p > 0 && s.top_p <= 1, "top_p");
  GALLEY_CHECK(s.min_p >= 0 && s.min_p <= 1, "min_p");
  GALLEY_CHECK(s.top_k >= 0, "top_k");
  GALLEY_CHECK(s.repetition_penalty > 0 && s.repetition_penalty <= 2, "repetition_penalty");
  GALLEY_CHECK(s.logprobs >= -1 && s.logprobs <= limits.logprobs_max, "logprobs");
  GALLEY_CHECK(s.prompt_logprobs >= -1 && s.prompt_logprobs <= limits.logprobs_max, "logprobs");
  GALLEY_CHECK(common.n >= 1 && common.n <= limits.choices_max, "n");
  GALLEY_CHECK(!common.max_tokens || *common.max_tokens >= s.min_tokens || *common.max_tokens == 0,
               "min_tokens");
  GALLEY_CHECK(common.stop.size() <= limits.stop_max, "stop");
  for (const auto& [token, bias] : s.logit_bias)
    GALLEY_CHECK(token >= 0 && token < kVocab && bias >= -100 && bias <= 100, "logit_bias");
  for (const int32_t token : s.stop_token_ids)
    GALLEY_CHECK(token >= 0 && token < kVocab, "stop_token_ids");
}

void check_chat(const ChatRequest& chat, const Limits& limits) {
  check_common(chat.common, limits);
  GALLEY_CHECK(!chat.messages.empty(), "a chat has a message");
  GALLEY_CHECK(!chat.common.max_tokens || *chat.common.max_tokens >= 1, "tokens");
  GALLEY_CHECK(chat.thinking.budget_tokens.value_or(0) >= 0, "budget");
}

void check_completion(const CompletionRequest& completion, const Limits& limits) {
  check_common(completion.common, limits);
  GALLEY_CHECK(!completion.prompts.empty(), "a completion has a prompt");
  GALLEY_CHECK(completion.best_of >= completion.common.n, "best_of");
}

void check_ollama(const Parsed<OllamaRequest>& asked, const Limits& limits) {
  check_error(asked.error);
  if (!asked.ok() || asked.value.load_only) return;
  if (const auto* chat = std::get_if<ChatRequest>(&asked.value.asked))
    check_chat(*chat, limits);
  else
    check_completion(std::get<CompletionRequest>(asked.value.asked), limits);
}

void check(std::string_view body) {
  ParseContext context;
  context.vocab_size = kVocab;
  const auto chat = parse_chat_request(body, context);
  check_error(chat.error);
  if (chat.ok()) check_chat(chat.value, context.limits);
  const auto messages = parse_messages_request(body, context);
  check_error(messages.error);
  if (messages.ok()) {
    check_chat(messages.value.chat, context.limits);
    GALLEY_CHECK(messages.value.chat.common.max_tokens.has_value(), "max_tokens is required");
    GALLEY_CHECK(parse_count_tokens_request(body, context).ok(), "what is answered can be counted");
  } else {
    boost::json::error_code failure;
    boost::json::parse(anthropic_error(*messages.error, "id"), failure);
    GALLEY_CHECK(!failure, "an error is valid JSON");
  }
  check_error(parse_count_tokens_request(body, context).error);
  const auto responses = parse_responses_request(body, context);
  check_error(responses.error);
  if (responses.ok()) {
    check_common(responses.value.chat.common, context.limits);
    GALLEY_CHECK(responses.value.chat.thinking.budget_tokens.value_or(0) >= 0, "budget");
  }
  const auto completion = parse_completion_request(body, context);
  check_error(completion.error);
  if (completion.ok()) check_completion(completion.value, context.limits);
  check_ollama(parse_ollama_chat(body, context), context.limits);
  check_ollama(parse_ollama_generate(body, context), context.limits);
  check_error(parse_tokenize_request(body, context).error);
  const auto detokenize = parse_detokenize_request(body, context);
  check_error(detokenize.error);
  for (const int32_t token : detokenize.value.tokens)
    GALLEY_CHECK(token >= 0 && token < kVocab, "tokens");
}

}  // namespace
}  // namespace galley::api

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  galley::api::check({reinterpret_cast<const char*>(data), size});
  return 0;
}

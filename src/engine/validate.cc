// The checks of EngineOptions and Request: each names the field, its value and what it may be.
#include <algorithm>
#include <string>

#include "engine/engine.h"
#include "text/grammar.h"

namespace galley::engine {
namespace {

std::string number(double value) {
  std::string text = std::to_string(value);
  if (text.find('.') != std::string::npos) {
    text.erase(text.find_last_not_of('0') + 1);
    if (text.back() == '.') text.pop_back();
  }
  return text;
}

Status out_of_range(const char* field, double value, const std::string& range) {
  return Status(Code::kInvalid,
                std::string(field) + " is " + number(value) + ", it must be " + range);
}

// NaN is in no range: every comparison with it is false.
Status check_range(const char* field, double value, double low, double high) {
  if (value >= low && value <= high) return Status();
  return out_of_range(field, value, "between " + number(low) + " and " + number(high));
}

// (0, high]
Status check_above_zero(const char* field, double value, double high) {
  if (value > 0.0 && value <= high) return Status();
  return out_of_range(field, value, "above 0 and at most " + number(high));
}

Status check_size(const char* field, size_t size, int32_t size_max) {
  if (size <= static_cast<size_t>(size_max)) return Status();
  return Status(Code::kTooLarge, std::string(field) + " has " + std::to_string(size) +
                                     " entries, the limit is " + std::to_string(size_max));
}

Status check_token(const char* field, int32_t token, const RunnerInfo& runner) {
  if (token >= 0 && token < runner.vocab_size) return Status();
  return Status(Code::kInvalid, std::string(field) + " holds token id " + std::to_string(token) +
                                    ", the vocabulary has ids 0 to " +
                                    std::to_string(runner.vocab_size - 1));
}

Status validate_sampling(const SamplingParams& sampling, const EngineLimits& limits,
                         const RunnerInfo& runner) {
  GALLEY_RETURN_IF_ERROR(check_range("temperature", sampling.temperature, 0.0, 1e6));
  GALLEY_RETURN_IF_ERROR(check_above_zero("top_p", sampling.top_p, 1.0));
  GALLEY_RETURN_IF_ERROR(check_range("min_p", sampling.min_p, 0.0, 1.0));
  if (sampling.top_k < 0) return out_of_range("top_k", sampling.top_k, "0 (all) or more");
  GALLEY_RETURN_IF_ERROR(check_range("presence_penalty", sampling.presence_penalty, -2.0, 2.0));
  GALLEY_RETURN_IF_ERROR(check_range("frequency_penalty", sampling.frequency_penalty, -2.0, 2.0));
  GALLEY_RETURN_IF_ERROR(check_above_zero("repetition_penalty", sampling.repetition_penalty, 2.0));
  if (sampling.max_tokens < 1) return out_of_range("max_tokens", sampling.max_tokens, "1 or more");
  GALLEY_RETURN_IF_ERROR(check_range("min_tokens", sampling.min_tokens, 0, sampling.max_tokens));
  GALLEY_RETURN_IF_ERROR(check_range("logprobs", sampling.logprobs, -1, kernels::kLogprobsMax));
  GALLEY_RETURN_IF_ERROR(
      check_range("prompt_logprobs", sampling.prompt_logprobs, -1, kernels::kLogprobsMax));
  GALLEY_RETURN_IF_ERROR(
      check_size("stop_token_ids", sampling.stop_token_ids.size(), limits.stop_tokens_max));
  for (const int32_t token : sampling.stop_token_ids)
    GALLEY_RETURN_IF_ERROR(check_token("stop_token_ids", token, runner));
  GALLEY_RETURN_IF_ERROR(
      check_size("logit_bias", sampling.logit_bias.size(), limits.logit_bias_max));
  for (const auto& [token, bias] : sampling.logit_bias) {
    GALLEY_RETURN_IF_ERROR(check_token("logit_bias", token, runner));
    GALLEY_RETURN_IF_ERROR(check_range("logit_bias", bias, -100.0, 100.0));
  }
  return Status();
}

Status validate_thinking(const ThinkingLimit& thinking, const EngineLimits& limits,
                         const RunnerInfo& runner) {
  if (thinking.budget < -1)
    return out_of_range("thinking budget", thinking.budget, "-1 (no limit), 0 or more");
  GALLEY_RETURN_IF_ERROR(
      check_size("thinking close", thinking.close.size(), limits.close_tokens_max));
  for (const int32_t token : thinking.close)
    GALLEY_RETURN_IF_ERROR(check_token("thinking close", token, runner));
  if (thinking.budget >= 0 &&
      (thinking.end < 0 || std::ranges::find(thinking.close, thinking.end) == thinking.close.end()))
    return Status(Code::kInvalid, "a thinking budget needs close tokens that hold the end token (" +
                                      std::to_string(thinking.end) +
                                      "): this model has no way to end a thought");
  return Status();
}

}  // namespace

Status validate(const EngineOptions& options, const RunnerInfo& runner) {
  const EngineLimits& limits = options.limits;
  if (runner.num_blocks < 1)
    return Status(Code::kInvalid, "the KV cache has no blocks: give it more memory");
  GALLEY_RETURN_IF_ERROR(check_range("block_tokens", runner.block_tokens, 1, 256));
  GALLEY_RETURN_IF_ERROR(check_range("max-num-queued-reqs", limits.requests_max, 1, 1 << 20));
  GALLEY_RETURN_IF_ERROR(
      check_range("max-num-seqs", limits.batch_requests_max, 1, runner.step_requests_max));
  GALLEY_RETURN_IF_ERROR(check_range("max-num-batched-tokens", limits.step_tokens_max,
                                     limits.batch_requests_max, runner.step_tokens_max));
  GALLEY_RETURN_IF_ERROR(check_range("stop_tokens_max", limits.stop_tokens_max, 0, 1 << 16));
  GALLEY_RETURN_IF_ERROR(check_range("logit_bias_max", limits.logit_bias_max, 0, 1 << 20));
  GALLEY_RETURN_IF_ERROR(check_range("close_tokens_max", limits.close_tokens_max, 0, 1 << 12));
  GALLEY_RETURN_IF_ERROR(
      check_range("priority_step_ms", static_cast<double>(limits.priority_step_ms), 0, 1e9));
  GALLEY_RETURN_IF_ERROR(check_range("num_speculative_tokens", options.drafts, 0,
                                     std::min(runner.drafts_max, kDraftsMax)));
  for (const int32_t token : options.eos_tokens)
    GALLEY_RETURN_IF_ERROR(check_token("eos_token_id", token, runner));
  return Status();
}

Status validate(const Request& request, const EngineLimits& limits, const RunnerInfo& runner) {
  if (request.prompt.empty()) return Status(Code::kInvalid, "the prompt has no tokens");
  GALLEY_RETURN_IF_ERROR(validate_sampling(request.sampling, limits, runner));
  GALLEY_RETURN_IF_ERROR(validate_thinking(request.thinking, limits, runner));

  if (request.grammar != nullptr &&
      request.grammar->vocabulary().vocab_size() != runner.vocab_size)
    return Status(Code::kInvalid,
                  "grammar is for " + std::to_string(request.grammar->vocabulary().vocab_size()) +
                      " tokens, the model has " + std::to_string(runner.vocab_size));

  const auto num_tokens = static_cast<int64_t>(request.prompt.size()) + request.sampling.max_tokens;
  const std::string asked = std::to_string(request.prompt.size()) +
                            " prompt tokens and max_tokens " +
                            std::to_string(request.sampling.max_tokens);
  if (num_tokens > runner.context_max)
    return Status(Code::kTooLarge, asked + " exceed the context of " +
                                       std::to_string(runner.context_max) +
                                       " tokens: shorten the prompt or lower max_tokens");
  // The last token needs no row.
  const int64_t rows_max = int64_t{runner.num_blocks} * runner.block_tokens;
  if (num_tokens - 1 > rows_max)
    return Status(Code::kTooLarge, asked + " exceed the KV cache of " + std::to_string(rows_max) +
                                       " tokens: shorten the prompt or lower max_tokens");
  for (const int32_t token : request.prompt)
    GALLEY_RETURN_IF_ERROR(check_token("prompt", token, runner));
  return Status();
}

}  // namespace galley::engine

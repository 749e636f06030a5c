#include "engine/output_rules.h"

#include <algorithm>

namespace galley::engine {

OutputRules::OutputRules(const Request& request, std::span<const int32_t> eos_tokens)
    : end_tokens_(request.sampling.stop_token_ids),
      max_tokens_(request.sampling.max_tokens),
      min_tokens_(request.sampling.min_tokens),
      has_grammar_(request.grammar != nullptr),
      thinking_(request.thinking),
      thinking_open_(request.thinking.open_at_start) {
  if (!request.sampling.ignore_eos || has_grammar_)
    end_tokens_.insert(end_tokens_.end(), eos_tokens.begin(), eos_tokens.end());
}

OutputRules::Verdict OutputRules::add(int32_t token) {
  num_tokens_ += 1;
  track_thinking(token);
  if ((num_tokens_ > min_tokens_ || has_grammar_) &&
      std::ranges::find(end_tokens_, token) != end_tokens_.end())
    return {.finish = FinishReason::kStop, .stop_token = token};
  if (num_tokens_ == max_tokens_) return {.finish = FinishReason::kLength};
  return {.closes_thinking = thought_is_over()};
}

OutputRules::Verdict OutputRules::add_forced(int32_t token) {
  num_tokens_ += 1;
  track_thinking(token);
  return {.finish = num_tokens_ == max_tokens_ ? FinishReason::kLength : FinishReason::kNone};
}

void OutputRules::track_thinking(int32_t token) {
  if (token == thinking_.end) {
    thinking_open_ = false;
  } else if (thinking_open_) {
    num_thought_ += 1;
  } else if (token == thinking_.begin) {
    thinking_open_ = true;
  }
}

std::span<const int32_t> OutputRules::banned() const {
  if (num_tokens_ >= min_tokens_) return {};
  return end_tokens_;
}

int32_t OutputRules::drafts_max() const {
  const int32_t until_end = max_tokens_ - num_tokens_ - 1;
  if (num_tokens_ >= min_tokens_) return until_end;
  return std::min(until_end, min_tokens_ - num_tokens_ - 1);
}

}  // namespace galley::engine

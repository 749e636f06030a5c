// OutputRules: judges one request's output, token by token: when it ends, which tokens are banned
// now, and when its thought is over. Pure; engine thread only.
//
// Order of the rules for a token
//   1. an end token (end of text unless ignore_eos, stop_token_ids) ends it: kStop
//   2. the max_tokens'th token ends it: kLength
//   3. inside a thought, the budget's last token closes it
// Below min_tokens end tokens are banned, so rule 1 cannot apply; where a grammar leaves nothing
// but to end, it does all the same. Tokens of a forced close are judged by rule 2 only.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/request.h"

namespace galley::engine {

class OutputRules {
 public:
  OutputRules() = default;
  // `request` passes validate(). What is needed of it is copied.
  OutputRules(const Request& request, std::span<const int32_t> eos_tokens);

  struct Verdict {
    FinishReason finish = FinishReason::kNone;
    int32_t stop_token = -1;
    bool closes_thinking = false;  // append close_tokens(), one add_forced() each
  };
  Verdict add(int32_t token);
  Verdict add_forced(int32_t token);
  // The thought has no budget at all: close before anything is sampled.
  bool closes_at_start() const { return thought_is_over(); }
  std::span<const int32_t> close_tokens() const { return thinking_.close; }

  int32_t num_tokens() const { return num_tokens_; }
  // For the row that samples now, and for those of up to drafts_max() drafts after it.
  std::span<const int32_t> banned() const;
  // Drafts that make sense now: no row of them comes after the last token, and none has other
  // banned tokens than the first.
  int32_t drafts_max() const;

 private:
  void track_thinking(int32_t token);
  bool thought_is_over() const {
    return thinking_open_ && thinking_.budget >= 0 && num_thought_ >= thinking_.budget;
  }

  std::vector<int32_t> end_tokens_;
  int32_t max_tokens_ = 0;
  int32_t min_tokens_ = 0;
  bool has_grammar_ = false;  // an end token comes when the form leaves nothing else
  ThinkingLimit thinking_;
  bool thinking_open_ = false;
  int32_t num_thought_ = 0;  // tokens of thought, all thoughts together
  int32_t num_tokens_ = 0;
};

}  // namespace galley::engine

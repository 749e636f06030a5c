#include "api/answer.h"

#include <iterator>
#include <limits>
#include <utility>

namespace galley::api {
namespace {

template <typename T>
void move_append(std::vector<T>& to, std::vector<T>&& from) {
  to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
}

}  // namespace

const char* finish_name(Finish finish) {
  switch (finish) {
    case Finish::kNone:
      return "";
    case Finish::kStop:
      return "stop";
    case Finish::kLength:
      return "length";
    case Finish::kToolCalls:
      return "tool_calls";
    case Finish::kError:
      return "error";
  }
  return "";
}

void Choice::append(Delta&& delta) {
  content += delta.content;
  reasoning += delta.reasoning;
  for (ToolCallDelta& piece : delta.tool_calls) {
    if (tool_calls.empty() || tool_calls.back().index != piece.index) {
      tool_calls.push_back(std::move(piece));
    } else {
      tool_calls.back().arguments += piece.arguments;
    }
  }
  move_append(logprobs, std::move(delta.logprobs));
  token_ids.insert(token_ids.end(), delta.token_ids.begin(), delta.token_ids.end());
  usage = delta.usage;
  if (delta.finish == Finish::kNone) return;
  finish = delta.finish;
  stop_text = std::move(delta.stop_text);
  stop_token = delta.stop_token;
}

double Choice::mean_logprob() const {
  if (logprobs.empty()) return -std::numeric_limits<double>::infinity();
  double sum = 0;
  for (const TokenLogprob& token : logprobs) sum += static_cast<double>(token.logprob);
  return sum / static_cast<double>(logprobs.size());
}

Usage sum_usage(const std::vector<Choice>& choices, size_t choices_per_prompt) {
  Usage sum;
  for (size_t i = 0; i < choices.size(); ++i) {
    const Usage& usage = choices[i].usage;
    if (i % choices_per_prompt == 0) {
      sum.prompt_tokens += usage.prompt_tokens;
      sum.cached_tokens += usage.cached_tokens;
    }
    sum.completion_tokens += usage.completion_tokens;
    sum.reasoning_tokens += usage.reasoning_tokens;
  }
  return sum;
}

}  // namespace galley::api

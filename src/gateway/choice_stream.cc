#include "gateway/choice_stream.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "gateway/tool_calls.h"
#include "text/detokenizer.h"

namespace galley::gateway {
namespace {

// Finds the first stop string in a text that comes in pieces.
class StopMatcher {
 public:
  StopMatcher(std::vector<std::string> stops, bool include)
      : stops_(std::move(stops)), include_(include) {}

  // Appends to `out` what cannot be part of a stop string any more. True: one has come, whole in
  // what was pushed, and `out` ends before it (or with it).
  bool push(std::string_view piece, std::string& out) {
    if (stops_.empty()) {
      out += piece;
      return false;
    }
    held_ += piece;
    size_t first = std::string::npos;
    for (const std::string& stop : stops_) {
      const size_t at = held_.find(stop);
      if (at >= first) continue;
      first = at;
      found_ = stop;
    }
    if (first != std::string::npos) {
      out += held_.substr(0, include_ ? first + found_.size() : first);
      held_.clear();
      return true;
    }
    size_t keep = 0;
    for (const std::string& stop : stops_) keep = std::max(keep, begun_at_end(held_, stop));
    out += held_.substr(0, held_.size() - keep);
    held_.erase(0, held_.size() - keep);
    return false;
  }

  // Text that is not looked at: before min_tokens.
  void pass(std::string_view piece, std::string& out) {
    flush(out);
    out += piece;
  }

  void flush(std::string& out) {
    out += held_;
    held_.clear();
  }

  const std::string& found() const { return found_; }

 private:
  const std::vector<std::string> stops_;
  const bool include_;
  std::string held_;
  std::string found_;
};

// Splits thought from answer. White space around either belongs to the format and is dropped.
class ThoughtSplitter {
 public:
  ThoughtSplitter(const ThinkingTags& tags, bool open)
      : tags_(tags), state_(open ? State::kThought : State::kStart) {}

  void push(std::string_view piece, api::Delta& delta) {
    held_ += piece;
    while (!held_.empty() && step(delta)) {
    }
  }

  void flush(api::Delta& delta) {
    if (state_ == State::kThought) {
      add_thought(held_, delta);
    } else {
      delta.content += held_;
    }
    held_.clear();
  }

 private:
  enum class State { kStart, kThought, kBetween, kAnswer };
  static constexpr std::string_view kSpace = " \t\r\n";

  // One transition; false when more text is needed.
  bool step(api::Delta& delta) {
    switch (state_) {
      case State::kStart: {
        const size_t at = held_.find_first_not_of(kSpace);
        const std::string_view rest =
            at == std::string::npos ? std::string_view() : std::string_view(held_).substr(at);
        if (rest.starts_with(tags_.begin)) {
          held_.erase(0, at + tags_.begin.size());
          state_ = State::kThought;
          return true;
        }
        if (std::string_view(tags_.begin).starts_with(rest)) return false;
        state_ = State::kAnswer;
        return true;
      }
      case State::kThought: {
        const size_t at = held_.find(tags_.end);
        if (at != std::string::npos) {
          add_thought(std::string_view(held_).substr(0, at), delta);
          held_.erase(0, at + tags_.end.size());
          state_ = State::kBetween;
          return true;
        }
        const size_t keep = begun_at_end(held_, tags_.end);
        add_thought(std::string_view(held_).substr(0, held_.size() - keep), delta);
        held_.erase(0, held_.size() - keep);
        return false;
      }
      case State::kBetween: {
        const size_t at = held_.find_first_not_of(kSpace);
        held_.erase(0, at == std::string::npos ? held_.size() : at);
        if (held_.empty()) return false;
        state_ = State::kAnswer;
        return true;
      }
      case State::kAnswer:
        delta.content += held_;
        held_.clear();
        return false;
    }
    return false;
  }

  // White space is held until something follows it.
  void add_thought(std::string_view piece, api::Delta& delta) {
    for (const char c : piece) {
      if (kSpace.find(c) != std::string_view::npos) {
        space_ += c;
        continue;
      }
      if (thought_begun_) delta.reasoning += space_;
      space_.clear();
      thought_begun_ = true;
      delta.reasoning += c;
    }
  }

  const ThinkingTags& tags_;
  State state_;
  std::string held_;
  std::string space_;
  bool thought_begun_ = false;
};

}  // namespace

// A token that means something to a parser, whether or not special tokens give text.
struct Marker {
  int32_t token;
  std::string_view text;
};

struct ChoiceStream::Parsers {
  Parsers(const ChoiceOptions& options, const api::CommonFields& common, const TextModel& text)
      : detokenizer(*text.tokenizer, common.skip_special_tokens),
        stop(common.stop, common.include_stop_str_in_output),
        min_tokens(common.sampling.min_tokens) {
    if (options.chat && text.thinking.enabled) {
      thought = std::make_unique<ThoughtSplitter>(text.thinking, options.thinking_open);
      markers.push_back({text.thinking.begin_id, text.thinking.begin});
      markers.push_back({text.thinking.end_id, text.thinking.end});
    }
    if (!options.tool_calls) return;
    tools = std::make_unique<ToolCallSplitter>(options.one_tool_call);
    for (const std::string_view marker : kToolMarkers)
      if (const auto id = text.tokenizer->id_of(marker)) markers.push_back({*id, marker});
  }

  // The characters `token` completes.
  std::string detokenize(int32_t token) {
    std::string text;
    const auto marker = std::find_if(markers.begin(), markers.end(),
                                     [&](const Marker& one) { return one.token == token; });
    if (marker == markers.end()) {
      detokenizer.push(token, text);
    } else {
      detokenizer.flush(text);
      text += marker->text;
    }
    return text;
  }

  void give(std::string_view piece, api::Delta& delta) {
    if (thought == nullptr) return give_answer(piece, delta);
    api::Delta split;
    thought->push(piece, split);
    delta.reasoning += split.reasoning;
    give_answer(split.content, delta);
  }

  void flush(api::Delta& delta) {
    if (thought != nullptr) {
      api::Delta split;
      thought->flush(split);
      delta.reasoning += split.reasoning;
      give_answer(split.content, delta);
    }
    if (tools != nullptr) tools->flush(delta);
  }

  void give_answer(std::string_view piece, api::Delta& delta) {
    if (tools != nullptr) {
      tools->push(piece, delta);
    } else {
      delta.content += piece;
    }
  }

  text::Detokenizer detokenizer;
  StopMatcher stop;
  std::unique_ptr<ThoughtSplitter> thought;  // null: all is answer
  std::unique_ptr<ToolCallSplitter> tools;   // null: no tools were given
  std::vector<Marker> markers;
  const int32_t min_tokens;
};

ChoiceStream::ChoiceStream(const ChoiceOptions& options, const api::CommonFields& common,
                           const TextModel& text)
    : options_(options),
      logprobs_(common.sampling.logprobs >= 0),
      include_stop_(common.include_stop_str_in_output),
      text_(text),
      parsers_(std::make_unique<Parsers>(options, common, text)),
      thinking_open_(options.chat && options.thinking_open) {}

ChoiceStream::~ChoiceStream() = default;
ChoiceStream::ChoiceStream(ChoiceStream&&) noexcept = default;

api::Delta ChoiceStream::add(const engine::Event& event) {
  api::Delta delta;
  delta.choice = options_.choice;
  bool stopped = false;
  for (size_t i = 0; i < event.tokens.size() && !stopped; ++i) {
    const bool is_stop_token = event.stop_token >= 0 && i + 1 == event.tokens.size();
    stopped = !add_token(event.tokens[i], is_stop_token, delta);
  }
  if (stopped || event.finish != engine::FinishReason::kNone) finish(event, stopped, delta);
  delta.usage.prompt_tokens = event.prompt_tokens;
  delta.usage.cached_tokens = event.cached_tokens;
  delta.usage.completion_tokens = output_tokens_;
  delta.usage.reasoning_tokens = reasoning_tokens_;
  return delta;
}

bool ChoiceStream::add_token(const engine::OutputToken& token, bool is_stop_token,
                             api::Delta& delta) {
  ++output_tokens_;
  track_thinking(token);
  delta.token_ids.push_back(token.token);
  if (logprobs_) delta.logprobs.push_back(spell(token, *text_.tokenizer));
  if (is_stop_token && !include_stop_) return true;  // It has no text.
  const std::string text = parsers_->detokenize(token.token);
  std::string checked;
  bool stopped = false;
  if (output_tokens_ < parsers_->min_tokens) {
    parsers_->stop.pass(text, checked);
  } else {
    stopped = parsers_->stop.push(text, checked);
  }
  parsers_->give(checked, delta);
  return !stopped;
}

void ChoiceStream::track_thinking(const engine::OutputToken& token) {
  if (parsers_->thought == nullptr) return;
  if (token.token == text_.thinking.end_id) {
    thinking_open_ = false;
  } else if (thinking_open_ && !token.forced) {
    ++reasoning_tokens_;
  } else if (token.token == text_.thinking.begin_id) {
    thinking_open_ = true;
  }
}

void ChoiceStream::finish(const engine::Event& event, bool stopped, api::Delta& delta) {
  over_ = true;
  if (stopped) {
    delta.finish = api::Finish::kStop;
    delta.stop_text = parsers_->stop.found();
  } else {
    std::string rest;
    parsers_->detokenizer.flush(rest);
    std::string checked;
    // An unfinished character ends no stop string; what was held back is text after all.
    parsers_->stop.pass(rest, checked);
    parsers_->give(checked, delta);
    delta.finish =
        event.finish == engine::FinishReason::kLength ? api::Finish::kLength : api::Finish::kStop;
    if (event.finish == engine::FinishReason::kStop && !is_eos(event.stop_token))
      delta.stop_token = event.stop_token;
  }
  parsers_->flush(delta);
  const bool called = parsers_->tools != nullptr && parsers_->tools->num_calls() > 0;
  if (called && delta.finish == api::Finish::kStop) delta.finish = api::Finish::kToolCalls;
}

bool ChoiceStream::is_eos(int32_t token) const {
  const auto& ids = text_.eos_ids;
  return std::find(ids.begin(), ids.end(), token) != ids.end();
}

api::TokenLogprob spell(const engine::OutputToken& token, const text::Tokenizer& tokenizer) {
  api::TokenLogprob out;
  out.bytes = tokenizer.token_bytes(token.token);
  out.token = token.token;
  out.logprob = token.logprob;
  out.rank = token.rank;
  for (const kernels::TokenLogprob& top : token.top) {
    out.top.push_back({std::string(tokenizer.token_bytes(top.token)), top.token, top.logprob});
  }
  return out;
}

}  // namespace galley::gateway

#include "gateway/choice_stream.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "gateway/http_response.h"
#include "text/detokenizer.h"
#include "text/reasoning.h"
#include "text/stop_strings.h"
#include "text/tool_calls.h"

namespace galley::gateway {

// A token that means something to a parser, whether or not special tokens give text.
struct Marker {
  int32_t token;
  std::string_view text;
};

struct ChoiceStream::Parsers {
  Parsers(const ChoiceOptions& options, const api::CommonFields& common, const TextModel& model)
      : detokenizer(*model.tokenizer, common.skip_special_tokens),
        stop(common.stop, common.include_stop_str_in_output),
        min_tokens(common.sampling.min_tokens) {
    if (options.chat && model.thinking.enabled) {
      thought = std::make_unique<text::ReasoningParser>(model.thinking.begin, model.thinking.end,
                                                        options.thinking_open);
      markers.push_back({model.thinking.begin_id, model.thinking.begin});
      markers.push_back({model.thinking.end_id, model.thinking.end});
    }
    if (!options.tool_calls) return;
    one_tool_call = options.one_tool_call;
    tools = std::make_unique<text::ToolCallParser>(model.tool_format,
                                                   common.stream && !common.whole_tool_calls);
    for (const std::string_view marker : text::tool_markers(model.tool_format))
      if (const auto id = model.tokenizer->id_of(marker)) markers.push_back({*id, marker});
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
    text::ReasoningParser::Output split;
    thought->push(piece, split);
    delta.reasoning += split.reasoning;
    give_answer(split.content, delta);
  }

  void flush(api::Delta& delta) {
    if (thought != nullptr) {
      text::ReasoningParser::Output split;
      thought->flush(split);
      delta.reasoning += split.reasoning;
      give_answer(split.content, delta);
    }
    if (tools == nullptr) return;
    text::ToolCallParser::Output split;
    tools->flush(split);
    give_calls(std::move(split), delta);
  }

  void give_answer(std::string_view piece, api::Delta& delta) {
    if (tools == nullptr) {
      delta.content += piece;
      return;
    }
    text::ToolCallParser::Output split;
    tools->push(piece, split);
    give_calls(std::move(split), delta);
  }

  // With one_tool_call those after the first are dropped.
  void give_calls(text::ToolCallParser::Output split, api::Delta& delta) {
    delta.content += split.content;
    for (text::ToolCallParser::Call& call : split.calls) {
      if (!call.name.empty()) ++num_begun;
      if (one_tool_call && num_begun > 1) return;
      api::ToolCallDelta out;
      if (!call.name.empty()) {
        ++num_calls;
        out.id = "call_" + random_hex().substr(0, kCallIdDigits);
      }
      out.index = num_calls - 1;
      out.name = std::move(call.name);
      out.arguments = std::move(call.arguments);
      delta.tool_calls.push_back(std::move(out));
    }
  }

  static constexpr size_t kCallIdDigits = 24;

  text::Detokenizer detokenizer;
  text::StopMatcher stop;
  std::unique_ptr<text::ReasoningParser> thought;  // null: all is answer
  std::unique_ptr<text::ToolCallParser> tools;     // null: no tools were given
  std::vector<Marker> markers;
  const int32_t min_tokens;
  bool one_tool_call = false;
  int32_t num_calls = 0;
  int32_t num_begun = 0;  // those that were dropped, too
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
  const bool called = parsers_->num_calls > 0;
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

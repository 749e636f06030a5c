// ChoiceStream: one choice's way from tokens to text: characters, stop strings, thought, tool
// calls.
//
// Pure and deterministic: what it gives, joined, does not depend on how tokens were cut into
// events. Event loop only.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "api/answer.h"
#include "api/sampling_fields.h"
#include "engine/request.h"
#include "gateway/text_model.h"

namespace galley::gateway {

struct ChoiceOptions {
  int32_t choice = 0;          // index in the response
  bool chat = false;           // thought and tool calls are told from the answer
  bool thinking_open = false;  // the prompt ends inside a thought
  bool tool_calls = false;     // tools were given
  bool one_tool_call = false;  // parallel_tool_calls is false
};

class ChoiceStream {
 public:
  // `text` outlives it.
  ChoiceStream(const ChoiceOptions& options, const api::CommonFields& common,
               const TextModel& text);
  ~ChoiceStream();
  ChoiceStream(ChoiceStream&&) noexcept;

  // Takes what `event` brings. Returns the delta; `finish` is set when the choice is over, be it by
  // the engine or by a stop string, after which the engine's request is to be cancelled.
  api::Delta add(const engine::Event& event);

  bool over() const { return over_; }

 private:
  struct Parsers;

  // False: a stop string has come.
  bool add_token(const engine::OutputToken& token, bool is_stop_token, api::Delta& delta);
  void track_thinking(const engine::OutputToken& token);
  void finish(const engine::Event& event, bool stopped, api::Delta& delta);
  bool is_eos(int32_t token) const;

  const ChoiceOptions options_;
  const bool logprobs_;
  const bool include_stop_;
  const TextModel& text_;
  std::unique_ptr<Parsers> parsers_;
  bool thinking_open_;
  int32_t output_tokens_ = 0;
  int32_t reasoning_tokens_ = 0;
  bool over_ = false;
};

// A token's log-probability with spellings, for prompts too.
api::TokenLogprob spell(const engine::OutputToken& token, const text::Tokenizer& tokenizer);

}  // namespace galley::gateway

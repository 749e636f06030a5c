// TextModel: everything about a served model that has to do with text. Immutable once built; any
// thread may use it.
#pragma once

#include <boost/json.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "text/grammar_cache.h"
#include "text/tokenizer.h"
#include "text/tool_calls.h"

namespace galley::gateway {

// How a reasoning model marks its thought. Ids are -1 when the vocabulary has no such token: the
// text is split all the same, but nothing can bound the thought.
struct ThinkingTags {
  bool enabled = false;  // false: no thought is split off the answer
  std::string begin = "<think>";
  std::string end = "</think>";
  int32_t begin_id = -1;
  int32_t end_id = -1;
  std::vector<int32_t> close;  // tokens that end a thought: "\n</think>\n\n"
};

// How a model is asked to fill in between: begin PREFIX hole SUFFIX end, then it writes. Empty
// `begin`: it cannot.
struct FillTokens {
  std::string begin, hole, end;
};

// The text of a conversation; the context has messages, tools, add_generation_prompt, ...
using ChatRenderer = std::function<Result<std::string>(const boost::json::object& context)>;

struct TextModel {
  std::shared_ptr<const text::Tokenizer> tokenizer;
  ChatRenderer render_chat;           // empty: the model has no chat template
  bool arguments_as_objects = false;  // the template wants tool calls' arguments parsed
  ThinkingTags thinking;
  FillTokens fill;
  text::ToolFormat tool_format = text::ToolFormat::kDeepseekV3;
  // Compiles and keeps grammars; null: this model cannot have any (grammar_refusal says why).
  std::shared_ptr<text::GrammarCache> grammars;
  std::string grammar_refusal;
  std::vector<int32_t> eos_ids;  // end-of-text tokens: no stop_reason is reported for them
};

}  // namespace galley::gateway

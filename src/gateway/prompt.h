// From a request to prompts the engine takes: template, tokens, bounds. Runs on the work pool;
// pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "api/chat.h"
#include "api/completions.h"
#include "api/errors.h"
#include "api/tokenize.h"
#include "engine/request.h"
#include "gateway/text_model.h"
#include "gateway/upstream.h"

namespace galley::gateway {

struct PreparedPrompt {
  std::vector<int32_t> tokens;
  std::string text;                // only with echo
  bool thinking_open = false;      // the prompt ends inside a thought
  bool thinking_may_open = false;  // the model may begin with one
};

struct Prepared {
  std::vector<PreparedPrompt> prompts;
  text::GrammarSpec grammar;  // of every choice; kNone: any text
  std::string grammar_field;  // that asked for it
  std::optional<api::Error> error;
};

// Renders and tokenises. Errors: a template that refuses the messages, text that is too long, a
// prompt without tokens, prompt plus max_tokens above `max_model_len` (context_length_exceeded).
Prepared prepare(const GenerationRequest& request, const TextModel& text, int32_t max_model_len);

// The same for /tokenize, without the bounds of a generation.
api::Parsed<Tokens> tokenize(const api::TokenizeRequest& request, const TextModel& text);

// The prefix cache's scope under which only equal `names` share; 0, the shared one, for none.
uint64_t cache_scope(const std::string& name);

// What one choice asks of the engine, but for its priority. `choice` counts within its prompt.
engine::Request engine_request(const GenerationRequest& request, const PreparedPrompt& prompt,
                               const TextModel& text, int32_t max_model_len, int32_t choice,
                               uint64_t seed);

}  // namespace galley::gateway

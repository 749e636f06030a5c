// Ollama's API: POST /api/chat and /api/generate, GET /api/tags, to and from the one chat (or text)
// request and answer of this layer. Streams, which it makes unless told not to, are lines of JSON.
//
// Options that have a meaning here are taken (temperature, num_predict, stop, ...); those about how
// Ollama itself computes (num_gpu, num_thread, ...) are ignored, as the server decides them.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "api/answer_writer.h"
#include "api/chat.h"
#include "api/completions.h"
#include "api/models.h"
#include "base/clock.h"

namespace galley::api {

struct OllamaRequest {
  std::variant<ChatRequest, CompletionRequest> asked;
  bool generate = false;   // /api/generate: the answer is `response`, not `message`
  bool thinking = true;    // the thought is part of the answer
  bool load_only = false;  // nothing to answer: Ollama would load the model
};

Parsed<OllamaRequest> parse_ollama_chat(std::string_view body, const ParseContext& context);
Parsed<OllamaRequest> parse_ollama_generate(std::string_view body, const ParseContext& context);

// "demo:latest" is "demo".
std::string ollama_name(std::string name);

std::string ollama_tags(const ModelCard& card);
std::string ollama_loaded(const OllamaRequest& request, const AnswerHead& head);

// `clock` outlives the writer; it measures the durations an answer ends with.
std::unique_ptr<AnswerWriter> ollama_writer(const OllamaRequest& request, AnswerHead head,
                                            const Clock* clock);

}  // namespace galley::api

// Generation: one request for an answer, from parsed body to the last byte. Life of a request,
// the part between the HTTP server and the upstream.
//
// A sink per endpoint and way of sending turns what the upstream says into what the client gets.
// Event loop only.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "api/answer_writer.h"
#include "api/format.h"
#include "gateway/exchange.h"
#include "gateway/front_door.h"
#include "gateway/upstream.h"

namespace galley::gateway {

constexpr std::string_view kWaitHeader = "x-galley-max-queue-ms";
constexpr std::string_view kQueueEventsHeader = "x-galley-queue-events";

struct GenerationContext {
  FrontDoor* door = nullptr;
  std::shared_ptr<const Caller> caller;
  std::string model;        // the served name to answer under
  std::string fingerprint;  // system_fingerprint
  int64_t now_s = 0;        // wall clock, for `created`
};

// Each answers `exchange`, now or later; when its client goes, the front door is told.
void start_chat(const GenerationContext& context, api::ChatRequest request,
                std::shared_ptr<Exchange> exchange);
void start_completion(const GenerationContext& context, api::CompletionRequest request,
                      std::shared_ptr<Exchange> exchange);

// The same for interfaces that have a writer.
void start_answer(const GenerationContext& context, GenerationRequest request,
                  std::unique_ptr<api::AnswerWriter> writer, std::shared_ptr<Exchange> exchange);

}  // namespace galley::gateway

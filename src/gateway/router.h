// Router: which path and method is answered by what. Also who may ask: API keys, content type,
// draining. Event loop only, but for parsing of large bodies on the work pool.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/limits.h"
#include "api/models.h"
#include "api/ollama.h"
#include "api/responses.h"
#include "base/clock.h"
#include "gateway/callers.h"
#include "gateway/exchange.h"
#include "gateway/front_door.h"
#include "gateway/generation.h"
#include "gateway/metrics.h"
#include "gateway/server.h"
#include "gateway/upstream.h"
#include "gateway/work_pool.h"

namespace galley::gateway {

struct RouterOptions {
  api::ModelCard models;  // >= 1 name
  api::ParseContext parse;
  std::string version;  // of the program, for /version and system_fingerprint
  bool cors = false;    // answers preflight requests
  size_t inline_parse_bytes_max = 64u << 10;
  api::ResponseStoreLimits responses;  // kept for previous_response_id
  // GET /history: what happened after a time, as JSON; empty: nothing is recorded.
  std::function<std::string(int64_t after_s)> history;
};

inline constexpr std::string_view kResponsesPrefix = "/v1/responses/";

// What `request` says of who sends it: Authorization, or "Bearer KEY" for Anthropic's x-api-key.
std::string authorization_of(const HttpRequest& request);

class Router : public Handler {
 public:
  // Appends engine metrics to a scrape.
  using EngineMetrics = std::function<void(std::string&)>;

  // All pointers outlive the router.
  Router(RouterOptions options, const Callers* callers, const Server* server, FrontDoor* door,
         Upstream* upstream, WorkPool* pool, EngineMetrics engine_metrics);
  ~Router() override;

  std::optional<HttpResponse> check_head(const HttpRequest& request) override;
  void handle(std::shared_ptr<Exchange> exchange) override;
  void shape_error(const HttpRequest& request, std::string_view request_id,
                   HttpResponse* response) const override;
  void on_answered(const HttpRequest& request, int status, int64_t took_us) override;

 private:
  struct Route;
  using ExchangePtr = std::shared_ptr<Exchange>;

  const Route* find(const std::string& path) const;
  // What every generation needs first: the log of what was ignored, the deadline, the served name,
  // the caller; answers and returns nothing when there is none.
  std::optional<GenerationContext> admit(Exchange& exchange, api::CommonFields& common,
                                         const std::vector<std::string>& unknown) const;
  // The same for a conversation, whose name may say whether the model is to think.
  std::optional<GenerationContext> admit(Exchange& exchange, api::ChatRequest& request) const;
  void handle_chat(ExchangePtr exchange);
  void handle_completion(ExchangePtr exchange);
  void handle_messages(ExchangePtr exchange);
  void handle_count_tokens(ExchangePtr exchange);
  void handle_responses(ExchangePtr exchange);
  void handle_stored_response(ExchangePtr exchange);
  void handle_ollama_chat(ExchangePtr exchange);
  void handle_ollama_generate(ExchangePtr exchange);
  void handle_ollama_tags(ExchangePtr exchange);
  void handle_embeddings(ExchangePtr exchange);
  void handle_openapi(ExchangePtr exchange);
  void answer_ollama(ExchangePtr exchange, api::OllamaRequest request);
  void handle_tokenize(ExchangePtr exchange);
  void handle_detokenize(ExchangePtr exchange);
  void handle_models(ExchangePtr exchange);
  void handle_queue(ExchangePtr exchange);
  void handle_balance(ExchangePtr exchange);
  void handle_health(ExchangePtr exchange);
  void handle_ready(ExchangePtr exchange);
  void handle_version(ExchangePtr exchange);
  void handle_metrics(ExchangePtr exchange);
  void handle_history(ExchangePtr exchange);
  void handle_page(ExchangePtr exchange);

  // Parses the exchange's body with `parse`, off the event loop when it is large, and gives
  // `use` what came out; errors are answered here.
  template <typename Request>
  void with_body(ExchangePtr exchange,
                 api::Parsed<Request> (*parse)(std::string_view, const api::ParseContext&),
                 std::function<void(ExchangePtr, Request)> use);
  // Who asks; answers 401 and returns null when the key has been revoked meanwhile.
  std::shared_ptr<const Caller> caller_of(Exchange& exchange) const;
  // The served name `asked` stands for; answers 404 and returns nothing when there is none.
  std::optional<std::string> served_name(Exchange& exchange, const std::string& asked) const;

  const RouterOptions options_;
  const Callers* const callers_;
  const Server* const server_;
  FrontDoor* const door_;
  Upstream* const upstream_;
  WorkPool* const pool_;
  const EngineMetrics engine_metrics_;
  HttpMetrics metrics_;
  api::ResponseStore responses_;
  const std::string openapi_;  // the document, made once
  const RealClock clock_;      // of durations in answers
};

template <typename Request>
void Router::with_body(ExchangePtr exchange,
                       api::Parsed<Request> (*parse)(std::string_view, const api::ParseContext&),
                       std::function<void(ExchangePtr, Request)> use) {
  const auto answer = [use = std::move(use)](const ExchangePtr& to, api::Parsed<Request>& parsed) {
    if (!to->open()) return;  // The client left while the body was parsed.
    if (parsed.error) return to->respond(error_response(*parsed.error));
    use(to, std::move(parsed.value));
  };
  const auto body = std::make_shared<std::string>(exchange->take_body());
  if (body->size() <= options_.inline_parse_bytes_max) {
    api::Parsed<Request> parsed = parse(*body, options_.parse);
    return answer(exchange, parsed);
  }
  const auto parsed = std::make_shared<api::Parsed<Request>>();
  const bool taken = pool_->run(
      [body, parsed, parse, this] {
        *parsed = parse(*body, options_.parse);
        std::string().swap(*body);
      },
      [parsed, exchange, answer] { answer(exchange, *parsed); });
  if (!taken) {
    exchange->respond(error_response(
        api::error_of(Status(Code::kOverloaded, "too many requests wait to be read; retry"))));
  }
}

}  // namespace galley::gateway

// The routes that speak other interfaces than OpenAI's completions: each parses, starts the same
// generation, and answers through a writer of its own (api/answer_writer.h).
#include <span>
#include <utility>

#include "api/anthropic.h"
#include "base/hash.h"
#include "gateway/http_response.h"
#include "gateway/router.h"

namespace galley::gateway {
namespace {

api::AnswerHead answer_head(const Exchange& exchange, const GenerationContext& context) {
  return {random_hex(), exchange.request_id(), context.now_s, context.model};
}

// Who a stored response belongs to: not the key itself, which nothing need keep.
std::string owner_of(const Exchange& exchange) {
  static const HashKey key = random_hash_key();
  const std::string authorization = authorization_of(exchange.request());
  const Hash128 hash = siphash128(key, std::as_bytes(std::span(authorization)));
  return std::to_string(hash.high) + "-" + std::to_string(hash.low);
}

}  // namespace

std::string authorization_of(const HttpRequest& request) {
  const std::string_view key = request.header("x-api-key");
  const std::string_view authorization = request.header("Authorization");
  return authorization.empty() && !key.empty() ? "Bearer " + std::string(key)
                                               : std::string(authorization);
}

void Router::handle_messages(ExchangePtr exchange) {
  with_body<api::MessagesRequest>(
      std::move(exchange), api::parse_messages_request,
      [this](ExchangePtr to, api::MessagesRequest request) {
        const auto context = admit(*to, request.chat);
        if (!context) return;
        auto writer = api::messages_writer(request, answer_head(*to, *context));
        start_answer(*context, std::move(request.chat), std::move(writer), std::move(to));
      });
}

void Router::handle_count_tokens(ExchangePtr exchange) {
  with_body<api::TokenizeRequest>(
      std::move(exchange), api::parse_count_tokens_request,
      [this](ExchangePtr to, api::TokenizeRequest request) {
        if (!served_name(*to, request.model)) return;
        upstream_->tokenize(std::move(request), [to](api::Parsed<Tokens> tokens) {
          if (tokens.error) return to->respond(error_response(*tokens.error));
          HttpResponse response;
          response.body = api::count_tokens_response(tokens.value.ids.size());
          to->respond(std::move(response));
        });
      });
}

void Router::handle_responses(ExchangePtr exchange) {
  with_body<api::ResponsesRequest>(
      std::move(exchange), api::parse_responses_request,
      [this](ExchangePtr to, api::ResponsesRequest request) {
        const auto context = admit(*to, request.chat);
        if (!context) return;
        const std::string owner = owner_of(*to);
        if (auto error = resume(request, responses_.find(owner, request.previous_response_id)))
          return to->respond(error_response(*error));
        // The router outlives every generation.
        auto writer = api::responses_writer(
            request, answer_head(*to, *context),
            [this, owner](const std::string& id, api::StoredResponse response) {
              responses_.put(owner, id, std::move(response));
            });
        start_answer(*context, std::move(request.chat), std::move(writer), std::move(to));
      });
}

void Router::handle_stored_response(ExchangePtr exchange) {
  const std::string id = exchange->request().path.substr(kResponsesPrefix.size());
  const api::StoredResponse* stored = responses_.find(owner_of(*exchange), id);
  if (stored == nullptr) {
    api::Error error = api::invalid("response_id", "not_found",
                                    "there is no response '" + api::excerpt(id) + "' (any more)");
    error.http = 404;
    return exchange->respond(error_response(error));
  }
  HttpResponse response;
  response.body = stored->body;
  exchange->respond(std::move(response));
}

void Router::handle_ollama_chat(ExchangePtr exchange) {
  with_body<api::OllamaRequest>(std::move(exchange), api::parse_ollama_chat,
                                [this](ExchangePtr to, api::OllamaRequest request) {
                                  answer_ollama(std::move(to), std::move(request));
                                });
}

void Router::handle_ollama_generate(ExchangePtr exchange) {
  with_body<api::OllamaRequest>(std::move(exchange), api::parse_ollama_generate,
                                [this](ExchangePtr to, api::OllamaRequest request) {
                                  answer_ollama(std::move(to), std::move(request));
                                });
}

void Router::answer_ollama(ExchangePtr exchange, api::OllamaRequest request) {
  std::optional<GenerationContext> context;
  if (auto* chat = std::get_if<api::ChatRequest>(&request.asked)) {
    context = admit(*exchange, *chat);
  } else {
    auto& completion = std::get<api::CompletionRequest>(request.asked);
    context = admit(*exchange, completion.common, completion.unknown_fields);
  }
  if (!context) return;
  const api::AnswerHead head = answer_head(*exchange, *context);
  if (request.load_only) {
    HttpResponse response;
    response.body = api::ollama_loaded(request, head);
    return exchange->respond(std::move(response));
  }
  exchange->stream_type = Exchange::kJsonLines;
  auto writer = api::ollama_writer(request, head, &clock_);
  GenerationRequest asked =
      std::visit([](auto& one) { return GenerationRequest(std::move(one)); }, request.asked);
  start_answer(*context, std::move(asked), std::move(writer), std::move(exchange));
}

void Router::handle_ollama_tags(ExchangePtr exchange) {
  HttpResponse response;
  response.body = api::ollama_tags(options_.models);
  exchange->respond(std::move(response));
}

void Router::handle_embeddings(ExchangePtr exchange) {
  api::Error error =
      api::invalid("model", "unsupported_endpoint",
                   "the models served here write text and give no embeddings; ask a server that "
                   "has an embedding model");
  exchange->respond(error_response(error));
}

void Router::handle_openapi(ExchangePtr exchange) {
  HttpResponse response;
  response.body = openapi_;
  exchange->respond(std::move(response));
}

}  // namespace galley::gateway

// The routes that speak other interfaces than OpenAI's completions: each parses, starts the same
// generation, and answers through a writer of its own (api/answer_writer.h).
#include <utility>

#include "api/anthropic.h"
#include "gateway/http_response.h"
#include "gateway/router.h"

namespace galley::gateway {
namespace {

api::AnswerHead answer_head(const Exchange& exchange, const GenerationContext& context) {
  return {random_hex(), exchange.request_id(), context.now_s, context.model};
}

}  // namespace

void Router::handle_messages(ExchangePtr exchange) {
  with_body<api::MessagesRequest>(
      std::move(exchange), api::parse_messages_request,
      [this](ExchangePtr to, api::MessagesRequest request) {
        const auto name = admit(*to, request.chat.common, request.chat.unknown_fields);
        if (!name) return;
        const GenerationContext context = context_for(*name);
        auto writer = api::messages_writer(request, answer_head(*to, context));
        start_answer(context, std::move(request.chat), std::move(writer), std::move(to));
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

}  // namespace galley::gateway

#include "gateway/router.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <utility>

#include "api/json_writer.h"
#include "api/openapi.h"
#include "api/tokenize.h"
#include "base/log.h"
#include "gateway/generation.h"
#include "gateway/page.h"
#include "gateway/tenant_json.h"

namespace galley::gateway {
namespace {

constexpr std::string_view kModelsPrefix = "/v1/models/";
constexpr std::string_view kQueuePrefix = "/v1/queue/";
constexpr std::string_view kPagePrefix = "/ui/";
constexpr std::string_view kAfterParameter = "?after_s=";  // of /history
constexpr int kRetryAfterDrainS = 5;
constexpr std::string_view kDeadlineHeader = "x-galley-deadline-ms";
constexpr int64_t kDeadlineMsMax = 24 * 3600 * 1000;

int64_t wall_clock_s() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

HttpResponse json_response(std::string body) {
  HttpResponse response;
  response.body = std::move(body);
  return response;
}

HttpResponse failure(int status, std::string code, std::string message) {
  api::Error error;
  error.http = status;
  error.code = std::move(code);
  error.message = std::move(message);
  return error_response(error);
}

HttpResponse unauthorized(bool given) {
  HttpResponse response = failure(401, "invalid_api_key",
                                  given ? "the API key is not valid"
                                        : "no API key was given; send 'Authorization: "
                                          "Bearer KEY' or 'x-api-key: KEY'");
  response.headers.emplace_back("WWW-Authenticate", "Bearer");
  return response;
}

HttpResponse out_of_balance() {
  api::Error error;
  error.http = 402;
  error.type = "insufficient_quota";
  error.code = "insufficient_balance";
  error.message = "the balance is used up; add to it, and do not retry before";
  return error_response(error);
}

// "application/json", whatever parameters follow. Required because a web page can send anything
// else to a local server without asking first.
bool is_json(std::string_view content_type) {
  constexpr std::string_view kJson = "application/json";
  std::string type(content_type.substr(0, content_type.find(';')));
  while (!type.empty() && type.back() == ' ') type.pop_back();
  std::transform(type.begin(), type.end(), type.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return type == kJson;
}

// x-galley-deadline-ms: how long the client waits for the whole answer; x-galley-max-queue-ms: for
// its beginning. Nothing: no such header; 0: one that is not a number of milliseconds within the
// bound.
std::optional<int64_t> milliseconds(const HttpRequest& request, std::string_view name) {
  const std::string_view text = request.header(name);
  if (text.empty()) return std::nullopt;
  int64_t value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool valid = failure == std::errc() && end == text.data() + text.size() && value >= 1 &&
                     value <= kDeadlineMsMax;
  return valid ? value : 0;
}

// DeepSeek serves the same under other names: without /v1, and under /beta.
std::string canonical_path(const std::string& path) {
  constexpr std::string_view kBeta = "/beta/";
  if (path.starts_with(kBeta)) return "/v1/" + path.substr(kBeta.size());
  if (path == "/chat/completions" || path == "/completions" || path == "/models")
    return "/v1" + path;
  return path;
}

api::Dialect dialect_of(const std::string& path) {
  if (path.starts_with("/v1/messages")) return api::Dialect::kAnthropic;
  if (path.starts_with("/api/")) return api::Dialect::kOllama;
  return api::Dialect::kOpenAi;
}

void log_unknown(const Exchange& exchange, const std::vector<std::string>& names) {
  if (names.empty() || !log_enabled(LogLevel::kDebug)) return;
  std::string list;
  for (const std::string& name : names) list += (list.empty() ? "" : ", ") + name;
  log_debug("request ", exchange.request_id(), ": ignored fields: ", list);
}

}  // namespace

struct Router::Route {
  std::string_view path;
  bool post = false;  // else GET and HEAD
  bool needs_key = false;
  bool generates = false;  // costs money
  void (Router::*handle)(ExchangePtr) = nullptr;
};

Router::Router(RouterOptions options, const Callers* callers, const Server* server, FrontDoor* door,
               Upstream* upstream, WorkPool* pool, EngineMetrics engine_metrics)
    : options_(std::move(options)),
      callers_(callers),
      server_(server),
      door_(door),
      upstream_(upstream),
      pool_(pool),
      engine_metrics_(std::move(engine_metrics)),
      responses_(options_.responses),
      openapi_(api::openapi_document(options_.parse, options_.version)) {}

Router::~Router() = default;

const Router::Route* Router::find(const std::string& asked) const {
  const std::string path = canonical_path(asked);
  static constexpr std::array<Route, 25> kRoutes = {{
      {"/v1/chat/completions", true, true, true, &Router::handle_chat},
      {"/v1/completions", true, true, true, &Router::handle_completion},
      {"/v1/messages", true, true, true, &Router::handle_messages},
      {"/v1/messages/count_tokens", true, true, false, &Router::handle_count_tokens},
      {"/v1/responses", true, true, true, &Router::handle_responses},
      {"/v1/responses/ID", false, true, false, &Router::handle_stored_response},
      {"/v1/embeddings", true, true, false, &Router::handle_embeddings},
      {"/api/chat", true, true, true, &Router::handle_ollama_chat},
      {"/api/generate", true, true, true, &Router::handle_ollama_generate},
      {"/api/embed", true, true, false, &Router::handle_embeddings},
      {"/api/tags", false, true, false, &Router::handle_ollama_tags},
      {"/api/version", false, false, false, &Router::handle_version},
      {"/v1/models", false, true, false, &Router::handle_models},
      {"/tokenize", true, true, false, &Router::handle_tokenize},
      {"/detokenize", true, true, false, &Router::handle_detokenize},
      {"/v1/queue", false, true, false, &Router::handle_queue},
      {"/user/balance", false, true, false, &Router::handle_balance},
      {"/health", false, false, false, &Router::handle_health},
      {"/ready", false, false, false, &Router::handle_ready},
      {"/version", false, false, false, &Router::handle_version},
      {"/openapi.json", false, false, false, &Router::handle_openapi},
      {"/metrics", false, false, false, &Router::handle_metrics},
      {"/history", false, false, false, &Router::handle_history},
      {"/", false, false, false, &Router::handle_page},
      {"/ui", false, false, false, &Router::handle_page},
  }};
  const auto below = [&](std::string_view prefix) {
    return path.starts_with(prefix) && path.size() > prefix.size();
  };
  std::string_view wanted = path;
  if (below(kModelsPrefix)) wanted = "/v1/models";
  if (below(kQueuePrefix)) wanted = "/v1/queue";
  if (below(kResponsesPrefix)) wanted = "/v1/responses/ID";
  if (below(kPagePrefix) && find_page_file(path) != nullptr) wanted = "/ui";
  for (const Route& route : kRoutes)
    if (route.path == wanted) return &route;
  return nullptr;
}

std::optional<HttpResponse> Router::check_head(const HttpRequest& request) {
  const Route* route = find(request.path);
  if (request.method == "OPTIONS" && options_.cors) return std::nullopt;
  if (callers_->required() && (route == nullptr || route->needs_key)) {
    const std::string authorization = authorization_of(request);
    const std::shared_ptr<const Caller> caller = callers_->find(authorization);
    if (caller == nullptr) return unauthorized(!authorization.empty());
    const bool generates = route != nullptr && route->generates;
    if (generates && caller->prepaid && callers_->balance_pico(caller->tenant) <= 0)
      return out_of_balance();
  }
  if (route == nullptr) {
    return failure(404, "not_found",
                   "there is nothing at " + api::excerpt(request.path, 100) +
                       "; the paths are in docs/api.md");
  }
  const bool right_method =
      route->post ? request.method == "POST" : request.method == "GET" || request.method == "HEAD";
  if (!right_method) {
    HttpResponse response =
        failure(405, "method_not_allowed",
                std::string(route->path) + " takes " + (route->post ? "POST" : "GET") + ", not " +
                    api::excerpt(request.method, 16));
    response.headers.emplace_back("Allow", route->post ? "POST" : "GET, HEAD");
    return response;
  }
  if (route->post && !is_json(request.header("Content-Type"))) {
    return failure(415, "unsupported_media_type",
                   "the body must be JSON: send 'Content-Type: application/json'");
  }
  for (const std::string_view name : {kDeadlineHeader, kWaitHeader}) {
    if (!route->post || milliseconds(request, name) != 0) continue;
    return error_response(api::invalid(
        std::string(name), "invalid_value",
        std::string(name) + " must be a number of milliseconds from 1 to " +
            std::to_string(kDeadlineMsMax) + ", not '" + api::excerpt(request.header(name)) + "'"));
  }
  if (server_->draining() && route->needs_key) {
    api::Error error = api::error_of(
        Status(Code::kUnavailable, "the server is shutting down; send the request elsewhere"));
    error.retry_after_s = kRetryAfterDrainS;
    return error_response(error);
  }
  return std::nullopt;
}

void Router::handle(ExchangePtr exchange) {
  if (exchange->request().method == "OPTIONS") {  // check_head lets only preflights pass.
    HttpResponse response;
    response.status = 204;
    response.content_type.clear();
    response.headers = {{"Access-Control-Allow-Methods", "GET, POST, OPTIONS"},
                        {"Access-Control-Allow-Headers",
                         "Authorization, X-Api-Key, Content-Type, X-Request-Id, "
                         "X-Galley-Deadline-Ms, X-Galley-Max-Queue-Ms, X-Galley-Queue-Events"},
                        {"Access-Control-Max-Age", "600"}};
    return exchange->respond(std::move(response));
  }
  const Route* route = find(exchange->request().path);
  (this->*route->handle)(std::move(exchange));
}

void Router::shape_error(const HttpRequest& request, std::string_view request_id,
                         HttpResponse* response) const {
  response->body = api::error_body(dialect_of(request.path), *response->error, request_id);
}

void Router::on_answered(const HttpRequest& request, int status, int64_t took_us) {
  const Route* route = find(request.path);
  metrics_.answered(route == nullptr ? "other" : std::string(route->path), status, took_us);
}

std::optional<std::string> Router::served_name(Exchange& exchange, const std::string& asked) const {
  const std::vector<std::string>& names = options_.models.names;
  if (asked.empty()) return names.front();
  if (std::find(names.begin(), names.end(), asked) != names.end()) return asked;
  std::string list;
  for (const std::string& name : names) list += (list.empty() ? "'" : ", '") + name + "'";
  api::Error error;
  error.http = 404;
  error.code = "model_not_found";
  error.param = "model";
  error.message =
      "the model '" + api::excerpt(asked, 80) + "' is not served here; there is " + list;
  exchange.respond(error_response(error));
  return std::nullopt;
}

std::shared_ptr<const Caller> Router::caller_of(Exchange& exchange) const {
  std::shared_ptr<const Caller> caller = callers_->find(authorization_of(exchange.request()));
  if (caller == nullptr) exchange.respond(unauthorized(true));
  return caller;
}

std::optional<GenerationContext> Router::admit(Exchange& exchange, api::CommonFields& common,
                                               const std::vector<std::string>& unknown) const {
  log_unknown(exchange, unknown);
  common.deadline_ms = milliseconds(exchange.request(), kDeadlineHeader);
  const auto name = served_name(exchange, common.model);
  const auto caller = name ? caller_of(exchange) : nullptr;
  if (caller == nullptr) return std::nullopt;
  return GenerationContext{door_, caller, *name, "galley-" + options_.version, wall_clock_s()};
}

std::optional<GenerationContext> Router::admit(Exchange& exchange,
                                               api::ChatRequest& request) const {
  auto context = admit(exchange, request.common, request.unknown_fields);
  if (context) api::apply_model_alias(context->model, request.thinking);
  return context;
}

void Router::handle_chat(ExchangePtr exchange) {
  with_body<api::ChatRequest>(std::move(exchange), api::parse_chat_request,
                              [this](ExchangePtr to, api::ChatRequest request) {
                                const auto context = admit(*to, request);
                                if (context)
                                  start_chat(*context, std::move(request), std::move(to));
                              });
}

void Router::handle_completion(ExchangePtr exchange) {
  with_body<api::CompletionRequest>(
      std::move(exchange), api::parse_completion_request,
      [this](ExchangePtr to, api::CompletionRequest request) {
        const auto context = admit(*to, request.common, request.unknown_fields);
        if (context) start_completion(*context, std::move(request), std::move(to));
      });
}

void Router::handle_tokenize(ExchangePtr exchange) {
  with_body<api::TokenizeRequest>(
      std::move(exchange), api::parse_tokenize_request,
      [this](ExchangePtr to, api::TokenizeRequest request) {
        if (!served_name(*to, request.model)) return;
        const bool spell = request.return_token_strs;
        const int32_t max_model_len = options_.models.max_model_len;
        upstream_->tokenize(
            std::move(request), [to, spell, max_model_len](api::Parsed<Tokens> tokens) {
              if (tokens.error) return to->respond(error_response(*tokens.error));
              to->respond(json_response(api::tokenize_response(
                  tokens.value.ids, spell ? &tokens.value.spellings : nullptr, max_model_len)));
            });
      });
}

void Router::handle_detokenize(ExchangePtr exchange) {
  with_body<api::DetokenizeRequest>(
      std::move(exchange), api::parse_detokenize_request,
      [this](ExchangePtr to, api::DetokenizeRequest request) {
        if (!served_name(*to, request.model)) return;
        upstream_->detokenize(std::move(request), [to](api::Parsed<std::string> text) {
          if (text.error) return to->respond(error_response(*text.error));
          to->respond(json_response(api::detokenize_response(text.value)));
        });
      });
}

void Router::handle_models(ExchangePtr exchange) {
  const std::string path = canonical_path(exchange->request().path);
  if (path == "/v1/models")
    return exchange->respond(json_response(api::model_list(options_.models)));
  const auto name = served_name(*exchange, path.substr(kModelsPrefix.size()));
  if (name) exchange->respond(json_response(api::model_object(options_.models, *name)));
}

void Router::handle_queue(ExchangePtr exchange) {
  const auto caller = caller_of(*exchange);
  if (caller == nullptr) return;
  const std::string& path = exchange->request().path;
  const std::string id = path.size() > kQueuePrefix.size() ? path.substr(kQueuePrefix.size()) : "";
  std::string body = door_->queue_json(*caller, id);
  if (!body.empty()) return exchange->respond(json_response(std::move(body)));
  exchange->respond(failure(404, "not_found", "no request with this id waits"));
}

// As DeepSeek answers it. Without a store there is no balance to run out.
void Router::handle_balance(ExchangePtr exchange) {
  const auto caller = caller_of(*exchange);
  if (caller == nullptr) return;
  Tenant tenant;
  tenant.prepaid = caller->prepaid;
  tenant.currency = caller->currency;
  tenant.balance_pico = callers_->balance_pico(caller->tenant);
  exchange->respond(json_response(balance_json(tenant)));
}

// Alive: the event loop answers. Whether requests are taken is /ready's to say.
void Router::handle_health(ExchangePtr exchange) {
  exchange->respond(json_response("{\"status\":\"ok\"}"));
}

void Router::handle_ready(ExchangePtr exchange) {
  if (!server_->draining() && upstream_->ready())
    return exchange->respond(json_response("{\"status\":\"ready\"}"));
  api::Error error = api::error_of(
      Status(Code::kUnavailable, server_->draining() ? "the server is shutting down"
                                                     : "the engine does not take requests"));
  error.retry_after_s = kRetryAfterDrainS;
  exchange->respond(error_response(error));
}

void Router::handle_version(ExchangePtr exchange) {
  api::JsonWriter json;
  json.begin_object().key("version").string(options_.version).end_object();
  exchange->respond(json_response(json.take()));
}

void Router::handle_metrics(ExchangePtr exchange) {
  HttpResponse response;
  response.content_type = "text/plain; version=0.0.4; charset=utf-8";
  engine_metrics_(response.body);
  door_->write_metrics(response.body);
  metrics_.write(response.body, server_->counts());
  exchange->respond(std::move(response));
}

void Router::handle_history(ExchangePtr exchange) {
  if (!options_.history)
    return exchange->respond(failure(404, "not_found", "this server records no history"));
  std::string_view query = exchange->request().target;
  query.remove_prefix(std::min(query.find('?'), query.size()));
  int64_t after_s = 0;
  if (!query.empty()) {
    const bool named = query.starts_with(kAfterParameter);
    if (named) query.remove_prefix(kAfterParameter.size());
    const auto read = std::from_chars(query.data(), query.data() + query.size(), after_s);
    if (!named || read.ec != std::errc() || read.ptr != query.data() + query.size())
      return exchange->respond(error_response(
          api::invalid("after_s", "invalid_value",
                       "after_s is a number of seconds, as in /history?after_s=1700000000, and "
                       "the only parameter")));
  }
  exchange->respond(json_response(options_.history(after_s)));
}

void Router::handle_page(ExchangePtr exchange) {
  const PageFile* file = find_page_file(exchange->request().path);
  if (file == nullptr)  // "/ui" itself
    return exchange->respond(failure(404, "not_found", "the page is at /"));
  exchange->respond(page_response(*file, exchange->request().header("If-None-Match")));
}

}  // namespace galley::gateway

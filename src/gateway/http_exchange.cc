#include "gateway/http_exchange.h"

#include <iterator>
#include <utility>

#include "api/answer_writer.h"
#include "api/errors.h"
#include "api/sse.h"
#include "base/log.h"
#include "gateway/http_response.h"

namespace galley::gateway {
namespace {

constexpr int kClientGone = 499;

}  // namespace

HttpExchange::HttpExchange(Connection* connection, HttpRequest request, std::string request_id)
    : connection_(connection),
      request_(std::move(request)),
      request_id_(std::move(request_id)),
      begun_us_(connection->shared_->clock->now_us()) {}

void HttpExchange::respond(HttpResponse response) {
  if (connection_ == nullptr || ended_) return;
  Connection& connection = *connection_;
  if (response.error) connection.shared_->handler->shape_error(request_, request_id_, &response);
  if (streaming_) {  // Its head is out.
    send(response.body);
    return end_stream();
  }
  if (connection.shared_->draining) connection.keep_alive_ = false;
  std::move(answer_headers.begin(), answer_headers.end(), std::back_inserter(response.headers));
  std::string bytes = response_head(response, {.version = request_.version,
                                               .keep_alive = connection.keep_alive_,
                                               .request_id = request_id_,
                                               .allow_origin = connection.allow_origin(request_)});
  if (request_.method != "HEAD") bytes += response.body;
  body_bytes_sent_ = response.body.size();
  connection.send_bytes(bytes);
  end(response.status);
}

void HttpExchange::begin_stream() {
  if (connection_ == nullptr || ended_ || streaming_) return;
  Connection& connection = *connection_;
  chunked_ = request_.version == 11;
  if (!chunked_ || connection.shared_->draining) connection.keep_alive_ = false;
  HttpResponse response;
  response.content_type = stream_type;
  response.headers = {{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}};
  std::move(answer_headers.begin(), answer_headers.end(), std::back_inserter(response.headers));
  connection.send_bytes(
      response_head(response, {.version = request_.version,
                               .keep_alive = connection.keep_alive_,
                               .chunked = chunked_,
                               .has_length = false,
                               .request_id = request_id_,
                               .allow_origin = connection.allow_origin(request_)}));
  streaming_ = true;
  status_ = 200;
  last_sent_ms_ = connection.shared_->clock->now_ms();
}

void HttpExchange::send(std::string_view event) {
  if (connection_ == nullptr || ended_ || !streaming_ || event.empty()) return;
  Connection& connection = *connection_;
  if (connection.output_.size() + event.size() > connection.limits_.stream_bytes_max) {
    ++connection.shared_->counts.clients_slow;
    log_warning("request ", request_id_, ": the client does not read its stream; dropped");
    connection.abort();
    return;
  }
  body_bytes_sent_ += event.size();
  last_sent_ms_ = connection.shared_->clock->now_ms();
  connection.send_bytes(chunked_ ? chunk(event) : std::string(event));
}

void HttpExchange::end_stream() {
  if (connection_ == nullptr || ended_ || !streaming_) return;
  if (chunked_) connection_->send_bytes(kLastChunk);
  end(200);
}

void HttpExchange::keep_alive(int64_t now_ms) {
  if (connection_ == nullptr || !streaming()) return;
  if (stream_type == kJsonLines) return;
  if (now_ms - last_sent_ms_ >= connection_->limits_.keep_alive_comment_ms)
    send(stream_type == kEvents ? api::kSseKeepAlive : std::string_view("\n"));
}

void HttpExchange::cut_off() {
  if (!open()) return;
  if (auto gone = std::exchange(on_gone, nullptr)) gone();
  const api::Error error = api::error_of(
      Status(Code::kUnavailable, "the server shut down before the answer was complete; retry"));
  if (!streaming_ || stream_type == kJson) return respond(error_response(error));
  if (stream_type == kEvents) {
    send(api::sse_event(api::error_body(error)));
    send(api::kSseDone);
  } else {
    send(api::error_body(api::Dialect::kOllama, error, request_id_) + "\n");
  }
  end_stream();
}

void HttpExchange::end(int status) {
  ended_ = true;
  status_ = status;
  on_gone = nullptr;
  const int64_t took_us = connection_->shared_->clock->now_us() - begun_us_;
  log_answer();
  connection_->shared_->handler->on_answered(request_, status, took_us);
  connection_->notify();
}

void HttpExchange::log_answer() const {
  const int64_t took_us = connection_->shared_->clock->now_us() - begun_us_;
  log_info("request ", request_id_, " ", api::excerpt(request_.method, 16), " ",
           api::excerpt(request_.path, 128), " ", status_, " ", body_bytes_sent_, " bytes ",
           took_us / 1000, " ms",
           prompt_tokens < 0 ? std::string()
                             : " prompt_tokens " + std::to_string(prompt_tokens) +
                                   " completion_tokens " + std::to_string(completion_tokens));
}

void HttpExchange::detach() {
  if (connection_ == nullptr) return;
  if (!ended_) {
    ended_ = true;
    status_ = kClientGone;
    ++connection_->shared_->counts.clients_gone;
    log_answer();
    connection_->shared_->handler->on_answered(request_, kClientGone,
                                               connection_->shared_->clock->now_us() - begun_us_);
  }
  connection_ = nullptr;
  if (auto gone = std::exchange(on_gone, nullptr)) gone();
}

}  // namespace galley::gateway

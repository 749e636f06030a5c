#include "gateway/connection.h"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>

#include "gateway/http_exchange.h"
#include "gateway/http_response.h"

namespace galley::gateway {
namespace asio = boost::asio;
using boost::system::error_code;
namespace {

constexpr size_t kWriteBytesMax = 64u << 10;   // of one write, so that progress shows
constexpr size_t kLingerBytesMax = 64u << 20;  // of input thrown away after the last answer
constexpr int64_t kDrainGraceMs = 1000;        // for a new connection's first request
constexpr auto kNever = std::chrono::steady_clock::time_point::max();

}  // namespace

Connection::Connection(asio::ip::tcp::socket socket, Shared* shared)
    : socket_(std::move(socket)),
      wake_(socket_.get_executor()),
      shared_(shared),
      limits_(shared->options->limits) {
  ++shared_->counts.connections;
  ++shared_->counts.connections_total;
  error_code ignored;
  socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
  enter(Phase::kIdle);
}

Connection::~Connection() {
  account_body(0);
  --shared_->counts.connections;
}

void Connection::enter(Phase phase) {
  phase_ = phase;
  phase_since_ms_ = shared_->clock->now_ms();
}

void Connection::account_body(size_t bytes) {
  shared_->counts.body_bytes += bytes;
  shared_->counts.body_bytes -= body_bytes_;
  body_bytes_ = bytes;
}

// --- The three activities ---

void Connection::start_read() {
  const bool room = parser_ != nullptr || input_.size() < limits_.input_bytes_max;
  if (reading_ || input_ended_ || closed_ || !room) return;
  reading_ = true;
  socket_.async_read_some(asio::buffer(read_buffer_),
                          [self = shared_from_this()](error_code failure, size_t bytes) {
                            self->reading_ = false;
                            if (failure) {
                              self->input_ended_ = true;
                            } else {
                              self->input_.append(self->read_buffer_.data(), bytes);
                            }
                            self->notify();
                          });
}

void Connection::start_write() {
  if (writing_ || closed_ || output_broken_) return;
  if (sent_ == sending_.size()) {
    sending_.clear();
    sending_.swap(output_);
    sent_ = 0;
  }
  if (sending_.empty()) return;
  writing_ = true;
  const size_t bytes = std::min(sending_.size() - sent_, kWriteBytesMax);
  socket_.async_write_some(asio::buffer(sending_.data() + sent_, bytes),
                           [self = shared_from_this()](error_code failure, size_t written) {
                             self->writing_ = false;
                             self->sent_ += written;
                             self->write_progress_ms_ = self->shared_->clock->now_ms();
                             if (failure) self->output_broken_ = true;
                             self->start_write();
                             self->notify();
                           });
}

void Connection::send_bytes(std::string_view bytes) {
  if (flushed()) write_progress_ms_ = shared_->clock->now_ms();
  output_ += bytes;
  start_write();
}

void Connection::notify() {
  wake_.cancel();
}

asio::awaitable<void> Connection::wait() {
  wake_.expires_at(kNever);
  co_await wake_.async_wait(asio::as_tuple(asio::use_awaitable));
}

// --- Requests ---

asio::awaitable<void> Connection::serve() {
  const auto self = shared_from_this();
  while (co_await read_request()) {
    co_await serve_one();
    if (!keep_alive_ || gone() || timed_out_) break;
    enter(Phase::kIdle);
  }
  co_await linger();
  close();
}

asio::awaitable<bool> Connection::read_request() {
  parser_ = std::make_unique<HttpParser>(limits_);
  bool head_checked = false;
  while (true) {
    if (!input_.empty()) {
      if (phase_ == Phase::kIdle) enter(Phase::kHead);
      std::optional<HttpFault> failure;
      input_.erase(0, parser_->feed(input_, &failure));
      if (failure) {
        fault(*failure);
        co_return false;
      }
      if (parser_->phase() == HttpParser::Phase::kHead && input_.size() > limits_.head_bytes_max) {
        fault({431, "header_too_large", "the request's head is too long; send shorter headers"});
        co_return false;
      }
      account_body(parser_->body_bytes());
      if (parser_->phase() != HttpParser::Phase::kHead && !head_checked) {
        head_checked = true;
        enter(Phase::kBody);
        const HttpRequest& request = parser_->request();
        keep_alive_ = request.keep_alive;
        refusal_ = shared_->handler->check_head(request);
        if (refusal_ && parser_->phase() == HttpParser::Phase::kBody) {
          refuse(request, std::move(*refusal_));
          co_return false;
        }
        if (request.expects_continue && parser_->phase() == HttpParser::Phase::kBody)
          send_bytes("HTTP/1.1 100 Continue\r\n\r\n");
        if (parser_->phase() != HttpParser::Phase::kDone && !input_.empty()) continue;
      }
      if (shared_->counts.body_bytes > limits_.body_bytes_total_max) {
        refuse(parser_->request(),
               error_response(api::error_of(
                   Status(Code::kOverloaded, "the server holds too many large requests; retry"))));
        co_return false;
      }
      if (parser_->phase() == HttpParser::Phase::kDone) co_return true;
      // A chunk's framing that never ends.
      if (input_.size() > limits_.input_bytes_max + limits_.head_bytes_max) {
        fault({400, "bad_http", "the request's chunks are not framed right"});
        co_return false;
      }
    }
    if (gone()) co_return false;
    if (timed_out_) {
      if (phase_ != Phase::kIdle) {
        fault({408, "request_timeout",
               "the request did not arrive in time; send it faster or in smaller pieces"});
      }
      co_return false;
    }
    if (drained()) co_return false;
    start_read();
    co_await wait();
  }
}

asio::awaitable<void> Connection::serve_one() {
  enter(Phase::kAnswer);
  HttpRequest request = parser_->take();
  parser_.reset();
  std::string id = request_id_for(request.header("X-Request-Id"));
  exchange_ = std::make_shared<HttpExchange>(this, std::move(request), std::move(id));
  ++shared_->counts.exchanges;
  if (auto refusal = std::exchange(refusal_, std::nullopt)) {
    exchange_->respond(std::move(*refusal));
  } else {
    shared_->handler->handle(exchange_);
  }
  while (!gone() && !(exchange_->ended() && flushed())) {
    start_read();
    co_await wait();
  }
  // A client that has sent all and closed its side still gets what is already written for it.
  while (exchange_->ended() && input_ended_ && !closed_ && !output_broken_ && !flushed())
    co_await wait();
  exchange_->detach();
  exchange_.reset();
  --shared_->counts.exchanges;
  ++answered_;
  account_body(0);
}

// Answers without a handler, and ends the connection: its input may be out of step.
void Connection::refuse(const HttpRequest& request, HttpResponse response) {
  keep_alive_ = false;
  const std::string id = request_id_for(request.header("X-Request-Id"));
  if (response.error) shared_->handler->shape_error(request, id, &response);
  std::string bytes = response_head(response, {.version = request.version == 10 ? 10 : 11,
                                               .keep_alive = false,
                                               .request_id = id,
                                               .allow_origin = allow_origin(request)});
  if (request.method != "HEAD") bytes += response.body;
  send_bytes(bytes);
  shared_->handler->on_answered(request, response.status, 0);
}

void Connection::fault(const HttpFault& fault) {
  api::Error error;
  error.http = fault.status;
  error.code = fault.code;
  error.message = fault.message;
  refuse(parser_->request(), error_response(error));
}

std::string Connection::allow_origin(const HttpRequest& request) const {
  const auto& origins = shared_->options->cors_origins;
  const std::string_view origin = request.header("Origin");
  if (origin.empty()) return {};
  if (std::find(origins.begin(), origins.end(), "*") != origins.end()) return "*";
  if (std::find(origins.begin(), origins.end(), origin) != origins.end())
    return std::string(origin);
  return {};
}

// Closing a socket with unread input resets it, and the client may lose the answer. So: say that
// nothing follows, read and drop until the client closes too, or patience ends.
asio::awaitable<void> Connection::linger() {
  parser_.reset();
  if (closed_ || output_broken_) co_return;
  enter(Phase::kLinger);
  timed_out_ = false;
  while (!flushed() && !closed_ && !output_broken_ && !timed_out_) co_await wait();
  if (closed_ || output_broken_) co_return;
  error_code ignored;
  socket_.shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
  size_t dropped = 0;
  while (!gone() && !timed_out_ && dropped < kLingerBytesMax) {
    dropped += input_.size();
    input_.clear();
    start_read();
    co_await wait();
  }
}

void Connection::close() {
  if (closed_) return;
  closed_ = true;
  error_code ignored;
  socket_.close(ignored);
  if (exchange_ != nullptr) exchange_->detach();
  notify();
}

void Connection::cut_off() {
  if (exchange_ != nullptr) exchange_->cut_off();
}

void Connection::abort() {
  error_code ignored;
  socket_.set_option(asio::socket_base::linger(true, 0), ignored);
  close();
}

int64_t Connection::phase_timeout_ms() const {
  switch (phase_) {
    case Phase::kIdle:
      return limits_.idle_timeout_ms;
    case Phase::kHead:
      return limits_.head_timeout_ms;
    case Phase::kBody:
      return limits_.body_timeout_ms;
    case Phase::kLinger:
      return limits_.linger_ms;
    case Phase::kAnswer:
      break;  // Bounded by the request's own deadline and by what the client reads.
  }
  return 0;
}

// Draining ends connections between requests. A new one may still ask, and hear that it should go
// elsewhere.
bool Connection::drained() const {
  if (!shared_->draining || phase_ != Phase::kIdle) return false;
  return answered_ > 0 || shared_->clock->now_ms() - phase_since_ms_ >= kDrainGraceMs;
}

void Connection::tick(int64_t now_ms) {
  if (closed_) return;
  if (exchange_ != nullptr) exchange_->keep_alive(now_ms);
  if (closed_) return;
  if (!flushed() && now_ms - write_progress_ms_ >= limits_.write_timeout_ms) {
    ++shared_->counts.clients_slow;
    return abort();
  }
  const int64_t timeout_ms = phase_timeout_ms();
  const bool late = timeout_ms > 0 && now_ms - phase_since_ms_ >= timeout_ms;
  if (late || drained()) {
    timed_out_ = timed_out_ || late;
    notify();
  }
}

}  // namespace galley::gateway

// Exchange: one HTTP request and its answer, as the routes see it. Handler: who answers.
//
// Lives on the event loop of its connection and is used from there only. A handler answers with
// respond(), or with begin_stream(), send() any number of times and end_stream(). Whatever it sends
// after the client has gone is dropped; on_gone tells it to stop working.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/errors.h"
#include "gateway/http_parser.h"

namespace galley::gateway {

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;
  std::optional<api::Error> error;  // what `body` says, if it is one
};

// An error as a response, Retry-After included.
HttpResponse error_response(const api::Error& error);

class Exchange {
 public:
  virtual ~Exchange() = default;

  virtual const HttpRequest& request() const = 0;
  // The body, moved out; once.
  virtual std::string take_body() = 0;
  virtual const std::string& request_id() const = 0;

  // False once the answer has ended or the client has gone: nobody hears what follows.
  virtual bool open() const = 0;
  virtual void respond(HttpResponse response) = 0;
  // 200, stream_type. After one of kJson respond() sends the body, whatever its status would have
  // been.
  virtual void begin_stream() = 0;
  virtual bool begun() const = 0;
  virtual void send(std::string_view event) = 0;
  virtual void end_stream() = 0;

  // Called at most once, when the client goes away before the answer has ended.
  std::function<void()> on_gone;

  // Of a stream; set before begin_stream(). Only events can have comments to keep them alive.
  static constexpr std::string_view kEvents = "text/event-stream; charset=utf-8";
  // One JSON body, which may begin with blank lines.
  static constexpr std::string_view kJson = "application/json";
  static constexpr std::string_view kJsonLines = "application/x-ndjson";
  std::string_view stream_type = kEvents;
  // Sent with whatever answer comes, if it has not begun.
  std::vector<std::pair<std::string, std::string>> answer_headers;

  // For the access log.
  std::string model;
  int32_t prompt_tokens = -1;
  int32_t completion_tokens = -1;
};

class Handler {
 public:
  virtual ~Handler() = default;

  // Asked when the head has come and the body has not. A response here refuses the request.
  virtual std::optional<HttpResponse> check_head(const HttpRequest& request) = 0;
  virtual void handle(std::shared_ptr<Exchange> exchange) = 0;
  // Puts the error of `response` into the shape that the client of `request` knows.
  virtual void shape_error(const HttpRequest& request, std::string_view request_id,
                           HttpResponse* response) const = 0;
  // Called for every answer, refused requests included.
  virtual void on_answered(const HttpRequest& request, int status, int64_t took_us) = 0;
};

}  // namespace galley::gateway

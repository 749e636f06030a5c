// HttpClient: requests to an OpenAI-compatible server, answers read as they arrive.
//
// The one client behind `galley chat` and `galley bench serve`: any number of requests in flight
// on one thread, HTTP or HTTPS, server-sent events taken apart. Everything happens inside run(),
// on the thread that calls it; only stop() and post() may be called from other threads. Each
// request has a deadline and opens its own connection.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"

namespace galley::cli {

// Where a server is: "https://host:port/base". The path has no slash at its end.
struct Url {
  bool tls = false;
  std::string host;  // without the brackets of an IPv6 address
  std::string port;
  std::string path;

  std::string host_header() const;
};

// Accepts "host:port" as well. A base that ends in "/v1" is the same server as one without.
// Errors  kInvalid  names the text and what is wrong with it
Result<Url> parse_url(const std::string& text);

struct HttpLimits {
  size_t header_bytes_max = 64 << 10;
  size_t event_bytes_max = 4 << 20;
  size_t body_bytes_max = 64 << 20;  // of an answer that is not a stream
  std::chrono::milliseconds connect_timeout{10'000};
};

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

struct HttpRequest {
  std::string method = "POST";
  std::string target = {};                     // "/v1/chat/completions", after the URL's path
  std::string body = {};                       // JSON, empty for none
  HttpHeaders headers = {};                    // besides those every request has; replace them
  std::chrono::milliseconds timeout{600'000};  // of the whole request
};

// What a request hears, on the thread of run(). `on_done` comes last and exactly once.
struct HttpHandler {
  // The head of the answer; names in lower case.
  std::function<void(int http_status, const HttpHeaders& headers)> on_head = {};
  // Data of one server-sent event; only with a 2xx status and a text/event-stream answer.
  std::function<void(std::string_view data)> on_event = {};
  // The end: ok with the HTTP status and, unless it was a stream, the body; or what failed below
  // HTTP (kUnavailable: no connection or it broke; kDeadline; kCancelled; kTooLarge; kCorrupt).
  std::function<void(const Status& status, int http_status, std::string body)> on_done = {};
};

struct HttpLoop;  // what of Beast stays out of this header

class HttpClient {
 public:
  using Clock = std::chrono::steady_clock;
  using RequestId = uint64_t;

  // `api_key` is sent as a bearer token if it is not empty.
  HttpClient(Url url, std::string api_key, HttpLimits limits = {});
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  RequestId start(HttpRequest request, HttpHandler handler);
  // The request ends with kCancelled, unless it ended before.
  void cancel(RequestId id);
  // Calls `task` inside run() at `when`.
  void call_at(Clock::time_point when, std::function<void()> task);
  // Any thread: calls `task` inside run() soon.
  void post(std::function<void()> task);

  // Returns when no request is in flight and no task waits, or after stop().
  void run();
  // Any thread. Requests in flight are dropped without a word to their handlers.
  void stop();

  size_t in_flight() const;

 private:
  std::unique_ptr<HttpLoop> loop_;
};

// A request without streaming, start to end. The Status covers HTTP errors too: the server's own
// message, if it sent one.
Result<std::string> fetch(const Url& url, const std::string& api_key, HttpRequest request,
                          HttpLimits limits = {});

// The human part of an error answer: OpenAI's {"error": {"message"}} or the start of the body.
std::string error_text(int http_status, std::string_view body);

}  // namespace galley::cli

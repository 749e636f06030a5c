// Server: accepts connections, owns the one event loop, and ends it cleanly.
//
// The thread that calls run() is the event loop; it owns every connection for life. Everything a
// handler does on it must be short. Signals: SIGTERM or SIGINT drains, the second one stops.
// Draining keeps answering, with 503 and Retry-After to whatever is new, until the requests that
// were taken have ended or the time is over.
#pragma once

#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "gateway/exchange.h"
#include "gateway/limits.h"

namespace galley::gateway {

struct ServerOptions {
  std::string host = "127.0.0.1";
  uint16_t port = 8000;                   // 0: the system picks one
  std::vector<std::string> api_keys;      // empty: no authentication
  bool keys_elsewhere = false;            // in a tenant store; api_keys is empty then
  bool allow_unauthenticated = false;     // lets a server without keys listen beyond loopback
  std::vector<std::string> cors_origins;  // Access-Control-Allow-Origin; "*": any. Empty: none
  int64_t shutdown_timeout_ms = 30'000;
  bool handle_signals = true;
  ServerLimits limits;
};

// Errors  kInvalid  no keys and not loopback; a key that is empty or holds white space; a limit
//                   below its minimum
Status validate(const ServerOptions& options);

struct ServerCounts {
  int32_t connections = 0;
  int32_t exchanges = 0;  // requests being answered
  uint64_t connections_total = 0;
  uint64_t connections_refused = 0;
  uint64_t clients_gone = 0;  // before their answer ended
  uint64_t clients_slow = 0;  // dropped for not reading
  uint64_t body_bytes = 0;    // held now
};

class Server {
 public:
  explicit Server(const ServerOptions& options);
  ~Server();

  // Where other threads and timers post work for the event loop.
  boost::asio::io_context::executor_type executor();

  // Binds and listens. Errors  kInvalid  the address; kUnavailable  it cannot be bound
  Status listen();
  // "http://127.0.0.1:8000", after listen().
  std::string url() const;
  uint16_t port() const;

  // Serves until drained or stopped. `handler` outlives the call.
  void run(Handler* handler);

  // Any thread. drain(): as SIGTERM; stop(): close everything now.
  void drain();
  void stop();
  // Event loop only.
  bool draining() const;
  ServerCounts counts() const;

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace galley::gateway

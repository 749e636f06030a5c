// Connection: one client's socket, from accept to close, on the event loop that accepted it.
//
// Three activities share its buffers and never run at the same time: one read is outstanding
// whenever there is room (it fetches requests, and notices that the client has gone), one write
// whenever there is something to send, and the coroutine serve() that takes requests from the
// input and waits for their answers. Deadlines are checked from outside by tick().
#pragma once

#include <array>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "gateway/exchange.h"
#include "gateway/limits.h"
#include "gateway/server.h"

namespace galley::gateway {

// What all connections of a server share.
struct Shared {
  const ServerOptions* options = nullptr;
  const Clock* clock = nullptr;
  Handler* handler = nullptr;
  ServerCounts counts;
  bool draining = false;
};

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(boost::asio::ip::tcp::socket socket, Shared* shared);
  ~Connection();

  // Serves until either side closes. Keeps itself alive.
  boost::asio::awaitable<void> serve();

  void tick(int64_t now_ms);
  // No request has begun: may be closed without loss.
  bool idle() const { return phase_ == Phase::kIdle && input_.empty(); }
  int64_t idle_since_ms() const { return phase_since_ms_; }
  // Ends the answer in progress with an error.
  void cut_off();
  // Closes now, whatever is going on.
  void abort();

 private:
  friend class HttpExchange;
  enum class Phase { kIdle, kHead, kBody, kAnswer, kLinger };

  boost::asio::awaitable<void> wait();
  boost::asio::awaitable<bool> read_request();  // false: the connection ends
  boost::asio::awaitable<void> serve_one();
  boost::asio::awaitable<void> linger();
  void enter(Phase phase);
  void start_read();
  void start_write();
  void notify();
  void close();
  bool gone() const { return closed_ || input_ended_ || output_broken_; }
  void account_body(size_t bytes);
  bool flushed() const { return output_.empty() && sent_ == sending_.size(); }
  void send_bytes(std::string_view bytes);
  void refuse(const HttpRequest& request, HttpResponse response);
  void fault(const HttpFault& fault);
  int64_t phase_timeout_ms() const;
  bool drained() const;
  std::string allow_origin(const HttpRequest& request) const;

  boost::asio::ip::tcp::socket socket_;
  boost::asio::steady_timer wake_;
  Shared* const shared_;
  const ServerLimits& limits_;

  Phase phase_ = Phase::kIdle;
  int64_t phase_since_ms_ = 0;
  std::array<char, 16384> read_buffer_;
  std::string input_;
  bool reading_ = false;
  bool input_ended_ = false;
  std::string output_;   // waits
  std::string sending_;  // is being written
  size_t sent_ = 0;
  bool writing_ = false;
  bool output_broken_ = false;
  bool timed_out_ = false;
  bool keep_alive_ = true;
  bool closed_ = false;
  int64_t write_progress_ms_ = 0;
  uint64_t answered_ = 0;  // requests
  size_t body_bytes_ = 0;  // accounted in shared_->counts
  std::unique_ptr<HttpParser> parser_;
  std::optional<HttpResponse> refusal_;  // of the request that was read
  std::shared_ptr<class HttpExchange> exchange_;
};

}  // namespace galley::gateway

#include "gateway/server.h"

#include <sys/resource.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <csignal>
#include <set>
#include <utility>

#include "api/errors.h"
#include "base/log.h"
#include "gateway/connection.h"
#include "gateway/http_response.h"

namespace galley::gateway {
namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

Status validate(const ServerOptions& options) {
  error_code failure;
  const std::string host = options.host == "localhost" ? "127.0.0.1" : options.host;
  const asio::ip::address address = asio::ip::make_address(host, failure);
  if (failure) {
    return Status(Code::kInvalid, "host is '" + options.host +
                                      "'; it must be an IP address, such as 127.0.0.1 or 0.0.0.0");
  }
  if (options.api_keys.empty() && !options.keys_elsewhere && !address.is_loopback() &&
      !options.allow_unauthenticated) {
    return Status(Code::kInvalid,
                  "host " + options.host +
                      " is reachable from other machines but no API key is set; give --api-key, "
                      "or --allow-unauthenticated to serve everyone");
  }
  for (const std::string& key : options.api_keys) {
    const bool visible =
        std::all_of(key.begin(), key.end(), [](char c) { return c > 0x20 && c < 0x7F; });
    if (key.empty() || !visible) {
      return Status(Code::kInvalid,
                    "an API key is empty or has other than visible ASCII characters");
    }
  }
  const ServerLimits& limits = options.limits;
  if (limits.connections_max < 1 || limits.head_bytes_max < 1024 || limits.tick_ms < 1 ||
      limits.input_bytes_max < 1024 || limits.stream_bytes_max < 4096) {
    return Status(Code::kInvalid, "a limit of the HTTP server is too small to serve anything");
  }
  return Status();
}

namespace {

constexpr rlim_t kOtherDescriptors = 128;  // what the process needs beside connections

// Raises the soft limit of open descriptors towards what `options` ask for, and gives the options
// with as many connections as there can be.
ServerOptions with_descriptors(ServerOptions options) {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return options;
  const auto wanted = static_cast<rlim_t>(options.limits.connections_max) + kOtherDescriptors;
  if (limit.rlim_cur < wanted) {
    limit.rlim_cur = std::min(wanted, limit.rlim_max);
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) getrlimit(RLIMIT_NOFILE, &limit);
  }
  if (limit.rlim_cur < wanted) {
    const rlim_t left = limit.rlim_cur > 2 * kOtherDescriptors ? limit.rlim_cur - kOtherDescriptors
                                                               : limit.rlim_cur / 2;
    options.limits.connections_max = std::max(1, static_cast<int32_t>(left));
    log_warning("the system allows ", limit.rlim_cur, " open descriptors: at most ",
                options.limits.connections_max, " connections; raise `ulimit -n`");
  }
  return options;
}

}  // namespace

class Server::Impl : public std::enable_shared_from_this<Server::Impl> {
 public:
  explicit Impl(const ServerOptions& options)
      : options_(with_descriptors(options)),
        context_(1),
        acceptor_(context_),
        ticker_(context_),
        signals_(context_) {
    shared_.options = &options_;
    shared_.clock = &clock_;
  }

  Status listen() {
    error_code failure;
    const std::string host = options_.host == "localhost" ? "127.0.0.1" : options_.host;
    const asio::ip::address address = asio::ip::make_address(host, failure);
    if (failure) return Status(Code::kInvalid, "host '" + options_.host + "' is no IP address");
    const tcp::endpoint endpoint(address, options_.port);
    acceptor_.open(endpoint.protocol(), failure);
    if (!failure) acceptor_.set_option(tcp::acceptor::reuse_address(true), failure);
    if (!failure) acceptor_.bind(endpoint, failure);
    if (!failure) acceptor_.listen(asio::socket_base::max_listen_connections, failure);
    if (failure) {
      return Status(Code::kUnavailable, "cannot listen on " + options_.host + " port " +
                                            std::to_string(options_.port) + ": " +
                                            failure.message() + "; choose another --port");
    }
    return Status();
  }

  std::string url() const {
    const tcp::endpoint endpoint = acceptor_.local_endpoint();
    const std::string host = endpoint.address().is_v6() ? "[" + endpoint.address().to_string() + "]"
                                                        : endpoint.address().to_string();
    return "http://" + host + ":" + std::to_string(endpoint.port());
  }

  void run(Handler* handler) {
    shared_.handler = handler;
    if (options_.handle_signals) {
      signals_.add(SIGINT);
      signals_.add(SIGTERM);
      await_signal();
    }
    asio::co_spawn(context_, accept(), asio::detached);
    asio::co_spawn(context_, tick(), asio::detached);
    context_.run();
    for (const auto& connection : connections_) connection->abort();
    // What the closed sockets still have to say; connections end with it.
    context_.restart();
    context_.poll();
    connections_.clear();
  }

  void drain() {
    if (shared_.draining) return;
    shared_.draining = true;
    drain_until_ms_ = clock_.now_ms() + options_.shutdown_timeout_ms;
    log_info("draining: ", shared_.counts.exchanges, " requests in progress");
  }

  void stop() { context_.stop(); }

  asio::io_context& context() { return context_; }
  uint16_t port() const { return acceptor_.local_endpoint().port(); }
  const Shared& shared() const { return shared_; }

 private:
  void await_signal() {
    signals_.async_wait([this](error_code failure, int) {
      if (failure) return;
      if (shared_.draining) return stop();
      drain();
      await_signal();
    });
  }

  asio::awaitable<void> accept() {
    while (true) {
      auto [failure, socket] = co_await acceptor_.async_accept(asio::as_tuple(asio::use_awaitable));
      if (failure == asio::error::operation_aborted) co_return;
      if (failure) {  // Out of descriptors, most likely: the next tick may have freed some.
        log_warning("cannot accept a connection: ", failure.message());
        asio::steady_timer pause(context_, std::chrono::milliseconds(options_.limits.tick_ms));
        co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
        continue;
      }
      admit(std::move(socket));
    }
  }

  void admit(tcp::socket socket) {
    if (shared_.counts.connections >= options_.limits.connections_max && !close_idlest()) {
      ++shared_.counts.connections_refused;
      const std::string body =
          "{\"error\":{\"message\":\"the server has no connection left; "
          "retry\",\"type\":\"rate_limit_error\",\"param\":null,"
          "\"code\":\"overloaded\"}}";
      HttpResponse response;
      response.status = 429;
      response.body = body;
      response.headers = {{"Retry-After", "1"}};
      const std::string bytes = response_head(response, {.keep_alive = false}) + body;
      error_code ignored;
      socket.non_blocking(true, ignored);
      socket.write_some(asio::buffer(bytes), ignored);
      return;
    }
    auto connection = std::make_shared<Connection>(std::move(socket), &shared_);
    connections_.insert(connection);
    asio::co_spawn(context_, connection->serve(), [this, connection](const std::exception_ptr&) {
      connections_.erase(connection);
    });
  }

  // Makes room by closing the kept connection that has been without a request for longest.
  bool close_idlest() {
    std::shared_ptr<Connection> idlest;
    for (const auto& connection : connections_) {
      if (!connection->idle()) continue;
      if (idlest == nullptr || connection->idle_since_ms() < idlest->idle_since_ms())
        idlest = connection;
    }
    if (idlest == nullptr) return false;
    idlest->abort();
    return true;
  }

  asio::awaitable<void> tick() {
    while (true) {
      ticker_.expires_after(std::chrono::milliseconds(options_.limits.tick_ms));
      co_await ticker_.async_wait(asio::as_tuple(asio::use_awaitable));
      const int64_t now_ms = clock_.now_ms();
      const std::vector<std::shared_ptr<Connection>> all(connections_.begin(), connections_.end());
      for (const auto& connection : all) connection->tick(now_ms);
      if (!shared_.draining) continue;
      const bool late = now_ms >= drain_until_ms_;
      if (late && !cut_off_ && shared_.counts.exchanges > 0) {
        cut_off_ = true;
        log_warning("shutdown timeout: ", shared_.counts.exchanges, " requests are cut off");
        for (const auto& connection : all) connection->cut_off();
      }
      const bool too_late = now_ms >= drain_until_ms_ + options_.limits.linger_ms;
      if (too_late || (shared_.counts.exchanges == 0 && all_idle())) {
        context_.stop();
        co_return;
      }
    }
  }

  bool all_idle() const {
    return std::all_of(connections_.begin(), connections_.end(),
                       [](const auto& connection) { return connection->idle(); });
  }

  const ServerOptions options_;
  const RealClock clock_;
  Shared shared_;
  asio::io_context context_;
  tcp::acceptor acceptor_;
  asio::steady_timer ticker_;
  asio::signal_set signals_;
  std::set<std::shared_ptr<Connection>> connections_;
  int64_t drain_until_ms_ = 0;
  bool cut_off_ = false;
};

Server::Server(const ServerOptions& options) : impl_(std::make_shared<Impl>(options)) {}
Server::~Server() = default;

asio::io_context::executor_type Server::executor() {
  return impl_->context().get_executor();
}
Status Server::listen() {
  return impl_->listen();
}
std::string Server::url() const {
  return impl_->url();
}
uint16_t Server::port() const {
  return impl_->port();
}
void Server::run(Handler* handler) {
  impl_->run(handler);
}
void Server::drain() {
  asio::post(impl_->context(), [impl = impl_] { impl->drain(); });
}
void Server::stop() {
  asio::post(impl_->context(), [impl = impl_] { impl->stop(); });
}
bool Server::draining() const {
  return impl_->shared().draining;
}
ServerCounts Server::counts() const {
  return impl_->shared().counts;
}

}  // namespace galley::gateway

// TestServer: a real server on a loopback port with a fake upstream, on its own thread.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/check.h"
#include "gateway/router.h"
#include "gateway/server.h"
#include "gateway/testing/fake_upstream.h"
#include "gateway/work_pool.h"

namespace galley::gateway::testing {

class TestServer {
 public:
  static ServerOptions options() {
    ServerOptions options;
    options.port = 0;
    options.handle_signals = false;
    options.limits.tick_ms = 10;
    options.limits.linger_ms = 200;
    options.shutdown_timeout_ms = 5000;
    return options;
  }

  // An engine of 64 slots; a test may ask for another.
  static FrontDoorOptions door_options() {
    FrontDoorOptions options;
    options.capacity.slots = 64;
    options.tick_ms = 10;
    return options;
  }

  explicit TestServer(const ServerOptions& options = TestServer::options(),
                      const FrontDoorOptions& front_door = TestServer::door_options())
      : server(options), upstream(server.executor()), pool_(server.executor(), 1, 16) {
    GALLEY_CHECK(server.listen().ok(), "a loopback port");
    RouterOptions routes;
    routes.models = {{"demo", "alias/name"}, "demo", 1, 4096};
    routes.parse.vocab_size = 1000;
    routes.version = "test";
    routes.cors = !options.cors_origins.empty();
    callers_ = std::make_unique<Callers>(options.api_keys);
    door_ = std::make_unique<FrontDoor>(front_door, &upstream, callers_.get(), nullptr, &clock_,
                                        server.executor());
    router_ = std::make_unique<Router>(routes, callers_.get(), &server, door_.get(), &upstream,
                                       &pool_, [](std::string&) {});
    thread_ = std::thread([this] { server.run(router_.get()); });
  }
  ~TestServer() {
    server.stop();
    join();
  }

  void join() {
    if (thread_.joinable()) thread_.join();
  }

  uint16_t port() const { return server.port(); }

  // The counts, read on the event loop.
  ServerCounts counts() {
    ServerCounts counts;
    std::atomic<bool> done{false};
    boost::asio::post(server.executor(), [&] {
      counts = server.counts();
      done = true;
    });
    while (!done) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return counts;
  }

  Server server;
  FakeUpstream upstream;

 private:
  WorkPool pool_;
  RealClock clock_;
  std::unique_ptr<Callers> callers_;
  std::unique_ptr<FrontDoor> door_;
  std::unique_ptr<Router> router_;
  std::thread thread_;
};

inline std::string post(const std::string& path, const std::string& body,
                        const std::string& headers = "") {
  return "POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + headers +
         "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

inline std::string get(const std::string& path, const std::string& headers = "") {
  return "GET " + path + " HTTP/1.1\r\nHost: x\r\n" + headers + "\r\n";
}

inline std::string chat_body(int max_tokens, bool stream) {
  return "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"max_tokens\":" +
         std::to_string(max_tokens) + ",\"stream\":" + (stream ? "true" : "false") + "}";
}

// Waits up to `wait_ms` for `condition`.
inline bool eventually(const std::function<bool()>& condition, int wait_ms = 5000) {
  for (int waited = 0; waited < wait_ms; ++waited) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return condition();
}

}  // namespace galley::gateway::testing

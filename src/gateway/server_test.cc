// The HTTP server over real sockets: what clients do right, and what hostile ones do.
#include "gateway/server.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <boost/json.hpp>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gateway/testing/client.h"
#include "gateway/testing/test_server.h"

namespace galley::gateway {
namespace {

using testing::chat_body;
using testing::Client;
using testing::eventually;
using testing::get;
using testing::post;
using testing::TestServer;

constexpr const char* kChat = "/v1/chat/completions";

bool has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

int status_of(const std::string& response) {
  return response.size() < 12 ? 0 : std::stoi(response.substr(9, 3));
}

size_t count(const std::string& text, std::string_view part) {
  size_t found = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

TEST(Server, KeepsConnectionsAndIds) {
  TestServer server;
  Client client(server.port());
  client.send(get("/health", "X-Request-Id: abc-1\r\n"));
  const std::string first = client.read_response();
  EXPECT_EQ(status_of(first), 200);
  EXPECT_TRUE(has(first, "X-Request-Id: abc-1\r\n"));
  EXPECT_TRUE(has(first, "Connection: keep-alive"));
  client.send(get("/health", "X-Request-Id: bad id\r\n"));
  const std::string second = client.read_response();
  EXPECT_FALSE(has(second, "bad id"));
  EXPECT_EQ(second.substr(second.find("X-Request-Id: ") + 14, 32).find('\r'), std::string::npos);
  client.send(get("/nothing"));  // An error is no reason to part.
  EXPECT_EQ(status_of(client.read_response()), 404);
  client.send(get("/health", "Connection: close\r\n"));
  EXPECT_TRUE(has(client.read_to_end(), "Connection: close"));
  EXPECT_EQ(server.counts().connections_total, 1u);
}

TEST(Server, AnswersPipelinedRequestsInOrder) {
  TestServer server;
  Client client(server.port());
  client.send(get("/health", "X-Request-Id: 1\r\n") +
              post(kChat, chat_body(3, false), "X-Request-Id: 2\r\n") +
              get("/version", "X-Request-Id: 3\r\n"));
  for (const char* id : {"1", "2", "3"}) {
    const std::string response = client.read_response();
    EXPECT_EQ(status_of(response), 200);
    EXPECT_TRUE(has(response, std::string("X-Request-Id: ") + id));
  }
}

TEST(Server, PathsMethodsAndTypes) {
  TestServer server;
  struct Case {
    std::string request;
    int status;
    std::string part;
  };
  const std::string h = " HTTP/1.1\r\nHost: x\r\n";
  for (const Case& c : {
           Case{get("/nothing"), 404, "not_found"},
           Case{get("/%68ealth"), 200, "ok"},
           Case{get("/health?x=1"), 200, "ok"},
           Case{get(kChat), 405, "Allow: POST"},
           Case{post("/health", "{}"), 405, "Allow: GET, HEAD"},
           Case{"HEAD /health" + h + "Connection: close\r\n\r\n", 200, "Content-Length: 15"},
           Case{"DELETE /health" + h + "\r\n", 405, "DELETE"},
           Case{"POST " + std::string(kChat) + h + "Content-Length: 2\r\n\r\n{}", 415, "JSON"},
           Case{"POST " + std::string(kChat) + h +
                    "Content-Type: text/plain\r\n"
                    "Content-Length: 2\r\n\r\n{}",
                415, "JSON"},
           Case{post(kChat, "{}"), 400, "messages"},
           Case{post(kChat, "{"), 400, "invalid_json"},
           Case{post(kChat, ""), 400, "invalid_json"},
           Case{get("/v1/models"), 200, "alias/name"},
           Case{get("/v1/models/alias%2Fname"), 200, "\"id\":\"alias/name\""},
           Case{get("/v1/models/other"), 404, "model_not_found"},
           Case{post("/tokenize", "{\"prompt\":\"ab\"}"), 200, "[97,98]"},
           Case{post("/detokenize", "{\"tokens\":[97,98]}"), 200, "\"ab\""},
           Case{get("/ready"), 200, "ready"},
           Case{get("/version"), 200, "test"},
           Case{get("/metrics"), 200, "galley_http_requests_total"},
       }) {
    Client client(server.port());
    client.send(c.request);
    const std::string response = client.read_response();
    EXPECT_EQ(status_of(response), c.status) << c.request << response;
    EXPECT_TRUE(has(response, c.part)) << c.request << response;
  }
  Client head(server.port());
  head.send("HEAD /health" + h + "Connection: close\r\n\r\n");
  EXPECT_TRUE(head.read_to_end().ends_with("\r\n\r\n"));
}

TEST(Server, RefusesWhatIsNotHttp) {
  TestServer server;
  struct Case {
    std::string request;
    int status;
  };
  const std::string post_head =
      "POST " + std::string(kChat) + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
  for (const Case& c : {
           Case{"\x16\x03\x01\x02hello\r\n\r\n", 400},
           Case{"GET /health\r\n\r\n", 400},
           Case{"GET /health HTTP/2.0\r\nHost: x\r\n\r\n", 505},
           Case{"GET /health HTTP/1.1\r\n\r\n", 400},
           Case{"GET /health HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400},
           Case{"GET /health HTTP/1.1\r\nHost: x\r\nBad Name: y\r\n\r\n", 400},
           Case{"GET health HTTP/1.1\r\nHost: x\r\n\r\n", 400},
           Case{"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400},
           Case{"GET /%00 HTTP/1.1\r\nHost: x\r\n\r\n", 400},
           Case{"GET /" + std::string(40'000, 'a') + " HTTP/1.1\r\nHost: x\r\n\r\n", 431},
           Case{"GET / HTTP/1.1\r\nHost: x\r\nA: " + std::string(40'000, 'a') + "\r\n\r\n", 431},
           Case{post_head + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400},
           Case{post_head + "Content-Length: -2\r\n\r\n{}", 400},
           Case{post_head + "Content-Length: 18446744073709551617\r\n\r\n{}", 400},
           Case{post_head + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                400},
           Case{post_head + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501},
           Case{post_head + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400},
           Case{post_head + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}xyz\r\n", 400},
           Case{post_head + "Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n", 400},
           Case{post_head + "Content-Length: 99999999\r\n\r\n", 413},
           Case{post_head + "Transfer-Encoding: chunked\r\n\r\n7FFFFFFF\r\n", 413},
           Case{post_head + "Expect: magic\r\nContent-Length: 2\r\n\r\n", 417},
       }) {
    Client client(server.port());
    client.send(c.request);
    const std::string response = client.read_to_end();
    EXPECT_EQ(status_of(response), c.status) << c.request.substr(0, 200) << "\n" << response;
    EXPECT_EQ(count(response, "Server: galley"), 1u) << c.request.substr(0, 200);
    EXPECT_TRUE(has(response, "\"error\"")) << c.request.substr(0, 200);
  }
  Client many(server.port());
  std::string fields;
  for (int i = 0; i < 101; ++i) fields += "a: b\r\n";
  many.send("GET /health HTTP/1.1\r\nHost: x\r\n" + fields + "\r\n");
  EXPECT_EQ(status_of(many.read_to_end()), 431);
}

TEST(Server, TakesBodiesInEveryShape) {
  TestServer server;
  const std::string body = chat_body(2, false);
  const std::string head =
      "POST " + std::string(kChat) + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
  std::string chunks;
  for (const char c : body) chunks += "1;ext=1\r\n" + std::string(1, c) + "\r\n";
  {
    Client client(server.port());
    client.send(head + "Transfer-Encoding: chunked\r\n\r\n" + chunks + "0\r\nTrailer: x\r\n\r\n");
    EXPECT_EQ(status_of(client.read_response()), 200);
  }
  {  // One byte at a time.
    Client client(server.port());
    for (const char c : post(kChat, body)) client.send(std::string_view(&c, 1));
    EXPECT_EQ(status_of(client.read_response()), 200);
  }
  {
    Client client(server.port());
    client.send(head + "Expect: 100-continue\r\nContent-Length: " + std::to_string(body.size()) +
                "\r\n\r\n");
    EXPECT_EQ(client.read_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
    client.send(body);
    EXPECT_EQ(status_of(client.read_response()), 200);
  }
  {  // No body is asked for when the head is refused.
    Client client(server.port());
    client.send(
        "POST /nothing HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
        "Content-Length: 5\r\n\r\n");
    EXPECT_EQ(status_of(client.read_response()), 404);
  }
  {  // Large enough to be parsed off the event loop.
    Client client(server.port());
    client.send(post(kChat, "{\"messages\":[{\"role\":\"user\",\"content\":\"" +
                                std::string(300'000, 'x') + "\"}],\"max_tokens\":1}"));
    EXPECT_EQ(status_of(client.read_response()), 200);
  }
  EXPECT_TRUE(eventually([&] { return server.counts().body_bytes == 0; }));
}

TEST(Server, Http10) {
  TestServer server;
  const std::string body = chat_body(3, true);
  Client client(server.port());
  client.send("POST " + std::string(kChat) +
              " HTTP/1.0\r\nContent-Type: application/json\r\n"
              "Content-Length: " +
              std::to_string(body.size()) + "\r\n\r\n" + body);
  const std::string response = client.read_to_end();
  EXPECT_TRUE(response.starts_with("HTTP/1.0 200"));
  EXPECT_FALSE(has(response, "chunked"));
  EXPECT_TRUE(response.ends_with("data: [DONE]\n\n"));
  Client plain(server.port());
  plain.send("GET /health HTTP/1.0\r\n\r\n");
  EXPECT_TRUE(has(plain.read_to_end(), "Connection: close"));
}

TEST(Server, StreamsEvents) {
  TestServer server;
  Client client(server.port());
  client.send(post(kChat, chat_body(5, true)));
  const std::string response = client.read_until("0\r\n\r\n");
  EXPECT_TRUE(has(response, "Content-Type: text/event-stream"));
  EXPECT_EQ(count(response, "\"content\":\"word \""), 5u);
  EXPECT_EQ(count(response, "\"finish_reason\":\"length\""), 1u);
  EXPECT_TRUE(has(response, "data: [DONE]\n\n"));
  client.send(get("/health"));  // The connection is still good.
  EXPECT_EQ(status_of(client.read_response()), 200);
}

TEST(Server, ErrorsBeforeAndAfterTheFirstByte) {
  TestServer server;
  server.upstream.refuse_with = api::error_of(Status(Code::kOverloaded, "queue is full"));
  Client early(server.port());
  early.send(post(kChat, chat_body(5, true)));
  const std::string refused = early.read_response();
  EXPECT_EQ(status_of(refused), 429);
  EXPECT_TRUE(has(refused, "Retry-After: 1"));
  server.upstream.refuse_with.reset();
  server.upstream.change([](auto& fake) {
    fake.fail_with = api::error_of(Status(Code::kUnavailable, "engine failed"));
  });
  Client late(server.port());
  late.send(post(kChat, chat_body(3, true)));
  const std::string broken = late.read_until("0\r\n\r\n");
  EXPECT_EQ(status_of(broken), 200);
  EXPECT_TRUE(has(broken, "data: {\"error\":{\"message\":\"engine failed\""));
  EXPECT_TRUE(has(broken, "data: [DONE]"));
}

TEST(Server, CancelsWhenTheClientGoes) {
  TestServer server;
  server.upstream.pause_ms = 5;
  for (const bool stream : {true, false}) {
    const int before = server.upstream.cancelled;
    Client client(server.port());
    client.send(post(kChat, chat_body(1'000'000, stream)));
    if (stream) client.read_until("word ");
    if (!stream) {
      EXPECT_TRUE(eventually([&] { return server.counts().exchanges == 1; }));
    }
    stream ? client.reset() : client.close();
    EXPECT_TRUE(eventually([&] { return server.upstream.cancelled == before + 1; }));
    EXPECT_TRUE(eventually([&] { return server.counts().connections == 0; }));
  }
  EXPECT_EQ(server.counts().clients_gone, 2u);
}

TEST(Server, TimesOutSlowRequests) {
  ServerOptions options = TestServer::options();
  options.limits.head_timeout_ms = 150;
  options.limits.body_timeout_ms = 150;
  options.limits.idle_timeout_ms = 150;
  TestServer server(options);
  Client half(server.port());
  half.send("GET /health HT");
  EXPECT_EQ(status_of(half.read_to_end()), 408);
  Client body(server.port());
  body.send("POST " + std::string(kChat) +
            " HTTP/1.1\r\nHost: x\r\n"
            "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{");
  EXPECT_EQ(status_of(body.read_to_end()), 408);
  Client idle(server.port());
  EXPECT_TRUE(idle.closed_by_peer());
  Client dripping(server.port());
  const auto begin = std::chrono::steady_clock::now();
  for (const char c : std::string(200, 'a')) {
    if (!dripping.send(std::string_view(&c, 1))) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  EXPECT_TRUE(dripping.closed_by_peer());
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(4));
  EXPECT_TRUE(eventually([&] { return server.counts().connections == 0; }));
}

TEST(Server, DropsSlowReaders) {
  ServerOptions options = TestServer::options();
  options.limits.stream_bytes_max = 64u << 10;
  TestServer server(options);
  server.upstream.word = std::string(10'000, 'w');
  server.upstream.pause_ms = 0;
  Client client(server.port(), 4096);
  client.send(post(kChat, chat_body(1'000'000, true)));
  EXPECT_TRUE(eventually([&] { return server.upstream.cancelled == 1; }, 20'000));
  EXPECT_EQ(server.counts().clients_slow, 1u);
}

TEST(Server, WriteTimeout) {
  ServerOptions options = TestServer::options();
  options.limits.write_timeout_ms = 200;
  TestServer server(options);
  server.upstream.word = std::string(8'000'000, 'w');
  Client client(server.port(), 4096);
  client.send(post(kChat, chat_body(1, false)));
  EXPECT_TRUE(eventually([&] { return server.counts().clients_slow == 1; }));
  EXPECT_TRUE(eventually([&] { return server.counts().connections == 0; }));
}

TEST(Server, SendsCommentsWhileNothingComes) {
  ServerOptions options = TestServer::options();
  options.limits.keep_alive_comment_ms = 50;
  TestServer server(options);
  server.upstream.pause_ms = 400;
  Client client(server.port());
  client.send(post(kChat, chat_body(2, true)));
  EXPECT_GE(count(client.read_until("[DONE]"), ": keep-alive\n\n"), 3u);
}

TEST(Server, ManyStreamsAtOnce) {
  TestServer server;
  constexpr int kStreams = 64;
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < kStreams; ++i) {
    clients.push_back(std::make_unique<Client>(server.port()));
    clients.back()->send(post(kChat, chat_body(i + 1, true)));
  }
  for (int i = 0; i < kStreams; ++i) {
    const std::string response = clients[static_cast<size_t>(i)]->read_until("[DONE]\n\n");
    EXPECT_EQ(count(response, "word "), static_cast<size_t>(i + 1));
  }
}

TEST(Server, BoundsConnections) {
  ServerOptions options = TestServer::options();
  options.limits.connections_max = 2;
  TestServer server(options);
  server.upstream.pause_ms = 5;
  Client first(server.port());
  first.send(post(kChat, chat_body(100'000, true)));
  first.read_until("word ");
  Client idle(server.port());
  idle.send(get("/health"));
  EXPECT_EQ(status_of(idle.read_response()), 200);
  EXPECT_TRUE(eventually([&] { return server.counts().exchanges == 1; }));
  Client second(server.port());  // The idle one makes room.
  second.send(post(kChat, chat_body(100'000, true)));
  const std::string answer = second.read_until("word ");
  EXPECT_EQ(status_of(answer), 200) << answer;
  EXPECT_TRUE(idle.closed_by_peer());
  Client third(server.port());
  EXPECT_EQ(status_of(third.read_to_end()), 429);
}

TEST(Server, BoundsBodiesInMemory) {
  ServerOptions options = TestServer::options();
  options.limits.body_bytes_total_max = 1u << 20;
  TestServer server(options);
  const std::string head = "POST " + std::string(kChat) +
                           " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                           "Content-Length: 8000000\r\n\r\n";
  Client client(server.port());
  client.send(head + std::string(2u << 20, ' '));
  EXPECT_EQ(status_of(client.read_response()), 429);
  EXPECT_TRUE(eventually([&] { return server.counts().body_bytes == 0; }));
}

TEST(Server, ApiKeys) {
  ServerOptions options = TestServer::options();
  options.api_keys = {"key-one", "key-two"};
  TestServer server(options);
  const auto status = [&](const std::string& request) {
    Client client(server.port());
    client.send(request);
    return status_of(client.read_response());
  };
  EXPECT_EQ(status(get("/v1/models")), 401);
  EXPECT_EQ(status(get("/v1/models", "Authorization: Bearer key-on\r\n")), 401);
  EXPECT_EQ(status(get("/v1/models", "Authorization: Bearer key-one2\r\n")), 401);
  EXPECT_EQ(status(get("/v1/models", "Authorization: Basic key-one\r\n")), 401);
  EXPECT_EQ(status(get("/v1/models", "Authorization: Bearer \r\n")), 401);
  EXPECT_EQ(status(get("/nothing")), 401);
  EXPECT_EQ(status(get("/v1/models", "Authorization: Bearer key-one\r\n")), 200);
  EXPECT_EQ(status(get("/v1/models", "Authorization: bearer key-two\r\n")), 200);
  EXPECT_EQ(status(get("/health")), 200);
  EXPECT_EQ(status(get("/metrics")), 200);
}

TEST(Server, EveryPathOfItsDescriptionIsThere) {
  TestServer server;
  Client client(server.port());
  client.send(get("/openapi.json"));
  const std::string answer = client.read_response();
  const boost::json::value document =
      boost::json::parse(answer.substr(answer.find("\r\n\r\n") + 4));
  EXPECT_GT(document.at("paths").as_object().size(), 12u);
  for (const auto& path : document.at("paths").as_object()) {
    const bool posts = path.value().as_object().contains("post");
    client.send(posts ? post(std::string(path.key()), "[]") : get(std::string(path.key())));
    EXPECT_EQ(status_of(client.read_response()), posts ? 400 : 200) << path.key();
  }
}

TEST(Server, ErrorsSpeakTheLanguageOfTheirPath) {
  TestServer server;
  const auto error_of = [&](const std::string& request) {
    Client client(server.port());
    client.send(request);
    const std::string answer = client.read_response();
    return answer.substr(answer.find("\r\n\r\n") + 4);
  };
  EXPECT_TRUE(error_of(post("/v1/messages", "{}")).starts_with("{\"type\":\"error\",\"error\":"));
  EXPECT_TRUE(error_of(get("/v1/messages")).starts_with("{\"type\":\"error\","));
  EXPECT_TRUE(error_of(post("/api/chat", "[]")).starts_with("{\"error\":\"the body"));
  EXPECT_TRUE(error_of(post("/v1/responses", "{}")).starts_with("{\"error\":{\"message\":"));
  EXPECT_TRUE(error_of(post("/beta/chat/completions", "{}")).starts_with("{\"error\":{"));
}

TEST(Server, DeadlineHeader) {
  TestServer server;
  for (const char* bad : {"0", "-1", "1.5", "soon", "86400001", "99999999999999999999"}) {
    Client client(server.port());  // Refused before its body has come, which ends a connection.
    client.send(
        post(kChat, chat_body(2, false), "X-Galley-Deadline-Ms: " + std::string(bad) + "\r\n"));
    const std::string answer = client.read_response();
    EXPECT_EQ(status_of(answer), 400) << bad;
    EXPECT_TRUE(has(answer, "\"param\":\"x-galley-deadline-ms\"")) << answer;
  }
  EXPECT_FALSE(server.upstream.deadline_ms);
  Client client(server.port());
  client.send(post(kChat, chat_body(2, false), "x-galley-deadline-ms: 86400000\r\n"));
  EXPECT_EQ(status_of(client.read_response()), 200);
  EXPECT_EQ(server.upstream.deadline_ms, 86'400'000);
  client.send(post("/v1/completions", "{\"prompt\":\"x\",\"max_tokens\":2}",
                   "x-galley-deadline-ms: 7000\r\n"));
  EXPECT_EQ(status_of(client.read_response()), 200);
  EXPECT_EQ(server.upstream.deadline_ms, 7000);
}

TEST(Server, ReadyFollowsTheUpstream) {
  TestServer server;
  Client client(server.port());
  client.send(get("/ready"));
  EXPECT_EQ(status_of(client.read_response()), 200);
  server.upstream.is_ready = false;
  client.send(get("/ready"));
  const std::string answer = client.read_response();
  EXPECT_EQ(status_of(answer), 503);
  EXPECT_TRUE(has(answer, "Retry-After:"));
  client.send(get("/health"));
  EXPECT_EQ(status_of(client.read_response()), 200) << "the process is alive";
}

TEST(Server, Cors) {
  ServerOptions options = TestServer::options();
  options.cors_origins = {"https://a.example"};
  TestServer server(options);
  Client client(server.port());
  client.send("OPTIONS " + std::string(kChat) +
              " HTTP/1.1\r\nHost: x\r\nOrigin: https://a.example\r\n\r\n");
  const std::string preflight = client.read_until("\r\n\r\n");
  EXPECT_EQ(status_of(preflight), 204);
  EXPECT_TRUE(has(preflight, "Access-Control-Allow-Origin: https://a.example"));
  client.send(get("/health", "Origin: https://evil.example\r\n"));
  EXPECT_FALSE(has(client.read_response(), "Access-Control-Allow-Origin"));
  TestServer closed;
  Client other(closed.port());
  other.send("OPTIONS " + std::string(kChat) + " HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(status_of(other.read_response()), 405);
}

TEST(Server, DrainFinishesWhatWasTaken) {
  TestServer server;
  server.upstream.pause_ms = 5;
  Client stream(server.port());
  stream.send(post(kChat, chat_body(200, true)));
  stream.read_until("word ");
  Client idle(server.port());
  server.server.drain();
  Client late(server.port());
  late.send(post(kChat, chat_body(1, true)));
  const std::string refused = late.read_response();
  EXPECT_EQ(status_of(refused), 503);
  EXPECT_TRUE(has(refused, "Retry-After: "));
  Client probe(server.port());
  probe.send(get("/ready"));
  EXPECT_EQ(status_of(probe.read_response()), 503);
  const std::string rest = stream.read_to_end();
  EXPECT_TRUE(has(rest, "[DONE]"));
  EXPECT_EQ(count(rest, "word ") + 1, 200u);
  EXPECT_TRUE(idle.closed_by_peer());
  server.join();
  EXPECT_EQ(server.upstream.cancelled, 0);
}

TEST(Server, DrainHasAnEnd) {
  ServerOptions options = TestServer::options();
  options.shutdown_timeout_ms = 200;
  TestServer server(options);
  server.upstream.pause_ms = 5;
  Client stream(server.port());
  stream.send(post(kChat, chat_body(1'000'000, true)));
  stream.read_until("word ");
  server.server.drain();
  const std::string rest = stream.read_to_end();
  EXPECT_TRUE(has(rest, "data: {\"error\":{\"message\":\"the server shut down"));
  EXPECT_FALSE(has(rest, "\"finish_reason\":\"length\""));
  server.join();
  EXPECT_EQ(server.upstream.cancelled, 1);
}

TEST(Server, Validation) {
  ServerOptions options;
  EXPECT_TRUE(validate(options).ok());
  options.host = "0.0.0.0";
  EXPECT_EQ(validate(options).code(), Code::kInvalid);
  options.allow_unauthenticated = true;
  EXPECT_TRUE(validate(options).ok());
  options.allow_unauthenticated = false;
  options.api_keys = {"k"};
  EXPECT_TRUE(validate(options).ok());
  options.api_keys = {"a b"};
  EXPECT_FALSE(validate(options).ok());
  options.api_keys = {};
  options.host = "nonsense";
  EXPECT_FALSE(validate(options).ok());
  options.host = "::1";
  EXPECT_TRUE(validate(options).ok());
}

}  // namespace
}  // namespace galley::gateway

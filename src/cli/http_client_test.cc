#include "cli/http_client.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <thread>
#include <vector>

namespace galley::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Takes one connection on a loopback port, reads a request's header and answers with `pieces`, a
// short pause between them; then closes, or holds the connection open until the peer closes it.
class OneAnswer {
 public:
  explicit OneAnswer(std::vector<std::string> pieces, bool hold = false) {
    listener_ = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(::listen(listener_, 4), 0);
    socklen_t size = sizeof(address);
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    url_ = "http://127.0.0.1:" + std::to_string(ntohs(address.sin_port));
    thread_ = std::thread([this, pieces = std::move(pieces), hold] {
      const int peer = ::accept(listener_, nullptr, nullptr);
      char bytes[4096];
      while (request.find("\r\n\r\n") == std::string::npos) {
        const ssize_t got = ::read(peer, bytes, sizeof(bytes));
        if (got <= 0) break;
        request.append(bytes, static_cast<size_t>(got));
      }
      for (const std::string& piece : pieces) {
        EXPECT_EQ(::send(peer, piece.data(), piece.size(), MSG_NOSIGNAL),
                  static_cast<ssize_t>(piece.size()));
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
      }
      while (hold && ::read(peer, bytes, sizeof(bytes)) > 0) {
      }
      ::close(peer);
    });
  }
  ~OneAnswer() {
    thread_.join();
    ::close(listener_);
  }
  Url url() const { return *parse_url(url_); }
  std::string request;  // valid after the answer

 private:
  int listener_ = -1;
  std::string url_;
  std::thread thread_;
};

struct Heard {
  std::vector<std::string> events;
  Status status;
  int http_status = 0;
  std::string body;
  int done = 0;

  HttpHandler handler() {
    HttpHandler out;
    out.on_event = [this](std::string_view data) { events.emplace_back(data); };
    out.on_done = [this](const Status& end, int code, std::string text) {
      status = end;
      http_status = code;
      body = std::move(text);
      ++done;
    };
    return out;
  }
};

Heard ask(const Url& url, std::chrono::milliseconds timeout = std::chrono::milliseconds(5000),
          HttpLimits limits = {}) {
  Heard heard;
  HttpClient client(url, "secret", limits);
  client.start({.target = "/v1/x", .body = "{}", .timeout = timeout}, heard.handler());
  client.run();
  EXPECT_EQ(heard.done, 1);
  EXPECT_EQ(client.in_flight(), 0u);
  return heard;
}

TEST(HttpClient, UrlsAreParsedAndRefused) {
  const Url url = *parse_url("https://[::1]:8443/base/v1/");
  EXPECT_TRUE(url.tls);
  EXPECT_EQ(url.host, "::1");
  EXPECT_EQ(url.port, "8443");
  EXPECT_EQ(url.path, "/base");
  EXPECT_EQ(url.host_header(), "[::1]:8443");
  EXPECT_EQ(parse_url("localhost:80")->host_header(), "localhost");
  EXPECT_EQ(parse_url("https://a.example")->port, "443");
  for (const char* text : {"", "ftp://a", "http://", "http://u:p@a", "http://a?b", "http://a b"}) {
    EXPECT_FALSE(parse_url(text).ok()) << text;
  }
}

TEST(HttpClient, ReadsAPlainAnswerAndSendsTheKey) {
  OneAnswer server({"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", "lo"});
  const Heard heard = ask(server.url());
  EXPECT_TRUE(heard.status.ok()) << heard.status.message();
  EXPECT_EQ(heard.http_status, 200);
  EXPECT_EQ(heard.body, "hello");
  EXPECT_THAT(server.request, HasSubstr("POST /v1/x HTTP/1.1\r\n"));
  EXPECT_THAT(server.request, HasSubstr("Authorization: Bearer secret\r\n"));
}

TEST(HttpClient, StreamsEventsAsTheyCome) {
  OneAnswer server(
      {"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
       "Transfer-Encoding: chunked\r\n\r\n",
       "7\r\ndata: a\r\n2\r\n\n\n\r\n", "B\r\ndata: bcd\n\n\r\n0\r\n\r\n"});
  const Heard heard = ask(server.url());
  EXPECT_TRUE(heard.status.ok()) << heard.status.message();
  EXPECT_THAT(heard.events, ElementsAre("a", "bcd"));
  EXPECT_EQ(heard.body, "");
}

TEST(HttpClient, AnErrorAnswerKeepsItsBody) {
  OneAnswer server(
      {"HTTP/1.1 400 Bad\r\nContent-Type: text/event-stream\r\n"
       "Content-Length: 33\r\n\r\n{\"error\":{\"message\":\"no such n\"}}\n"});
  const Heard heard = ask(server.url());
  EXPECT_EQ(heard.http_status, 400);
  EXPECT_EQ(error_text(heard.http_status, heard.body), "HTTP 400: no such n");
  EXPECT_EQ(error_text(502, "oh\x1b[1m"), "HTTP 502: oh [1m");
}

TEST(HttpClient, SaysWhenTheConnectionBreaks) {
  OneAnswer cut({"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhel"});
  EXPECT_EQ(ask(cut.url()).status.code(), Code::kUnavailable);
  Url nobody = *parse_url("http://127.0.0.1:1");
  EXPECT_THAT(ask(nobody).status.message(), HasSubstr("cannot connect (127.0.0.1:1)"));
  OneAnswer garbage({"SMTP ready\r\n\r\n"});
  EXPECT_EQ(ask(garbage.url()).status.code(), Code::kUnavailable);
}

TEST(HttpClient, TheDeadlineEndsASilentServer) {
  OneAnswer server({"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhel"}, /*hold=*/true);
  EXPECT_EQ(ask(server.url(), std::chrono::milliseconds(100)).status.code(), Code::kDeadline);
}

TEST(HttpClient, BoundsWhatAServerMaySend) {
  HttpLimits limits;
  limits.body_bytes_max = 10;
  limits.event_bytes_max = 10;
  OneAnswer body({"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n01234567890123456789"}, true);
  EXPECT_EQ(ask(body.url(), std::chrono::milliseconds(5000), limits).status.code(),
            Code::kTooLarge);
  OneAnswer event({"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 0123456789"},
                  true);
  EXPECT_EQ(ask(event.url(), std::chrono::milliseconds(5000), limits).status.code(),
            Code::kTooLarge);
}

TEST(HttpClient, CancelFromAHandlerClosesTheConnection) {
  OneAnswer server({"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: a\n\n"},
                   /*hold=*/true);
  HttpClient client(server.url(), "");
  Heard heard;
  HttpHandler handler = heard.handler();
  HttpClient::RequestId id = 0;
  handler.on_event = [&](std::string_view) { client.cancel(id); };
  id = client.start({.target = "/", .body = "{}"}, std::move(handler));
  client.run();
  EXPECT_EQ(heard.done, 1);
  EXPECT_EQ(heard.status.code(), Code::kCancelled);
}

}  // namespace
}  // namespace galley::cli

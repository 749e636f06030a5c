#include "cli/http_client.h"

#include <openssl/ssl.h>

#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/error.hpp>
#include <boost/asio/ssl/host_name_verification.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <boost/beast/ssl/ssl_stream.hpp>
#include <boost/json/parse.hpp>
#include <boost/url/parse.hpp>
#include <cstdlib>
#include <optional>
#include <unordered_map>

#include "cli/sse_reader.h"

namespace galley::cli {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using boost::system::error_code;
using tcp = asio::ip::tcp;

std::string Url::host_header() const {
  std::string out = host.find(':') == std::string::npos ? host : "[" + host + "]";
  if (port != (tls ? "443" : "80")) out += ":" + port;
  return out;
}

Result<Url> parse_url(const std::string& text) {
  const std::string full = text.find("://") == std::string::npos ? "http://" + text : text;
  const auto parsed = boost::urls::parse_uri(full);
  if (parsed.has_error()) {
    return Status(Code::kInvalid, "'" + text + "' is not a URL; write http://127.0.0.1:8000");
  }
  const boost::urls::url_view view = parsed.value();
  Url out;
  if (view.scheme() == "https") {
    out.tls = true;
  } else if (view.scheme() != "http") {
    return Status(Code::kInvalid, "'" + text + "': only http:// and https:// are spoken");
  }
  if (view.has_userinfo() || view.has_query() || view.has_fragment()) {
    return Status(Code::kInvalid,
                  "'" + text + "': give scheme, host, port and path only; a key goes in --api-key");
  }
  out.host = view.host_address();
  if (out.host.empty()) return Status(Code::kInvalid, "'" + text + "' names no host");
  out.port = view.has_port() && !view.port().empty() ? std::string(view.port())
             : out.tls                               ? "443"
                                                     : "80";
  out.path = view.encoded_path();
  while (out.path.ends_with('/')) out.path.pop_back();
  if (out.path.ends_with("/v1")) out.path.resize(out.path.size() - 3);
  return out;
}

// Owns the loop and the sessions in flight.
struct HttpLoop {
  // One request on one connection. The template below knows the kind of stream.
  struct Session {
    virtual ~Session() = default;
    virtual void begin() = 0;
    virtual void fail(Status status) = 0;
  };

  HttpLoop(Url where, std::string key, HttpLimits bounds)
      : url(std::move(where)), api_key(std::move(key)), limits(bounds) {
    if (!url.tls) return;
    tls_context.emplace(asio::ssl::context::tls_client);
    error_code ignored;  // without certificates the handshake fails and says so
    tls_context->set_default_verify_paths(ignored);
    tls_context->set_verify_mode(asio::ssl::verify_peer);
  }

  void forget(HttpClient::RequestId id) { sessions.erase(id); }

  const Url url;
  const std::string api_key;
  const HttpLimits limits;
  asio::io_context loop{1};
  std::optional<asio::ssl::context> tls_context;
  std::unordered_map<HttpClient::RequestId, std::shared_ptr<Session>> sessions;
  HttpClient::RequestId next_id = 1;
};

namespace {

beast::tcp_stream& lowest(beast::tcp_stream& stream) {
  return stream;
}
beast::tcp_stream& lowest(beast::ssl_stream<beast::tcp_stream>& stream) {
  return stream.next_layer();
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

}  // namespace

template <typename Stream>
class StreamSession final : public HttpLoop::Session,
                            public std::enable_shared_from_this<StreamSession<Stream>> {
 public:
  template <typename... StreamArgs>
  StreamSession(HttpLoop* owner, HttpClient::RequestId id, HttpRequest request, HttpHandler handler,
                StreamArgs&&... stream_args)
      : owner_(owner),
        id_(id),
        handler_(std::move(handler)),
        stream_(std::forward<StreamArgs>(stream_args)...),
        resolver_(owner->loop),
        deadline_(owner->loop),
        timeout_(request.timeout),
        buffer_(owner->limits.header_bytes_max),
        events_(owner->limits.event_bytes_max) {
    message_.method_string(request.method);
    message_.target(owner->url.path + request.target);
    message_.version(11);
    message_.set(http::field::host, owner->url.host_header());
    message_.set(http::field::user_agent, "galley");
    message_.set(http::field::accept, "text/event-stream, application/json");
    message_.set(http::field::connection, "close");
    if (!owner->api_key.empty()) {
      message_.set(http::field::authorization, "Bearer " + owner->api_key);
    }
    if (!request.body.empty()) message_.set(http::field::content_type, "application/json");
    for (const auto& [name, value] : request.headers) message_.set(name, value);
    message_.body() = std::move(request.body);
    message_.prepare_payload();
  }

  void begin() override {
    auto self = this->shared_from_this();
    deadline_.expires_after(timeout_);
    deadline_.async_wait([self](error_code error) {
      if (error) return;
      self->fail(Status(Code::kDeadline, "no complete answer within " +
                                             std::to_string(self->timeout_.count()) + " ms"));
    });
    error_code no_address;
    const auto address = asio::ip::make_address(owner_->url.host, no_address);
    if (!no_address) {  // Nothing to ask for, which would take a thread.
      const int port = std::atoi(owner_->url.port.c_str());
      lowest(stream_).expires_after(owner_->limits.connect_timeout);
      lowest(stream_).async_connect(tcp::endpoint(address, static_cast<uint16_t>(port)),
                                    [self](error_code error) { self->connected(error); });
      return;
    }
    resolver_.async_resolve(
        owner_->url.host, owner_->url.port,
        [self](error_code error, const tcp::resolver::results_type& addresses) {
          if (error) return self->broken("cannot resolve the host", error);
          lowest(self->stream_).expires_after(self->owner_->limits.connect_timeout);
          lowest(self->stream_)
              .async_connect(addresses, [self](error_code connect_error, const tcp::endpoint&) {
                self->connected(connect_error);
              });
        });
  }

  void fail(Status status) override { finish(status, 0, ""); }

 private:
  void broken(const char* what, error_code error) {
    if (done_) return;
    if (!open_ && error == beast::error::timeout) {
      return fail(Status(Code::kUnavailable,
                         "no connection to " + owner_->url.host + ":" + owner_->url.port +
                             " within " + std::to_string(owner_->limits.connect_timeout.count()) +
                             " ms"));
    }
    fail(Status(Code::kUnavailable, std::string(what) + " (" + owner_->url.host + ":" +
                                        owner_->url.port + "): " + error.message()));
  }

  void connected(error_code error) {
    if (error) return broken("cannot connect", error);
    error_code ignored;
    lowest(stream_).socket().set_option(tcp::no_delay(true), ignored);
    if constexpr (std::is_same_v<Stream, beast::tcp_stream>) {
      write();
    } else {
      stream_.set_verify_callback(asio::ssl::host_name_verification(owner_->url.host));
      SSL_set_tlsext_host_name(stream_.native_handle(), owner_->url.host.c_str());
      stream_.async_handshake(asio::ssl::stream_base::client,
                              [self = this->shared_from_this()](error_code tls_error) {
                                if (tls_error) return self->broken("TLS failed", tls_error);
                                self->write();
                              });
    }
  }

  void write() {
    if (done_) return;
    open_ = true;
    lowest(stream_).expires_never();  // from here on deadline_ watches
    http::async_write(stream_, message_,
                      [self = this->shared_from_this()](error_code error, size_t) {
                        // A server may answer before it has read everything: read anyway.
                        if (error && error != asio::error::broken_pipe &&
                            error != asio::error::connection_reset) {
                          return self->broken("sending failed", error);
                        }
                        self->read_header();
                      });
  }

  void read_header() {
    if (done_) return;
    parser_.header_limit(static_cast<uint32_t>(owner_->limits.header_bytes_max));
    parser_.body_limit(boost::none);  // take_body() bounds what is kept
    http::async_read_header(
        stream_, buffer_, parser_, [self = this->shared_from_this()](error_code error, size_t) {
          if (error) return self->broken("the connection broke before an answer", error);
          const auto& header = self->parser_.get();
          self->tell_head();
          if (self->done_) return;
          const auto type = header.find(http::field::content_type);
          self->streaming_ = header.result_int() / 100 == 2 && type != header.end() &&
                             lower(std::string_view(type->value().data(), type->value().size()))
                                 .starts_with("text/event-stream");
          self->read_body();
        });
  }

  void tell_head() {
    if (!handler_.on_head) return;
    HttpHeaders headers;
    for (const auto& field : parser_.get())
      headers.emplace_back(lower({field.name_string().data(), field.name_string().size()}),
                           std::string(field.value()));
    handler_.on_head(static_cast<int>(parser_.get().result_int()), headers);
  }

  void read_body() {
    if (done_ || !take_body()) return;
    if (parser_.is_done()) {
      return finish(Status(), static_cast<int>(parser_.get().result_int()), std::move(body_));
    }
    http::async_read_some(stream_, buffer_, parser_,
                          [self = this->shared_from_this()](error_code error, size_t) {
                            // Many servers end a stream over TLS without a farewell; whoever
                            // reads events knows by [DONE] whether it was whole.
                            if (self->streaming_ && error == asio::ssl::error::stream_truncated) {
                              return self->end_of_stream();
                            }
                            if (error) return self->broken("the connection broke", error);
                            self->read_body();
                          });
  }

  void end_of_stream() {
    if (!take_body()) return;
    finish(Status(), static_cast<int>(parser_.get().result_int()), "");
  }

  // Moves what has been read out of the parser. False: the request is over.
  bool take_body() {
    std::string& piece = parser_.get().body();
    if (piece.empty()) return true;
    Status status;
    if (!streaming_) {
      if (body_.size() + piece.size() > owner_->limits.body_bytes_max) {
        status =
            Status(Code::kTooLarge, "the answer is larger than " +
                                        std::to_string(owner_->limits.body_bytes_max) + " bytes");
      }
      body_.append(piece);
    } else {
      status = events_.feed(piece, [this](std::string_view data) {
        if (!done_ && handler_.on_event) handler_.on_event(data);
      });
    }
    piece.clear();
    if (!status.ok()) fail(status);
    return !done_;  // a handler may have cancelled
  }

  void finish(const Status& status, int http_status, std::string body) {
    if (done_) return;
    done_ = true;
    const auto self = this->shared_from_this();
    deadline_.cancel();
    resolver_.cancel();
    lowest(stream_).close();
    owner_->forget(id_);
    if (handler_.on_done) handler_.on_done(status, http_status, std::move(body));
  }

  HttpLoop* const owner_;
  const HttpClient::RequestId id_;
  HttpHandler handler_;
  Stream stream_;
  tcp::resolver resolver_;
  asio::steady_timer deadline_;
  const std::chrono::milliseconds timeout_;
  http::request<http::string_body> message_;
  beast::flat_buffer buffer_;
  http::response_parser<http::string_body> parser_;
  SseReader events_;
  std::string body_;
  bool open_ = false;
  bool streaming_ = false;
  bool done_ = false;
};

HttpClient::HttpClient(Url url, std::string api_key, HttpLimits limits)
    : loop_(std::make_unique<HttpLoop>(std::move(url), std::move(api_key), limits)) {}

HttpClient::~HttpClient() = default;

HttpClient::RequestId HttpClient::start(HttpRequest request, HttpHandler handler) {
  const RequestId id = loop_->next_id++;
  std::shared_ptr<HttpLoop::Session> session;
  if (loop_->url.tls) {
    session = std::make_shared<StreamSession<beast::ssl_stream<beast::tcp_stream>>>(
        loop_.get(), id, std::move(request), std::move(handler), loop_->loop, *loop_->tls_context);
  } else {
    session = std::make_shared<StreamSession<beast::tcp_stream>>(
        loop_.get(), id, std::move(request), std::move(handler), loop_->loop);
  }
  loop_->sessions.emplace(id, session);
  session->begin();
  return id;
}

void HttpClient::cancel(RequestId id) {
  const auto found = loop_->sessions.find(id);
  if (found == loop_->sessions.end()) return;
  const std::shared_ptr<HttpLoop::Session> session = found->second;
  session->fail(Status(Code::kCancelled, "cancelled"));
}

void HttpClient::call_at(Clock::time_point when, std::function<void()> task) {
  auto timer = std::make_shared<asio::steady_timer>(loop_->loop, when);
  timer->async_wait([timer, task = std::move(task)](error_code error) {
    if (!error) task();
  });
}

void HttpClient::post(std::function<void()> task) {
  asio::post(loop_->loop, std::move(task));
}

void HttpClient::run() {
  loop_->loop.restart();
  loop_->loop.run();
}

void HttpClient::stop() {
  loop_->loop.stop();
}

size_t HttpClient::in_flight() const {
  return loop_->sessions.size();
}

Result<std::string> fetch(const Url& url, const std::string& api_key, HttpRequest request,
                          HttpLimits limits) {
  HttpClient client(url, api_key, limits);
  Result<std::string> out = Status(Code::kUnavailable, "no answer");
  HttpHandler handler;
  handler.on_done = [&out](const Status& status, int http_status, std::string body) {
    if (!status.ok()) {
      out = status;
    } else if (http_status / 100 != 2) {
      out = Status(http_status == 404   ? Code::kNotFound
                   : http_status == 429 ? Code::kOverloaded
                   : http_status >= 500 ? Code::kUnavailable
                                        : Code::kInvalid,
                   error_text(http_status, body));
    } else {
      out = std::move(body);
    }
  };
  client.start(std::move(request), std::move(handler));
  client.run();
  return out;
}

std::string error_text(int http_status, std::string_view body) {
  constexpr size_t kShownMax = 300;
  std::string message;
  error_code error;
  const boost::json::value json =
      boost::json::parse(boost::json::string_view(body.data(), body.size()), error);
  if (!error && json.is_object()) {
    const boost::json::value* inner = json.as_object().if_contains("error");
    const boost::json::object* object =
        inner != nullptr && inner->is_object() ? &inner->as_object() : &json.as_object();
    if (const auto* text = object->if_contains("message"); text != nullptr && text->is_string()) {
      message = text->as_string().c_str();
    }
  }
  if (message.empty()) message = std::string(body.substr(0, kShownMax));
  for (char& c : message) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) c = ' ';
  }
  return "HTTP " + std::to_string(http_status) + ": " + message;
}

}  // namespace galley::cli

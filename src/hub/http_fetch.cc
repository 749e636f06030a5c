#include "hub/http_fetch.h"

#include <openssl/ssl.h>

#include <array>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/host_name_verification.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/write.hpp>
#include <boost/beast/ssl/ssl_stream.hpp>
#include <boost/url/parse.hpp>
#include <boost/url/url.hpp>
#include <charconv>
#include <chrono>
#include <optional>

namespace galley::hub {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using boost::system::error_code;
using tcp = asio::ip::tcp;
using PlainStream = beast::tcp_stream;
using TlsStream = beast::ssl_stream<beast::tcp_stream>;

namespace {

constexpr size_t kPieceBytes = 256 << 10;
constexpr auto kStopPoll = std::chrono::milliseconds(100);

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

Result<FetchUrl> from_view(const boost::urls::url_view& view, std::string_view text) {
  const auto bad = [&](const char* why) {
    return Status(Code::kInvalid, "'" + std::string(text.substr(0, 300)) + "' " + why);
  };
  FetchUrl out;
  out.tls = view.scheme() == "https";
  if (!out.tls && view.scheme() != "http") return bad("is no http:// or https:// address");
  if (view.has_userinfo()) return bad("has a name or password in it");
  out.host = view.host_address();
  if (out.host.empty()) return bad("names no host");
  out.port = view.has_port() && !view.port().empty() ? std::string(view.port())
             : out.tls                               ? "443"
                                                     : "80";
  out.target = std::string(view.encoded_path());
  if (out.target.empty()) out.target = "/";
  if (view.has_query()) out.target += "?" + std::string(view.encoded_query());
  return out;
}

PlainStream& lowest(PlainStream& stream) {
  return stream;
}
PlainStream& lowest(TlsStream& stream) {
  return stream.next_layer();
}

}  // namespace

std::string FetchUrl::text() const {
  const std::string shown = host.find(':') == std::string::npos ? host : "[" + host + "]";
  const bool usual = port == (tls ? "443" : "80");
  return (tls ? "https://" : "http://") + shown + (usual ? "" : ":" + port) + target;
}

Result<FetchUrl> parse_fetch_url(std::string_view text) {
  const auto parsed = boost::urls::parse_uri({text.data(), text.size()});
  if (parsed.has_error()) {
    return Status(Code::kInvalid, "'" + std::string(text.substr(0, 300)) +
                                      "' is not a URL; write https://host/path");
  }
  return from_view(parsed.value(), text);
}

Result<FetchUrl> resolve_location(const FetchUrl& base, std::string_view location) {
  const auto reference = boost::urls::parse_uri_reference({location.data(), location.size()});
  if (reference.has_error()) {
    return Status(Code::kInvalid, "the server points to '" + std::string(location.substr(0, 300)) +
                                      "', which is no address");
  }
  const std::string text = base.text();
  boost::urls::url resolved;
  if (boost::urls::resolve(boost::urls::url_view(text), reference.value(), resolved).has_error())
    return Status(Code::kInvalid, "the server points to an address that cannot be resolved");
  return from_view(resolved, location);
}

std::string encode_path(std::string_view text, bool keep_slashes) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  constexpr std::string_view kPlain = "-._~";
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       kPlain.find(c) != std::string_view::npos || (keep_slashes && c == '/');
    if (plain) {
      out += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      out += {'%', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return out;
}

const std::string& FetchHead::header(const std::string& name) const {
  static const std::string none;
  const auto found = headers.find(name);
  return found == headers.end() ? none : found->second;
}

int64_t FetchHead::retry_after_s() const {
  const std::string& text = header("retry-after");
  int64_t seconds = 0;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), seconds);
  return read.ec == std::errc() && seconds > 0 ? seconds : 0;
}

struct Fetcher::Impl {
  Impl(const std::atomic<bool>* stop_flag, const FetchLimits& bounds)
      : stop(stop_flag), limits(bounds), tls(asio::ssl::context::tls_client) {
    error_code ignored;  // Without certificates the handshake fails and says so.
    tls.set_default_verify_paths(ignored);
    tls.set_verify_mode(asio::ssl::verify_peer);
  }

  // One request; its outcome is in `status` and `head`.
  struct Job {
    const FetchUrl* url;
    const std::vector<std::pair<std::string, std::string>>* headers;
    const FetchSink* sink;
    Status status;
    FetchHead head;
    bool done = false;
  };

  Status broken(const Job& job, const char* what, const error_code& error) const {
    const std::string where = " (" + job.url->host + ":" + job.url->port + ")";
    if (error == beast::error::timeout)
      return Status(Code::kDeadline, std::string(what) + where + ": nothing came in time");
    return Status(Code::kUnavailable, std::string(what) + where + ": " + error.message());
  }

  asio::awaitable<void> run(Job* job) {
    if (job->url->tls) {
      TlsStream stream(loop, tls);
      co_await talk(job, &stream);
    } else {
      PlainStream stream(loop);
      co_await talk(job, &stream);
    }
    job->done = true;
    watch.cancel();
  }

  template <typename Stream>
  asio::awaitable<void> talk(Job* job, Stream* stream) {
    PlainStream& wire = lowest(*stream);
    error_code error;
    const auto into = [&error] { return asio::redirect_error(asio::use_awaitable, error); };
    tcp::resolver resolver(loop);
    const auto addresses = co_await resolver.async_resolve(job->url->host, job->url->port, into());
    if (error) {
      job->status = broken(*job, "the host is not known", error);
      co_return;
    }
    wire.expires_after(std::chrono::milliseconds(limits.connect_ms_max));
    co_await wire.async_connect(addresses, into());
    if (error) {
      job->status = broken(*job, "cannot connect", error);
      co_return;
    }
    if constexpr (std::is_same_v<Stream, TlsStream>) {
      stream->set_verify_callback(asio::ssl::host_name_verification(job->url->host));
      SSL_set_tlsext_host_name(stream->native_handle(), job->url->host.c_str());
      co_await stream->async_handshake(asio::ssl::stream_base::client, into());
      if (error) {
        job->status = broken(*job, "TLS failed", error);
        if (error.category() == asio::error::get_ssl_category())  // Again it would end the same.
          job->status = Status(Code::kInvalid, job->status.message());
        co_return;
      }
    }
    http::request<http::empty_body> request(http::verb::get, job->url->target, 11);
    const bool usual = job->url->port == (job->url->tls ? "443" : "80");
    request.set(http::field::host, usual ? job->url->host : job->url->host + ":" + job->url->port);
    request.set(http::field::user_agent, "galley");
    request.set(http::field::accept_encoding, "identity");  // What is hashed is what is stored.
    request.set(http::field::connection, "close");
    for (const auto& [name, value] : *job->headers) request.set(name, value);
    wire.expires_after(std::chrono::milliseconds(limits.silence_ms_max));
    co_await http::async_write(*stream, request, into());
    if (error) {
      job->status = broken(*job, "sending failed", error);
      co_return;
    }
    co_await receive(job, stream);
    wire.close();
  }

  template <typename Stream>
  asio::awaitable<void> receive(Job* job, Stream* stream) {
    PlainStream& wire = lowest(*stream);
    error_code error;
    const auto into = [&error] { return asio::redirect_error(asio::use_awaitable, error); };
    beast::flat_buffer buffer;
    http::response_parser<http::buffer_body> parser;
    parser.header_limit(static_cast<uint32_t>(limits.header_bytes_max));
    parser.body_limit(boost::none);
    wire.expires_after(std::chrono::milliseconds(limits.silence_ms_max));
    co_await http::async_read_header(*stream, buffer, parser, into());
    if (error) {
      job->status = broken(*job, "the connection broke before an answer", error);
      co_return;
    }
    job->head.status = static_cast<int>(parser.get().result_int());
    for (const auto& field : parser.get()) {
      job->head.headers[lower({field.name_string().data(), field.name_string().size()})] =
          std::string(field.value());
    }
    const bool good = job->head.status / 100 == 2;
    if (good && job->sink->on_head) job->status = job->sink->on_head(job->head);
    std::string piece(kPieceBytes, '\0');
    while (job->status.ok() && !parser.is_done()) {
      parser.get().body().data = piece.data();
      parser.get().body().size = piece.size();
      parser.get().body().more = true;
      wire.expires_after(std::chrono::milliseconds(limits.silence_ms_max));
      co_await http::async_read_some(*stream, buffer, parser, into());
      if (error == http::error::need_buffer) error = {};
      const std::string_view got(piece.data(), piece.size() - parser.get().body().size);
      if (good && !got.empty()) job->status = job->sink->on_body(got);
      if (!good && job->head.error_body.size() < limits.error_bytes_max)
        job->head.error_body.append(got);
      if (!good && job->head.error_body.size() >= limits.error_bytes_max) break;
      if (error && job->status.ok()) job->status = broken(*job, "the connection broke", error);
    }
  }

  // Ends the wait when the whole program is to stop.
  asio::awaitable<void> guard(Job* job) {
    error_code ignored;
    while (!job->done) {
      if (stop != nullptr && *stop) {
        job->status = Status(Code::kCancelled, "stopped");
        loop.stop();
        co_return;
      }
      watch.expires_after(kStopPoll);
      co_await watch.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    }
  }

  const std::atomic<bool>* const stop;
  const FetchLimits limits;
  asio::ssl::context tls;
  asio::io_context loop{1};
  asio::steady_timer watch{loop};
};

Fetcher::Fetcher(const std::atomic<bool>* stop, const FetchLimits& limits)
    : impl_(std::make_unique<Impl>(stop, limits)) {}
Fetcher::~Fetcher() = default;

Result<FetchHead> Fetcher::get(const FetchUrl& url,
                               const std::vector<std::pair<std::string, std::string>>& headers,
                               const FetchSink& sink) {
  Impl::Job job{&url, &headers, &sink, {}, {}};
  impl_->loop.restart();
  asio::co_spawn(impl_->loop, impl_->run(&job), asio::detached);
  asio::co_spawn(impl_->loop, impl_->guard(&job), asio::detached);
  impl_->loop.run();
  if (!job.done) {
    // Stopped: what still waits refers to `job` and must end first.
    impl_ = std::make_unique<Impl>(impl_->stop, impl_->limits);
  }
  if (!job.status.ok()) return job.status;
  return std::move(job.head);
}

}  // namespace galley::hub

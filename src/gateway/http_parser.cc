#include "gateway/http_parser.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>

namespace galley::gateway {
namespace http = boost::beast::http;
namespace {

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [&](char x, char y) { return lower(x) == lower(y); });
}

HttpFault fault_of(const boost::system::error_code& failure, const ServerLimits& limits) {
  if (failure == http::error::header_limit) {
    return {431, "header_too_large",
            "the request's head has more than " + std::to_string(limits.head_bytes_max) +
                " bytes; send shorter headers"};
  }
  if (failure == http::error::body_limit) {
    return {413, "request_too_large",
            "the request's body has more than " + std::to_string(limits.body_bytes_max) +
                " bytes; send a shorter prompt"};
  }
  if (failure == http::error::bad_version)
    return {505, "http_version", "this server speaks HTTP/1.0 and HTTP/1.1"};
  return {400, "bad_http", "the request is not valid HTTP: " + failure.message()};
}

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

std::string_view HttpRequest::header(std::string_view name) const {
  for (const auto& [key, value] : headers)
    if (equal_ignoring_case(key, name)) return value;
  return {};
}

std::optional<std::string> decode_path(std::string_view path) {
  std::string out;
  for (size_t i = 0; i < path.size(); ++i) {
    if (path[i] != '%') {
      out += path[i];
      continue;
    }
    if (i + 2 >= path.size()) return std::nullopt;
    const int high = hex_value(path[i + 1]);
    const int low = hex_value(path[i + 2]);
    if (high < 0 || low < 0 || (high == 0 && low == 0)) return std::nullopt;
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return out;
}

struct HttpParser::Impl {
  http::request_parser<http::string_body> parser;
};

HttpParser::HttpParser(const ServerLimits& limits)
    : limits_(limits), impl_(std::make_unique<Impl>()) {
  impl_->parser.header_limit(static_cast<uint32_t>(limits.head_bytes_max));
  impl_->parser.body_limit(limits.body_bytes_max);
}

HttpParser::~HttpParser() = default;

size_t HttpParser::feed(std::string_view bytes, std::optional<HttpFault>* fault) {
  size_t used = 0;
  while (used < bytes.size() && phase_ != Phase::kDone) {
    boost::system::error_code failure;
    const std::string_view rest = bytes.substr(used);
    const size_t taken =
        impl_->parser.put(boost::asio::const_buffer(rest.data(), rest.size()), failure);
    used += taken;
    if (failure == http::error::need_more) break;
    if (failure) {
      *fault = fault_of(failure, limits_);
      return used;
    }
    if (phase_ == Phase::kHead && impl_->parser.is_header_done()) {
      *fault = finish_head();
      if (fault->has_value()) return used;
      phase_ = impl_->parser.is_done() ? Phase::kDone : Phase::kBody;
      impl_->parser.eager(true);
      return used;
    }
    if (impl_->parser.is_done()) phase_ = Phase::kDone;
    if (taken == 0) break;
  }
  return used;
}

std::optional<HttpFault> HttpParser::finish_head() {
  const auto& message = impl_->parser.get();
  request_.version = static_cast<int>(message.version());
  if (request_.version != 10 && request_.version != 11)
    return HttpFault{505, "http_version", "this server speaks HTTP/1.0 and HTTP/1.1"};
  request_.method = std::string(message.method_string());
  request_.target = std::string(message.target());
  request_.keep_alive = message.keep_alive();
  for (const auto& field : message) {
    if (request_.headers.size() == limits_.header_fields_max) {
      return HttpFault{431, "header_too_large",
                       "the request has more than " + std::to_string(limits_.header_fields_max) +
                           " header fields; send fewer"};
    }
    request_.headers.emplace_back(std::string(field.name_string()), std::string(field.value()));
  }
  const bool chunked = impl_->parser.chunked();
  const size_t codings = message.count(http::field::transfer_encoding);
  if (codings > 0 && (!chunked || codings > 1 ||
                      !equal_ignoring_case(request_.header("Transfer-Encoding"), "chunked"))) {
    return HttpFault{501, "bad_http", "the only Transfer-Encoding this server takes is chunked"};
  }
  if (message.count(http::field::content_length) + codings > 1)
    return HttpFault{400, "bad_http", "the request has more than one length; send one"};
  if (request_.version == 10 && chunked)
    return HttpFault{400, "bad_http", "HTTP/1.0 has no chunked bodies; send Content-Length"};
  const size_t hosts = message.count(http::field::host);
  if (hosts > 1 || (request_.version == 11 && hosts == 0))
    return HttpFault{400, "bad_http", "an HTTP/1.1 request needs exactly one Host"};
  const std::string_view expect = request_.header("Expect");
  if (!expect.empty() && !equal_ignoring_case(expect, "100-continue"))
    return HttpFault{417, "bad_http", "the only expectation this server meets is 100-continue"};
  request_.expects_continue = !expect.empty() && request_.version == 11;
  request_.has_body = chunked || impl_->parser.content_length().value_or(0) > 0;
  const std::string_view target = request_.target;
  const std::string_view path = target.substr(0, target.find_first_of("?#"));
  const std::optional<std::string> decoded = decode_path(path);
  if (path.empty() || (path.front() != '/' && path != "*") || !decoded) {
    return HttpFault{400, "bad_http", "the request's target must be a path that begins with '/'"};
  }
  request_.path = *decoded;
  return std::nullopt;
}

size_t HttpParser::body_bytes() const {
  return impl_->parser.get().body().size();
}

HttpRequest HttpParser::take() {
  request_.body = std::move(impl_->parser.get().body());
  return std::move(request_);
}

}  // namespace galley::gateway

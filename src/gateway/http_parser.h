// HTTP/1.x requests from bytes, over Boost.Beast's parser. The only unit that includes Beast.
//
// Stricter than Beast where leniency has led to request smuggling: one Content-Length, never beside
// Transfer-Encoding; "chunked" as the only coding; exactly one Host in HTTP/1.1. Pure: no socket.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gateway/limits.h"

namespace galley::gateway {

struct HttpRequest {
  std::string method;  // as sent
  std::string target;  // as sent
  std::string path;    // decoded, without query
  int version = 11;    // 10 or 11
  bool keep_alive = true;
  bool expects_continue = false;
  bool has_body = false;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;

  // The first header of this name (compared without case); empty when there is none.
  std::string_view header(std::string_view name) const;
};

struct HttpFault {
  int status = 400;
  std::string code;
  std::string message;
};

class HttpParser {
 public:
  enum class Phase { kHead, kBody, kDone };

  explicit HttpParser(const ServerLimits& limits);
  ~HttpParser();

  // Takes what it can from the front of `bytes` and returns how much; the rest must be offered
  // again, with more behind it. Stops at the end of the head, so that the caller may answer before
  // the body comes, and at the end of the request. After a fault the connection is beyond repair.
  size_t feed(std::string_view bytes, std::optional<HttpFault>* fault);

  Phase phase() const { return phase_; }
  // Complete but for `body` from kBody on.
  const HttpRequest& request() const { return request_; }
  size_t body_bytes() const;
  // Once, in phase kDone.
  HttpRequest take();

 private:
  struct Impl;
  std::optional<HttpFault> finish_head();

  const ServerLimits& limits_;
  std::unique_ptr<Impl> impl_;
  Phase phase_ = Phase::kHead;
  HttpRequest request_;
};

// "%41" is "A"; nothing when an escape is broken or stands for NUL.
std::optional<std::string> decode_path(std::string_view path);

}  // namespace galley::gateway

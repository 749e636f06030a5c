#include "gateway/http_response.h"

#include <openssl/rand.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "api/http_status.h"
#include "base/check.h"

namespace galley::gateway {
namespace {

constexpr size_t kRequestIdBytesMax = 128;

void add_field(std::string& out, std::string_view name, std::string_view value) {
  out += name;
  out += ": ";
  out += value;
  out += "\r\n";
}

}  // namespace

HttpResponse error_response(const api::Error& error) {
  HttpResponse response;
  response.status = error.http;
  response.body = api::error_body(error);
  response.error = error;
  if (error.retry_after_s > 0)
    response.headers.emplace_back("Retry-After", std::to_string(error.retry_after_s));
  return response;
}

std::string response_head(const HttpResponse& response, const HeadFields& fields) {
  std::string out;
  out.reserve(256);
  out += fields.version == 10 ? "HTTP/1.0 " : "HTTP/1.1 ";
  out += std::to_string(response.status);
  out += ' ';
  out += api::http_reason(response.status);
  out += "\r\n";
  add_field(out, "Server", "galley");
  if (!response.content_type.empty()) add_field(out, "Content-Type", response.content_type);
  if (fields.chunked) {
    add_field(out, "Transfer-Encoding", "chunked");
  } else if (fields.has_length && response.status != 204 && response.status != 304) {
    add_field(out, "Content-Length", std::to_string(response.body.size()));
  }
  if (!fields.request_id.empty()) add_field(out, "X-Request-Id", fields.request_id);
  for (const auto& [name, value] : response.headers) add_field(out, name, value);
  if (!fields.allow_origin.empty()) {
    add_field(out, "Access-Control-Allow-Origin", fields.allow_origin);
    add_field(out, "Access-Control-Expose-Headers", "X-Request-Id, Retry-After");
    if (fields.allow_origin != "*") add_field(out, "Vary", "Origin");
  }
  add_field(out, "Connection", fields.keep_alive ? "keep-alive" : "close");
  out += "\r\n";
  return out;
}

std::string chunk(std::string_view data) {
  std::array<char, 16> size;
  const auto end = std::to_chars(size.data(), size.data() + size.size(), data.size(), 16).ptr;
  std::string out(size.data(), end);
  out += "\r\n";
  out += data;
  out += "\r\n";
  return out;
}

std::string random_hex() {
  std::array<unsigned char, 16> bytes;
  GALLEY_CHECK(RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) == 1,
               "the system has no random numbers");
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string out;
  for (const unsigned char byte : bytes) {
    out += kHex[byte >> 4];
    out += kHex[byte & 15];
  }
  return out;
}

std::string request_id_for(std::string_view given) {
  const bool valid =
      !given.empty() && given.size() <= kRequestIdBytesMax &&
      std::all_of(given.begin(), given.end(), [](char c) { return c > 0x20 && c < 0x7F; });
  return valid ? std::string(given) : random_hex();
}

}  // namespace galley::gateway

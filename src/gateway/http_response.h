// Answers as bytes: heads, chunks, and the ids of requests.
#pragma once

#include <string>
#include <string_view>

#include "gateway/exchange.h"

namespace galley::gateway {

struct HeadFields {
  int version = 11;
  bool keep_alive = true;
  bool chunked = false;    // instead of Content-Length
  bool has_length = true;  // false: neither; the body ends with the connection
  std::string_view request_id = {};
  std::string_view allow_origin = {};  // empty: no CORS header
};

// Status line and header fields, with the blank line.
std::string response_head(const HttpResponse& response, const HeadFields& fields);

// One chunk of a chunked body; `data` is not empty.
std::string chunk(std::string_view data);
constexpr std::string_view kLastChunk = "0\r\n\r\n";

// The client's X-Request-Id when it is 1 to 128 visible ASCII characters, else a random one.
std::string request_id_for(std::string_view given);

// 32 random hexadecimal digits, from the operating system's generator.
std::string random_hex();

}  // namespace galley::gateway

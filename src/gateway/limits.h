// Bounds of the HTTP server: what one connection and all of them together may cost.
#pragma once

#include <cstddef>
#include <cstdint>

namespace galley::gateway {

struct ServerLimits {
  int32_t connections_max = 4096;
  size_t head_bytes_max = 32u << 10;         // request line and header fields
  size_t body_bytes_max = 16u << 20;         // of one request
  size_t body_bytes_total_max = 256u << 20;  // of all requests being read or answered
  size_t input_bytes_max = 64u << 10;        // read ahead: what a client may pipeline
  size_t stream_bytes_max = 1u << 20;        // of a stream, not yet taken by the client
  size_t header_fields_max = 100;

  int64_t head_timeout_ms = 10'000;   // from the first byte of a request to the end of its head
  int64_t body_timeout_ms = 60'000;   // from the end of the head to the end of the body
  int64_t idle_timeout_ms = 75'000;   // between requests of a kept connection
  int64_t write_timeout_ms = 30'000;  // without a byte taken by the client
  int64_t linger_ms = 2'000;          // after the answer, for input nobody reads
  int64_t keep_alive_comment_ms = 15'000;  // silence of a stream before a comment is sent
  int64_t tick_ms = 100;                   // how often the above are looked at

  size_t prepare_jobs_max = 1024;             // requests waiting for a thread to parse and tokenise
  size_t inline_parse_bytes_max = 64u << 10;  // bodies above are parsed off the event loop
};

}  // namespace galley::gateway

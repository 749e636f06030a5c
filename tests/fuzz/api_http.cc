// Fuzzes the HTTP parser. What comes out must not depend on how the bytes were cut.
//
// The first byte of the input seeds the cuts.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/check.h"
#include "gateway/http_parser.h"

namespace galley::gateway {
namespace {

struct Outcome {
  std::optional<HttpFault> fault;
  HttpParser::Phase phase = HttpParser::Phase::kHead;
  HttpRequest request;
};

// Offers `bytes` as a connection does: in pieces of `next_size()`, what is not taken again.
template <typename NextSize>
Outcome parse(const ServerLimits& limits, std::string_view bytes, NextSize next_size) {
  HttpParser parser(limits);
  Outcome out;
  std::string input;
  size_t given = 0;
  while (true) {
    while (!input.empty() && parser.phase() != HttpParser::Phase::kDone) {
      const HttpParser::Phase before = parser.phase();
      const size_t taken = parser.feed(input, &out.fault);
      GALLEY_CHECK(taken <= input.size(), "more was taken than offered");
      input.erase(0, taken);
      if (out.fault) return out;
      if (taken == 0 && parser.phase() == before) break;
    }
    out.phase = parser.phase();
    if (out.phase == HttpParser::Phase::kDone || given == bytes.size()) break;
    const size_t size = std::min(bytes.size() - given, next_size());
    input.append(bytes.substr(given, size));
    given += size;
  }
  if (out.phase == HttpParser::Phase::kDone) out.request = parser.take();
  return out;
}

void check(std::string_view bytes, uint32_t seed) {
  ServerLimits limits;
  limits.head_bytes_max = 2048;
  limits.body_bytes_max = 4096;
  limits.header_fields_max = 16;
  const Outcome whole = parse(limits, bytes, [&] { return bytes.size(); });
  uint32_t state = seed * 2654435761u + 1;
  const Outcome pieces = parse(limits, bytes, [&] {
    state = state * 1664525u + 1013904223u;
    return size_t{1} + (state >> 24) % 7;
  });
  if (whole.fault || pieces.fault) {
    // What is wrong with a head may be seen before its end or only there.
    GALLEY_CHECK(whole.fault || whole.phase == HttpParser::Phase::kHead, "a cut hides a fault");
    GALLEY_CHECK(pieces.fault || pieces.phase == HttpParser::Phase::kHead, "a cut makes a fault");
    const int status = whole.fault ? whole.fault->status : pieces.fault->status;
    GALLEY_CHECK(status >= 400 && status < 600, "a fault is an error");
    return;
  }
  GALLEY_CHECK(whole.phase == pieces.phase, "a cut changes the phase");
  GALLEY_CHECK(whole.request.method == pieces.request.method &&
                   whole.request.path == pieces.request.path &&
                   whole.request.headers == pieces.request.headers &&
                   whole.request.body == pieces.request.body,
               "a cut changes the request");
  GALLEY_CHECK(whole.request.body.size() <= limits.body_bytes_max, "a body above its bound");
  GALLEY_CHECK(whole.request.headers.size() <= limits.header_fields_max, "too many headers");
}

}  // namespace
}  // namespace galley::gateway

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  galley::gateway::check({reinterpret_cast<const char*>(data) + 1, size - 1}, data[0]);
  return 0;
}

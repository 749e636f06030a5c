// Fetcher: one HTTP(S) request after another for downloads of any size. Answers go to a sink as
// they arrive; redirects are not followed but told, because who follows must decide what to send
// along. The only unit of this layer that includes Beast.
//
// One Fetcher belongs to one thread, which waits. Silence is bounded by `silence_ms_max`; a
// download as a whole is not, as its size says nothing about how fast a line is. `stop` ends it
// from any thread within a tenth of a second.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"

namespace galley::hub {

struct FetchLimits {
  size_t header_bytes_max = 64 << 10;
  size_t error_bytes_max = 64 << 10;  // kept of the body of an answer that is not 2xx
  int64_t connect_ms_max = 15'000;
  int64_t silence_ms_max = 30'000;  // without a byte
};

struct FetchUrl {
  bool tls = false;
  std::string host;
  std::string port;
  std::string target;  // path and query, encoded

  bool same_server(const FetchUrl& other) const {
    return tls == other.tls && host == other.host && port == other.port;
  }
  std::string text() const;
};

// An absolute http or https URL. Errors  kInvalid
Result<FetchUrl> parse_fetch_url(std::string_view text);
// `location` of an answer from `base`, absolute or relative. Errors  kInvalid
Result<FetchUrl> resolve_location(const FetchUrl& base, std::string_view location);
// `text` as one path segment, or with its slashes as a path.
std::string encode_path(std::string_view text, bool keep_slashes);

struct FetchHead {
  int status = 0;
  std::map<std::string, std::string> headers;  // lower-case names
  std::string error_body;                      // unless 2xx

  // Empty when there is none.
  const std::string& header(const std::string& name) const;
  // Of Retry-After in seconds; 0: none, or a date.
  int64_t retry_after_s() const;
};

struct FetchSink {
  // With a 2xx status, before the body.
  std::function<Status(const FetchHead& head)> on_head;
  std::function<Status(std::string_view piece)> on_body;
};

class Fetcher {
 public:
  explicit Fetcher(const std::atomic<bool>* stop, const FetchLimits& limits = {});
  ~Fetcher();

  // GET. Ok with any status once the answer is complete.
  // Errors  kUnavailable  no connection, or it broke before the end;  kDeadline  silence;
  //         kInvalid  TLS cannot be agreed on;  kCancelled  stopped;  kCorrupt  no HTTP;  whatever
  //         the sink said
  Result<FetchHead> get(const FetchUrl& url,
                        const std::vector<std::pair<std::string, std::string>>& headers,
                        const FetchSink& sink);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace galley::hub

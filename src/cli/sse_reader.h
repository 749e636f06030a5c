// SseReader: server-sent events out of a stream of bytes, however it is cut.
//
// https://html.spec.whatwg.org/multipage/server-sent-events.html, the receiving side: lines end in
// LF, CRLF or CR; the `data` lines of an event are joined by LF; comments and other fields are
// dropped. Pure; one per stream.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

#include "base/status.h"

namespace galley::cli {

class SseReader {
 public:
  explicit SseReader(size_t event_bytes_max) : event_bytes_max_(event_bytes_max) {}

  // Calls `on_data` with the data of each event that `bytes` completes.
  // Errors  kTooLarge  one event exceeds event_bytes_max; the reader is of no use afterwards
  Status feed(std::string_view bytes, const std::function<void(std::string_view)>& on_data);

 private:
  void take_line(const std::function<void(std::string_view)>& on_data);

  const size_t event_bytes_max_;
  std::string line_;
  std::string data_;
  bool has_data_ = false;
  bool after_cr_ = false;  // an LF that follows belongs to the same line end
};

}  // namespace galley::cli

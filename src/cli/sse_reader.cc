#include "cli/sse_reader.h"

namespace galley::cli {

Status SseReader::feed(std::string_view bytes,
                       const std::function<void(std::string_view)>& on_data) {
  for (const char c : bytes) {
    const bool second_half = after_cr_ && c == '\n';
    after_cr_ = false;
    if (second_half) continue;
    if (c == '\n' || c == '\r') {
      after_cr_ = c == '\r';
      take_line(on_data);
      continue;
    }
    line_.push_back(c);
    if (line_.size() + data_.size() > event_bytes_max_) {
      return Status(Code::kTooLarge, "the server sent an event larger than " +
                                         std::to_string(event_bytes_max_) + " bytes");
    }
  }
  return Status();
}

void SseReader::take_line(const std::function<void(std::string_view)>& on_data) {
  if (line_.empty()) {  // the end of an event
    if (has_data_) on_data(data_);
    data_.clear();
    has_data_ = false;
    return;
  }
  std::string_view value = line_;
  const size_t colon = value.find(':');
  const std::string_view field = value.substr(0, colon);
  value = colon == std::string_view::npos ? std::string_view() : value.substr(colon + 1);
  if (value.starts_with(' ')) value.remove_prefix(1);
  if (field == "data") {
    if (has_data_) data_.push_back('\n');
    data_.append(value);
    has_data_ = true;
  }
  line_.clear();
}

}  // namespace galley::cli

// What one event of a streamed answer says, chat or completions, whoever the server is.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"
#include "cli/http_client.h"

namespace galley::cli {

struct StreamDelta {
  std::string content;    // of choice 0
  std::string reasoning;  // reasoning_content, or `reasoning` as some servers call it
  std::string finish_reason;
  std::string error;           // the event is an error, or cannot be read
  bool done = false;           // [DONE]
  int64_t prompt_tokens = -1;  // usage; -1: not in this event
  int64_t cached_tokens = -1;
  int64_t completion_tokens = -1;
};

// Never fails: what cannot be read is `error`.
StreamDelta parse_stream_delta(std::string_view data);

// The name of the first model a server lists.
Result<std::string> first_model(const Url& url, const std::string& api_key);

}  // namespace galley::cli

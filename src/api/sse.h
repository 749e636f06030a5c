// Server-sent events: the frames of a stream.
#pragma once

#include <string>
#include <string_view>

namespace galley::api {

constexpr std::string_view kSseDone = "data: [DONE]\n\n";
constexpr std::string_view kSseKeepAlive = ": keep-alive\n\n";  // a comment: clients skip it

// One event with a name.
inline std::string sse_event(std::string_view name, std::string_view data) {
  std::string frame;
  frame.reserve(name.size() + data.size() + 16);
  frame += "event: ";
  frame += name;
  frame += "\ndata: ";
  frame += data;
  frame += "\n\n";
  return frame;
}

// One event. `data` must have no line break, as JSON from JsonWriter never has.
inline std::string sse_event(std::string_view data) {
  std::string frame;
  frame.reserve(data.size() + 8);
  frame += "data: ";
  frame += data;
  frame += "\n\n";
  return frame;
}

}  // namespace galley::api

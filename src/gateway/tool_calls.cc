#include "gateway/tool_calls.h"

#include <algorithm>

#include "gateway/http_response.h"

namespace galley::gateway {
namespace {

constexpr size_t kCallIdDigits = 24;

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) + 1 - begin);
}

// The JSON between the fences of V3's format.
std::string_view unfenced(std::string_view text) {
  constexpr std::string_view kFence = "```";
  constexpr std::string_view kLanguage = "json";
  text = trimmed(text);
  if (text.starts_with(kFence)) text.remove_prefix(kFence.size());
  if (text.starts_with(kLanguage)) text.remove_prefix(kLanguage.size());
  if (text.ends_with(kFence)) text.remove_suffix(kFence.size());
  return trimmed(text);
}

}  // namespace

size_t begun_at_end(std::string_view text, std::string_view word) {
  for (size_t size = std::min(text.size(), word.size() - 1); size > 0; --size)
    if (text.ends_with(word.substr(0, size))) return size;
  return 0;
}

void ToolCallSplitter::push(std::string_view piece, api::Delta& delta) {
  held_ += piece;
  while (!held_.empty() && step(delta)) {
  }
}

void ToolCallSplitter::flush(api::Delta& delta) {
  // White space and an end marker between or after calls is format, the rest is text.
  if (!in_calls_ || !trimmed(held_).empty()) delta.content += held_;
  held_.clear();
}

// One transition; false when more text is needed.
bool ToolCallSplitter::step(api::Delta& delta) {
  if (!in_calls_) {
    const size_t at = held_.find(kCallsBegin);
    const size_t keep = at == std::string::npos ? begun_at_end(held_, kCallsBegin) : 0;
    const size_t text = at == std::string::npos ? held_.size() - keep : at;
    delta.content += held_.substr(0, text);
    held_.erase(0, at == std::string::npos ? text : at + kCallsBegin.size());
    in_calls_ = at != std::string::npos;
    return in_calls_;
  }
  const size_t call_end = held_.find(kCallEnd);
  const size_t calls_end = held_.find(kCallsEnd);
  if (call_end < calls_end) {
    const size_t size = call_end + kCallEnd.size();
    if (!add_call(std::string_view(held_).substr(0, call_end), delta))
      delta.content += held_.substr(0, size);
    held_.erase(0, size);
    return true;
  }
  if (calls_end == std::string::npos) return false;
  if (!trimmed(std::string_view(held_).substr(0, calls_end)).empty())
    delta.content += held_.substr(0, calls_end);
  held_.erase(0, calls_end + kCallsEnd.size());
  in_calls_ = false;
  return true;
}

bool ToolCallSplitter::add_call(std::string_view text, api::Delta& delta) {
  text = trimmed(text);
  if (!text.starts_with(kCallBegin)) return false;
  text.remove_prefix(kCallBegin.size());
  const size_t separator = text.find(kCallSeparator);
  if (separator == std::string_view::npos) return false;
  const std::string_view before = trimmed(text.substr(0, separator));
  std::string_view name = before;
  std::string_view arguments = text.substr(separator + kCallSeparator.size());
  if (before == "function") {  // V3: a type, then the name on a line of its own.
    const size_t line = arguments.find('\n');
    if (line != std::string_view::npos && arguments.substr(line).find("```") != std::string::npos) {
      name = trimmed(arguments.substr(0, line));
      arguments.remove_prefix(line);
    }
  }
  if (name.empty()) return false;
  if (num_calls_ > 0 && one_only_) return true;
  api::ToolCallDelta call;
  call.index = num_calls_++;
  call.id = "call_" + random_hex().substr(0, kCallIdDigits);
  call.name = name;
  call.arguments = unfenced(arguments);
  delta.tool_calls.push_back(std::move(call));
  return true;
}

}  // namespace galley::gateway

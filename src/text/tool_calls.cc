#include "text/tool_calls.h"

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <optional>

#include "text/stop_strings.h"

namespace galley::text {
namespace {

namespace json = boost::json;

constexpr std::string_view kSpace = " \t\r\n";
constexpr std::string_view kHermesBegin = "<tool_call>";
constexpr std::string_view kHermesEnd = "</tool_call>";
constexpr std::string_view kPythonTag = "<|python_tag|>";
constexpr size_t kArgumentsDepthMax = 64;

std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) + 1 - begin);
}

bool is_json_object(std::string_view text) {
  json::error_code error;
  json::parse_options options;
  options.max_depth = kArgumentsDepthMax;
  const json::value value =
      json::parse(json::string_view(text.data(), text.size()), error, {}, options);
  return !error && value.is_object();
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

std::optional<ToolCallParser::Call> deepseek_call(std::string_view text) {
  text = trimmed(text);
  if (!text.starts_with(kCallBegin)) return std::nullopt;
  text.remove_prefix(kCallBegin.size());
  const size_t separator = text.find(kCallSeparator);
  if (separator == std::string_view::npos) return std::nullopt;
  std::string_view name = trimmed(text.substr(0, separator));
  std::string_view arguments = text.substr(separator + kCallSeparator.size());
  if (name == "function") {  // V3: a type, then the name on a line of its own.
    const size_t line = arguments.find('\n');
    if (line != std::string_view::npos &&
        arguments.substr(line).find("```") != std::string_view::npos) {
      name = trimmed(arguments.substr(0, line));
      arguments.remove_prefix(line);
    }
  }
  arguments = unfenced(arguments);
  if (name.empty() || !is_json_object(arguments)) return std::nullopt;
  return ToolCallParser::Call{std::string(name), std::string(arguments)};
}

// The end of the JSON value that begins at `at` of valid JSON.
size_t value_end(std::string_view text, size_t at) {
  int depth = 0;
  bool in_string = false;
  for (; at < text.size(); ++at) {
    const char c = text[at];
    if (in_string) {
      if (c == '\\') ++at;
      in_string = c != '"';
      if (!in_string && depth == 0) return at + 1;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      ++depth;
    } else if (c == '}' || c == ']') {
      if (depth-- == 0) return at;
      if (depth == 0) return at + 1;
    } else if (c == ',' && depth == 0) {
      return at;
    }
  }
  return text.size();
}

// The member `key` of an object, as it is written. boost::json would write 0.5 as 5E-1.
std::string_view raw_member(std::string_view object, std::string_view key) {
  size_t at = object.find('{') + 1;
  while (at < object.size()) {
    at = object.find('"', at);
    if (at == std::string_view::npos) return {};
    const size_t key_end = value_end(object, at);
    const std::string_view name = object.substr(at + 1, key_end - at - 2);
    at = object.find_first_not_of(kSpace, object.find(':', key_end) + 1);
    const size_t end = value_end(object, at);
    if (name == key) return trimmed(object.substr(at, end - at));
    at = end;
  }
  return {};
}

// {"name": ..., "arguments" or "parameters": {...}}
std::optional<ToolCallParser::Call> json_call(std::string_view text) {
  text = trimmed(text);
  if (!is_json_object(text)) return std::nullopt;
  const json::value parsed = json::parse(json::string_view(text.data(), text.size()));
  const json::value* name = parsed.get_object().if_contains("name");
  if (name == nullptr || !name->is_string() || name->get_string().empty()) return std::nullopt;
  for (const std::string_view key : {"arguments", "parameters"}) {
    const json::value* arguments = parsed.get_object().if_contains(key);
    if (arguments == nullptr || !arguments->is_object()) continue;
    const std::string_view raw = raw_member(text, key);
    if (!is_json_object(raw)) return std::nullopt;
    return ToolCallParser::Call{std::string(name->get_string()), std::string(raw)};
  }
  return std::nullopt;
}

// One object, or several parted by semicolons outside of strings.
std::vector<ToolCallParser::Call> llama_calls(std::string_view text) {
  std::vector<ToolCallParser::Call> calls;
  text = trimmed(text);
  while (!text.empty()) {
    const size_t end = value_end(text, 0);
    std::optional<ToolCallParser::Call> call = json_call(text.substr(0, end));
    if (!call) return {};
    calls.push_back(*std::move(call));
    text = trimmed(text.substr(end));
    if (text.empty()) break;
    if (text[0] != ';') return {};
    text = trimmed(text.substr(1));
  }
  return calls;
}

}  // namespace

std::span<const std::string_view> tool_markers(ToolFormat format) {
  static constexpr std::array<std::string_view, 5> kDeepseek = {kCallsBegin, kCallsEnd, kCallBegin,
                                                                kCallEnd, kCallSeparator};
  static constexpr std::array<std::string_view, 2> kHermes = {kHermesBegin, kHermesEnd};
  static constexpr std::array<std::string_view, 1> kLlama = {kPythonTag};
  switch (format) {
    case ToolFormat::kDeepseek:
      return kDeepseek;
    case ToolFormat::kHermes:
      return kHermes;
    case ToolFormat::kLlama:
      return kLlama;
  }
  return {};
}

ToolFormat tool_format_of(std::string_view chat_template) {
  const auto has = [&](std::string_view text) {
    return chat_template.find(text) != std::string_view::npos;
  };
  if (has("tool▁call")) return ToolFormat::kDeepseek;
  if (has(kHermesBegin)) return ToolFormat::kHermes;
  if (has("\"parameters\"") && has("<|start_header_id|>")) return ToolFormat::kLlama;
  return ToolFormat::kDeepseek;
}

void ToolCallParser::push(std::string_view piece, Output& out) {
  held_ += piece;
  while (!held_.empty() && step(out)) {
  }
}

void ToolCallParser::flush(Output& out) {
  if (state_ == State::kWhole) {
    std::string_view text = trimmed(held_);
    if (text.starts_with(kPythonTag)) text.remove_prefix(kPythonTag.size());
    std::vector<Call> calls = llama_calls(text);
    if (calls.empty()) out.content += held_;
    for (Call& call : calls) out.calls.push_back(std::move(call));
  } else if (state_ == State::kCalls && format_ == ToolFormat::kDeepseek &&
             trimmed(held_).empty()) {
    // White space between calls is format.
  } else {
    if (state_ == State::kCalls && format_ == ToolFormat::kHermes) out.content += kHermesBegin;
    out.content += held_;
  }
  held_.clear();
}

// One transition; false when more text is needed.
bool ToolCallParser::step(Output& out) {
  if (format_ == ToolFormat::kLlama) return step_llama(out);
  if (state_ == State::kText) return step_text(out);
  return format_ == ToolFormat::kDeepseek ? step_deepseek(out) : step_hermes(out);
}

bool ToolCallParser::step_text(Output& out) {
  const std::string_view begin = format_ == ToolFormat::kDeepseek ? kCallsBegin : kHermesBegin;
  if (after_call_) {
    held_.erase(0, std::min(held_.find_first_not_of(kSpace), held_.size()));
    if (held_.empty()) return false;
    after_call_ = false;
  }
  const size_t at = held_.find(begin);
  if (at == std::string::npos) {
    const size_t certain = held_.size() - begun_at_end(held_, begin);
    out.content.append(held_, 0, certain);
    held_.erase(0, certain);
    return false;
  }
  out.content.append(held_, 0, at);
  held_.erase(0, at + begin.size());
  state_ = State::kCalls;
  searched_ = 0;
  return true;
}

size_t ToolCallParser::find(std::string_view word) const {
  return held_.find(word, searched_ < word.size() ? 0 : searched_ - word.size());
}

bool ToolCallParser::step_deepseek(Output& out) {
  const size_t call_end = find(kCallEnd);
  const size_t calls_end = find(kCallsEnd);
  if (call_end == std::string::npos && calls_end == std::string::npos) {
    searched_ = held_.size();
    return false;
  }
  searched_ = 0;
  if (call_end < calls_end) {
    const size_t size = call_end + kCallEnd.size();
    if (std::optional<Call> call = deepseek_call(std::string_view(held_).substr(0, call_end))) {
      out.calls.push_back(*std::move(call));
    } else {
      out.content.append(held_, 0, size);
    }
    held_.erase(0, size);
    return true;
  }
  if (!trimmed(std::string_view(held_).substr(0, calls_end)).empty())
    out.content.append(held_, 0, calls_end);
  held_.erase(0, calls_end + kCallsEnd.size());
  state_ = State::kText;
  return true;
}

bool ToolCallParser::step_hermes(Output& out) {
  const size_t end = find(kHermesEnd);
  if (end == std::string::npos) {
    searched_ = held_.size();
    return false;
  }
  const size_t size = end + kHermesEnd.size();
  if (std::optional<Call> call = json_call(std::string_view(held_).substr(0, end))) {
    out.calls.push_back(*std::move(call));
    after_call_ = true;
  } else {
    out.content += kHermesBegin;
    out.content.append(held_, 0, size);
  }
  held_.erase(0, size);
  state_ = State::kText;
  return true;
}

bool ToolCallParser::step_llama(Output& out) {
  if (state_ == State::kWhole) return false;
  if (!started_) {
    const size_t at = held_.find_first_not_of(kSpace);
    if (at == std::string::npos) return false;
    const std::string_view rest = std::string_view(held_).substr(at);
    if (rest[0] == '{' || rest.starts_with(kPythonTag)) {
      state_ = State::kWhole;
      return false;
    }
    if (kPythonTag.starts_with(rest)) return false;
    started_ = true;
  }
  out.content += held_;
  held_.clear();
  return false;
}

}  // namespace galley::text

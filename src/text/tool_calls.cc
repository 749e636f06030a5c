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

bool is_deepseek(ToolFormat format) {
  return format == ToolFormat::kDeepseekV3 || format == ToolFormat::kDeepseekV31;
}

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

// Reads the head of a call in text that may go on.
class HeadReader {
 public:
  enum class Found { kMore, kNone, kFound };

  explicit HeadReader(std::string_view text) : text_(text) {}

  // <|call begin|>function<|sep|>NAME\n```json\n{   or   <|call begin|>NAME<|sep|>{
  Found deepseek(std::string* name, size_t* arguments) const {
    const size_t begin = text_.find_first_not_of(kSpace);
    if (begin == std::string_view::npos) return Found::kMore;
    const std::string_view rest = text_.substr(begin);
    if (kCallBegin.starts_with(rest.substr(0, kCallBegin.size())) &&
        rest.size() < kCallBegin.size())
      return Found::kMore;
    if (!rest.starts_with(kCallBegin)) return Found::kNone;
    const size_t separator = rest.find(kCallSeparator);
    if (separator == std::string_view::npos) return Found::kMore;
    const size_t brace = rest.find('{', separator);
    if (brace == std::string_view::npos) return Found::kMore;
    std::string_view kind = trimmed(rest.substr(kCallBegin.size(), separator - kCallBegin.size()));
    std::string_view head =
        rest.substr(separator + kCallSeparator.size(), brace - separator - kCallSeparator.size());
    if (const size_t line = head.find('\n'); kind == "function" && line != std::string_view::npos) {
      kind = trimmed(head.substr(0, line));
      head.remove_prefix(line);
    }
    if (kind.empty() || !unfenced(head).empty() || rest.find(kCallEnd) < brace) return Found::kNone;
    *name = kind;
    *arguments = begin + brace;
    return Found::kFound;
  }

  // {"name": "NAME", "arguments": {   with any white space
  Found object(std::string* name, size_t* arguments) const {
    size_t at = text_.find_first_not_of(kSpace);
    if (at == std::string_view::npos) return Found::kMore;
    if (text_.substr(at).starts_with(kPythonTag)) at += kPythonTag.size();
    for (const std::string_view word : {"{", "\"name\"", ":", "\""})
      if (const Found found = expect(word, &at); found != Found::kFound) return found;
    const size_t end = text_.find('"', at);
    if (end == std::string_view::npos) return Found::kMore;
    const std::string_view written = text_.substr(at, end - at);
    if (written.empty() || written.find('\\') != std::string_view::npos) return Found::kNone;
    at = end + 1;
    if (const Found found = expect(",", &at); found != Found::kFound) return found;
    const size_t key = at;
    Found found = expect("\"arguments\"", &at);
    if (found == Found::kNone) {
      at = key;
      found = expect("\"parameters\"", &at);
    }
    if (found == Found::kFound) found = expect(":", &at);
    if (found == Found::kFound) found = expect("{", &at);
    if (found != Found::kFound) return found;
    *name = written;
    *arguments = at - 1;
    return Found::kFound;
  }

 private:
  // White space, then `word`.
  Found expect(std::string_view word, size_t* at) const {
    const size_t begin = text_.find_first_not_of(kSpace, *at);
    if (begin == std::string_view::npos) return Found::kMore;
    const std::string_view rest = text_.substr(begin, word.size());
    if (rest == word) {
      *at = begin + word.size();
      return Found::kFound;
    }
    return rest.size() < word.size() && word.starts_with(rest) ? Found::kMore : Found::kNone;
  }

  const std::string_view text_;
};

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
    case ToolFormat::kDeepseekV3:
    case ToolFormat::kDeepseekV31:
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
  if (has("tool▁call")) return has("```json") ? ToolFormat::kDeepseekV3 : ToolFormat::kDeepseekV31;
  if (has(kHermesBegin)) return ToolFormat::kHermes;
  if (has("\"parameters\"") && has("<|start_header_id|>")) return ToolFormat::kLlama;
  return ToolFormat::kDeepseekV3;
}

std::optional<ToolFormat> tool_format_named(std::string_view name) {
  if (name == "deepseek_v3") return ToolFormat::kDeepseekV3;
  if (name == "deepseek_v31") return ToolFormat::kDeepseekV31;
  if (name == "hermes") return ToolFormat::kHermes;
  if (name == "llama3_json") return ToolFormat::kLlama;
  return std::nullopt;
}

struct ToolCallParser::Arguments {
  Arguments() : parser({}, options()) { parser.reset(); }
  static json::parse_options options() {
    json::parse_options out;
    out.max_depth = kArgumentsDepthMax;
    return out;
  }
  json::stream_parser parser;
};

ToolCallParser::ToolCallParser(ToolFormat format, bool streaming)
    : format_(format), streaming_(streaming) {}
ToolCallParser::~ToolCallParser() = default;

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
  } else if (state_ == State::kArguments || state_ == State::kTail) {
    if (broken_) out.content += held_;
  } else if (state_ == State::kCalls && is_deepseek(format_) && trimmed(held_).empty()) {
    // White space between calls is format.
  } else {
    if (state_ == State::kCalls && format_ == ToolFormat::kHermes) out.content += kHermesBegin;
    out.content += held_;
  }
  held_.clear();
}

// One transition; false when more text is needed.
bool ToolCallParser::step(Output& out) {
  if (state_ == State::kArguments) return step_arguments(out);
  if (state_ == State::kTail) return step_tail(out);
  if (streaming_ && !hold_ && state_ != State::kText && begin_streaming(out)) return true;
  if (format_ == ToolFormat::kLlama) return step_llama(out);
  if (state_ == State::kText) return step_text(out);
  return is_deepseek(format_) ? step_deepseek(out) : step_hermes(out);
}

// --- arguments as they come ---------------------------------------------------------------------

ToolCallParser::Head ToolCallParser::find_head(std::string* name, size_t* arguments) const {
  const HeadReader reader(held_);
  return is_deepseek(format_) ? static_cast<Head>(reader.deepseek(name, arguments))
                              : static_cast<Head>(reader.object(name, arguments));
}

bool ToolCallParser::begin_streaming(Output& out) {
  std::string name;
  size_t arguments = 0;
  const Head head = find_head(&name, &arguments);
  if (head == Head::kNone) hold_ = true;
  if (head != Head::kFound) return false;
  out.calls.push_back({std::move(name), {}});
  held_.erase(0, arguments);
  arguments_ = std::make_unique<Arguments>();
  state_ = State::kArguments;
  return true;
}

bool ToolCallParser::step_arguments(Output& out) {
  json::error_code failure;
  const size_t size = arguments_->parser.write_some(held_.data(), held_.size(), failure);
  const size_t taken = failure ? 0 : size;
  if (taken > 0) {
    std::string_view piece = std::string_view(held_).substr(0, taken);
    // The parser takes white space behind the object, too.
    if (arguments_->parser.done()) piece = piece.substr(0, piece.rfind('}') + 1);
    if (out.calls.empty()) {
      out.calls.push_back({{}, std::string(piece)});
    } else {
      out.calls.back().arguments += piece;
    }
    held_.erase(0, taken);
  }
  broken_ = static_cast<bool>(failure);
  if (!broken_ && !arguments_->parser.done()) return false;
  arguments_.reset();
  state_ = State::kTail;
  searched_ = 0;
  return true;
}

// What closes a call: format, unless the arguments were broken.
bool ToolCallParser::step_tail(Output& out) {
  if (format_ == ToolFormat::kLlama) {
    const size_t end = held_.find_first_not_of(kSpace);
    if (end == std::string::npos) return false;
    if (!broken_ && held_[end] == '}') {
      held_.erase(0, end + 1);
      return true;
    }
    if (!broken_ && held_[end] == ';') {
      held_.erase(0, end + 1);
      state_ = State::kWhole;
      return true;
    }
    out.content += held_;
    held_.clear();
    return false;
  }
  const std::string_view marker = is_deepseek(format_) ? kCallEnd : kHermesEnd;
  const size_t at = held_.find(marker);
  if (at == std::string::npos) {
    const size_t certain = held_.size() - begun_at_end(held_, marker);
    if (broken_) out.content.append(held_, 0, certain);
    held_.erase(0, certain);
    return false;
  }
  if (broken_) out.content.append(held_, 0, at);
  held_.erase(0, at + marker.size());
  after_call_ = !is_deepseek(format_) && !broken_;
  broken_ = false;
  state_ = is_deepseek(format_) ? State::kCalls : State::kText;
  return true;
}

// --- calls as wholes ----------------------------------------------------------------------------

bool ToolCallParser::step_text(Output& out) {
  const std::string_view begin = is_deepseek(format_) ? kCallsBegin : kHermesBegin;
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
  hold_ = false;
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
  hold_ = false;
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

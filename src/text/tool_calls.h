// ToolCallParser: takes tool calls out of an answer that comes in pieces.
//
//   kDeepseekV3   <|calls begin|><|call begin|>function<|sep|>NAME\n```json\n{...}\n```<|call end|>
//                 ...<|calls end|>; R1 too
//   kDeepseekV31  <|calls begin|><|call begin|>NAME<|sep|>{...}<|call end|>...<|calls end|>
//                 (the markers as kCallsBegin etc. spell them; both are read alike)
//   kHermes    <tool_call>{"name": NAME, "arguments": {...}}</tool_call>, as Qwen writes it
//   kLlama     the whole answer is {"name": NAME, "parameters": {...}}, several parted by ";",
//              perhaps behind <|python_tag|>
//
// A call is given out whole, when it has ended; what looks like a call but is none, or never ends,
// is text after all: nothing a model says is lost. When streaming, a call is begun as soon as its
// name is certain, and its arguments follow as they are written; what comes after the place where
// they are no JSON is text. Pure; one per choice.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace galley::text {

enum class ToolFormat : uint8_t { kDeepseekV3, kDeepseekV31, kHermes, kLlama };

constexpr std::string_view kCallsBegin = "<｜tool▁calls▁begin｜>";
constexpr std::string_view kCallsEnd = "<｜tool▁calls▁end｜>";
constexpr std::string_view kCallBegin = "<｜tool▁call▁begin｜>";
constexpr std::string_view kCallEnd = "<｜tool▁call▁end｜>";
constexpr std::string_view kCallSeparator = "<｜tool▁sep｜>";

// Texts that mean something in a format. Where the vocabulary has tokens for them, the parser needs
// their text even when special tokens give none.
std::span<const std::string_view> tool_markers(ToolFormat format);

// The format that a chat template shows its model; kDeepseekV3 when it shows none of the others.
ToolFormat tool_format_of(std::string_view chat_template);
// By vLLM's name: deepseek_v3, deepseek_v31, hermes, llama3_json.
std::optional<ToolFormat> tool_format_named(std::string_view name);

class ToolCallParser {
 public:
  struct Call {
    std::string name;       // empty: more of the newest call's arguments
    std::string arguments;  // JSON text as the model wrote it
  };
  struct Output {
    std::string content;
    std::vector<Call> calls;
  };

  explicit ToolCallParser(ToolFormat format, bool streaming = false);
  ~ToolCallParser();

  void push(std::string_view piece, Output& out);
  // Ends the text.
  void flush(Output& out);

 private:
  enum class State { kText, kCalls, kWhole, kArguments, kTail };
  struct Arguments;

  bool step(Output& out);
  bool step_text(Output& out);
  bool step_deepseek(Output& out);
  bool step_hermes(Output& out);
  bool step_llama(Output& out);
  // A call's head, up to the arguments' first brace.
  enum class Head { kMore, kNone, kFound };
  Head find_head(std::string* name, size_t* arguments) const;
  bool begin_streaming(Output& out);
  bool step_arguments(Output& out);
  bool step_tail(Output& out);
  // Where `word` begins in held_, looking only at what is new.
  size_t find(std::string_view word) const;

  const ToolFormat format_;
  const bool streaming_;
  State state_ = State::kText;
  bool started_ = false;  // kLlama: the first character has been seen
  bool hold_ = false;     // streaming: this call's head is none, it is held until it ends
  bool broken_ = false;   // kTail: the arguments were no JSON
  std::unique_ptr<Arguments> arguments_;
  bool after_call_ = false;  // kHermes: white space here is format
  std::string held_;
  size_t searched_ = 0;  // bytes of held_ known to begin no end marker
};

}  // namespace galley::text

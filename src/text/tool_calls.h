// ToolCallParser: takes tool calls out of an answer that comes in pieces.
//
//   kDeepseek  V3, R1  <|calls begin|><|call begin|>function<|sep|>NAME\n```json\n{...}\n```<|call
//   end|>
//              V3.1    <|calls begin|><|call begin|>NAME<|sep|>{...}<|call end|>...<|calls end|>
//              (the markers as kCallsBegin etc. spell them)
//   kHermes    <tool_call>{"name": NAME, "arguments": {...}}</tool_call>, as Qwen writes it
//   kLlama     the whole answer is {"name": NAME, "parameters": {...}}, several parted by ";",
//              perhaps behind <|python_tag|>
//
// A call is given out whole, when it has ended. What looks like a call but is none, or never ends,
// is text after all: nothing a model says is lost. Pure; one per choice.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace galley::text {

enum class ToolFormat : uint8_t { kDeepseek, kHermes, kLlama };

constexpr std::string_view kCallsBegin = "<｜tool▁calls▁begin｜>";
constexpr std::string_view kCallsEnd = "<｜tool▁calls▁end｜>";
constexpr std::string_view kCallBegin = "<｜tool▁call▁begin｜>";
constexpr std::string_view kCallEnd = "<｜tool▁call▁end｜>";
constexpr std::string_view kCallSeparator = "<｜tool▁sep｜>";

// Texts that mean something in a format. Where the vocabulary has tokens for them, the parser needs
// their text even when special tokens give none.
std::span<const std::string_view> tool_markers(ToolFormat format);

// The format that a chat template shows its model; kDeepseek when it shows none of the others.
ToolFormat tool_format_of(std::string_view chat_template);

class ToolCallParser {
 public:
  struct Call {
    std::string name;
    std::string arguments;  // JSON text as the model wrote it
  };
  struct Output {
    std::string content;
    std::vector<Call> calls;
  };

  explicit ToolCallParser(ToolFormat format) : format_(format) {}

  void push(std::string_view piece, Output& out);
  // Ends the text.
  void flush(Output& out);

 private:
  enum class State { kText, kCalls, kWhole };

  bool step(Output& out);
  bool step_text(Output& out);
  bool step_deepseek(Output& out);
  bool step_hermes(Output& out);
  bool step_llama(Output& out);
  // Where `word` begins in held_, looking only at what is new.
  size_t find(std::string_view word) const;

  const ToolFormat format_;
  State state_ = State::kText;
  bool started_ = false;     // kLlama: the first character has been seen
  bool after_call_ = false;  // kHermes: white space here is format
  std::string held_;
  size_t searched_ = 0;  // bytes of held_ known to begin no end marker
};

}  // namespace galley::text

// ToolCallSplitter: takes tool calls in DeepSeek's format out of an answer that comes in pieces.
//
//   V3, R1  <|calls begin|><|call begin|>function<|sep|>NAME\n```json\n{...}\n```<|call end|>...
//   V3.1    <|calls begin|><|call begin|>NAME<|sep|>{...}<|call end|>...<|calls end|>
//
// (the markers as kCallsBegin etc. spell them). A call is given out whole, when it has ended. What
// looks like a call but is none, or never ends, is text after all: nothing a model says is lost.
// Pure but for the ids, which are random. One per choice.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "api/answer.h"

namespace galley::gateway {

constexpr std::string_view kCallsBegin = "<｜tool▁calls▁begin｜>";
constexpr std::string_view kCallsEnd = "<｜tool▁calls▁end｜>";
constexpr std::string_view kCallBegin = "<｜tool▁call▁begin｜>";
constexpr std::string_view kCallEnd = "<｜tool▁call▁end｜>";
constexpr std::string_view kCallSeparator = "<｜tool▁sep｜>";
constexpr std::array<std::string_view, 5> kToolMarkers = {kCallsBegin, kCallsEnd, kCallBegin,
                                                          kCallEnd, kCallSeparator};

class ToolCallSplitter {
 public:
  // `one_only`: calls after the first are dropped.
  explicit ToolCallSplitter(bool one_only) : one_only_(one_only) {}

  void push(std::string_view piece, api::Delta& delta);
  void flush(api::Delta& delta);

  int32_t num_calls() const { return num_calls_; }

 private:
  bool step(api::Delta& delta);
  bool add_call(std::string_view text, api::Delta& delta);

  const bool one_only_;
  bool in_calls_ = false;
  std::string held_;
  int32_t num_calls_ = 0;
};

// Bytes at the end of `text` that could be the beginning of `word`.
size_t begun_at_end(std::string_view text, std::string_view word);

}  // namespace galley::gateway

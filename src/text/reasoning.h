// ReasoningParser: splits a model's answer, as it comes, into its thought and what it says.
//
// Reasoning models write "<think> thought </think> answer"; with many, the chat template itself has
// opened the thought (RenderedChat::opens_think). White space around either part belongs to the
// format and is dropped; within the thought all is kept. A thought that never ends is all thought;
// an answer that does not begin with the tag has none. What comes out, joined, does not depend on
// how the text was cut. Pure; one per choice.
#pragma once

#include <string>
#include <string_view>

namespace galley::text {

class ReasoningParser {
 public:
  struct Output {
    std::string reasoning;
    std::string content;
  };

  // `open`: the text begins inside a thought.
  ReasoningParser(std::string begin, std::string end, bool open);

  // Appends what is certain to `out`.
  void push(std::string_view piece, Output& out);
  // Ends the text.
  void flush(Output& out);

  bool in_thought() const { return state_ == State::kThought; }

 private:
  enum class State { kStart, kThought, kBetween, kAnswer };

  bool step(Output& out);
  bool step_start();
  bool step_thought(Output& out);
  void add_thought(std::string_view piece, Output& out);

  const std::string begin_;
  const std::string end_;
  State state_;
  std::string held_;   // could be part of a tag, or space before one
  std::string space_;  // of the thought; kept back until something follows it
  bool thought_begun_ = false;
};

}  // namespace galley::text

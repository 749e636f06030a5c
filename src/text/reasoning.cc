#include "text/reasoning.h"

#include <utility>

#include "text/stop_strings.h"

namespace galley::text {
namespace {

constexpr std::string_view kSpace = " \t\r\n";

}  // namespace

ReasoningParser::ReasoningParser(std::string begin, std::string end, bool open)
    : begin_(std::move(begin)),
      end_(std::move(end)),
      state_(open ? State::kThought : State::kStart) {}

void ReasoningParser::push(std::string_view piece, Output& out) {
  held_ += piece;
  while (!held_.empty() && step(out)) {
  }
}

void ReasoningParser::flush(Output& out) {
  if (state_ == State::kThought) {
    add_thought(held_, out);
  } else {
    out.content += held_;
  }
  held_.clear();
}

// One transition; false when more text is needed.
bool ReasoningParser::step(Output& out) {
  switch (state_) {
    case State::kStart:
      return step_start();
    case State::kThought:
      return step_thought(out);
    case State::kBetween: {
      const size_t at = held_.find_first_not_of(kSpace);
      held_.erase(0, at == std::string::npos ? held_.size() : at);
      if (held_.empty()) return false;
      state_ = State::kAnswer;
      return true;
    }
    case State::kAnswer:
      out.content += held_;
      held_.clear();
      return false;
  }
  return false;
}

bool ReasoningParser::step_start() {
  const size_t at = held_.find_first_not_of(kSpace);
  const std::string_view rest =
      at == std::string::npos ? std::string_view() : std::string_view(held_).substr(at);
  if (rest.starts_with(begin_)) {
    held_.erase(0, at + begin_.size());
    state_ = State::kThought;
    return true;
  }
  if (std::string_view(begin_).starts_with(rest)) return false;
  state_ = State::kAnswer;
  return true;
}

bool ReasoningParser::step_thought(Output& out) {
  const size_t at = held_.find(end_);
  if (at != std::string::npos) {
    add_thought(std::string_view(held_).substr(0, at), out);
    held_.erase(0, at + end_.size());
    state_ = State::kBetween;
    return true;
  }
  const size_t certain = held_.size() - begun_at_end(held_, end_);
  add_thought(std::string_view(held_).substr(0, certain), out);
  held_.erase(0, certain);
  return false;
}

void ReasoningParser::add_thought(std::string_view piece, Output& out) {
  const size_t first = piece.find_first_not_of(kSpace);
  if (first == std::string_view::npos) {
    space_ += piece;
    return;
  }
  const size_t end = piece.find_last_not_of(kSpace) + 1;
  if (thought_begun_) {
    out.reasoning += space_;
    out.reasoning += piece.substr(0, end);
  } else {
    out.reasoning += piece.substr(first, end - first);
  }
  thought_begun_ = true;
  space_ = piece.substr(end);
}

}  // namespace galley::text

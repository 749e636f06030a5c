// LineEditor: one line from a terminal, with editing, history and Ctrl-C as an answer of its own.
//
// libedit does the editing. At most one exists at a time; used from the main thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

namespace galley::cli {

inline constexpr int kHistoryLinesMax = 1000;
inline constexpr size_t kLineBytesMax = size_t{1} << 20;

// Set by SIGINT while a LineEditor or an InterruptScope lives; whoever acts on it clears it.
bool interrupted();
void clear_interrupt();

// Turns SIGINT into interrupted() for as long as it lives.
class InterruptScope {
 public:
  InterruptScope();
  ~InterruptScope();
  InterruptScope(const InterruptScope&) = delete;
  InterruptScope& operator=(const InterruptScope&) = delete;
};

// While it lives, what is typed is not echoed into the answer being printed; it is still read by
// the next prompt. Does nothing where standard input is no terminal.
class QuietTyping {
 public:
  QuietTyping();
  ~QuietTyping();
  QuietTyping(const QuietTyping&) = delete;
  QuietTyping& operator=(const QuietTyping&) = delete;

 private:
  struct Saved;
  std::unique_ptr<Saved> saved_;
};

class LineEditor {
 public:
  enum class Outcome : uint8_t { kLine, kInterrupt, kEnd };

  // `history_path`: read now, written by the destructor, mode 0600; empty for none.
  LineEditor(std::string prompt, std::string history_path);
  ~LineEditor();
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;

  // kLine: *line without its line end. kInterrupt: Ctrl-C. kEnd: Ctrl-D or the terminal is gone.
  Outcome read(std::string* line);
  void remember(const std::string& line);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// $XDG_STATE_HOME/galley/chat_history, made if need be; empty if there is no home.
std::string default_history_path();

}  // namespace galley::cli

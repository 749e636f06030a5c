#include "cli/line_editor.h"

#include <fcntl.h>
#include <histedit.h>
#include <langinfo.h>
#include <poll.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <clocale>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cwchar>

namespace galley::cli {

namespace {

volatile std::sig_atomic_t g_interrupted = 0;

extern "C" void note_interrupt(int) {
  g_interrupted = 1;
}

// One character for libedit, which by itself takes no notice of a signal. EINTR ends the line.
int read_character(EditLine* editor, wchar_t* out) {
  FILE* input = nullptr;
  el_get(editor, EL_GETFP, 0, &input);
  std::mbstate_t state{};
  while (true) {
    pollfd wait{.fd = ::fileno(input), .events = POLLIN, .revents = 0};
    const int ready = ::poll(&wait, 1, -1);
    if (interrupted()) {
      errno = EINTR;
      return -1;
    }
    if (ready < 0 && errno == EINTR) continue;  // a changed window size, for one
    char byte = 0;
    const ssize_t got = ::read(wait.fd, &byte, 1);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return static_cast<int>(got);
    const size_t used = std::mbrtowc(out, &byte, 1, &state);
    if (used == static_cast<size_t>(-2)) continue;  // more bytes of this character follow
    if (used != static_cast<size_t>(-1)) return 1;
    state = {};  // not UTF-8: drop it
  }
}

// Editing counts columns and characters, so it needs a UTF-8 locale, whatever the machine's is.
void use_utf8_locale() {
  std::setlocale(LC_CTYPE, "");
  if (std::strcmp(::nl_langinfo(CODESET), "UTF-8") != 0) std::setlocale(LC_CTYPE, "C.UTF-8");
}

}  // namespace

bool interrupted() {
  return g_interrupted != 0;
}
void clear_interrupt() {
  g_interrupted = 0;
}

InterruptScope::InterruptScope() {
  struct sigaction action = {};
  action.sa_handler = note_interrupt;  // without SA_RESTART: poll() shall return
  ::sigaction(SIGINT, &action, nullptr);
}

InterruptScope::~InterruptScope() {
  std::signal(SIGINT, SIG_DFL);
}

struct QuietTyping::Saved {
  termios settings = {};
};

QuietTyping::QuietTyping() {
  auto saved = std::make_unique<Saved>();
  if (::tcgetattr(STDIN_FILENO, &saved->settings) != 0) return;
  termios quiet = saved->settings;
  quiet.c_lflag &= ~static_cast<tcflag_t>(ECHO);
  if (::tcsetattr(STDIN_FILENO, TCSANOW, &quiet) == 0) saved_ = std::move(saved);
}

QuietTyping::~QuietTyping() {
  if (saved_) ::tcsetattr(STDIN_FILENO, TCSANOW, &saved_->settings);
}

struct LineEditor::State {
  InterruptScope interrupt;
  std::string prompt;
  std::string history_path;
  EditLine* editor = nullptr;
  History* history = nullptr;
  HistEvent event = {};
};

namespace {

// libedit asks for the prompt by a plain function.
const std::string* g_prompt = nullptr;
char* give_prompt(EditLine*) {
  return const_cast<char*>(g_prompt->c_str());
}

}  // namespace

LineEditor::LineEditor(std::string prompt, std::string history_path)
    : state_(std::make_unique<State>()) {
  use_utf8_locale();
  state_->prompt = std::move(prompt);
  state_->history_path = std::move(history_path);
  g_prompt = &state_->prompt;
  state_->editor = el_init("galley", stdin, stdout, stderr);
  state_->history = history_init();
  history(state_->history, &state_->event, H_SETSIZE, kHistoryLinesMax);
  history(state_->history, &state_->event, H_SETUNIQUE, 1);
  if (!state_->history_path.empty()) {
    history(state_->history, &state_->event, H_LOAD, state_->history_path.c_str());
  }
  el_set(state_->editor, EL_PROMPT, give_prompt);
  el_set(state_->editor, EL_EDITOR, "emacs");
  el_set(state_->editor, EL_HIST, history, state_->history);
  el_set(state_->editor, EL_SIGNAL, 0);
  el_set(state_->editor, EL_GETCFN, read_character);
  el_set(state_->editor, EL_BIND, "^R", "em-inc-search-prev", nullptr);
}

LineEditor::~LineEditor() {
  if (!state_->history_path.empty()) {
    // Made by us, so that what was typed is readable by nobody else.
    const int file = ::open(state_->history_path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (file >= 0) ::close(file);
    history(state_->history, &state_->event, H_SAVE, state_->history_path.c_str());
  }
  history_end(state_->history);
  el_end(state_->editor);
  g_prompt = nullptr;
}

LineEditor::Outcome LineEditor::read(std::string* line) {
  clear_interrupt();
  int count = 0;
  const char* const text = el_gets(state_->editor, &count);
  if (interrupted()) {
    clear_interrupt();
    el_reset(state_->editor);
    std::fputs("\n", stdout);
    return Outcome::kInterrupt;
  }
  if (text == nullptr || count <= 0 || static_cast<size_t>(count) > kLineBytesMax) {
    return Outcome::kEnd;
  }
  line->assign(text, static_cast<size_t>(count));
  while (line->ends_with('\n') || line->ends_with('\r')) line->pop_back();
  return Outcome::kLine;
}

void LineEditor::remember(const std::string& line) {
  history(state_->history, &state_->event, H_ENTER, line.c_str());
}

std::string default_history_path() {
  const char* const state_home = std::getenv("XDG_STATE_HOME");
  const char* const home = std::getenv("HOME");
  std::string folder;
  if (state_home != nullptr && state_home[0] == '/') {
    folder = state_home;
  } else if (home != nullptr && home[0] == '/') {
    folder = std::string(home) + "/.local";
    ::mkdir(folder.c_str(), 0755);
    folder += "/state";
  } else {
    return "";
  }
  ::mkdir(folder.c_str(), 0700);
  folder += "/galley";
  ::mkdir(folder.c_str(), 0700);
  struct stat status = {};
  if (::stat(folder.c_str(), &status) != 0 || !S_ISDIR(status.st_mode)) return "";
  return folder + "/chat_history";
}

}  // namespace galley::cli

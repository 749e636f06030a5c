// `galley chat`: talk with a model, in a terminal or from a script.
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <memory>

#include "base/file.h"
#include "cli/chat_session.h"
#include "cli/command.h"
#include "cli/line_editor.h"
#include "cli/local_server.h"
#include "cli/model_folder.h"
#include "cli/numbers.h"
#include "cli/stream_delta.h"

namespace galley::cli {

namespace {

constexpr size_t kInputBytesMax = size_t{16} << 20;
constexpr const char* kDim = "\x1b[2m";
constexpr const char* kPlain = "\x1b[0m";
constexpr const char* kPrompt = "> ";

constexpr const char* kHelp =
    "  /system TEXT    start over with this system message; without TEXT: with none\n"
    "  /thinking on    let the model think first; /thinking off asks it not to\n"
    "  /clear          start over\n"
    "  /save FILE      write the conversation as Markdown\n"
    "  /quit           leave (Ctrl-D, or Ctrl-C twice)\n"
    "  A line that ends in \\ goes on in the next one. Ctrl-C stops an answer.\n";

struct ChatFlags {
  ModelFlags local;  // of a model loaded here
  std::string url = "http://127.0.0.1:8000";
  std::string api_key;
  std::string model;
  std::string system;
  std::string message;
  std::optional<std::string> temperature;
  std::optional<std::string> top_p;
  std::optional<std::string> seed;
  int64_t max_tokens = 0;
  std::string reasoning_effort;
  bool thinking = true;
  bool show_thinking = true;
  bool history = true;
};

void declare(ChatFlags* flags, Settings* settings) {
  settings->heading("Server");
  settings->add({"url", "URL", "an OpenAI-compatible server"}, &flags->url);
  settings->add({"api-key", "KEY", "sent as bearer token"}, &flags->api_key).secret = true;
  settings->add({"model", "NAME|DIR", "the server's model (its first), or a folder to load here"},
                &flags->model);
  settings->positional("MODEL", "model");
  settings->heading("Conversation");
  settings->add({"system", "TEXT", "system message"}, &flags->system);
  settings->add({"message", "TEXT", "ask this, print the answer, leave"}, &flags->message);
  settings->add({"temperature", "T", "0 to 2; by default the model's own"}, &flags->temperature);
  settings->add({"top-p", "P", "above 0, up to 1; by default the model's own"}, &flags->top_p);
  settings->add({"seed", "N", "for answers that repeat"}, &flags->seed);
  settings->add({"max-tokens", "N", "longest answer; 0: as the server does"}, {.min = 0},
                &flags->max_tokens);
  settings->add({"reasoning-effort", "NAME", "minimal, low, medium or high"},
                &flags->reasoning_effort);
  settings->add_switch({"thinking", "", "let the model think first"}, &flags->thinking);
  settings->add_switch({"show-thinking", "", "in a terminal, print thoughts dimmed"},
                       &flags->show_thinking);
  settings->add_switch({"history", "", "remember what was typed"}, &flags->history);
  settings->heading("A model loaded from a folder");
  settings->rare_from_here();
  declare_computing(&flags->local, settings);
  settings->example("A message piped in is answered on standard output:");
  settings->example("  echo 'What is 12 + 30?' | galley chat");
}

Result<ChatOptions> resolve(const ChatFlags& flags) {
  ChatOptions out;
  const auto real = [](const char* flag, const std::optional<std::string>& text, double max,
                       std::optional<double>* target) {
    if (!text) return Status();
    const Result<double> value = parse_real(*text);
    if (!value.ok() || !(*value >= 0 && *value <= max)) {
      return Status(Code::kInvalid, std::string(flag) + ": '" + *text +
                                        "' is not a number from 0 to " + show_real(max, 0));
    }
    *target = *value;
    return Status();
  };
  GALLEY_RETURN_IF_ERROR(real("--temperature", flags.temperature, 2, &out.temperature));
  GALLEY_RETURN_IF_ERROR(real("--top-p", flags.top_p, 1, &out.top_p));
  if (flags.seed) {
    const Result<int64_t> seed = parse_count(*flags.seed);
    if (!seed.ok()) return Status(Code::kInvalid, "--seed: " + seed.message());
    out.seed = *seed;
  }
  out.model = flags.model;
  out.max_tokens = flags.max_tokens;
  out.reasoning_effort = flags.reasoning_effort;
  out.thinking = flags.thinking;
  return out;
}

// Prints an answer as it comes; thoughts dimmed, and apart from the answer.
class AnswerPrinter {
 public:
  AnswerPrinter(bool terminal, bool show_thinking)
      : terminal_(terminal), show_thinking_(show_thinking) {}

  void text(Part part, std::string_view piece) {
    if (part == Part::kThinking && !(terminal_ && show_thinking_)) return;
    if (part != part_ || !begun_) {
      if (terminal_) std::fputs(part == Part::kThinking ? kDim : kPlain, stdout);
      if (begun_) std::fputs(last_ == '\n' ? "\n" : "\n\n", stdout);
      part_ = part;
      begun_ = true;
      at_start_ = true;
    }
    std::string shown = printable(piece);
    if (at_start_) shown.erase(0, shown.find_first_not_of("\n "));  // templates leave blank lines
    if (shown.empty()) return;
    at_start_ = false;
    last_ = shown.back();
    std::fputs(shown.c_str(), stdout);
    std::fflush(stdout);
  }

  void end(const AnswerFigures& figures) {
    if (terminal_) std::fputs(kPlain, stdout);
    if (last_ != '\n' || !begun_) std::fputc('\n', stdout);
    if (!terminal_) {
      if (figures.finish_reason == "length") {
        std::fputs("the answer was cut at the length limit\n", stderr);
      }
      return;
    }
    const double rest_s = (figures.total_ms - figures.first_ms) / 1000;
    std::string line = figures.interrupted ? "stopped, " : "";
    line += std::to_string(figures.output_tokens) + " tokens";
    if (figures.output_tokens > 1 && rest_s > 0) {
      line += ", " + show_real(static_cast<double>(figures.output_tokens - 1) / rest_s, 1) + "/s";
    }
    line += ", first after " + show_real(figures.first_ms / 1000, 2) + " s";
    if (figures.finish_reason == "length") line += ", cut at the length limit";
    std::printf("%s[%s]%s\n\n", kDim, line.c_str(), kPlain);
  }

  void abandon() {
    if (terminal_) std::fputs(kPlain, stdout);
    if (begun_ && last_ != '\n') std::fputc('\n', stdout);
  }

 private:
  const bool terminal_;
  const bool show_thinking_;
  Part part_ = Part::kAnswer;
  bool begun_ = false;
  bool at_start_ = true;
  char last_ = '\n';
};

Status answer(ChatSession* session, const std::string& message, bool terminal, bool show_thinking) {
  AnswerPrinter printer(terminal, show_thinking);
  const QuietTyping quiet;
  clear_interrupt();
  const Result<AnswerFigures> figures = session->ask(
      message, [&](Part part, std::string_view piece) { printer.text(part, piece); },
      [] { return interrupted(); });
  clear_interrupt();
  if (!figures.ok()) {
    printer.abandon();
    return figures.status();
  }
  printer.end(*figures);
  return Status();
}

Status save(const ChatSession& session, const std::string& path) {
  if (path.empty()) return Status(Code::kInvalid, "/save needs a file name");
  struct stat status = {};
  if (::stat(path.c_str(), &status) == 0) {
    return Status(Code::kInvalid, "'" + path + "' exists already");
  }
  std::ofstream file(path);
  file << session.transcript();
  if (!file.flush()) return Status(Code::kInvalid, "'" + path + "' cannot be written");
  std::printf("saved to %s\n", path.c_str());
  return Status();
}

// A line that begins with a slash. False: leave.
bool run_command(const std::string& line, ChatSession* session) {
  const size_t blank = line.find(' ');
  const std::string name = line.substr(0, blank);
  std::string rest = blank == std::string::npos ? "" : line.substr(blank + 1);
  rest.erase(0, rest.find_first_not_of(' '));
  if (name == "/quit" || name == "/exit") return false;
  if (name == "/help") {
    std::fputs(kHelp, stdout);
  } else if (name == "/clear") {
    session->clear();
    std::puts("started over");
  } else if (name == "/system") {
    session->set_system(rest);
    std::puts(rest.empty() ? "started over without a system message"
                           : "started over with this system message");
  } else if (name == "/thinking" && (rest == "on" || rest == "off")) {
    session->options().thinking = rest == "on";
  } else if (name == "/save") {
    const Status status = save(*session, rest);
    if (!status.ok()) std::fprintf(stderr, "%s\n", status.message().c_str());
  } else {
    const std::vector<std::string> names = {"/help", "/clear", "/system",
                                            "/save", "/quit",  "/thinking"};
    const std::string nearest = nearest_name(name, names);
    std::printf("unknown command %s; %s\n", printable(name).c_str(),
                nearest.empty() || nearest == name ? "/help lists them"
                                                   : ("did you mean " + nearest + "?").c_str());
  }
  return true;
}

Status talk(ChatSession* session, const ChatFlags& flags) {
  LineEditor editor(kPrompt, flags.history ? default_history_path() : "");
  std::printf("Talking with %s. /help lists the commands.\n\n", session->options().model.c_str());
  bool asked_to_leave = false;
  std::string message;
  while (true) {
    std::string line;
    const LineEditor::Outcome outcome = editor.read(&line);
    if (outcome == LineEditor::Outcome::kEnd) break;
    if (outcome == LineEditor::Outcome::kInterrupt) {
      if (asked_to_leave) break;
      asked_to_leave = true;
      message.clear();
      std::puts("Ctrl-C again leaves.");
      continue;
    }
    asked_to_leave = false;
    if (line.ends_with('\\')) {
      line.back() = '\n';
      message += line;
      continue;
    }
    message += line;
    if (message.find_first_not_of(" \n") == std::string::npos) {
      message.clear();
      continue;
    }
    editor.remember(message);
    if (message.starts_with('/')) {
      if (!run_command(message, session)) return Status();
    } else {
      const Status status = answer(session, message, true, flags.show_thinking);
      if (!status.ok()) std::fprintf(stderr, "error: %s\n", status.message().c_str());
    }
    message.clear();
  }
  std::fputc('\n', stdout);
  return Status();
}

Result<std::string> read_piped_message() {
  std::string text;
  char piece[64 << 10];
  while (const size_t got = std::fread(piece, 1, sizeof(piece), stdin)) {
    text.append(piece, got);
    if (text.size() > kInputBytesMax) {
      return Status(Code::kTooLarge,
                    "the message is longer than " + std::to_string(kInputBytesMax) + " bytes");
    }
  }
  while (text.ends_with('\n')) text.pop_back();
  if (text.empty()) return Status(Code::kInvalid, "standard input holds no message");
  return text;
}

// Where the conversation goes: fills url, key and model of `flags`. A folder, or no server at the
// default address, means a model loaded here; then the server is returned and must live on.
Result<std::unique_ptr<LocalServer>> choose_server(const Settings& settings, ChatFlags* flags) {
  const bool is_folder = file_exists(flags->model + "/config.json");
  if (is_folder && settings.given("url")) {
    return Status(Code::kInvalid, "--model names a folder and --url a server; give one of them");
  }
  if (!is_folder) {
    GALLEY_ASSIGN_OR_RETURN(const Url url, parse_url(flags->url));
    const Result<std::string> first = first_model(url, flags->api_key);
    if (first.ok()) {
      if (flags->model.empty()) flags->model = *first;
      return std::unique_ptr<LocalServer>();
    }
    if (settings.given("url") || !flags->model.empty() || first.code() != Code::kUnavailable) {
      return first.status();
    }
    std::fprintf(stderr, "no server at %s\n", flags->url.c_str());
  }
  flags->local.model = flags->model;
  ServedModelOptions options;
  GALLEY_ASSIGN_OR_RETURN(options.load, resolve(flags->local));
  std::fprintf(stderr, "loading %s ...\n", options.load.folder.c_str());
  GALLEY_ASSIGN_OR_RETURN(std::unique_ptr<LocalServer> local, LocalServer::start(options));
  flags->url = local->url();
  flags->api_key = local->api_key();
  flags->model = local->model();
  return local;
}

}  // namespace

Status run_chat(Args args, const Variables& variables) {
  ChatFlags flags;
  Settings settings("galley chat", "Talks with a model: a server's, or one loaded from a folder.");
  declare(&flags, &settings);
  allow_serve_config(&settings, {"api-key"});  // serve's are those it accepts
  GALLEY_RETURN_IF_ERROR(settings.parse(args, variables));
  if (print_and_stop(settings)) return Status();
  GALLEY_ASSIGN_OR_RETURN(const std::unique_ptr<LocalServer> local,
                          choose_server(settings, &flags));
  GALLEY_ASSIGN_OR_RETURN(const ChatOptions options, resolve(flags));
  GALLEY_ASSIGN_OR_RETURN(const Url url, parse_url(flags.url));
  ChatSession session(url, flags.api_key, options);
  session.set_system(flags.system);
  const bool terminal = ::isatty(STDIN_FILENO) == 1 && ::isatty(STDOUT_FILENO) == 1;
  if (terminal && flags.message.empty()) return talk(&session, flags);
  std::string message = flags.message;
  if (message.empty()) {
    GALLEY_ASSIGN_OR_RETURN(message, read_piped_message());
  }
  const InterruptScope interrupt;
  return answer(&session, message, ::isatty(STDOUT_FILENO) == 1, flags.show_thinking);
}

}  // namespace galley::cli

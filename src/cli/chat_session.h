// ChatSession: a conversation with a server: what was said, and the next answer, streamed.
#pragma once

#include <boost/json/array.hpp>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "cli/http_client.h"

namespace galley::cli {

struct ChatOptions {
  std::string model;
  std::optional<double> temperature;  // absent: the model's own
  std::optional<double> top_p;
  std::optional<int64_t> seed;
  int64_t max_tokens = 0;        // 0: as the server does
  std::string reasoning_effort;  // empty: as the model does by itself
  bool thinking = true;          // false: asks the server for no thought
  double timeout_s = 3600;
};

enum class Part : uint8_t { kThinking, kAnswer };

struct AnswerFigures {
  int64_t output_tokens = 0;
  double first_ms = 0;  // until the first text
  double total_ms = 0;
  bool interrupted = false;
  std::string finish_reason;
};

class ChatSession {
 public:
  ChatSession(Url url, std::string api_key, ChatOptions options);

  ChatOptions& options() { return options_; }
  void set_system(std::string text);  // empty: none. Starts over.
  void clear();
  bool empty() const { return turns_.empty(); }

  // Sends `message` with all that was said before. `on_text` hears the answer as it comes, within
  // the call; `stop` is asked about 50 times a second whether to break off. What was said is kept
  // for the next turn, a broken-off answer too; after an error the message is forgotten.
  // Errors  as HttpClient's, or what the server says
  Result<AnswerFigures> ask(const std::string& message,
                            const std::function<void(Part, std::string_view)>& on_text,
                            const std::function<bool()>& stop);

  // The conversation as Markdown.
  std::string transcript() const;

 private:
  struct Turn {
    std::string role;
    std::string content;
    std::string thinking;  // kept for the transcript; never sent back
  };

  std::string request_body() const;

  const Url url_;
  const std::string api_key_;
  ChatOptions options_;
  std::string system_;
  std::vector<Turn> turns_;
};

// Text of a model, safe to print: control characters other than line feed and tab are left out, so
// that an answer cannot steer the terminal.
std::string printable(std::string_view text);

}  // namespace galley::cli

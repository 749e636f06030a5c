#include "cli/chat_session.h"

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <cmath>

#include "cli/stream_delta.h"

namespace galley::cli {

namespace json = boost::json;
using Clock = HttpClient::Clock;

namespace {

constexpr std::chrono::milliseconds kStopEvery{20};

double since_ms(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

// One answer under way.
struct Answer {
  std::string content;
  std::string thinking;
  std::string error;
  AnswerFigures figures;
  Status status;
  bool done = false;   // [DONE] came
  bool ended = false;  // on_done was called
};

}  // namespace

ChatSession::ChatSession(Url url, std::string api_key, ChatOptions options)
    : url_(std::move(url)), api_key_(std::move(api_key)), options_(std::move(options)) {}

void ChatSession::set_system(std::string text) {
  system_ = std::move(text);
  turns_.clear();
}

void ChatSession::clear() {
  turns_.clear();
}

std::string ChatSession::request_body() const {
  json::array messages;
  if (!system_.empty()) {
    messages.emplace_back(json::object{{"role", "system"}, {"content", system_}});
  }
  for (const Turn& turn : turns_) {
    messages.emplace_back(json::object{{"role", turn.role}, {"content", turn.content}});
  }
  json::object body = {{"model", options_.model},
                       {"messages", std::move(messages)},
                       {"stream", true},
                       {"stream_options", {{"include_usage", true}}}};
  if (options_.temperature) body["temperature"] = *options_.temperature;
  if (options_.top_p) body["top_p"] = *options_.top_p;
  if (options_.seed) body["seed"] = *options_.seed;
  if (options_.max_tokens > 0) body["max_tokens"] = options_.max_tokens;
  if (!options_.reasoning_effort.empty()) body["reasoning_effort"] = options_.reasoning_effort;
  if (!options_.thinking) body["thinking"] = json::object{{"type", "disabled"}};
  return json::serialize(body);
}

Result<AnswerFigures> ChatSession::ask(const std::string& message,
                                       const std::function<void(Part, std::string_view)>& on_text,
                                       const std::function<bool()>& stop) {
  turns_.push_back({"user", message, ""});
  Answer answer;
  HttpClient client(url_, api_key_);
  const Clock::time_point start = Clock::now();
  int64_t pieces = 0;

  HttpHandler handler;
  handler.on_event = [&](std::string_view data) {
    const StreamDelta delta = parse_stream_delta(data);
    if (!delta.error.empty()) answer.error = delta.error;
    if (delta.done) answer.done = true;
    if (delta.completion_tokens >= 0) answer.figures.output_tokens = delta.completion_tokens;
    if (!delta.finish_reason.empty()) answer.figures.finish_reason = delta.finish_reason;
    if (delta.content.empty() && delta.reasoning.empty()) return;
    if (pieces++ == 0) answer.figures.first_ms = since_ms(start);
    if (!delta.reasoning.empty()) {
      answer.thinking += delta.reasoning;
      on_text(Part::kThinking, delta.reasoning);
    }
    if (!delta.content.empty()) {
      answer.content += delta.content;
      on_text(Part::kAnswer, delta.content);
    }
  };
  handler.on_done = [&](const Status& status, int http_status, const std::string& body) {
    answer.ended = true;
    answer.status = status;
    if (status.ok() && http_status != 200) answer.error = error_text(http_status, body);
    client.stop();  // a waiting timer must not hold the prompt back
  };
  const HttpClient::RequestId id =
      client.start({.target = "/v1/chat/completions",
                    .body = request_body(),
                    .timeout = std::chrono::milliseconds(std::llround(options_.timeout_s * 1000))},
                   std::move(handler));
  std::function<void()> watch = [&] {
    if (answer.ended) return;
    if (stop()) {
      answer.figures.interrupted = true;
      client.cancel(id);
    } else {
      client.call_at(Clock::now() + kStopEvery, watch);
    }
  };
  watch();
  client.run();

  answer.figures.total_ms = since_ms(start);
  Status status;
  if (answer.figures.interrupted) {
    answer.figures.output_tokens = std::max(answer.figures.output_tokens, pieces);
  } else if (!answer.status.ok()) {
    status = answer.status;
  } else if (!answer.error.empty()) {
    status = Status(Code::kInvalid, answer.error);
  } else if (!answer.done) {
    status = Status(Code::kUnavailable, "the server ended the answer early");
  }
  if (!status.ok()) {
    turns_.pop_back();
    return status;
  }
  turns_.push_back({"assistant", answer.content, answer.thinking});
  return answer.figures;
}

std::string ChatSession::transcript() const {
  std::string out;
  if (!system_.empty()) out += "## System\n\n" + system_ + "\n\n";
  for (const Turn& turn : turns_) {
    out += turn.role == "user" ? "## You\n\n" : "## " + options_.model + "\n\n";
    if (!turn.thinking.empty()) out += "<think>\n" + turn.thinking + "\n</think>\n\n";
    out += turn.content + "\n\n";
  }
  return out;
}

std::string printable(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const auto next = static_cast<unsigned char>(i + 1 < text.size() ? text[i + 1] : 0);
    if (byte == 0xc2 && next >= 0x80 && next < 0xa0) {  // U+0080 to U+009F, the C1 controls
      ++i;
      continue;
    }
    if ((byte < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7f) continue;
    out.push_back(text[i]);
  }
  return out;
}

}  // namespace galley::cli

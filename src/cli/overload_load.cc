#include "cli/overload_load.h"

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <memory>

#include "cli/stream_delta.h"

namespace galley::cli {
namespace {

namespace json = boost::json;
using Clock = HttpClient::Clock;

constexpr double kPatienceLeftMin = 20;  // ms; with less no try is made

// One group's arrivals, in order.
struct Arrivals {
  Random random{0};
  double next_ms = 0;
};

class Player {
 public:
  Player(const OverloadTarget& target, const std::vector<ClientGroup>& groups)
      : target_(target), groups_(groups), client_(target.url, "") {}

  OverloadRun play(const std::string& title) {
    title_ = title;
    start_ = Clock::now();
    for (size_t g = 0; g < groups_.size(); ++g) {
      arrivals_.push_back({Random(target_.seed * 1000 + g + 1), groups_[g].from_s * 1000});
      if (groups_[g].closed_loop > 0) {
        for (int32_t i = 0; i < groups_[g].closed_loop; ++i)
          at(groups_[g].from_s * 1000, [this, g] { arrive(g, now_ms()); });
      } else {
        schedule(g);
      }
    }
    at(500, [this] { show_progress(); });
    client_.run();
    std::fprintf(stderr, "\r%79s\r", "");
    run_.duration_ms = now_ms();
    return std::move(run_);
  }

 private:
  double now_ms() const {
    return std::chrono::duration<double, std::milli>(Clock::now() - start_).count();
  }
  void at(double when_ms, std::function<void()> task) {
    client_.call_at(start_ + std::chrono::microseconds(std::llround(when_ms * 1000)),
                    std::move(task));
  }

  // Several arrivals may be due at once; one timer is set for each group.
  void schedule(size_t g) {
    const ClientGroup& group = groups_[g];
    Arrivals& arrivals = arrivals_[g];
    arrivals.next_ms += arrivals.random.exponential(1000 / group.requests_per_s);
    if (arrivals.next_ms >= group.to_s * 1000) return;
    at(arrivals.next_ms, [this, g] {
      const double due = arrivals_[g].next_ms;
      run_.lag_ms_max = std::max(run_.lag_ms_max, now_ms() - due);
      arrive(g, due);
      schedule(g);
    });
  }

  void arrive(size_t g, double due_ms) {
    const ClientGroup& group = groups_[g];
    Random& random = arrivals_[g].random;
    Attempt attempt;
    attempt.group = static_cast<uint32_t>(g);
    attempt.lengths = group.mix[random.below(group.mix.size())];
    attempt.wanted_ms = due_ms;
    run_.attempts.push_back(attempt);
    naive_.push_back(random.uniform() < group.naive_share);
    open_ += 1;
    send(run_.attempts.size() - 1);
  }

  double patience_left(const Attempt& attempt) const {
    return attempt.wanted_ms + static_cast<double>(groups_[attempt.group].patience_ms) - now_ms();
  }

  std::string body(const Attempt& attempt, size_t index) const {
    PlannedRequest planned;
    planned.input_tokens = attempt.lengths.input_tokens;
    json::object message = {{"role", "user"},
                            {"content", make_prompt(planned, target_.shape, target_.seed, index)}};
    return json::serialize(json::object{{"model", target_.model},
                                        {"max_tokens", attempt.lengths.output_tokens},
                                        {"temperature", 0},
                                        {"ignore_eos", true},
                                        {"stream", true},
                                        {"messages", json::array{std::move(message)}}});
  }

  void send(size_t index) {
    Attempt& attempt = run_.attempts[index];
    const ClientGroup& group = groups_[attempt.group];
    const double left = patience_left(attempt);
    ++attempt.tries;
    ++run_.tries;
    attempt.accepted_try_ms = now_ms();
    attempt.told_ms = -1;
    HttpRequest request;
    request.target = "/v1/chat/completions";
    request.body = body(attempt, index);
    request.timeout = std::chrono::milliseconds(std::llround(std::max(left, 1.0)));
    request.headers = {{"authorization", "Bearer " + group.api_key},
                       {"x-galley-queue-events", "1"}};
    if (group.sends_deadline) {
      const auto ms = std::max<int64_t>(1, std::llround(left));
      request.headers.emplace_back("x-galley-deadline-ms", std::to_string(ms));
    }
    const auto retry_after_s = std::make_shared<int64_t>(0);
    HttpHandler handler;
    handler.on_head = [retry_after_s](int, const HttpHeaders& headers) {
      for (const auto& [name, value] : headers)
        if (name == "retry-after")
          std::from_chars(value.data(), value.data() + value.size(), *retry_after_s);
    };
    handler.on_event = [this, index](std::string_view data) { take_event(index, data); };
    handler.on_done = [this, index, retry_after_s](const Status& status, int http_status,
                                                   const std::string& body) {
      finish(index, status, http_status, *retry_after_s);
      if (run_.attempts[index].outcome != Outcome::kFailed) return;
      ++run_.failures[!status.ok()         ? status.message()
                      : http_status != 200 ? error_text(http_status, body)
                                           : "the stream broke off or brought an error"];
    };
    client_.start(std::move(request), std::move(handler));
  }

  void take_event(size_t index, std::string_view data) {
    Attempt& attempt = run_.attempts[index];
    if (attempt.start_ms < 0 && data.find("galley.queue") != std::string_view::npos)
      return take_news(&attempt, data);
    // Reading all of each event would cost the machine as much as the server's writing.
    if (attempt.first_ms < 0 || data.find("\"error\"") != std::string_view::npos) {
      const StreamDelta delta = parse_stream_delta(data);
      if (!delta.error.empty()) {
        const bool late = data.find("deadline_exceeded") != std::string_view::npos;
        attempt.outcome = late ? Outcome::kLate : Outcome::kFailed;
      }
      const bool has_text = !delta.content.empty() || !delta.reasoning.empty();
      if (attempt.first_ms < 0 && has_text) attempt.first_ms = now_ms();
    }
    const bool fine = attempt.outcome == Outcome::kPending;
    if (fine && attempt.start_ms < 0) attempt.start_ms = now_ms();
    if (fine && data == "[DONE]") attempt.outcome = Outcome::kGood;
    ++attempt.events;
  }

  void take_news(Attempt* attempt, std::string_view data) const {
    if (attempt->told_ms >= 0) return;  // The first is scored.
    boost::system::error_code wrong;
    const json::value news = json::parse(json::string_view(data.data(), data.size()), wrong);
    const json::value* median = news.find_pointer("/estimated_start_ms/median", wrong);
    const json::value* p90 = news.find_pointer("/estimated_start_ms/p90", wrong);
    if (median == nullptr || p90 == nullptr) return;
    attempt->told_ms = now_ms();
    attempt->told_median_ms = median->to_number<double>(wrong);
    attempt->told_p90_ms = p90->to_number<double>(wrong);
  }

  void finish(size_t index, const Status& status, int http_status, int64_t retry_after_s) {
    Attempt& attempt = run_.attempts[index];
    const ClientGroup& group = groups_[attempt.group];
    attempt.http_status = http_status;
    const double left = patience_left(attempt);
    const bool refused = status.ok() && (http_status == 429 || http_status == 503);
    if (refused) {
      attempt.refusal_ms = now_ms() - attempt.accepted_try_ms;
      double pause = static_cast<double>(retry_after_s) * 1000;
      if (naive_[index]) {
        pause = static_cast<double>(group.naive_pause_ms) *
                (0.5 + arrivals_[attempt.group].random.uniform());
      }
      if (left - pause >= kPatienceLeftMin && attempt.tries < group.tries_max) {
        attempt.outcome = Outcome::kPending;
        return at(now_ms() + pause, [this, index] { send(index); });
      }
      attempt.outcome = Outcome::kRefused;
    } else if (status.code() == Code::kDeadline || http_status == 504) {
      attempt.outcome = Outcome::kLate;
    } else if (!status.ok() || http_status != 200 || attempt.outcome == Outcome::kPending) {
      attempt.outcome = Outcome::kFailed;
    }
    if (attempt.outcome == Outcome::kGood && left < 0) attempt.outcome = Outcome::kLate;
    attempt.done_ms = now_ms();
    const auto events = static_cast<double>(attempt.events);
    attempt.output_received = attempt.lengths.output_tokens;
    if (attempt.outcome == Outcome::kGood) {
      good_events_ += events;
      good_tokens_ += attempt.output_received;
    } else {
      const double each = good_events_ > 0 ? good_tokens_ / good_events_ : 1;
      attempt.output_received = std::min(attempt.output_received, events * each);
    }
    --open_;
    if (group.closed_loop > 0 && now_ms() < group.to_s * 1000) arrive(attempt.group, now_ms());
  }

  void show_progress() {
    std::fprintf(stderr, "\r%s: %4.0f s, %zu requests, %lld tries, %lld open   ", title_.c_str(),
                 now_ms() / 1000, run_.attempts.size(), static_cast<long long>(run_.tries),
                 static_cast<long long>(open_));
    std::fflush(stderr);
    const bool more = std::any_of(groups_.begin(), groups_.end(), [this](const ClientGroup& group) {
      return now_ms() < group.to_s * 1000;
    });
    if (more || open_ > 0) at(now_ms() + 500, [this] { show_progress(); });
  }

  const OverloadTarget& target_;
  const std::vector<ClientGroup>& groups_;
  HttpClient client_;
  Clock::time_point start_;
  std::string title_;
  std::vector<Arrivals> arrivals_;
  std::vector<bool> naive_;
  OverloadRun run_;
  int64_t open_ = 0;
  double good_events_ = 0, good_tokens_ = 0;
};

}  // namespace

OverloadRun run_overload(const OverloadTarget& target, const std::vector<ClientGroup>& groups,
                         const std::string& title) {
  return Player(target, groups).play(title);
}

}  // namespace galley::cli

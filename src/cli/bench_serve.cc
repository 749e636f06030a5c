// `galley bench serve`: plays a workload against an OpenAI-compatible server and reports what its
// clients would have felt. Open loop: a request goes out at its time whatever the server does.
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <cmath>
#include <cstdio>
#include <deque>
#include <fstream>
#include <functional>
#include <limits>

#include "cli/bench.h"
#include "cli/http_client.h"
#include "cli/load_report.h"
#include "cli/numbers.h"
#include "cli/stream_delta.h"
#include "cli/workload.h"

namespace galley::cli {

namespace {

namespace json = boost::json;
using Clock = HttpClient::Clock;

constexpr int64_t kConcurrencyMax = 16384;  // connections this process opens at once

struct ServeBenchFlags {
  std::string url = "http://127.0.0.1:8000";
  std::string api_key;
  std::string model;
  std::string endpoint = "chat";
  double request_rate = std::numeric_limits<double>::infinity();
  double burstiness = 1;
  int64_t num_requests = 100;
  int64_t input_len = 256;
  int64_t output_len = 64;
  int64_t prefix_len = 0;
  std::string trace;
  double speed = 1;
  double duration_s = 0;
  int64_t max_input_len = 0;
  int64_t max_output_len = 0;
  int64_t max_concurrency = 1024;
  double timeout_s = 600;
  double temperature = 0;
  bool ignore_eos = true;
  std::vector<std::string> goodput;
  int64_t seed = 0;
  bool json = false;
  std::string output;
};

void declare(ServeBenchFlags* flags, Settings* settings) {
  settings->heading("Server");
  settings->add({"url", "URL", "an OpenAI-compatible server"}, &flags->url);
  settings->add({"api-key", "KEY", "sent as bearer token"}, &flags->api_key).secret = true;
  settings->add({"model", "NAME", "by default the first of /v1/models"}, &flags->model);
  settings->add_choice({"endpoint", "NAME", "chat or completions"}, {"chat", "completions"},
                       &flags->endpoint);
  settings->heading("Load");
  settings->add({"request-rate", "R", "requests per second; inf sends all at once"},
                Settings::RealRange{.min = 1e-6, .max = std::numeric_limits<double>::infinity()},
                &flags->request_rate);
  settings->add({"burstiness", "B", "1: Poisson; below 1 burstier, above more regular"},
                Settings::RealRange{.min = 0.01, .max = 100}, &flags->burstiness);
  settings->add({"num-requests", "N", "how many; for a trace the first N, 0 for all"},
                {.min = 0, .max = 1'000'000}, &flags->num_requests);
  settings->add({"input-len", "N", "prompt tokens"}, {.min = 1, .max = 4 << 20}, &flags->input_len);
  settings->add({"output-len", "N", "tokens of an answer"}, {.min = 1, .max = 4 << 20},
                &flags->output_len);
  settings->add({"prefix-len", "N", "prompt tokens that all requests share"},
                {.min = 0, .max = 4 << 20}, &flags->prefix_len);
  settings->add({"trace", "FILE", "replay instead: Mooncake JSON lines or Azure CSV"},
                &flags->trace);
  settings->add({"speed", "X", "of the replay"}, Settings::RealRange{.min = 1e-6, .max = 1e6},
                &flags->speed);
  settings->add({"duration", "S", "of the replay in seconds; 0: all of the trace"},
                Settings::RealRange{.min = 0, .max = 1e7}, &flags->duration_s);
  settings->add({"max-input-len", "N", "cut longer prompts of the trace; 0: do not"},
                {.min = 0, .max = 4 << 20}, &flags->max_input_len);
  settings->add({"max-output-len", "N", "the same for answers"}, {.min = 0, .max = 4 << 20},
                &flags->max_output_len);
  settings->add({"max-concurrency", "N", "in flight; more wait, and their wait counts"},
                {.min = 1, .max = kConcurrencyMax}, &flags->max_concurrency);
  settings->add({"timeout", "S", "a request that takes longer has failed"},
                Settings::RealRange{.min = 0.001, .max = 1e6}, &flags->timeout_s);
  settings->add({"temperature", "T", "of the sampling"}, Settings::RealRange{.min = 0, .max = 2},
                &flags->temperature);
  settings->add_switch({"ignore-eos", "", "answers run to their full length"}, &flags->ignore_eos);
  settings->add({"seed", "N", "of arrivals and prompts"},
                {.min = 0, .max = std::numeric_limits<int64_t>::max()}, &flags->seed);
  settings->heading("Report");
  settings->add({"goodput", "NAME:MS", "objective: ttft:500 tpot:50 e2el:10000"}, &flags->goodput);
  settings->add_switch({"json", "", "print JSON"}, &flags->json);
  settings->add({"output", "FILE", "write the JSON there too"}, &flags->output);
  settings->example(
      "Example: galley bench serve --request-rate 4 --num-requests 200 --goodput"
      " ttft:500 tpot:50");
}

std::string request_body(const ServeBenchFlags& flags, const std::string& prompt,
                         int64_t max_tokens, bool stream) {
  json::object body = {
      {"model", flags.model}, {"max_tokens", max_tokens}, {"temperature", flags.temperature}};
  if (flags.endpoint == "chat") {
    json::object message = {{"role", "user"}, {"content", prompt}};
    body["messages"] = json::array{std::move(message)};
  } else {
    body["prompt"] = prompt;
  }
  if (flags.ignore_eos) body["ignore_eos"] = true;
  if (stream) {
    body["stream"] = true;
    body["stream_options"] = json::object{{"include_usage", true}};
  }
  return json::serialize(body);
}

std::string target(const ServeBenchFlags& flags) {
  return flags.endpoint == "chat" ? "/v1/chat/completions" : "/v1/completions";
}

// Prompt tokens the server counts for so many words.
Result<int64_t> count_tokens(const Url& url, const ServeBenchFlags& flags, int64_t words) {
  GALLEY_ASSIGN_OR_RETURN(
      const std::string answer,
      fetch(url, flags.api_key,
            {.target = target(flags),
             .body = request_body(flags, random_words(static_cast<uint64_t>(words), words), 1,
                                  false)}));
  boost::system::error_code error;
  const json::value parsed = json::parse(answer, error);
  const json::value* const tokens =
      error ? nullptr : parsed.find_pointer("/usage/prompt_tokens", error);
  if (tokens == nullptr || !tokens->is_int64()) {
    return Status(Code::kCorrupt, "the server's answer has no usage.prompt_tokens");
  }
  return tokens->as_int64();
}

// Plays a plan and keeps a record of each request. Lives on the thread of run().
class LoadRun {
 public:
  LoadRun(const ServeBenchFlags& flags, const Url& url, const PromptShape& shape,
          const std::vector<PlannedRequest>& plan)
      : flags_(flags), plan_(plan), shape_(shape), client_(url, flags.api_key) {
    records_.resize(plan.size());
  }

  double run() {
    start_ = Clock::now();
    schedule(0);
    client_.call_at(start_ + kProgressEvery, [this] { show_progress(); });
    client_.run();
    std::fputc('\n', stderr);
    return static_cast<double>(last_done_us_) * 1e-6;
  }
  const std::vector<RequestRecord>& records() const { return records_; }

 private:
  static constexpr std::chrono::seconds kProgressEvery{1};

  int64_t now_us() const {
    return std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start_).count();
  }

  // Timers are set one after the other: a trace of a million requests is one timer at a time.
  void schedule(size_t index) {
    if (index == plan_.size()) return;
    client_.call_at(start_ + std::chrono::microseconds(plan_[index].at_us), [this, index] {
      size_t next = index;
      const int64_t now = now_us();
      while (next < plan_.size() && plan_[next].at_us <= now) {
        records_[next].intended_us = plan_[next].at_us;
        waiting_.push_back(next);
        ++next;
      }
      send_waiting();
      schedule(next);
    });
  }

  void send_waiting() {
    while (!waiting_.empty() && in_flight_ < flags_.max_concurrency) {
      const size_t index = waiting_.front();
      waiting_.pop_front();
      send(index);
    }
  }

  void send(size_t index) {
    RequestRecord& record = records_[index];
    const PlannedRequest& planned = plan_[index];
    HttpRequest request;
    request.target = target(flags_);
    request.body = request_body(flags_, make_prompt(planned, shape_, seed(), index),
                                planned.output_tokens, true);
    request.timeout = std::chrono::milliseconds(std::llround(flags_.timeout_s * 1000));
    HttpHandler handler;
    handler.on_event = [this, index](std::string_view data) { take_event(index, data); };
    handler.on_done = [this, index](const Status& status, int http_status,
                                    const std::string& body) {
      finish(index, status, http_status, body);
    };
    ++in_flight_;
    record.sent_us = now_us();
    client_.start(std::move(request), std::move(handler));
  }

  void take_event(size_t index, std::string_view data) {
    RequestRecord& record = records_[index];
    const StreamDelta delta = parse_stream_delta(data);
    if (!delta.error.empty() && record.error.empty()) record.error = delta.error;
    if (delta.done) record.ok = true;
    if (delta.prompt_tokens >= 0) record.input_tokens = delta.prompt_tokens;
    if (delta.cached_tokens >= 0) record.cached_tokens = delta.cached_tokens;
    if (delta.completion_tokens >= 0) record.output_tokens = delta.completion_tokens;
    if (delta.content.empty() && delta.reasoning.empty()) return;
    const int64_t now = now_us();
    if (record.first_us < 0) {
      record.first_us = now;
    } else {
      record.gaps_us.push_back(static_cast<int32_t>(
          std::min<int64_t>(now - record.done_us, std::numeric_limits<int32_t>::max())));
    }
    record.done_us = now;
  }

  void finish(size_t index, const Status& status, int http_status, const std::string& body) {
    RequestRecord& record = records_[index];
    if (!status.ok()) {
      record.error = status.message();
    } else if (http_status != 200) {
      record.error = error_text(http_status, body);
    } else if (record.error.empty() && !record.ok) {
      record.error = "the stream ended without [DONE]";
    } else if (record.error.empty() && record.first_us < 0) {
      record.error = "the answer holds no text";
    }
    record.ok = record.error.empty();
    if (record.ok && record.output_tokens == 0) {  // a server that sends no usage
      record.output_tokens = static_cast<int64_t>(record.gaps_us.size()) + 1;
    }
    last_done_us_ = now_us();
    ++finished_;
    if (!record.ok) ++failed_;
    --in_flight_;
    send_waiting();
  }

  void show_progress() {
    std::fprintf(stderr, "\r%8.0f s  %zu of %zu done, %lld in flight, %zu waiting, %zu failed   ",
                 static_cast<double>(now_us()) * 1e-6, finished_, plan_.size(),
                 static_cast<long long>(in_flight_), waiting_.size(), failed_);
    std::fflush(stderr);
    if (finished_ == plan_.size()) return;
    client_.call_at(Clock::now() + kProgressEvery, [this] { show_progress(); });
  }

  uint64_t seed() const { return static_cast<uint64_t>(flags_.seed); }

  const ServeBenchFlags& flags_;
  const std::vector<PlannedRequest>& plan_;
  const PromptShape shape_;
  HttpClient client_;
  Clock::time_point start_;
  std::vector<RequestRecord> records_;
  std::deque<size_t> waiting_;  // due, held back by max_concurrency
  int64_t in_flight_ = 0;
  int64_t last_done_us_ = 0;
  size_t finished_ = 0;
  size_t failed_ = 0;
};

Result<std::vector<PlannedRequest>> make_plan(const ServeBenchFlags& flags) {
  if (flags.trace.empty()) {
    ArrivalOptions options;
    options.requests_per_s = flags.request_rate;
    options.burstiness = flags.burstiness;
    options.count = flags.num_requests;
    options.input_tokens = static_cast<int32_t>(flags.input_len);
    options.output_tokens = static_cast<int32_t>(flags.output_len);
    options.prefix_tokens = static_cast<int32_t>(flags.prefix_len);
    options.seed = static_cast<uint64_t>(flags.seed);
    return plan_arrivals(options);
  }
  GALLEY_ASSIGN_OR_RETURN(std::vector<PlannedRequest> plan, read_trace(flags.trace));
  ReplayOptions options;
  options.speed = flags.speed;
  options.count = flags.num_requests;
  options.duration_s = flags.duration_s;
  options.input_tokens_max = static_cast<int32_t>(flags.max_input_len);
  options.output_tokens_max = static_cast<int32_t>(flags.max_output_len);
  shape_replay(options, &plan);
  return plan;
}

}  // namespace

Status run_bench_serve(Args args, const Variables& variables) {
  ServeBenchFlags flags;
  Settings settings("galley bench serve",
                    "Plays a load against an OpenAI-compatible server: latency, throughput,"
                    " goodput.");
  declare(&flags, &settings);
  GALLEY_RETURN_IF_ERROR(settings.parse(args, variables));
  if (print_and_stop(settings)) return Status();
  GALLEY_ASSIGN_OR_RETURN(const Url url, parse_url(flags.url));
  GALLEY_ASSIGN_OR_RETURN(const Objective objective, parse_objective(flags.goodput));
  GALLEY_ASSIGN_OR_RETURN(const std::vector<PlannedRequest> plan, make_plan(flags));
  if (plan.empty()) return Status(Code::kInvalid, "--num-requests: there is nothing to send");
  if (flags.model.empty()) {
    GALLEY_ASSIGN_OR_RETURN(flags.model, first_model(url, flags.api_key));
  }

  std::fprintf(stderr, "measuring how many tokens a word has ...\n");
  constexpr int64_t kWordsA = 16, kWordsB = 112;
  GALLEY_ASSIGN_OR_RETURN(const int64_t tokens_a, count_tokens(url, flags, kWordsA));
  GALLEY_ASSIGN_OR_RETURN(const int64_t tokens_b, count_tokens(url, flags, kWordsB));
  GALLEY_ASSIGN_OR_RETURN(const PromptShape shape,
                          fit_prompt_shape(kWordsA, tokens_a, kWordsB, tokens_b));
  std::fprintf(stderr, "%.2f tokens a word, %.0f in every prompt; %zu requests to %s at %s\n",
               shape.tokens_per_word, shape.tokens_fixed, plan.size(), flags.model.c_str(),
               flags.url.c_str());

  LoadRun run(flags, url, shape, plan);
  const double duration_s = run.run();
  const LoadReport report = summarise(run.records(), objective, duration_s);
  const std::string as_json = to_json(report);
  if (!flags.output.empty()) {
    std::ofstream file(flags.output);
    file << as_json << "\n";
    if (!file.flush()) {
      return Status(Code::kInvalid, "--output: '" + flags.output + "' cannot be written");
    }
  }
  std::printf("%s%s", flags.json ? as_json.c_str() : render(report).c_str(),
              flags.json ? "\n" : "");
  if (report.completed == 0) return Status(Code::kUnavailable, "no request was completed");
  return Status();
}

}  // namespace galley::cli

// FakeUpstream: answers max_tokens words, one per `pause_ms`, without a model.
#pragma once

#include <atomic>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "gateway/upstream.h"

namespace galley::gateway::testing {

class FakeUpstream : public Upstream {
 public:
  explicit FakeUpstream(boost::asio::any_io_executor executor) : executor_(std::move(executor)) {}

  GenerationId prepare(GenerationRequest request, const std::string& tenant,
                       std::shared_ptr<GenerationSink> sink) override {
    prepared_for = tenant;
    const auto job = std::make_shared<Job>(executor_);
    const api::CommonFields& common =
        std::visit([](const auto& r) -> const api::CommonFields& { return r.common; }, request);
    job->words = common.max_tokens.value_or(4);
    job->choices = common.n;
    deadline_ms = common.deadline_ms;
    job->word = word;
    job->sink = std::move(sink);
    jobs_[++last_id_] = job;
    boost::asio::post(executor_, [this, id = last_id_] { prepared(id); });
    return last_id_;
  }
  void start(GenerationId id, const StartOptions& options) override {
    started_with = options;
    boost::asio::post(executor_, [this, id] { begin(id); });
  }

  // Changes what the event loop reads while it runs.
  void change(const std::function<void(FakeUpstream&)>& how) {
    std::promise<void> done;
    boost::asio::post(executor_, [&] {
      how(*this);
      done.set_value();
    });
    done.get_future().wait();
  }

  void cancel(GenerationId id) override {
    if (jobs_.erase(id) > 0) ++cancelled;
  }

  void tokenize(api::TokenizeRequest request, TokensDone done) override {
    Tokens tokens;
    for (const char c : request.prompt.value_or("")) {
      tokens.ids.push_back(static_cast<unsigned char>(c));
      tokens.spellings.emplace_back(1, c);
    }
    done({std::move(tokens), std::nullopt});
  }

  void detokenize(api::DetokenizeRequest request, TextDone done) override {
    std::string text;
    for (const int32_t id : request.tokens) text += static_cast<char>(id);
    done({std::move(text), std::nullopt});
  }

  bool ready() const override { return is_ready; }

  std::string word = "word ";
  std::atomic<int64_t> pause_ms{1};
  std::atomic<int> cancelled{0};
  std::atomic<int> ended{0};
  std::atomic<bool> is_ready{true};
  std::optional<int64_t> deadline_ms;  // of the newest request
  std::string prepared_for;
  StartOptions started_with;
  std::optional<api::Error> refuse_with;  // before the first word
  std::optional<api::Error> fail_with;    // instead of the last word

 private:
  struct Job {
    explicit Job(const boost::asio::any_io_executor& executor) : timer(executor) {}
    boost::asio::steady_timer timer;
    std::shared_ptr<GenerationSink> sink;
    std::string word;
    int32_t words = 0;
    int32_t choices = 1;
    int32_t sent = 0;
  };

  void prepared(GenerationId id) {
    const auto it = jobs_.find(id);
    if (it == jobs_.end()) return;
    const auto job = it->second;
    if (!refuse_with) return job->sink->on_prepared({3, job->words, job->choices});
    jobs_.erase(id);
    job->sink->on_end(refuse_with);
  }

  void begin(GenerationId id) {
    const auto it = jobs_.find(id);
    if (it == jobs_.end()) return;
    const auto job = it->second;
    job->sink->on_accepted();
    api::PromptInfo prompt;
    prompt.token_ids = {1, 2, 3};
    if (jobs_.count(id) > 0) job->sink->on_prompt(std::move(prompt));
    step(id);
  }

  void step(GenerationId id) {
    const auto it = jobs_.find(id);
    if (it == jobs_.end()) return;
    const auto job = it->second;
    ++job->sent;
    if (job->sent == job->words && fail_with) {
      jobs_.erase(id);
      return job->sink->on_end(fail_with);
    }
    for (int32_t choice = 0; choice < job->choices && jobs_.count(id) > 0; ++choice) {
      api::Delta delta;
      delta.choice = choice;
      delta.content = job->word;
      delta.token_ids = {job->sent};
      delta.usage = {3, 0, job->sent, 0};
      if (job->sent >= job->words) delta.finish = api::Finish::kLength;
      job->sink->on_delta(std::move(delta));
    }
    if (jobs_.count(id) == 0) return;  // Cancelled by what the sink did.
    if (job->sent >= job->words) {
      jobs_.erase(id);
      ++ended;
      return job->sink->on_end(std::nullopt);
    }
    job->timer.expires_after(std::chrono::milliseconds(pause_ms.load()));
    job->timer.async_wait([this, id](const boost::system::error_code&) { step(id); });
  }

  boost::asio::any_io_executor executor_;
  std::map<GenerationId, std::shared_ptr<Job>> jobs_;
  GenerationId last_id_ = 0;
};

}  // namespace galley::gateway::testing

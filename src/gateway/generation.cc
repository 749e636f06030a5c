#include "gateway/generation.h"

#include <algorithm>
#include <charconv>
#include <utility>
#include <vector>

#include "api/sse.h"
#include "gateway/writer_sink.h"

namespace galley::gateway {
namespace {

// What every sink has: the exchange, the head of all its objects, the choices so far.
class AnswerSink : public GenerationSink {
 public:
  AnswerSink(std::shared_ptr<Exchange> exchange, api::ResponseHead head,
             api::ResponseOptions options, size_t prompts, size_t choices_per_prompt)
      : exchange_(std::move(exchange)),
        head_(std::move(head)),
        options_(options),
        per_prompt_(choices_per_prompt),
        choices_(prompts * choices_per_prompt),
        prompts_(prompts) {}

  void on_prepared(const Demand&) override {}
  void on_accepted() override {}

  void on_prompt(api::PromptInfo prompt) override {
    prompts_[static_cast<size_t>(prompt.prompt)] = std::move(prompt);
  }

  void on_delta(api::Delta delta) override {
    choices_[static_cast<size_t>(delta.choice)].append(std::move(delta));
  }

  void on_end(std::optional<api::Error> error) override {
    const api::Usage usage = api::sum_usage(choices_, per_prompt_);
    exchange_->prompt_tokens = usage.prompt_tokens;
    exchange_->completion_tokens = usage.completion_tokens;
    finish(error, usage);
  }

 protected:
  virtual void finish(const std::optional<api::Error>& error, const api::Usage& usage) = 0;

  void respond(std::string body) {
    HttpResponse response;
    response.body = std::move(body);
    exchange_->respond(std::move(response));
  }

  const std::shared_ptr<Exchange> exchange_;
  const api::ResponseHead head_;
  const api::ResponseOptions options_;
  const size_t per_prompt_;
  std::vector<api::Choice> choices_;
  std::vector<api::PromptInfo> prompts_;
};

class ChatSink : public AnswerSink {
 public:
  using AnswerSink::AnswerSink;

 private:
  void finish(const std::optional<api::Error>& error, const api::Usage& usage) override {
    if (error) return exchange_->respond(error_response(*error));
    respond(api::chat_response(head_, options_, choices_, prompts_.front(), usage));
  }
};

class CompletionSink : public AnswerSink {
 public:
  CompletionSink(std::shared_ptr<Exchange> exchange, api::ResponseHead head,
                 api::ResponseOptions options, const api::CompletionRequest& request)
      : AnswerSink(std::move(exchange), std::move(head), options, request.prompts.size(),
                   static_cast<size_t>(request.best_of)),
        echo_{request.echo, request.common.max_tokens == 0},
        n_(static_cast<size_t>(request.common.n)) {}

 private:
  void finish(const std::optional<api::Error>& error, const api::Usage& usage) override {
    if (error) return exchange_->respond(error_response(*error));
    api::Usage shown = usage;
    if (echo_.only) shown.completion_tokens = 0;
    if (n_ < per_prompt_) keep_best();
    respond(api::completion_response(head_, options_, choices_, prompts_, echo_, shown));
  }

  // best_of: the n candidates of each prompt with the highest log-probability per token.
  void keep_best() {
    std::vector<api::Choice> best;
    for (size_t begin = 0; begin < choices_.size(); begin += per_prompt_) {
      const auto first = choices_.begin() + static_cast<std::ptrdiff_t>(begin);
      std::stable_sort(first, first + static_cast<std::ptrdiff_t>(per_prompt_),
                       [](const api::Choice& a, const api::Choice& b) {
                         return a.mean_logprob() > b.mean_logprob();
                       });
      for (size_t i = 0; i < n_; ++i) best.push_back(std::move(choices_[begin + i]));
    }
    choices_ = std::move(best);
  }

  const api::Echo echo_;
  const size_t n_;
};

// A stream: chunks as they come. Only the usage is gathered.
class StreamSink : public AnswerSink {
 public:
  using AnswerSink::AnswerSink;

  void on_accepted() override { exchange_->begin_stream(); }

  void on_delta(api::Delta delta) override {
    choices_[static_cast<size_t>(delta.choice)].usage = delta.usage;
    send(delta_chunk(delta));
  }

 protected:
  virtual std::string delta_chunk(const api::Delta& delta) = 0;
  virtual std::string usage_chunk(const api::Usage& usage) = 0;

  void send(const std::string& chunk) {
    if (!chunk.empty()) exchange_->send(api::sse_event(chunk));
  }

  void finish(const std::optional<api::Error>& error, const api::Usage& usage) override {
    if (error && !exchange_->begun()) return exchange_->respond(error_response(*error));
    if (error) {
      exchange_->send(api::sse_event(api::error_body(*error)));
    } else if (options_.include_usage) {
      exchange_->send(api::sse_event(usage_chunk(usage)));
    }
    exchange_->send(api::kSseDone);
    exchange_->end_stream();
  }
};

class ChatStreamSink : public StreamSink {
 public:
  using StreamSink::StreamSink;

  void on_prompt(api::PromptInfo prompt) override {
    for (size_t i = 0; i < choices_.size(); ++i)
      send(api::chat_role_chunk(head_, options_, static_cast<int32_t>(i), prompt));
  }

 private:
  std::string delta_chunk(const api::Delta& delta) override {
    return api::chat_chunk(head_, options_, delta);
  }
  std::string usage_chunk(const api::Usage& usage) override {
    return api::chat_usage_chunk(head_, usage);
  }
};

class CompletionStreamSink : public StreamSink {
 public:
  CompletionStreamSink(std::shared_ptr<Exchange> exchange, api::ResponseHead head,
                       api::ResponseOptions options, const api::CompletionRequest& request)
      : StreamSink(std::move(exchange), std::move(head), options, request.prompts.size(),
                   static_cast<size_t>(request.common.n)),
        echo_{request.echo, request.common.max_tokens == 0},
        offsets_(choices_.size(), 0),
        begun_(choices_.size(), false) {}

  void on_prompt(api::PromptInfo prompt) override {
    const auto index = static_cast<size_t>(prompt.prompt);
    if (echo_.echo) {
      for (size_t i = 0; i < per_prompt_; ++i) {
        const size_t choice = index * per_prompt_ + i;
        send(api::completion_echo_chunk(head_, options_, static_cast<int32_t>(choice), prompt,
                                        offsets_[choice]));
      }
    }
    AnswerSink::on_prompt(std::move(prompt));
  }

 private:
  std::string delta_chunk(const api::Delta& delta) override {
    const auto choice = static_cast<size_t>(delta.choice);
    if (echo_.only) {
      api::Delta end;
      end.choice = delta.choice;
      if (delta.finish != api::Finish::kNone) end.finish = api::Finish::kLength;
      return api::completion_chunk(head_, options_, end, nullptr, offsets_[choice]);
    }
    const api::PromptInfo* prompt = begun_[choice] ? nullptr : &prompts_[choice / per_prompt_];
    begun_[choice] = true;
    return api::completion_chunk(head_, options_, delta, prompt, offsets_[choice]);
  }
  std::string usage_chunk(const api::Usage& usage) override {
    api::Usage shown = usage;
    if (echo_.only) shown.completion_tokens = 0;
    return api::completion_usage_chunk(head_, shown);
  }

  const api::Echo echo_;
  std::vector<int64_t> offsets_;  // of each choice's text so far, in characters
  std::vector<bool> begun_;
};

api::ResponseHead head_for(const GenerationContext& context, const Exchange& exchange,
                           std::string_view prefix) {
  return {std::string(prefix) + exchange.request_id(), context.now_s, context.model,
          context.fingerprint};
}

api::ResponseOptions options_for(const api::CommonFields& common) {
  api::ResponseOptions options;
  options.logprobs = common.sampling.logprobs >= 0;
  options.token_ids = common.return_token_ids;
  options.tokens_as_token_ids = common.return_tokens_as_token_ids;
  options.prompt_logprobs = common.sampling.prompt_logprobs >= 0;
  options.include_usage = common.include_usage;
  options.continuous_usage = common.continuous_usage_stats;
  return options;
}

// A header that is a number of milliseconds; the router has checked it.
std::optional<int64_t> milliseconds(const HttpRequest& request, std::string_view name) {
  const std::string_view text = request.header(name);
  int64_t value = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  return parsed.ec == std::errc() ? std::optional(value) : std::nullopt;
}

// A turn of a conversation whose earlier turns were answered.
bool is_continued(const GenerationRequest& request) {
  const auto* chat = std::get_if<api::ChatRequest>(&request);
  if (chat == nullptr) return false;
  return std::any_of(chat->messages.begin(), chat->messages.end(), [](const auto& message) {
    const boost::json::value* role = message.get_object().if_contains("role");
    return role != nullptr && *role == "assistant";
  });
}

void start(const GenerationContext& context, GenerationRequest request,
           std::shared_ptr<GenerationSink> sink, const std::shared_ptr<Exchange>& exchange) {
  exchange->model = context.model;
  const api::CommonFields& common =
      std::visit([](const auto& one) -> const api::CommonFields& { return one.common; }, request);
  Entry entry;
  entry.caller = context.caller;
  entry.user = common.user;
  entry.model = context.model;
  entry.priority = common.priority;
  entry.stream = common.stream;
  entry.continued = is_continued(request);
  entry.bills_output = common.max_tokens != 0;
  entry.queue_events = exchange->request().header(kQueueEventsHeader) == "1";
  entry.deadline_ms = common.deadline_ms;
  entry.wait_ms_max = milliseconds(exchange->request(), kWaitHeader);
  FrontDoor* const door = context.door;
  const FrontDoor::VisitId id =
      door->enter(std::move(entry), std::move(request), std::move(sink), exchange);
  exchange->on_gone = [door, id] { door->leave(id); };
}

}  // namespace

void start_chat(const GenerationContext& context, api::ChatRequest request,
                std::shared_ptr<Exchange> exchange) {
  api::ResponseHead head = head_for(context, *exchange, "chatcmpl-");
  api::ResponseOptions options = options_for(request.common);
  options.reasoning = request.include_reasoning;
  const auto n = static_cast<size_t>(request.common.n);
  std::shared_ptr<GenerationSink> sink;
  if (request.common.stream) {
    sink = std::make_shared<ChatStreamSink>(exchange, std::move(head), options, 1, n);
  } else {
    sink = std::make_shared<ChatSink>(exchange, std::move(head), options, 1, n);
  }
  start(context, std::move(request), std::move(sink), exchange);
}

void start_completion(const GenerationContext& context, api::CompletionRequest request,
                      std::shared_ptr<Exchange> exchange) {
  api::ResponseHead head = head_for(context, *exchange, "cmpl-");
  const api::ResponseOptions options = options_for(request.common);
  std::shared_ptr<GenerationSink> sink;
  if (request.common.stream) {
    sink = std::make_shared<CompletionStreamSink>(exchange, std::move(head), options, request);
  } else {
    sink = std::make_shared<CompletionSink>(exchange, std::move(head), options, request);
  }
  engine::SamplingParams& sampling = request.common.sampling;
  // The echoed prompt's log-probabilities, and what best_of ranks by.
  if (request.echo)
    sampling.prompt_logprobs = std::max(sampling.prompt_logprobs, sampling.logprobs);
  if (request.best_of > request.common.n) sampling.logprobs = std::max(sampling.logprobs, 0);
  start(context, std::move(request), std::move(sink), exchange);
}

void start_answer(const GenerationContext& context, GenerationRequest request,
                  std::unique_ptr<api::AnswerWriter> writer, std::shared_ptr<Exchange> exchange) {
  const bool stream = std::visit([](const auto& one) { return one.common.stream; }, request);
  auto sink = std::make_shared<WriterSink>(exchange, std::move(writer), stream);
  start(context, std::move(request), std::move(sink), exchange);
}

}  // namespace galley::gateway

// WriterSink: hears one answer from the upstream and sends it in the words of an AnswerWriter. For
// every interface that has one; OpenAI's completions have sinks of their own (generation.cc).
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "api/answer_writer.h"
#include "gateway/exchange.h"
#include "gateway/upstream.h"

namespace galley::gateway {

class WriterSink : public GenerationSink {
 public:
  WriterSink(std::shared_ptr<Exchange> exchange, std::unique_ptr<api::AnswerWriter> writer,
             bool stream)
      : exchange_(std::move(exchange)), writer_(std::move(writer)), stream_(stream) {}

  void on_prepared(const Demand&) override {}
  void on_accepted() override {
    if (!stream_) return;
    exchange_->begin_stream();
    exchange_->send(writer_->begin());
  }

  void on_prompt(api::PromptInfo) override {}

  void on_delta(api::Delta delta) override {
    if (stream_) exchange_->send(writer_->delta(delta));
    choice_.append(std::move(delta));
  }

  void on_end(std::optional<api::Error> error) override {
    exchange_->prompt_tokens = choice_.usage.prompt_tokens;
    exchange_->completion_tokens = choice_.usage.completion_tokens;
    if (!stream_ || !exchange_->begun()) return respond(error);
    exchange_->send(error ? writer_->failed(*error) : writer_->end());
    exchange_->end_stream();
  }

 private:
  void respond(const std::optional<api::Error>& error) {
    if (error) return exchange_->respond(error_response(*error));
    HttpResponse response;
    response.body = writer_->whole(choice_);
    exchange_->respond(std::move(response));
  }

  const std::shared_ptr<Exchange> exchange_;
  const std::unique_ptr<api::AnswerWriter> writer_;
  const bool stream_;
  api::Choice choice_;
};

}  // namespace galley::gateway

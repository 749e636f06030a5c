// LocalEngine: the Upstream that is this process's own engine.
//
// Around the engine's tokens it does what belongs to text: chat template, tokeniser, stop strings,
// reasoning, tool calls. Prompts are prepared on the work pool, everything else happens on the
// event loop; the engine thread only hands over its events.
//
// Order of life: construct, make the engine with sink(), attach() it, serve, let the engine stop,
// destroy. Event loop only, but for sink().
#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/engine.h"
#include "gateway/choice_stream.h"
#include "gateway/prompt.h"
#include "gateway/text_model.h"
#include "gateway/upstream.h"
#include "gateway/work_pool.h"

namespace galley::gateway {

struct LocalEngineOptions {
  int32_t max_model_len = 0;   // prompt and answer together
  size_t requests_max = 1024;  // generations being prepared, waiting or running
  // Draws the seeds of requests that bring none, by order of arrival; absent: unpredictable.
  std::optional<uint64_t> seed = std::nullopt;
};

class LocalEngine : public Upstream {
 public:
  // `text` and `pool` outlive it; `executor` is the event loop.
  LocalEngine(const LocalEngineOptions& options, const TextModel* text, WorkPool* pool,
              boost::asio::io_context::executor_type executor);
  ~LocalEngine() override;

  // For Engine's constructor. Called on the engine thread; only posts.
  engine::Engine::EventSink sink();
  void attach(engine::Engine* engine) { engine_ = engine; }

  GenerationId prepare(GenerationRequest request, const std::string& tenant,
                       std::shared_ptr<GenerationSink> sink) override;
  void start(GenerationId id, const StartOptions& options) override;
  void cancel(GenerationId id) override;
  void tokenize(api::TokenizeRequest request, TokensDone done) override;
  void detokenize(api::DetokenizeRequest request, TextDone done) override;
  bool ready() const override { return engine_ != nullptr && !engine_->runner_failed(); }

  size_t live() const { return generations_.size(); }

 private:
  struct Generation;
  using GenerationPtr = std::shared_ptr<Generation>;

  void prepared(GenerationId id);
  void compile(GenerationId id, Generation& generation);
  void compiled(GenerationId id, const text::GrammarCache::Outcome& grammar);
  void tell_demand(Generation& generation);
  uint64_t draw_seed(GenerationId id) const;
  std::optional<api::Error> submit(GenerationId id, Generation& generation,
                                   const StartOptions& options);
  void on_events(std::vector<engine::Event> events);
  void on_event(engine::Event event);
  void begin_prompt(GenerationId id, Generation& generation, engine::Event& event, size_t prompt);
  // Ends a generation; `error` as for GenerationSink::on_end.
  void end(GenerationId id, std::optional<api::Error> error);
  void release(GenerationId id);  // forgets it and cancels what still runs

  const LocalEngineOptions options_;
  const TextModel* const text_;
  WorkPool* const pool_;
  const boost::asio::io_context::executor_type executor_;
  // Events arrive by posts that may outlive this object.
  const std::shared_ptr<LocalEngine*> self_;
  engine::Engine* engine_ = nullptr;

  std::unordered_map<GenerationId, GenerationPtr> generations_;
  // Where an engine request belongs: its generation and choice.
  std::unordered_map<engine::RequestId, std::pair<GenerationId, size_t>> requests_;
  GenerationId last_id_ = 0;
  engine::RequestId last_request_id_ = 0;
};

}  // namespace galley::gateway

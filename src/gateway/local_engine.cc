#include "gateway/local_engine.h"

#include <algorithm>
#include <atomic>
#include <boost/asio/post.hpp>
#include <iterator>
#include <optional>
#include <utility>

#include "base/hash.h"

namespace galley::gateway {
namespace {

const api::CommonFields& common_of(const GenerationRequest& request) {
  return std::visit([](const auto& one) -> const api::CommonFields& { return one.common; },
                    request);
}

// What the engine says about a request that it does not take or that fails in it.
api::Error engine_error(const Status& status) {
  api::Error error = api::error_of(status);
  if (status.code() == Code::kTooLarge) {  // More than the context or the whole cache holds.
    error.http = 400;
    error.code = "context_length_exceeded";
  }
  return error;
}

// What is wrong with the schema, expression, ... of a request.
api::Error grammar_error(const Prepared& prepared, const Status& status) {
  if (status.code() == Code::kOverloaded || status.code() == Code::kUnavailable)
    return api::error_of(status);
  const bool is_large = status.code() == Code::kTooLarge;
  return api::invalid(prepared.grammar_field, is_large ? "grammar_too_complex" : "invalid_grammar",
                      prepared.grammar_field + ": " + status.message());
}

}  // namespace

struct LocalEngine::Generation {
  GenerationRequest request;
  std::shared_ptr<GenerationSink> sink;
  Prepared prepared;
  uint64_t grammar_scope = 0;
  std::shared_ptr<const text::CompiledGrammar> grammar;
  size_t choices_per_prompt = 1;
  std::vector<ChoiceStream> choices;
  std::vector<engine::RequestId> requests;  // of each choice; 0: over
  std::vector<bool> prompt_begun;
  bool is_prepared = false;            // and not started
  size_t live = 0;                     // choices not over
  std::optional<int64_t> deadline_ms;  // on the engine's clock
  std::atomic<bool> cancelled{false};
};

LocalEngine::LocalEngine(const LocalEngineOptions& options, const TextModel* text, WorkPool* pool,
                         boost::asio::io_context::executor_type executor)
    : options_(options),
      text_(text),
      pool_(pool),
      executor_(executor),
      self_(std::make_shared<LocalEngine*>(this)) {}

LocalEngine::~LocalEngine() {
  if (text_->grammars != nullptr) text_->grammars->close();  // its threads post to the event loop
  *self_ = nullptr;
}

engine::Engine::EventSink LocalEngine::sink() {
  return [executor = executor_, self = self_](std::span<engine::Event> events) {
    std::vector<engine::Event> taken(std::make_move_iterator(events.begin()),
                                     std::make_move_iterator(events.end()));
    boost::asio::post(executor, [self, taken = std::move(taken)]() mutable {
      if (*self != nullptr) (*self)->on_events(std::move(taken));
    });
  };
}

Upstream::GenerationId LocalEngine::prepare(GenerationRequest request, const std::string& tenant,
                                            std::shared_ptr<GenerationSink> sink) {
  const GenerationId id = ++last_id_;
  const auto generation = std::make_shared<Generation>();
  generation->request = std::move(request);
  generation->sink = std::move(sink);
  const std::string& salt = common_of(generation->request).cache_salt;
  generation->grammar_scope = cache_scope(tenant.empty() ? salt : tenant + '\0' + salt);
  if (const auto within_ms = common_of(generation->request).deadline_ms; within_ms && engine_)
    generation->deadline_ms = engine_->now_ms() + *within_ms;
  generations_.emplace(id, generation);
  const bool taken = generations_.size() <= options_.requests_max &&
                     pool_->run(
                         [generation, text = text_, max_model_len = options_.max_model_len] {
                           if (generation->cancelled) return;
                           generation->prepared =
                               gateway::prepare(generation->request, *text, max_model_len);
                         },
                         [self = self_, id] {
                           if (*self != nullptr) (*self)->prepared(id);
                         });
  if (!taken) {
    boost::asio::post(executor_, [self = self_, id] {
      if (*self == nullptr) return;
      (*self)->end(id, api::error_of(Status(Code::kOverloaded,
                                            "too many requests wait to be prepared; retry")));
    });
  }
  return id;
}

void LocalEngine::prepared(GenerationId id) {
  const auto it = generations_.find(id);
  if (it == generations_.end()) return;  // Cancelled.
  const GenerationPtr generation = it->second;
  if (generation->prepared.error) return end(id, std::move(generation->prepared.error));
  if (generation->prepared.grammar.kind != text::GrammarSpec::Kind::kNone)
    return compile(id, *generation);
  tell_demand(*generation);
}

void LocalEngine::compile(GenerationId id, Generation& generation) {
  if (text_->grammars == nullptr) {
    return end(id,
               api::invalid(generation.prepared.grammar_field, "unsupported_parameter",
                            generation.prepared.grammar_field +
                                " is not supported with this model: " + text_->grammar_refusal));
  }
  text_->grammars->get(generation.grammar_scope, std::move(generation.prepared.grammar),
                       [executor = executor_, self = self_, id](const auto& grammar) {
                         boost::asio::post(executor, [self, id, grammar] {
                           if (*self != nullptr) (*self)->compiled(id, grammar);
                         });
                       });
}

void LocalEngine::compiled(GenerationId id, const text::GrammarCache::Outcome& grammar) {
  const auto it = generations_.find(id);
  if (it == generations_.end()) return;  // Cancelled.
  const GenerationPtr generation = it->second;
  if (!grammar.ok()) return end(id, grammar_error(generation->prepared, grammar.status()));
  generation->grammar = *grammar;
  tell_demand(*generation);
}

void LocalEngine::tell_demand(Generation& generation) {
  Demand demand;
  const auto* completion = std::get_if<api::CompletionRequest>(&generation.request);
  const api::CommonFields& common = common_of(generation.request);
  const int32_t per_prompt = completion != nullptr ? completion->best_of : common.n;
  demand.sequences = per_prompt * static_cast<int32_t>(generation.prepared.prompts.size());
  int32_t room = options_.max_model_len;
  for (const PreparedPrompt& prompt : generation.prepared.prompts) {
    const auto tokens = static_cast<int32_t>(prompt.tokens.size());
    demand.prompt_tokens += tokens;
    room = std::min(room, options_.max_model_len - tokens);
  }
  demand.output_max = std::max(common.max_tokens.value_or(room), 1);
  generation.is_prepared = true;
  generation.sink->on_prepared(demand);
}

void LocalEngine::start(GenerationId id, const StartOptions& options) {
  const auto it = generations_.find(id);
  if (it == generations_.end() || !it->second->is_prepared) return;
  const GenerationPtr generation = it->second;
  generation->is_prepared = false;
  if (auto error = submit(id, *generation, options)) return end(id, std::move(error));
  generation->sink->on_accepted();
  const bool waits_for_logprobs = common_of(generation->request).sampling.prompt_logprobs >= 0;
  for (size_t i = 0; i < generation->prepared.prompts.size() && !waits_for_logprobs; ++i) {
    if (generations_.count(id) == 0) return;  // The sink cancelled.
    engine::Event none;
    begin_prompt(id, *generation, none, i);
  }
}

uint64_t LocalEngine::draw_seed(GenerationId id) const {
  if (!options_.seed) return random_hash_key().k0;
  return siphash128({*options_.seed, 0}, std::as_bytes(std::span(&id, 1))).low;
}

std::optional<api::Error> LocalEngine::submit(GenerationId id, Generation& generation,
                                              const StartOptions& start) {
  const api::CommonFields& common = common_of(generation.request);
  const auto* chat = std::get_if<api::ChatRequest>(&generation.request);
  const auto* completion = std::get_if<api::CompletionRequest>(&generation.request);
  const int32_t per_prompt = completion != nullptr ? completion->best_of : common.n;
  generation.choices_per_prompt = static_cast<size_t>(per_prompt);
  generation.prompt_begun.assign(generation.prepared.prompts.size(), false);
  const uint64_t seed = common.seed ? static_cast<uint64_t>(*common.seed) : draw_seed(id);
  for (const PreparedPrompt& prompt : generation.prepared.prompts) {
    for (int32_t i = 0; i < per_prompt; ++i) {
      const size_t choice = generation.choices.size();
      ChoiceOptions options;
      options.choice = static_cast<int32_t>(choice);
      options.chat = chat != nullptr;
      options.thinking_open = prompt.thinking_open;
      options.tool_calls = chat != nullptr && !chat->tools.empty();
      options.one_tool_call = chat != nullptr && !chat->parallel_tool_calls;
      generation.choices.emplace_back(options, common, *text_);
      engine::Request request =
          engine_request(generation.request, prompt, *text_, options_.max_model_len, i, seed);
      request.priority = start.priority;
      if (!start.cache_isolation.empty())
        request.cache_scope = cache_scope(start.cache_isolation + '\0' + common.cache_salt);
      request.grammar = generation.grammar;
      request.id = ++last_request_id_;
      request.deadline_ms = generation.deadline_ms;
      generation.requests.push_back(request.id);
      requests_.emplace(request.id, std::pair(id, choice));
      ++generation.live;
      const Status status = engine_->submit(std::move(request));
      if (!status.ok()) return engine_error(status);
    }
  }
  return std::nullopt;
}

void LocalEngine::on_events(std::vector<engine::Event> events) {
  for (engine::Event& event : events) on_event(std::move(event));
}

void LocalEngine::on_event(engine::Event event) {
  const auto found = requests_.find(event.id);
  if (found == requests_.end()) return;  // Cancelled, or a stop string came first.
  const auto [id, choice] = found->second;
  const GenerationPtr generation = generations_.at(id);
  if (event.finish == engine::FinishReason::kError ||
      event.finish == engine::FinishReason::kCancelled) {
    generation->requests[choice] = 0;
    requests_.erase(found);
    return end(id, engine_error(event.status.ok()
                                    ? Status(Code::kUnavailable, "the engine gave the request up")
                                    : event.status));
  }
  const size_t prompt = choice / generation->choices_per_prompt;
  if (!generation->prompt_begun[prompt]) {
    begin_prompt(id, *generation, event, prompt);
    if (generations_.count(id) == 0) return;
  }
  ChoiceStream& stream = generation->choices[choice];
  api::Delta delta = stream.add(event);
  if (stream.over()) {
    // A stop string: the engine cannot know, but counts the request as stopped.
    if (event.finish == engine::FinishReason::kNone)
      engine_->cancel(event.id, engine::FinishReason::kStop);
    generation->requests[choice] = 0;
    requests_.erase(event.id);
    --generation->live;
  }
  generation->sink->on_delta(std::move(delta));
  if (generation->live == 0 && generations_.count(id) > 0) end(id, std::nullopt);
}

void LocalEngine::begin_prompt(GenerationId, Generation& generation, engine::Event& event,
                               size_t index) {
  generation.prompt_begun[index] = true;
  PreparedPrompt& prepared = generation.prepared.prompts[index];
  api::PromptInfo info;
  info.prompt = static_cast<int32_t>(index);
  info.text = std::move(prepared.text);
  for (const engine::OutputToken& token : event.prompt_logprobs)
    info.logprobs.push_back(spell(token, *text_->tokenizer));
  const auto* completion = std::get_if<api::CompletionRequest>(&generation.request);
  if (completion != nullptr && completion->echo && completion->common.sampling.logprobs >= 0) {
    for (const int32_t id : prepared.tokens) {
      api::TokenLogprob token;
      token.bytes = text_->tokenizer->token_bytes(id);
      token.token = id;
      info.tokens.push_back(std::move(token));
    }
  }
  info.token_ids = std::move(prepared.tokens);
  generation.sink->on_prompt(std::move(info));
}

void LocalEngine::end(GenerationId id, std::optional<api::Error> error) {
  const auto it = generations_.find(id);
  if (it == generations_.end()) return;
  const std::shared_ptr<GenerationSink> sink = it->second->sink;
  release(id);
  sink->on_end(std::move(error));
}

void LocalEngine::release(GenerationId id) {
  const auto it = generations_.find(id);
  if (it == generations_.end()) return;
  for (const engine::RequestId request : it->second->requests) {
    if (request == 0) continue;
    requests_.erase(request);
    engine_->cancel(request);
  }
  generations_.erase(it);
}

void LocalEngine::cancel(GenerationId id) {
  const auto it = generations_.find(id);
  if (it != generations_.end()) it->second->cancelled = true;
  release(id);
}

void LocalEngine::tokenize(api::TokenizeRequest request, TokensDone done) {
  const auto asked = std::make_shared<api::TokenizeRequest>(std::move(request));
  const auto answer = std::make_shared<api::Parsed<Tokens>>();
  const bool taken =
      pool_->run([asked, answer, text = text_] { *answer = gateway::tokenize(*asked, *text); },
                 [answer, done] { done(std::move(*answer)); });
  if (!taken) {
    answer->error = api::error_of(Status(Code::kOverloaded, "too many requests wait; retry"));
    done(std::move(*answer));
  }
}

void LocalEngine::detokenize(api::DetokenizeRequest request, TextDone done) {
  const auto tokens = std::make_shared<std::vector<int32_t>>(std::move(request.tokens));
  const auto answer = std::make_shared<api::Parsed<std::string>>();
  const bool taken = pool_->run(
      [tokens, answer, text = text_] { answer->value = text->tokenizer->decode(*tokens, false); },
      [answer, done] { done(std::move(*answer)); });
  if (!taken) {
    answer->error = api::error_of(Status(Code::kOverloaded, "too many requests wait; retry"));
    done(std::move(*answer));
  }
}

}  // namespace galley::gateway

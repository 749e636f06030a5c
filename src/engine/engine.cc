#include "engine/engine.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace galley::engine {
namespace {

SchedulerLimits scheduler_limits(const EngineOptions& options, const RunnerInfo& info) {
  return {.requests_max = options.limits.requests_max,
          .batch_requests_max = options.limits.batch_requests_max,
          .step_tokens_max = options.limits.step_tokens_max,
          .drafts_max = options.drafts,
          .tail_tokens_max = 1 + options.limits.close_tokens_max,
          .priority_step_ms = options.limits.priority_step_ms,
          .lookahead_tokens = info.lookahead_tokens};
}

OutputToken output_token(const kernels::SampleResult& sampled) {
  return {.token = sampled.token,
          .forced = false,
          .logprob = sampled.logprob,
          .rank = sampled.rank,
          .top = std::vector(sampled.top, sampled.top + sampled.num_top)};
}

double seconds(int64_t us) {
  return static_cast<double>(us) * 1e-6;
}

const EngineOptions& checked(const EngineOptions& options, const RunnerInfo& info) {
  GALLEY_CHECK(validate(options, info).ok(), "the owner validates the options");
  return options;
}

}  // namespace

Engine::Engine(const EngineOptions& options, Runner* runner, const Clock* clock, EventSink sink)
    : options_(checked(options, runner->info())),
      runner_(runner),
      clock_(clock),
      sink_(std::move(sink)),
      info_(runner->info()),
      pool_(info_.num_blocks, info_.block_tokens),
      tree_({.enabled = options.enable_prefix_caching,
             .key = options.block_key,
             .model = options.model_name},
            &pool_),
      scheduler_(scheduler_limits(options, info_), &tree_) {
  const auto requests_max = static_cast<size_t>(options.limits.requests_max);
  const auto batch_max = static_cast<size_t>(options.limits.batch_requests_max);
  live_.resize(requests_max);
  slots_.reserve(requests_max);
  arrivals_.reserve(requests_max);
  cancels_.reserve(requests_max);
  items_.reserve(batch_max);
  outcomes_.reserve(batch_max);
  kept_tokens_.reserve(batch_max *
                       static_cast<size_t>(1 + options.drafts + options.limits.close_tokens_max));
  events_.resize(requests_max);
  finished_.reserve(requests_max);
  inbox_.reserve(requests_max);
  cancel_inbox_.reserve(requests_max);
  live_ids_.reserve(requests_max);
}

void Engine::run() {
  while (take_inbox()) {
    if (const std::span<const StepItem> plan = decide(); !plan.empty())
      account(runner_->execute(plan));
    deliver();
  }
}

// --- the inbox ----------------------------------------------------------------------------------

Status Engine::submit(Request request) {
  GALLEY_RETURN_IF_ERROR(validate(request, options_.limits, info_));
  // Here, so that the engine thread need not allocate while it generates.
  request.prompt.reserve(request.prompt.size() + static_cast<size_t>(request.sampling.max_tokens));
  std::unique_ptr<Constraint> constraint;
  if (request.grammar != nullptr)
    constraint = std::make_unique<Constraint>(
        request.grammar, request.thinking, 2 * (info_.drafts_max + 1), request.sampling.max_tokens);
  {
    const std::lock_guard lock(mutex_);
    if (mode_ != Mode::kOpen)
      return Status(Code::kUnavailable, "the engine is shutting down: ask another replica");
    if (live_ids_.size() >= static_cast<size_t>(options_.limits.requests_max)) {
      refused_overloaded_ += 1;
      return Status(Code::kOverloaded, std::to_string(live_ids_.size()) +
                                           " requests are queued or running, the limit "
                                           "(max-num-queued-reqs): retry later");
    }
    if (!live_ids_.try_emplace(request.id, false).second)
      return Status(Code::kInvalid, "request id " + std::to_string(request.id) + " is in use");
    inbox_.push_back({.request = std::move(request),
                      .submitted_us = clock_->now_us(),
                      .constraint = std::move(constraint)});
  }
  arrived_.notify_one();
  return Status();
}

void Engine::cancel(RequestId id, FinishReason reason) {
  GALLEY_CHECK(reason == FinishReason::kCancelled || reason == FinishReason::kStop,
               "a reader withdraws its request or has found its stop string");
  {
    const std::lock_guard lock(mutex_);
    const auto entry = live_ids_.find(id);
    if (entry == live_ids_.end() || entry->second) return;
    entry->second = true;
    cancel_inbox_.push_back({.id = id, .reason = reason});
  }
  arrived_.notify_one();
}

void Engine::drain() {
  {
    const std::lock_guard lock(mutex_);
    if (mode_ == Mode::kOpen) mode_ = Mode::kDraining;
  }
  arrived_.notify_one();
}

void Engine::stop() {
  {
    const std::lock_guard lock(mutex_);
    mode_ = Mode::kStopping;
  }
  arrived_.notify_one();
}

// Waits for work and applies the commands. False: nothing is live and nothing will come.
bool Engine::take_inbox() {
  if (scheduler_.idle() && !idle_checked_) {
    scheduler_.check_invariants();
    GALLEY_CHECK(slots_.empty(), "a request without a sequence");
    counted_.invariant_checks += 1;
    idle_checked_ = true;
  }
  arrivals_.clear();
  cancels_.clear();
  Mode mode;
  {
    std::unique_lock lock(mutex_);
    const auto has_news = [this] {
      return !inbox_.empty() || !cancel_inbox_.empty() || mode_ != Mode::kOpen;
    };
    if (scheduler_.idle()) arrived_.wait(lock, has_news);
    arrivals_.swap(inbox_);
    cancels_.swap(cancel_inbox_);
    mode = mode_;
  }
  for (Arrival& arrival : arrivals_) admit(std::move(arrival));
  for (const Cancel& cancel : cancels_) {
    const auto entry = slots_.find(cancel.id);
    if (entry == slots_.end()) continue;
    const bool withdrawn = cancel.reason == FinishReason::kCancelled;
    end_early(entry->second, cancel.reason,
              withdrawn ? Status(Code::kCancelled, "the client withdrew the request") : Status());
  }
  if (mode == Mode::kStopping) {
    while (!slots_.empty())
      end_early(slots_.begin()->second, FinishReason::kError,
                Status(Code::kUnavailable, "the engine was stopped: ask another replica"));
  }
  return mode == Mode::kOpen || !scheduler_.idle() || num_events_ > 0;
}

void Engine::admit(Arrival arrival) {
  idle_checked_ = false;
  Request& request = arrival.request;
  const Slot slot = scheduler_.submit({.prompt = std::move(request.prompt),
                                       .output_tokens_max = request.sampling.max_tokens,
                                       .priority = request.priority,
                                       .cache_scope = request.cache_scope,
                                       .scores_prompt = request.sampling.prompt_logprobs >= 0,
                                       .deadline_ms = request.deadline_ms},
                                      arrival.submitted_us / 1000);
  slots_.emplace(request.id, slot);
  Live& live = live_at(slot);
  live.rules = OutputRules(request, options_.eos_tokens);
  live.constraint = std::move(arrival.constraint);
  live.request = std::move(request);
  live.unsent.clear();
  live.prompt_scores.clear();
  live.submitted_us = arrival.submitted_us;
  live.scheduled_us = live.first_token_us = live.last_token_us = -1;
  if (live.rules.closes_at_start()) close_at_start(slot);
}

// A thought without any budget ends before anything is sampled.
void Engine::close_at_start(Slot slot) {
  Live& live = live_at(slot);
  for (const int32_t token : live.rules.close_tokens()) {
    live.unsent.push_back({.token = token, .forced = true, .top = {}});
    scheduler_.append(slot, {&token, 1});
    if (live.constraint != nullptr) live.constraint->push(token, true);
    if (live.rules.add_forced(token).finish == FinishReason::kNone) continue;
    Event* event = open_event(slot);
    event->tokens.swap(live.unsent);
    count_tokens(slot, *event);
    close_event(slot, event, FinishReason::kLength);
    return scheduler_.end(slot);
  }
}

void Engine::end_early(Slot slot, FinishReason reason, Status status) {
  Event* event = open_event(slot);
  event->status = std::move(status);
  close_event(slot, event, reason);
  scheduler_.end(slot);
}

void Engine::end_overdue() {
  for (const Slot slot : scheduler_.expired(clock_->now_ms()))
    end_early(slot, FinishReason::kError,
              Status(Code::kDeadline, "the deadline of the request passed after " +
                                          std::to_string(live_at(slot).rules.num_tokens()) +
                                          " output tokens"));
}

// --- decide -------------------------------------------------------------------------------------

std::span<const StepItem> Engine::decide() {
  end_overdue();
  plan_ = scheduler_.plan_step();
  items_.clear();
  const int64_t now_us = clock_->now_us();
  for (const PlannedItem& item : plan_) {
    Live& live = live_at(item.slot);
    if (live.scheduled_us < 0) live.scheduled_us = now_us;
    items_.push_back(
        {.id = live.request.id,
         .known = scheduler_.known(item.slot),
         .prompt_len = scheduler_.prompt_len(item.slot),
         .token_begin = item.token_begin,
         .token_count = item.token_count,
         .drafts = scheduler_.drafts(item.slot).first(static_cast<size_t>(item.draft_count)),
         .samples = item.samples,
         .blocks = scheduler_.blocks(item.slot),
         .sampling = &live.request.sampling,
         .banned = live.rules.banned(),
         .constraint = live.constraint.get()});
  }
  return items_;
}

// --- account ------------------------------------------------------------------------------------

void Engine::account(std::span<const StepResult> results) {
  GALLEY_CHECK(results.size() == plan_.size(), "the runner answers each item once");
  outcomes_.clear();
  kept_tokens_.clear();
  int32_t num_tokens = 0;
  runner_failed_.store(std::all_of(results.begin(), results.end(),
                                   [](const StepResult& result) {
                                     return result.status.code() == Code::kUnavailable;
                                   }),
                       std::memory_order_relaxed);
  for (size_t i = 0; i < plan_.size(); ++i) {
    outcomes_.push_back(judge(plan_[i], results[i]));
    num_tokens += plan_[i].token_count + plan_[i].draft_count;
  }
  scheduler_.finish_step(outcomes_);
  counted_.steps += 1;
  counted_.iteration_tokens.observe(num_tokens);
}

// What came of one item: which of its tokens stay, whether it ends, what the client hears.
Outcome Engine::judge(const PlannedItem& item, const StepResult& result) {
  Live& live = live_at(item.slot);
  GALLEY_CHECK(result.id == live.request.id, "results come in plan order");
  if (!result.status.ok()) {
    Event* event = open_event(item.slot);
    event->status = result.status;
    close_event(item.slot, event, FinishReason::kError);
    return {.failed = true, .over = true};
  }
  collect_prompt_scores(item, result, &live);
  if (!item.samples) return {};

  GALLEY_CHECK(
      !result.tokens.empty() && result.tokens.size() <= static_cast<size_t>(item.draft_count) + 1,
      "a sampling item gives one token and those of its drafts that were right");
  Event* event = open_event(item.slot);
  event->tokens.swap(live.unsent);
  if (!live.prompt_scores.empty()) {
    event->prompt_logprobs.swap(live.prompt_scores);
    live.prompt_scores.clear();
  }
  const size_t kept_begin = kept_tokens_.size();
  OutputRules::Verdict verdict;
  for (const kernels::SampleResult& sampled : result.tokens) {
    kept_tokens_.push_back(sampled.token);
    event->tokens.push_back(output_token(sampled));
    if (live.constraint != nullptr) live.constraint->push(sampled.token, false);
    verdict = live.rules.add(sampled.token);
    if (verdict.finish != FinishReason::kNone || verdict.closes_thinking) break;
  }
  const auto num_sampled = static_cast<int32_t>(kept_tokens_.size() - kept_begin);
  const bool closes = verdict.closes_thinking;
  if (closes) {
    for (const int32_t token : live.rules.close_tokens()) {
      kept_tokens_.push_back(token);
      event->tokens.push_back({.token = token, .forced = true, .top = {}});
      if (live.constraint != nullptr) live.constraint->push(token, true);
      verdict = live.rules.add_forced(token);
      if (verdict.finish != FinishReason::kNone) break;
    }
  }
  const int32_t num_accepted = static_cast<int32_t>(result.tokens.size()) - 1;
  if (item.draft_count > 0) count_drafts(item.draft_count, num_accepted);
  Outcome outcome = {.over = verdict.finish != FinishReason::kNone,
                     .tokens = std::span<const int32_t>(kept_tokens_).subspan(kept_begin),
                     .num_accepted = std::min(num_sampled, num_accepted)};
  if (!closes && !outcome.over) {
    const int32_t num_drafts = std::min(
        {options_.drafts, live.rules.drafts_max(), static_cast<int32_t>(result.drafts.size())});
    outcome.drafts = result.drafts.first(static_cast<size_t>(num_drafts));
  }
  event->output_tokens = live.rules.num_tokens();
  count_tokens(item.slot, *event);
  if (outcome.over) {
    event->stop_token = verdict.stop_token;
    close_event(item.slot, event, verdict.finish);
  }
  return outcome;
}

// Scores come with the rows that are computed: after a preemption some come a second time.
void Engine::collect_prompt_scores(const PlannedItem& item, const StepResult& result, Live* live) {
  const bool are_sent = live->first_token_us >= 0;
  if (live->request.sampling.prompt_logprobs < 0 || are_sent) return;
  const auto begin = static_cast<size_t>(item.token_begin);
  const auto end = static_cast<size_t>(
      std::min(item.token_begin + item.token_count, scheduler_.prompt_len(item.slot) - 1));
  if (begin >= end) return;
  GALLEY_CHECK(begin + result.prompt_scores.size() == end, "one score for each prompt token");
  GALLEY_CHECK(live->prompt_scores.size() >= begin, "scores of prompt tokens are missing");
  live->prompt_scores.reserve(static_cast<size_t>(scheduler_.prompt_len(item.slot) - 1));
  for (size_t i = live->prompt_scores.size(); i < end; ++i)
    live->prompt_scores.push_back(output_token(result.prompt_scores[i - begin]));
}

// --- events and statistics ----------------------------------------------------------------------

Event* Engine::open_event(Slot slot) {
  GALLEY_CHECK(num_events_ < events_.size(), "one event for a request in a turn");
  Event* event = &events_[num_events_++];
  event->id = live_at(slot).request.id;
  event->tokens.clear();
  event->prompt_logprobs.clear();
  event->finish = FinishReason::kNone;
  event->stop_token = -1;
  event->status = Status();
  event->prompt_tokens = scheduler_.prompt_len(slot);
  event->cached_tokens = scheduler_.num_cached(slot);
  event->output_tokens = live_at(slot).rules.num_tokens();
  return event;
}

// The request's last event. The scheduler's part of the slot is ended by the caller.
void Engine::close_event(Slot slot, Event* event, FinishReason reason) {
  event->finish = reason;
  count_finished(slot, reason);
  slots_.erase(event->id);
  live_at(slot).constraint.reset();
  live_at(slot).request.grammar.reset();
  finished_.push_back(event->id);
}

void Engine::count_drafts(int32_t num_proposed, int32_t num_accepted) {
  counted_.draft_steps += 1;
  counted_.drafts_proposed += static_cast<uint64_t>(num_proposed);
  counted_.drafts_accepted += static_cast<uint64_t>(num_accepted);
  for (int32_t i = 0; i < num_accepted; ++i)
    counted_.drafts_accepted_at[static_cast<size_t>(i)] += 1;
}

void Engine::count_tokens(Slot slot, const Event& event) {
  Live& live = live_at(slot);
  const int64_t now_us = clock_->now_us();
  const uint64_t num_tokens = event.tokens.size();
  counted_.generation_tokens += num_tokens;
  if (live.first_token_us < 0) {
    live.first_token_us = now_us;
    counted_.time_to_first_token.observe(seconds(now_us - live.submitted_us));
    counted_.prompt_tokens += static_cast<uint64_t>(scheduler_.prompt_len(slot));
  } else {
    // Tokens that come together share the time since the last ones.
    counted_.inter_token_latency.observe(
        seconds(now_us - live.last_token_us) / static_cast<double>(num_tokens), num_tokens);
  }
  live.last_token_us = now_us;
}

void Engine::count_finished(Slot slot, FinishReason reason) {
  const Live& live = live_at(slot);
  const int64_t now_us = clock_->now_us();
  counted_.finished[static_cast<size_t>(reason)] += 1;
  counted_.e2e_request_latency.observe(seconds(now_us - live.submitted_us));
  const int64_t scheduled_us = live.scheduled_us < 0 ? now_us : live.scheduled_us;
  counted_.request_queue_time.observe(seconds(scheduled_us - live.submitted_us));
  if (live.first_token_us < 0) return;
  const int32_t num_tokens = live.rules.num_tokens();
  const int64_t decode_us = live.last_token_us - live.first_token_us;
  counted_.request_prefill_time.observe(seconds(live.first_token_us - scheduled_us));
  counted_.request_decode_time.observe(seconds(decode_us));
  counted_.request_inference_time.observe(seconds(live.last_token_us - scheduled_us));
  counted_.request_prompt_tokens.observe(scheduler_.prompt_len(slot));
  counted_.request_generation_tokens.observe(num_tokens);
  if (num_tokens > 1)
    counted_.request_time_per_output_token.observe(seconds(decode_us) / (num_tokens - 1));
}

// Frees the ids of what is over, publishes the statistics, then tells the sink.
void Engine::deliver() {
  counted_.requests_running = scheduler_.num_running();
  counted_.requests_waiting = scheduler_.num_waiting();
  counted_.blocks_total = pool_.num_blocks();
  counted_.blocks_cached = tree_.num_unheld();
  counted_.blocks_held = pool_.num_blocks() - tree_.num_available();
  counted_.preemptions = scheduler_.num_preemptions();
  counted_.prefix_query_tokens = scheduler_.prefix_query_tokens();
  counted_.prefix_hit_tokens = scheduler_.prefix_hit_tokens();
  {
    const std::lock_guard lock(mutex_);
    for (const RequestId id : finished_) {
      // A cancel that crossed the end must not meet a later request of this id.
      if (live_ids_.at(id))
        std::erase_if(cancel_inbox_, [id](const Cancel& cancel) { return cancel.id == id; });
      live_ids_.erase(id);
    }
    snapshot_ = counted_;
  }
  for (const RequestId id : finished_) runner_->forget(id);
  finished_.clear();
  const size_t num_events = std::exchange(num_events_, 0);
  if (num_events > 0) sink_(std::span(events_).first(num_events));
}

EngineStats Engine::stats() const {
  const std::lock_guard lock(mutex_);
  EngineStats stats = snapshot_;
  stats.requests_waiting += static_cast<int32_t>(inbox_.size());
  stats.refused_overloaded = refused_overloaded_;
  return stats;
}

}  // namespace galley::engine

#include "gateway/admission.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace galley::gateway {
namespace {

Reason reason_of(LimitKind kind) {
  switch (kind) {
    case LimitKind::kRequests:
      return Reason::kRequestRate;
    case LimitKind::kTokens:
      return Reason::kTokenRate;
    case LimitKind::kConcurrency:
      return Reason::kConcurrency;
    case LimitKind::kNone:
      break;
  }
  return Reason::kNone;
}

}  // namespace

std::string_view reason_name(Reason reason) {
  switch (reason) {
    case Reason::kNone:
      return "none";
    case Reason::kRequestRate:
      return "request_rate";
    case Reason::kTokenRate:
      return "token_rate";
    case Reason::kConcurrency:
      return "concurrency";
    case Reason::kQueueFull:
      return "queue_full";
    case Reason::kDeadline:
      return "deadline";
    case Reason::kWait:
      return "max_queue";
    case Reason::kBehindOthers:
      return "behind_others";
    case Reason::kMemory:
      return "memory";
    case Reason::kSlot:
      return "slot";
  }
  return "none";
}

Admission::Admission(const AdmissionLimits& limits, const EngineCapacity& capacity, uint64_t seed)
    : limits_(limits),
      capacity_(capacity),
      queue_(limits.queue),
      waits_(limits.prior_rate),
      random_(static_cast<std::minstd_rand::result_type>(seed)) {}

int64_t Admission::expected_output(const Ask& ask, int64_t so_far) const {
  const auto each = static_cast<int32_t>(so_far / ask.sequences);
  const double length = lengths_.quantile(ask.tenant, limits_.length_quantile,
                                          std::min(each, ask.output_max), ask.output_max);
  return std::max<int64_t>(static_cast<int64_t>(std::llround(length * ask.sequences)), so_far);
}

double Admission::expected_cost(const Ask& ask) const {
  return std::max(1.0, limits_.prefill_cost * static_cast<double>(ask.prompt_tokens) +
                           limits_.decode_cost * static_cast<double>(expected_output(ask, 0)));
}

// Lower levels are displaced by the engine, so they do not count; only their sum is bounded.
Reason Admission::obstacle(const Ask& ask) const {
  int64_t sequences = 0, kv_tokens = 0;
  for (const auto& [level, held] : at_level_) {
    if (level < ask.level) continue;
    sequences += held.first;
    kv_tokens += held.second;
  }
  if (sequences == 0 && running_sequences_ == 0) return Reason::kNone;  // However large.
  const int64_t room = int64_t{capacity_.slots} + limits_.spare_sequences;
  const int64_t displaced = std::min(capacity_.slots, limits_.displaced_sequences_max);
  if (sequences > 0 && sequences + ask.sequences > room) return Reason::kSlot;
  if (running_sequences_ + ask.sequences > room + displaced) return Reason::kSlot;
  const int64_t need = expected_kv(ask, expected_output(ask, 0));
  if (capacity_.kv_tokens > 0 && sequences > 0 && kv_tokens + need > capacity_.kv_tokens)
    return Reason::kMemory;
  return Reason::kNone;
}

int64_t Admission::spread(double ms) {
  const double draw = std::uniform_real_distribution<double>(0, limits_.retry_spread)(random_);
  const double bounded = std::clamp(ms, static_cast<double>(limits_.retry_after_ms_min),
                                    static_cast<double>(limits_.retry_after_ms_max));
  return static_cast<int64_t>(bounded * (1 + draw));
}

Verdict Admission::refuse(Reason reason, double after_ms) {
  Verdict verdict;
  verdict.kind = Verdict::Kind::kRefuse;
  verdict.reason = reason;
  verdict.retry_after_ms = spread(after_ms);
  return verdict;
}

double Admission::expected_each(const Ask& ask) const {
  return static_cast<double>(expected_output(ask, 0)) / ask.sequences;
}

// Would it start now, its answer would be late.
bool Admission::hopeless(const Ask& ask, int64_t now_ms) const {
  return ask.deadline_ms &&
         static_cast<double>(now_ms) + service_p90_ms(ask) >= static_cast<double>(*ask.deadline_ms);
}

WaitEstimate Admission::wait_for(uint64_t tenant, double weight) const {
  QueueItem item;
  item.tenant = tenant;
  item.weight = weight;
  return waits_.estimate(queue_.cost_ahead(item) + item.cost);
}

QueueItem Admission::queue_item(const Ask& ask, double cost, int64_t now_ms) const {
  QueueItem item;
  item.id = ask.id;
  item.tenant = ask.tenant;
  item.user = ask.user;
  item.weight = ask.weight;
  item.cost = cost;
  item.sequences = ask.sequences;
  item.level = ask.level;
  item.priority = ask.priority;
  item.continued = ask.continued;
  item.arrived_ms = now_ms;
  if (ask.deadline_ms) item.deadline_ms = *ask.deadline_ms;
  return item;
}

Verdict Admission::refuse_limit(const LimitRefusal& refused, const Ask& ask) {
  const double after = refused.kind == LimitKind::kConcurrency
                           ? service_ms(ask)
                           : static_cast<double>(refused.retry_after_ms);
  Verdict verdict = refuse(reason_of(refused.kind), after);
  verdict.limit_scope = refused.scope;
  return verdict;
}

std::optional<Verdict> Admission::refuse_wait(const Ask& ask, bool immediate,
                                              const WaitEstimate& wait, double service_ms,
                                              int64_t now_ms) {
  const double wait_ms = waits_.rate_known() ? wait.p90_ms : wait.median_ms;
  if (ask.wait_ms_max && wait_ms > static_cast<double>(*ask.wait_ms_max))
    return refuse(Reason::kWait, wait_ms - static_cast<double>(*ask.wait_ms_max));
  if (ask.deadline_ms) {
    const auto left = static_cast<double>(*ask.deadline_ms - now_ms);
    const double end_ms = wait_ms + service_ms;
    if (left <= 0 || end_ms > left) return refuse(Reason::kDeadline, end_ms - left);
  }
  // Places are left for others, however much one tenant sends (Choudhury and Hahne, "Dynamic queue
  // length thresholds", 1998).
  const int64_t left = limits_.queued_sequences_max - queue_.sequences();
  const bool too_many = queue_.size() > 0 &&
                        (ask.sequences > left || queue_.sequences_of(ask.tenant) + ask.sequences >
                                                     limits_.tenant_places * left);
  if (!immediate && (too_many || limits_.queued_sequences_max == 0))
    return refuse(Reason::kQueueFull, wait.median_ms / 4);
  return std::nullopt;
}

std::optional<Verdict> Admission::refuse_early(const Ask& ask, int64_t now_ms) {
  if (const auto refused = limiter_.reserve(ask.id, ask.scopes, 1, now_ms))
    return refuse_limit(*refused, ask);
  limiter_.release(ask.id, now_ms);
  if (queue_.size() == 0) return std::nullopt;
  const WaitEstimate wait = waits_.estimate(queue_.cost_ahead(queue_item(ask, 1, now_ms)));
  return refuse_wait(ask, false, wait, 0, now_ms);
}

Verdict Admission::ask(const Ask& ask, int64_t now_ms) {
  GALLEY_CHECK(!queue_.waits(ask.id) && !running_.contains(ask.id), "the id is in use");
  const double cost = expected_cost(ask);
  const auto tokens = ask.prompt_tokens + expected_output(ask, 0);
  if (const auto refused = limiter_.reserve(ask.id, ask.scopes, tokens, now_ms))
    return refuse_limit(*refused, ask);
  const QueueItem item = queue_item(ask, cost, now_ms);
  const bool immediate = queue_.size() == 0 && obstacle(ask) == Reason::kNone;
  const double ahead = immediate ? 0 : queue_.cost_ahead(item) + cost;
  const WaitEstimate wait = waits_.estimate(ahead);
  const double service = immediate ? service_ms(ask) : service_p90_ms(ask);
  std::optional<Verdict> refused = refuse_wait(ask, immediate, wait, service, now_ms);
  if (!refused && !queue_.push(item)) refused = refuse(Reason::kQueueFull, wait.median_ms / 4);
  if (refused) {
    limiter_.release(ask.id, now_ms);
    return *refused;
  }
  waiting_.emplace(ask.id, Waiting{ask, now_ms, waits_.raw_ms(ahead), waits_.rate_known()});
  if (ask.deadline_ms || ask.wait_ms_max) ++with_terms_;
  Verdict verdict;
  if (queue_.next()->id == ask.id && start_next(now_ms)) return verdict;
  verdict.kind = Verdict::Kind::kQueue;
  verdict.reason = Reason::kBehindOthers;
  verdict.wait = wait;
  return verdict;
}

std::optional<uint64_t> Admission::start_next(int64_t now_ms) {
  const QueueItem* next = queue_.next();
  if (next == nullptr) return std::nullopt;
  const auto found = waiting_.find(next->id);
  if (obstacle(found->second.ask) != Reason::kNone) return std::nullopt;
  const QueueItem item = queue_.take(next->id);
  const Waiting waiting = found->second;
  waiting_.erase(found);
  if (waiting.ask.deadline_ms || waiting.ask.wait_ms_max) --with_terms_;
  const bool waited = waiting.raw_ms > 0;
  if (waited && waiting.rate_known)
    waits_.score(waiting.raw_ms, static_cast<double>(now_ms - waiting.asked_ms));
  waits_.on_taken(item.cost, waited, now_ms);
  if (waits_.rate_known()) {
    queue_.set_window(
        std::clamp(limits_.window_ms * waits_.rate(), limits_.window_min, limits_.window_max));
  }
  begin(waiting, item.cost, now_ms);
  return item.id;
}

void Admission::begin(const Waiting& waiting, double charged, int64_t now_ms) {
  Running running;
  running.ask = waiting.ask;
  running.charged = charged;
  running.output_expected = expected_output(waiting.ask, 0);
  running.kv_tokens = expected_kv(waiting.ask, running.output_expected);
  running.guessed_ms = services_.guess_ms(expected_each(waiting.ask));
  running.started_ms = now_ms;
  auto& held = at_level_[waiting.ask.level];
  held.first += waiting.ask.sequences;
  held.second += running.kv_tokens;
  running_sequences_ += waiting.ask.sequences;
  kv_reserved_ += running.kv_tokens;
  running_.emplace(waiting.ask.id, running);
}

std::vector<Overdue> Admission::overdue(int64_t now_ms) {
  std::vector<Overdue> out;
  if (with_terms_ == 0) return out;
  for (const auto& [id, waiting] : waiting_) {
    const Ask& ask = waiting.ask;
    if (hopeless(ask, now_ms)) {
      out.push_back({id, Reason::kDeadline, 0});
    } else if (ask.wait_ms_max && now_ms - waiting.asked_ms >= *ask.wait_ms_max) {
      out.push_back({id, Reason::kWait, 0});
    }
  }
  std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  for (Overdue& one : out) {
    const Ask& ask = waiting_.at(one.id).ask;
    one.retry_after_ms = spread(wait_for(ask.tenant, ask.weight).median_ms);
    finish(one.id, {}, now_ms);
  }
  return out;
}

void Admission::progress(uint64_t id, int64_t output_tokens, int64_t now_ms) {
  const auto found = running_.find(id);
  if (found == running_.end()) return;
  Running& running = found->second;
  if (running.first_token_ms < 0 && output_tokens > 0) running.first_token_ms = now_ms;
  running.output_tokens = output_tokens;
  if (output_tokens <= running.output_expected) return;
  // Longer than expected: what it takes is known to be more, and its tenant pays at once.
  const int64_t expected = expected_output(running.ask, output_tokens);
  const double cost = limits_.decode_cost * static_cast<double>(expected - running.output_expected);
  queue_.charge(running.ask.tenant, running.ask.user, cost);
  running.charged += cost;
  running.output_expected = expected;
  const int64_t kv_tokens = expected_kv(running.ask, expected);
  at_level_[running.ask.level].second += kv_tokens - running.kv_tokens;
  kv_reserved_ += kv_tokens - running.kv_tokens;
  running.kv_tokens = kv_tokens;
}

void Admission::finish(uint64_t id, const Served& served, int64_t now_ms) {
  if (queue_.remove(id)) {
    const auto waiting = waiting_.find(id);
    if (waiting->second.ask.deadline_ms || waiting->second.ask.wait_ms_max) --with_terms_;
    waiting_.erase(waiting);
    limiter_.release(id, now_ms);
    return;
  }
  const auto found = running_.find(id);
  if (found == running_.end()) return;
  const Running running = found->second;
  running_.erase(found);
  running_sequences_ -= running.ask.sequences;
  kv_reserved_ -= running.kv_tokens;
  const auto held = at_level_.find(running.ask.level);
  held->second.first -= running.ask.sequences;
  held->second.second -= running.kv_tokens;
  if (held->second.first == 0) at_level_.erase(held);
  const double cost = limits_.prefill_cost * static_cast<double>(served.computed_prompt) +
                      limits_.decode_cost * static_cast<double>(served.output_tokens);
  queue_.charge(running.ask.tenant, running.ask.user, cost - running.charged);
  limiter_.settle(id, served.prompt_tokens + served.output_tokens, now_ms);
  const int64_t output_tokens = served.output_tokens;
  const auto took_ms = static_cast<double>(now_ms - running.started_ms);
  if (!served.whole) return services_.on_cut(running.guessed_ms, took_ms);
  if (output_tokens <= 0) return;
  const int64_t each = output_tokens / running.ask.sequences;
  lengths_.observe(running.ask.tenant, static_cast<int32_t>(std::min<int64_t>(each, 1 << 20)),
                   running.ask.output_max);
  const int64_t first_ms = running.first_token_ms < 0 ? now_ms : running.first_token_ms;
  services_.on_whole({.guessed_ms = running.guessed_ms,
                      .to_first_ms = static_cast<double>(first_ms - running.started_ms),
                      .whole_ms = took_ms,
                      .output_tokens = static_cast<double>(each)});
}

std::vector<std::pair<uint64_t, QueueNews>> Admission::news(int64_t now_ms) const {
  std::vector<std::pair<uint64_t, QueueNews>> out;
  double ahead = 0;
  for (const uint64_t id : queue_.order()) {
    const Waiting& waiting = waiting_.at(id);
    ahead += queue_.item(id).cost;
    QueueNews news;
    news.position = out.size() + 1;
    news.start = waits_.estimate(ahead);
    news.waited_ms = now_ms - waiting.asked_ms;
    if (out.empty()) news.reason = obstacle(waiting.ask);
    if (news.reason == Reason::kNone) news.reason = Reason::kBehindOthers;
    out.emplace_back(id, news);
  }
  return out;
}

void Admission::check_invariants() const {
  queue_.check_invariants();
  GALLEY_CHECK(queue_.size() == waiting_.size(), "who waits is known in both places");
  int64_t sequences = 0, kv_tokens = 0;
  for (const auto& [id, running] : running_) {
    sequences += running.ask.sequences;
    kv_tokens += running.kv_tokens;
  }
  GALLEY_CHECK(sequences == running_sequences_ && kv_tokens == kv_reserved_, "what runs adds up");
  int64_t at_levels = 0;
  for (const auto& [level, held] : at_level_) at_levels += held.first;
  GALLEY_CHECK(at_levels == sequences, "the levels add up");
}

}  // namespace galley::gateway

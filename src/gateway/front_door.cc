#include "gateway/front_door.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/json.hpp>
#include <chrono>
#include <cmath>
#include <numeric>
#include <span>
#include <utility>

#include "api/errors.h"
#include "api/sse.h"
#include "base/hash.h"
#include "base/log.h"
#include "gateway/http_response.h"
#include "gateway/metrics.h"

namespace galley::gateway {
namespace {

namespace json = boost::json;

int64_t wall_clock_s() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

// Of users within their tenant; the empty name is one of them.
uint64_t user_id(const std::string& name) {
  static const HashKey key = random_hash_key();
  return siphash128(key, std::as_bytes(std::span(name))).low;
}

int seconds_up(int64_t ms) {
  return static_cast<int>(std::max<int64_t>(1, (ms + 999) / 1000));
}

// OpenAI's spelling of a time: "250ms", "1.5s", "6m0s".
std::string duration_text(int64_t ms) {
  if (ms < 1000) return std::to_string(ms) + "ms";
  if (ms < 60'000) {
    std::string out = std::to_string(ms / 1000);
    if (ms % 1000 >= 100) out += "." + std::to_string(ms % 1000 / 100);
    return out + "s";
  }
  return std::to_string(ms / 60'000) + "m" + std::to_string(ms % 60'000 / 1000) + "s";
}

json::object news_object(const QueueNews& news) {
  return {{"position", news.position},
          {"waited_ms", news.waited_ms},
          {"estimated_start_ms", json::object{{"median", std::llround(news.start.median_ms)},
                                              {"p90", std::llround(news.start.p90_ms)}}},
          {"reason", reason_name(news.reason)}};
}

api::Error refusal_error(const Verdict& verdict) {
  api::Error error;
  error.http = 429;
  error.type = "rate_limit_error";
  error.code = "rate_limit_exceeded";
  error.retry_after_s = seconds_up(verdict.retry_after_ms);
  const std::string when = "; retry in " + std::to_string(error.retry_after_s) + " s";
  switch (verdict.reason) {
    case Reason::kRequestRate:
      error.message = "the limit of requests per minute is reached" + when;
      break;
    case Reason::kTokenRate:
      error.message = "the limit of tokens per minute is reached" + when;
      break;
    case Reason::kConcurrency:
      error.message = "as many requests as allowed are under way" + when;
      break;
    case Reason::kDeadline:
      error.code = "deadline_unreachable";
      error.message = "the answer would not be there within x-galley-deadline-ms" + when;
      break;
    case Reason::kWait:
      error.code = "queue_wait_exceeded";
      error.message = "it would wait longer than x-galley-max-queue-ms" + when;
      break;
    default:
      error.code = "overloaded";
      error.message = "as many requests wait as the server keeps" + when;
  }
  return error;
}

}  // namespace

// One request on its way. Hears the upstream, and passes on what the client is to hear.
class FrontDoor::Visit : public GenerationSink {
 public:
  Visit(FrontDoor* door, VisitId visit_id, Entry what, std::shared_ptr<GenerationSink> to,
        std::shared_ptr<Exchange> over)
      : door_(door),
        id(visit_id),
        entry(std::move(what)),
        sink(std::move(to)),
        exchange(std::move(over)) {}

  void on_prepared(const Demand& demand) override {
    if (VisitPtr self = live()) door_->prepared(self, demand);
  }
  void on_accepted() override {
    if (live()) sink->on_accepted();
  }
  void on_prompt(api::PromptInfo prompt) override {
    if (live()) sink->on_prompt(std::move(prompt));
  }
  void on_delta(api::Delta delta) override {
    const VisitPtr self = live();
    if (!self) return;
    count(delta);
    if (entry.stream && !door_->record(*this)) return;
    sink->on_delta(std::move(delta));
    door_->admission_.progress(id, served.output_tokens, door_->now_ms());
  }
  void on_end(std::optional<api::Error> error) override {
    const VisitPtr self = live();
    if (!self) return;
    const bool whole = !error.has_value();
    if (whole && !entry.stream && !door_->record(*this)) return;
    sink->on_end(std::move(error));
    door_->close(self, whole);
  }

 private:
  FrontDoor* const door_;

 public:
  const VisitId id;
  const Entry entry;
  const std::shared_ptr<GenerationSink> sink;
  const std::shared_ptr<Exchange> exchange;
  Upstream::GenerationId generation = 0;
  int64_t entered_ms = 0;
  int64_t told_ms = 0;  // when the client last heard
  std::optional<int64_t> deadline_ms;
  std::optional<uint64_t> ledger;  // its sequence
  Served served;
  int64_t cached_tokens = 0;
  bool waiting = false;

 private:
  VisitPtr live() {
    const auto found = door_->visits_.find(id);
    return found == door_->visits_.end() ? nullptr : found->second;
  }
  // Each prompt once, though all its choices tell of it.
  void count(const api::Delta& delta) {
    const auto choice = static_cast<size_t>(delta.choice);
    if (choices_.size() <= choice) choices_.resize(choice + 1, -1);
    int32_t& output = choices_[choice];
    if (output < 0) {
      output = 0;
      const size_t prompt = choice / per_prompt;
      if (std::find(prompts_.begin(), prompts_.end(), prompt) == prompts_.end()) {
        prompts_.push_back(prompt);
        served.prompt_tokens += delta.usage.prompt_tokens;
        served.computed_prompt += delta.usage.prompt_tokens - delta.usage.cached_tokens;
        cached_tokens += delta.usage.cached_tokens;
      }
    }
    served.output_tokens += delta.usage.completion_tokens - output;
    output = delta.usage.completion_tokens;
  }

  std::vector<int32_t> choices_;  // output tokens; -1: not begun
  std::vector<size_t> prompts_;   // begun

 public:
  size_t per_prompt = 1;  // choices
};

FrontDoor::FrontDoor(const FrontDoorOptions& options, Upstream* upstream, Callers* callers,
                     Ledger* ledger, const Clock* clock,
                     const boost::asio::any_io_executor& executor)
    : options_(options),
      upstream_(upstream),
      callers_(callers),
      ledger_(ledger),
      clock_(clock),
      admission_(options.admission, options.capacity, options.seed),
      boot_(random_hex()),
      timer_(executor),
      self_(std::make_shared<FrontDoor*>(this)) {}

FrontDoor::~FrontDoor() {
  *self_ = nullptr;
}

FrontDoor::TierCounts& FrontDoor::counts(const Visit& visit) {
  return counts_[visit.entry.caller->tier.name];
}

FrontDoor::VisitId FrontDoor::enter(Entry entry, GenerationRequest request,
                                    std::shared_ptr<GenerationSink> sink,
                                    std::shared_ptr<Exchange> exchange) {
  const VisitId id = ++last_id_;
  const auto visit =
      std::make_shared<Visit>(this, id, std::move(entry), std::move(sink), std::move(exchange));
  visit->entered_ms = visit->told_ms = now_ms();
  if (visit->entry.deadline_ms) visit->deadline_ms = now_ms() + *visit->entry.deadline_ms;
  const auto* completion = std::get_if<api::CompletionRequest>(&request);
  const auto* chat = std::get_if<api::ChatRequest>(&request);
  visit->per_prompt =
      static_cast<size_t>(completion != nullptr ? completion->best_of : chat->common.n);
  visits_.emplace(id, visit);
  if (const auto refused = admission_.refuse_early(make_ask(*visit, Demand{}), now_ms())) {
    // Before anything is spent on its prompt. Not from within the call.
    boost::asio::post(timer_.get_executor(), [self = self_, visit, verdict = *refused] {
      if (*self == nullptr || !(*self)->visits_.contains(visit->id)) return;
      (*self)->refuse(visit, verdict);
    });
    return id;
  }
  const Caller& caller = *visit->entry.caller;
  const std::string tenant = caller.stored ? std::to_string(caller.tenant) : std::string();
  visit->generation = upstream_->prepare(std::move(request), tenant, visit);
  return id;
}

Ask FrontDoor::make_ask(const Visit& visit, const Demand& demand) const {
  const Caller& caller = *visit.entry.caller;
  Ask ask;
  ask.id = visit.id;
  ask.tenant = caller.tenant;
  ask.user = user_id(visit.entry.user);
  ask.weight = caller.tier.weight;
  ask.level = caller.tier.level;
  ask.priority = std::max(visit.entry.priority, caller.tier.priority_min);
  ask.continued = visit.entry.continued;
  ask.prompt_tokens = std::max<int64_t>(demand.prompt_tokens, 1);
  ask.output_max = demand.output_max;
  ask.sequences = demand.sequences;
  ask.deadline_ms = visit.deadline_ms;
  ask.wait_ms_max = visit.entry.wait_ms_max;
  ask.scopes = {caller.key_scope, caller.tenant_scope, LimitScope{}};
  return ask;
}

void FrontDoor::prepared(const VisitPtr& visit, const Demand& demand) {
  const Ask ask = make_ask(*visit, demand);
  const Verdict verdict = admission_.ask(ask, now_ms());
  if (verdict.kind != Verdict::Kind::kRefuse) set_limit_headers(*visit);
  switch (verdict.kind) {
    case Verdict::Kind::kStart:
      return begin(visit->id);
    case Verdict::Kind::kRefuse:
      return refuse(visit, verdict);
    case Verdict::Kind::kQueue:
      ++counts(*visit).queued;
      ++counts(*visit).waiting;
      visit->waiting = true;
      visit->told_ms = now_ms();
      set_timer();
  }
}

// Admission has it in the engine.
void FrontDoor::begin(VisitId id) {
  const VisitPtr visit = visits_.at(id);
  const Entry& entry = visit->entry;
  const Caller& caller = *entry.caller;
  TierCounts& tier = counts(*visit);
  ++tier.started;
  if (std::exchange(visit->waiting, false)) --tier.waiting;
  tier.wait_seconds.observe(static_cast<double>(now_ms() - visit->entered_ms) / 1000);
  if (ledger_ != nullptr && caller.stored) {
    UsageRow row;
    row.request = boot_ + "-" + std::to_string(id);
    row.tenant = static_cast<int64_t>(caller.tenant);
    row.key = caller.key;
    row.user = entry.user;
    row.model = entry.model;
    row.at_s = wall_clock_s();
    const Result<uint64_t> sequence = ledger_->begin(row, caller.tier);
    if (!sequence.ok()) {
      log_error("request ", visit->exchange->request_id(), ": ", sequence.message());
      return refuse(visit, api::error_of(Status(Code::kUnavailable,
                                                "usage cannot be recorded; retry later")));
    }
    visit->ledger = *sequence;
  }
  StartOptions start;
  start.priority = std::max(entry.priority, caller.tier.priority_min);
  if (caller.stored) {
    // The engine displaces what has a lower priority: levels first, then what clients ask for.
    const int32_t bound = options_.admission.queue.priority_abs_max;
    start.priority =
        std::clamp(start.priority, -bound, bound) - caller.tier.level * (2 * bound + 1);
    start.cache_isolation = std::to_string(caller.tenant) + '\0' + entry.user;
  }
  upstream_->start(visit->generation, start);
}

void FrontDoor::pump() {
  if (std::exchange(pumping_, true)) return;  // Called from within: the loop below goes on.
  while (const auto id = admission_.start_next(now_ms())) begin(*id);
  pumping_ = false;
}

bool FrontDoor::record(Visit& visit) {
  if (!visit.ledger) return true;
  const Served& served = visit.served;
  const Status status = ledger_->delivered(*visit.ledger, served.prompt_tokens, visit.cached_tokens,
                                           visit.entry.bills_output ? served.output_tokens : 0);
  if (status.ok()) return true;
  log_error("request ", visit.exchange->request_id(), ": ", status.message());
  refuse(visits_.at(visit.id),
         api::error_of(Status(Code::kUnavailable, "usage cannot be recorded; retry later")));
  return false;
}

void FrontDoor::refuse(const VisitPtr& visit, const Verdict& verdict) {
  set_limit_headers(*visit);
  ++counts(*visit).refused[static_cast<size_t>(verdict.reason)];
  refuse(visit, refusal_error(verdict));
}

// Ends a visit with an error of this door's own.
void FrontDoor::refuse(const VisitPtr& visit, const api::Error& error) {
  upstream_->cancel(visit->generation);
  visit->sink->on_end(error);
  close(visit, false);
}

void FrontDoor::close(const VisitPtr& visit, bool whole) {
  if (visits_.erase(visit->id) == 0) return;
  if (std::exchange(visit->waiting, false)) --counts(*visit).waiting;
  visit->served.whole = whole;
  admission_.finish(visit->id, visit->served, now_ms());
  if (visit->ledger) ledger_->end(*visit->ledger);
  news_.erase(visit->id);
  pump();
}

void FrontDoor::leave(VisitId id) {
  const auto found = visits_.find(id);
  if (found == visits_.end()) return;
  const VisitPtr visit = found->second;
  if (visit->waiting) ++counts(*visit).left;
  upstream_->cancel(visit->generation);
  close(visit, false);
}

// --- While they wait ---

void FrontDoor::set_timer() {
  if (ticking_ || !admission_.contended()) return;
  ticking_ = true;
  timer_.expires_after(std::chrono::milliseconds(options_.tick_ms));
  timer_.async_wait([self = self_](const boost::system::error_code&) {
    if (*self != nullptr) (*self)->tick();
  });
}

void FrontDoor::tick() {
  ticking_ = false;
  for (const Overdue& gone : admission_.overdue(now_ms())) {
    const VisitPtr visit = visits_.at(gone.id);
    ++counts(*visit).overdue;
    api::Error error;
    if (gone.reason == Reason::kDeadline) {
      error = api::error_of(
          Status(Code::kDeadline,
                 "the deadline passed, or could no longer be kept, while the request waited"));
    } else {
      error = refusal_error({Verdict::Kind::kRefuse, gone.reason, gone.retry_after_ms, {}, 0});
      error.message = "it waited for x-galley-max-queue-ms without getting its turn; retry in " +
                      std::to_string(error.retry_after_s) + " s";
    }
    refuse(visit, error);
  }
  std::vector<VisitPtr> due;
  for (const auto& [id, visit] : visits_) {
    if (visit->waiting && now_ms() - visit->told_ms >= options_.tell_every_ms) due.push_back(visit);
  }
  for (const VisitPtr& visit : due) {
    visit->told_ms = now_ms();
    if (visit->exchange->open()) tell(*visit);
  }
  pump();
  set_timer();
}

// A second has passed, and it still waits.
void FrontDoor::tell(Visit& visit) {
  Exchange& exchange = *visit.exchange;
  const bool whole = !visit.entry.stream;
  // Who set a time wants its status; once a blank line is out it is 200 for ever.
  if (!whole && exchange.stream_type != Exchange::kEvents) return;  // Has no comments.
  if (whole && (visit.entry.deadline_ms || visit.entry.wait_ms_max)) return;
  if (whole && now_ms() - visit.entered_ms < options_.blank_after_ms) return;
  const bool first = !exchange.begun();
  const QueueNews* news =
      first || visit.entry.queue_events ? news_of(visit.id, options_.tell_every_ms / 2) : nullptr;
  if (first && news != nullptr) {
    exchange.answer_headers.emplace_back("x-galley-queue-position", std::to_string(news->position));
    exchange.answer_headers.emplace_back("x-galley-queue-start-ms",
                                         std::to_string(std::llround(news->start.median_ms)));
    exchange.answer_headers.emplace_back("x-galley-queue-start-p90-ms",
                                         std::to_string(std::llround(news->start.p90_ms)));
  }
  if (whole) exchange.stream_type = Exchange::kJson;
  if (first) exchange.begin_stream();
  if (whole) return exchange.send("\n");
  if (!visit.entry.queue_events || news == nullptr) return exchange.send(api::kSseKeepAlive);
  json::object data = news_object(*news);
  data["object"] = "galley.queue";
  data["id"] = exchange.request_id();
  data["choices"] = json::array();  // Clients that look for some find none.
  exchange.send("event: galley.queue\n" + api::sse_event(json::serialize(data)));
}

const QueueNews* FrontDoor::news_of(VisitId id, int64_t fresh_ms) {
  if (news_ms_ < 0 || now_ms() - news_ms_ >= fresh_ms) {
    news_.clear();
    for (const auto& [waiting, news] : admission_.news(now_ms())) news_.emplace(waiting, news);
    news_ms_ = now_ms();
  }
  const auto found = news_.find(id);
  return found == news_.end() ? nullptr : &found->second;
}

std::string FrontDoor::queue_json(const Caller& caller, const std::string& request_id) {
  std::vector<std::pair<size_t, json::object>> own;
  for (const auto& [id, visit] : visits_) {
    if (!visit->waiting || visit->entry.caller->tenant != caller.tenant) continue;
    if (!request_id.empty() && visit->exchange->request_id() != request_id) continue;
    const QueueNews* news = news_of(id, options_.tell_every_ms / 4);
    if (news == nullptr) continue;
    json::object one = news_object(*news);
    one["id"] = visit->exchange->request_id();
    one["model"] = visit->entry.model;
    own.emplace_back(news->position, std::move(one));
  }
  std::sort(own.begin(), own.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  if (!request_id.empty()) return own.empty() ? std::string() : json::serialize(own.front().second);
  json::array shown;
  for (auto& [position, one] : own)
    if (shown.size() < options_.queue_page_max) shown.push_back(std::move(one));
  const WaitEstimate wait = admission_.contended()
                                ? admission_.wait_for(caller.tenant, caller.tier.weight)
                                : WaitEstimate{};
  return json::serialize(json::object{
      {"object", "galley.queue"},
      {"waiting", admission_.queue().size()},
      {"running", admission_.running()},
      {"own_waiting", own.size()},
      {"new_request_start_ms",
       json::object{{"median", std::llround(wait.median_ms)}, {"p90", std::llround(wait.p90_ms)}}},
      {"requests", std::move(shown)}});
}

void FrontDoor::set_limit_headers(Visit& visit) {
  const std::array<LimitScope, 2> scopes = {visit.entry.caller->key_scope,
                                            visit.entry.caller->tenant_scope};
  const LimitView view = admission_.limiter().view(scopes, now_ms());
  auto& headers = visit.exchange->answer_headers;
  const auto add = [&headers](const char* kind, int64_t limit, int64_t left, int64_t reset_ms) {
    if (limit == 0) return;
    headers.emplace_back(std::string("x-ratelimit-limit-") + kind, std::to_string(limit));
    headers.emplace_back(std::string("x-ratelimit-remaining-") + kind, std::to_string(left));
    headers.emplace_back(std::string("x-ratelimit-reset-") + kind, duration_text(reset_ms));
  };
  add("requests", view.limit_requests, view.remaining_requests, view.reset_requests_ms);
  add("tokens", view.limit_tokens, view.remaining_tokens, view.reset_tokens_ms);
}

uint64_t FrontDoor::refused() const {
  uint64_t sum = 0;
  for (const auto& [tier, c] : counts_)
    sum = std::accumulate(c.refused.begin(), c.refused.end(), sum);
  return sum;
}

void FrontDoor::write_metrics(std::string& out) const {
  const auto family = [&out](const char* name, const char* type, const char* help) {
    out += std::string("# HELP ") + name + " " + help + "\n# TYPE " + name + " " + type + "\n";
  };
  const auto line = [&out](const std::string& name, const std::string& labels, auto value) {
    out += name + (labels.empty() ? "" : "{" + labels + "}") + " " + std::to_string(value) + "\n";
  };
  const auto single = [&](const char* name, const char* type, const char* help, auto value) {
    family(name, type, help);
    line(name, "", value);
  };
  const auto tier_label = [](const std::string& tier) {
    return "tier=\"" + escape_label(tier) + "\"";
  };
  family("galley_queue_requests", "gauge", "Requests that wait for their turn.");
  for (const auto& [tier, c] : counts_) line("galley_queue_requests", tier_label(tier), c.waiting);
  single("galley_queue_sequences", "gauge", "Sequences that wait.", admission_.queue().sequences());
  single("galley_queue_cost", "gauge", "Expected token cost that waits.",
         admission_.queue().cost());
  family("galley_queue_wait_seconds", "histogram", "From entry to start.");
  for (const auto& [tier, c] : counts_) {
    uint64_t below = 0;
    const Histogram& h = c.wait_seconds;
    for (size_t i = 0; i <= h.bounds().size(); ++i) {
      below += h.bucket(i);
      const std::string le =
          i < h.bounds().size() ? json::serialize(json::value(h.bounds()[i])) : "+Inf";
      line("galley_queue_wait_seconds_bucket", tier_label(tier) + ",le=\"" + le + "\"", below);
    }
    line("galley_queue_wait_seconds_sum", tier_label(tier), h.sum());
    line("galley_queue_wait_seconds_count", tier_label(tier), h.count());
  }
  family("galley_admission_total", "counter", "Requests by what became of them at the door.");
  for (const auto& [tier, c] : counts_) {
    const std::string before = tier_label(tier) + ",outcome=\"";
    const auto outcome = [&](const std::string& name, uint64_t value) {
      line("galley_admission_total", before + name + "\"", value);
    };
    outcome("started", c.started);
    outcome("queued", c.queued);
    outcome("overdue", c.overdue);
    outcome("left", c.left);
    for (size_t i = 0; i < kNumReasons; ++i) {
      if (c.refused[i] > 0)
        outcome("refused_" + std::string(reason_name(static_cast<Reason>(i))), c.refused[i]);
    }
  }
  single("galley_admission_running_sequences", "gauge", "Sequences the engine was given.",
         admission_.running_sequences());
  single("galley_admission_kv_tokens_reserved", "gauge",
         "KV cache tokens they are expected to need.", admission_.kv_reserved());
  single("galley_queue_rate", "gauge", "Token cost taken up per second while contended.",
         admission_.waits().rate() * 1000);
  single("galley_queue_estimates_total", "counter", "Waits whose estimate was scored.",
         admission_.waits().scored());
  single("galley_queue_estimates_within_p90_total", "counter",
         "Of these, those that started within the 90 % bound.", admission_.waits().within_p90());
  if (ledger_ == nullptr) return;
  single("galley_ledger_rows_total", "counter", "Usage rows booked.", ledger_->booked());
  single("galley_ledger_rows_pending", "gauge", "Usage rows in the journal, not yet booked.",
         ledger_->unbooked());
  single("galley_ledger_failures_total", "counter", "Journal writes that failed.",
         ledger_->failures());
}

}  // namespace galley::gateway

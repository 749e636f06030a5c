// The whole of admission, queue, limits and estimates against an engine on virtual time: bursts,
// tenants of unlike weight and habit, aborts, deadlines, stalls of the engine and jumps of the
// clock. What the headers promise is asserted after every step.
//
// GALLEY_SIM_HOURS=N  so many simulated hours of each round instead of a fraction of one
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <iostream>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "gateway/admission.h"
#include "gateway/testing/seed.h"
#include "gateway/testing/simulated_engine.h"

namespace galley::gateway {
namespace {

constexpr double kHourMs = 3'600'000;
constexpr int32_t kSlots = 16;

double hours() {
  const char* given = std::getenv("GALLEY_SIM_HOURS");
  return given != nullptr ? std::strtod(given, nullptr) : 0.1;
}

struct Habit {  // of a tenant
  double weight = 1;
  int32_t level = 0;
  double gap_ms = 1000;  // mean, between requests while it is busy
  int64_t prompt = 200, output = 60, output_max = 400;
  double abort_share = 0, deadline_share = 0;
  double busy_ms = 60'000, calm_ms = 60'000;
  bool one_at_a_time = false;
};

struct Visitor {
  uint64_t tenant = 0;
  Ask ask;
  int64_t output_real = 0, output = 0;
  double asked_ms = 0;
  double told_median_ms = -1, told_p90_ms = -1;
  double leaves_ms = 1e300;  // its client goes
  bool running = false;
};

// What was promised, and what became of it.
struct Score {
  std::vector<double> errors;
  int64_t within = 0;
};

class Simulation {
 public:
  Simulation(uint64_t seed, std::vector<Habit> habits, double stall_every_ms)
      : habits_(std::move(habits)),
        stall_every_ms_(stall_every_ms),
        random_(seed),
        admission_(limits(), {.slots = kSlots, .kv_tokens = 20'000}, seed),
        engine_(kSlots + limits().spare_sequences + limits().displaced_sequences_max, {}) {
    for (uint64_t t = 0; t < habits_.size(); ++t)
      next_ms_.push_back(exponential(habits_[t].gap_ms));
    next_stall_ms_ = exponential(stall_every_ms_);
  }

  void run(double until_ms) {
    while (now_ms_ < until_ms) {
      arrivals();
      departures();
      overdue();
      while (const auto id = admission_.start_next(now())) begin(*id);
      check();
      if (engine_.idle()) {
        now_ms_ += 10;
        continue;
      }
      const double took = engine_.step([this](const testing::SimulatedAnswer& answer, bool ended) {
        visitors_.at(answer.id).output = answer.output;
        admission_.progress(answer.id, answer.output, now());
        if (ended) end(answer.id, true);
      });
      now_ms_ += took;
      stall();
    }
    while (!visitors_.empty()) end(visitors_.begin()->first, false);
    admission_.check_invariants();
    EXPECT_EQ(admission_.limiter().reservations(), 0u);
    EXPECT_EQ(admission_.running_sequences(), 0);
    EXPECT_EQ(asked_, ended_ + refused_);
  }

  Score score;
  double slack_least = 1e300;  // of the bound on counters
  double light_wait_most_ms = 0, light_bound_ms = 0;
  int64_t asked() const { return asked_; }
  const std::map<uint64_t, double>& served() const { return served_; }

 private:
  static AdmissionLimits limits() {
    AdmissionLimits limits;
    limits.displaced_sequences_max = 0;
    return limits;
  }
  int64_t now() const { return static_cast<int64_t>(now_ms_); }
  double uniform() { return std::uniform_real_distribution<double>(0, 1)(random_); }
  double exponential(double mean) { return -mean * std::log(1 - uniform()); }
  int64_t length(int64_t mean, int64_t max) {
    return std::clamp<int64_t>(static_cast<int64_t>(exponential(static_cast<double>(mean))), 1,
                               max);
  }
  bool busy(const Habit& habit) const {
    return std::fmod(now_ms_, habit.busy_ms + habit.calm_ms) < habit.busy_ms;
  }
  static double most(const Ask& ask) {
    return static_cast<double>(ask.prompt_tokens) + 2.0 * ask.output_max;
  }

  void arrivals() {
    for (uint64_t t = 0; t < habits_.size(); ++t) {
      const Habit& habit = habits_[t];
      if (now_ms_ < next_ms_[t]) continue;
      if (!busy(habit) || (habit.one_at_a_time && open_[t] > 0)) {
        next_ms_[t] = now_ms_ + exponential(habit.gap_ms);
        continue;
      }
      next_ms_[t] += exponential(habit.gap_ms);
      ask(t);
    }
  }

  void ask(uint64_t t) {
    const Habit& habit = habits_[t];
    Visitor visitor;
    visitor.tenant = t;
    Ask& ask = visitor.ask;
    ask.id = ++last_id_;
    ask.tenant = t;
    ask.user = static_cast<uint64_t>(uniform() * 3);
    ask.weight = habit.weight;
    ask.level = habit.level;
    ask.prompt_tokens = length(habit.prompt, 4 * habit.prompt);
    ask.output_max = static_cast<int32_t>(habit.output_max);
    ask.scopes[0] = {1000 + t, {.concurrency = 500}};
    visitor.output_real = length(habit.output, habit.output_max);
    visitor.asked_ms = now_ms_;
    if (uniform() < habit.abort_share) visitor.leaves_ms = now_ms_ + exponential(5000);
    if (uniform() < habit.deadline_share) ask.deadline_ms = now() + 2000 + length(10'000, 60'000);
    ++asked_;
    if (admission_.refuse_early(ask, now())) {
      ++refused_;
      return;
    }
    largest_ = std::max(largest_, most(ask));
    const Verdict verdict = admission_.ask(ask, now());
    if (verdict.kind == Verdict::Kind::kRefuse) {
      ++refused_;
      return;
    }
    if (verdict.kind == Verdict::Kind::kQueue && admission_.waits().rate_known()) {
      visitor.told_median_ms = verdict.wait.median_ms;
      visitor.told_p90_ms = verdict.wait.p90_ms;
    }
    ++open_[t];
    visitors_.emplace(ask.id, visitor);
    if (verdict.kind == Verdict::Kind::kStart) begin(ask.id);
  }

  void begin(uint64_t id) {
    Visitor& visitor = visitors_.at(id);
    ASSERT_FALSE(visitor.running) << "begun twice";
    visitor.running = true;
    under_way_[visitor.tenant] += most(visitor.ask);
    misjudged_[visitor.tenant] = std::max(misjudged_[visitor.tenant], under_way_[visitor.tenant]);
    engine_.start(id, visitor.ask.prompt_tokens, visitor.output_real);
    const double waited = now_ms_ - visitor.asked_ms;
    if (habits_[visitor.tenant].one_at_a_time)
      light_wait_most_ms = std::max(light_wait_most_ms, waited);
    if (visitor.told_median_ms < 0 || waited < 100) return;
    score.errors.push_back(std::abs(visitor.told_median_ms - waited) / waited);
    score.within += waited <= visitor.told_p90_ms;
  }

  void end(uint64_t id, bool whole) {
    const Visitor visitor = visitors_.at(id);
    visitors_.erase(id);
    --open_[visitor.tenant];
    ++ended_;
    Served served;
    if (visitor.running) {
      under_way_[visitor.tenant] -= most(visitor.ask);
      served = {visitor.ask.prompt_tokens, visitor.ask.prompt_tokens, visitor.output, whole};
      served_[visitor.tenant] += static_cast<double>(visitor.ask.prompt_tokens) +
                                 2.0 * static_cast<double>(visitor.output);
    }
    if (!whole) engine_.cancel(id);
    admission_.finish(id, served, now());
  }

  void departures() {
    std::vector<uint64_t> gone;
    for (const auto& [id, visitor] : visitors_)
      if (visitor.leaves_ms <= now_ms_) gone.push_back(id);
    for (const uint64_t id : gone) end(id, false);
  }

  void overdue() {
    for (const Overdue& gone : admission_.overdue(now())) {
      const Visitor visitor = visitors_.at(gone.id);
      ASSERT_FALSE(visitor.running) << "what runs is not overdue";
      visitors_.erase(gone.id);
      --open_[visitor.tenant];
      ++ended_;
    }
  }

  void stall() {
    if (now_ms_ < next_stall_ms_) return;
    now_ms_ += 500 + uniform() * 4500;  // The engine, or the clock: nobody can tell.
    next_stall_ms_ = now_ms_ + exponential(stall_every_ms_);
  }

  // fair_queue.h: the counters of two tenants that wait differ by no more than the window, one
  // request and what is under way and was misjudged.
  void check() {
    window_most_ = std::max(
        {window_most_, limits().queue.window, limits().window_ms * admission_.waits().rate()});
    std::map<uint64_t, double> waiting;
    for (const auto& [id, visitor] : visitors_)
      if (!visitor.running)
        waiting.emplace(visitor.tenant, admission_.queue().counter(visitor.tenant));
    for (const auto& [a, counter_a] : waiting) {
      for (const auto& [b, counter_b] : waiting) {
        const double bound = window_most_ + (largest_ + misjudged_[a]) / habits_[a].weight +
                             misjudged_[b] / habits_[b].weight;
        ASSERT_LE(counter_a - counter_b, bound)
            << "tenants " << a << " and " << b << " at " << now();
        slack_least = std::min(slack_least, bound - (counter_a - counter_b));
      }
    }
    if (++steps_ % 64 == 0) admission_.check_invariants();
  }

  const std::vector<Habit> habits_;
  const double stall_every_ms_;
  std::mt19937_64 random_;
  Admission admission_;
  testing::SimulatedEngine engine_;
  double now_ms_ = 1000;
  std::vector<double> next_ms_;
  double next_stall_ms_ = 0;
  std::map<uint64_t, Visitor> visitors_;
  std::map<uint64_t, int64_t> open_;
  std::map<uint64_t, double> served_, under_way_, misjudged_;
  double largest_ = 0, window_most_ = 0;
  uint64_t last_id_ = 0;
  int64_t asked_ = 0, ended_ = 0, refused_ = 0, steps_ = 0;
};

// About 900 cost units a second each, of the engine's 5,000.
std::vector<Habit> crowd() {
  std::vector<Habit> habits(6);
  for (Habit& habit : habits) habit.gap_ms = 150;
  habits[0].gap_ms = 30;  // the greedy one
  habits[1].weight = 4;
  habits[2].level = 1;
  habits[3].output = 200;
  habits[3].abort_share = 0.3;
  habits[4].deadline_share = 0.7;
  habits[5].one_at_a_time = true;
  habits[5].gap_ms = 2000;
  for (size_t t = 0; t < habits.size(); ++t) {
    habits[t].busy_ms = 120'000 + 17'000.0 * static_cast<double>(t);
    habits[t].calm_ms = 90'000;
  }
  return habits;
}

TEST(OverloadSim, CountersStayTogetherWhateverComes) {
  for (uint64_t round = 0; round < 3; ++round) {
    const uint64_t seed = testing::seed_of(round);
    SCOPED_TRACE("GALLEY_SEED=" + std::to_string(seed));
    Simulation simulation(seed, crowd(), 120'000);
    simulation.run(hours() * kHourMs);
    EXPECT_GT(simulation.asked(), 1000);
    EXPECT_LT(simulation.slack_least, 1e6);  // The bound was near enough to mean something.
    if (HasFatalFailure()) return;
  }
}

// Equal tenants that always wait get equal service: at most a tenth apart.
TEST(OverloadSim, EqualTenantsAreServedEqually) {
  const uint64_t seed = testing::seed_of(7);
  SCOPED_TRACE("GALLEY_SEED=" + std::to_string(seed));
  std::vector<Habit> habits(4);
  for (Habit& habit : habits) {
    habit.gap_ms = 100;
    habit.calm_ms = 0;
  }
  habits[0].gap_ms = 20;
  habits[1].prompt = 600;
  habits[2].output = 150;
  Simulation simulation(seed, habits, 1e12);
  simulation.run(std::max(0.1, hours() / 2) * kHourMs);
  double least = 1e300, most = 0;
  for (const auto& [tenant, cost] : simulation.served()) {
    least = std::min(least, cost);
    most = std::max(most, cost);
  }
  EXPECT_LE(most / least, 1.1);
}

// One that asks for one thing at a time waits about as long whatever the others pile up.
TEST(OverloadSim, NobodyStarves) {
  const uint64_t seed = testing::seed_of(11);
  SCOPED_TRACE("GALLEY_SEED=" + std::to_string(seed));
  std::vector<Habit> habits(6);
  for (Habit& habit : habits) {
    habit.gap_ms = 60;
    habit.calm_ms = 0;
  }
  habits[5].one_at_a_time = true;
  habits[5].gap_ms = 500;
  Simulation simulation(seed, habits, 1e12);
  simulation.run(std::max(0.1, hours() / 2) * kHourMs);
  // Five others, each at most a window and a request ahead, at no less than 2,000 cost a second.
  const double bound_ms = 5 * (2048 + 800 + 2 * 400) / 2.0 + 400 * 15;
  EXPECT_GT(simulation.light_wait_most_ms, 0);
  EXPECT_LT(simulation.light_wait_most_ms, bound_ms);
}

// The waits that are told: half of them right to a quarter, nine of ten not exceeded.
TEST(OverloadSim, EstimatesAreHonest) {
  const uint64_t seed = testing::seed_of(13);
  SCOPED_TRACE("GALLEY_SEED=" + std::to_string(seed));
  std::vector<Habit> habits(4);
  for (size_t t = 0; t < habits.size(); ++t) {
    habits[t].gap_ms = 130;  // all of them together: 1.7 times the engine
    habits[t].busy_ms = 90'000 + 20'000.0 * static_cast<double>(t);
    habits[t].calm_ms = 60'000;
    habits[t].abort_share = 0.05;
  }
  Simulation simulation(seed, habits, 1e12);
  simulation.run(std::max(0.5, hours()) * kHourMs);
  std::vector<double>& errors = simulation.score.errors;
  ASSERT_GT(errors.size(), 500u);
  std::sort(errors.begin(), errors.end());
  const double within =
      static_cast<double>(simulation.score.within) / static_cast<double>(errors.size());
  std::cout << errors.size() << " waits: median error " << errors[errors.size() / 2]
            << ", within p90 " << within << "\n";
  EXPECT_LE(errors[errors.size() / 2], 0.25);
  EXPECT_GE(within, 0.85);
  EXPECT_LE(within, 0.95);
}

}  // namespace
}  // namespace galley::gateway

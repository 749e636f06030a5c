// A million random steps of the Scheduler against a model that knows only the contract.
//
// The model keeps a cache whose rows are hashes of the whole sequence up to there, each made from
// the row before it through the block table. So a block lost, shared wrongly, named too early or
// overwritten shows as a wrong row. A failing run prints its seed; GALLEY_SEED=<n> replays it.
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <random>
#include <set>

#include "engine/scheduler.h"

namespace galley::engine {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int64_t kStepsTotal = 40'000;
#else
constexpr int64_t kStepsTotal = 1'000'000;
#endif

constexpr int32_t kStepsBusy = 400;    // of a run: requests keep coming
constexpr int32_t kStepsMax = 20'000;  // of a run: all must have ended

uint64_t next_row(uint64_t row, int32_t token) {
  row = (row * 31 + static_cast<uint64_t>(token) + 1) * 0xbf58476d1ce4e5b9;
  return row ^ (row >> 29);
}

// What the test knows about a live sequence.
struct Model {
  std::vector<int32_t> known;
  std::vector<uint64_t> rows;  // right rows of all known tokens
  int32_t prompt_len = 0, output_max = 0, computed = 0;
  uint64_t scope = 0;
  bool scores_prompt = false;
  std::optional<int64_t> deadline_ms;
  bool was_running = false;

  void append(int32_t token) {
    known.push_back(token);
    rows.push_back(next_row(rows.empty() ? scope : rows.back(), token));
  }
  int32_t num_known() const { return static_cast<int32_t>(known.size()); }
  int32_t tokens_left() const { return prompt_len + output_max - num_known(); }
};

class RandomRun {
 public:
  explicit RandomRun(uint32_t seed)
      : random_(seed),
        limits_{.requests_max = pick(1, 16),
                .batch_requests_max = pick(1, 8),
                .step_tokens_max = pick(8, 40),
                .drafts_max = pick(0, 3),
                .tail_tokens_max = pick(1, 4),
                .priority_step_ms = pick(0, 2) * 40,
                .lookahead_tokens = static_cast<int32_t>(seed % 2)},
        pool_(pick(4, 40), pick(1, 8)),
        tree_({.enabled = pick(0, 3) > 0, .key = {seed, 1}, .model = "m"}, &pool_),
        scheduler_(limits_, &tree_),
        rows_(static_cast<size_t>(pool_.num_blocks() * pool_.block_tokens())) {}

  // Returns the steps made; stops at the first failure.
  int64_t run() {
    for (; num_turns_ < kStepsBusy || !live_.empty(); ++num_turns_) {
      if (num_turns_ == kStepsMax) {
        ADD_FAILURE() << "live sequences stopped advancing";
        return num_steps_;
      }
      now_ms_ += pick(0, 3);
      if (num_turns_ < kStepsBusy && pick(0, 2) > 0) submit();
      if (!live_.empty() && pick(0, 40) == 0) end(live_.begin()->first);
      end_overdue();
      step();
      if (::testing::Test::HasFatalFailure()) return num_steps_;
    }
    EXPECT_TRUE(scheduler_.idle());
    EXPECT_EQ(tree_.num_available(), pool_.num_blocks()) << "blocks leaked";
    return num_steps_;
  }

  int64_t num_items() const { return num_items_; }
  uint64_t num_hits() const { return scheduler_.prefix_hit_tokens(); }
  uint64_t num_preemptions() const { return scheduler_.num_preemptions(); }

 private:
  int pick(int low, int high) { return std::uniform_int_distribution(low, high)(random_); }

  void submit() {
    if (live_.size() == static_cast<size_t>(limits_.requests_max)) return;
    Model model;
    model.prompt_len = pick(1, 30);
    model.output_max = pick(1, 24);
    if (!scheduler_.fits(model.prompt_len, model.output_max)) return;
    model.scope = static_cast<uint64_t>(pick(0, 1));
    model.scores_prompt = pick(0, 9) == 0;
    if (pick(0, 19) == 0) model.deadline_ms = now_ms_ + pick(0, 60);
    // Prompts begin alike and part somewhere.
    const int num_alike = pick(0, model.prompt_len);
    for (int i = 0; i < model.prompt_len; ++i) model.append(i < num_alike ? 0 : pick(0, 1));
    const Slot slot = scheduler_.submit({.prompt = model.known,
                                         .output_tokens_max = model.output_max,
                                         .priority = pick(-1, 1),
                                         .cache_scope = model.scope,
                                         .scores_prompt = model.scores_prompt,
                                         .deadline_ms = model.deadline_ms},
                                        now_ms_);
    if (model.output_max > 2 && pick(0, 9) == 0) {  // A thought closed before it begins.
      const int32_t forced[] = {3};
      scheduler_.append(slot, forced);
      model.append(3);
    }
    ASSERT_TRUE(live_.emplace(slot, std::move(model)).second) << "a slot in use was given out";
  }

  void end(Slot slot) {
    scheduler_.end(slot);
    live_.erase(slot);
  }

  void end_overdue() {
    std::set<Slot> overdue;
    for (const auto& [slot, model] : live_)
      if (model.deadline_ms && *model.deadline_ms <= now_ms_) overdue.insert(slot);
    const auto expired = scheduler_.expired(now_ms_);
    ASSERT_EQ(std::set<Slot>(expired.begin(), expired.end()), overdue);
    for (const Slot slot : overdue) end(slot);
  }

  void step() {
    std::set<Slot> ran_before(scheduler_.running().begin(), scheduler_.running().end());
    const auto plan = scheduler_.plan_step();
    ASSERT_EQ(plan.empty(), live_.empty());
    if (plan.empty()) return;
    num_steps_ += 1;
    check_order(ran_before, plan);

    // Chosen first: outcomes point into these.
    std::vector<std::vector<int32_t>> tokens(plan.size()), drafts(plan.size());
    std::vector<Outcome> outcomes;
    int32_t num_tokens = 0;
    for (size_t i = 0; i < plan.size(); ++i) {
      num_tokens += plan[i].token_count + plan[i].draft_count;
      compute(plan[i]);
      if (::testing::Test::HasFatalFailure()) return;
      outcomes.push_back(decide_outcome(plan[i], &tokens[i], &drafts[i]));
    }
    num_items_ += static_cast<int64_t>(plan.size());
    ASSERT_LE(num_tokens, limits_.step_tokens_max);
    ASSERT_LE(plan.size(), static_cast<size_t>(limits_.batch_requests_max));
    const std::vector<PlannedItem> items(plan.begin(), plan.end());
    scheduler_.finish_step(outcomes);
    for (size_t i = 0; i < items.size(); ++i) {
      Model& model = live_.at(items[i].slot);
      model.computed = items[i].token_begin + items[i].token_count + outcomes[i].num_accepted;
      for (const int32_t token : outcomes[i].tokens) model.append(token);
      if (outcomes[i].over) live_.erase(items[i].slot);
    }
    scheduler_.check_invariants();
  }

  // Who is in the plan: nobody is passed over.
  void check_order(const std::set<Slot>& ran_before, std::span<const PlannedItem> plan) {
    std::set<Slot> planned;
    for (const PlannedItem& item : plan)
      ASSERT_TRUE(planned.insert(item.slot).second) << "planned twice in one step";
    ASSERT_TRUE(scheduler_.running().empty() || planned.contains(scheduler_.running()[0]))
        << "the first in the order does not advance";
    for (const Slot slot : scheduler_.running()) {
      const Model& model = live_.at(slot);
      const bool generates =
          model.num_known() > model.prompt_len &&
          model.num_known() - scheduler_.num_computed(slot) <= limits_.tail_tokens_max;
      ASSERT_TRUE(!generates || planned.contains(slot)) << "a stream stalls";
      if (ran_before.contains(slot)) continue;
      for (const Slot other : scheduler_.waiting())
        ASSERT_TRUE(comes_before(slot, other)) << "a waiting sequence was skipped";
    }
  }
  // The order is observable in the queues only; both are sorted (check_invariants).
  bool comes_before(Slot a, Slot b) {
    const auto rank = [&](Slot slot) { return scheduler_.order_of(slot); };
    return rank(a) < rank(b);
  }

  uint64_t& row_at(const PlannedItem& item, int32_t position) {
    const auto blocks = scheduler_.blocks(item.slot);
    const kv::BlockId block = blocks[static_cast<size_t>(position / pool_.block_tokens())];
    const int32_t row = block * pool_.block_tokens() + position % pool_.block_tokens();
    return rows_[static_cast<size_t>(row)];
  }

  void compute_row(const PlannedItem& item, int32_t position, int32_t token) {
    const uint64_t before = position == 0 ? live_.at(item.slot).scope : row_at(item, position - 1);
    row_at(item, position) = next_row(before, token);
  }

  void compute(const PlannedItem& item) {
    Model& model = live_.at(item.slot);
    const auto known = scheduler_.known(item.slot);
    ASSERT_TRUE(std::equal(known.begin(), known.end(), model.known.begin(), model.known.end()));
    ASSERT_GE(item.token_count, 1);
    ASSERT_LE(item.token_begin + item.token_count, model.num_known());
    ASSERT_EQ(item.samples, item.token_begin + item.token_count == model.num_known());
    if (item.token_begin != model.computed) {  // First run, or after a preemption.
      ASSERT_EQ(item.token_begin % pool_.block_tokens(), 0);
      ASSERT_TRUE(tree_.enabled() || item.token_begin == 0);
      ASSERT_TRUE(!model.scores_prompt || model.computed >= model.prompt_len ||
                  item.token_begin == 0)
          << "a prompt that is scored took a hit";
    }
    if (item.token_begin + item.token_count >= model.prompt_len) model.scores_prompt = false;
    for (int32_t p = 0; p < item.token_begin; ++p)
      ASSERT_EQ(row_at(item, p), model.rows[static_cast<size_t>(p)]) << "a row is lost";
    for (int32_t p = item.token_begin; p < item.token_begin + item.token_count; ++p)
      compute_row(item, p, model.known[static_cast<size_t>(p)]);
    ASSERT_TRUE(item.draft_count == 0 || item.samples);
    const auto drafts = scheduler_.drafts(item.slot);
    for (int32_t d = 0; d < item.draft_count; ++d)
      compute_row(item, model.num_known() + d, drafts[static_cast<size_t>(d)]);
  }

  Outcome decide_outcome(const PlannedItem& item, std::vector<int32_t>* tokens,
                         std::vector<int32_t>* drafts) {
    if (pick(0, 400) == 0) return {.failed = true, .over = true};
    if (!item.samples) return {.over = pick(0, 400) == 0};
    const Model& model = live_.at(item.slot);
    const int32_t left = model.tokens_left();
    // A leading part of the drafts is right; then one token of the runner's own; then forced ones.
    const auto proposed = scheduler_.drafts(item.slot);
    const int32_t num_accepted = std::min(pick(0, item.draft_count), left);
    tokens->assign(proposed.begin(), proposed.begin() + num_accepted);
    bool is_forced = false;
    if (num_accepted < left) tokens->push_back(pick(0, 3));
    if (pick(0, 20) == 0) {
      is_forced = true;
      for (int i = 0; i < 3 && static_cast<int32_t>(tokens->size()) < left; ++i)
        tokens->push_back(2);
    }
    const bool is_over = static_cast<int32_t>(tokens->size()) == left || pick(0, 15) == 0;
    if (!is_over && !is_forced) {
      const int32_t room = left - static_cast<int32_t>(tokens->size()) - 1;
      for (int i = pick(0, std::min(limits_.drafts_max, room)); i > 0; --i)
        drafts->push_back(pick(0, 3));
    }
    return {.over = is_over, .tokens = *tokens, .num_accepted = num_accepted, .drafts = *drafts};
  }

  std::mt19937 random_;
  const SchedulerLimits limits_;
  kv::BlockPool pool_;
  kv::PrefixTree tree_;
  Scheduler scheduler_;
  std::vector<uint64_t> rows_;  // [num_blocks, block_tokens]
  std::map<Slot, Model> live_;
  int64_t now_ms_ = 0;
  int32_t num_turns_ = 0;
  int64_t num_steps_ = 0;
  int64_t num_items_ = 0;
};

TEST(Scheduler, AMillionRandomStepsKeepTheContract) {
  if (const char* seed = std::getenv("GALLEY_SEED")) {
    RandomRun(static_cast<uint32_t>(std::atoll(seed))).run();
    return;
  }
  int64_t num_steps = 0, num_items = 0;
  uint64_t num_hits = 0, num_preemptions = 0;
  for (uint32_t seed = 1; num_steps < kStepsTotal; ++seed) {
    SCOPED_TRACE("replay with GALLEY_SEED=" + std::to_string(seed));
    RandomRun run(seed);
    num_steps += run.run();
    num_items += run.num_items();
    num_hits += run.num_hits();
    num_preemptions += run.num_preemptions();
    if (HasFailure()) return;
  }
  std::printf("%lld steps, %lld items, %llu tokens from the prefix tree, %llu preemptions\n",
              static_cast<long long>(num_steps), static_cast<long long>(num_items),
              static_cast<unsigned long long>(num_hits),
              static_cast<unsigned long long>(num_preemptions));
  EXPECT_GT(num_hits, 0u);
  EXPECT_GT(num_preemptions, 0u);
}

}  // namespace
}  // namespace galley::engine

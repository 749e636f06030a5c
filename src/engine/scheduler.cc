#include "engine/scheduler.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace galley::engine {

Scheduler::Scheduler(const SchedulerLimits& limits, kv::PrefixTree* tree)
    : limits_(limits), tree_(tree) {
  GALLEY_CHECK(limits.requests_max > 0 && limits.batch_requests_max > 0, "limits must be positive");
  GALLEY_CHECK(limits.step_tokens_max >= limits.batch_requests_max,
               "every sequence of a batch needs room for one token");
  GALLEY_CHECK(limits.tail_tokens_max >= 1 && limits.drafts_max >= 0, "limits out of range");
  const auto requests_max = static_cast<size_t>(limits.requests_max);
  sequences_.resize(requests_max);
  for (Sequence& sequence : sequences_)
    sequence.drafts.reserve(static_cast<size_t>(limits.drafts_max));
  free_slots_.reserve(requests_max);
  for (Slot slot = limits.requests_max - 1; slot >= 0; --slot) free_slots_.push_back(slot);
  waiting_.reserve(requests_max);
  running_.reserve(requests_max);
  expired_.reserve(requests_max);
  plan_.reserve(static_cast<size_t>(limits.batch_requests_max));
}

bool Scheduler::fits(int64_t prompt_tokens, int64_t output_tokens_max) const {
  // The last output token is never computed, hence the -1. Drafts end before it, too.
  const int64_t tokens_max = int64_t{tree_->pool().num_blocks()} * tree_->pool().block_tokens();
  return prompt_tokens + output_tokens_max - 1 <= tokens_max;
}

Slot Scheduler::submit(SequenceSpec spec, int64_t now_ms) {
  GALLEY_CHECK(!spec.prompt.empty() && spec.output_tokens_max > 0, "an empty sequence");
  GALLEY_CHECK(!free_slots_.empty(), "more live sequences than requests_max");
  const auto prompt_len = static_cast<int32_t>(spec.prompt.size());
  GALLEY_CHECK(fits(prompt_len, spec.output_tokens_max), "a sequence that can never run");
  const Slot slot = free_slots_.back();
  free_slots_.pop_back();
  Sequence& sequence = at(slot);
  GALLEY_CHECK(!sequence.live && sequence.blocks.empty(), "a free slot is in use");
  sequence.live = true;
  sequence.known = std::move(spec.prompt);
  sequence.prompt_len = prompt_len;
  sequence.output_tokens_max = spec.output_tokens_max;
  sequence.computed = 0;
  sequence.drafts.clear();
  sequence.names.clear();
  sequence.num_entered = 0;
  sequence.cache_scope = spec.cache_scope;
  sequence.scores_prompt = spec.scores_prompt;
  sequence.has_run = false;
  sequence.num_cached = 0;
  sequence.priority = spec.priority;
  sequence.rank = now_ms + spec.priority * limits_.priority_step_ms;
  sequence.arrival = num_arrivals_++;
  sequence.deadline_ms = spec.deadline_ms;
  const auto num_blocks =
      static_cast<size_t>(tree_->pool().blocks_for(prompt_len + spec.output_tokens_max));
  sequence.blocks.reserve(num_blocks);
  sequence.names.reserve(num_blocks);
  insert_in_order(slot, &waiting_);
  return slot;
}

void Scheduler::append(Slot slot, std::span<const int32_t> tokens) {
  GALLEY_CHECK(!step_open_, "append() inside a step");
  Sequence& sequence = at(slot);
  GALLEY_CHECK(sequence.live, "append() to a sequence that is over");
  sequence.known.insert(sequence.known.end(), tokens.begin(), tokens.end());
  sequence.drafts.clear();
}

void Scheduler::end(Slot slot) {
  GALLEY_CHECK(!step_open_, "end() inside a step: the device may still write those blocks");
  Sequence& sequence = at(slot);
  GALLEY_CHECK(sequence.live, "a sequence ends once");
  tree_->release(&sequence.blocks);
  std::erase(running_, slot);
  std::erase(waiting_, slot);
  sequence.live = false;
  sequence.known = {};  // may be large; the next sequence brings its own
  free_slots_.push_back(slot);
}

std::span<const Slot> Scheduler::expired(int64_t now_ms) {
  expired_.clear();
  for (const std::vector<Slot>* queue : {&running_, &waiting_})
    for (const Slot slot : *queue)
      if (at(slot).deadline_ms && *at(slot).deadline_ms <= now_ms) expired_.push_back(slot);
  return expired_;
}

std::span<const PlannedItem> Scheduler::plan_step() {
  GALLEY_CHECK(!step_open_, "the last step is still open");
  plan_.clear();
  displace_lower_priorities();
  int32_t token_budget = share_budget();
  secure_blocks(&token_budget);
  admit_waiting(&token_budget);

  GALLEY_CHECK(idle() || !plan_.empty(),
               "live sequences, yet nothing to compute: the engine would hang");
  step_open_ = !plan_.empty();
  return plan_;
}

void Scheduler::displace_lower_priorities() {
  while (!waiting_.empty() && !running_.empty()) {
    const Slot first = waiting_.front(), last = running_.back();
    if (at(first).priority >= at(last).priority || !before(first, last)) return;
    if (num_running() < limits_.batch_requests_max &&
        has_room_for(at(first), find_prefix(&at(first))))
      return;
    preempt_last();
  }
}

// Sets plan_tokens and plan_drafts of the running sequences; returns what is left for others.
int32_t Scheduler::share_budget() {
  int32_t left = limits_.step_tokens_max;
  int32_t num_generating = 0;
  for (const Slot slot : running_) num_generating += generates(at(slot)) ? 1 : 0;
  const bool prompts_run = num_generating < num_running();
  const bool prompts_wait = prompts_run || !waiting_.empty();

  // One token for each that is still to come, and for the first prompt.
  int32_t reserved = num_generating + (prompts_run ? 1 : 0);
  for (const Slot slot : running_) {
    Sequence& sequence = at(slot);
    sequence.plan_tokens = sequence.plan_drafts = 0;
    if (!generates(sequence)) continue;
    reserved -= 1;
    sequence.plan_tokens = std::min(sequence.num_pending(), left - reserved);
    left -= sequence.plan_tokens;
  }
  int32_t for_drafts = prompts_wait ? left / 2 : left;
  left -= for_drafts;
  for (const Slot slot : running_) {
    Sequence& sequence = at(slot);
    if (sequence.plan_tokens < sequence.num_pending()) continue;  // does not sample
    sequence.plan_drafts = std::min(static_cast<int32_t>(sequence.drafts.size()), for_drafts);
    for_drafts -= sequence.plan_drafts;
  }
  left += for_drafts;
  return prompts_run ? share_among_prompts(left) : left;
}

int32_t Scheduler::share_among_prompts(int32_t left) {
  const int32_t for_next = tokens_of_next_admitted();
  int32_t num_after = for_next > 0 ? 1 : 0;
  for (const Slot slot : running_) num_after += generates(at(slot)) ? 0 : 1;
  for (const Slot slot : running_) {
    Sequence& sequence = at(slot);
    if (generates(sequence)) continue;
    num_after -= 1;
    const int32_t share = num_after > 0 ? left - left / 2 : left;
    sequence.plan_tokens = std::min(sequence.num_pending(), share);
    left -= sequence.plan_tokens;
  }
  const int32_t kept = std::min(for_next, left);
  left -= kept;
  for (const Slot slot : running_) {
    Sequence& sequence = at(slot);
    if (generates(sequence)) continue;
    const int32_t more = std::min(sequence.num_pending() - sequence.plan_tokens, left);
    sequence.plan_tokens += more;
    left -= more;
  }
  return kept + left;
}

// What the first that waits has to compute; 0 if it cannot be admitted in this step.
int32_t Scheduler::tokens_of_next_admitted() {
  if (waiting_.empty() || num_running() >= limits_.batch_requests_max) return 0;
  Sequence& next = at(waiting_.front());
  const kv::PrefixTree::Match hit = find_prefix(&next);
  if (is_being_computed(next, hit) || !has_room_for(next, hit)) return 0;
  return next.num_known() - hit.num_blocks * tree_->pool().block_tokens();
}

void Scheduler::secure_blocks(int32_t* token_budget) {
  for (size_t i = 0; i < running_.size(); ++i) {
    const Slot slot = running_[i];
    if (at(slot).plan_tokens == 0) continue;
    while (!try_secure(&at(slot), token_budget)) {
      const Slot last = running_.back();
      GALLEY_CHECK(last != running_.front(), "submit() promised that a sequence fits alone");
      *token_budget += at(last).plan_tokens + at(last).plan_drafts;
      preempt_last();
      if (last == slot) return;
    }
    plan(slot);
  }
}

bool Scheduler::try_secure(Sequence* sequence, int32_t* token_budget) {
  const int32_t end = sequence->computed + sequence->plan_tokens;
  look_ahead(sequence, end + sequence->plan_drafts);
  if (tree_->try_grow(&sequence->blocks, end + sequence->plan_drafts)) return true;
  *token_budget += sequence->plan_drafts;  // Guessing must not cost another its blocks.
  sequence->plan_drafts = 0;
  return tree_->try_grow(&sequence->blocks, end);
}

void Scheduler::admit_waiting(int32_t* token_budget) {
  while (!waiting_.empty() && num_running() < limits_.batch_requests_max && *token_budget > 0) {
    const Slot slot = waiting_.front();
    Sequence& sequence = at(slot);
    const kv::PrefixTree::Match hit = find_prefix(&sequence);
    // Never skip ahead: no starvation.
    if (is_being_computed(sequence, hit) || !has_room_for(sequence, hit)) return;
    tree_->share(sequence.names, hit.num_blocks, &sequence.blocks);
    sequence.num_entered = hit.num_blocks;
    sequence.computed = hit.num_blocks * tree_->pool().block_tokens();
    if (!sequence.has_run) {
      sequence.has_run = true;
      sequence.num_cached = std::min(sequence.computed, sequence.prompt_len);
      if (tree_->enabled()) prefix_query_tokens_ += static_cast<uint64_t>(sequence.prompt_len);
      prefix_hit_tokens_ += static_cast<uint64_t>(sequence.num_cached);
    }
    sequence.plan_tokens = std::min(sequence.num_pending(), *token_budget);
    sequence.plan_drafts = 0;
    const bool grown = try_secure(&sequence, token_budget);
    GALLEY_CHECK(grown, "has_room_for() counted more blocks than are available");
    waiting_.erase(waiting_.begin());
    insert_in_order(slot, &running_);
    *token_budget -= sequence.plan_tokens;
    plan(slot);
  }
}

// Takes the blocks of the positions after `end` too, where nobody could miss them in this step.
void Scheduler::look_ahead(Sequence* sequence, int32_t end) {
  if (limits_.lookahead_tokens == 0 || tree_->num_available() <= 2 * num_running()) return;
  const int32_t last = sequence->prompt_len + sequence->output_tokens_max - 1;
  static_cast<void>(
      tree_->try_grow(&sequence->blocks, std::min(end + limits_.lookahead_tokens, last)));
}

kv::PrefixTree::Match Scheduler::find_prefix(Sequence* sequence) const {
  if (!tree_->enabled() || sequence->scores_prompt) return {};
  extend_names(sequence);
  const auto num_blocks_max =
      static_cast<size_t>((sequence->num_known() - 1) / tree_->pool().block_tokens());
  const std::span<const kv::BlockName> names = sequence->names;
  return tree_->find(sequence->cache_scope, names.first(std::min(names.size(), num_blocks_max)),
                     sequence->known);
}

// Whether the first block that was not found will be there when a running sequence gets to it.
bool Scheduler::is_being_computed(const Sequence& sequence,
                                  const kv::PrefixTree::Match& hit) const {
  if (!tree_->enabled() || sequence.scores_prompt) return false;
  const auto next = static_cast<size_t>(hit.num_blocks);
  const auto hit_max =
      static_cast<size_t>((sequence.num_known() - 1) / tree_->pool().block_tokens());
  if (next >= std::min(hit_max, sequence.names.size())) return false;
  for (const Slot slot : running_) {
    const Sequence& other = at(slot);
    if (other.num_entered <= hit.num_blocks && next < other.names.size() &&
        other.names[next] == sequence.names[next])
      return true;
  }
  return false;
}

bool Scheduler::has_room_for(const Sequence& sequence, const kv::PrefixTree::Match& hit) const {
  if (running_.empty()) return true;  // submit() promised that it fits alone.
  const kv::BlockPool& pool = tree_->pool();
  int32_t needed = pool.blocks_for(sequence.num_known()) - hit.num_blocks + hit.num_unheld;
  for (const Slot slot : running_)
    needed += std::max(0, pool.blocks_for(at(slot).num_known()) + 1 -
                              static_cast<int32_t>(at(slot).blocks.size()));
  return needed <= tree_->num_available();
}

void Scheduler::plan(Slot slot) {
  const Sequence& sequence = at(slot);
  plan_.push_back({.slot = slot,
                   .token_begin = sequence.computed,
                   .token_count = sequence.plan_tokens,
                   .draft_count = sequence.plan_drafts,
                   .samples = sequence.plan_tokens == sequence.num_pending()});
}

void Scheduler::preempt_last() {
  const Slot slot = running_.back();
  running_.pop_back();
  Sequence& sequence = at(slot);
  tree_->release(&sequence.blocks);
  sequence.computed = 0;  // Known tokens stay known; their rows are computed (or found) again.
  sequence.num_entered = 0;
  sequence.drafts.clear();
  insert_in_order(slot, &waiting_);
  num_preemptions_ += 1;
}

void Scheduler::finish_step(std::span<const Outcome> outcomes) {
  GALLEY_CHECK(step_open_ && outcomes.size() == plan_.size(), "one outcome for each planned item");
  step_open_ = false;
  for (size_t i = 0; i < plan_.size(); ++i) {
    const PlannedItem& item = plan_[i];
    const Outcome& outcome = outcomes[i];
    Sequence& sequence = at(item.slot);
    if (!outcome.failed) {
      GALLEY_CHECK(item.samples || (outcome.tokens.empty() && outcome.drafts.empty()),
                   "tokens after an item that does not sample");
      GALLEY_CHECK(!item.samples || outcome.over || !outcome.tokens.empty(),
                   "a sequence without work left must be over");
      GALLEY_CHECK(outcome.num_accepted <= item.draft_count &&
                       static_cast<size_t>(outcome.num_accepted) <= outcome.tokens.size(),
                   "more accepted than drafted");
      sequence.computed = item.token_begin + item.token_count + outcome.num_accepted;
      if (sequence.computed >= sequence.prompt_len) sequence.scores_prompt = false;
      sequence.known.insert(sequence.known.end(), outcome.tokens.begin(), outcome.tokens.end());
      GALLEY_CHECK(sequence.num_known() <= sequence.prompt_len + sequence.output_tokens_max,
                   "more output than output_tokens_max");
      sequence.drafts.assign(outcome.drafts.begin(), outcome.drafts.end());
      GALLEY_CHECK(outcome.drafts.size() <= static_cast<size_t>(limits_.drafts_max),
                   "more drafts than drafts_max");
      enter_full_blocks(&sequence);
    }
    if (outcome.failed || outcome.over) end(item.slot);
  }
}

void Scheduler::extend_names(Sequence* sequence) const {
  const auto block_tokens = static_cast<size_t>(tree_->pool().block_tokens());
  std::vector<kv::BlockName>& names = sequence->names;
  while ((names.size() + 1) * block_tokens <= sequence->known.size()) {
    const kv::BlockName parent =
        names.empty() ? tree_->root_name(sequence->cache_scope) : names.back();
    names.push_back(tree_->name(parent, std::span<const int32_t>(sequence->known)
                                            .subspan(names.size() * block_tokens, block_tokens)));
  }
}

// Only rows of known tokens are computed for good, so no row of a rejected draft gets a name.
void Scheduler::enter_full_blocks(Sequence* sequence) {
  if (!tree_->enabled()) return;
  const int32_t block_tokens = tree_->pool().block_tokens();
  const int32_t num_full = sequence->computed / block_tokens;
  if (sequence->num_entered >= num_full) return;
  extend_names(sequence);
  for (int32_t& i = sequence->num_entered; i < num_full; ++i) {
    const auto at_block = static_cast<size_t>(i);
    const kv::BlockId block =
        tree_->enter({.scope = sequence->cache_scope,
                      .parent = i == 0 ? kv::PrefixTree::kNone : sequence->blocks[at_block - 1],
                      .name = sequence->names[at_block],
                      .tokens = std::span<const int32_t>(sequence->known)
                                    .subspan(at_block * static_cast<size_t>(block_tokens),
                                             static_cast<size_t>(block_tokens)),
                      .block = sequence->blocks[at_block]});
    if (block == kv::PrefixTree::kNone) return;
    sequence->blocks[at_block] = block;
  }
}

void Scheduler::insert_in_order(Slot slot, std::vector<Slot>* queue) const {
  const auto place = std::lower_bound(queue->begin(), queue->end(), slot,
                                      [this](Slot a, Slot b) { return before(a, b); });
  queue->insert(place, slot);
}

void Scheduler::check_invariants() const {
  GALLEY_CHECK(!step_open_, "invariants hold between steps");
  GALLEY_CHECK(free_slots_.size() + waiting_.size() + running_.size() == sequences_.size(),
               "a slot is lost or doubled");
  GALLEY_CHECK(num_running() <= limits_.batch_requests_max, "batch too large");
  const auto in_order = [this](Slot a, Slot b) { return before(a, b); };
  GALLEY_CHECK(std::is_sorted(running_.begin(), running_.end(), in_order), "running not in order");
  GALLEY_CHECK(std::is_sorted(waiting_.begin(), waiting_.end(), in_order), "waiting not in order");

  const kv::BlockPool& pool = tree_->pool();
  std::vector<int32_t> holders(static_cast<size_t>(pool.num_blocks()));
  for (const Slot slot : running_) {
    const Sequence& sequence = at(slot);
    GALLEY_CHECK(sequence.live, "a sequence runs after its end");
    GALLEY_CHECK(sequence.num_pending() > 0, "a running sequence must have work left");
    GALLEY_CHECK(pool.blocks_for(sequence.computed) <= static_cast<int32_t>(sequence.blocks.size()),
                 "computed tokens without a block");
    GALLEY_CHECK(sequence.num_entered <= sequence.computed / pool.block_tokens(),
                 "a block was named before it was computed");
    for (const kv::BlockId block : sequence.blocks) holders[static_cast<size_t>(block)] += 1;
    // From the first block that is not named on, blocks are written: nobody else may have them.
    for (size_t i = static_cast<size_t>(sequence.num_entered); i < sequence.blocks.size(); ++i)
      GALLEY_CHECK(pool.num_holders(sequence.blocks[i]) == 1, "a block being written is shared");
  }
  for (const Slot slot : waiting_)
    GALLEY_CHECK(at(slot).live && at(slot).computed == 0 && at(slot).blocks.empty(),
                 "waiting sequences hold nothing");
  for (kv::BlockId block = 0; block < pool.num_blocks(); ++block)
    GALLEY_CHECK(pool.num_holders(block) == holders[static_cast<size_t>(block)],
                 "a block is held by nobody's table");
  tree_->check_invariants();
}

}  // namespace galley::engine

// Scheduler: decides, once per step, which tokens of which requests are computed next.
//
// The one idea: a sequence has `known` tokens (prompt, then output) and `computed` tokens (those
// whose rows are in the KV cache). A step computes some of the difference. Prefill, chunked
// prefill, decode, verification of drafts and recovery after preemption are the same case with
// other numbers.
//
// Rules
//   - One engine thread owns it. No locks, clock, I/O or tensors in here; time is an argument. So a
//     test runs a million steps and replays any of them, and the simulator runs this very code.
//   - One total order: arrival + priority * priority_step_ms, then arrival. Priority goes before
//     arrival, yet a request of low priority is passed only by those that arrive less than that
//     long after it: nobody starves. The order of two requests never changes.
//   - Sequences that generate come first, one token each, so that nobody's stream stalls behind a
//     long prompt. Then drafts (half of what is left at most, while prompts wait), then prompts in
//     order, in chunks.
//   - Prompts share a step: each takes at most half of what those before it left, as long as others
//     come after it, among them the first that waits if it can be admitted; what nobody needs goes
//     back to the first. So a short prompt does not wait for the end of a long one, and those that
//     come later cost the first at most half of its speed.
//   - When blocks run out, drafts go first, then the last running sequence in the order gives its
//     blocks back and waits. The first therefore always advances: no deadlock. Its named blocks
//     stay in the prefix tree, so coming back is cheap if nobody needed the memory.
//   - A sequence is admitted when all its known tokens fit and every running one can still take the
//     blocks of its own known tokens plus one more. Without that spare newcomers take blocks only
//     to lose them again: 2111 preemptions instead of 169, 1.17 tokens computed for each one needed
//     instead of 1.015 (bench/scheduler_sim.cc). The first that waits is never skipped. It takes
//     the place of a running one only if that one has a lower priority, not merely a later arrival.
//   - A prefix hit leaves at least one token to compute, since its logits are needed.
//   - A sequence whose next block a running one is about to compute waits for it instead of
//     computing it too: n answers to one prompt cost one prefill.
//   - check_invariants() states what must hold between steps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "kv/prefix_tree.h"

namespace galley::engine {

struct SchedulerLimits {
  int32_t requests_max = 0;        // waiting and running together
  int32_t batch_requests_max = 0;  // sequences in one step
  int32_t step_tokens_max = 0;     // tokens of one step, drafts included; >= batch_requests_max
  int32_t drafts_max = 0;          // of one sequence
  // A sequence that has output and at most this many tokens to compute generates: it goes before
  // prompts. More than 1 where the engine appends tokens by itself.
  int32_t tail_tokens_max = 1;
  int64_t priority_step_ms = 60'000;
  int32_t lookahead_tokens = 0;  // RunnerInfo::lookahead_tokens
};

// A live sequence's place in the scheduler: 0 .. requests_max - 1. Reused once the sequence is
// over.
using Slot = int32_t;

struct SequenceSpec {
  std::vector<int32_t> prompt = {};  // >= 1 token; reserved for the output by the caller
  int32_t output_tokens_max = 0;     // >= 1
  int32_t priority = 0;              // lower is earlier
  uint64_t cache_scope = 0;
  bool scores_prompt = false;  // every prompt token must be computed: no prefix hit
  std::optional<int64_t> deadline_ms = {};
};

// What is computed for one sequence in one step.
struct PlannedItem {
  Slot slot = 0;
  int32_t token_begin = 0;  // first position to compute
  int32_t token_count = 0;  // >= 1, drafts not counted
  int32_t draft_count = 0;  // of drafts(slot); only when `samples`
  bool samples = false;     // the last position is the newest known token
};

// What came of one planned item.
struct Outcome {
  bool failed = false;  // its rows are not in the cache; the sequence is over
  bool over = false;    // nothing more is to be computed
  // To append to the known tokens. At least one if the item samples and the sequence goes on.
  std::span<const int32_t> tokens = {};
  int32_t num_accepted = 0;              // leading `tokens` whose rows this step computed (drafts)
  std::span<const int32_t> drafts = {};  // follow `tokens`
};

class Scheduler {
 public:
  // `tree` outlives the scheduler; only the scheduler grows and releases blocks through it.
  Scheduler(const SchedulerLimits& limits, kv::PrefixTree* tree);

  // Whether a sequence could ever run: alone, it must fit the KV cache.
  bool fits(int64_t prompt_tokens, int64_t output_tokens_max) const;
  // Queues a sequence that fits(). Fewer than requests_max are live.
  Slot submit(SequenceSpec spec, int64_t now_ms);
  // Appends tokens that nobody sampled. Not inside a step.
  void append(Slot slot, std::span<const int32_t> tokens);
  // The sequence is over; its blocks are free or cached from now on. Not inside a step: the device
  // may still write those blocks.
  void end(Slot slot);
  // Live sequences whose deadline has come. Valid until the next call.
  std::span<const Slot> expired(int64_t now_ms);

  // Opens a step. The plan is valid until finish_step(), and empty only when idle().
  std::span<const PlannedItem> plan_step();
  // Closes the step: one outcome for each planned item, in plan order.
  void finish_step(std::span<const Outcome> outcomes);

  bool idle() const { return running_.empty() && waiting_.empty(); }
  int32_t num_running() const { return static_cast<int32_t>(running_.size()); }
  int32_t num_waiting() const { return static_cast<int32_t>(waiting_.size()); }
  std::span<const Slot> running() const { return running_; }  // in order
  std::span<const Slot> waiting() const { return waiting_; }  // in order

  std::span<const int32_t> known(Slot slot) const { return at(slot).known; }
  std::span<const kv::BlockId> blocks(Slot slot) const { return at(slot).blocks; }
  std::span<const int32_t> drafts(Slot slot) const { return at(slot).drafts; }
  int32_t prompt_len(Slot slot) const { return at(slot).prompt_len; }
  int32_t num_computed(Slot slot) const { return at(slot).computed; }
  // Prompt tokens found in the prefix tree when the sequence first ran.
  int32_t num_cached(Slot slot) const { return at(slot).num_cached; }

  // Its place in the total order: smaller goes first.
  std::pair<int64_t, uint64_t> order_of(Slot slot) const {
    return {at(slot).rank, at(slot).arrival};
  }

  // Since the start.
  uint64_t num_preemptions() const { return num_preemptions_; }
  uint64_t prefix_query_tokens() const { return prefix_query_tokens_; }
  uint64_t prefix_hit_tokens() const { return prefix_hit_tokens_; }

  // GALLEY_CHECKs everything that must hold between steps. Cost: all blocks and sequences.
  void check_invariants() const;

 private:
  struct Sequence {
    bool live = false;
    std::vector<int32_t> known = {};
    int32_t prompt_len = 0;
    int32_t output_tokens_max = 0;
    int32_t computed = 0;
    std::vector<int32_t> drafts = {};
    std::vector<kv::BlockId> blocks = {};
    std::vector<kv::BlockName> names = {};  // of the full blocks of `known`
    int32_t num_entered = 0;                // leading blocks that are in the prefix tree
    uint64_t cache_scope = 0;
    bool scores_prompt = false;  // still to do: no prefix hit until the prompt is computed
    bool has_run = false;
    int32_t num_cached = 0;
    int32_t priority = 0;
    int64_t rank = 0;  // the order: by rank, then by arrival
    uint64_t arrival = 0;
    std::optional<int64_t> deadline_ms = {};
    int32_t plan_tokens = 0, plan_drafts = 0;  // of the step being planned

    int32_t num_known() const { return static_cast<int32_t>(known.size()); }
    int32_t num_pending() const { return num_known() - computed; }
    bool has_output() const { return num_known() > prompt_len; }
  };

  Sequence& at(Slot slot) { return sequences_[static_cast<size_t>(slot)]; }
  const Sequence& at(Slot slot) const { return sequences_[static_cast<size_t>(slot)]; }
  bool before(Slot a, Slot b) const { return order_of(a) < order_of(b); }
  void insert_in_order(Slot slot, std::vector<Slot>* queue) const;
  bool generates(const Sequence& sequence) const {
    return sequence.has_output() && sequence.num_pending() <= limits_.tail_tokens_max;
  }

  void displace_lower_priorities();
  int32_t share_budget();
  int32_t share_among_prompts(int32_t left);
  int32_t tokens_of_next_admitted();
  void secure_blocks(int32_t* token_budget);
  void admit_waiting(int32_t* token_budget);
  bool try_secure(Sequence* sequence, int32_t* token_budget);
  void look_ahead(Sequence* sequence, int32_t end);
  kv::PrefixTree::Match find_prefix(Sequence* sequence) const;
  bool is_being_computed(const Sequence& sequence, const kv::PrefixTree::Match& hit) const;
  bool has_room_for(const Sequence& sequence, const kv::PrefixTree::Match& hit) const;
  void plan(Slot slot);
  void preempt_last();
  void extend_names(Sequence* sequence) const;
  void enter_full_blocks(Sequence* sequence);

  const SchedulerLimits limits_;
  kv::PrefixTree* const tree_;
  std::vector<Sequence> sequences_;  // by slot
  std::vector<Slot> free_slots_;     // a stack
  std::vector<Slot> waiting_;        // in order; hold no blocks
  std::vector<Slot> running_;        // in order
  std::vector<PlannedItem> plan_;
  std::vector<Slot> expired_;
  uint64_t num_arrivals_ = 0;
  uint64_t num_preemptions_ = 0;
  uint64_t prefix_query_tokens_ = 0;
  uint64_t prefix_hit_tokens_ = 0;
  bool step_open_ = false;
};

}  // namespace galley::engine

// PrefixTree: finds the KV blocks of a prompt that an earlier request has computed already.
//
// A full block has a name: a keyed 128-bit hash over (scope, model, parent's name, its tokens). Who
// lacks the key cannot make two prompts share a name, and a hit compares the tokens as well, so no
// input makes a request read rows that are not its own. Scopes (tenants, cache_salt) never meet.
//
// It stands between the tables of the scheduler and the BlockPool: blocks are grown, shared and
// released through it. A released block with a name stays, unheld, until its memory is wanted; then
// the least recently used goes first.
//
// Owned and used by the engine thread alone, no clock, nothing allocated after construction.
//
// Invariants
//   - A block in the tree is full, its rows are computed, and it never changes while it is there.
//   - Equal content is one block: enter() returns the block that was there first. A table whose
//     blocks are all named therefore holds every ancestor of each of its blocks, so an unheld block
//     has only unheld descendants, and all of them were unheld before it: the least recently used
//     block is always a leaf.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/hash.h"
#include "kv/block_pool.h"

namespace galley::kv {

using BlockName = Hash128;

struct PrefixTreeOptions {
  bool enabled = true;  // false: nothing is named, found or kept
  HashKey key;
  std::string model;
};

class PrefixTree {
 public:
  // `pool` outlives the tree, and only the tree touches it.
  PrefixTree(const PrefixTreeOptions& options, BlockPool* pool);

  bool enabled() const { return enabled_; }
  const BlockPool& pool() const { return *pool_; }

  // The parent name of a sequence's first block.
  BlockName root_name(uint64_t scope) const;
  // `tokens`: exactly one block of them.
  BlockName name(const BlockName& parent, std::span<const int32_t> tokens) const;

  struct Match {
    int32_t num_blocks = 0;  // leading blocks found
    int32_t num_unheld = 0;  // of them: using them makes available() smaller
  };
  // The longest run of leading blocks that are here. `names` are those of `tokens`' full blocks.
  // Cost: a look-up and a comparison of tokens a block.
  Match find(uint64_t scope, std::span<const BlockName> names,
             std::span<const int32_t> tokens) const;
  // Holds the first `num_blocks` (as find() counted them) and appends them to `table`, which is
  // empty.
  void share(std::span<const BlockName> names, int32_t num_blocks, std::vector<BlockId>* table);

  // Blocks that try_grow() can hand out: free or unheld.
  int32_t num_available() const { return pool_->num_free() + num_unheld_; }
  // Extends `table` until it can hold `num_tokens` tokens. All or nothing: when too few blocks are
  // available it returns false and changes nothing.
  [[nodiscard]] bool try_grow(std::vector<BlockId>* table, int32_t num_tokens);
  // Drops every block of `table` and leaves it empty. Named blocks stay for a hit.
  void release(std::vector<BlockId>* table);

  struct Entry {
    uint64_t scope;
    BlockId parent;  // the block before it in the table, entered already; kNone for the first
    BlockName name;
    std::span<const int32_t> tokens;  // one block of them
    BlockId block;                    // held by the caller; its rows are all computed
  };
  // Makes a full block findable. Returns the block that the caller's table must have in its place
  // from now on: the same, or the one with this content that was here before (now held, and the
  // caller's own dropped). kNone: not entered, because another content has this name.
  BlockId enter(const Entry& entry);

  int32_t num_unheld() const { return num_unheld_; }
  // GALLEY_CHECKs that links, counts and states agree. Cost: all blocks.
  void check_invariants() const;

  static constexpr BlockId kNone = -1;

 private:
  struct Node {
    BlockName name;
    uint64_t scope = 0;
    BlockId parent = kNone;
    BlockId next_in_bucket = kNone;
    BlockId older = kNone, newer = kNone;  // among the unheld
    int32_t num_children = 0;
    bool in_tree = false;
  };

  Node& node(BlockId block) { return nodes_[static_cast<size_t>(block)]; }
  const Node& node(BlockId block) const { return nodes_[static_cast<size_t>(block)]; }
  std::span<int32_t> tokens_of(BlockId block);
  std::span<const int32_t> tokens_of(BlockId block) const;
  size_t bucket_of(const BlockName& name) const { return name.low & (buckets_.size() - 1); }
  BlockId look_up(const BlockName& name) const;
  bool holds_content(BlockId block, const Entry& entry) const;
  void hold(BlockId block);
  void drop(BlockId block);
  void unlink_unheld(BlockId block);
  void evict_oldest();

  const bool enabled_;
  const HashKey key_;
  const Hash128 model_;
  BlockPool* const pool_;
  std::vector<Node> nodes_;       // by block
  std::vector<int32_t> tokens_;   // [num_blocks, block_tokens]
  std::vector<BlockId> buckets_;  // heads of chains; a power of two, at least twice the blocks
  BlockId oldest_ = kNone, newest_ = kNone;
  int32_t num_unheld_ = 0;
};

}  // namespace galley::kv

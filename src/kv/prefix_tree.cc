#include "kv/prefix_tree.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "base/check.h"

namespace galley::kv {
namespace {

constexpr int32_t kBlockTokensMax = 256;  // bounds the buffer that name() hashes

Hash128 hash_with(const HashKey& key, const Hash128& first, std::span<const std::byte> rest) {
  std::array<std::byte, sizeof(Hash128) + kBlockTokensMax * sizeof(int32_t)> buffer;
  std::memcpy(buffer.data(), &first, sizeof(first));
  std::memcpy(buffer.data() + sizeof(first), rest.data(), rest.size());
  return siphash128(key, std::span(buffer).first(sizeof(first) + rest.size()));
}

}  // namespace

PrefixTree::PrefixTree(const PrefixTreeOptions& options, BlockPool* pool)
    : enabled_(options.enabled),
      key_(options.key),
      model_(siphash128(options.key, std::as_bytes(std::span(options.model)))),
      pool_(pool) {
  GALLEY_CHECK(pool->block_tokens() <= kBlockTokensMax, "raise kBlockTokensMax");
  const auto num_blocks = static_cast<size_t>(pool->num_blocks());
  nodes_.resize(num_blocks);
  buckets_.resize(std::bit_ceil(2 * num_blocks), kNone);
  if (enabled_) tokens_.resize(num_blocks * static_cast<size_t>(pool->block_tokens()));
}

std::span<int32_t> PrefixTree::tokens_of(BlockId block) {
  const auto size = static_cast<size_t>(pool_->block_tokens());
  return std::span(tokens_).subspan(static_cast<size_t>(block) * size, size);
}

std::span<const int32_t> PrefixTree::tokens_of(BlockId block) const {
  const auto size = static_cast<size_t>(pool_->block_tokens());
  return std::span(tokens_).subspan(static_cast<size_t>(block) * size, size);
}

BlockName PrefixTree::root_name(uint64_t scope) const {
  return hash_with(key_, model_, std::as_bytes(std::span(&scope, 1)));
}

BlockName PrefixTree::name(const BlockName& parent, std::span<const int32_t> tokens) const {
  GALLEY_CHECK(tokens.size() == static_cast<size_t>(pool_->block_tokens()),
               "only full blocks have a name");
  return hash_with(key_, parent, std::as_bytes(tokens));
}

BlockId PrefixTree::look_up(const BlockName& name) const {
  BlockId block = buckets_[bucket_of(name)];
  while (block != kNone && !(node(block).name == name)) block = node(block).next_in_bucket;
  return block;
}

bool PrefixTree::holds_content(BlockId block, const Entry& entry) const {
  const Node& found = node(block);
  return found.parent == entry.parent && found.scope == entry.scope &&
         std::ranges::equal(tokens_of(block), entry.tokens);
}

PrefixTree::Match PrefixTree::find(uint64_t scope, std::span<const BlockName> names,
                                   std::span<const int32_t> tokens) const {
  Match match;
  if (!enabled_) return match;
  const auto block_tokens = static_cast<size_t>(pool_->block_tokens());
  BlockId parent = kNone;
  for (size_t i = 0; i < names.size(); ++i) {
    const BlockId block = look_up(names[i]);
    if (block == kNone) break;
    const Entry wanted = {.scope = scope,
                          .parent = parent,
                          .name = names[i],
                          .tokens = tokens.subspan(i * block_tokens, block_tokens),
                          .block = kNone};
    if (!holds_content(block, wanted)) break;
    match.num_blocks += 1;
    if (pool_->num_holders(block) == 0) match.num_unheld += 1;
    parent = block;
  }
  return match;
}

void PrefixTree::share(std::span<const BlockName> names, int32_t num_blocks,
                       std::vector<BlockId>* table) {
  GALLEY_CHECK(table->empty(), "a prefix comes first in its table");
  for (const BlockName& name : names.first(static_cast<size_t>(num_blocks))) {
    const BlockId block = look_up(name);
    GALLEY_CHECK(block != kNone, "share() of a block that find() did not see");
    hold(block);
    table->push_back(block);
  }
}

bool PrefixTree::try_grow(std::vector<BlockId>* table, int32_t num_tokens) {
  const int32_t num_missing = pool_->blocks_for(num_tokens) - static_cast<int32_t>(table->size());
  if (num_missing > num_available()) return false;
  for (int32_t i = 0; i < num_missing; ++i) {
    if (pool_->num_free() == 0) evict_oldest();
    table->push_back(pool_->take());
  }
  return true;
}

void PrefixTree::release(std::vector<BlockId>* table) {
  // From the end, so that leaves become the older ones and are evicted before their parents.
  for (; !table->empty(); table->pop_back()) drop(table->back());
}

BlockId PrefixTree::enter(const Entry& entry) {
  if (!enabled_) return entry.block;
  GALLEY_CHECK(entry.parent == kNone || node(entry.parent).in_tree, "enter the parent first");
  if (const BlockId present = look_up(entry.name); present != kNone) {
    if (!holds_content(present, entry)) return kNone;
    if (present != entry.block) {
      hold(present);
      drop(entry.block);
    }
    return present;
  }
  Node& entered = node(entry.block);
  GALLEY_CHECK(!entered.in_tree, "a block in the tree must not change");
  BlockId& head = buckets_[bucket_of(entry.name)];
  entered = {.name = entry.name,
             .scope = entry.scope,
             .parent = entry.parent,
             .next_in_bucket = head,
             .in_tree = true};
  head = entry.block;
  if (entry.parent != kNone) node(entry.parent).num_children += 1;
  std::ranges::copy(entry.tokens, tokens_of(entry.block).begin());
  return entry.block;
}

void PrefixTree::hold(BlockId block) {
  if (pool_->num_holders(block) == 0) unlink_unheld(block);
  pool_->hold(block);
}

void PrefixTree::drop(BlockId block) {
  if (pool_->drop(block) > 0) return;
  Node& dropped = node(block);
  if (!dropped.in_tree) return pool_->give_back(block);
  dropped.older = newest_;
  dropped.newer = kNone;
  (newest_ == kNone ? oldest_ : node(newest_).newer) = block;
  newest_ = block;
  num_unheld_ += 1;
}

void PrefixTree::unlink_unheld(BlockId block) {
  const Node& linked = node(block);
  (linked.older == kNone ? oldest_ : node(linked.older).newer) = linked.newer;
  (linked.newer == kNone ? newest_ : node(linked.newer).older) = linked.older;
  num_unheld_ -= 1;
}

void PrefixTree::evict_oldest() {
  const BlockId block = oldest_;
  GALLEY_CHECK(block != kNone, "nothing to evict");
  Node& evicted = node(block);
  GALLEY_CHECK(evicted.num_children == 0, "a parent would go before its children");
  unlink_unheld(block);
  BlockId* link = &buckets_[bucket_of(evicted.name)];
  while (*link != block) link = &node(*link).next_in_bucket;
  *link = evicted.next_in_bucket;
  if (evicted.parent != kNone) node(evicted.parent).num_children -= 1;
  evicted = {};
  pool_->give_back(block);
}

void PrefixTree::check_invariants() const {
  int32_t num_free = 0, num_unheld = 0;
  int64_t num_children = 0, num_with_parent = 0;
  for (BlockId block = 0; block < pool_->num_blocks(); ++block) {
    const Node& state = node(block);
    if (pool_->is_free(block)) {
      num_free += 1;
      GALLEY_CHECK(!state.in_tree, "a free block is in the tree");
      continue;
    }
    GALLEY_CHECK(state.in_tree || pool_->num_holders(block) > 0, "a block leaked");
    if (!state.in_tree) continue;
    GALLEY_CHECK(look_up(state.name) == block, "a block in the tree cannot be found");
    num_children += state.num_children;
    if (pool_->num_holders(block) == 0) num_unheld += 1;
    if (state.parent == kNone) continue;
    num_with_parent += 1;
    GALLEY_CHECK(node(state.parent).in_tree, "a block outlived its parent");
    GALLEY_CHECK(pool_->num_holders(state.parent) > 0 || pool_->num_holders(block) == 0,
                 "a held block below an unheld one");
  }
  GALLEY_CHECK(num_free == pool_->num_free(), "the free list lost a block");
  GALLEY_CHECK(num_unheld == num_unheld_, "the count of unheld blocks is wrong");
  GALLEY_CHECK(num_children == num_with_parent, "children were counted wrongly");
  int32_t num_linked = 0;
  for (BlockId block = oldest_; block != kNone && num_linked <= num_unheld;
       block = node(block).newer, ++num_linked)
    GALLEY_CHECK(pool_->num_holders(block) == 0 && node(block).in_tree, "not an unheld block");
  GALLEY_CHECK(num_linked == num_unheld, "the list of unheld blocks is broken");
}

}  // namespace galley::kv

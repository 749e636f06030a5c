#include "kv/block_pool.h"

#include "base/check.h"

namespace galley::kv {

BlockPool::BlockPool(int32_t num_blocks, int32_t block_tokens)
    : num_blocks_(num_blocks), block_tokens_(block_tokens) {
  GALLEY_CHECK(num_blocks > 0, "the memory plan must leave room for KV blocks");
  GALLEY_CHECK(block_tokens > 0, "a block holds at least one token");
  holders_.resize(static_cast<size_t>(num_blocks), kFree);
  free_.reserve(static_cast<size_t>(num_blocks));
  for (BlockId block = num_blocks - 1; block >= 0; --block) free_.push_back(block);
}

BlockId BlockPool::take() {
  GALLEY_CHECK(!free_.empty(), "no free block: the caller must look first");
  const BlockId block = free_.back();
  free_.pop_back();
  holders_[static_cast<size_t>(block)] = 1;
  return block;
}

void BlockPool::hold(BlockId block) {
  GALLEY_CHECK(!is_free(block), "a free block cannot be shared");
  ++holders_[static_cast<size_t>(block)];
}

int32_t BlockPool::drop(BlockId block) {
  GALLEY_CHECK(num_holders(block) > 0, "block dropped more often than it was held");
  return --holders_[static_cast<size_t>(block)];
}

void BlockPool::give_back(BlockId block) {
  GALLEY_CHECK(!is_free(block), "block given back twice");
  GALLEY_CHECK(num_holders(block) == 0, "somebody still holds this block");
  holders_[static_cast<size_t>(block)] = kFree;
  free_.push_back(block);
}

}  // namespace galley::kv

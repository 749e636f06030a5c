// BlockPool: hands out the fixed set of KV cache blocks that fit in the device's memory and counts
// who holds them.
//
// It knows block numbers only; the memory behind them belongs to the runner. Owned and used by the
// engine thread alone. Nothing is allocated after construction.
//
// Invariant: every block is either free, or taken and held by zero or more tables. A taken block
// that nobody holds is one the prefix tree keeps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace galley::kv {

using BlockId = int32_t;

class BlockPool {
 public:
  // `num_blocks` > 0. `block_tokens`: tokens whose rows one block holds, in every layer.
  BlockPool(int32_t num_blocks, int32_t block_tokens);

  int32_t num_blocks() const { return num_blocks_; }
  int32_t block_tokens() const { return block_tokens_; }
  int32_t num_free() const { return static_cast<int32_t>(free_.size()); }

  // Blocks needed to hold `num_tokens` tokens.
  int32_t blocks_for(int32_t num_tokens) const {
    return (num_tokens + block_tokens_ - 1) / block_tokens_;
  }

  // A free block, now held once. num_free() > 0.
  BlockId take();
  // One holder more of a taken block.
  void hold(BlockId block);
  // One holder less. Returns how many are left; at 0 the block is still taken.
  int32_t drop(BlockId block);
  // A taken block that nobody holds becomes free.
  void give_back(BlockId block);

  bool is_free(BlockId block) const { return holders(block) == kFree; }
  int32_t num_holders(BlockId block) const { return is_free(block) ? 0 : holders(block); }

 private:
  static constexpr int32_t kFree = -1;

  int32_t holders(BlockId block) const { return holders_[static_cast<size_t>(block)]; }

  const int32_t num_blocks_;
  const int32_t block_tokens_;
  std::vector<BlockId> free_;     // used as a stack
  std::vector<int32_t> holders_;  // by block; kFree when free
};

}  // namespace galley::kv

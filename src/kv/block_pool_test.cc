#include "kv/block_pool.h"

#include <gtest/gtest.h>

namespace galley::kv {
namespace {

TEST(BlockPool, CountsBlocksInWholes) {
  const BlockPool pool(4, 64);
  EXPECT_EQ(pool.blocks_for(0), 0);
  EXPECT_EQ(pool.blocks_for(1), 1);
  EXPECT_EQ(pool.blocks_for(64), 1);
  EXPECT_EQ(pool.blocks_for(65), 2);
}

TEST(BlockPool, ABlockIsFreeAgainOnlyWhenGivenBack) {
  BlockPool pool(2, 64);
  const BlockId block = pool.take();
  EXPECT_EQ(pool.num_free(), 1);
  pool.hold(block);
  EXPECT_EQ(pool.num_holders(block), 2);
  EXPECT_EQ(pool.drop(block), 1);
  EXPECT_EQ(pool.drop(block), 0);
  EXPECT_FALSE(pool.is_free(block)) << "the prefix tree may want it";
  pool.give_back(block);
  EXPECT_TRUE(pool.is_free(block));
  EXPECT_EQ(pool.num_free(), 2);
}

TEST(BlockPoolDeathTest, StopsOnEveryMisuse) {
  BlockPool pool(1, 64);
  EXPECT_DEATH(pool.hold(0), "free block cannot be shared");
  const BlockId block = pool.take();
  EXPECT_DEATH(pool.take(), "no free block");
  EXPECT_DEATH(pool.give_back(block), "still holds");
  pool.drop(block);
  EXPECT_DEATH(pool.drop(block), "more often than it was held");
  pool.give_back(block);
  EXPECT_DEATH(pool.give_back(block), "given back twice");
}

}  // namespace
}  // namespace galley::kv

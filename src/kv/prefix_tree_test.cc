// Tests of PrefixTree: one case per sentence of the contract, then random runs against a model that
// knows what each block holds. GALLEY_SEED=<n> replays one.
#include "kv/prefix_tree.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <random>

namespace galley::kv {
namespace {

using Tokens = std::vector<int32_t>;

constexpr int32_t kBlockTokens = 4;

// A table of a sequence, and what the scheduler does with it.
struct Table {
  uint64_t scope = 0;
  Tokens tokens = {};
  std::vector<BlockId> blocks = {};
  std::vector<BlockName> names = {};
  size_t num_entered = 0;
};

void make_names(const PrefixTree& tree, Table* table) {
  const std::span<const int32_t> tokens = table->tokens;
  for (size_t i = table->names.size(); (i + 1) * kBlockTokens <= tokens.size(); ++i)
    table->names.push_back(tree.name(i == 0 ? tree.root_name(table->scope) : table->names.back(),
                                     tokens.subspan(i * kBlockTokens, kBlockTokens)));
}

// Takes a hit, grows to all tokens, enters the full blocks. Returns the blocks hit, -1: no room.
int32_t compute(PrefixTree* tree, Table* table) {
  make_names(*tree, table);
  const auto match = tree->find(table->scope, table->names, table->tokens);
  const auto num_tokens = static_cast<int32_t>(table->tokens.size());
  if (tree->pool().blocks_for(num_tokens) - match.num_blocks + match.num_unheld >
      tree->num_available())
    return -1;
  tree->share(table->names, match.num_blocks, &table->blocks);
  EXPECT_TRUE(tree->try_grow(&table->blocks, num_tokens));
  for (size_t i = 0; i < table->names.size(); ++i) {
    const BlockId block = tree->enter(
        {.scope = table->scope,
         .parent = i == 0 ? PrefixTree::kNone : table->blocks[i - 1],
         .name = table->names[i],
         .tokens = std::span<const int32_t>(table->tokens).subspan(i * kBlockTokens, kBlockTokens),
         .block = table->blocks[i]});
    EXPECT_NE(block, PrefixTree::kNone);
    table->blocks[i] = block;
  }
  tree->check_invariants();
  return match.num_blocks;
}

struct Fixture {
  explicit Fixture(int32_t num_blocks, bool enabled = true)
      : pool(num_blocks, kBlockTokens),
        tree({.enabled = enabled, .key = {1, 2}, .model = "m"}, &pool) {}
  BlockPool pool;
  PrefixTree tree;
};

TEST(PrefixTree, FindsFullBlocksOfAnEarlierSequence) {
  Fixture f(8);
  Table first{.tokens = {1, 2, 3, 4, 5, 6, 7, 8, 9}};
  EXPECT_EQ(compute(&f.tree, &first), 0);
  const auto blocks = first.blocks;
  f.tree.release(&first.blocks);
  EXPECT_EQ(f.tree.num_unheld(), 2) << "the third is not full and goes back";
  EXPECT_EQ(f.pool.num_free(), 6);

  Table second{.tokens = {1, 2, 3, 4, 5, 6, 7, 8, 10, 11}};
  EXPECT_EQ(compute(&f.tree, &second), 2);
  EXPECT_EQ(second.blocks[0], blocks[0]);
  EXPECT_EQ(second.blocks[1], blocks[1]);
  Table third{.tokens = {1, 2, 3, 4, 5, 6, 7, 0, 9}};
  EXPECT_EQ(compute(&f.tree, &third), 1) << "blocks are shared while they are held, too";
  EXPECT_EQ(f.pool.num_holders(blocks[0]), 2);
}

TEST(PrefixTree, TheSameTokensAfterOtherOnesAreNoHit) {
  Fixture f(8);
  Table first{.tokens = {1, 1, 1, 1, 2, 2, 2, 2}};
  compute(&f.tree, &first);
  Table second{.tokens = {2, 2, 2, 2, 1, 1, 1, 1}};
  EXPECT_EQ(compute(&f.tree, &second), 0);
}

TEST(PrefixTree, ScopesNeverMeet) {
  Fixture f(8);
  Table first{.scope = 7, .tokens = {1, 2, 3, 4}};
  compute(&f.tree, &first);
  Table second{.scope = 8, .tokens = {1, 2, 3, 4}};
  EXPECT_EQ(compute(&f.tree, &second), 0);
  EXPECT_NE(second.blocks[0], first.blocks[0]);
}

TEST(PrefixTree, NamesDependOnKeyModelScopeParentAndTokens) {
  BlockPool pool(1, kBlockTokens);
  const PrefixTree tree({.key = {1, 2}, .model = "m"}, &pool);
  const PrefixTree other_key({.key = {1, 3}, .model = "m"}, &pool);
  const PrefixTree other_model({.key = {1, 2}, .model = "n"}, &pool);
  const Tokens tokens = {1, 2, 3, 4};
  const BlockName name = tree.name(tree.root_name(0), tokens);
  EXPECT_EQ(name, tree.name(tree.root_name(0), tokens));
  EXPECT_NE(name, other_key.name(other_key.root_name(0), tokens));
  EXPECT_NE(name, other_model.name(other_model.root_name(0), tokens));
  EXPECT_NE(name, tree.name(tree.root_name(1), tokens));
  EXPECT_NE(name, tree.name(name, tokens));
  EXPECT_NE(name, tree.name(tree.root_name(0), Tokens{1, 2, 3, 5}));
}

// What a broken hash would do: another content under a name that is taken.
TEST(PrefixTree, ANameAloneIsNoHit) {
  Fixture f(4);
  Table first{.tokens = {1, 2, 3, 4}};
  compute(&f.tree, &first);
  const Tokens other = {5, 6, 7, 8};
  EXPECT_EQ(f.tree.find(0, first.names, other).num_blocks, 0);
  EXPECT_EQ(f.tree.find(1, first.names, first.tokens).num_blocks, 0);
  std::vector<BlockId> blocks;
  ASSERT_TRUE(f.tree.try_grow(&blocks, 4));
  EXPECT_EQ(f.tree.enter({.scope = 0,
                          .parent = PrefixTree::kNone,
                          .name = first.names[0],
                          .tokens = other,
                          .block = blocks[0]}),
            PrefixTree::kNone);
  EXPECT_EQ(f.pool.num_holders(blocks[0]), 1) << "the caller keeps its own";
}

TEST(PrefixTree, EqualContentBecomesOneBlock) {
  Fixture f(4);
  Table first{.tokens = {1, 2, 3, 4}};
  compute(&f.tree, &first);
  std::vector<BlockId> blocks;
  ASSERT_TRUE(f.tree.try_grow(&blocks, 4));  // Computed side by side, without a hit.
  EXPECT_EQ(f.tree.enter({.scope = 0,
                          .parent = PrefixTree::kNone,
                          .name = first.names[0],
                          .tokens = first.tokens,
                          .block = blocks[0]}),
            first.blocks[0]);
  EXPECT_TRUE(f.pool.is_free(blocks[0]));
  EXPECT_EQ(f.pool.num_holders(first.blocks[0]), 2);
}

TEST(PrefixTree, EvictsTheLeastRecentlyUsedLeafFirst) {
  Fixture f(4);
  Table first{.tokens = {1, 1, 1, 1, 2, 2, 2, 2}};
  Table second{.tokens = {3, 3, 3, 3, 4, 4, 4, 4}};
  compute(&f.tree, &first);
  compute(&f.tree, &second);
  f.tree.release(&first.blocks);
  f.tree.release(&second.blocks);
  EXPECT_EQ(f.tree.num_available(), 4);

  std::vector<BlockId> blocks;
  ASSERT_TRUE(f.tree.try_grow(&blocks, 4));
  EXPECT_EQ(f.tree.find(0, first.names, first.tokens).num_blocks, 1) << "its leaf is gone";
  EXPECT_EQ(f.tree.find(0, second.names, second.tokens).num_blocks, 2);

  // A hit makes it the most recent.
  Table again{.tokens = {1, 1, 1, 1}};
  EXPECT_EQ(compute(&f.tree, &again), 1);
  f.tree.release(&again.blocks);
  ASSERT_TRUE(f.tree.try_grow(&blocks, 12));
  EXPECT_EQ(f.tree.find(0, first.names, first.tokens).num_blocks, 1);
  EXPECT_EQ(f.tree.find(0, second.names, second.tokens).num_blocks, 0);
  f.tree.check_invariants();
}

TEST(PrefixTree, RefusesWithoutTakingAnything) {
  Fixture f(2);
  std::vector<BlockId> blocks;
  EXPECT_FALSE(f.tree.try_grow(&blocks, 9));
  EXPECT_TRUE(blocks.empty());
  EXPECT_EQ(f.tree.num_available(), 2);
}

TEST(PrefixTree, DisabledKeepsNothing) {
  Fixture f(2, /*enabled=*/false);
  Table first{.tokens = {1, 2, 3, 4}};
  compute(&f.tree, &first);
  f.tree.release(&first.blocks);
  EXPECT_EQ(f.pool.num_free(), 2);
  EXPECT_EQ(f.tree.find(0, first.names, first.tokens).num_blocks, 0);
}

// Few token values and scopes, so that prefixes meet all the time. The model remembers which
// content was last written to each block: a hit must find exactly its own.
void random_run(uint32_t seed) {
  SCOPED_TRACE("replay with GALLEY_SEED=" + std::to_string(seed));
  std::mt19937 random(seed);
  const auto pick = [&](int low, int high) {
    return std::uniform_int_distribution(low, high)(random);
  };
  Fixture f(pick(3, 20));
  using Content = std::pair<uint64_t, Tokens>;  // scope, all tokens up to the end of the block
  std::map<BlockId, Content> written;
  std::vector<Table> live;
  int32_t num_hits = 0;
  for (int i = 0; i < 300; ++i) {
    if (live.size() < 4 && pick(0, 1) == 0) {
      Table table{.scope = static_cast<uint64_t>(pick(0, 1))};
      table.tokens.resize(static_cast<size_t>(pick(1, 24)));
      for (int32_t& token : table.tokens) token = pick(0, 9) == 0 ? 1 : 0;
      const auto content = [&](size_t block) {
        return Content{table.scope, Tokens(table.tokens.begin(),
                                           table.tokens.begin() +
                                               static_cast<ptrdiff_t>((block + 1) * kBlockTokens))};
      };
      const int32_t hit = compute(&f.tree, &table);
      if (hit < 0) continue;
      num_hits += hit;
      for (size_t b = 0; b < table.names.size(); ++b) {
        if (b < static_cast<size_t>(hit)) {
          ASSERT_EQ(written.at(table.blocks[b]), content(b)) << "a hit on another content";
        }
        written[table.blocks[b]] = content(b);
      }
      // The block that is not full is written as well.
      for (size_t b = table.names.size(); b < table.blocks.size(); ++b)
        written.erase(table.blocks[b]);
      live.push_back(table);
    } else if (!live.empty()) {
      const auto at = static_cast<size_t>(pick(0, static_cast<int>(live.size()) - 1));
      f.tree.release(&live[at].blocks);
      live.erase(live.begin() + static_cast<ptrdiff_t>(at));
    }
    f.tree.check_invariants();
  }
  EXPECT_GT(num_hits, 0);
  for (Table& table : live) f.tree.release(&table.blocks);
  EXPECT_EQ(f.tree.num_available(), f.pool.num_blocks()) << "blocks leaked";
}

TEST(PrefixTree, RandomRunsKeepTheContract) {
  if (const char* seed = std::getenv("GALLEY_SEED"))
    return random_run(static_cast<uint32_t>(std::atoll(seed)));
  for (uint32_t seed = 1; seed <= 100 && !HasFatalFailure(); ++seed) random_run(seed);
}

}  // namespace
}  // namespace galley::kv

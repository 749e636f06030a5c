// The index arrays of one step in the backend's memory: built on the host from plain facts about
// each sequence, uploaded in one piece. Part of model_runner; allocates at construction only.
//
// A padded step has a fixed number of tokens and sequences, so that every array lies where it lay
// in the last step of the same shape: what Ops::repeat() asks for. Its padding belongs to no
// sequence: empty sequences follow the real ones, and tokens that no sequence owns write their
// cache rows into a block that nobody reads.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/runner.h"
#include "kernels/ops.h"
#include "model/model.h"

namespace galley::engine {

// Consecutive positions of one sequence that a step computes.
struct SequencePart {
  std::span<const BlockId> blocks;  // hold positions [0, begin + count)
  int32_t begin = 0;
  int32_t count = 0;  // >= 1
};

// What a step is padded to: `queries` tokens for each of `sequences`.
struct StepShape {
  int32_t sequences = 0;
  int32_t queries = 0;  // most tokens of one sequence

  int32_t tokens() const { return sequences * queries; }
};

class StepArrays {
 public:
  struct Limits {
    int32_t tokens_max = 0;
    int32_t sequences_max = 0;
    int32_t blocks_max = 0;      // of one sequence
    BlockId padding_block = -1;  // takes the rows of padding; -1: no step is padded
  };

  StepArrays(const Limits& limits, kernels::Ops* ops);
  bool ok() const { return device_ != nullptr; }  // the memory was there
  static int64_t size_bytes(const Limits& limits);

  // `ids` has a token for each position of `parts`, in order. The result is valid until the next
  // build().
  model::Step build(std::span<const SequencePart> parts, std::span<const int32_t> ids);
  // Padded to `shape`, which has room for all. rows() are then `rows` of an earlier matrix and
  // picked() are `picked`, each padded with zeros to shape.tokens() and shape.sequences.
  model::Step build(std::span<const SequencePart> parts, std::span<const int32_t> ids,
                    const StepShape& shape, std::span<const int32_t> rows = {},
                    std::span<const int32_t> picked = {});
  int32_t* ids() const { return device_; }  // of the newest step, in the backend's memory
  std::span<const int32_t> rows() const { return rows_; }
  std::span<const int32_t> picked() const { return picked_; }

 private:
  // Where the arrays of a step of so many tokens and sequences begin, on the host.
  struct Layout {
    int32_t *ids, *query_begin, *context_len, *positions, *slots, *rows, *picked, *table;
  };
  Layout layout_of(int32_t tokens, int32_t sequences);
  // Fills the arrays of `parts`; the tables of blocks are `table_ld` wide.
  model::Step fill(const Layout& at, std::span<const SequencePart> parts, int32_t table_ld);
  void send(const Layout& at, int32_t tokens, int32_t sequences);

  const Limits limits_;
  kernels::Ops* const ops_;
  std::vector<int32_t> host_;
  int32_t* device_ = nullptr;
  kernels::StepBatch batch_;
  std::span<const int32_t> rows_, picked_;
};

}  // namespace galley::engine

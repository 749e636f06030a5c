// Who reads what in an attention step that is split over the context: made on the device once a
// step, read by the kernels of every layer.
//
// A unit is up to rows_per_unit query rows of one sequence; a sequence's rows are [its tokens of
// the step, rows_per_token]. A piece is a range of cache blocks of one unit. Pieces lie in order of
// unit and block, and partition p (a block of threads, or a cluster) walks pieces
// [partition_begin[p], partition_begin[p + 1]). A unit of one piece is written straight to the
// output; the pieces of others leave partial results in slots, which attention_combine joins.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "kernels/ops.h"

namespace galley::kernels::cuda {

constexpr int32_t kPartitionsMax = 512;

struct AttentionUnit {
  int32_t sequence;
  int32_t row;         // first row, within the sequence
  int32_t num_blocks;  // cache blocks that its last row sees
  int32_t piece_begin;
  int32_t num_pieces;
  int32_t slot_begin;  // of its first piece; only where num_pieces > 1
};

struct AttentionPiece {
  int32_t sequence;
  int32_t row;
  int32_t block_begin;
  int32_t block_end;
  int32_t slot;         // -1: the piece is the whole unit
  int32_t first_token;  // of the sequence, in the step
  int32_t query_len;
  int32_t context_len;
};

struct AttentionPlanConfig {
  int32_t rows_per_token;
  int32_t rows_per_unit;
  int32_t num_partitions;  // up to kPartitionsMax
  int32_t width;           // values of an output row
  int32_t copies;          // independent problems that share the plan (key-value heads)
  int32_t tokens_max;
  int32_t sequences_max;
  int32_t context_max;
  int32_t split_blocks;  // 0: cut where the load balances; else at multiples of it
};

// Where everything lies in the workspace; a pure function of the configuration.
struct AttentionPlan {
  int32_t* num_units;
  int32_t* partition_begin;  // [num_partitions + 1]
  AttentionUnit* units;      // [units_max]
  AttentionPiece* pieces;    // [pieces_max]
  int32_t* cost_begin;       // [units_max + 1]
  float* lse;                // [copies, slots_max, rows_per_unit] log2 of the sums
  float* partial;            // [copies, slots_max, rows_per_unit, width]
  int32_t units_max;
  int32_t pieces_max;
  int32_t slots_max;
  size_t bytes;
};

AttentionPlan attention_plan_layout(const AttentionPlanConfig& config, void* workspace);

cudaError_t attention_plan(const AttentionPlanConfig& config, const StepBatch& batch,
                           const AttentionPlan& plan, cudaStream_t stream);

// Joins the pieces of every unit that has several: out[first_token * rows_per_token + row, copy].
// out_row_stride and out_copy_stride in values. Units: at most units of the launch, from the host.
struct AttentionOutput {
  __nv_bfloat16* data;
  int64_t token_stride;  // between tokens
  int64_t row_stride;    // between rows of one token
  int64_t copy_stride;   // between copies
};

cudaError_t attention_combine(const AttentionPlanConfig& config, const StepBatch& batch,
                              const AttentionPlan& plan, const AttentionOutput& out,
                              cudaStream_t stream);

}  // namespace galley::kernels::cuda

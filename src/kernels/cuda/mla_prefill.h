// Expanded MLA on Hopper: causal attention of the step's queries over keys and values made from the
// latent of every position of the context (a chunk of a prompt and its past).
//
// Plan    attention_prefill.cuh: 128 queries of a head a tile, two computing warpgroups that take
//         turns, copies two blocks ahead.
// Bound   Arithmetic: 2 * (192 + 128) FLOPs for each head, query and visible key. 4,096 tokens of
//         128 heads, no past: 687 GFLOP, 0.87 ms at 0.79 PFLOP/s.
// Limits  nope 128, rope 64, value 128 (DeepSeek-V2, V2-Lite, V3); addresses and strides multiples
//         of 16 bytes.
// Rounds  Scores, softmax and sums in f32; probabilities enter the tensor cores as bf16.
// Invariance  A query's result depends on its own context alone.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/ops.h"

namespace galley::kernels::cuda {

// Rows of heads; strides in values.
struct HeadRows {
  const __nv_bfloat16* data;
  int64_t token_stride;
  int64_t head_stride;
};

struct MlaPrefillArgs {
  const __nv_bfloat16* q;       // [T, N, 192] nope, then the rotated part
  HeadRows k_nope;              // [C, N, 128]; kv_b's output [C, N, 256] has token stride N * 256
  HeadRows v;                   // [C, N, 128]
  const __nv_bfloat16* k_rope;  // [C, 64], shared by all heads
  int64_t k_rope_stride;        // between tokens, in values
  int64_t num_rows;             // C
  const int32_t* kv_begin;      // [S] on the device: row of position 0 of each sequence; its
                                // context_len rows follow
  __nv_bfloat16* out;           // [T, N, 128]
  float scale;
  int32_t num_heads;   // N
  int32_t num_sms;     // multiprocessors to fill
  int32_t* workspace;  // 4 bytes of device memory
};

// Of the batch it reads query_begin, context_len and the sizes.
cudaError_t mla_prefill(const StepBatch& batch, const MlaPrefillArgs& args, cudaStream_t stream);

}  // namespace galley::kernels::cuda

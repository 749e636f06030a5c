// Absorbed MLA over the paged cache on Hopper: the attention of decode steps, and of any step whose
// queries were taken through W_UK first. Every head reads the one latent row of a token twice: all
// of it as the key, its first L values as the value.
//
// Plan    A work unit is 64 rows (one block of threads) or 128 rows (a cluster of two, which
//         multicast the cache to each other) of [query tokens, heads] of one sequence. A cluster
//         walks its share of all units' context; units that several clusters share leave partial
//         results, which a second kernel joins. Two warpgroups of a block hold half of the 64 x 512
//         output each: while one computes the softmax of a block of 64 tokens, the other keeps the
//         tensor cores busy, and they exchange probabilities through shared memory.
// Bound   2 * rows * (L + R + L) * context FLOPs against the cache read once. V3 in decode (128
//         heads) is bound by arithmetic: batch 128, context 4,096: 146 GFLOP, 185 us at 0.79
//         PFLOP/s; 604 MB of bf16 rows, 126 us at 4.8 TB/s (344 MB, 72 us, with FP8 rows).
// Limits  L = 512, R = 64 (every published DeepSeek model); any number of heads; formats kBF16 and
//         kFp8Latent; addresses and row_bytes multiples of 16.
// Rounds  Scores, softmax and sums in f32; probabilities and FP8 latents enter the tensor cores as
//         bf16; the output is rounded to bf16 once.
// Invariance  With split_tokens > 0 a row's result depends on its own query and context alone.
//         With 0 the splits follow the load, and results differ in the last bits with the batch.
// Graphs  Grid sizes come from the arguments that are on the host (num_tokens, num_sequences,
//         query_len_max); lengths are read on the device. A captured pair of calls replays for any
//         context lengths up to the configuration's.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "kernels/ops.h"

namespace galley::kernels::cuda {

constexpr int32_t kMlaLatent = 512;                 // L
constexpr int32_t kMlaRope = 64;                    // R
constexpr int32_t kMlaKey = kMlaLatent + kMlaRope;  // values of a query row and of a bf16 cache row

// What stays the same for the life of an engine.
struct MlaDecodeConfig {
  int32_t num_heads;      // N
  int32_t num_sms;        // multiprocessors to fill
  int32_t tokens_max;     // T of one call
  int32_t sequences_max;  // S of one call
  int32_t context_max;    // positions of one sequence
  int32_t split_tokens;   // 0: splits balance the load; else cut every so many positions (a
                          // multiple of 64), whatever else is in the call
};

// Bytes of device memory that plan and kernels of one stream share.
// With split_tokens > 0 it holds 131 KB for each unit and split: choose splits and limits together.
size_t mla_decode_workspace_bytes(const MlaDecodeConfig& config);

// Decides on the device which cluster reads what. Once a step; every layer uses it.
cudaError_t mla_decode_plan(const MlaDecodeConfig& config, const StepBatch& batch, void* workspace,
                            cudaStream_t stream);

struct MlaDecodeArgs {
  const __nv_bfloat16* q;  // [T, N, L + R] latent query (W_UK applied), then the rotated part
  __nv_bfloat16* out;      // [T, N, L] the averaged latent, for W_UV
  CacheLayer cache;
  float scale;                  // of the scores
  void* workspace;              // as mla_decode_plan left it for this batch
  int32_t prefetch_blocks = 1;  // cache blocks that L2 is filled ahead; more than 2 thrash it
};

cudaError_t mla_decode(const MlaDecodeConfig& config, const StepBatch& batch,
                       const MlaDecodeArgs& args, cudaStream_t stream);

}  // namespace galley::kernels::cuda

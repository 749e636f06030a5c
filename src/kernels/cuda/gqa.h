// Grouped-query attention over the paged bf16 cache on Hopper. A cache row is the keys of all
// key-value heads, then their values.
//
// Plan    gqa_prefill (many queries): attention_prefill.cuh on the tensor cores' large products,
//         each query head for itself. gqa_decode (few): 16 rows of [query tokens, heads of a group]
//         at a time, so that a key-value head is read once for its whole group; the context is
//         split by attention_plan.h and joined.
// Bound   Prefill: 4 * head_dim FLOPs for each query head, query and visible key. Decode: the cache
//         read once, 4 * kv_heads * head_dim bytes a token.
// Limits  head_dim 64 or 128; addresses and row_bytes multiples of 16. Decode pays 16 rows for
//         each key-value head, however few the group and the queries give.
// Rounds  Scores, softmax and sums in f32; probabilities enter the tensor cores as bf16.
// Invariance  Prefill: always. Decode: with split_tokens > 0. The two round differently: who
//         promises invariance must choose between them by something else than the batch.
// Graphs  As mla_decode.h.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "kernels/ops.h"

namespace galley::kernels::cuda {

struct GqaArgs {
  const __nv_bfloat16* q;  // [T, N, head_dim]
  int64_t q_token_stride;  // in values; (N + 2 * kv_heads) * head_dim inside qkv
  __nv_bfloat16* out;      // [T, N, head_dim]
  CacheLayer cache;
  GqaShape shape;
  int32_t num_sms;  // multiprocessors to fill
  void* workspace;  // prefill: 4 bytes; decode: as gqa_decode_plan left it for this batch
};

cudaError_t gqa_prefill(const StepBatch& batch, const GqaArgs& args, cudaStream_t stream);

// What stays the same for the life of an engine.
struct GqaDecodeConfig {
  GqaShape shape;
  int32_t num_sms;
  int32_t tokens_max;     // T of one call
  int32_t sequences_max;  // S of one call
  int32_t context_max;    // positions of one sequence
  int32_t split_tokens;   // 0: splits balance the load; else a multiple of 64
};

size_t gqa_decode_workspace_bytes(const GqaDecodeConfig& config);

// Once a step; every layer uses it.
cudaError_t gqa_decode_plan(const GqaDecodeConfig& config, const StepBatch& batch, void* workspace,
                            cudaStream_t stream);

cudaError_t gqa_decode(const GqaDecodeConfig& config, const StepBatch& batch, const GqaArgs& args,
                       cudaStream_t stream);

}  // namespace galley::kernels::cuda

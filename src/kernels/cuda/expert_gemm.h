// The routed experts of a layer on Hopper: sort, gate and up with SwiGLU, down, weighted sum.
// Contract: kernels/ops.h, experts(); here with bf16 activations and FP8 or bf16 weights.
//
//   out[t] = sum over k = 0 .. K-1, in that order, in f32, of weights[t, k] * mlp(experts[t,
//   k])(x[t])
//
// A pair (token, k) whose expert id is negative adds nothing: the id of an expert on another rank.
//
// Plan      1 sort      one block counts the pairs of each expert and gives every pair a row, so
//                       that an expert's rows are neighbours; the host never learns the counts
//           2 scatter   each token is quantised once and stored to the rows of its pairs
//           3 gate, up  grouped product, SwiGLU and quantisation in its epilogue
//           4 down      grouped product, bf16
//           5 combine   f32, in the order of k
//           Few tokens an expert (decode): gemm_narrow.cuh, bound by the weights' bytes. Many
//           (prefill): gemm_tall.cuh, bound by the tensor cores.
// Bound     decode: 3 * H * I bytes for each expert used, over the memory's bandwidth; 32 experts
//           of V3: 1.41 GB, 328 us at 4.3 TB/s. Prefill: 6 * T * K * H * I FLOP.
// Rounding  FP8: x and silu(gate) * up are quantised as ops.h says, the latter from f32. bf16: the
//           same two are rounded to bf16. The result of down is rounded to bf16 before it is
//           weighted.
// Invariant the bits of a token do not depend on the other tokens: every row is summed over K in
//           one order by both paths (a test holds them equal), whatever the batch.
// Launches are asynchronous on `stream`, allocate nothing and may be captured in a graph.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/ops.h"

namespace galley::kernels::cuda {

constexpr int32_t kExpertsMax = 1024;  // of a layer: the sort's block has a thread for each

struct ExpertShape {
  int64_t hidden;   // H
  int64_t inner;    // I
  int32_t experts;  // E
  bool fp8;         // else bf16
};

// Whether these weights can take the fast path: all FP8 or all bf16, equal shapes, rows a multiple
// of 16 bytes, 16-byte aligned, at most kExpertsMax.
bool can_run_experts(std::span<const MlpWeights> all);

// What the kernels must know of a layer's weights, to be copied to device memory (128-byte aligned)
// once; the weights stay where they are. can_run_experts(all) holds.
std::vector<std::byte> expert_table(std::span<const MlpWeights> all);
size_t expert_table_bytes(int32_t experts);

enum class ExpertPath : uint8_t { kAuto, kNarrow, kTall };

struct ExpertArgs {
  ExpertShape shape;
  const std::byte* table;  // expert_table() on the device
  const __nv_bfloat16* x;  // [T, x_ld]
  int64_t x_ld;
  int64_t tokens;             // T
  const int32_t* experts;     // [T, K] ids, < E; negative: nothing
  const float* weights;       // [T, K]
  int32_t experts_per_token;  // K
  __nv_bfloat16* out;         // [T, out_ld], overwritten; not x
  int64_t out_ld;
  std::byte* workspace;    // expert_workspace_bytes(), 256-byte aligned
  int64_t tokens_at_once;  // what the workspace was sized for; more tokens go in turns
  ExpertPath path = ExpertPath::kAuto;
  int32_t tile = 0;  // tokens of a tile (narrow 8, 16, 32, 64; tall 128, 256); 0 chooses
};

// Device memory for steps of up to `tokens_at_once` tokens.
size_t expert_workspace_bytes(const ExpertShape& shape, int32_t experts_per_token,
                              int64_t tokens_at_once);

// Errors  what the launches return. T = 0 does nothing.
cudaError_t run_experts(const ExpertArgs& args, cudaStream_t stream);

}  // namespace galley::kernels::cuda

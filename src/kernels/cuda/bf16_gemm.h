// Products of few tokens with bf16 weights on Hopper: y = x * w^T (+ bias), and the first half of a
// SwiGLU block, silu(x * gate^T) * (x * up^T), in one launch.
//
// Plan    gemm_narrow.cuh, as the FP8 products of few tokens: the weight is fetched while the
//         kernels ahead are still running, which in a chain of small products is worth as much as
//         the bandwidth. Small weights are cut over K by the blocks of a cluster.
// Bound   the weight's bytes over the memory's bandwidth.
// Limits  up to kBf16NarrowTokensMax tokens; rows of x and of the weight on 16-byte boundaries.
//         More tokens are cuBLASLt's.
// Rounds  sums in f32, the bias added before the result is rounded once.
// Launches are asynchronous on `stream`, allocate nothing and may be captured in a graph.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace galley::kernels::cuda {

constexpr int64_t kBf16NarrowTokensMax = 64;

struct Bf16GemmArgs {
  const __nv_bfloat16* x = nullptr;  // [T, x_ld]
  int64_t x_ld = 0;
  int64_t tokens = 0;                     // T
  int64_t cols = 0;                       // K
  const __nv_bfloat16* weight = nullptr;  // [M, K]; the gate if there is an `up`
  const __nv_bfloat16* up = nullptr;      // [M, K]; y is then silu(gate) * up
  const __nv_bfloat16* bias = nullptr;    // [M], not beside `up`
  int64_t features = 0;                   // M
  void* y = nullptr;                      // [T, y_ld] bf16, or f32
  int64_t y_ld = 0;
  bool y_f32 = false;  // not beside `up`
};

bool can_run_bf16_gemm(const Bf16GemmArgs& args);

// Errors  what the launches return. T = 0 does nothing.
cudaError_t bf16_gemm(const Bf16GemmArgs& args, cudaStream_t stream);

}  // namespace galley::kernels::cuda

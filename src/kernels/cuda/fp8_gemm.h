// y = x * w^T with FP8 operands: the linear layers of DeepSeek-V3 on Hopper.
//
//   x  [T, K] e4m3, f32 scale for each row and 128 of K (quantize.h)
//   w  [M, K] e4m3 as in the checkpoint, f32 scales [ceil(M / 128), ceil(K / 128)]
//   y  [T, M] bf16 or f32
//
// Products are summed on the tensor cores over 128 of K and promoted to f32 then: y is within
// 1e-3 of the exact product of the quantised operands, relative to sum |x| |w|.
//
// Paths     narrow  T <= kNarrowTokensMax or so: gemm_narrow.cuh, bound by the weight's bytes
//           tall    gemm_tall.cuh, bound by the tensor cores
//           plain   K % 16 != 0 or an unaligned operand, which the copy engine refuses: correct,
//                   slow, no model of ours needs it
// Invariant with batch_invariant set, a token's bits do not depend on T or on its neighbours: every
//           path then adds the 128-blocks of K one after the other. Without it the narrow path cuts
//           K among blocks by (T, M, K), so the same token may round differently at another T; the
//           result for a given T is the same in every run.
// Launches are asynchronous on `stream`, allocate nothing and may be captured in a graph.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/quantize.h"

namespace galley::kernels::cuda {

enum class Fp8GemmPath : uint8_t { kAuto, kNarrow, kTall, kPlain };

struct Fp8GemmArgs {
  Fp8Rows x;                   // T = x.rows, K = x.cols
  const uint8_t* weight;       // [M, K] e4m3
  const float* weight_scales;  // [ceil(M / 128), ceil(K / 128)]
  int64_t features;            // M
  void* y;                     // [T, y_ld]
  int64_t y_ld;                // elements from row to row, >= M
  bool y_f32 = false;          // bf16 otherwise
  bool batch_invariant = false;
  Fp8GemmPath path = Fp8GemmPath::kAuto;
  // 0 chooses. Narrow: blocks that share a tile's K, 1 .. 8. Tall: 1 or 2 times 128 tokens a tile.
  int32_t split = 0;
};

// Errors  what the launch returns. Sizes that do not fit together are the caller's bug
//         (GALLEY_CHECK). T = 0 or M = 0 does nothing; K = 0 writes zeros.
cudaError_t fp8_gemm(const Fp8GemmArgs& args, cudaStream_t stream);

}  // namespace galley::kernels::cuda

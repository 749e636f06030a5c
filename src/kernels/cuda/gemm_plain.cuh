// The matrix product for operands that the copy engine cannot take: any K, any address. Loads byte
// by byte into shared memory, mma.sync from there. Included by fp8_gemm.cu only.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "kernels/cuda/fp8_gemm.h"

namespace galley::kernels::cuda::plain {

constexpr int kTile = 64;    // tokens and features of a block
constexpr int kDepth = 128;  // of K at a time: one scale
constexpr int kPitch = kDepth + 16;
constexpr int kThreads = 128;

// d += a * b^T, a 16 x 32 and b 8 x 32 e4m3.
__device__ __forceinline__ void multiply(float (&d)[4], const uint32_t (&a)[4],
                                         const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Rows row0 .. of a matrix, columns k0 .. of it, zeros outside.
__device__ __forceinline__ void load(uint8_t (*tile)[kPitch], const uint8_t* from, int64_t ld,
                                     int64_t row0, int64_t rows, int64_t k0, int64_t k) {
  for (int i = static_cast<int>(threadIdx.x); i < kTile * kDepth; i += kThreads) {
    const int64_t row = row0 + i / kDepth, column = k0 + i % kDepth;
    tile[i / kDepth][i % kDepth] =
        row < rows && column < k ? from[row * ld + column] : static_cast<uint8_t>(0);
  }
}

// One block: 64 tokens x 64 features; each warp 16 tokens x 64 features.
__global__ __launch_bounds__(kThreads) void kernel(Fp8GemmArgs a) {
  __shared__ alignas(16) uint8_t x[kTile][kPitch], w[kTile][kPitch];
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int64_t token0 = int64_t{blockIdx.y} * kTile, feature0 = int64_t{blockIdx.x} * kTile;
  const int64_t k_blocks = (a.x.cols + kDepth - 1) / kDepth;
  const int64_t first_row = token0 + warp * 16 + lane / 4;

  float sum[kTile / 8][4] = {};
  for (int64_t block = 0; block < k_blocks; ++block) {
    __syncthreads();
    load(x, a.x.codes, a.x.ld, token0, a.x.rows, block * kDepth, a.x.cols);
    load(w, a.weight, a.x.cols, feature0, a.features, block * kDepth, a.x.cols);
    __syncthreads();
    const float weight = a.weight_scales[feature0 / 128 * k_blocks + block];
    float scale[2];
    for (int h = 0; h < 2; ++h) {
      const int64_t row = first_row + 8 * h;
      scale[h] = row < a.x.rows ? weight * a.x.scales[block * a.x.scale_ld + row] : 0.0f;
    }
    float product[kTile / 8][4] = {};
    for (int k = 0; k < kDepth; k += 32) {
      const auto word = [&](const uint8_t(*tile)[kPitch], int row, int column) {
        return *reinterpret_cast<const uint32_t*>(&tile[row][column]);
      };
      const int row = warp * 16 + lane / 4, column = k + lane % 4 * 4;
      const uint32_t left[4] = {word(x, row, column), word(x, row + 8, column),
                                word(x, row, column + 16), word(x, row + 8, column + 16)};
#pragma unroll
      for (int j = 0; j < kTile / 8; ++j) {
        const uint32_t right[2] = {word(w, 8 * j + lane / 4, column),
                                   word(w, 8 * j + lane / 4, column + 16)};
        multiply(product[j], left, right);
      }
    }
#pragma unroll
    for (int j = 0; j < kTile / 8; ++j)
#pragma unroll
      for (int i = 0; i < 4; ++i) sum[j][i] = fmaf(product[j][i], scale[i / 2], sum[j][i]);
  }

#pragma unroll
  for (int j = 0; j < kTile / 8; ++j) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int64_t row = first_row + 8 * (i / 2);
      const int64_t feature = feature0 + 8 * j + 2 * (lane % 4) + i % 2;
      if (row >= a.x.rows || feature >= a.features) continue;
      if (a.y_f32) {
        static_cast<float*>(a.y)[row * a.y_ld + feature] = sum[j][i];
      } else {
        static_cast<__nv_bfloat16*>(a.y)[row * a.y_ld + feature] = __float2bfloat16_rn(sum[j][i]);
      }
    }
  }
}

}  // namespace galley::kernels::cuda::plain

// What the attention kernels share: where a token's sequence and a position's cache row are.
#pragma once

#include "kernels/cuda/convert.cuh"
#include "kernels/ops.h"

namespace galley::kernels::cuda {

// The sequence that token t of the step belongs to.
__device__ inline int sequence_of(const StepBatch& batch, int t) {
  int low = 0, high = batch.num_sequences - 1;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (batch.query_begin[middle] <= t) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

__device__ inline const std::byte* cache_row(const StepBatch& batch, const CacheLayer& cache,
                                             int sequence, int position) {
  const int64_t block =
      batch.block_table[int64_t{sequence} * batch.block_table_ld + position / kBlockTokens];
  return cache.data + (block * kBlockTokens + position % kBlockTokens) * cache.row_bytes;
}

// Value i of a row of plain numbers.
__device__ inline float plain_at(const std::byte* row, CacheFormat format, int64_t i) {
  return format == CacheFormat::kF32 ? reinterpret_cast<const float*>(row)[i]
                                     : to_float(reinterpret_cast<const bf16*>(row)[i]);
}

// Value i of (latent [L], rotated key [R]).
__device__ inline float latent_at(const std::byte* row, CacheFormat format, int latent_dim, int i) {
  if (format != CacheFormat::kFp8Latent) return plain_at(row, format, i);
  const int scales = (latent_dim + 127) / 128;
  if (i < latent_dim) {
    // Rows of odd widths put the scales at any address.
    const auto* at = reinterpret_cast<const unsigned char*>(row + latent_dim + i / 128 * 4);
    const uint32_t bits = at[0] | at[1] << 8 | at[2] << 16 | static_cast<uint32_t>(at[3]) << 24;
    return to_float(reinterpret_cast<const fp8*>(row)[i]) * __uint_as_float(bits);
  }
  const auto* at =
      reinterpret_cast<const unsigned char*>(row + latent_dim + scales * 4 + (i - latent_dim) * 2);
  return __uint_as_float(static_cast<uint32_t>(at[0]) << 16 | static_cast<uint32_t>(at[1]) << 24);
}

// (a, b) rotated by the angle of pair i at a position. Products and sum are rounded one by one,
// as on the CPU.
__device__ inline void rotate_pair(const RopeTable& rope, int position, int i, float& a, float& b) {
  const float cos = rope.cos[int64_t{position} * rope.half_dim + i];
  const float sin = rope.sin[int64_t{position} * rope.half_dim + i];
  const float x = __fsub_rn(__fmul_rn(a, cos), __fmul_rn(b, sin));
  const float y = __fadd_rn(__fmul_rn(b, cos), __fmul_rn(a, sin));
  a = x;
  b = y;
}

__device__ inline int first_of_pair(const RopeTable& rope, int i) {
  return rope.interleaved ? 2 * i : i;
}
__device__ inline int second_of_pair(const RopeTable& rope, int i) {
  return rope.interleaved ? 2 * i + 1 : i + rope.half_dim;
}

}  // namespace galley::kernels::cuda

// Absorbed MLA, the computing warpgroups: the steps that the kernel in mla_decode.cu puts in order.
#pragma once

#include "kernels/cuda/mla_decode_fill.cuh"

namespace galley::kernels::cuda::mla {

// Half of S = Q K over one cache block, issued and committed: half the row is enough to begin. The
// rotary part comes with the second half.
template <bool kFp8, int kBuffer, bool kFirst>
__device__ __forceinline__ void issue_scores(float (&s)[32], uint32_t smem, Barriers barriers,
                                             uint32_t phase) {
  constexpr int kSide = kFirst ? kBuffer : kBuffer ^ 1;
  const hopper::TileDescriptor q(hopper::opaque(smem + Shared::kQ), 1024, 16);
  const hopper::TileDescriptor k(hopper::opaque(smem + Shared::kK + kBuffer * kTile), 1024, 16);
  hopper::barrier_wait(barriers.full(kBuffer, kSide), phase);
  if constexpr (kFp8) hopper::fence_async_shared();  // ordinary stores filled it
  hopper::wgmma_fence();
#pragma unroll
  for (int i = 0; i < (kFirst ? kSideChunks : kSideChunks + 1); ++i) {
    const int chunk = i < kSideChunks ? kSide * kSideChunks + i : kRopeChunk;
#pragma unroll
    for (int step = 0; step < 4; ++step) {
      const uint32_t at = static_cast<uint32_t>(chunk * kChunk + step * 32);
      hopper::Wgmma<64>::bf16(s, q.at(at), k.at(at), kFirst && i + step == 0 ? 0 : 1);
    }
  }
  hopper::wgmma_commit();
}

// O += P V for half of V's values, P in registers.
__device__ __forceinline__ void issue_values(float (&o)[128], const uint32_t (&p)[4][4],
                                             uint32_t values) {
  const hopper::TileDescriptor v(hopper::opaque(values), 1024, kChunk);
  hopper::wgmma_fence();
#pragma unroll
  for (int step = 0; step < 4; ++step)
    hopper::wgmma_m64n256k16_rs_transposed(o, p[step], v.at(static_cast<uint32_t>(step) * 16 * 128),
                                           1);
  hopper::wgmma_commit();
}

// The same with the other warpgroup's P, in shared memory.
__device__ __forceinline__ void issue_values(float (&o)[128], uint32_t tile, uint32_t values) {
  const hopper::TileDescriptor p(hopper::opaque(tile), 1024, 16);
  const hopper::TileDescriptor v(hopper::opaque(values), 1024, kChunk);
  hopper::wgmma_fence();
#pragma unroll
  for (int step = 0; step < 4; ++step)
    hopper::wgmma_m64n256k16_ss_transposed(o, p.at(static_cast<uint32_t>(step) * 32),
                                           v.at(static_cast<uint32_t>(step) * 16 * 128), 1);
  hopper::wgmma_commit();
}

// Multiplies the rows of o by their factors; most of the time the maximum did not move.
__device__ __forceinline__ void rescale(float (&o)[128], float low, float high) {
  if (__all_sync(0xffffffffu, low == 1.0f && high == 1.0f)) return;
#pragma unroll
  for (int i = 0; i < 32; ++i) {
    o[4 * i] *= low;
    o[4 * i + 1] *= low;
    o[4 * i + 2] *= high;
    o[4 * i + 3] *= high;
  }
}

// A thread's two rows.
struct RowPair {
  float low;
  float high;
};

// Hides keys from `visible` on (columns of s) from the two rows.
__device__ __forceinline__ void mask(float (&s)[32], int visible_low, int visible_high) {
  const int column0 = static_cast<int>(threadIdx.x) % 4 * 2;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const int column = 8 * i + column0 + j;
      if (column >= visible_low) s[4 * i + j] = -INFINITY;
      if (column >= visible_high) s[4 * i + 2 + j] = -INFINITY;
    }
  }
}

// Scores to probabilities against the new maximum; adds them up and packs them for the products.
__device__ __forceinline__ void softmax(const float (&s)[32], float scale_log2, RowPair before,
                                        RowPair& max, RowPair& factor, RowPair& sum,
                                        uint32_t (&p)[4][4]) {
  float low = s[0], high = s[2];
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    low = fmaxf(low, fmaxf(s[4 * i], s[4 * i + 1]));
    high = fmaxf(high, fmaxf(s[4 * i + 2], s[4 * i + 3]));
  }
#pragma unroll
  for (int offset = 1; offset < 4; offset *= 2) {
    low = fmaxf(low, __shfl_xor_sync(0xffffffffu, low, offset));
    high = fmaxf(high, __shfl_xor_sync(0xffffffffu, high, offset));
  }
  max.low = fmaxf(before.low, low * scale_log2);
  max.high = fmaxf(before.high, high * scale_log2);
  // A row that has seen nothing yet has no maximum; any number will do.
  const float base_low = max.low == -INFINITY ? 0.0f : max.low;
  const float base_high = max.high == -INFINITY ? 0.0f : max.high;
  factor.low = hopper::exp2_approx(before.low - base_low);
  factor.high = hopper::exp2_approx(before.high - base_high);
  float sum_low = 0.0f, sum_high = 0.0f;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const float a = hopper::exp2_approx(fmaf(s[4 * i], scale_log2, -base_low));
    const float b = hopper::exp2_approx(fmaf(s[4 * i + 1], scale_log2, -base_low));
    const float c = hopper::exp2_approx(fmaf(s[4 * i + 2], scale_log2, -base_high));
    const float d = hopper::exp2_approx(fmaf(s[4 * i + 3], scale_log2, -base_high));
    sum_low += a + b;
    sum_high += c + d;
    p[i / 2][i % 2 * 2] = hopper::pack_bf16(a, b);
    p[i / 2][i % 2 * 2 + 1] = hopper::pack_bf16(c, d);
  }
  sum.low = sum.low * factor.low + sum_low;
  sum.high = sum.high * factor.high + sum_high;
}

// P as the left operand of the other warpgroup's product.
__device__ __forceinline__ void share(const uint32_t (&p)[4][4], uint32_t tile) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = thread_in_group() / 32;
  const int row = warp * 16 + lane / 8 % 2 * 8 + lane % 8;
#pragma unroll
  for (int step = 0; step < 4; ++step) {
    const int piece = 2 * step + lane / 16;
    hopper::store_matrices(tile + row * 128 + ((piece ^ (row % 8)) << 4), p[step]);
  }
}

// Cache rows past the context belong to nobody: whatever they hold must not reach a product, where
// even a weight of zero would keep a NaN. By all threads of one warpgroup, rarely.
__device__ __forceinline__ void zero_rows(uint32_t buffer, int first_row) {
#pragma unroll 1
  for (int i = thread_in_group(); i < (kBlockTokens - first_row) * kRopeChunk * 8; i += 128) {
    const int row = first_row + i / (kRopeChunk * 8);
    hopper::store_shared(buffer + i / 8 % kRopeChunk * kChunk + row * 128 + i % 8 * 16, 0, 0, 0, 0);
  }
  hopper::fence_async_shared();
}

// What a computing thread knows of its place in the piece.
struct Place {
  int row[2];       // of the thread, within the sequence
  bool valid[2];    // they exist
  int visible[2];   // positions that they see
  int visible_min;  // by the first row of the tile
};

__device__ __forceinline__ Place place_of(const AttentionPiece& piece, int num_heads, int rank) {
  const int rows = piece.query_len * num_heads;
  const int first = piece.row + rank * kTileRows;
  const int in_tile = thread_in_group() / 32 * 16 + static_cast<int>(threadIdx.x) % 32 / 4;
  const auto visible = [&](int row) {
    return piece.context_len - piece.query_len + min(row, rows - 1) / num_heads + 1;
  };
  Place place;
  for (int i = 0; i < 2; ++i) {
    place.row[i] = first + in_tile + 8 * i;
    place.valid[i] = place.row[i] < rows;
    place.visible[i] = visible(place.row[i]);
  }
  place.visible_min = visible(first);
  return place;
}

// Joins the two warpgroups' sums and writes this one's half of the rows.
template <int kGroup>
__device__ __forceinline__ void finish(const KernelArgs& args, const AttentionPiece& piece,
                                       const Place& place, int rows_per_unit, int rank,
                                       const float (&o)[128], RowPair max, RowPair sum,
                                       float (&shared_sums)[2][kTileRows]) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int in_tile = thread_in_group() / 32 * 16 + lane / 4;
#pragma unroll
  for (int offset = 1; offset < 4; offset *= 2) {
    sum.low += __shfl_xor_sync(0xffffffffu, sum.low, offset);
    sum.high += __shfl_xor_sync(0xffffffffu, sum.high, offset);
  }
  if (lane % 4 == 0) {
    shared_sums[kGroup][in_tile] = sum.low;
    shared_sums[kGroup][in_tile + 8] = sum.high;
  }
  hopper::named_barrier(kSums, 256);
  const float total[2] = {shared_sums[0][in_tile] + shared_sums[1][in_tile],
                          shared_sums[0][in_tile + 8] + shared_sums[1][in_tile + 8]};
  const float maximum[2] = {max.low, max.high};
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float inverse = total[half] > 0.0f ? 1.0f / total[half] : 0.0f;
    if (piece.slot < 0) {
      __nv_bfloat16* const to =
          args.out + (int64_t{piece.first_token} * args.num_heads + place.row[half]) * kMlaLatent +
          kGroup * 256;
#pragma unroll
      for (int octets = 0; octets < 32; octets += 4) {
        uint32_t word[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int at = 4 * (octets + i) + 2 * half;
          word[i] = hopper::pack_bf16(o[at] * inverse, o[at + 1] * inverse);
        }
        hopper::exchange_quad(word);
        if (place.valid[half]) {
          *reinterpret_cast<uint4*>(to + (octets + lane % 4) * 8) =
              make_uint4(word[0], word[1], word[2], word[3]);
        }
      }
    } else if (place.valid[half]) {
      const int64_t row =
          int64_t{piece.slot} * rows_per_unit + rank * kTileRows + in_tile + 8 * half;
      float* const to = args.partial + row * kMlaLatent + kGroup * 256 + lane % 4 * 2;
#pragma unroll
      for (int i = 0; i < 32; ++i) {
        *reinterpret_cast<float2*>(to + 8 * i) =
            make_float2(o[4 * i + 2 * half] * inverse, o[4 * i + 2 * half + 1] * inverse);
      }
      if (kGroup == 0 && lane % 4 == 0)
        args.lse[row] = total[half] > 0.0f ? maximum[half] + log2f(total[half]) : -INFINITY;
    }
  }
}

}  // namespace galley::kernels::cuda::mla

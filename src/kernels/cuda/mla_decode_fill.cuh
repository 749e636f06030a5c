// Absorbed MLA, the third warpgroup: what lies where in shared memory, and how it gets there.
#pragma once

#include "kernels/cuda/attention_plan.h"
#include "kernels/cuda/attention_tiles.cuh"
#include "kernels/cuda/mla_decode.h"

namespace galley::kernels::cuda::mla {

constexpr int kTileRows = 64;            // query rows of a block of threads
constexpr int kChunk = 64 * 128;         // bytes: 64 rows of 64 bf16
constexpr int kChunks = kMlaKey / 64;    // 9; the last is the rotary part
constexpr int kSideChunks = 4;           // chunks of half an output
constexpr int kRopeChunk = kChunks - 1;  // and, after S, P
constexpr int kTile = kChunks * kChunk;  // 64 x 576 bf16
constexpr int kThreads = 384;

// Named barriers; 0 is __syncthreads.
enum Barrier { kProbabilities0 = 1, kProbabilities1, kZeroed0, kZeroed1, kSums, kExpanded };

struct Shared {
  // Offsets in bytes from the (1,024-aligned) beginning of shared memory.
  static constexpr int kQ = 0;
  static constexpr int kK = kTile;  // two buffers
  static constexpr int kStats = 3 * kTile;
  static constexpr int kBarriers = kStats + (4 + 4) * kTileRows * static_cast<int>(sizeof(float));
  static constexpr int kBytes = kBarriers + 16 * 8;
};

struct Stats {
  float max[2][kTileRows];     // running maximum after P0, P1
  float factor[2][kTileRows];  // what the output so far is multiplied with
  float sum[2][2][kTileRows];  // [piece parity][warpgroup]
};
static_assert(sizeof(Stats) == Shared::kBarriers - Shared::kStats);
static_assert(Shared::kBytes <= 232448, "what a block may have on Hopper");

struct Barriers {
  uint32_t base;
  __device__ uint32_t q_full() const { return base; }
  __device__ uint32_t q_empty() const { return base + 8; }
  // side 0: left half, 1: right half. The rotary chunk comes with P's reader: with the right half
  // of buffer 0 and the left half of buffer 1.
  __device__ uint32_t full(int buffer, int side) const {
    return base + 16 + (buffer * 2 + side) * 8;
  }
  __device__ uint32_t empty(int buffer, int side) const {
    return base + 48 + (buffer * 2 + side) * 8;
  }
};

struct KernelArgs {
  const int32_t* block_table;
  int32_t block_table_ld;
  int32_t num_heads;
  const int32_t* partition_begin;
  const AttentionPiece* pieces;
  float* lse;
  float* partial;
  __nv_bfloat16* out;
  float scale_log2;
  const std::byte* cache;  // FP8 rows
  int64_t row_bytes;
  int32_t prefetch_blocks;  // how far ahead of the copies L2 is filled
};

__device__ __forceinline__ int thread_in_group() {
  return static_cast<int>(threadIdx.x) % 128;
}

// Walks the pieces; bf16 rows by the copy engine. One warp: lane 0 issues.
template <int kCluster>
__device__ void fill_bf16(const KernelArgs& args, const CUtensorMap& q_map,
                          const CUtensorMap& cache_map, uint32_t smem, Barriers barriers,
                          int partition, int rank) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const auto copy_chunk = [&](int buffer, int chunk, int block, uint32_t barrier) {
    const uint32_t to = smem + Shared::kK + buffer * kTile + chunk * kChunk;
    const int row = block * kBlockTokens;
    if constexpr (kCluster > 1) {
      hopper::copy_box_3d_multicast(to, &cache_map, barrier, (1 << kCluster) - 1, 0, row, chunk);
    } else {
      hopper::copy_box_3d(to, &cache_map, barrier, 0, row, chunk);
    }
  };
  // Blocks of a cluster bring half of the chunks each, for both.
  constexpr int kOwnChunks = kSideChunks / kCluster;
  uint32_t q_phase = 0, phase[2] = {0, 0};
  const int piece_end = args.partition_begin[partition + 1];
  for (int p = args.partition_begin[partition]; p < piece_end; ++p) {
    const AttentionPiece piece = args.pieces[p];
    if (lane == 0) {
      hopper::barrier_wait(barriers.q_empty(), q_phase ^ 1);
      hopper::barrier_expect(barriers.q_full(), kTile);
      const int row = piece.first_token * args.num_heads + piece.row + rank * kTileRows;
      for (int chunk = 0; chunk < kChunks; ++chunk)
        hopper::copy_box_3d(smem + Shared::kQ + chunk * kChunk, &q_map, barriers.q_full(), 0, row,
                            chunk);
    }
    q_phase ^= 1;
    const int32_t* table = args.block_table + int64_t{piece.sequence} * args.block_table_ld;
    const int num_blocks = piece.block_end - piece.block_begin;
    int ids = 0, next_ids = 0;  // of 32 blocks, one a lane, and of the 32 after
    for (int i = 0; i < num_blocks; ++i) {
      if (i % 32 == 0) {
        const int own = piece.block_begin + i + lane;
        ids = i == 0 ? (own < piece.block_end ? table[own] : 0) : next_ids;
        next_ids = own + 32 < piece.block_end ? table[own + 32] : 0;
      }
      const int block = __shfl_sync(0xffffffffu, ids, i % 32);
      const int ahead = i % 32 + args.prefetch_blocks;
      const int ahead_low = __shfl_sync(0xffffffffu, ids, ahead % 32);
      const int ahead_high = __shfl_sync(0xffffffffu, next_ids, ahead % 32);
      const int buffer = i % 2;
      if (lane == 0) {
        // Buffer 0 is free left half first, buffer 1 right half first.
        for (int step = 0; step < 2; ++step) {
          const int side = step ^ buffer;
          const bool rope = side != buffer;
          hopper::barrier_wait(barriers.empty(buffer, side),
                               (buffer == 0 ? phase[0] : phase[1]) ^ 1);
          const uint32_t full = barriers.full(buffer, side);
          hopper::barrier_expect(full, (kSideChunks + (rope ? 1 : 0)) * kChunk);
          for (int own = 0; own < kOwnChunks; ++own)
            copy_chunk(buffer, side * kSideChunks + rank * kOwnChunks + own, block, full);
          if (rope && (kCluster == 1 || buffer == rank))
            copy_chunk(buffer, kRopeChunk, block, full);
        }
        if (args.prefetch_blocks > 0 && i + args.prefetch_blocks < num_blocks) {
          const int later = ahead < 32 ? ahead_low : ahead_high;
          for (int chunk = rank; chunk < kChunks; chunk += kCluster)
            hopper::prefetch_box_3d(&cache_map, 0, later * kBlockTokens, chunk);
        }
      }
      phase[0] ^= buffer == 0;
      phase[1] ^= buffer == 1;
    }
  }
}

// FP8 rows: L e4m3, L / 128 f32 scales, R bf16. All 128 threads expand them to bf16; a thread has
// one or two rows of the block, and of each chunk of 64 values of them 16. Blocks of a cluster
// expand half of the rows each; the copy engine takes them to the other block.
//
// The halves of the blocks are filled in the order in which they become free: left 0, right 0,
// right 1, left 1, left 2, ... What is loaded after one is stored is the next but one, so that a
// load has the time of one expansion to come; nothing else may be loaded in this loop, because a
// thread that waits for one load may wait for all of them.
template <int kCluster>
__device__ void fill_fp8(const KernelArgs& args, const CUtensorMap& q_map,
                         const CUtensorMap& rope_map, uint32_t smem, Barriers barriers,
                         int partition, int rank) {
  constexpr bool kShare = kCluster > 1;
  const int thread = thread_in_group(), lane = thread % 32;
  constexpr int kRows = kShare ? 1 : 2;  // of a thread, 8 apart
  const int row0 = (kShare ? rank * 32 : 0) + thread / 32 * (8 * kRows) + lane / 4;
  const int quarter = lane % 4;
  struct Side {
    uint4 values[kRows][kSideChunks];  // [row][chunk]
    float2 scales[kRows];              // [row], of the first and the last two chunks
  };
  Side first, second;  // of a block, in the order of filling
  uint32_t q_phase = 0, phase[2] = {0, 0};

  const auto load_side = [&](int block, int side, Side& to) {
    const std::byte* row = args.cache + (int64_t{block} * kBlockTokens + row0) * args.row_bytes;
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const auto* values =
          reinterpret_cast<const uint4*>(row + side * (kSideChunks * 64)) + quarter;
#pragma unroll
      for (int c = 0; c < kSideChunks; ++c) to.values[r][c] = __ldg(values + c * 4);
      to.scales[r] = __ldg(reinterpret_cast<const float2*>(row + kMlaLatent) + side);
      row += 8 * args.row_bytes;
    }
  };
  // From an address in this block to the same one in the other block of the cluster.
  const uint32_t to_peer =
      kShare ? hopper::remote_address(smem, static_cast<uint32_t>(rank) ^ 1) - smem : 0;
  const auto store_side = [&](int buffer, int side, const Side& from) {
    const uint32_t to =
        hopper::opaque(smem + Shared::kK + buffer * kTile + side * kSideChunks * kChunk +
                       row0 * 128 + (((quarter * 2) ^ (row0 % 8)) << 4));
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
#pragma unroll
      for (int c = 0; c < kSideChunks; ++c) {
        const float scale = c < 2 ? from.scales[r].x : from.scales[r].y;
        const uint4 v = from.values[r][c];
        const uint32_t words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          uint32_t packed[4];
#pragma unroll
          for (int w = 0; w < 2; ++w) {
            const uint32_t word = words[half * 2 + w];
            const float2 low = hopper::unpack_e4m3(static_cast<uint16_t>(word & 0xffff));
            const float2 high = hopper::unpack_e4m3(static_cast<uint16_t>(word >> 16));
            packed[2 * w] = hopper::pack_bf16(low.x * scale, low.y * scale);
            packed[2 * w + 1] = hopper::pack_bf16(high.x * scale, high.y * scale);
          }
          // The second piece of a pair: the lowest bit of the piece, exchanged or not.
          const uint32_t at = (to + c * kChunk + r * (8 * 128)) ^ (half << 4);
          hopper::store_shared(at, packed[0], packed[1], packed[2], packed[3]);
        }
      }
    }
    if constexpr (kShare) {
      hopper::fence_async_shared();
      hopper::named_barrier(kExpanded, 128);
      if (lane == 0) {  // a chunk for each warp
        constexpr uint32_t kBytes = kBlockTokens / kCluster * 128;
        const uint32_t at = smem + Shared::kK + buffer * kTile +
                            (side * kSideChunks + thread / 32) * kChunk + rank * kBytes;
        hopper::copy_to_peer(at + to_peer, at, barriers.full(buffer, side) + to_peer, kBytes);
      }
      __syncwarp();
    }
  };

  const int piece_end = args.partition_begin[partition + 1];
  for (int p = args.partition_begin[partition]; p < piece_end; ++p) {
    const AttentionPiece piece = args.pieces[p];
    const int32_t* table = args.block_table + int64_t{piece.sequence} * args.block_table_ld;
    const int num_blocks = piece.block_end - piece.block_begin;
    int ids = 0, next_ids = 0;  // of 32 blocks, one a lane, and of the 32 after
    const auto read_ids = [&](int i) {
      const int own = piece.block_begin + i + lane;
      return own < piece.block_end ? table[own] : 0;
    };
    // The block `ahead` (below 32) of block i.
    const auto id_of = [&](int i, int ahead) {
      const int at = i % 32 + ahead;
      const int low = __shfl_sync(0xffffffffu, ids, at % 32);
      const int high = __shfl_sync(0xffffffffu, next_ids, at % 32);
      return at < 32 ? low : high;
    };
    for (int i = 0; i < num_blocks; ++i) {
      const int buffer = i % 2;
      if (i % 32 == 0) {
        ids = i == 0 ? read_ids(0) : next_ids;
        next_ids = read_ids(i + 32);
      }
      const int block = id_of(i, 0), next = id_of(i, 1);
      if (i == 0) {
        load_side(block, 0, first);
        load_side(block, 1, second);
        if (thread == 0) {
          hopper::barrier_wait(barriers.q_empty(), q_phase ^ 1);
          hopper::barrier_expect(barriers.q_full(), kTile);
          const int row = piece.first_token * args.num_heads + piece.row + rank * kTileRows;
#pragma unroll 1
          for (int chunk = 0; chunk < kChunks; ++chunk)
            hopper::copy_box_3d(smem + Shared::kQ + chunk * kChunk, &q_map, barriers.q_full(), 0,
                                row, chunk);
        }
        q_phase ^= 1;
      }
      if (args.prefetch_blocks > 0) {
        const int later = id_of(i, 1 + args.prefetch_blocks);
        if (thread == 0 && i + 1 + args.prefetch_blocks < num_blocks) {
          const int64_t bytes = kBlockTokens / kCluster * args.row_bytes;
          hopper::prefetch_bulk(args.cache + later * kBlockTokens * args.row_bytes + rank * bytes,
                                static_cast<uint32_t>(bytes));
        }
      }
      const uint32_t parity = (buffer == 0 ? phase[0] : phase[1]) ^ 1;
      const auto fill_side = [&](int side, Side& values) {
        const uint32_t full = barriers.full(buffer, side);
        hopper::barrier_wait(barriers.empty(buffer, side), parity);
        store_side(buffer, side, values);
        // The computing warpgroups fence: a fence here would wait for these loads.
        if (i + 1 < num_blocks) load_side(next, side ^ 1, values);
        const bool rope = side != buffer;
        if (thread == 0 && (rope || kShare)) {
          // What the copy engine and the other block of the cluster bring.
          hopper::barrier_expect(
              full, (rope ? kChunk : 0) + (kShare ? kSideChunks * kChunk / kCluster : 0));
          if (rope) {
            hopper::copy_box_3d(smem + Shared::kK + buffer * kTile + kRopeChunk * kChunk, &rope_map,
                                full, 0, block * kBlockTokens, 0);
          }
        } else {
          hopper::barrier_arrive(full);
        }
      };
      // Buffer 0 is free left half first, buffer 1 right half first.
      fill_side(buffer, first);
      fill_side(buffer ^ 1, second);
      phase[0] ^= buffer == 0;
      phase[1] ^= buffer == 1;
    }
  }
}

}  // namespace galley::kernels::cuda::mla

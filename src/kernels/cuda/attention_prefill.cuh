// Attention of many queries, shared by mla_prefill.cu and gqa.cu: keys and values of a head apart,
// in rows of memory (MLA, expanded) or in the paged cache (GQA).
//
// Plan    A tile is 128 queries of one head, over key blocks of 128 from the last visible one down.
//         A resident block of threads takes tiles from a counter: longest first within a section of
//         heads whose keys and values fit in L2 together. Warpgroup 2 keeps the copy engine two
//         blocks ahead; warpgroups 0 and 1 have 64 queries each. A warpgroup issues the scores of
//         the next block and the values of this one together, and computes exponentials while both
//         run; named barriers make the warpgroups take turns, so one's exponentials hide behind the
//         other's products.
// Rows    Key blocks are cut at multiples of 128 positions, so that the result of a query does not
//         depend on where the step begins or on its neighbours.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention_tiles.cuh"
#include "kernels/ops.h"

namespace galley::kernels::cuda::prefill {

constexpr int kTileQueries = 128;
constexpr int kBlockKeys = 128;
constexpr int kChunk = 128 * 128;  // bytes: 128 rows of 64 bf16
constexpr int kStages = 2;
constexpr int kThreads = 384;

// Shape of a problem: 64 values make a chunk.
template <int kKeyChunksIn, int kValueChunksIn, bool kPagedIn>
struct Shape {
  static constexpr int kKeyChunks = kKeyChunksIn;      // of queries and keys
  static constexpr int kValueChunks = kValueChunksIn;  // of values and outputs: 1 or 2
  static constexpr bool kPaged = kPagedIn;
  static constexpr int kK = kKeyChunks * kChunk;  // also Q
  static constexpr int kV = kValueChunks * kChunk;
  static constexpr int kBoxRows = kPaged ? kBlockTokens : kBlockKeys;
};

struct Args {
  const int32_t* query_begin;  // [S + 1]
  const int32_t* context_len;  // [S]
  const int32_t* kv_begin;     // [S] first row of keys and values; unpaged
  const int32_t* block_table;  // paged
  int32_t block_table_ld;
  int32_t num_sequences;
  int32_t num_heads;
  int32_t heads_per_kv;      // query heads that share keys and values
  int32_t section_heads;     // divides num_heads
  int32_t q_head_planes;     // chunks from a head of queries to the next
  int32_t k_head_planes;     // of keys
  int32_t v_head_planes;     // of values
  int32_t k_rope_chunk;      // chunk of the key that all heads share, from its own map; -1: none
  int32_t* next_tile;        // counter, zero at launch
  __nv_bfloat16* out;        // [T, N, values]
  int64_t out_token_stride;  // in values
  float scale_log2;
};

struct Maps {
  CUtensorMap q, k, k_rope, v;
};

struct Tile {
  int32_t first_token;  // of the sequence, in the step
  int32_t query_len;
  int32_t past;        // positions before the step
  int32_t query;       // first of the tile, within the sequence
  int32_t head;        // -1: no more tiles
  int32_t num_blocks;  // of keys
  int32_t kv_row;      // unpaged: row of position 0
  int32_t sequence;
};

template <typename S>
struct Shared {
  static constexpr int kQ = 0;
  static constexpr int kK = S::kK;
  static constexpr int kV = kK + kStages * S::kK;
  static constexpr int kTiles = kV + kStages * S::kV;
  static constexpr int kBarriers = kTiles + 2 * static_cast<int>(sizeof(Tile));
  static constexpr int kBytes = kBarriers + 16 * 8;
  static_assert(kBytes <= 232448, "what a block may have on Hopper");
};

struct Barriers {
  uint32_t base;
  __device__ uint32_t q_full() const { return base; }
  __device__ uint32_t q_empty() const { return base + 8; }
  __device__ uint32_t k_full(uint32_t stage) const { return base + 16 + stage * 8; }
  __device__ uint32_t k_empty(uint32_t stage) const { return base + 32 + stage * 8; }
  __device__ uint32_t v_full(uint32_t stage) const { return base + 48 + stage * 8; }
  __device__ uint32_t v_empty(uint32_t stage) const { return base + 64 + stage * 8; }
  __device__ uint32_t tile_full(uint32_t slot) const { return base + 80 + slot * 8; }
  __device__ uint32_t tile_empty(uint32_t slot) const { return base + 96 + slot * 8; }
};

// Named barriers; 0 is __syncthreads. kTurn + g: warpgroup g may issue its products.
enum NamedBarrier { kTurn = 1, kZeroed = 3 };

// Uses of a ring of two.
struct Ring {
  uint32_t uses = 0;
  __device__ uint32_t stage() const { return uses % 2; }
  __device__ uint32_t parity() const { return uses / 2 % 2; }
  __device__ void advance() { ++uses; }
};

// --- the filling warp ---------------------------------------------------------------------------

// Turns the counter into tiles. All lanes call it; lane l knows sequence chunk_begin + l.
struct TileFinder {
  const Args& args;
  int chunk_begin = 0;   // first of 32 sequences
  int tiles_before = 0;  // tiles of all sequences before the chunk
  int own_begin = 0;     // tiles of the chunk before the lane's sequence
  int own_tiles = 0;
  int chunk_tiles = 0;

  __device__ explicit TileFinder(const Args& args_in) : args(args_in) { load(); }

  __device__ void load() {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int sequence = chunk_begin + lane;
    own_tiles = 0;
    if (sequence < args.num_sequences) {
      const int queries = args.query_begin[sequence + 1] - args.query_begin[sequence];
      own_tiles = (queries + kTileQueries - 1) / kTileQueries * args.num_heads;
    }
    int sum = own_tiles;
    for (int offset = 1; offset < 32; offset *= 2) {
      const int other = __shfl_up_sync(0xffffffffu, sum, offset);
      if (lane >= offset) sum += other;
    }
    own_begin = sum - own_tiles;
    chunk_tiles = __shfl_sync(0xffffffffu, sum, 31);
  }

  __device__ Tile find(int index) {
    Tile tile = {};
    tile.head = -1;
    while (index - tiles_before >= chunk_tiles) {
      tiles_before += chunk_tiles;
      chunk_begin += 32;
      if (chunk_begin >= args.num_sequences) return tile;
      load();
    }
    const int in_chunk = index - tiles_before;
    const unsigned holds =
        __ballot_sync(0xffffffffu, in_chunk >= own_begin && in_chunk < own_begin + own_tiles);
    const int lane = __ffs(static_cast<int>(holds)) - 1;
    const int in_sequence = in_chunk - __shfl_sync(0xffffffffu, own_begin, lane);
    tile.sequence = chunk_begin + lane;
    tile.first_token = args.query_begin[tile.sequence];
    tile.query_len = args.query_begin[tile.sequence + 1] - tile.first_token;
    tile.past = args.context_len[tile.sequence] - tile.query_len;
    tile.kv_row = args.kv_begin != nullptr ? args.kv_begin[tile.sequence] : 0;
    // Sections of heads; in each the longest tiles first, and the heads of a length together.
    const int levels = (tile.query_len + kTileQueries - 1) / kTileQueries;
    const int section = in_sequence / (levels * args.section_heads);
    const int in_section = in_sequence % (levels * args.section_heads);
    tile.query = (levels - 1 - in_section / args.section_heads) * kTileQueries;
    tile.head = section * args.section_heads + in_section % args.section_heads;
    const int visible = tile.past + min(tile.query + kTileQueries, tile.query_len);
    tile.num_blocks = (visible + kBlockKeys - 1) / kBlockKeys;
    return tile;
  }
};

template <typename S>
__device__ void fill(const Args& args, const Maps& maps, uint32_t smem, Barriers barriers,
                     Tile* shared_tiles) {
  using L = Shared<S>;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  TileFinder finder(args);
  Ring tiles, blocks;
  uint32_t q_phase = 0;
  while (true) {
    int index = 0;
    if (lane == 0) index = atomicAdd(args.next_tile, 1);
    index = __shfl_sync(0xffffffffu, index, 0);
    const Tile tile = finder.find(index);
    if (lane == 0) {
      hopper::barrier_wait(barriers.tile_empty(tiles.stage()), tiles.parity() ^ 1);
      shared_tiles[tiles.stage()] = tile;
      hopper::barrier_arrive(barriers.tile_full(tiles.stage()));
    }
    tiles.advance();
    if (tile.head < 0) return;
    const int kv_head = tile.head / args.heads_per_kv;
    const int32_t* table = args.block_table + int64_t{tile.sequence} * args.block_table_ld;
    const int last_page = (tile.past + tile.query_len - 1) /
                          kBlockTokens;  // of the sequence; later ones do not exist
    for (int block = tile.num_blocks - 1; block >= 0; --block) {
      int row[2] = {tile.kv_row + block * kBlockKeys, 0};
      if constexpr (S::kPaged) {
        row[0] = table[min(2 * block, last_page)] * kBlockTokens;
        row[1] = table[min(2 * block + 1, last_page)] * kBlockTokens;
      }
      const auto copy = [&](uint32_t to, const CUtensorMap& map, uint32_t barrier, int plane) {
        hopper::copy_box_3d(to, &map, barrier, 0, row[0], plane);
        if constexpr (S::kPaged)
          hopper::copy_box_3d(to + kChunk / 2, &map, barrier, 0, row[1], plane);
      };
      if (lane == 0) {
        const uint32_t stage = blocks.stage(), parity = blocks.parity() ^ 1;
        hopper::barrier_wait(barriers.k_empty(stage), parity);
        hopper::barrier_expect(barriers.k_full(stage), S::kK);
        const uint32_t k = smem + L::kK + stage * S::kK;
        for (int c = 0; c < S::kKeyChunks; ++c) {
          const bool rope = c == args.k_rope_chunk;
          copy(k + c * kChunk, rope ? maps.k_rope : maps.k, barriers.k_full(stage),
               rope ? 0 : kv_head * args.k_head_planes + c);
        }
        if (block == tile.num_blocks - 1) {
          hopper::barrier_wait(barriers.q_empty(), q_phase ^ 1);
          hopper::barrier_expect(barriers.q_full(), S::kK);
          for (int c = 0; c < S::kKeyChunks; ++c)
            hopper::copy_box_3d(smem + L::kQ + c * kChunk, &maps.q, barriers.q_full(), 0,
                                tile.first_token + tile.query, tile.head * args.q_head_planes + c);
        }
        hopper::barrier_wait(barriers.v_empty(stage), parity);
        hopper::barrier_expect(barriers.v_full(stage), S::kV);
        const uint32_t v = smem + L::kV + stage * S::kV;
        for (int c = 0; c < S::kValueChunks; ++c)
          copy(v + c * kChunk, maps.v, barriers.v_full(stage), kv_head * args.v_head_planes + c);
      }
      blocks.advance();
    }
    q_phase ^= 1;
  }
}

// --- the computing warpgroups -------------------------------------------------------------------

template <typename S>
__device__ __forceinline__ void issue_scores(float (&s)[64], uint32_t q_smem, uint32_t k_smem) {
  const hopper::TileDescriptor q(hopper::opaque(q_smem), 1024, 16);
  const hopper::TileDescriptor k(hopper::opaque(k_smem), 1024, 16);
  hopper::wgmma_fence();
#pragma unroll
  for (int c = 0; c < S::kKeyChunks; ++c) {
#pragma unroll
    for (int step = 0; step < 4; ++step) {
      const uint32_t at = static_cast<uint32_t>(c * kChunk + step * 32);
      hopper::Wgmma<128>::bf16(s, q.at(at), k.at(at), c + step == 0 ? 0 : 1);
    }
  }
  hopper::wgmma_commit();
}

template <typename S>
__device__ __forceinline__ void issue_values(float (&o)[S::kValueChunks * 32],
                                             const uint32_t (&p)[8][4], uint32_t v_smem) {
  const hopper::TileDescriptor v(hopper::opaque(v_smem), 1024, kChunk);
  hopper::wgmma_fence();
#pragma unroll
  for (int step = 0; step < 8; ++step) {
    const uint64_t at = v.at(static_cast<uint32_t>(step * (16 * 128)));
    if constexpr (S::kValueChunks == 2) {
      hopper::wgmma_m64n128k16_rs_transposed(o, p[step], at, 1);
    } else {
      hopper::wgmma_m64n64k16_rs_transposed(o, p[step], at, 1);
    }
  }
  hopper::wgmma_commit();
}

// Running maxima (scaled, base 2) and sums of a thread's two rows.
struct Softmax {
  float max[2] = {-INFINITY, -INFINITY};
  float sum[2] = {0.0f, 0.0f};

  // s becomes exponentials; factor is what the output so far is multiplied with.
  __device__ __forceinline__ void step(float (&s)[64], float scale_log2, float (&factor)[2]) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float top = s[2 * half];
#pragma unroll
      for (int i = 0; i < 16; ++i)
        top = fmaxf(top, fmaxf(s[4 * i + 2 * half], s[4 * i + 2 * half + 1]));
      top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 1));
      top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 2));
      const float before = max[half];
      max[half] = fmaxf(before, top * scale_log2);
      // A row that has seen nothing yet has no maximum; any number will do.
      const float base = max[half] == -INFINITY ? 0.0f : max[half];
      factor[half] = hopper::exp2_approx(before - base);
      float total = 0.0f;
#pragma unroll
      for (int i = 0; i < 16; ++i) {
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          float& value = s[4 * i + 2 * half + j];
          value = hopper::exp2_approx(fmaf(value, scale_log2, -base));
          total += value;
        }
      }
      sum[half] = sum[half] * factor[half] + total;
    }
  }
};

// Hides keys from `visible` on (columns of s) from the two rows.
__device__ __forceinline__ void mask(float (&s)[64], int visible_low, int visible_high) {
  const int column0 = static_cast<int>(threadIdx.x) % 4 * 2;
#pragma unroll
  for (int i = 0; i < 16; ++i) {
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const int column = 8 * i + column0 + j;
      if (column >= visible_low) s[4 * i + j] = -INFINITY;
      if (column >= visible_high) s[4 * i + 2 + j] = -INFINITY;
    }
  }
}

__device__ __forceinline__ void pack(const float (&s)[64], uint32_t (&p)[8][4]) {
#pragma unroll
  for (int step = 0; step < 8; ++step) {
#pragma unroll
    for (int j = 0; j < 4; ++j)
      p[step][j] = hopper::pack_bf16(s[8 * step + 2 * j], s[8 * step + 2 * j + 1]);
  }
}

template <typename S, int kGroup>
__device__ void compute(const Args& args, uint32_t smem, Barriers barriers, const Tile* tiles) {
  using L = Shared<S>;
  constexpr int kOutputs = S::kValueChunks * 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int in_tile = kGroup * 64 + static_cast<int>(threadIdx.x) % 128 / 32 * 16 + lane / 4;
  const uint32_t q = smem + L::kQ + kGroup * (kChunk / 2);
  const auto arrive = [&](uint32_t barrier) {
    if (lane == 0) hopper::barrier_arrive(barrier);
  };
  if (kGroup == 1) hopper::named_barrier_arrive(kTurn, 256);  // warpgroup 0 begins
  Ring tile_ring, k_ring, v_ring;
  uint32_t q_phase = 0;
  while (true) {
    hopper::barrier_wait(barriers.tile_full(tile_ring.stage()), tile_ring.parity());
    const Tile tile = tiles[tile_ring.stage()];
    __syncwarp();
    arrive(barriers.tile_empty(tile_ring.stage()));
    tile_ring.advance();
    if (tile.head < 0) return;
    const int context = tile.past + tile.query_len;
    const int visible[2] = {tile.past + tile.query + in_tile + 1,
                            tile.past + tile.query + in_tile + 9};
    // What the first row of the warpgroup sees: blocks that end before need no mask.
    const int visible_min = tile.past + tile.query + kGroup * 64 + 1;
    Softmax softmax;
    float o[kOutputs];
#pragma unroll
    for (int i = 0; i < kOutputs; ++i) o[i] = 0.0f;
    float s[64], factor[2];
    uint32_t p[8][4];
    const auto mask_block = [&](int block) {
      const int begin = block * kBlockKeys;
      if (begin + kBlockKeys > visible_min) mask(s, visible[0] - begin, visible[1] - begin);
    };

    hopper::barrier_wait(barriers.q_full(), q_phase);
    q_phase ^= 1;
    hopper::barrier_wait(barriers.k_full(k_ring.stage()), k_ring.parity());
    issue_scores<S>(s, q, smem + L::kK + k_ring.stage() * S::kK);
    hopper::wgmma_wait<0>();
    arrive(barriers.k_empty(k_ring.stage()));
    k_ring.advance();
    int block = tile.num_blocks - 1;
    mask_block(block);
    softmax.step(s, args.scale_log2, factor);
    pack(s, p);

    // Values past the context belong to nobody: not even a weight of zero would keep a NaN out.
    const int held = context - block * kBlockKeys;
    hopper::barrier_wait(barriers.v_full(v_ring.stage()), v_ring.parity());
    if (held < kBlockKeys) {
      const uint32_t v = smem + L::kV + v_ring.stage() * S::kV;
#pragma unroll 1
      for (int i = static_cast<int>(threadIdx.x); i < (kBlockKeys - held) * S::kValueChunks * 8;
           i += 256) {
        const int row = held + i / (S::kValueChunks * 8);
        hopper::store_shared(v + i / 8 % S::kValueChunks * kChunk + row * 128 + i % 8 * 16, 0, 0, 0,
                             0);
      }
      hopper::fence_async_shared();
      hopper::named_barrier(kZeroed, 256);
    }

    for (--block; block >= 0; --block) {
      hopper::barrier_wait(barriers.k_full(k_ring.stage()), k_ring.parity());
      hopper::named_barrier(kTurn + kGroup, 256);
      issue_scores<S>(s, q, smem + L::kK + k_ring.stage() * S::kK);
      hopper::barrier_wait(barriers.v_full(v_ring.stage()), v_ring.parity());
      issue_values<S>(o, p, smem + L::kV + v_ring.stage() * S::kV);
      hopper::named_barrier_arrive(kTurn + 1 - kGroup, 256);
      hopper::wgmma_wait<1>();
      arrive(barriers.k_empty(k_ring.stage()));
      k_ring.advance();
      mask_block(block);
      softmax.step(s, args.scale_log2, factor);
      hopper::wgmma_wait<0>();
      arrive(barriers.v_empty(v_ring.stage()));
      v_ring.advance();
      pack(s, p);
#pragma unroll
      for (int i = 0; i < kOutputs / 4; ++i) {
        o[4 * i] *= factor[0];
        o[4 * i + 1] *= factor[0];
        o[4 * i + 2] *= factor[1];
        o[4 * i + 3] *= factor[1];
      }
    }
    arrive(barriers.q_empty());
    hopper::barrier_wait(barriers.v_full(v_ring.stage()), v_ring.parity());
    issue_values<S>(o, p, smem + L::kV + v_ring.stage() * S::kV);
    hopper::wgmma_wait<0>();
    arrive(barriers.v_empty(v_ring.stage()));
    v_ring.advance();

    // --- out: the four threads of a row exchange, so that each writes 16 bytes ------------------
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float total = softmax.sum[half];
      total += __shfl_xor_sync(0xffffffffu, total, 1);
      total += __shfl_xor_sync(0xffffffffu, total, 2);
      const float inverse = 1.0f / total;
      const int query = tile.query + in_tile + 8 * half;
      __nv_bfloat16* const to = args.out +
                                (int64_t{tile.first_token} + query) * args.out_token_stride +
                                int64_t{tile.head} * (S::kValueChunks * 64);
#pragma unroll
      for (int octets = 0; octets < kOutputs / 4; octets += 4) {
        uint32_t word[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int at = 4 * (octets + i) + 2 * half;
          word[i] = hopper::pack_bf16(o[at] * inverse, o[at + 1] * inverse);
        }
        hopper::exchange_quad(word);
        if (query < tile.query_len) {
          *reinterpret_cast<uint4*>(to + (octets + lane % 4) * 8) =
              make_uint4(word[0], word[1], word[2], word[3]);
        }
      }
    }
  }
}

template <typename S>
__global__ __launch_bounds__(kThreads, 1) void prefill_kernel(const __grid_constant__ Maps maps,
                                                              const __grid_constant__ Args args) {
  using L = Shared<S>;
  extern __shared__ __align__(1024) std::byte shared[];
  const uint32_t smem = hopper::shared_address(shared);
  Tile* const tiles = reinterpret_cast<Tile*>(shared + L::kTiles);
  const Barriers barriers = {smem + L::kBarriers};
  const int group = static_cast<int>(threadIdx.x) / 128;
  if (threadIdx.x == 0) {
    if (smem % 1024 != 0) __trap();  // the swizzle would not match
    hopper::barrier_init(barriers.q_full(), 1);
    hopper::barrier_init(barriers.q_empty(), 8);
    for (uint32_t i = 0; i < 2; ++i) {
      hopper::barrier_init(barriers.k_full(i), 1);
      hopper::barrier_init(barriers.k_empty(i), 8);
      hopper::barrier_init(barriers.v_full(i), 1);
      hopper::barrier_init(barriers.v_empty(i), 8);
      hopper::barrier_init(barriers.tile_full(i), 1);
      hopper::barrier_init(barriers.tile_empty(i), 8);
    }
    hopper::barrier_init_fence();
  }
  __syncthreads();
  if (group == 2) {
    hopper::keep_registers<56>();
    if (threadIdx.x % 128 < 32) fill<S>(args, maps, smem, barriers, tiles);
  } else if (group == 0) {
    hopper::take_registers<224>();
    compute<S, 0>(args, smem, barriers, tiles);
  } else {
    hopper::take_registers<224>();
    compute<S, 1>(args, smem, barriers, tiles);
  }
}

// Launches as many blocks as stay resident.
template <typename S>
cudaError_t launch(const Maps& maps, const Args& args, int num_sms, cudaStream_t stream) {
  const auto kernel = prefill_kernel<S>;
  cudaError_t error =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Shared<S>::kBytes);
  if (error == cudaSuccess) error = cudaMemsetAsync(args.next_tile, 0, sizeof(int32_t), stream);
  if (error != cudaSuccess) return error;
  kernel<<<static_cast<unsigned>(num_sms), kThreads, Shared<S>::kBytes, stream>>>(maps, args);
  return cudaGetLastError();
}

// The most heads, dividing num_heads, whose keys and values share L2.
inline int32_t section_heads(int32_t num_heads, int64_t bytes_per_head) {
  constexpr int64_t kL2 = int64_t{12}
                          << 20;  // of 50 MB, in two halves; measured best of 12, 20, 32
  int32_t best = 1;
  for (int32_t heads = 1; heads <= num_heads; ++heads) {
    if (num_heads % heads == 0 && heads * bytes_per_head <= kL2) best = heads;
  }
  return best;
}

}  // namespace galley::kernels::cuda::prefill

// Matrix products with many tokens: y = x * w^T bound by the tensor cores. Included by fp8_gemm.cu
// and experts.cu only.
//
// Plan      A tile is 128 or 256 tokens x 128 features; a warpgroup owns half of the tokens. One
//           warp feeds a ring of stages of 128 bytes of K through the copy engine. Two blocks form a cluster and
//           share one operand: each loads half of it and sends it to both, because 128 x 128 tiles
//           alone would ask more of L2 than it gives (64 bytes a clock and multiprocessor). While
//           one warpgroup promotes its products to f32 the other one's run on the tensor cores.
// FP8       every 128 of K: sum += product * (token's scale * weight's scale), in f32.
// SwiGLU    the tile's features are 64 of the gate and the same 64 of up; the cluster's two blocks
//           hold the two halves of a group of 128 channels, exchange their largest magnitudes, and
//           store the quantised result: the wide intermediate never exists.
// Order     tiles run in groups of a few token tiles across all features, so that what the card
//           works on at one time fits L2.
// Bound     2 * T * M * K FLOP over the tensor cores' rate.
// Grouped   rows of an expert start at a multiple of the tile, so a tile has one weight; the
//           rows between one expert's last and the next one's first hold garbage, in and out.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp8.h>

#include "kernels/cuda/expert_tiles.h"
#include "kernels/cuda/hopper.cuh"
#include "kernels/cuda/quantize.h"
#include "kernels/cuda/weight_scales.cuh"
#include "kernels/cuda/wgmma.cuh"

namespace galley::kernels::cuda::tall {

constexpr int kWarpgroup = 128;
constexpr int kConsumers = 2 * kWarpgroup;
constexpr int kThreads = kConsumers + kWarpgroup;
constexpr int kFeedRegisters = 40;
constexpr int kMultiplyRegisters = 232;
constexpr int kTile = 128;      // features; tokens are one or two times as many
constexpr int kRowBytes = 128;  // of K in a stage: 128 e4m3 or 64 bf16
constexpr int kBoxBytes = 64 * kRowBytes;
constexpr int kTokensAtOnce = 2048;  // of a group of tiles

enum class Share : uint8_t { kTokens, kWeight };

struct Args {
  CUtensorMap weight;          // dense: [M, K], box of 64 x 128 bytes
  CUtensorMap x;               // [rows, K], box of 64 x 128 bytes
  CUtensorMap x_scales;        // FP8: [K / 128, rows] f32, box of 1 x 128
  CUtensorMap out;             // [rows, M], box of 64 x 64, bf16 (swizzled) or e4m3 (not)
  const float* weight_scales;  // FP8, dense
  ExpertMaps experts;          // grouped
  TileList tiles;              // grouped
  int32_t first_matrix;        // grouped: 0 gate and up, 2 down
  bool tiles_ready;            // narrow only
  int32_t tokens;              // dense: T
  int32_t features;            // M: rows of one weight
  int32_t k_steps;             // rows of 128 bytes in K
  int32_t scale_blocks;        // FP8: ceil(K / 128)
  bool direct;                 // store without the copy engine: f32, or odd row lengths
  void* y;                     // direct: [rows, y_ld] bf16, or f32 if y_f32
  int64_t y_ld;
  bool y_f32;
  Fp8Rows quantized;  // SwiGLU beside FP8: where the scales go
};

// kWaves: a warpgroup's 64 tokens, or two times 64 one after the other, which halves what a token
// tile reads of the weight.
template <bool kFp8_, bool kGrouped_, bool kSwiGlu_, Share kShare_, int kWaves_>
struct Shape {
  static constexpr int kWaves = kWaves_;
  static constexpr int kTokens = 2 * kWaves * 64;  // of a tile
  static constexpr int kStages = kWaves == 1 ? 5 : 4;
  static constexpr int kTokenBoxes = 2 * kWaves;
  static constexpr int kStageBytes = (kTokenBoxes + 2) * kBoxBytes;
  static constexpr int kScaleBytes = kTokens * 4;        // of a stage's tokens
  static constexpr int kOutBoxes = kWaves == 1 ? 2 : 1;  // of a warpgroup, to leave through
  static constexpr int kOutBytes = 2 * kOutBoxes * kBoxBytes;
  static constexpr int kShared =
      1024 + kStages * (kStageBytes + kScaleBytes) + kOutBytes + 2 * kTile * 4 + 256;
  static_assert(kShared <= 227 * 1024);

  static constexpr bool kFp8 = kFp8_;
  static constexpr bool kGrouped = kGrouped_;
  static constexpr bool kSwiGlu = kSwiGlu_;
  static constexpr Share kShare = kShare_;
  static constexpr int kSteps = 1;                   // weight_scales.cuh
  static constexpr bool kSplit = false;              // weight_scales.cuh
  static constexpr int kElements = kFp8 ? 128 : 64;  // of K in a stage
  static constexpr int kArriving = kStageBytes + (kFp8 ? kScaleBytes : 0);
  static_assert(!kSwiGlu || (kGrouped && kShare == Share::kTokens));
  static_assert(!kGrouped || kShare == Share::kTokens, "neighbouring tiles may differ in expert");
};

// What this block works on at one time.
struct Unit {
  int32_t expert;
  int32_t row;      // first token
  int32_t feature;  // first row of the weight(s)
};

// Tiles of the cluster: two blocks side by side along the operand that they do not share.
struct Grid {
  int32_t token_tiles, feature_tiles;
};

template <typename S>
__device__ __forceinline__ Grid grid_of(const Args& a) {
  // SwiGLU: 64 channels a block, so a cluster's two make 128.
  const int32_t features = S::kSwiGlu ? (a.features + 127) / 128
                           : S::kShare == Share::kTokens
                               ? (a.features + 2 * kTile - 1) / (2 * kTile)
                               : (a.features + kTile - 1) / kTile;
  if constexpr (S::kGrouped) return {__ldg(a.tiles.count), features};
  constexpr int kTokens = S::kShare == Share::kTokens ? S::kTokens : 2 * S::kTokens;
  return {(a.tokens + kTokens - 1) / kTokens, features};
}

template <typename S>
__device__ __forceinline__ Unit unit_at(const Args& a, const Grid& grid, int32_t index,
                                        int32_t rank) {
  constexpr int kTilesAtOnce = kTokensAtOnce / S::kTokens / (S::kShare == Share::kTokens ? 1 : 2);
  const int32_t group_size = kTilesAtOnce * grid.feature_tiles;
  const int32_t first = index / group_size * kTilesAtOnce;
  const int32_t in_group = index % group_size;
  const int32_t wide = min(kTilesAtOnce, grid.token_tiles - first);
  const int32_t token_tile = first + in_group % wide;
  const int32_t feature_tile = in_group / wide;
  Unit unit{};
  if constexpr (S::kSwiGlu) {
    unit.feature = feature_tile * 128 + rank * 64;
  } else if constexpr (S::kShare == Share::kTokens) {
    unit.feature = (2 * feature_tile + rank) * kTile;
  } else {
    unit.feature = feature_tile * kTile;
  }
  if constexpr (S::kGrouped) {
    const int4 tile = __ldg(reinterpret_cast<const int4*>(a.tiles.tiles) + token_tile);
    unit.expert = tile.x;
    unit.row = tile.y;
  } else if constexpr (S::kShare == Share::kTokens) {
    unit.row = token_tile * S::kTokens;
  } else {
    unit.row = (2 * token_tile + rank) * S::kTokens;
  }
  return unit;
}

template <typename S>
struct Ring {
  uint8_t* stages;  // kTokens x 128 bytes, then 128 features x 128 bytes
  float* scales;    // [kStages, kTokens]
  uint64_t* full;
  uint64_t* empty;
  int stage = 0;
  uint32_t phase = 0;

  __device__ __forceinline__ uint8_t* tokens() const { return stages + stage * S::kStageBytes; }
  __device__ __forceinline__ uint8_t* weights() const {
    return tokens() + S::kTokenBoxes * kBoxBytes;
  }
  __device__ __forceinline__ float* token_scales() const { return scales + stage * S::kTokens; }
  __device__ __forceinline__ void next() {
    if (++stage == S::kStages) {
      stage = 0;
      phase ^= 1;
    }
  }
};

// --- the warp that feeds the ring ---------------------------------------------------------------

template <typename S>
__device__ void feed(const Args& a, Ring<S> ring, int32_t rank) {
  const uint64_t policy = hopper::evict_normal();
  const Grid grid = grid_of<S>(a);
  const int32_t units = grid.token_tiles * grid.feature_tiles;
  int32_t acquired = -1;
  constexpr uint16_t kBoth = 0b11;
  for (auto index = static_cast<int32_t>(blockIdx.x) / 2; index < units;
       index += static_cast<int32_t>(gridDim.x) / 2) {
    const Unit unit = unit_at<S>(a, grid, index, rank);
    const CUtensorMap* map = &a.weight;
    const CUtensorMap* second = map;
    if constexpr (S::kGrouped) {
      map = a.experts.map(a.first_matrix, unit.expert);
      second = S::kSwiGlu ? a.experts.map(a.first_matrix + 1, unit.expert) : map;
      if (acquired != unit.expert) {
        hopper::acquire_map(map);
        if constexpr (S::kSwiGlu) hopper::acquire_map(second);
        acquired = unit.expert;
      }
    }
#pragma unroll 1
    for (int32_t step = 0; step < a.k_steps; ++step) {
      hopper::barrier_wait(&ring.empty[ring.stage], ring.phase ^ 1);
      uint64_t* full = &ring.full[ring.stage];
      hopper::barrier_expect(full, S::kArriving);
      const int32_t column = step * S::kElements;
      if constexpr (S::kShare == Share::kTokens) {
        // Half of the tokens for both blocks; this block's features.
#pragma unroll
        for (int wave = 0; wave < S::kWaves; ++wave) {
          const int32_t box = rank * S::kWaves + wave;
          hopper::copy_tile_multicast(ring.tokens() + box * kBoxBytes, &a.x, column,
                                      unit.row + 64 * box, full, kBoth, policy);
        }
        hopper::copy_tile(ring.weights(), map, column, unit.feature, full, policy);
        hopper::copy_tile(ring.weights() + kBoxBytes, second, column,
                          S::kSwiGlu ? unit.feature : unit.feature + 64, full, policy);
      } else {
#pragma unroll
        for (int box = 0; box < S::kTokenBoxes; ++box)
          hopper::copy_tile(ring.tokens() + box * kBoxBytes, &a.x, column, unit.row + 64 * box,
                            full, policy);
        hopper::copy_tile_multicast(ring.weights() + rank * kBoxBytes, map, column,
                                    unit.feature + 64 * rank, full, kBoth, policy);
      }
      if constexpr (S::kFp8)
        hopper::copy_tile(ring.token_scales(), &a.x_scales, unit.row, step, full, policy);
      ring.next();
    }
  }
}

// --- the warpgroups that multiply ---------------------------------------------------------------

// A stage is free in both blocks of the cluster once the warps of both have said so to both.
__device__ __forceinline__ void release(uint64_t* empty) {
  const uint32_t lane = threadIdx.x % 32;
  __syncwarp();
  if (lane < 2) hopper::barrier_arrive_in(empty, lane);
}

template <typename S>
__device__ __forceinline__ void multiply_fp8(const Args& a, const Unit& unit, int part,
                                             Ring<S>& ring, float (&sum)[S::kWaves][64]) {
  const int thread = static_cast<int>(threadIdx.x);
  const int token = 64 * S::kWaves * part + thread % kWarpgroup / 32 * 16 + thread % 32 / 4;
  const float* rows[2] = {a.weight_scales, a.weight_scales};
  if constexpr (S::kGrouped) {
    rows[0] = a.experts.scale(a.first_matrix, unit.expert);
    if constexpr (S::kSwiGlu) rows[1] = a.experts.scale(a.first_matrix + 1, unit.expert);
  }
  // A tile beyond the last feature (the odd half of a cluster) reads the last block's scales.
  const int64_t block = min(unit.feature, a.features - 1) / 128;
  WeightScales<S> scale0(rows[0] + block * a.scale_blocks, a.scale_blocks, 0, 0);
  WeightScales<S> scale1(rows[S::kSwiGlu] + block * a.scale_blocks, a.scale_blocks, 0, 0);
#pragma unroll
  for (int wave = 0; wave < S::kWaves; ++wave)
#pragma unroll
    for (int i = 0; i < 64; ++i) sum[wave][i] = 0.0f;

#pragma unroll 1
  for (int32_t step = 0; step < a.k_steps; ++step) {
    const float weight0 = scale0.take();
    const float weight1 = S::kSwiGlu ? scale1.take() : weight0;
    hopper::barrier_wait(&ring.full[ring.stage], ring.phase);
    const uint64_t x = hopper::tile_descriptor(ring.tokens() + part * S::kWaves * kBoxBytes);
    const uint64_t w = hopper::tile_descriptor(ring.weights());
    const float* scales = ring.token_scales() + token;
#pragma unroll
    for (int wave = 0; wave < S::kWaves; ++wave) {
      const float token0 = scales[64 * wave], token1 = scales[64 * wave + 8];
      constexpr uint64_t kNextBox = kBoxBytes / 16;
      float product[64];
      hopper::pin(product);
      hopper::wgmma_fence();
#pragma unroll
      for (int k = 0; k < 4; ++k)
        hopper::Wgmma<128>::fp8(product, x + wave * kNextBox + 2 * k, w + 2 * k, k > 0);
      hopper::wgmma_commit();
      hopper::wgmma_wait<0>();
      hopper::pin(product);
      if (wave == S::kWaves - 1) release(&ring.empty[ring.stage]);
      const float scale[2][2] = {{token0 * weight0, token1 * weight0},
                                 {token0 * weight1, token1 * weight1}};
#pragma unroll
      for (int i = 0; i < 64; ++i)
        sum[wave][i] = fmaf(product[i], scale[i / 32][i / 2 % 2], sum[wave][i]);
    }
    ring.next();
  }
}

template <typename S>
__device__ __forceinline__ void multiply_bf16(const Args& a, int part, Ring<S>& ring,
                                              float (&sum)[S::kWaves][64]) {
  uint64_t* before = nullptr;
#pragma unroll 1
  for (int32_t step = 0; step < a.k_steps; ++step) {
    hopper::barrier_wait(&ring.full[ring.stage], ring.phase);
    const uint64_t x = hopper::tile_descriptor(ring.tokens() + part * S::kWaves * kBoxBytes);
    const uint64_t w = hopper::tile_descriptor(ring.weights());
#pragma unroll
    for (int wave = 0; wave < S::kWaves; ++wave) hopper::pin(sum[wave]);
    hopper::wgmma_fence();
#pragma unroll
    for (int wave = 0; wave < S::kWaves; ++wave)
#pragma unroll
      for (int k = 0; k < 4; ++k)
        hopper::Wgmma<128>::bf16(sum[wave], x + wave * (kBoxBytes / 16) + 2 * k, w + 2 * k,
                                 step > 0 || k > 0);
    hopper::wgmma_commit();
    hopper::wgmma_wait<1>();  // the stage before is read
    if (before != nullptr) release(before);
    before = &ring.empty[ring.stage];
    ring.next();
  }
  hopper::wgmma_wait<0>();
#pragma unroll
  for (int wave = 0; wave < S::kWaves; ++wave) hopper::pin(sum[wave]);
  if (before != nullptr) release(before);
}

// --- how a tile leaves --------------------------------------------------------------------------

__device__ __forceinline__ void sync_warpgroup(int part) {
  hopper::named_barrier(1 + part, kWarpgroup);
}

// Columns 64 * half .. of the warpgroup's 64 tokens through shared memory, swizzled like the map.
// value[4 * j + 2 * h + c], j < 8, is token row + 8 * h, column 8 * j + 2 * (lane % 4) + c.
template <int kFirst>
__device__ __forceinline__ void put_bf16(uint8_t* box, int row, const float (&value)[64]) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int j = 0; j < 8; ++j) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const __nv_bfloat162 pair =
          __floats2bfloat162_rn(value[kFirst + 4 * j + 2 * h], value[kFirst + 4 * j + 2 * h + 1]);
      *reinterpret_cast<__nv_bfloat162*>(box + (row + 8 * h) * 128 + ((j ^ (row % 8)) * 16) +
                                         lane % 4 * 4) = pair;
    }
  }
}

__device__ __forceinline__ void leave_direct(const Args& a, const Unit& unit, int32_t row0,
                                             const float (&sum)[64]) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int i = 0; i < 64; ++i) {
    const int64_t row = int64_t{row0} + 8 * (i / 2 % 2);
    const int32_t feature = unit.feature + 8 * (i / 4) + 2 * (lane % 4) + i % 2;
    if (row >= a.tokens || feature >= a.features) continue;
    if (a.y_f32) {
      static_cast<float*>(a.y)[row * a.y_ld + feature] = sum[i];
    } else {
      static_cast<__nv_bfloat16*>(a.y)[row * a.y_ld + feature] = __float2bfloat16_rn(sum[i]);
    }
  }
}

// Where the two blocks of a cluster tell each other the largest magnitudes of their 64 channels,
// warp by warp. Two buffers and barriers in turn: a warp sends the third tile's only after it has
// the peer's second, which the peer sends when it has read the first.
struct Exchange {
  float* largest;     // [2, 128] written by the peer
  uint64_t* barrier;  // [2, 8] one for each warp
  uint32_t count = 0;
};

template <typename S>
__device__ __forceinline__ void leave_quantized(const Args& a, const Unit& unit, int part,
                                                int32_t row0, uint32_t rank, float (&value)[64],
                                                uint8_t* box, Exchange& exchange) {
  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % 32, warp = thread / 32;
  const int row = thread % kWarpgroup / 32 * 16 + lane / 4;  // of the warpgroup's 64
  const int token = 64 * part + row;  // where the blocks exchange

  float largest[2] = {0.0f, 0.0f};
#pragma unroll
  for (int i = 0; i < 32; ++i) largest[i / 2 % 2] = fmaxf(largest[i / 2 % 2], fabsf(value[i]));
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    largest[h] = fmaxf(largest[h], __shfl_xor_sync(0xffffffffu, largest[h], 1));
    largest[h] = fmaxf(largest[h], __shfl_xor_sync(0xffffffffu, largest[h], 2));
  }
  float* buffer = exchange.largest + exchange.count % 2 * kTile;
  if (lane % 4 < 2)
    hopper::store_remote(hopper::remote_address(buffer + token + 8 * (lane % 4), rank ^ 1),
                         lane % 4 == 0 ? largest[0] : largest[1]);
  hopper::cluster_fence();
  __syncwarp();
  uint64_t* barrier = &exchange.barrier[exchange.count % 2 * (kConsumers / 32) + warp];
  if (lane == 0) hopper::barrier_arrive_in(barrier, rank ^ 1);
  hopper::barrier_wait_cluster(barrier, exchange.count / 2 % 2);
  ++exchange.count;

  float scale[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const float other = *(static_cast<volatile float*>(buffer) + token + 8 * h);
    scale[h] = __fdiv_rn(fmaxf(largest[h], other), 448.0f);
    if (rank == 0 && lane % 4 == 0)
      a.quantized.scales[int64_t{unit.feature / 128} * a.quantized.scale_ld + row0 + row + 8 * h] =
          scale[h];
  }
  if (thread % kWarpgroup == 0) hopper::wait_stores_read();
  sync_warpgroup(part);  // the tile before has left
#pragma unroll
  for (int i = 0; i < 32; i += 2) {
    const int h = i / 2 % 2;
    float2 scaled{0.0f, 0.0f};
    if (scale[h] > 0.0f)
      scaled = {__fdiv_rn(value[i], scale[h]), __fdiv_rn(value[i + 1], scale[h])};
    *reinterpret_cast<uint16_t*>(box + (row + 8 * h) * 64 + 8 * (i / 4) + 2 * (lane % 4)) =
        __nv_cvt_float2_to_fp8x2(scaled, __NV_SATFINITE, __NV_E4M3);
  }
  hopper::fence_async_shared();
  sync_warpgroup(part);
  if (thread % kWarpgroup == 0) {
    hopper::store_tile(box, &a.out, unit.feature, row0);
    hopper::commit_stores();
  }
}

template <typename S, int kHalf>
__device__ __forceinline__ void leave_half(const Args& a, const Unit& unit, int part, int32_t row0,
                                           const float (&value)[64], uint8_t* boxes) {
  const int thread = static_cast<int>(threadIdx.x);
  const int row = thread % kWarpgroup / 32 * 16 + thread % 32 / 4;
  uint8_t* box = boxes + kHalf % S::kOutBoxes * kBoxBytes;
  if constexpr (kHalf == 0 || S::kOutBoxes == 1) {
    if (thread % kWarpgroup == 0) hopper::wait_stores_read();
    sync_warpgroup(part);  // what was in the boxes before has left
  }
  put_bf16<32 * kHalf>(box, row, value);
  hopper::fence_async_shared();
  sync_warpgroup(part);
  if (thread % kWarpgroup == 0) {
    hopper::store_tile(box, &a.out, unit.feature + 64 * kHalf, row0);
    hopper::commit_stores();
  }
}

template <typename S>
__device__ __forceinline__ void work(const Args& a, Ring<S>& ring, uint32_t rank, uint8_t* out,
                                     Exchange& exchange) {
  const int thread = static_cast<int>(threadIdx.x);
  const int part = __shfl_sync(0xffffffffu, thread / kWarpgroup, 0);
  uint8_t* boxes = out + part * S::kOutBoxes * kBoxBytes;
  const Grid grid = grid_of<S>(a);
  const int32_t units = grid.token_tiles * grid.feature_tiles;
  for (auto index = static_cast<int32_t>(blockIdx.x) / 2; index < units;
       index += static_cast<int32_t>(gridDim.x) / 2) {
    const Unit unit = unit_at<S>(a, grid, index, static_cast<int32_t>(rank));
    float sum[S::kWaves][64];
    if constexpr (S::kFp8) {
      multiply_fp8<S>(a, unit, part, ring, sum);
    } else {
      multiply_bf16<S>(a, part, ring, sum);
    }
#pragma unroll
    for (int wave = 0; wave < S::kWaves; ++wave) {
      float(&value)[64] = sum[wave];
      const int32_t row0 = unit.row + 64 * (part * S::kWaves + wave);
      if constexpr (S::kSwiGlu) {
#pragma unroll
        for (int i = 0; i < 32; ++i)
          value[i] = value[i] / (1.0f + __expf(-value[i])) * value[i + 32];
        if constexpr (S::kFp8) {
          leave_quantized<S>(a, unit, part, row0, rank, value, boxes, exchange);
        } else {
          leave_half<S, 0>(a, unit, part, row0, value, boxes);
        }
      } else if (a.direct) {
        leave_direct(a, unit, row0 + thread % kWarpgroup / 32 * 16 + thread % 32 / 4, value);
      } else {
        leave_half<S, 0>(a, unit, part, row0, value, boxes);
        leave_half<S, 1>(a, unit, part, row0, value, boxes);
      }
    }
  }
  if (thread % kWarpgroup == 0) hopper::wait_stores();
}

template <typename S>
__global__ __launch_bounds__(kThreads, 1) void kernel(const __grid_constant__ Args a) {
  extern __shared__ uint8_t raw[];
  // 1,024 bytes: the swizzle repeats with it. The same in both blocks: the copies count on it.
  uint8_t* shared = raw + (1024 - hopper::shared_address(raw) % 1024) % 1024;
  uint8_t* out = shared + S::kStages * S::kStageBytes;
  auto* scales = reinterpret_cast<float*>(out + S::kOutBytes);
  float* largest = scales + S::kStages * S::kTokens;
  auto* barriers = reinterpret_cast<uint64_t*>(largest + 2 * kTile);
  Ring<S> ring{
      .stages = shared, .scales = scales, .full = barriers, .empty = barriers + S::kStages};
  Exchange exchange{.largest = largest, .barrier = barriers + 2 * S::kStages};
  const int thread = static_cast<int>(threadIdx.x);
  const uint32_t rank = hopper::cluster_rank();
  if (thread == kConsumers) {
    for (int s = 0; s < S::kStages; ++s) {
      hopper::barrier_init(&ring.full[s], 1);
      hopper::barrier_init(&ring.empty[s], 2 * kConsumers / 32);
    }
    for (int w = 0; w < 2 * kConsumers / 32; ++w) hopper::barrier_init(&exchange.barrier[w], 1);
    hopper::barrier_init_fence();
    hopper::fence_async_shared();
    hopper::prefetch_map(&a.x);
  }
  hopper::cluster_sync();
  hopper::let_next_kernel_start();
  hopper::wait_previous_kernels();

  if (thread >= kConsumers) {
    hopper::keep_registers<kFeedRegisters>();
    if (thread == kConsumers) feed<S>(a, ring, static_cast<int32_t>(rank));
    __syncwarp();
    hopper::cluster_sync_relaxed();
  } else {
    hopper::take_registers<kMultiplyRegisters>();
    work<S>(a, ring, rank, out, exchange);
    __syncwarp();
    hopper::cluster_sync_relaxed();  // a block stays until nobody sends it anything
  }
}

}  // namespace galley::kernels::cuda::tall

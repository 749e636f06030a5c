// Matrix products with few tokens: y = x * w^T where the weight is what must be moved. Included by
// fp8_gemm.cu and experts.cu only.
//
// Plan      The operands trade places: 64 rows of the weight are wgmma's M, the tokens (8 .. 128)
//           its N, so that a tile of the tensor core is full of weight however few tokens there
//           are. One warp feeds a ring of stages through the copy engine; two warpgroups multiply.
//             rows     the warpgroups own different rows of the weight (128 a block). Persistent:
//                      the ring runs on from one tile to the next, so the memory never idles.
//             reduce   the blocks of a cluster, and in each block the two warpgroups if kSplit,
//                      own different parts of K of one tile; their sums meet in shared memory and
//                      are added in a fixed order. Keeps 132 multiprocessors busy with small
//                      weights.
// FP8       every 128 of K the product of e4m3 values is scaled by (token's scale * weight's scale)
//           and added in f32.
// SwiGLU    with two weights (gate, up) a block owns 128 channels of both: exactly a group of the
//           quantised result, which never leaves the multiprocessor in another form.
// Bound     bytes of the weight over the memory's bandwidth.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp8.h>

#include <algorithm>

#include "kernels/cuda/expert_tiles.h"
#include "kernels/cuda/hopper.cuh"
#include "kernels/cuda/quantize.h"
#include "kernels/cuda/weight_scales.cuh"
#include "kernels/cuda/wgmma.cuh"

namespace galley::kernels::cuda::narrow {

constexpr int kWarpgroup = 128;
constexpr int kConsumers = 2 * kWarpgroup;
constexpr int kThreads = kConsumers + kWarpgroup;
constexpr int kRowBytes = 128;  // of K in a stage: 128 e4m3 or 64 bf16
constexpr int kBoxBytes = 64 * kRowBytes;
constexpr int kSharedMax = 227 * 1024;

struct Args {
  CUtensorMap weight;          // dense: [M, K], box of 64 x 128 bytes
  CUtensorMap second_weight;   // dense, two matrices: likewise
  CUtensorMap x;               // [rows, K], box of kN x 128 bytes
  CUtensorMap x_scales;        // FP8: [K / 128, rows] f32, box of 1 x kN
  const float* weight_scales;  // FP8, dense: [ceil(M / 128), scale_blocks]
  ExpertMaps experts;          // grouped
  TileList tiles;              // grouped
  int32_t first_matrix;        // grouped: 0 gate and up, 2 down
  bool tiles_ready;            // grouped: an earlier kernel than the one before wrote the tiles
  int32_t tokens;              // dense: T
  int32_t features;            // M: rows of one weight
  int32_t k_steps;             // rows of 128 bytes in K
  int32_t scale_blocks;        // FP8: ceil(K / 128)
  void* y;                     // [rows, y_ld] bf16, or f32 if y_f32
  int64_t y_ld;
  bool y_f32;
  const __nv_bfloat16* bias;  // dense: [M], or null
  Fp8Rows quantized;          // SwiGLU beside FP8: the result
};

template <bool kFp8_, int kN_, int kMatrices_, bool kReduce_, bool kSplit_, bool kGrouped_>
struct Shape {
  static constexpr bool kFp8 = kFp8_;
  static constexpr int kN = kN_;
  static constexpr int kMatrices = kMatrices_;
  static constexpr bool kReduce = kReduce_;
  static constexpr bool kSplit = kSplit_;  // the warpgroups share rows and split K
  static constexpr bool kGrouped = kGrouped_;

  static constexpr int kElements = kFp8 ? 128 : 64;  // of K in 128 bytes
  static constexpr int kRows = kSplit ? 64 : 128;    // of one weight in a tile
  static constexpr int kSteps = kSplit ? 2 : 1;      // rows of 128 bytes of K in a stage
  static constexpr int kWeightBytes = kMatrices * 2 * kBoxBytes;
  static constexpr int kTokenBytes = kSteps * kN * kRowBytes;
  static constexpr int kScaleSlot = kN * 4 < 128 ? 128 : kN * 4;
  static constexpr int kScaleBytes = kFp8 ? kSteps * kScaleSlot : 0;
  static constexpr int kStageBytes =
      (kWeightBytes + kTokenBytes + kScaleBytes + 1023) / 1024 * 1024;
  static constexpr int kArriving =
      kWeightBytes + kTokenBytes + (kFp8 ? kSteps * kN * 4 : 0);  // bytes a stage waits for

  // What a tile leaves through: transposed bf16 or e4m3, or f32 parts of a sum.
  static constexpr int kPitch = kRows + 8;      // bf16
  static constexpr int kPartPitch = kRows + 4;  // f32
  static constexpr int kPartFloats = kN * kPartPitch;
  static constexpr int kParts = kSplit ? 2 : 1;
  static constexpr int kOutBytes =
      kReduce ? 0 : (kN * kPitch * 2 + 8 * kN * 4 + kN * 4 + 127) / 128 * 128;
  static constexpr int kBarrierBytes = 512;
  static constexpr bool kTwoBlocks = kReduce && kN <= 64;  // on one multiprocessor
  // Registers of a feeding and of a multiplying thread: of 65,536, in steps of 8.
  static constexpr int kFeedRegisters = 40;
  static constexpr int kMultiplyRegisters = kTwoBlocks ? 96 : 232;
  static constexpr int kBudget = (kTwoBlocks ? 113 * 1024 : kSharedMax) - 1024;
  static constexpr int kStagesFit = (kBudget - kOutBytes - kBarrierBytes) / kStageBytes;
  static constexpr int kStages = kStagesFit < 12 ? kStagesFit : 12;
  static constexpr int kShared = 1024 + kStages * kStageBytes + kOutBytes + kBarrierBytes;
  static_assert(kStages >= 3);
  static_assert(!kReduce || kParts * kPartFloats * 4 <= kStages * kStageBytes);
  static_assert(!(kReduce && (kGrouped || kMatrices == 2)));
  static_assert(kMatrices == 1 || kN <= 64, "the sums of two weights fill the registers");
};

// One tile of work: which weight, which rows of it, which tokens.
struct Unit {
  int32_t expert;
  int32_t feature;  // first row of the weight
  int32_t row;      // first token (row of x and y)
  int32_t rows;     // tokens that count, at most kN
};

template <typename S>
__device__ __forceinline__ int32_t unit_count(const Args& a) {
  const int32_t feature_tiles = (a.features + S::kRows - 1) / S::kRows;
  if constexpr (S::kGrouped) return feature_tiles * __ldcg(a.tiles.count);
  return feature_tiles * ((a.tokens + S::kN - 1) / S::kN);
}

template <typename S>
__device__ __forceinline__ Unit unit_at(const Args& a, int32_t index) {
  if constexpr (S::kGrouped) {
    const int32_t feature_tiles = (a.features + S::kRows - 1) / S::kRows;
    const int4 tile = __ldcg(reinterpret_cast<const int4*>(a.tiles.tiles) + index / feature_tiles);
    return {.expert = tile.x,
            .feature = index % feature_tiles * S::kRows,
            .row = tile.y,
            .rows = tile.z};
  }
  const int32_t token_tiles = (a.tokens + S::kN - 1) / S::kN;
  const int32_t row = index % token_tiles * S::kN;
  return {.expert = 0,
          .feature = index / token_tiles * S::kRows,
          .row = row,
          .rows = min(S::kN, a.tokens - row)};
}

// Stages of K that this block of the cluster owns.
struct Range {
  int32_t begin, end;
};
template <typename S>
__device__ __forceinline__ Range k_range(const Args& a) {
  const int32_t stages = (a.k_steps + S::kSteps - 1) / S::kSteps;
  if constexpr (!S::kReduce) return {0, stages};
  const auto rank = static_cast<int32_t>(hopper::cluster_rank());
  const auto size = static_cast<int32_t>(gridDim.y);  // blocks of a cluster: the grid's second side
  return {stages * rank / size, stages * (rank + 1) / size};
}

// The ring of stages in shared memory.
template <typename S>
struct Ring {
  uint8_t* stages;
  uint64_t* full;
  uint64_t* empty;
  int stage = 0;
  uint32_t phase = 0;

  __device__ __forceinline__ uint8_t* weights() const { return stages + stage * S::kStageBytes; }
  __device__ __forceinline__ uint8_t* tokens() const { return weights() + S::kWeightBytes; }
  __device__ __forceinline__ float* scales() const {
    return reinterpret_cast<float*>(tokens() + S::kTokenBytes);
  }
  __device__ __forceinline__ void next() {
    if (++stage == S::kStages) {
      stage = 0;
      phase ^= 1;
    }
  }
};

// --- the warp that feeds the ring ---------------------------------------------------------------

template <typename S>
__device__ __forceinline__ void copy_weights(const Ring<S>& ring,
                                             const CUtensorMap* const (&maps)[S::kMatrices],
                                             int32_t step, int32_t feature, uint64_t policy) {
#pragma unroll
  for (int s = 0; s < S::kSteps; ++s) {
#pragma unroll
    for (int m = 0; m < S::kMatrices; ++m) {
#pragma unroll
      for (int box = 0; box < S::kRows / 64; ++box)
        hopper::copy_tile(ring.weights() + (2 * m + s + box) * kBoxBytes, maps[m],
                          (step * S::kSteps + s) * S::kElements, feature + 64 * box,
                          &ring.full[ring.stage], policy);
    }
  }
}

template <typename S>
__device__ void feed(const Args& a, Ring<S> ring) {
  const uint64_t once = hopper::evict_first();
  const uint64_t keep = hopper::evict_last();
  const Range range = k_range<S>(a);
  const int32_t first_steps = min(S::kStages, range.end - range.begin);
  // What comes before in the stream may still run: until wait_previous_kernels() only weights are
  // read, and the list of tiles if it is known to be there.
  if constexpr (S::kGrouped) {
    if (!a.tiles_ready) hopper::wait_previous_kernels();
  }
  const int32_t units = unit_count<S>(a);
  int32_t acquired = -1;
  for (auto index = static_cast<int32_t>(blockIdx.x); index < units;
       index += static_cast<int32_t>(gridDim.x)) {
    const Unit unit = unit_at<S>(a, index);
    const CUtensorMap* maps[S::kMatrices];
#pragma unroll
    for (int m = 0; m < S::kMatrices; ++m) {
      maps[m] = m == 0 ? &a.weight : &a.second_weight;
      if constexpr (S::kGrouped) {
        maps[m] = a.experts.map(a.first_matrix + m, unit.expert);
        if (acquired != unit.expert) hopper::acquire_map(maps[m]);
      }
    }
    acquired = unit.expert;
    const bool first = index == static_cast<int32_t>(blockIdx.x);
    if (first) {
      Ring<S> ahead = ring;
#pragma unroll 1
      for (int32_t step = 0; step < first_steps; ++step) {
        hopper::barrier_expect(&ahead.full[ahead.stage], S::kArriving);
        copy_weights<S>(ahead, maps, range.begin + step, unit.feature, once);
        ahead.next();
      }
      hopper::wait_previous_kernels();
      // The next grouped kernel then counts on everything before this one.
      if constexpr (S::kGrouped) hopper::let_next_kernel_start();
    }
#pragma unroll 1
    for (int32_t step = range.begin; step < range.end; ++step) {
      uint64_t* full = &ring.full[ring.stage];
      if (!first || step - range.begin >= first_steps) {
        hopper::barrier_wait(&ring.empty[ring.stage], ring.phase ^ 1);
        hopper::barrier_expect(full, S::kArriving);
        copy_weights<S>(ring, maps, step, unit.feature, once);
      }
#pragma unroll
      for (int s = 0; s < S::kSteps; ++s) {
        const int32_t k = step * S::kSteps + s;
        hopper::copy_tile(ring.tokens() + s * S::kN * kRowBytes, &a.x, k * S::kElements, unit.row,
                          full, keep);
        if constexpr (S::kFp8)
          hopper::copy_tile(reinterpret_cast<uint8_t*>(ring.scales()) + s * S::kScaleSlot,
                            &a.x_scales, unit.row, k, full, keep);
      }
      ring.next();
    }
  }
  // A block without work waits too: this kernel's end must mean the end of all before it.
  hopper::wait_previous_kernels();
}

// --- the warpgroups that multiply ---------------------------------------------------------------

// sum (+)= the weights' rows of this warpgroup times the tokens, over the block's range of K.
template <typename S>
__device__ __forceinline__ void multiply(const Args& a, const Unit& unit, Range range, int part,
                                         Ring<S>& ring, float (&sum)[S::kMatrices][S::kN / 2]) {
  constexpr int kCount = S::kN / 2;
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int m = 0; m < S::kMatrices; ++m)
#pragma unroll
    for (int i = 0; i < kCount; ++i) sum[m][i] = 0.0f;

  const float* rows[2] = {a.weight_scales, nullptr};
  if constexpr (S::kFp8) {
#pragma unroll
    for (int m = 0; m < S::kMatrices; ++m) {
      if constexpr (S::kGrouped) rows[m] = a.experts.scale(a.first_matrix + m, unit.expert);
      rows[m] += int64_t{unit.feature / 128} * a.scale_blocks;
    }
  }
  WeightScales<S> scale0(rows[0], a.scale_blocks, range.begin, part);
  WeightScales<S> scale1(rows[S::kMatrices - 1], a.scale_blocks, range.begin, part);

  for (int32_t step = range.begin; step < range.end; ++step) {
    hopper::barrier_wait(&ring.full[ring.stage], ring.phase);
    const uint64_t b =
        hopper::tile_descriptor(ring.tokens() + (S::kSplit ? part : 0) * S::kN * kRowBytes);
    const uint64_t w = hopper::tile_descriptor(ring.weights() + part * kBoxBytes);
    constexpr uint64_t kNextMatrix = 2 * kBoxBytes / 16;
    if constexpr (S::kFp8) {
      float product[S::kMatrices][kCount];
      float2 token[S::kN / 8];
      const float* scales = ring.scales() + (S::kSplit ? part : 0) * (S::kScaleSlot / 4);
#pragma unroll
      for (int j = 0; j < S::kN / 8; ++j)
        token[j] = *reinterpret_cast<const float2*>(scales + 8 * j + 2 * (lane % 4));
#pragma unroll
      for (int m = 0; m < S::kMatrices; ++m) hopper::pin(product[m]);
      hopper::wgmma_fence();
#pragma unroll
      for (int m = 0; m < S::kMatrices; ++m)
#pragma unroll
        for (int k = 0; k < 4; ++k)
          hopper::Wgmma<S::kN>::fp8(product[m], w + m * kNextMatrix + 2 * k, b + 2 * k, k > 0);
      hopper::wgmma_commit();
      const float weight[2] = {scale0.take(), S::kMatrices == 2 ? scale1.take() : 0.0f};
      hopper::wgmma_wait<0>();
#pragma unroll
      for (int m = 0; m < S::kMatrices; ++m) hopper::pin(product[m]);
      __syncwarp();
      if (lane == 0) hopper::barrier_arrive(&ring.empty[ring.stage]);
#pragma unroll
      for (int m = 0; m < S::kMatrices; ++m) {
#pragma unroll
        for (int j = 0; j < S::kN / 8; ++j) {
          const float s0 = weight[m] * token[j].x, s1 = weight[m] * token[j].y;
          sum[m][4 * j + 0] = fmaf(product[m][4 * j + 0], s0, sum[m][4 * j + 0]);
          sum[m][4 * j + 1] = fmaf(product[m][4 * j + 1], s1, sum[m][4 * j + 1]);
          sum[m][4 * j + 2] = fmaf(product[m][4 * j + 2], s0, sum[m][4 * j + 2]);
          sum[m][4 * j + 3] = fmaf(product[m][4 * j + 3], s1, sum[m][4 * j + 3]);
        }
      }
    } else {
#pragma unroll
      for (int m = 0; m < S::kMatrices; ++m) hopper::pin(sum[m]);
      hopper::wgmma_fence();
#pragma unroll
      for (int m = 0; m < S::kMatrices; ++m)
#pragma unroll
        for (int k = 0; k < 4; ++k)
          hopper::Wgmma<S::kN>::bf16(sum[m], w + m * kNextMatrix + 2 * k, b + 2 * k, 1);
      hopper::wgmma_commit();
      hopper::wgmma_wait<0>();
#pragma unroll
      for (int m = 0; m < S::kMatrices; ++m) hopper::pin(sum[m]);
      __syncwarp();
      if (lane == 0) hopper::barrier_arrive(&ring.empty[ring.stage]);
    }
    ring.next();
  }
}

// --- how a tile leaves --------------------------------------------------------------------------

constexpr int kOutBarrier = 1;  // named barrier of the consumers

__device__ __forceinline__ void sync_consumers() {
  hopper::named_barrier(kOutBarrier, kConsumers);
}

// Stores `bytes` (16) per thread and turn from the transposed tile [kN, pitch] to rows of y.
template <typename S>
__device__ __forceinline__ void store_bf16(const Args& a, const Unit& unit,
                                           const __nv_bfloat16* out) {
  constexpr int kVectors = S::kRows / 8;
  const bool aligned = a.y_ld % 8 == 0 && reinterpret_cast<uintptr_t>(a.y) % 16 == 0;
  for (int i = static_cast<int>(threadIdx.x); i < unit.rows * kVectors; i += kConsumers) {
    const int n = i / kVectors, v = i % kVectors;
    const int32_t feature = unit.feature + 8 * v;
    const __nv_bfloat16* from = out + n * S::kPitch + 8 * v;
    __nv_bfloat16* to =
        static_cast<__nv_bfloat16*>(a.y) + (int64_t{unit.row} + n) * a.y_ld + feature;
    if (aligned && feature + 8 <= a.features) {
      *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(from);
    } else {
      for (int c = 0; c < 8 && feature + c < a.features; ++c) to[c] = from[c];
    }
  }
}

// value[4 * j + 2 * h + c] is row m0 + 8 * h, token 8 * j + 2 * (lane % 4) + c.
template <typename S>
__device__ __forceinline__ void leave_bf16(const Args& a, const Unit& unit, int m0,
                                           const float (&value)[S::kN / 2], uint8_t* shared) {
  auto* out = reinterpret_cast<__nv_bfloat16*>(shared);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  sync_consumers();  // the tile before has left
#pragma unroll
  for (int i = 0; i < S::kN / 2; ++i) {
    const int n = 8 * (i / 4) + 2 * (lane % 4) + i % 2;
    out[n * S::kPitch + m0 + 8 * (i / 2 % 2)] = __float2bfloat16_rn(value[i]);
  }
  sync_consumers();
  store_bf16<S>(a, unit, out);
}

template <typename S>
__device__ __forceinline__ void leave_f32(const Args& a, const Unit& unit, int m0,
                                          const float (&value)[S::kN / 2]) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int i = 0; i < S::kN / 2; ++i) {
    const int n = 8 * (i / 4) + 2 * (lane % 4) + i % 2;
    const int32_t feature = unit.feature + m0 + 8 * (i / 2 % 2);
    if (n < unit.rows && feature < a.features)
      static_cast<float*>(a.y)[(int64_t{unit.row} + n) * a.y_ld + feature] = value[i];
  }
}

template <typename S>
__device__ __forceinline__ void add_bias(const Args& a, const Unit& unit, int m0,
                                         float (&value)[S::kN / 2]) {
  if (a.bias == nullptr) return;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int32_t feature = unit.feature + m0 + 8 * h;
    const float bias = feature < a.features ? __bfloat162float(a.bias[feature]) : 0.0f;
#pragma unroll
    for (int i = 0; i < S::kN / 2; ++i)
      if (i / 2 % 2 == h) value[i] += bias;
  }
}

// Quantises the tile's 128 channels of each token: one group of the result.
template <typename S>
__device__ __forceinline__ void leave_quantized(const Args& a, const Unit& unit, int m0,
                                                const float (&value)[S::kN / 2], uint8_t* shared) {
  constexpr int kCodePitch = 128 + 16;
  static_assert(S::kN * kCodePitch <= S::kN * S::kPitch * 2);
  uint8_t* codes = shared;                                                   // [kN, kCodePitch]
  auto* largest = reinterpret_cast<float*>(shared + S::kN * S::kPitch * 2);  // [8, kN]
  float* scales = largest + 8 * S::kN;                                       // [kN]
  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % 32, warp = thread / 32;

  sync_consumers();  // the tile before has left
#pragma unroll
  for (int i = 0; i < S::kN / 2; i += 4) {
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      float m = fmaxf(fabsf(value[i + c]), fabsf(value[i + 2 + c]));
      m = fmaxf(m, __shfl_xor_sync(0xffffffffu, m, 4));
      m = fmaxf(m, __shfl_xor_sync(0xffffffffu, m, 8));
      m = fmaxf(m, __shfl_xor_sync(0xffffffffu, m, 16));
      if (lane < 4) largest[warp * S::kN + 2 * i + 2 * lane + c] = m;
    }
  }
  sync_consumers();
  if (thread < S::kN) {
    float m = 0.0f;
#pragma unroll
    for (int w = 0; w < 8; ++w) m = fmaxf(m, largest[w * S::kN + thread]);
    const float scale = __fdiv_rn(m, 448.0f);
    scales[thread] = scale;
    if (thread < unit.rows)
      a.quantized.scales[int64_t{unit.feature / 128} * a.quantized.scale_ld + unit.row + thread] =
          scale;
  }
  sync_consumers();
#pragma unroll
  for (int i = 0; i < S::kN / 2; ++i) {
    const int n = 8 * (i / 4) + 2 * (lane % 4) + i % 2;
    const float scale = scales[n];
    const float scaled = scale > 0.0f ? __fdiv_rn(value[i], scale) : 0.0f;
    codes[n * kCodePitch + m0 + 8 * (i / 2 % 2)] =
        __nv_cvt_float_to_fp8(scaled, __NV_SATFINITE, __NV_E4M3);
  }
  sync_consumers();
  for (int i = thread; i < unit.rows * 8; i += kConsumers) {
    const int n = i / 8, v = i % 8;
    const int32_t feature = unit.feature + 16 * v;
    if (feature >= a.quantized.ld) continue;  // codes past `cols` are zeros: the weight's were
    *reinterpret_cast<uint4*>(a.quantized.codes + (int64_t{unit.row} + n) * a.quantized.ld +
                              feature) =
        *reinterpret_cast<const uint4*>(codes + n * kCodePitch + 16 * v);
  }
}

// Adds the parts of all blocks of the cluster, in the order of K, and stores this block's share.
template <typename S>
__device__ __forceinline__ void leave_reduced(const Args& a, const Unit& unit, float* parts) {
  const auto rank = static_cast<int>(hopper::cluster_rank());
  const auto size = static_cast<int>(gridDim.y);
  constexpr int kVectors = S::kRows / 4;
  const bool aligned = a.y_ld % 4 == 0 && reinterpret_cast<uintptr_t>(a.y) % 16 == 0;
  for (int i = rank * kConsumers + static_cast<int>(threadIdx.x); i < unit.rows * kVectors;
       i += size * kConsumers) {
    const int n = i / kVectors, v = i % kVectors;
    float4 total{0.0f, 0.0f, 0.0f, 0.0f};
    for (int r = 0; r < size; ++r) {
      const uint32_t base =
          hopper::remote_address(parts + n * S::kPartPitch + 4 * v, static_cast<uint32_t>(r));
#pragma unroll
      for (int p = 0; p < S::kParts; ++p) {
        const float4 part = hopper::load_remote_float4(base + p * S::kPartFloats * 4);
        total.x += part.x;
        total.y += part.y;
        total.z += part.z;
        total.w += part.w;
      }
    }
    const int32_t feature = unit.feature + 4 * v;
    float values[4] = {total.x, total.y, total.z, total.w};
    if (a.bias != nullptr) {
#pragma unroll
      for (int c = 0; c < 4; ++c)
        if (feature + c < a.features) values[c] += __bfloat162float(a.bias[feature + c]);
    }
    const int64_t at = (int64_t{unit.row} + n) * a.y_ld + feature;
    const bool whole = aligned && feature + 4 <= a.features;
    if (a.y_f32) {
      float* to = static_cast<float*>(a.y) + at;
      if (whole) {
        *reinterpret_cast<float4*>(to) = make_float4(values[0], values[1], values[2], values[3]);
      } else {
        for (int c = 0; c < 4 && feature + c < a.features; ++c) to[c] = values[c];
      }
    } else {
      __nv_bfloat16* to = static_cast<__nv_bfloat16*>(a.y) + at;
      __nv_bfloat16 rounded[4];
#pragma unroll
      for (int c = 0; c < 4; ++c) rounded[c] = __float2bfloat16_rn(values[c]);
      if (whole) {
        *reinterpret_cast<uint2*>(to) = *reinterpret_cast<const uint2*>(rounded);
      } else {
        for (int c = 0; c < 4 && feature + c < a.features; ++c) to[c] = rounded[c];
      }
    }
  }
}

// What a multiplying thread does: its tiles, one after the other.
template <typename S>
__device__ __forceinline__ void work(const Args& a, Ring<S>& ring, uint8_t* stages, uint8_t* out) {
  const int thread = static_cast<int>(threadIdx.x);
  // The warpgroup, told in a way that the compiler knows to be the same for the whole warp.
  const int part = __shfl_sync(0xffffffffu, thread / kWarpgroup, 0);
  // First of this thread's two rows in the tile.
  const int m0 = (S::kSplit ? 0 : 64 * part) + thread % kWarpgroup / 32 * 16 + thread % 32 / 4;
  if constexpr (S::kGrouped) {
    if (!a.tiles_ready) hopper::wait_previous_kernels();
  }
  const int32_t units = unit_count<S>(a);
  const Range range = k_range<S>(a);
  for (auto index = static_cast<int32_t>(blockIdx.x); index < units;
       index += static_cast<int32_t>(gridDim.x)) {
    const Unit unit = unit_at<S>(a, index);
    float sum[S::kMatrices][S::kN / 2];
    multiply<S>(a, unit, range, part, ring, sum);
    if constexpr (S::kReduce) {
      sync_consumers();  // both warpgroups are done with the stages, which now hold the sums
      float* parts = reinterpret_cast<float*>(stages);
      float* mine = parts + (S::kSplit ? part : 0) * S::kPartFloats;
#pragma unroll
      for (int i = 0; i < S::kN / 2; ++i) {
        const int n = 8 * (i / 4) + 2 * (thread % 4) + i % 2;
        mine[n * S::kPartPitch + m0 + 8 * (i / 2 % 2)] = sum[0][i];
      }
      hopper::cluster_sync();  // every part is there
      leave_reduced<S>(a, unit, parts);
      hopper::cluster_sync_relaxed();  // nobody reads this block's parts any more
      return;
    } else if constexpr (S::kMatrices == 2) {
#pragma unroll
      for (int i = 0; i < S::kN / 2; ++i)
        sum[0][i] = sum[0][i] / (1.0f + __expf(-sum[0][i])) * sum[1][i];
      if constexpr (S::kFp8) {
        leave_quantized<S>(a, unit, m0, sum[0], out);
      } else {
        leave_bf16<S>(a, unit, m0, sum[0], out);
      }
    } else {
      if constexpr (!S::kGrouped) add_bias<S>(a, unit, m0, sum[0]);
      if (a.y_f32) {
        leave_f32<S>(a, unit, m0, sum[0]);
      } else {
        leave_bf16<S>(a, unit, m0, sum[0], out);
      }
    }
  }
}

template <typename S>
__global__ __launch_bounds__(kThreads,
                             S::kTwoBlocks ? 2 : 1) void kernel(const __grid_constant__ Args a) {
  extern __shared__ uint8_t raw[];
  // 1,024 bytes: the swizzle repeats with it.
  uint8_t* shared = raw + (1024 - hopper::shared_address(raw) % 1024) % 1024;
  uint8_t* out = shared + S::kStages * S::kStageBytes;
  auto* barriers = reinterpret_cast<uint64_t*>(out + S::kOutBytes);
  Ring<S> ring{.stages = shared, .full = barriers, .empty = barriers + S::kStages};
  const int thread = static_cast<int>(threadIdx.x);
  if (thread == kConsumers) {
    for (int s = 0; s < S::kStages; ++s) {
      hopper::barrier_init(&ring.full[s], 1);
      hopper::barrier_init(&ring.empty[s], kConsumers / 32);
    }
    hopper::barrier_init_fence();
    hopper::fence_async_shared();
    hopper::prefetch_map(&a.x);
    if constexpr (!S::kGrouped) hopper::prefetch_map(&a.weight);
    if constexpr (S::kFp8) hopper::prefetch_map(&a.x_scales);
  }
  __syncthreads();
  if constexpr (!S::kGrouped) hopper::let_next_kernel_start();

  if (thread >= kConsumers) {
    hopper::keep_registers<S::kFeedRegisters>();
    if (thread == kConsumers) feed<S>(a, ring);
    __syncwarp();
    if constexpr (S::kReduce) {
      hopper::cluster_sync();
      hopper::cluster_sync_relaxed();
    }
  } else {
    hopper::take_registers<S::kMultiplyRegisters>();
    work<S>(a, ring, shared, out);
  }
}

}  // namespace galley::kernels::cuda::narrow

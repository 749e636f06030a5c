#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "kernels/cuda/expert_gemm.h"
#include "kernels/cuda/gemm_narrow.cuh"
#include "kernels/cuda/gemm_tall.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/tensor_map.h"

namespace galley::kernels::cuda {
namespace {

constexpr int kSortThreads = 1024;
constexpr int kTallTile = 128;  // tokens of a tall kernel's tile, or twice as many
static_assert(kExpertsMax <= kSortThreads);

// --- sort ---------------------------------------------------------------------------------------

struct SortArgs {
  const int32_t* experts;  // [pairs]
  int32_t pairs;
  int32_t num_experts;
  int32_t tile;        // rows of a tile
  int32_t align;       // an expert's first row is a multiple of this
  int32_t* row_of;     // out: [pairs], -1 for no expert
  ExpertTile* tiles;   // out
  int32_t* num_tiles;  // out
};

// Sum over the threads before this one.
__device__ __forceinline__ int2 exclusive_sum(int2 value) {
  __shared__ int2 of_warp[kSortThreads / 32];
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  int2 sum = value;
  for (int offset = 1; offset < 32; offset *= 2) {
    const int x = __shfl_up_sync(0xffffffffu, sum.x, offset);
    const int y = __shfl_up_sync(0xffffffffu, sum.y, offset);
    if (lane >= offset) {
      sum.x += x;
      sum.y += y;
    }
  }
  if (lane == 31) of_warp[warp] = sum;
  __syncthreads();
  int2 before{0, 0};
  for (int w = 0; w < warp; ++w) {
    before.x += of_warp[w].x;
    before.y += of_warp[w].y;
  }
  return {before.x + sum.x - value.x, before.y + sum.y - value.y};
}

// One block. Which of an expert's rows a pair gets depends on timing; no result does.
__global__ __launch_bounds__(kSortThreads) void sort_kernel(SortArgs a) {
  __shared__ int32_t count[kExpertsMax];
  const auto thread = static_cast<int32_t>(threadIdx.x);
  hopper::let_next_kernel_start();
  hopper::wait_previous_kernels();
  const auto is_expert = [&](int32_t id) { return id >= 0 && id < a.num_experts; };

  // 1. Pairs of each expert.
  count[thread] = 0;
  __syncthreads();
  for (int32_t i = thread; i < a.pairs; i += kSortThreads) {
    const int32_t id = __ldg(a.experts + i);
    if (is_expert(id)) atomicAdd(&count[id], 1);
  }
  __syncthreads();

  // 2. Where each expert's rows and tiles begin.
  const int32_t mine = count[thread];
  const int32_t tiles = (mine + a.tile - 1) / a.tile;
  const int2 begin = exclusive_sum({(mine + a.align - 1) / a.align * a.align, tiles});
  count[thread] = begin.x;
  for (int32_t i = 0; i < tiles; ++i)
    a.tiles[begin.y + i] = {.expert = thread,
                            .row = begin.x + i * a.tile,
                            .rows = min(a.tile, mine - i * a.tile),
                            .unused = 0};
  if (thread == kSortThreads - 1) *a.num_tiles = begin.y + tiles;
  __syncthreads();

  // 3. A row for each pair.
  for (int32_t i = thread; i < a.pairs; i += kSortThreads) {
    const int32_t id = __ldg(a.experts + i);
    a.row_of[i] = is_expert(id) ? atomicAdd(&count[id], 1) : -1;
  }
}

// --- scatter (bf16) and combine -----------------------------------------------------------------

constexpr int kRowThreads = 128;
constexpr int kVector = 8;  // bf16 in 16 bytes

struct RowArgs {
  const __nv_bfloat16* from;  // scatter: [T, from_ld]; combine: [rows, from_ld]
  int64_t from_ld;
  __nv_bfloat16* to;  // scatter: [rows, to_ld]; combine: [T, to_ld]
  int64_t to_ld;
  int64_t cols;           // a multiple of 8
  const int32_t* row_of;  // [T, K]
  const float* weights;   // combine: [T, K]
  int32_t copies;         // K
};

// 16 bytes if the rows of the caller's matrix allow it.
__device__ __forceinline__ uint4 load_vector(const __nv_bfloat16* from) {
  if (reinterpret_cast<uintptr_t>(from) % 16 == 0) return *reinterpret_cast<const uint4*>(from);
  __nv_bfloat16 v[kVector];
  for (int i = 0; i < kVector; ++i) v[i] = from[i];
  return *reinterpret_cast<const uint4*>(v);
}

// Row t of `from` to the rows of its pairs. Blocks (token, columns).
__global__ __launch_bounds__(kRowThreads) void scatter_bf16_kernel(RowArgs a) {
  hopper::let_next_kernel_start();
  hopper::wait_previous_kernels();
  const int64_t token = blockIdx.x;
  const int64_t column = (int64_t{blockIdx.y} * kRowThreads + threadIdx.x) * kVector;
  if (column >= a.cols) return;
  const uint4 value = load_vector(a.from + token * a.from_ld + column);
  for (int k = 0; k < a.copies; ++k) {
    const int32_t row = __ldg(a.row_of + token * a.copies + k);
    if (row >= 0) *reinterpret_cast<uint4*>(a.to + row * a.to_ld + column) = value;
  }
}

// to[t] = sum over k of weights[t, k] * from[row_of[t, k]]. Blocks (token, columns).
__global__ __launch_bounds__(kRowThreads) void combine_kernel(RowArgs a) {
  hopper::let_next_kernel_start();
  hopper::wait_previous_kernels();
  const int64_t token = blockIdx.x;
  const int64_t column = (int64_t{blockIdx.y} * kRowThreads + threadIdx.x) * kVector;
  if (column >= a.cols) return;
  float sum[kVector] = {};
#pragma unroll 8
  for (int k = 0; k < a.copies; ++k) {
    const int32_t row = __ldg(a.row_of + token * a.copies + k);
    const float weight = __ldg(a.weights + token * a.copies + k);
    if (row < 0) continue;
    const uint4 raw = *reinterpret_cast<const uint4*>(a.from + row * a.from_ld + column);
    const auto* value = reinterpret_cast<const __nv_bfloat16*>(&raw);
#pragma unroll
    for (int i = 0; i < kVector; ++i) sum[i] = fmaf(weight, __bfloat162float(value[i]), sum[i]);
  }
  __nv_bfloat16* to = a.to + token * a.to_ld + column;
  __nv_bfloat16 rounded[kVector];
#pragma unroll
  for (int i = 0; i < kVector; ++i) rounded[i] = __float2bfloat16_rn(sum[i]);
  if (reinterpret_cast<uintptr_t>(to) % 16 == 0) {
    *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(rounded);
  } else {
    for (int i = 0; i < kVector; ++i) to[i] = rounded[i];
  }
}

cudaError_t launch_rows(void (*kernel)(RowArgs), const RowArgs& args, int64_t tokens,
                        cudaStream_t stream) {
  const int64_t across = (args.cols / kVector + kRowThreads - 1) / kRowThreads;
  return launch(kernel,
                {.grid = dim3(static_cast<uint32_t>(tokens), static_cast<uint32_t>(across)),
                 .threads = kRowThreads},
                stream, args);
}

// Which kernels, and tokens of a tile.
struct Choice {
  bool tall;
  int32_t tile;
};

// --- workspace ----------------------------------------------------------------------------------

// Addresses in the workspace, for one turn of tokens.
struct Workspace {
  int64_t rows = 0;  // of the sorted matrices
  int32_t* row_of = nullptr;
  ExpertTile* tiles = nullptr;
  int32_t* num_tiles = nullptr;
  std::byte* x = nullptr;         // quantised (fp8_bytes) or bf16 [rows, H]
  std::byte* inner = nullptr;     // quantised or bf16 [rows, I]
  __nv_bfloat16* down = nullptr;  // [rows, H]
  size_t bytes = 0;
};

// First rows of experts are multiples of this. Narrow: the scales of a tile's tokens are copied
// from there, and the copy engine starts at multiples of 16 bytes.
constexpr int32_t alignment(const Choice& choice) {
  return choice.tall ? choice.tile : 4;
}

int64_t rows_of(const ExpertShape& shape, int64_t pairs, const Choice& choice) {
  // Each expert wastes less than a unit of alignment, and there are no more of them than pairs.
  return pairs + std::min<int64_t>(shape.experts, pairs) * (alignment(choice) - 1);
}

Workspace divide(std::byte* memory, const ExpertShape& shape, int64_t pairs, const Choice& choice) {
  Workspace w;
  w.rows = rows_of(shape, pairs, choice);
  size_t at = 0;
  const auto take = [&](int64_t bytes) {
    std::byte* here = memory + at;
    at += (static_cast<size_t>(bytes) + 255) / 256 * 256;
    return here;
  };
  const auto matrix_bytes = [&](int64_t cols) {
    return shape.fp8 ? fp8_bytes(w.rows, cols) : w.rows * cols * 2;
  };
  w.row_of = reinterpret_cast<int32_t*>(take(pairs * 4));
  // A tile is full or an expert's last one.
  w.tiles = reinterpret_cast<ExpertTile*>(
      take((pairs / 8 + std::min<int64_t>(shape.experts, pairs)) * int64_t{sizeof(ExpertTile)}));
  w.num_tiles = reinterpret_cast<int32_t*>(take(4));
  w.x = take(matrix_bytes(shape.hidden));
  w.inner = take(matrix_bytes(shape.inner));
  w.down = reinterpret_cast<__nv_bfloat16*>(take(w.rows * shape.hidden * 2));
  w.bytes = at;
  return w;
}

// --- grouped products ---------------------------------------------------------------------------

ExpertMaps device_maps(const ExpertArgs& a) {
  const auto* maps = reinterpret_cast<const CUtensorMap*>(a.table);
  return {.maps = maps,
          .scales = reinterpret_cast<const float* const*>(maps + 3 * a.shape.experts),
          .experts = a.shape.experts};
}

// A sorted matrix [rows, cols] in the workspace, codes or bf16, as tiles of box_rows.
CUtensorMap rows_map(const ExpertShape& shape, std::byte* data, int64_t rows, int64_t cols,
                     int32_t box_rows) {
  return make_map({.data = data,
                   .type = shape.fp8 ? MapType::kByte : MapType::kBF16,
                   .rows = rows,
                   .cols = cols,
                   .ld_bytes = shape.fp8 ? fp8_ld(cols) : cols * 2,
                   .box_rows = box_rows,
                   .box_cols = shape.fp8 ? 128 : 64,
                   .swizzle128 = true});
}
CUtensorMap scales_map(const Fp8Rows& rows, int32_t box) {
  return make_map({.data = rows.scales,
                   .type = MapType::kF32,
                   .rows = fp8_groups(rows.cols),
                   .cols = rows.rows,
                   .ld_bytes = rows.scale_ld * 4,
                   .box_rows = 1,
                   .box_cols = box});
}

// What both kinds of kernel are told in the same words. `from` is x (gate and up) or inner (down).
template <typename Args>
Args common_args(const ExpertArgs& a, const Workspace& w, bool down, int32_t box_rows,
                 int32_t scale_box) {
  const ExpertShape& shape = a.shape;
  const int64_t k = down ? shape.inner : shape.hidden;
  std::byte* from = down ? w.inner : w.x;
  Args args{};
  args.x = rows_map(shape, from, w.rows, k, box_rows);
  if (shape.fp8) {
    args.x_scales = scales_map(fp8_rows(from, w.rows, k), scale_box);
    args.scale_blocks = static_cast<int32_t>(fp8_groups(k));
    args.quantized = fp8_rows(w.inner, w.rows, shape.inner);
  }
  args.experts = device_maps(a);
  args.tiles = {.tiles = w.tiles, .count = w.num_tiles};
  args.first_matrix = down ? 2 : 0;
  args.tiles_ready = down;  // gate and up waited for the sort before down could start
  args.features = static_cast<int32_t>(down ? shape.hidden : shape.inner);
  args.k_steps = static_cast<int32_t>(shape.fp8 ? (k + 127) / 128 : (k + 63) / 64);
  args.y = down ? reinterpret_cast<std::byte*>(w.down) : w.inner;  // inner: bf16 only
  args.y_ld = down ? shape.hidden : shape.inner;
  return args;
}

template <bool kFp8, int kN, int kMatrices>
cudaError_t narrow_product(const ExpertArgs& a, const Workspace& w, cudaStream_t stream) {
  using S = narrow::Shape<kFp8, kN, kMatrices, false, false, true>;
  const auto args = common_args<narrow::Args>(a, w, kMatrices == 1, kN, kN);
  return launch(narrow::kernel<S>,
                {.grid = dim3(static_cast<uint32_t>(processors())),
                 .threads = narrow::kThreads,
                 .shared_bytes = S::kShared},
                stream, args);
}

template <bool kFp8, int kN>
cudaError_t narrow_products(const ExpertArgs& a, const Workspace& w, cudaStream_t stream) {
  const cudaError_t error = narrow_product<kFp8, kN, 2>(a, w, stream);
  return error != cudaSuccess ? error : narrow_product<kFp8, kN, 1>(a, w, stream);
}

template <bool kFp8>
cudaError_t narrow_products(const ExpertArgs& a, const Workspace& w, int tile,
                            cudaStream_t stream) {
  switch (tile) {
    case 8:
      return narrow_products<kFp8, 8>(a, w, stream);
    case 16:
      return narrow_products<kFp8, 16>(a, w, stream);
    case 32:
      return narrow_products<kFp8, 32>(a, w, stream);
    default:
      return narrow_products<kFp8, 64>(a, w, stream);
  }
}

template <bool kFp8, bool kSwiGlu, int kWaves>
cudaError_t tall_product(const ExpertArgs& a, const Workspace& w, cudaStream_t stream) {
  using S = tall::Shape<kFp8, true, kSwiGlu, tall::Share::kTokens, kWaves>;
  auto args = common_args<tall::Args>(a, w, !kSwiGlu, 64, S::kTokens);
  const bool codes = kSwiGlu && kFp8;
  args.out = make_map({.data = args.y,
                       .type = codes ? MapType::kByte : MapType::kBF16,
                       .rows = w.rows,
                       .cols = args.features,
                       .ld_bytes = codes ? fp8_ld(args.features) : args.y_ld * 2,
                       .box_rows = 64,
                       .box_cols = 64,
                       .swizzle128 = !codes});
  return launch(tall::kernel<S>,
                {.grid = dim3(static_cast<uint32_t>(processors() / 2 * 2)),
                 .cluster = {2, 1, 1},
                 .threads = tall::kThreads,
                 .shared_bytes = S::kShared},
                stream, args);
}

template <bool kFp8, int kWaves>
cudaError_t tall_products(const ExpertArgs& a, const Workspace& w, cudaStream_t stream) {
  const cudaError_t error = tall_product<kFp8, true, kWaves>(a, w, stream);
  return error != cudaSuccess ? error : tall_product<kFp8, false, kWaves>(a, w, stream);
}

template <bool kFp8>
cudaError_t tall_products(const ExpertArgs& a, const Workspace& w, int tile, cudaStream_t stream) {
  return tile == kTallTile ? tall_products<kFp8, 1>(a, w, stream)
                           : tall_products<kFp8, 2>(a, w, stream);
}

// --- a turn -------------------------------------------------------------------------------------

// From the tokens alone: the counts are known on the device only. Narrow tiles are as wide as an
// expert's rows are likely to be, so that its weights are read once.
Choice choose(const ExpertArgs& a, int64_t tokens) {
  const double mean = static_cast<double>(tokens * a.experts_per_token) / a.shape.experts;
  constexpr double kTallMean = 56.0, kWideMean = 1024.0;
  if (a.path == ExpertPath::kTall || (a.path == ExpertPath::kAuto && mean > kTallMean))
    return {true, a.tile != 0 ? a.tile : mean >= kWideMean ? 2 * kTallTile : kTallTile};
  if (a.tile != 0) return {false, a.tile};
  const double likely =
      std::min(static_cast<double>(tokens), mean + 2.5 * std::sqrt(mean));  // ids are distinct
  int32_t tile = 8;
  while (tile < 64 && tile < likely) tile *= 2;
  return {false, tile};
}

cudaError_t run_turn(const ExpertArgs& a, cudaStream_t stream) {
  const int64_t pairs = a.tokens * a.experts_per_token;
  const Choice choice = choose(a, a.tokens);
  const Workspace w = divide(a.workspace, a.shape, pairs, choice);
  cudaError_t error = launch(sort_kernel, {.grid = dim3(1), .threads = kSortThreads}, stream,
                             SortArgs{.experts = a.experts,
                                      .pairs = static_cast<int32_t>(pairs),
                                      .num_experts = a.shape.experts,
                                      .tile = choice.tile,
                                      .align = alignment(choice),
                                      .row_of = w.row_of,
                                      .tiles = w.tiles,
                                      .num_tiles = w.num_tiles});
  if (error != cudaSuccess) return error;
  if (a.shape.fp8) {
    error = quantize_scatter({.x = a.x,
                              .x_ld = a.x_ld,
                              .tokens = a.tokens,
                              .row_of = w.row_of,
                              .copies = a.experts_per_token},
                             fp8_rows(w.x, w.rows, a.shape.hidden), stream);
  } else {
    error = launch_rows(scatter_bf16_kernel,
                        {.from = a.x,
                         .from_ld = a.x_ld,
                         .to = reinterpret_cast<__nv_bfloat16*>(w.x),
                         .to_ld = a.shape.hidden,
                         .cols = a.shape.hidden,
                         .row_of = w.row_of,
                         .weights = nullptr,
                         .copies = a.experts_per_token},
                        a.tokens, stream);
  }
  if (error != cudaSuccess) return error;
  if (choice.tall) {
    error = a.shape.fp8 ? tall_products<true>(a, w, choice.tile, stream)
                        : tall_products<false>(a, w, choice.tile, stream);
  } else {
    error = a.shape.fp8 ? narrow_products<true>(a, w, choice.tile, stream)
                        : narrow_products<false>(a, w, choice.tile, stream);
  }
  if (error != cudaSuccess) return error;
  return launch_rows(combine_kernel,
                     {.from = w.down,
                      .from_ld = a.shape.hidden,
                      .to = a.out,
                      .to_ld = a.out_ld,
                      .cols = a.shape.hidden,
                      .row_of = w.row_of,
                      .weights = a.weights,
                      .copies = a.experts_per_token},
                     a.tokens, stream);
}

}  // namespace

bool can_run_experts(std::span<const MlpWeights> all) {
  if (all.empty() || all.size() > static_cast<size_t>(kExpertsMax)) return false;
  const Weight& first = all[0].gate;
  if (first.dtype != DType::kF8E4M3 && first.dtype != DType::kBF16) return false;
  if (first.rows * static_cast<int64_t>(size_of(first.dtype)) % 16 != 0) return false;
  for (const MlpWeights& one : all) {
    for (const Weight* w : {&one.gate, &one.up, &one.down}) {
      const int64_t rows = w == &one.down ? first.cols : first.rows;
      const int64_t cols = w == &one.down ? first.rows : first.cols;
      if (w->dtype != first.dtype || w->rows != rows || w->cols != cols ||
          !can_map(w->data, cols * static_cast<int64_t>(size_of(w->dtype))))
        return false;
    }
  }
  return true;
}

size_t expert_table_bytes(int32_t experts) {
  return static_cast<size_t>(experts) * 3 * (sizeof(CUtensorMap) + sizeof(float*));
}

std::vector<std::byte> expert_table(std::span<const MlpWeights> all) {
  GALLEY_CHECK(can_run_experts(all), "ask can_run_experts first");
  const auto experts = static_cast<int32_t>(all.size());
  std::vector<std::byte> table(expert_table_bytes(experts));
  std::byte* const pointers = table.data() + all.size() * 3 * sizeof(CUtensorMap);
  for (size_t e = 0; e < all.size(); ++e) {
    const Weight* matrices[3] = {&all[e].gate, &all[e].up, &all[e].down};
    for (size_t m = 0; m < 3; ++m) {
      const Weight& w = *matrices[m];
      const bool fp8 = w.dtype == DType::kF8E4M3;
      const CUtensorMap map = make_map({.data = w.data,
                                        .type = fp8 ? MapType::kByte : MapType::kBF16,
                                        .rows = w.rows,
                                        .cols = w.cols,
                                        .ld_bytes = w.cols * (fp8 ? 1 : 2),
                                        .box_rows = 64,
                                        .box_cols = fp8 ? 128 : 64,
                                        .swizzle128 = true});
      const size_t at = m * all.size() + e;
      std::memcpy(table.data() + at * sizeof(CUtensorMap), &map, sizeof(map));
      std::memcpy(pointers + at * sizeof(float*), &w.scales, sizeof(float*));
    }
  }
  return table;
}

size_t expert_workspace_bytes(const ExpertShape& shape, int32_t experts_per_token,
                              int64_t tokens_at_once) {
  return divide(nullptr, shape, tokens_at_once * experts_per_token,
                {.tall = true, .tile = 2 * kTallTile})
      .bytes;
}

cudaError_t run_experts(const ExpertArgs& args, cudaStream_t stream) {
  GALLEY_CHECK(args.shape.experts <= kExpertsMax, "ask can_run_experts first");
  GALLEY_CHECK(args.tokens_at_once > 0 || args.tokens == 0, "the workspace has no room");
  for (int64_t first = 0; first < args.tokens; first += args.tokens_at_once) {
    ExpertArgs turn = args;
    turn.tokens = std::min(args.tokens_at_once, args.tokens - first);
    turn.x = args.x + first * args.x_ld;
    turn.out = args.out + first * args.out_ld;
    turn.experts = args.experts + first * args.experts_per_token;
    turn.weights = args.weights + first * args.experts_per_token;
    const cudaError_t error = run_turn(turn, stream);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

}  // namespace galley::kernels::cuda

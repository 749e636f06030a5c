#include <algorithm>
#include <array>

#include "base/check.h"
#include "kernels/cuda/fp8_gemm.h"
#include "kernels/cuda/gemm_narrow.cuh"
#include "kernels/cuda/gemm_plain.cuh"
#include "kernels/cuda/gemm_tall.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/tensor_map.h"

namespace galley::kernels::cuda {
namespace {

constexpr int64_t kNarrowTokensMax = 128;  // in one tile of the narrow path
constexpr int kSplitMax = 8;               // blocks of a cluster
constexpr int64_t kLongGroups = 48;        // of K: from here on a finer cut pays (measured)

void check(const Fp8GemmArgs& a) {
  GALLEY_CHECK(a.x.ld >= a.x.cols && a.x.ld % 16 == 0, "rows of codes are padded to 16 bytes");
  GALLEY_CHECK(a.x.scale_ld >= a.x.rows && a.x.scale_ld % 4 == 0,
               "rows of scales are padded to 16 bytes");
  GALLEY_CHECK(a.y_ld >= a.features, "a row of y holds M values");
}

CUtensorMap weight_map(const Fp8GemmArgs& a) {
  return make_map({.data = a.weight,
                   .rows = a.features,
                   .cols = a.x.cols,
                   .ld_bytes = a.x.cols,
                   .box_rows = 64,
                   .box_cols = 128,
                   .swizzle128 = true});
}

// Clusters of `split` blocks of the reducing kernel that run at one time.
template <int kN, bool kSplit>
int64_t clusters_at_once(int split) {
  using S = narrow::Shape<true, kN, 1, true, kSplit, false>;
  static const auto counts = [] {
    std::array<int, kSplitMax + 1> out{};
    for (int s = 1; s <= kSplitMax; ++s) {
      const LaunchShape shape{.grid = {1, static_cast<uint32_t>(s), 1},
                              .cluster = {1, static_cast<uint32_t>(s), 1},
                              .threads = narrow::kThreads,
                              .shared_bytes = S::kShared};
      out[static_cast<size_t>(s)] = active_clusters(narrow::kernel<S>, shape);
    }
    return out;
  }();
  return counts[static_cast<size_t>(split)];
}

template <int kN, bool kReduce, bool kSplit>
cudaError_t narrow_launch(const Fp8GemmArgs& a, int split, cudaStream_t stream) {
  using S = narrow::Shape<true, kN, 1, kReduce, kSplit, false>;
  narrow::Args args{};
  args.weight = weight_map(a);
  args.x = make_map({.data = a.x.codes,
                     .rows = a.x.rows,
                     .cols = a.x.cols,
                     .ld_bytes = a.x.ld,
                     .box_rows = kN,
                     .box_cols = 128,
                     .swizzle128 = true});
  const int64_t groups = fp8_groups(a.x.cols);
  args.x_scales = make_map({.data = a.x.scales,
                            .type = MapType::kF32,
                            .rows = groups,
                            .cols = a.x.rows,
                            .ld_bytes = a.x.scale_ld * 4,
                            .box_rows = 1,
                            .box_cols = kN});
  args.weight_scales = a.weight_scales;
  args.tokens = static_cast<int32_t>(a.x.rows);
  args.features = static_cast<int32_t>(a.features);
  args.k_steps = args.scale_blocks = static_cast<int32_t>(groups);
  args.y = a.y;
  args.y_ld = a.y_ld;
  args.y_f32 = a.y_f32;
  const int64_t units = (a.features + S::kRows - 1) / S::kRows * ((a.x.rows + kN - 1) / kN);
  const auto blocks =
      static_cast<uint32_t>(kReduce ? units : std::min<int64_t>(units, processors()));
  return launch(narrow::kernel<S>,
                {.grid = {blocks, static_cast<uint32_t>(split), 1},
                 .cluster = {1, static_cast<uint32_t>(split), 1},
                 .threads = narrow::kThreads,
                 .shared_bytes = S::kShared},
                stream, args);
}

// Blocks that share the K of a tile: the number for which the slowest block is done first, as far
// as they all run at one time. Costs measured on an H100 (docs/benchmarks.md).
template <int kN, bool kSplit>
int choose_split(const Fp8GemmArgs& a, int64_t tiles, int64_t stages) {
  if (a.split != 0) return a.split;
  constexpr int64_t kStageNs = 430, kReduceNs = 500 + 25 * kN;
  // Where K is long, two blocks on a multiprocessor keep more of the memory busy than one.
  const int64_t blocks_max = kN <= 64 && stages >= kLongGroups ? 2 * processors() : processors();
  int best = 1;
  int64_t best_ns = stages * kStageNs;
  for (int split = 2; split <= kSplitMax && tiles * split <= blocks_max; ++split) {
    // Clusters cannot straddle the groups that multiprocessors come in: not all sizes fill the
    // card.
    if (tiles > clusters_at_once<kN, kSplit>(split)) continue;
    const int64_t ns = (stages + split - 1) / split * kStageNs + kReduceNs;
    if (ns < best_ns) {
      best = split;
      best_ns = ns;
    }
  }
  return best;
}

// Rows `from` .. of the weight and of the result.
Fp8GemmArgs features_from(const Fp8GemmArgs& a, int64_t from) {
  Fp8GemmArgs rest = a;
  rest.weight += from * a.x.cols;
  rest.weight_scales += from / 128 * fp8_groups(a.x.cols);
  rest.features -= from;
  rest.y = static_cast<std::byte*>(a.y) + from * (a.y_f32 ? 4 : 2);
  return rest;
}

template <int kN>
cudaError_t narrow_path(const Fp8GemmArgs& a, cudaStream_t stream) {
  const int64_t groups = fp8_groups(a.x.cols);
  const int64_t token_tiles = (a.x.rows + kN - 1) / kN;
  const int64_t tiles = (a.features + 127) / 128 * token_tiles;
  const bool long_k = groups >= kLongGroups;
  if (a.batch_invariant) return narrow_launch<kN, false, false>(a, 1, stream);
  if constexpr (kN <= 32) {
    if (tiles > processors() && long_k && a.split == 0)
      return narrow_launch<kN, true, true>(a, 2, stream);  // many small blocks end together
  }
  if (tiles > processors() && token_tiles == 1 && long_k && a.split == 0) {
    // Whole rounds of 128 rows for every multiprocessor; what remains would keep a few of them busy
    // for a whole round, so it is cut finer.
    const int64_t whole = tiles / processors() * processors() * 128;
    Fp8GemmArgs first = a;
    first.features = std::min(whole, a.features);
    const cudaError_t error = narrow_launch<kN, false, false>(first, 1, stream);
    if (error != cudaSuccess || whole >= a.features) return error;
    return narrow_path<kN>(features_from(a, whole), stream);
  }
  if constexpr (kN <= 64) {
    // 64 rows a block, both warpgroups on the same rows.
    const int64_t half_tiles = (a.features + 63) / 64 * token_tiles;
    const int split = choose_split<kN, true>(a, half_tiles, (groups + 1) / 2);
    if (split > 1) return narrow_launch<kN, true, true>(a, split, stream);
  } else {
    const int split = choose_split<kN, false>(a, tiles, groups);
    if (split > 1) return narrow_launch<kN, true, false>(a, split, stream);
  }
  return narrow_launch<kN, false, false>(a, 1, stream);
}

template <tall::Share kShare, int kWaves>
cudaError_t tall_launch(const Fp8GemmArgs& a, cudaStream_t stream) {
  using S = tall::Shape<true, false, false, kShare, kWaves>;
  const int64_t groups = fp8_groups(a.x.cols);
  tall::Args args{};
  args.weight = weight_map(a);
  args.x = make_map({.data = a.x.codes,
                     .rows = a.x.rows,
                     .cols = a.x.cols,
                     .ld_bytes = a.x.ld,
                     .box_rows = 64,
                     .box_cols = 128,
                     .swizzle128 = true});
  args.x_scales = make_map({.data = a.x.scales,
                            .type = MapType::kF32,
                            .rows = groups,
                            .cols = a.x.rows,
                            .ld_bytes = a.x.scale_ld * 4,
                            .box_rows = 1,
                            .box_cols = S::kTokens});
  args.direct = a.y_f32 || !can_map(a.y, a.y_ld * 2);
  if (!args.direct)
    args.out = make_map({.data = a.y,
                         .type = MapType::kBF16,
                         .rows = a.x.rows,
                         .cols = a.features,
                         .ld_bytes = a.y_ld * 2,
                         .box_rows = 64,
                         .box_cols = 64,
                         .swizzle128 = true});
  args.weight_scales = a.weight_scales;
  args.tokens = static_cast<int32_t>(a.x.rows);
  args.features = static_cast<int32_t>(a.features);
  args.k_steps = args.scale_blocks = static_cast<int32_t>(groups);
  args.y = a.y;
  args.y_ld = a.y_ld;
  args.y_f32 = a.y_f32;
  const int64_t tiles = (a.x.rows + S::kTokens - 1) / S::kTokens * ((a.features + 127) / 128);
  const auto clusters =
      static_cast<uint32_t>(std::min<int64_t>((tiles + 1) / 2 + 64, processors() / 2));
  return launch(tall::kernel<S>,
                {.grid = {2 * clusters, 1, 1},
                 .cluster = {2, 1, 1},
                 .threads = tall::kThreads,
                 .shared_bytes = S::kShared},
                stream, args);
}

// 256 tokens a tile, where there are enough tiles for several rounds of the card.
bool prefer_wide(const Fp8GemmArgs& a) {
  return a.x.rows / 256 * (a.features / 128) >= 4 * processors();
}

// The operand that leaves fewer tiles without a partner is shared.
cudaError_t tall_path(const Fp8GemmArgs& a, cudaStream_t stream) {
  const bool even_features = (a.features + 127) / 128 % 2 == 0;
  const bool wide = a.split == 0 ? prefer_wide(a) : a.split == 2;
  if (wide)
    return even_features ? tall_launch<tall::Share::kTokens, 2>(a, stream)
                         : tall_launch<tall::Share::kWeight, 2>(a, stream);
  return even_features ? tall_launch<tall::Share::kTokens, 1>(a, stream)
                       : tall_launch<tall::Share::kWeight, 1>(a, stream);
}

// The tall path, unless its tiles are so few that cutting K keeps more of the card busy.
bool prefer_tall(const Fp8GemmArgs& a) {
  if (a.x.rows <= kNarrowTokensMax) return false;
  const int64_t tiles = (a.x.rows + 127) / 128 * ((a.features + 127) / 128);
  return a.batch_invariant || tiles > processors() / 2;
}

cudaError_t plain_path(const Fp8GemmArgs& a, cudaStream_t stream) {
  const dim3 grid(static_cast<uint32_t>((a.features + plain::kTile - 1) / plain::kTile),
                  static_cast<uint32_t>((a.x.rows + plain::kTile - 1) / plain::kTile));
  plain::kernel<<<grid, plain::kThreads, 0, stream>>>(a);
  return cudaGetLastError();
}

}  // namespace

cudaError_t fp8_gemm(const Fp8GemmArgs& a, cudaStream_t stream) {
  check(a);
  const int64_t tokens = a.x.rows;
  if (tokens == 0 || a.features == 0) return cudaSuccess;
  const bool engine = a.x.cols > 0 && can_map(a.weight, a.x.cols) && can_map(a.x.codes, a.x.ld) &&
                      can_map(a.x.scales, a.x.scale_ld * 4);
  if (!engine || a.path == Fp8GemmPath::kPlain) return plain_path(a, stream);
  if (a.path == Fp8GemmPath::kTall || (a.path == Fp8GemmPath::kAuto && prefer_tall(a)))
    return tall_path(a, stream);
  if (tokens <= 8) return narrow_path<8>(a, stream);
  if (tokens <= 16) return narrow_path<16>(a, stream);
  if (tokens <= 32) return narrow_path<32>(a, stream);
  if (tokens <= 64) return narrow_path<64>(a, stream);
  return narrow_path<128>(a, stream);
}

}  // namespace galley::kernels::cuda

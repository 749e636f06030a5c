#include "base/check.h"
#include "kernels/cuda/fp8_gemm.h"
#include "kernels/cuda/gemm_narrow.cuh"
#include "kernels/cuda/gemm_plain.cuh"
#include "kernels/cuda/gemm_tall.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/tensor_map.h"

namespace galley::kernels::cuda {
namespace {

constexpr int64_t kNarrowTokensMax = 128;  // above, the tall path was faster

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

// Blocks that share the K of a tile: as many as the card has room for at one time, each with some
// K to do. Clusters of 4 and 8 do not fill the card to the last multiprocessor, since they cannot
// straddle the groups the multiprocessors come in.
int choose_split(const Fp8GemmArgs& a, int64_t tiles, int64_t stages, int64_t slots) {
  if (a.split != 0) return a.split;
  int split = 1;
  while (split < 8 && tiles * split * 2 <= (split == 1 ? slots : slots * 15 / 16) &&
         stages / (split * 2) >= 3)
    split *= 2;
  return split;
}

template <int kN>
cudaError_t narrow_path(const Fp8GemmArgs& a, cudaStream_t stream) {
  const int64_t groups = fp8_groups(a.x.cols);
  const int64_t tokens = (a.x.rows + kN - 1) / kN;
  if (a.batch_invariant) return narrow_launch<kN, false, false>(a, 1, stream);
  // Small weights: 64 rows a block, both warpgroups on the same rows. More: 128 rows a block.
  if constexpr (kN <= 64) {
    const int64_t tiles = (a.features + 63) / 64 * tokens;
    // Two such blocks fit a multiprocessor, so one too many does no harm.
    const int split = choose_split(a, tiles, groups / 2, processors() * 17 / 16);
    if (tiles <= processors() / 2 || a.split > 1)
      return narrow_launch<kN, true, true>(a, split, stream);
  } else {
    const int64_t tiles = (a.features + 127) / 128 * tokens;
    const int split = choose_split(a, tiles, groups, processors());
    if (split > 1) return narrow_launch<kN, true, false>(a, split, stream);
  }
  return narrow_launch<kN, false, false>(a, 1, stream);
}

template <tall::Share kShare>
cudaError_t tall_launch(const Fp8GemmArgs& a, cudaStream_t stream) {
  using S = tall::Shape<true, false, false, kShare>;
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
                            .box_cols = tall::kTile});
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
  const int64_t tiles = (a.x.rows + 127) / 128 * ((a.features + 127) / 128);
  const auto clusters =
      static_cast<uint32_t>(std::min<int64_t>((tiles + 1) / 2 + 64, processors() / 2));
  return launch(tall::kernel<S>,
                {.grid = {2 * clusters, 1, 1},
                 .cluster = {2, 1, 1},
                 .threads = tall::kThreads,
                 .shared_bytes = tall::kShared},
                stream, args);
}

// The operand that leaves fewer tiles without a partner is shared.
cudaError_t tall_path(const Fp8GemmArgs& a, cudaStream_t stream) {
  const bool even_features = (a.features + 127) / 128 % 2 == 0;
  return even_features ? tall_launch<tall::Share::kTokens>(a, stream)
                       : tall_launch<tall::Share::kWeight>(a, stream);
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
  if (a.path == Fp8GemmPath::kTall || (a.path == Fp8GemmPath::kAuto && tokens > kNarrowTokensMax))
    return tall_path(a, stream);
  if (tokens <= 8) return narrow_path<8>(a, stream);
  if (tokens <= 16) return narrow_path<16>(a, stream);
  if (tokens <= 32) return narrow_path<32>(a, stream);
  if (tokens <= 64) return narrow_path<64>(a, stream);
  return narrow_path<128>(a, stream);
}

}  // namespace galley::kernels::cuda

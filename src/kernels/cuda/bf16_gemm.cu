#include <algorithm>
#include <array>

#include "base/check.h"
#include "kernels/cuda/bf16_gemm.h"
#include "kernels/cuda/gemm_narrow.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/tensor_map.h"

namespace galley::kernels::cuda {
namespace {

constexpr int kSplitMax = 8;        // blocks of a cluster
constexpr int64_t kStepCols = 64;   // of K in 128 bytes
constexpr int64_t kLongSteps = 48;  // of K: from here on a finer cut pays, as with FP8

CUtensorMap weight_map(const Bf16GemmArgs& a, const __nv_bfloat16* weight) {
  return make_map({.data = weight,
                   .type = MapType::kBF16,
                   .rows = a.features,
                   .cols = a.cols,
                   .ld_bytes = a.cols * 2,
                   .box_rows = 64,
                   .box_cols = 64,
                   .swizzle128 = true});
}

// Clusters of `split` blocks that run at one time.
template <int kN>
int64_t clusters_at_once(int split) {
  using S = narrow::Shape<false, kN, 1, true, true, false>;
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

template <int kN, int kMatrices, bool kReduce>
cudaError_t launch_narrow(const Bf16GemmArgs& a, int split, cudaStream_t stream) {
  using S = narrow::Shape<false, kN, kMatrices, kReduce, kReduce, false>;
  narrow::Args args{};
  args.weight = weight_map(a, a.weight);
  if (kMatrices == 2) args.second_weight = weight_map(a, a.up);
  args.x = make_map({.data = a.x,
                     .type = MapType::kBF16,
                     .rows = a.tokens,
                     .cols = a.cols,
                     .ld_bytes = a.x_ld * 2,
                     .box_rows = kN,
                     .box_cols = 64,
                     .swizzle128 = true});
  args.tokens = static_cast<int32_t>(a.tokens);
  args.features = static_cast<int32_t>(a.features);
  args.k_steps = static_cast<int32_t>((a.cols + kStepCols - 1) / kStepCols);
  args.bias = a.bias;
  args.y = a.y;
  args.y_ld = a.y_ld;
  args.y_f32 = a.y_f32;
  const int64_t units = (a.features + S::kRows - 1) / S::kRows;
  const auto blocks =
      static_cast<uint32_t>(kReduce ? units : std::min<int64_t>(units, processors()));
  return launch(narrow::kernel<S>,
                {.grid = {blocks, static_cast<uint32_t>(split), 1},
                 .cluster = {1, static_cast<uint32_t>(split), 1},
                 .threads = narrow::kThreads,
                 .shared_bytes = S::kShared},
                stream, args);
}

// Blocks that share the K of 64 rows: the number for which the slowest is done first, as far as
// they all run at one time. 1: whole tiles of 128 rows are enough for the card. The costs are those
// of the FP8 products of as many bytes (fp8_gemm.cu).
template <int kN>
int choose_split(const Bf16GemmArgs& a) {
  const int64_t steps = (a.cols + kStepCols - 1) / kStepCols, stages = (steps + 1) / 2;
  const int64_t tiles = (a.features + 63) / 64;
  const bool is_long = steps >= kLongSteps;
  if (tiles > 2 * processors() && is_long && kN <= 32) return 2;
  constexpr int64_t kStageNs = 430, kReduceNs = 500 + 25 * kN;
  const int64_t blocks_max = is_long ? 2 * processors() : processors();
  int best = 1;
  int64_t best_ns = (tiles + 2 * processors() - 1) / (2 * processors()) * steps * kStageNs;
  for (int split = 2; split <= kSplitMax && tiles * split <= blocks_max; ++split) {
    if (tiles > clusters_at_once<kN>(split)) continue;
    const int64_t ns = (stages + split - 1) / split * kStageNs + kReduceNs;
    if (ns < best_ns) {
      best = split;
      best_ns = ns;
    }
  }
  return best;
}

template <int kN>
cudaError_t run(const Bf16GemmArgs& a, cudaStream_t stream) {
  if (a.up != nullptr) return launch_narrow<kN, 2, false>(a, 1, stream);
  const int split = choose_split<kN>(a);
  return split > 1 ? launch_narrow<kN, 1, true>(a, split, stream)
                   : launch_narrow<kN, 1, false>(a, 1, stream);
}

}  // namespace

bool can_run_bf16_gemm(const Bf16GemmArgs& a) {
  return a.tokens <= kBf16NarrowTokensMax && a.cols > 0 && a.cols % 8 == 0 && a.features > 0 &&
         can_map(a.weight, a.cols * 2) && can_map(a.x, a.x_ld * 2) &&
         (a.up == nullptr || can_map(a.up, a.cols * 2));
}

cudaError_t bf16_gemm(const Bf16GemmArgs& a, cudaStream_t stream) {
  GALLEY_CHECK(can_run_bf16_gemm(a), "ask can_run_bf16_gemm first");
  GALLEY_CHECK(a.up == nullptr || (a.bias == nullptr && !a.y_f32), "SwiGLU has no bias");
  if (a.tokens == 0) return cudaSuccess;
  if (a.tokens <= 8) return run<8>(a, stream);
  if (a.tokens <= 16) return run<16>(a, stream);
  if (a.tokens <= 32) return run<32>(a, stream);
  return run<64>(a, stream);
}

}  // namespace galley::kernels::cuda

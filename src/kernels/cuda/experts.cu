// Routed experts. The reference form multiplies pair by pair; the pairs of up to kTokensAtOnce
// tokens share the scratch memory.
#include <algorithm>
#include <cstring>

#include "kernels/cuda/convert.cuh"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/expert_gemm.h"

namespace galley::kernels::cuda {
namespace {

constexpr int kThreads = 128;

// One weight of each expert, as the reference kernel reads it.
enum class Part : uint8_t { kGate, kUp, kDown };

__device__ const Weight& part_of(const MlpWeights& mlp, Part part) {
  return part == Part::kGate ? mlp.gate : part == Part::kUp ? mlp.up : mlp.down;
}

// out[p, m] = sum over k of x[p / x_per, k] * w[m, k], one warp for each m; lane l takes k = l, l +
// 32, ..., so the order of the sum depends on K alone.
template <typename X, typename W>
__global__ void __launch_bounds__(kThreads)
    pair_kernel(const X* x, int64_t x_ld, int x_per, const MlpWeights* all, const int32_t* experts,
                Part part, int64_t rows, int64_t cols, float* out) {
  const int64_t pair = blockIdx.y;
  const Weight& weight = part_of(all[experts[pair]], part);
  const auto* w = static_cast<const W*>(weight.data);
  const int64_t blocks = (cols + kScaleBlock - 1) / kScaleBlock;
  const X* row = x + pair / x_per * x_ld;
  const int lane = threadIdx.x % 32;
  const int64_t m = int64_t{blockIdx.x} * (kThreads / 32) + threadIdx.x / 32;
  if (m >= rows) return;
  float sum = 0.0f;
  for (int64_t k = lane; k < cols; k += 32) {
    float value = to_float(w[m * cols + k]);
    if (weight.scales != nullptr)
      value *= weight.scales[m / kScaleBlock * blocks + k / kScaleBlock];
    sum = fmaf(to_float(row[k]), value, sum);
  }
  for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, offset);
  if (lane == 0) out[pair * rows + m] = sum;
}

// out[t] = sum over k in order of weights[t, k] * parts[t, k].
template <typename T>
__global__ void combine_kernel(const float* parts, const float* weights, int per_token,
                               int64_t cols, T* out, int64_t ld) {
  for (int64_t i = threadIdx.x + int64_t{blockIdx.y} * blockDim.x; i < cols;
       i += int64_t{blockDim.x} * gridDim.y) {
    float sum = 0.0f;
    for (int k = 0; k < per_token; ++k) {
      const int64_t pair = int64_t{blockIdx.x} * per_token + k;
      sum = fmaf(weights[pair], parts[pair * cols + i], sum);
    }
    out[blockIdx.x * ld + i] = from_float<T>(sum);
  }
}

unsigned blocks_of(int64_t count, int64_t each) {
  return static_cast<unsigned>((count + each - 1) / each);
}

}  // namespace

const CudaOps::ExpertTable& CudaOps::table_of(std::span<const MlpWeights> all) {
  ExpertTable& table = expert_tables_[all.data()];
  const bool is_same = table.host.size() == all.size() &&
                       std::memcmp(table.host.data(), all.data(), all.size_bytes()) == 0;
  if (is_same) return table;
  table.host.assign(all.begin(), all.end());
  table.weights = reinterpret_cast<MlpWeights*>(memory_.take(all.size_bytes()));
  GALLEY_CHECK(table.weights != nullptr, "a table of pointers fits");
  upload(table.weights, all.data(), all.size_bytes());
  table.fast = nullptr;
  if (!can_run_experts(all)) return table;
  const std::vector<std::byte> bytes = expert_table(all);
  table.fast = memory_.take(bytes.size());
  GALLEY_CHECK(table.fast != nullptr, "a table of tensor maps fits");
  upload(table.fast, bytes.data(), bytes.size());
  return table;
}

void CudaOps::experts(const Matrix& x, std::span<const MlpWeights> all, int32_t experts_per_token,
                      const int32_t* experts, const float* weights, const Matrix& out) {
  GALLEY_CHECK(!all.empty() && experts_per_token > 0, "there are experts");
  GALLEY_CHECK(out.rows == x.rows && out.dtype == x.dtype, "out is [T, H]");
  if (x.rows == 0) return;
  GALLEY_CHECK(out.data != x.data, "out is not x");
  const ExpertTable& table = table_of(all);
  const bool is_fast = table.fast != nullptr && x.dtype == DType::kBF16 &&
                       precision_ == Precision::kBFloat16 && x.ld % 8 == 0;
  if (!is_fast) {
    experts_reference(x, table, experts_per_token, experts, weights, out);
    return;
  }
  scratch_.clear();
  const ExpertShape shape{.hidden = all[0].gate.cols,
                          .inner = all[0].gate.rows,
                          .experts = static_cast<int32_t>(all.size()),
                          .fp8 = all[0].gate.dtype == DType::kF8E4M3};
  int64_t at_once = x.rows;
  size_t bytes = expert_workspace_bytes(shape, experts_per_token, at_once);
  while (at_once > 1 && bytes > scratch_.left()) {
    at_once = (at_once + 1) / 2;
    bytes = expert_workspace_bytes(shape, experts_per_token, at_once);
  }
  check(run_experts({.shape = shape,
                     .table = table.fast,
                     .x = static_cast<const bf16*>(x.data),
                     .x_ld = x.ld,
                     .tokens = x.rows,
                     .experts = experts,
                     .weights = weights,
                     .experts_per_token = experts_per_token,
                     .out = static_cast<bf16*>(out.data),
                     .out_ld = out.ld,
                     .workspace = scratch_.take<std::byte>(static_cast<int64_t>(bytes)),
                     .tokens_at_once = at_once},
                    stream_),
        "experts");
  launched("experts");
}

void CudaOps::experts_reference(const Matrix& x, const ExpertTable& table,
                                int32_t experts_per_token, const int32_t* experts,
                                const float* weights, const Matrix& out) {
  const MlpWeights& first_mlp = table.host[0];
  const int64_t inner = first_mlp.gate.rows;
  const DType dtype = first_mlp.gate.dtype;
  GALLEY_CHECK(first_mlp.gate.cols == x.cols && first_mlp.down.rows == out.cols,
               "the experts are of this width");
  const auto reference = [&](const Matrix& input, int x_per, const int32_t* ids, Part part,
                             int64_t pairs, int64_t rows, float* to) {
    const dim3 grid(blocks_of(rows, kThreads / 32), static_cast<unsigned>(pairs));
    with_activation(input.dtype, [&](auto tx) {
      with_weight(dtype, [&](auto tw) {
        using X = decltype(tx);
        pair_kernel<X, decltype(tw)>
            <<<grid, kThreads, 0, stream_>>>(static_cast<const X*>(input.data), input.ld, x_per,
                                             table.weights, ids, part, rows, input.cols, to);
      });
    });
  };
  for (int64_t first = 0; first < x.rows; first += kExpertTokens) {
    scratch_.clear();
    const int64_t tokens = std::min<int64_t>(kExpertTokens, x.rows - first);
    const int64_t pairs = tokens * experts_per_token;
    const int32_t* ids = experts + first * experts_per_token;
    Matrix part = x;
    part.data =
        static_cast<std::byte*>(x.data) + first * x.ld * static_cast<int64_t>(size_of(x.dtype));
    part.rows = tokens;
    const Matrix input = prepare(part, dtype);
    auto* gate = scratch_.take<float>(pairs * inner);
    auto* up = scratch_.take<float>(pairs * inner);
    auto* down = scratch_.take<float>(pairs * out.cols);
    reference(input, experts_per_token, ids, Part::kGate, pairs, inner, gate);
    reference(input, experts_per_token, ids, Part::kUp, pairs, inner, up);
    const Matrix h{.data = gate, .dtype = DType::kF32, .rows = pairs, .cols = inner, .ld = inner};
    swiglu(h, {.data = up, .dtype = DType::kF32, .rows = pairs, .cols = inner, .ld = inner});
    reference(prepare(h, dtype), 1, ids, Part::kDown, pairs, out.cols, down);
    const dim3 grid(static_cast<unsigned>(tokens), blocks_of(out.cols, 4 * kThreads));
    with_activation(out.dtype, [&](auto t) {
      combine_kernel<<<grid, kThreads, 0, stream_>>>(
          down, weights + first * experts_per_token, experts_per_token, out.cols,
          static_cast<decltype(t)*>(out.data) + first * out.ld, out.ld);
    });
    launched("experts");
  }
}

}  // namespace galley::kernels::cuda

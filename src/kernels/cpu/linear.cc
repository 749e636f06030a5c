// Dense layers: activations are prepared once (rounded, or quantised), then threads take blocks of
// output rows, so each weight is read once for up to kTokenBlock tokens.
//
// Bound  T = 1: bytes of the weight / memory bandwidth. T >= 100: FLOPs / FMA rate.
#include <algorithm>
#include <cstring>

#include "kernels/cpu/cpu_ops.h"

namespace galley::kernels::cpu {

Form CpuOps::form_for(DType weight_dtype, Rounding rounding) const {
  if (precision_ == Precision::kFloat32 || rounding == Rounding::kExact) return Form::kF32;
  if (weight_dtype == DType::kBF16) return Form::kBF16;
  return weight_dtype == DType::kF8E4M3 ? Form::kQ8 : Form::kF32;
}

void CpuOps::prepare_row(const float* x, int64_t cols, int64_t row, const Activations& into) const {
  const auto rest = static_cast<size_t>(into.ld - cols);
  if (into.form == Form::kF32) {
    auto* to = const_cast<float*>(static_cast<const float*>(into.data)) + row * into.ld;
    if (into.rounded) {
      primitives_.round_bf16(x, cols, to);
    } else {
      std::memcpy(to, x, static_cast<size_t>(cols) * sizeof(float));
    }
    std::memset(to + cols, 0, rest * sizeof(float));
    return;
  }
  auto* to = const_cast<uint16_t*>(static_cast<const uint16_t*>(into.data)) + row * into.ld;
  if (into.form == Form::kBF16) {
    primitives_.to_bf16(x, cols, to);
  } else {
    primitives_.quantise(x, cols, to, const_cast<float*>(into.scales) + row * into.scale_ld);
  }
  std::memset(to + cols, 0, rest * sizeof(uint16_t));
}

Activations CpuOps::new_activations(int64_t rows, int64_t cols, DType weight_dtype,
                                    Rounding rounding) {
  Activations a;
  a.form = form_for(weight_dtype, rounding);
  a.rounded = precision_ == Precision::kBFloat16 && rounding == Rounding::kByPrecision;
  a.ld = padded_cols(cols);
  if (a.form == Form::kF32) {
    a.data = arena_.take<float>(rows * a.ld);
  } else {
    a.data = arena_.take<uint16_t>(rows * a.ld);
  }
  if (a.form == Form::kQ8) {
    a.scale_ld = a.ld / kScaleBlock;
    a.scales = arena_.take<float>(rows * a.scale_ld);
  }
  return a;
}

Activations CpuOps::prepare(const Matrix& x, DType weight_dtype, Rounding rounding) {
  const Activations a = new_activations(x.rows, x.cols, weight_dtype, rounding);
  for_tokens(x.rows, [&](int64_t t, int32_t) { prepare_row(x.row<float>(t), x.cols, t, a); });
  return a;
}

namespace {

void check_weight(const Weight& w) {
  GALLEY_CHECK(w.dtype != DType::kI32, "a weight has a floating type");
  GALLEY_CHECK(w.dtype != DType::kF8E4M3 || w.scales != nullptr, "an FP8 weight has scales");
}

}  // namespace

void CpuOps::linear(const Matrix& x, const Weight& weight, const Weight& bias, const Matrix& out) {
  check_weight(weight);
  GALLEY_CHECK(x.cols == weight.cols && out.rows == x.rows && out.cols == weight.rows,
               "x is [T, K], weight [M, K], out [T, M]");
  GALLEY_CHECK(x.dtype == DType::kF32 && out.dtype == DType::kF32, "the CPU's matrices are f32");
  GALLEY_CHECK(x.data != out.data || x.rows == 0, "out is not x");
  GALLEY_CHECK(!bias || bias.rows * bias.cols == weight.rows, "the bias is [1, M]");
  if (x.rows == 0) return;
  arena_.clear();
  const float* bias_values = bias ? widen_weight(bias) : nullptr;
  const Activations a = prepare(x, weight.dtype, Rounding::kByPrecision);
  for_row_blocks(
      x.rows, weight.rows, row_bytes(weight), [&](int64_t begin, int64_t end, int32_t thread) {
        primitives_.gemm({.x = a,
                          .num_tokens = x.rows,
                          .weight = &weight,
                          .row_begin = begin,
                          .row_end = end,
                          .out = out.row<float>(0) + begin,
                          .ld_out = out.ld,
                          .scratch = threads_[static_cast<size_t>(thread)].gemm_scratch});
        if (bias_values == nullptr) return;
        for (int64_t t = 0; t < x.rows; ++t)
          primitives_.add(out.row<float>(t) + begin, bias_values + begin, end - begin);
      });
}

void CpuOps::gate_and_up(const Activations& x, const int32_t* x_rows, int64_t tokens,
                         const MlpWeights& weights, int64_t begin, int64_t end, int32_t thread,
                         float* out, int64_t ld_out) {
  ThreadState& state = threads_[static_cast<size_t>(thread)];
  state.arena.clear();
  auto* gate = state.arena.take<float>(kTokenBlock * kRowBlock);
  auto* up = state.arena.take<float>(kTokenBlock * kRowBlock);
  for (int64_t first = 0; first < tokens; first += kTokenBlock) {
    GemmArgs args{.x = x,
                  .x_rows = x_rows != nullptr ? x_rows + first : nullptr,
                  .num_tokens = std::min(kTokenBlock, tokens - first),
                  .weight = &weights.gate,
                  .row_begin = begin,
                  .row_end = end,
                  .out = gate,
                  .ld_out = kRowBlock,
                  .scratch = state.gemm_scratch};
    if (x_rows == nullptr) args.x = rows_from(x, first);
    primitives_.gemm(args);
    args.weight = &weights.up;
    args.out = up;
    primitives_.gemm(args);
    for (int64_t t = 0; t < args.num_tokens; ++t) {
      primitives_.silu_mul(gate + t * kRowBlock, up + t * kRowBlock, end - begin,
                           out + (first + t) * ld_out + begin);
    }
  }
}

void CpuOps::check_mlp(const MlpWeights& w, int64_t hidden) {
  check_weight(w.gate);
  check_weight(w.up);
  check_weight(w.down);
  GALLEY_CHECK(w.gate.cols == hidden && w.up.cols == hidden && w.down.rows == hidden,
               "gate and up are [I, H], down [H, I]");
  GALLEY_CHECK(w.gate.rows == w.up.rows && w.down.cols == w.gate.rows, "gate, up and down share I");
  GALLEY_CHECK(w.gate.dtype == w.up.dtype, "gate and up share a type");
}

void CpuOps::gated_mlp(const Matrix& x, const MlpWeights& weights, const Matrix& out) {
  check_mlp(weights, x.cols);
  GALLEY_CHECK(out.rows == x.rows && out.cols == x.cols, "x and out are [T, H]");
  GALLEY_CHECK(x.data != out.data || x.rows == 0, "out is not x");
  if (x.rows == 0) return;
  arena_.clear();
  const int64_t inner = weights.gate.rows;
  const Activations a = prepare(x, weights.gate.dtype, Rounding::kByPrecision);
  const Matrix hidden{.data = arena_.take<float>(x.rows * inner),
                      .dtype = DType::kF32,
                      .rows = x.rows,
                      .cols = inner,
                      .ld = inner};
  for_row_blocks(x.rows, inner, 2 * row_bytes(weights.gate),
                 [&](int64_t begin, int64_t end, int32_t thread) {
                   gate_and_up(a, nullptr, x.rows, weights, begin, end, thread,
                               hidden.row<float>(0), hidden.ld);
                 });
  const Activations h = prepare(hidden, weights.down.dtype, Rounding::kByPrecision);
  for_row_blocks(
      x.rows, weights.down.rows, row_bytes(weights.down),
      [&](int64_t begin, int64_t end, int32_t thread) {
        primitives_.gemm({.x = h,
                          .num_tokens = x.rows,
                          .weight = &weights.down,
                          .row_begin = begin,
                          .row_end = end,
                          .out = out.row<float>(0) + begin,
                          .ld_out = out.ld,
                          .scratch = threads_[static_cast<size_t>(thread)].gemm_scratch});
      });
}

}  // namespace galley::kernels::cpu

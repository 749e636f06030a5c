// Matrix products. bf16 activations: fp8_gemm.h beside FP8 weights; beside bf16 ones bf16_gemm.h
// for few tokens, cuBLASLt for more. All else: the reference kernel.
#include "kernels/cuda/bf16_gemm.h"
#include "kernels/cuda/convert.cuh"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/fp8_gemm.h"
#include "kernels/cuda/quantize.h"

namespace galley::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kTile = 64;   // tokens and rows of an output tile
constexpr int kChunk = 16;  // of K in shared memory
constexpr int kEach = 4;    // outputs of a thread in each direction

// out[t, m] = sum over k, in order, of x[t, k] * w[m, k] * scale. A thread makes 4 x 4 outputs.
template <typename X, typename W, typename T>
__global__ void __launch_bounds__(kThreads)
    multiply_kernel(const X* x, int64_t x_ld, int64_t tokens, int64_t cols, const W* w,
                    const float* scales, int64_t rows, T* out, int64_t out_ld) {
  __shared__ float xs[kChunk][kTile + 1];
  __shared__ float ws[kChunk][kTile + 1];
  const int64_t row0 = int64_t{blockIdx.x} * kTile, token0 = int64_t{blockIdx.y} * kTile;
  const int64_t blocks = (cols + kScaleBlock - 1) / kScaleBlock;
  const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
  float sums[kEach][kEach] = {};
  for (int64_t k0 = 0; k0 < cols; k0 += kChunk) {
    for (int i = threadIdx.x; i < kTile * kChunk; i += kThreads) {
      const int k = i % kChunk, at = i / kChunk;
      const int64_t col = k0 + k, token = token0 + at, row = row0 + at;
      xs[k][at] = col < cols && token < tokens ? to_float(x[token * x_ld + col]) : 0.0f;
      float value = 0.0f;
      if (col < cols && row < rows) {
        value = to_float(w[row * cols + col]);
        if (scales != nullptr) value *= scales[row / kScaleBlock * blocks + col / kScaleBlock];
      }
      ws[k][at] = value;
    }
    __syncthreads();
#pragma unroll
    for (int k = 0; k < kChunk; ++k) {
#pragma unroll
      for (int i = 0; i < kEach; ++i) {
#pragma unroll
        for (int j = 0; j < kEach; ++j)
          sums[i][j] = fmaf(xs[k][ty + 16 * i], ws[k][tx + 16 * j], sums[i][j]);
      }
    }
    __syncthreads();
  }
  for (int i = 0; i < kEach; ++i) {
    for (int j = 0; j < kEach; ++j) {
      const int64_t token = token0 + ty + 16 * i, row = row0 + tx + 16 * j;
      if (token < tokens && row < rows) out[token * out_ld + row] = from_float<T>(sums[i][j]);
    }
  }
}

template <typename T>
__global__ void bias_kernel(T* out, int64_t ld, const void* bias, DType dtype, int64_t cols) {
  for (int64_t i = threadIdx.x + int64_t{blockIdx.y} * blockDim.x; i < cols;
       i += int64_t{blockDim.x} * gridDim.y) {
    T& to = out[blockIdx.x * ld + i];
    to = from_float<T>(to_float(to) + weight_at(bias, dtype, i));
  }
}

__global__ void to_bf16_kernel(const float* x, int64_t ld, int64_t cols, bf16* out,
                               int64_t out_ld) {
  for (int64_t i = threadIdx.x + int64_t{blockIdx.y} * blockDim.x; i < out_ld;
       i += int64_t{blockDim.x} * gridDim.y)
    out[blockIdx.x * out_ld + i] = __float2bfloat16_rn(i < cols ? x[blockIdx.x * ld + i] : 0.0f);
}

// The values that e4m3 codes of each 128 channels stand for, as f32. One warp is one group.
template <typename X>
__global__ void quantised_values_kernel(const X* x, int64_t ld, int64_t tokens, int64_t cols,
                                        float* out) {
  const int64_t groups = (cols + kScaleBlock - 1) / kScaleBlock;
  const int64_t group = int64_t{blockIdx.x} * (blockDim.x / 32) + threadIdx.x / 32;
  if (group >= tokens * groups) return;
  const int64_t token = group / groups, begin = group % groups * kScaleBlock;
  float values[4], largest = 0.0f;
  for (int i = 0; i < 4; ++i) {
    const int64_t col = begin + threadIdx.x % 32 + i * 32;
    values[i] = col < cols ? to_float(x[token * ld + col]) : 0.0f;
    largest = fmaxf(largest, fabsf(values[i]));
  }
  for (int offset = 16; offset > 0; offset /= 2)
    largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, offset));
  const float scale = largest / 448.0f;
  for (int i = 0; i < 4; ++i) {
    const int64_t col = begin + threadIdx.x % 32 + i * 32;
    if (col < cols)
      out[token * cols + col] = scale > 0.0f ? round_e4m3(values[i] / scale) * scale : 0.0f;
  }
}

// gate = silu(gate) * up, packed.
template <typename T>
__global__ void swiglu_kernel(T* gate, const T* up, int64_t count) {
  for (int64_t i = threadIdx.x + int64_t{blockIdx.x} * blockDim.x; i < count;
       i += int64_t{blockDim.x} * gridDim.x) {
    const float g = to_float(gate[i]);
    gate[i] = from_float<T>(g / (1.0f + expf(-g)) * to_float(up[i]));
  }
}

unsigned blocks_of(int64_t count, int64_t each) {
  return static_cast<unsigned>((count + each - 1) / each);
}

}  // namespace

bool CudaOps::is_fp8(const Matrix& x, const Weight& weight) const {
  return precision_ == Precision::kBFloat16 && x.dtype == DType::kBF16 &&
         weight.dtype == DType::kF8E4M3;
}

Fp8Rows CudaOps::quantise(const Matrix& x) {
  const Fp8Rows rows =
      fp8_rows(scratch_.take<std::byte>(fp8_bytes(x.rows, x.cols)), x.rows, x.cols);
  check(quantize_rows(static_cast<const bf16*>(x.data), x.ld, rows, stream_), "quantisation");
  return rows;
}

void CudaOps::multiply_fp8(const Fp8Rows& x, const Weight& weight, const Matrix& out) {
  check(fp8_gemm({.x = x,
                  .weight = static_cast<const uint8_t*>(weight.data),
                  .weight_scales = weight.scales,
                  .features = weight.rows,
                  .y = out.data,
                  .y_ld = out.ld,
                  .y_f32 = out.dtype == DType::kF32,
                  .batch_invariant = batch_invariant_},
                 stream_),
        "FP8 product");
}

Matrix CudaOps::prepare(const Matrix& x, DType weight_dtype) {
  if (precision_ == Precision::kFloat32) return x;
  if (weight_dtype != DType::kF8E4M3) {
    if (x.dtype == DType::kBF16) return x;
    const int64_t ld = (x.cols + 7) / 8 * 8;
    auto* data = scratch_.take<bf16>(x.rows * ld);
    const dim3 grid(static_cast<unsigned>(x.rows), blocks_of(ld, 4 * kThreads));
    to_bf16_kernel<<<grid, kThreads, 0, stream_>>>(static_cast<const float*>(x.data), x.ld, x.cols,
                                                   data, ld);
    launched("rounding to bf16");
    return {.data = data, .dtype = DType::kBF16, .rows = x.rows, .cols = x.cols, .ld = ld};
  }
  auto* data = scratch_.take<float>(x.rows * x.cols);
  const int64_t groups = x.rows * ((x.cols + kScaleBlock - 1) / kScaleBlock);
  with_activation(x.dtype, [&](auto t) {
    quantised_values_kernel<<<blocks_of(groups, kThreads / 32), kThreads, 0, stream_>>>(
        static_cast<const decltype(t)*>(x.data), x.ld, x.rows, x.cols, data);
  });
  launched("quantisation");
  return {.data = data, .dtype = DType::kF32, .rows = x.rows, .cols = x.cols, .ld = x.cols};
}

bool CudaOps::multiply(const Matrix& x, const Weight& weight, const Weight& bias,
                       const Matrix& out) {
  if (x.dtype == DType::kBF16 && weight.dtype == DType::kBF16 && !batch_invariant_) {
    const bool adds_bias = bias && bias.dtype == DType::kBF16;
    const Bf16GemmArgs few{.x = static_cast<const bf16*>(x.data),
                           .x_ld = x.ld,
                           .tokens = x.rows,
                           .cols = x.cols,
                           .weight = static_cast<const bf16*>(weight.data),
                           .bias = adds_bias ? static_cast<const bf16*>(bias.data) : nullptr,
                           .features = weight.rows,
                           .y = out.data,
                           .y_ld = out.ld,
                           .y_f32 = out.dtype == DType::kF32};
    if (can_run_bf16_gemm(few)) {
      check(bf16_gemm(few, stream_), "bf16 product");
      return adds_bias;
    }
    const Product product{.x = x.data,
                          .w = weight.data,
                          .out = out.data,
                          .tokens = x.rows,
                          .cols = x.cols,
                          .rows = weight.rows,
                          .x_ld = x.ld,
                          .w_ld = weight.cols,
                          .out_ld = out.ld,
                          .dtype = DType::kBF16,
                          .out_dtype = out.dtype};
    if (CublasLt::takes(product) && cublas_.multiply(product, stream_)) return false;
  }
  const dim3 grid(blocks_of(weight.rows, kTile), blocks_of(x.rows, kTile));
  with_activation(x.dtype, [&](auto tx) {
    with_activation(out.dtype, [&](auto to) {
      with_weight(weight.dtype, [&](auto tw) {
        multiply_kernel<<<grid, kThreads, 0, stream_>>>(
            static_cast<const decltype(tx)*>(x.data), x.ld, x.rows, x.cols,
            static_cast<const decltype(tw)*>(weight.data), weight.scales, weight.rows,
            static_cast<decltype(to)*>(out.data), out.ld);
      });
    });
  });
  return false;
}

void CudaOps::linear(const Matrix& x, const Weight& weight, const Weight& bias, const Matrix& out) {
  GALLEY_CHECK(x.cols == weight.cols && out.cols == weight.rows && out.rows == x.rows,
               "out [T, M] = x [T, K] * weight [M, K]");
  GALLEY_CHECK(!bias || bias.rows * bias.cols == weight.rows, "bias has M values");
  if (x.rows == 0) return;
  GALLEY_CHECK(out.data != x.data, "out is not x");
  scratch_.clear();
  bool has_bias = false;
  if (is_fp8(x, weight)) {
    multiply_fp8(quantise(x), weight, out);
  } else {
    has_bias = multiply(prepare(x, weight.dtype), weight, bias, out);
  }
  if (bias && !has_bias) {
    const dim3 grid(static_cast<unsigned>(out.rows), blocks_of(out.cols, 4 * kThreads));
    with_activation(out.dtype, [&](auto t) {
      bias_kernel<<<grid, kThreads, 0, stream_>>>(static_cast<decltype(t)*>(out.data), out.ld,
                                                  bias.data, bias.dtype, out.cols);
    });
  }
  launched("linear");
}

void CudaOps::swiglu(const Matrix& gate, const Matrix& up) {
  GALLEY_CHECK(gate.ld == gate.cols && up.ld == up.cols, "packed");
  const int64_t count = gate.rows * gate.cols;
  const unsigned grid = blocks_of(count, 4 * kThreads);
  with_activation(gate.dtype, [&](auto t) {
    using T = decltype(t);
    swiglu_kernel<<<grid, kThreads, 0, stream_>>>(static_cast<T*>(gate.data),
                                                  static_cast<const T*>(up.data), count);
  });
  launched("swiglu");
}

// Gate and up side by side in one matrix, so that SwiGLU and the quantisation are one pass.
void CudaOps::gated_mlp_fp8(const Matrix& x, const MlpWeights& weights, const Matrix& out) {
  const int64_t inner = weights.gate.rows, ld = 2 * inner;
  const Fp8Rows input = quantise(x);
  auto* const both = scratch_.take<bf16>(x.rows * ld);
  const Matrix gate{.data = both, .dtype = DType::kBF16, .rows = x.rows, .cols = inner, .ld = ld};
  Matrix up = gate;
  up.data = both + inner;
  multiply_fp8(input, weights.gate, gate);
  multiply_fp8(input, weights.up, up);
  const Fp8Rows hidden =
      fp8_rows(scratch_.take<std::byte>(fp8_bytes(x.rows, inner)), x.rows, inner);
  check(swiglu_quantize_rows(both, both + inner, ld, hidden, stream_), "swiglu");
  multiply_fp8(hidden, weights.down, out);
  launched("gated_mlp");
}

// silu(gate(x)) * up(x) in one launch; false: not for this type, or this many tokens.
bool CudaOps::gate_and_up(const Matrix& x, const MlpWeights& weights, const Matrix& out) {
  if (x.dtype != DType::kBF16 || weights.gate.dtype != DType::kBF16 ||
      weights.up.dtype != DType::kBF16 || batch_invariant_)
    return false;
  const Bf16GemmArgs few{.x = static_cast<const bf16*>(x.data),
                         .x_ld = x.ld,
                         .tokens = x.rows,
                         .cols = x.cols,
                         .weight = static_cast<const bf16*>(weights.gate.data),
                         .up = static_cast<const bf16*>(weights.up.data),
                         .features = weights.gate.rows,
                         .y = out.data,
                         .y_ld = out.ld};
  if (!can_run_bf16_gemm(few)) return false;
  check(bf16_gemm(few, stream_), "bf16 product");
  return true;
}

void CudaOps::gated_mlp(const Matrix& x, const MlpWeights& weights, const Matrix& out) {
  GALLEY_CHECK(weights.gate.rows == weights.up.rows && weights.down.cols == weights.gate.rows &&
                   weights.gate.cols == x.cols && weights.down.rows == out.cols &&
                   out.rows == x.rows,
               "down [H, I] of gate and up [I, H]");
  if (x.rows == 0) return;
  GALLEY_CHECK(out.data != x.data, "out is not x");
  scratch_.clear();
  const int64_t inner = weights.gate.rows;
  const auto hidden = [&] {
    void* data = x.dtype == DType::kBF16 ? static_cast<void*>(scratch_.take<bf16>(x.rows * inner))
                                         : static_cast<void*>(scratch_.take<float>(x.rows * inner));
    return Matrix{.data = data, .dtype = x.dtype, .rows = x.rows, .cols = inner, .ld = inner};
  };
  if (is_fp8(x, weights.gate) && weights.up.dtype == DType::kF8E4M3 &&
      weights.down.dtype == DType::kF8E4M3) {
    gated_mlp_fp8(x, weights, out);
    return;
  }
  const Matrix input = prepare(x, weights.gate.dtype);
  const Matrix gate = hidden(), up = hidden();
  if (!gate_and_up(input, weights, gate)) {
    multiply(input, weights.gate, {}, gate);
    multiply(input, weights.up, {}, up);
    swiglu(gate, up);
  }
  multiply(prepare(gate, weights.down.dtype), weights.down, {}, out);
  launched("gated_mlp");
}

}  // namespace galley::kernels::cuda

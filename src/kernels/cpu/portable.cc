// The portable primitives: plain loops, sums in double within each
// block of 128 products. The reference for the others.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/check.h"
#include "kernels/cpu/primitives.h"
#include "kernels/ops.h"

namespace galley::kernels::cpu {
namespace {

uint16_t load_u16(const void* src, int64_t i) {
  uint16_t bits;
  std::memcpy(&bits, static_cast<const std::byte*>(src) + i * 2, sizeof(bits));
  return bits;
}

// Inline, unlike tensor.h's: the slowest machine has nothing but this file.
inline float widen_bf16(uint16_t bits) {
  return std::bit_cast<float>(uint32_t{bits} << 16);
}

float load_value(const void* src, DType dtype, int64_t i) {
  switch (dtype) {
    case DType::kF32: {
      float value;
      std::memcpy(&value, static_cast<const std::byte*>(src) + i * 4, sizeof(value));
      return value;
    }
    case DType::kBF16:
      return widen_bf16(load_u16(src, i));
    case DType::kF16:
      return f16_to_f32(load_u16(src, i));
    case DType::kF8E4M3:
      return e4m3_to_f32(static_cast<const uint8_t*>(src)[i]);
    case DType::kI32:
      break;
  }
  GALLEY_CHECK(false, "not an element type of weights");
}

void widen(const void* src, DType dtype, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = load_value(src, dtype, i);
}

void to_bf16(const float* x, int64_t n, uint16_t* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = f32_to_bf16(x[i]);
}

void round_bf16(const float* x, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = bf16_to_f32(f32_to_bf16(x[i]));
}

void quantise(const float* x, int64_t n, uint16_t* out, float* scales) {
  for (int64_t begin = 0; begin < n; begin += kScaleBlock) {
    const int64_t end = std::min(n, begin + kScaleBlock);
    float amax = 0.0f;
    for (int64_t i = begin; i < end; ++i) amax = std::max(amax, std::fabs(x[i]));
    const float scale = amax / 448.0f;
    for (int64_t i = begin; i < end; ++i) {
      const float scaled = scale > 0.0f ? x[i] / scale : 0.0f;
      out[i] = f32_to_bf16(e4m3_to_f32(f32_to_e4m3(scaled)));
    }
    scales[begin / kScaleBlock] = scale;
  }
}

void rms_norm(const float* x, const float* weight, float eps, int64_t n, float* out) {
  double squares = 0.0;
  for (int64_t i = 0; i < n; ++i) squares += double{x[i]} * double{x[i]};
  const auto factor = static_cast<float>(1.0 / std::sqrt(squares / static_cast<double>(n) + eps));
  for (int64_t i = 0; i < n; ++i) out[i] = x[i] * factor * weight[i];
}

void add(float* a, const float* b, int64_t n) {
  for (int64_t i = 0; i < n; ++i) a[i] += b[i];
}

void add_scaled(float* a, const float* b, float scale, int64_t n) {
  for (int64_t i = 0; i < n; ++i) a[i] += scale * b[i];
}

void silu_mul(const float* gate, const float* up, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = gate[i] / (1.0f + std::exp(-gate[i])) * up[i];
}

float max_value(const float* x, int64_t n) {
  float best = -std::numeric_limits<float>::infinity();
  for (int64_t i = 0; i < n; ++i) {
    if (x[i] > best) best = x[i];
  }
  return best;
}

double exp_sum(const float* x, float max, float inv_temperature, int64_t n, float* out) {
  double sum = 0.0;
  for (int64_t i = 0; i < n; ++i) {
    const float value = std::isnan(x[i]) ? 0.0f : std::exp((x[i] - max) * inv_temperature);
    sum += double{value};
    if (out != nullptr) out[i] = value;
  }
  return sum;
}

// Of products [begin, begin + 128) of a weight's row; 1 unless it is FP8.
double weight_scale(const Weight& w, int64_t row, int64_t begin) {
  if (w.dtype != DType::kF8E4M3) return 1.0;
  const int64_t blocks = (w.cols + kScaleBlock - 1) / kScaleBlock;
  return double{w.scales[row / kScaleBlock * blocks + begin / kScaleBlock]};
}

// `n` <= kScaleBlock values of one token from `k` on.
void read_activations(const Activations& x, int64_t row, int64_t k, int64_t n, double* out) {
  const int64_t at = row * x.ld + k;
  for (int64_t i = 0; i < n; ++i) {
    out[i] = x.form == Form::kF32 ? double{static_cast<const float*>(x.data)[at + i]}
                                  : double{widen_bf16(load_u16(x.data, at + i))};
  }
}

void gemm(const GemmArgs& a) {
  const Weight& w = *a.weight;
  const auto size = static_cast<int64_t>(size_of(w.dtype));
  for (int64_t t = 0; t < a.num_tokens; ++t)
    std::fill_n(a.out + t * a.ld_out, a.row_end - a.row_begin, 0.0f);
  // One block of 128 products at a time; each row of the weight and of x is converted once a block.
  for (int64_t k = 0; k < w.cols; k += kScaleBlock) {
    const int64_t n = std::min(kScaleBlock, w.cols - k);
    constexpr int64_t kTokens = 32;
    double x[kTokens][kScaleBlock];
    for (int64_t first = 0; first < a.num_tokens; first += kTokens) {
      const int64_t tokens = std::min(kTokens, a.num_tokens - first);
      const auto row_of = [&](int64_t t) {
        return a.x_rows != nullptr ? a.x_rows[first + t] : first + t;
      };
      for (int64_t t = 0; t < tokens; ++t) read_activations(a.x, row_of(t), k, n, x[t]);
      for (int64_t m = a.row_begin; m < a.row_end; ++m) {
        float weights[kScaleBlock];
        widen(static_cast<const std::byte*>(w.data) + (m * w.cols + k) * size, w.dtype, n, weights);
        for (int64_t t = 0; t < tokens; ++t) {
          double sum = 0.0;
          for (int64_t i = 0; i < n; ++i) sum += x[t][i] * double{weights[i]};
          sum *= weight_scale(w, m, k);
          if (a.x.form == Form::kQ8)
            sum *= double{a.x.scales[row_of(t) * a.x.scale_ld + k / kScaleBlock]};
          a.out[(first + t) * a.ld_out + m - a.row_begin] += static_cast<float>(sum);
        }
      }
    }
  }
}

void gemm_rows(const float* x, int64_t x_ld, int64_t num_tokens, const float* w, int64_t w_ld,
               int64_t num_rows, int64_t n, bool accumulate, float* out, int64_t out_ld) {
  for (int64_t t = 0; t < num_tokens; ++t) {
    float* out_row = out + t * out_ld;
    if (!accumulate) std::fill_n(out_row, n, 0.0f);
    for (int64_t k = 0; k < num_rows; ++k) add_scaled(out_row, w + k * w_ld, x[t * x_ld + k], n);
  }
}

void attend(const AttendArgs& a) {
  for (int64_t h = 0; h < a.num_heads; ++h) {
    float scores[kBlockTokens];
    float max = a.max[h];
    for (int64_t j = 0; j < a.num_keys; ++j) {
      double dot = 0.0;
      for (int64_t d = 0; d < a.key_dim; ++d)
        dot += double{a.q[h * a.q_ld + d]} * double{a.k[j * a.k_ld + d]};
      scores[j] = static_cast<float>(dot) * a.scale;
      max = std::max(max, scores[j]);
    }
    float* acc = a.acc + h * a.acc_ld;
    const float keep = std::exp(a.max[h] - max);  // 0 for the first block: exp(-infinity)
    float sum = a.sum[h] * keep;
    for (int64_t d = 0; d < a.value_dim; ++d) acc[d] *= keep;
    for (int64_t j = 0; j < a.num_keys; ++j) {
      const float p = std::exp(scores[j] - max);
      sum += p;
      add_scaled(acc, a.v + j * a.v_ld, p, a.value_dim);
    }
    a.max[h] = max;
    a.sum[h] = sum;
  }
}

double multiply_registers(bool, int64_t rounds) {
  double sums[4] = {0.0, 1.0, 2.0, 3.0};
  volatile double input = 1.0;
  const double x = input;
  for (int64_t i = 0; i < rounds; ++i) {
    for (double& sum : sums) sum += x * x;
  }
  volatile double result = sums[0] + sums[1] + sums[2] + sums[3];
  (void)result;
  return static_cast<double>(rounds) * 8.0;
}

}  // namespace

const Primitives& portable_primitives() {
  static constexpr Primitives kTable{
      .name = "portable",
      .widen = widen,
      .to_bf16 = to_bf16,
      .round_bf16 = round_bf16,
      .quantise = quantise,
      .rms_norm = rms_norm,
      .add = add,
      .add_scaled = add_scaled,
      .silu_mul = silu_mul,
      .max_value = max_value,
      .exp_sum = exp_sum,
      .gemm = gemm,
      .gemm_rows = gemm_rows,
      .attend = attend,
      .multiply_registers = multiply_registers,
  };
  return kTable;
}

}  // namespace galley::kernels::cpu

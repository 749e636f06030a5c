// The operations that go row by row: one block is one row, and its sums depend on the columns
// alone.
#include "kernels/cuda/convert.cuh"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/hopper.cuh"
#include "kernels/cuda/launch.cuh"

namespace galley::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kVector = 8;      // values that a thread reads at once
constexpr int kVectorsMax = 8;  // of a row, in a thread's registers

template <typename W, typename T>
__global__ void embed_kernel(const int32_t* ids, const W* table, const float* scales, int64_t size,
                             int64_t cols, T* out, int64_t ld) {
  const int64_t id = ids[blockIdx.x];
  const bool is_inside = id >= 0 && id < size;
  const int64_t blocks = (cols + kScaleBlock - 1) / kScaleBlock;
  for (int64_t i = threadIdx.x; i < cols; i += blockDim.x) {
    float value = is_inside ? to_float(table[id * cols + i]) : 0.0f;
    if (is_inside && scales != nullptr)
      value *= scales[id / kScaleBlock * blocks + i / kScaleBlock];
    out[blockIdx.x * ld + i] = from_float<T>(value);
  }
}

template <typename T>
__global__ void gather_kernel(const T* x, int64_t x_ld, const int32_t* rows, int64_t cols, T* out,
                              int64_t out_ld) {
  const T* from = x + rows[blockIdx.x] * x_ld;
  for (int64_t i = threadIdx.x; i < cols; i += blockDim.x) out[blockIdx.x * out_ld + i] = from[i];
}

template <typename T>
__global__ void add_kernel(T* a, int64_t a_ld, const T* b, int64_t b_ld, int64_t cols) {
  hopper::let_next_kernel_start();
  hopper::wait_previous_kernels();
  for (int64_t i = threadIdx.x + int64_t{blockIdx.y} * blockDim.x; i < cols;
       i += int64_t{blockDim.x} * gridDim.y) {
    T& to = a[blockIdx.x * a_ld + i];
    to = from_float<T>(to_float(to) + to_float(b[blockIdx.x * b_ld + i]));
  }
}

struct NormArgs {
  const void* x;
  int64_t x_ld;
  void* residual;  // null: plain rms_norm
  int64_t residual_ld;
  const void* weight;
  DType weight_dtype;
  float eps;
  int64_t cols;
  void* out;
  int64_t out_ld;
};

// Any width. Thread i takes columns i, i + kThreads, ...
template <typename T>
__global__ void norm_kernel(NormArgs a) {
  __shared__ float shared[33];
  const T* x = static_cast<const T*>(a.x) + blockIdx.x * a.x_ld;
  T* residual =
      a.residual == nullptr ? nullptr : static_cast<T*>(a.residual) + blockIdx.x * a.residual_ld;
  T* out = static_cast<T*>(a.out) + blockIdx.x * a.out_ld;
  float sum = 0.0f;
  for (int64_t i = threadIdx.x; i < a.cols; i += blockDim.x) {
    if (residual != nullptr) residual[i] = from_float<T>(to_float(residual[i]) + to_float(x[i]));
    const float v = to_float(residual != nullptr ? residual[i] : x[i]);
    sum += v * v;
  }
  sum = block_sum(sum, shared);
  const float factor = 1.0f / sqrtf(sum / static_cast<float>(a.cols) + a.eps);
  for (int64_t i = threadIdx.x; i < a.cols; i += blockDim.x) {
    const float v = to_float(residual != nullptr ? residual[i] : x[i]);
    out[i] = from_float<T>(v * factor * weight_at(a.weight, a.weight_dtype, i));
  }
}

struct alignas(16) Vector {
  bf16 values[kVector];
};

// bf16 in vectors of 16 bytes, the row held in registers between its two uses.
template <int kVectors>
__global__ void __launch_bounds__(kThreads) norm_bf16_kernel(NormArgs a) {
  __shared__ float shared[33];
  hopper::let_next_kernel_start();
  hopper::wait_previous_kernels();
  const auto* x =
      reinterpret_cast<const Vector*>(static_cast<const bf16*>(a.x) + blockIdx.x * a.x_ld);
  auto* residual =
      a.residual == nullptr
          ? nullptr
          : reinterpret_cast<Vector*>(static_cast<bf16*>(a.residual) + blockIdx.x * a.residual_ld);
  auto* out = reinterpret_cast<Vector*>(static_cast<bf16*>(a.out) + blockIdx.x * a.out_ld);
  const auto* weight = reinterpret_cast<const Vector*>(a.weight);
  const int count = static_cast<int>(a.cols / kVector);
  Vector row[kVectors];
  float sum = 0.0f;
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const int i = static_cast<int>(threadIdx.x) + v * kThreads;
    if (i >= count) continue;
    row[v] = x[i];
    if (residual != nullptr) {
      const Vector before = residual[i];
#pragma unroll
      for (int j = 0; j < kVector; ++j)
        row[v].values[j] =
            from_float<bf16>(to_float(before.values[j]) + to_float(row[v].values[j]));
      residual[i] = row[v];
    }
#pragma unroll
    for (int j = 0; j < kVector; ++j) {
      const float value = to_float(row[v].values[j]);
      sum += value * value;
    }
  }
  sum = block_sum(sum, shared);
  const float factor = 1.0f / sqrtf(sum / static_cast<float>(a.cols) + a.eps);
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const int i = static_cast<int>(threadIdx.x) + v * kThreads;
    if (i >= count) continue;
    const Vector w = weight[i];
#pragma unroll
    for (int j = 0; j < kVector; ++j)
      row[v].values[j] =
          from_float<bf16>(to_float(row[v].values[j]) * factor * to_float(w.values[j]));
    out[i] = row[v];
  }
}

bool is_aligned(const void* p) {
  return reinterpret_cast<uintptr_t>(p) % sizeof(Vector) == 0;
}

// Whether norm_bf16_kernel takes it.
bool is_vectors(const NormArgs& a, DType dtype) {
  return dtype == DType::kBF16 && a.weight_dtype == DType::kBF16 && a.cols % kVector == 0 &&
         a.cols <= kVector * kThreads * kVectorsMax && a.x_ld % kVector == 0 &&
         a.residual_ld % kVector == 0 && a.out_ld % kVector == 0 && is_aligned(a.x) &&
         is_aligned(a.residual) && is_aligned(a.out) && is_aligned(a.weight);
}

cudaError_t launch_norm(const NormArgs& a, int64_t rows, DType dtype, cudaStream_t stream) {
  const auto grid = static_cast<unsigned>(rows);
  if (is_vectors(a, dtype)) {
    const LaunchShape shape{.grid = dim3(grid), .threads = kThreads};
    const int64_t vectors = (a.cols / kVector + kThreads - 1) / kThreads;
    if (vectors <= 1) {
      return launch(norm_bf16_kernel<1>, shape, stream, a);
    } else if (vectors <= 2) {
      return launch(norm_bf16_kernel<2>, shape, stream, a);
    } else if (vectors <= 4) {
      return launch(norm_bf16_kernel<4>, shape, stream, a);
    } else {
      return launch(norm_bf16_kernel<8>, shape, stream, a);
    }
  }
  with_activation(dtype,
                  [&](auto t) { norm_kernel<decltype(t)><<<grid, kThreads, 0, stream>>>(a); });
  return cudaGetLastError();
}

}  // namespace

void CudaOps::embed(std::span<const int32_t> ids, const Weight& table, const Matrix& out) {
  GALLEY_CHECK(out.rows == static_cast<int64_t>(ids.size()) && out.cols == table.cols,
               "out is [ids, H]");
  if (ids.empty()) return;
  with_activation(out.dtype, [&](auto t) {
    with_weight(table.dtype, [&](auto w) {
      embed_kernel<<<static_cast<unsigned>(out.rows), kThreads, 0, stream_>>>(
          ids.data(), static_cast<const decltype(w)*>(table.data), table.scales, table.rows,
          table.cols, static_cast<decltype(t)*>(out.data), out.ld);
    });
  });
  launched("embed");
}

void CudaOps::gather_rows(const Matrix& x, std::span<const int32_t> rows, const Matrix& out) {
  GALLEY_CHECK(
      out.rows == static_cast<int64_t>(rows.size()) && out.cols == x.cols && out.dtype == x.dtype,
      "out is [rows, cols of x]");
  if (rows.empty()) return;
  with_activation(x.dtype, [&](auto t) {
    using T = decltype(t);
    gather_kernel<<<static_cast<unsigned>(out.rows), kThreads, 0, stream_>>>(
        static_cast<const T*>(x.data), x.ld, rows.data(), x.cols, static_cast<T*>(out.data),
        out.ld);
  });
  launched("gather_rows");
}

void CudaOps::rms_norm(const Matrix& x, const Weight& weight, float eps, const Matrix& out) {
  GALLEY_CHECK(weight.rows * weight.cols == x.cols && out.cols == x.cols && out.rows == x.rows &&
                   out.dtype == x.dtype && weight.dtype != DType::kF8E4M3,
               "x, weight and out have the same columns");
  if (x.rows == 0) return;
  check(launch_norm({.x = x.data,
                     .x_ld = x.ld,
                     .residual = nullptr,
                     .residual_ld = 0,
                     .weight = weight.data,
                     .weight_dtype = weight.dtype,
                     .eps = eps,
                     .cols = x.cols,
                     .out = out.data,
                     .out_ld = out.ld},
                    x.rows, x.dtype, stream_),
        "rms_norm");
  launched("rms_norm");
}

void CudaOps::add_rms_norm(const Matrix& x, const Matrix& residual, const Weight& weight, float eps,
                           const Matrix& out) {
  GALLEY_CHECK(weight.rows * weight.cols == x.cols && out.cols == x.cols && out.rows == x.rows &&
                   residual.cols == x.cols && residual.rows == x.rows && out.dtype == x.dtype &&
                   residual.dtype == x.dtype && weight.dtype != DType::kF8E4M3,
               "x, residual, weight and out have the same shape");
  if (x.rows == 0) return;
  check(launch_norm({.x = x.data,
                     .x_ld = x.ld,
                     .residual = residual.data,
                     .residual_ld = residual.ld,
                     .weight = weight.data,
                     .weight_dtype = weight.dtype,
                     .eps = eps,
                     .cols = x.cols,
                     .out = out.data,
                     .out_ld = out.ld},
                    x.rows, x.dtype, stream_),
        "add_rms_norm");
  launched("add_rms_norm");
}

void CudaOps::add(const Matrix& a, const Matrix& b) {
  GALLEY_CHECK(a.rows == b.rows && a.cols == b.cols && a.dtype == b.dtype,
               "a and b have the same shape");
  if (a.rows == 0) return;
  const dim3 grid(static_cast<unsigned>(a.rows),
                  static_cast<unsigned>((a.cols + 4 * kThreads - 1) / (4 * kThreads)));
  with_activation(a.dtype, [&](auto t) {
    using T = decltype(t);
    check(launch(add_kernel<T>, {.grid = grid, .threads = kThreads}, stream_,
                 static_cast<T*>(a.data), a.ld, static_cast<const T*>(b.data), b.ld, a.cols),
          "add");
  });
  launched("add");
}

}  // namespace galley::kernels::cuda

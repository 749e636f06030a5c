// Element types in device code, and the block-wide sums that the reference kernels share.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include <cstdint>

#include "base/check.h"
#include "tensor/tensor.h"

namespace galley::kernels::cuda {

using bf16 = __nv_bfloat16;
using fp8 = __nv_fp8_e4m3;

__device__ inline float to_float(float v) {
  return v;
}
__device__ inline float to_float(bf16 v) {
  return __bfloat162float(v);
}
__device__ inline float to_float(__half v) {
  return __half2float(v);
}
__device__ inline float to_float(fp8 v) {
  return static_cast<float>(v);
}

template <typename T>
__device__ T from_float(float v);
template <>
__device__ inline float from_float<float>(float v) {
  return v;
}
template <>
__device__ inline bf16 from_float<bf16>(float v) {
  return __float2bfloat16_rn(v);
}

// The bits of a number as bf16, for storing them byte by byte. In integers: ptxas 13.0 turns
// cvt.rn.bf16 followed by a store of its low byte into a conversion to an 8-bit integer.
__device__ inline unsigned bf16_bits(float v) {
  const unsigned bits = __float_as_uint(v);
  if (isnan(v)) return bits >> 16 | 0x40u;
  return (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
}

// Rounds to e4m3 and back; saturates (ops.h: f32_to_e4m3).
__device__ inline float round_e4m3(float v) {
  return static_cast<float>(fp8(v));
}

// Calls f with a value of the C++ type of `dtype`; only for types of activations.
template <typename F>
void with_activation(DType dtype, F&& f) {
  if (dtype == DType::kF32) {
    f(float{});
  } else {
    GALLEY_CHECK(dtype == DType::kBF16, "activations are f32 or bf16");
    f(bf16{});
  }
}

// Likewise for types of weights.
template <typename F>
void with_weight(DType dtype, F&& f) {
  switch (dtype) {
    case DType::kF32:
      return f(float{});
    case DType::kBF16:
      return f(bf16{});
    case DType::kF16:
      return f(__half{});
    case DType::kF8E4M3:
      return f(fp8{});
    default:
      GALLEY_CHECK(false, "a type of weights");
  }
}

// Sum over a block of whole warps, the same in every thread; its order depends on the block's size
// alone. `shared` holds 33 floats.
__device__ inline float block_sum(float v, float* shared) {
  for (int offset = 16; offset > 0; offset /= 2) v += __shfl_xor_sync(0xffffffffu, v, offset);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  __syncthreads();
  if (lane == 0) shared[warp] = v;
  __syncthreads();
  if (warp == 0) {
    float sum = lane < static_cast<int>(blockDim.x / 32) ? shared[lane] : 0.0f;
    for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, offset);
    if (lane == 0) shared[32] = sum;
  }
  __syncthreads();
  return shared[32];
}

__device__ inline float block_max(float v, float* shared) {
  for (int offset = 16; offset > 0; offset /= 2)
    v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, offset));
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  __syncthreads();
  if (lane == 0) shared[warp] = v;
  __syncthreads();
  if (warp == 0) {
    float max = lane < static_cast<int>(blockDim.x / 32) ? shared[lane] : -INFINITY;
    for (int offset = 16; offset > 0; offset /= 2)
      max = fmaxf(max, __shfl_xor_sync(0xffffffffu, max, offset));
    if (lane == 0) shared[32] = max;
  }
  __syncthreads();
  return shared[32];
}

// An element of a weight whose type is only known at run time; for norms and biases.
__device__ inline float weight_at(const void* data, DType dtype, int64_t i) {
  switch (dtype) {
    case DType::kF32:
      return static_cast<const float*>(data)[i];
    case DType::kBF16:
      return to_float(static_cast<const bf16*>(data)[i]);
    default:
      return to_float(static_cast<const __half*>(data)[i]);
  }
}

}  // namespace galley::kernels::cuda

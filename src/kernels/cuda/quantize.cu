// Plan  Half a warp owns a group of 128 channels of one row: 8 channels a lane, one 16-byte load,
//       the largest magnitude by four shuffles, one 8-byte store. Nothing goes through shared
//       memory and nothing is read twice.
#include <cuda_fp8.h>

#include "kernels/cuda/hopper.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/quantize.h"

namespace galley::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kLanes = 16;   // of one group
constexpr int kVector = 8;   // channels of a lane
constexpr int kGroup = 128;  // channels that share a scale
constexpr float kLargestCode = 448.0f;

constexpr int kGroupsOfBlock = kThreads / kLanes;

static_assert(kLanes * kVector == kGroup);

// 8 bf16 at `from`, zeros from `count` on; one load where the address allows.
__device__ __forceinline__ void load_vector(const __nv_bfloat16* from, int count,
                                            float (&out)[kVector]) {
  __nv_bfloat16 raw[kVector];
  if (count >= kVector && reinterpret_cast<uintptr_t>(from) % 16 == 0) {
    *reinterpret_cast<uint4*>(raw) = __ldg(reinterpret_cast<const uint4*>(from));
  } else {
#pragma unroll
    for (int i = 0; i < kVector; ++i) raw[i] = i < count ? from[i] : __float2bfloat16_rn(0.0f);
  }
#pragma unroll
  for (int i = 0; i < kVector; ++i) out[i] = __bfloat162float(raw[i]);
}

struct Quantized {
  uint2 codes;  // 8 e4m3
  float scale;
};

// Quantises the group that this half of a warp holds.
__device__ __forceinline__ Quantized quantize_group(const float (&x)[kVector]) {
  float largest = 0.0f;
#pragma unroll
  for (int i = 0; i < kVector; ++i) largest = fmaxf(largest, fabsf(x[i]));
#pragma unroll
  for (int offset = kLanes / 2; offset > 0; offset /= 2)
    largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, offset));
  const float scale = __fdiv_rn(largest, kLargestCode);
  Quantized out{.codes = {0, 0}, .scale = scale};
  if (scale > 0.0f) {
    uint16_t pair[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float2 values{__fdiv_rn(x[2 * i], scale), __fdiv_rn(x[2 * i + 1], scale)};
      pair[i] = __nv_cvt_float2_to_fp8x2(values, __NV_SATFINITE, __NV_E4M3);
    }
    out.codes.x = pair[0] | (static_cast<uint32_t>(pair[1]) << 16);
    out.codes.y = pair[2] | (static_cast<uint32_t>(pair[3]) << 16);
  }
  return out;
}

// Stores a lane's 8 codes; the pad up to ld is written too (zeros), so that no code is ever unset.
__device__ __forceinline__ void store_group(const Fp8Rows& out, int64_t row, int group, int lane,
                                            const Quantized& q) {
  const int64_t column = int64_t{group} * kGroup + lane * kVector;
  if (column < out.ld) *reinterpret_cast<uint2*>(out.codes + row * out.ld + column) = q.codes;
  if (lane == 0) out.scales[int64_t{group} * out.scale_ld + row] = q.scale;
}

enum class Source : uint8_t { kPlain, kSwiGlu };

template <Source kSource>
__global__ __launch_bounds__(kThreads) void quantize_kernel(const __nv_bfloat16* x,
                                                            const __nv_bfloat16* up, int64_t x_ld,
                                                            Fp8Rows out) {
  hopper::let_next_kernel_start();
  hopper::wait_previous_kernels();
  const int64_t item = (int64_t{blockIdx.x} * kThreads + threadIdx.x) / kLanes;
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  const int groups = static_cast<int>((out.cols + kGroup - 1) / kGroup);
  const int64_t row = item / groups;
  const int group = static_cast<int>(item % groups);
  const bool inside = row < out.rows;  // no early exit: the other half of the warp shuffles

  float values[kVector] = {};
  if (inside) {
    const int64_t column = int64_t{group} * kGroup + lane * kVector;
    const int count = static_cast<int>(max(int64_t{0}, min(int64_t{kVector}, out.cols - column)));
    load_vector(x + row * x_ld + column, count, values);
    if constexpr (kSource == Source::kSwiGlu) {
      float factor[kVector];
      load_vector(up + row * x_ld + column, count, factor);
#pragma unroll
      for (int i = 0; i < kVector; ++i)
        values[i] = values[i] / (1.0f + __expf(-values[i])) * factor[i];
    }
  }
  const Quantized q = quantize_group(values);
  if (inside) store_group(out, row, group, lane, q);
}

// Blocks (token, groups): a group is quantised once and stored to each of the token's rows.
__global__ __launch_bounds__(kThreads) void scatter_kernel(QuantizeScatterArgs args, Fp8Rows out) {
  hopper::let_next_kernel_start();
  hopper::wait_previous_kernels();
  const int64_t token = blockIdx.x;
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  const int groups = static_cast<int>((out.cols + kGroup - 1) / kGroup);
  const int group =
      static_cast<int>(blockIdx.y) * kGroupsOfBlock + static_cast<int>(threadIdx.x) / kLanes;
  float values[kVector] = {};
  if (group < groups) {
    const int64_t column = int64_t{group} * kGroup + lane * kVector;
    const int count = static_cast<int>(max(int64_t{0}, min(int64_t{kVector}, out.cols - column)));
    load_vector(args.x + token * args.x_ld + column, count, values);
  }
  const Quantized q = quantize_group(values);
  if (group >= groups) return;
  for (int copy = 0; copy < args.copies; ++copy) {
    const int32_t row = __ldg(args.row_of + token * args.copies + copy);
    if (row >= 0) store_group(out, row, group, lane, q);
  }
}

template <Source kSource>
cudaError_t quantize(const __nv_bfloat16* x, const __nv_bfloat16* up, int64_t ld,
                     const Fp8Rows& out, cudaStream_t stream) {
  if (out.rows == 0 || out.cols == 0) return cudaSuccess;
  const int64_t items = out.rows * fp8_groups(out.cols);
  const int64_t blocks = (items * kLanes + kThreads - 1) / kThreads;
  return launch(quantize_kernel<kSource>,
                {.grid = dim3(static_cast<uint32_t>(blocks)), .threads = kThreads}, stream, x, up,
                ld, out);
}

}  // namespace

cudaError_t quantize_rows(const __nv_bfloat16* x, int64_t x_ld, const Fp8Rows& out,
                          cudaStream_t stream) {
  return quantize<Source::kPlain>(x, nullptr, x_ld, out, stream);
}

cudaError_t swiglu_quantize_rows(const __nv_bfloat16* gate, const __nv_bfloat16* up, int64_t ld,
                                 const Fp8Rows& out, cudaStream_t stream) {
  return quantize<Source::kSwiGlu>(gate, up, ld, out, stream);
}

cudaError_t quantize_scatter(const QuantizeScatterArgs& args, const Fp8Rows& out,
                             cudaStream_t stream) {
  if (args.tokens == 0 || out.cols == 0) return cudaSuccess;
  const int64_t across = (fp8_groups(out.cols) + kGroupsOfBlock - 1) / kGroupsOfBlock;
  return launch(scatter_kernel,
                {.grid = dim3(static_cast<uint32_t>(args.tokens), static_cast<uint32_t>(across)),
                 .threads = kThreads},
                stream, args, out);
}

}  // namespace galley::kernels::cuda

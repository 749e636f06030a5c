// The block scales of a weight along K, as the matrix kernels' warps read them.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace galley::kernels::cuda {

// Lane l of a warp holds the scales of steps first + l, first + l + 32, ...; the next 32 are on
// their way. S::kSteps blocks of 128 make a step; of them this warp takes number `part` if
// S::kSplit.
template <typename S>
class WeightScales {
 public:
  __device__ __forceinline__ WeightScales(const float* row, int32_t blocks, int32_t first, int part)
      : row_(row), blocks_(blocks), part_(part), at_(first) {
    now_ = load(at_);
    next_ = load(at_ + 32);
  }
  // The scale of the next step.
  __device__ __forceinline__ float take() {
    const float scale = __shfl_sync(0xffffffffu, now_, taken_);
    if (++taken_ == 32) {
      taken_ = 0;
      at_ += 32;
      now_ = next_;
      next_ = load(at_ + 32);
    }
    return scale;
  }

 private:
  __device__ __forceinline__ float load(int32_t step) const {
    const int32_t block =
        (step + static_cast<int32_t>(threadIdx.x) % 32) * S::kSteps + (S::kSplit ? part_ : 0);
    return block < blocks_ ? __ldg(row_ + block) : 0.0f;
  }

  const float* row_;
  int32_t blocks_;
  int part_;
  int32_t at_;
  int taken_ = 0;
  float now_, next_;
};

}  // namespace galley::kernels::cuda

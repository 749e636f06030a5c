// The router: one block is one token.
#include <cmath>

#include "kernels/cuda/convert.cuh"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/hopper.cuh"
#include "kernels/cuda/launch.cuh"

namespace galley::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kExpertsMax = 1024;
constexpr int kGroupsMax = 64;

// A candidate: larger value first, then the lower id; NaN loses against everything.
__device__ bool beats(float a, int a_id, float b, int b_id) {
  if (a_id < 0) return false;
  if (b_id < 0) return true;
  const bool a_nan = isnan(a), b_nan = isnan(b);
  if (a_nan != b_nan) return b_nan;
  if (!a_nan && a != b) return a > b;
  return a_id < b_id;
}

// The best of v[0, n) that is not taken, for all threads of warp 0.
__device__ int warp_best(const float* v, const bool* taken, int n) {
  const int lane = threadIdx.x % 32;
  float best = 0.0f;
  int id = -1;
  for (int i = lane; i < n; i += 32) {
    if (!taken[i] && beats(v[i], i, best, id)) {
      best = v[i];
      id = i;
    }
  }
  for (int offset = 16; offset > 0; offset /= 2) {
    const float other = __shfl_xor_sync(0xffffffffu, best, offset);
    const int other_id = __shfl_xor_sync(0xffffffffu, id, offset);
    if (beats(other, other_id, best, id)) {
      best = other;
      id = other_id;
    }
  }
  return id;
}

__global__ void __launch_bounds__(kThreads)
    route_kernel(RouteShape shape, const float* logits, int64_t ld, const float* bias,
                 int32_t* experts, float* weights) {
  __shared__ float scores[kExpertsMax];
  __shared__ float choices[kExpertsMax];
  __shared__ bool taken[kExpertsMax];
  __shared__ float groups[kGroupsMax];
  __shared__ bool kept[kGroupsMax];
  __shared__ float shared[33];
  hopper::let_next_kernel_start();
  hopper::wait_previous_kernels();
  const int E = shape.num_experts, K = shape.experts_per_token, G = shape.num_groups;
  const float* row = logits + blockIdx.x * ld;
  if (shape.scoring == Scoring::kSigmoid) {
    for (int e = threadIdx.x; e < E; e += kThreads) scores[e] = 1.0f / (1.0f + expf(-row[e]));
  } else {
    float max = -INFINITY;
    for (int e = threadIdx.x; e < E; e += kThreads) max = fmaxf(max, row[e]);
    max = block_max(max, shared);
    float sum = 0.0f;
    for (int e = threadIdx.x; e < E; e += kThreads) {
      scores[e] = expf(row[e] - max);
      sum += scores[e];
    }
    sum = block_sum(sum, shared);
    for (int e = threadIdx.x; e < E; e += kThreads) scores[e] /= sum;
  }
  for (int e = threadIdx.x; e < E; e += kThreads) {
    choices[e] = scores[e] + (bias != nullptr ? bias[e] : 0.0f);
    taken[e] = false;
  }
  __syncthreads();
  if (shape.top_k != TopK::kGreedy && shape.num_groups_kept < G) {
    const int size = E / G;
    for (int g = threadIdx.x; g < G; g += kThreads) {
      float best = -INFINITY, second = -INFINITY;
      for (int i = g * size; i < (g + 1) * size; ++i) {
        if (choices[i] > best) {
          second = best;
          best = choices[i];
        } else if (choices[i] > second) {
          second = choices[i];
        }
      }
      groups[g] = shape.top_k == TopK::kNoAuxTc ? best + second : best;
      kept[g] = false;
    }
    __syncthreads();
    if (threadIdx.x < 32) {
      for (int i = 0; i < shape.num_groups_kept; ++i) {
        const int g = warp_best(groups, kept, G);
        if (threadIdx.x == 0) kept[g] = true;
        __syncwarp();
      }
    }
    __syncthreads();
    for (int e = threadIdx.x; e < E; e += kThreads) {
      if (!kept[e / size]) choices[e] = NAN;  // loses against any choice that stays
    }
    __syncthreads();
  }
  if (threadIdx.x >= 32) return;
  int32_t* ids = experts + int64_t{blockIdx.x} * K;
  float sum = 0.0f;
  for (int k = 0; k < K; ++k) {
    const int e = warp_best(choices, taken, E);
    if (threadIdx.x == 0) {
      taken[e] = true;
      ids[k] = e;
    }
    sum += scores[e];
    __syncwarp();
  }
  const float factor = shape.normalise ? shape.routed_scale / (sum + 1e-20f) : shape.routed_scale;
  for (int k = threadIdx.x; k < K; k += 32)
    weights[int64_t{blockIdx.x} * K + k] = scores[ids[k]] * factor;
}

}  // namespace

void CudaOps::route_tokens(const RouteShape& shape, const Matrix& logits, const float* bias,
                           int32_t* experts, float* weights) {
  const int64_t E = shape.num_experts, K = shape.experts_per_token, G = shape.num_groups;
  GALLEY_CHECK(logits.cols == E && logits.dtype == DType::kF32, "logits are [T, E] f32");
  GALLEY_CHECK(G > 0 && E % G == 0 && shape.num_groups_kept > 0 && shape.num_groups_kept <= G,
               "groups divide the experts");
  GALLEY_CHECK(K > 0 && K <= E / G * shape.num_groups_kept, "K experts are left to choose from");
  GALLEY_CHECK(E <= kExpertsMax && G <= kGroupsMax, "make() refused wider routers");
  if (logits.rows == 0) return;
  check(launch(route_kernel,
               {.grid = dim3(static_cast<unsigned>(logits.rows)), .threads = kThreads}, stream_,
               shape, static_cast<const float*>(logits.data), logits.ld, bias, experts, weights),
        "route_tokens");
  launched("route_tokens");
}

}  // namespace galley::kernels::cuda

// Grouped-query attention. The reference form is one block for each token and head, as in mla.cu.
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/gqa.h"
#include "kernels/cuda/hopper.cuh"
#include "kernels/cuda/launch.cuh"

namespace galley::kernels::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / 32;
constexpr int kDecodeQueriesMax = 4;  // of a sequence; more are a prompt

int64_t qkv_cols(const GqaShape& shape) {
  return int64_t{shape.num_heads + 2 * shape.num_kv_heads} * shape.head_dim;
}

template <typename T>
__global__ void __launch_bounds__(256)
    prepare_kernel(GqaShape shape, T* qkv, int64_t ld, RopeTable rope, StepBatch batch,
                   CacheLayer cache) {
  hopper::let_next_kernel_start();
  hopper::wait_previous_kernels();
  const int t = blockIdx.x, D = shape.head_dim, half = rope.half_dim;
  const int position = batch.positions[t];
  T* row = qkv + t * ld;
  for (int i = threadIdx.x; i < (shape.num_heads + shape.num_kv_heads) * half; i += blockDim.x) {
    T* head = row + i / half * D;
    T& a = head[first_of_pair(rope, i % half)];
    T& b = head[second_of_pair(rope, i % half)];
    float x = to_float(a), y = to_float(b);
    rotate_pair(rope, position, i % half, x, y);
    a = from_float<T>(x);
    b = from_float<T>(y);
  }
  __syncthreads();
  std::byte* to = cache.data + int64_t{batch.slots[t]} * cache.row_bytes;
  const T* keys = row + shape.num_heads * D;
  for (int i = threadIdx.x; i < 2 * shape.num_kv_heads * D; i += blockDim.x) {
    if (cache.format == CacheFormat::kF32) {
      reinterpret_cast<float*>(to)[i] = to_float(keys[i]);
    } else {
      reinterpret_cast<bf16*>(to)[i] = from_float<bf16>(to_float(keys[i]));
    }
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    attention_kernel(GqaShape shape, const T* qkv, int64_t ld, StepBatch batch, CacheLayer cache,
                     T* out, int64_t out_ld) {
  extern __shared__ float memory[];
  const int t = blockIdx.y, h = blockIdx.x, D = shape.head_dim;
  float* query = memory;      // [D]
  float* sums = query + D;    // [D]
  float* weights = sums + D;  // [kBlockTokens]
  const int kv_head = h / (shape.num_heads / shape.num_kv_heads);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  for (int d = threadIdx.x; d < D; d += kThreads) {
    query[d] = to_float(qkv[t * ld + int64_t{h} * D + d]);
    sums[d] = 0.0f;
  }
  __syncthreads();
  const int sequence = sequence_of(batch, t), last = batch.positions[t];
  const int64_t key_at = int64_t{kv_head} * D;
  const int64_t value_at = int64_t{shape.num_kv_heads + kv_head} * D;
  float max = -INFINITY, total = 0.0f;
  for (int first = 0; first <= last; first += kBlockTokens) {
    const int valid = min(kBlockTokens, last + 1 - first);
    for (int j = warp; j < valid; j += kWarps) {
      const std::byte* row = cache_row(batch, cache, sequence, first + j);
      float dot = 0.0f;
      for (int d = lane; d < D; d += 32)
        dot = fmaf(query[d], plain_at(row, cache.format, key_at + d), dot);
      for (int offset = 16; offset > 0; offset /= 2)
        dot += __shfl_xor_sync(0xffffffffu, dot, offset);
      if (lane == 0) weights[j] = dot * shape.scale;
    }
    __syncthreads();
    float block_max = max;
    for (int j = 0; j < valid; ++j) block_max = fmaxf(block_max, weights[j]);
    const float rescale = expf(max - block_max);
    max = block_max;
    total *= rescale;
    for (int j = 0; j < valid; ++j) total += expf(weights[j] - max);
    for (int d = threadIdx.x; d < D; d += kThreads) {
      float sum = sums[d] * rescale;
      for (int j = 0; j < valid; ++j) {
        const std::byte* row = cache_row(batch, cache, sequence, first + j);
        sum = fmaf(expf(weights[j] - max), plain_at(row, cache.format, value_at + d), sum);
      }
      sums[d] = sum;
    }
    __syncthreads();
  }
  for (int d = threadIdx.x; d < D; d += kThreads)
    out[t * out_ld + int64_t{h} * D + d] = from_float<T>(sums[d] / total);
}

}  // namespace

void CudaOps::gqa_prepare(const GqaShape& shape, const Matrix& qkv, const RopeTable& rope,
                          const StepBatch& batch, const CacheLayer& cache) {
  const int64_t kv_width = int64_t{shape.num_kv_heads} * shape.head_dim;
  GALLEY_CHECK(qkv.cols == qkv_cols(shape) && qkv.rows == batch.num_tokens,
               "qkv is [T, (N + 2 * kv_heads) * head_dim]");
  GALLEY_CHECK(cache.width == 2 * kv_width && rope.half_dim * 2 == shape.head_dim,
               "cache and rope fit");
  GALLEY_CHECK(cache.format != CacheFormat::kFp8Latent, "only MLA has rows of FP8 latents");
  if (batch.num_tokens == 0) return;
  with_activation(qkv.dtype, [&](auto t) {
    using T = decltype(t);
    check(launch(prepare_kernel<T>,
                 {.grid = dim3(static_cast<unsigned>(batch.num_tokens)), .threads = 256}, stream_,
                 shape, static_cast<T*>(qkv.data), qkv.ld, rope, batch, cache),
          "gqa_prepare");
  });
  launched("gqa_prepare");
}

bool CudaOps::gqa_fast(const GqaShape& shape, const Matrix& qkv, const StepBatch& batch,
                       const CacheLayer& cache, const Matrix& out) {
  const bool takes = precision_ == Precision::kBFloat16 && !batch_invariant_ &&
                     qkv.dtype == DType::kBF16 && cache.format == CacheFormat::kBF16 &&
                     (shape.head_dim == 64 || shape.head_dim == 128) && qkv.ld % 8 == 0 &&
                     out.ld == out.cols && cache.row_bytes % 16 == 0;
  if (!takes) return false;
  scratch_.clear();
  GqaArgs args{.q = static_cast<const bf16*>(qkv.data),
               .q_token_stride = qkv.ld,
               .out = static_cast<bf16*>(out.data),
               .cache = cache,
               .shape = shape,
               .num_sms = num_processors_,
               .workspace = nullptr};
  if (batch.query_len_max > kDecodeQueriesMax) {
    args.workspace = scratch_.take<int32_t>(1);
    check(gqa_prefill(batch, args, stream_), "gqa_prefill");
    return true;
  }
  const GqaDecodeConfig config{.shape = shape,
                               .num_sms = num_processors_,
                               .tokens_max = limits_.tokens_max,
                               .sequences_max = limits_.sequences_max,
                               .context_max = limits_.context_max,
                               .split_tokens = 0};
  args.workspace = plan_memory(gqa_decode_workspace_bytes(config));
  if (args.workspace == nullptr) return false;
  if (planned_upload_ != num_uploads_) {
    check(gqa_decode_plan(config, batch, args.workspace, stream_), "plan of attention");
    planned_upload_ = num_uploads_;
  }
  check(gqa_decode(config, batch, args, stream_), "gqa_decode");
  return true;
}

void CudaOps::gqa_attention(const GqaShape& shape, const Matrix& qkv, const StepBatch& batch,
                            const CacheLayer& cache, const Matrix& out) {
  const int64_t D = shape.head_dim, kv_heads = shape.num_kv_heads;
  GALLEY_CHECK(kv_heads > 0 && shape.num_heads % kv_heads == 0, "kv_heads divide the heads");
  GALLEY_CHECK(qkv.cols == qkv_cols(shape) && out.cols == shape.num_heads * D, "qkv and out fit");
  GALLEY_CHECK(qkv.rows == batch.num_tokens && out.rows == batch.num_tokens,
               "qkv and out have a row for each token of the step");
  GALLEY_CHECK(qkv.dtype == out.dtype, "activations of one type");
  if (batch.num_tokens == 0) return;
  if (gqa_fast(shape, qkv, batch, cache, out)) {
    launched("gqa_attention");
    return;
  }
  const dim3 grid(static_cast<unsigned>(shape.num_heads), static_cast<unsigned>(batch.num_tokens));
  const size_t bytes = static_cast<size_t>(2 * D + kBlockTokens) * sizeof(float);
  with_activation(qkv.dtype, [&](auto t) {
    using T = decltype(t);
    attention_kernel<<<grid, kThreads, bytes, stream_>>>(shape, static_cast<const T*>(qkv.data),
                                                         qkv.ld, batch, cache,
                                                         static_cast<T*>(out.data), out.ld);
  });
  launched("gqa_attention");
}

}  // namespace galley::kernels::cuda

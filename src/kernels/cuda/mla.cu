// Multi-head latent attention. The reference form is one block for each token and head, in f32,
// with online softmax over the context in its order; it serves both forms of ops.h, which are the
// same mathematics.
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/cuda_ops.h"

namespace galley::kernels::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / 32;

template <typename T>
__global__ void __launch_bounds__(256)
    prepare_kernel(MlaShape shape, T* q, int64_t q_ld, const T* kv_a, int64_t kv_ld,
                   const void* norm, DType norm_dtype, float eps, RopeTable rope, StepBatch batch,
                   CacheLayer cache) {
  extern __shared__ float latent[];  // [L + R]
  __shared__ float shared[33];
  const int t = blockIdx.x, L = shape.latent_dim, R = shape.rope_dim;
  const int position = batch.positions[t], half = rope.half_dim;
  const int head_dim = shape.nope_dim + R;
  for (int i = threadIdx.x; i < shape.num_heads * half; i += blockDim.x) {
    T* head = q + t * q_ld + i / half * head_dim + shape.nope_dim;
    T& a = head[first_of_pair(rope, i % half)];
    T& b = head[second_of_pair(rope, i % half)];
    float x = to_float(a), y = to_float(b);
    rotate_pair(rope, position, i % half, x, y);
    a = from_float<T>(x);
    b = from_float<T>(y);
  }
  const T* row = kv_a + t * kv_ld;
  float sum = 0.0f;
  for (int i = threadIdx.x; i < L; i += blockDim.x) {
    latent[i] = to_float(row[i]);
    sum += latent[i] * latent[i];
  }
  sum = block_sum(sum, shared);
  const float factor = 1.0f / sqrtf(sum / static_cast<float>(L) + eps);
  for (int i = threadIdx.x; i < L; i += blockDim.x)
    latent[i] = latent[i] * factor * weight_at(norm, norm_dtype, i);
  for (int i = threadIdx.x; i < half; i += blockDim.x) {
    float x = to_float(row[L + first_of_pair(rope, i)]);
    float y = to_float(row[L + second_of_pair(rope, i)]);
    rotate_pair(rope, position, i, x, y);
    latent[L + first_of_pair(rope, i)] = x;
    latent[L + second_of_pair(rope, i)] = y;
  }
  __syncthreads();
  std::byte* to = cache.data + int64_t{batch.slots[t]} * cache.row_bytes;
  if (cache.format == CacheFormat::kF32) {
    for (int i = threadIdx.x; i < L + R; i += blockDim.x)
      reinterpret_cast<float*>(to)[i] = latent[i];
    return;
  }
  if (cache.format == CacheFormat::kBF16) {
    for (int i = threadIdx.x; i < L + R; i += blockDim.x)
      reinterpret_cast<bf16*>(to)[i] = from_float<bf16>(latent[i]);
    return;
  }
  auto* const bytes = reinterpret_cast<unsigned char*>(to);
  const int groups = (L + 127) / 128;
  for (int g = static_cast<int>(threadIdx.x) / 32; g < groups;
       g += static_cast<int>(blockDim.x) / 32) {
    const int lane = threadIdx.x % 32, end = min(L, g * 128 + 128);
    float largest = 0.0f;
    for (int i = g * 128 + lane; i < end; i += 32) largest = fmaxf(largest, fabsf(latent[i]));
    for (int offset = 16; offset > 0; offset /= 2)
      largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, offset));
    const float scale = largest / 448.0f;
    for (int i = g * 128 + lane; i < end; i += 32) {
      const fp8 code(scale > 0.0f ? latent[i] / scale : 0.0f);
      bytes[i] = code.__x;
    }
    if (lane < 4)
      bytes[L + g * 4 + lane] =
          static_cast<unsigned char>(__float_as_uint(scale) >> (8 * lane) & 0xffu);
  }
  for (int i = threadIdx.x; i < R; i += blockDim.x) {
    const unsigned bits = bf16_bits(latent[L + i]);
    bytes[L + groups * 4 + 2 * i] = static_cast<unsigned char>(bits & 0xffu);
    bytes[L + groups * 4 + 2 * i + 1] = static_cast<unsigned char>(bits >> 8);
  }
}

template <typename W>
__device__ float dequantised(const W* w, const float* scales, int64_t row, int64_t col,
                             int64_t cols) {
  const float value = to_float(w[row * cols + col]);
  if (scales == nullptr) return value;
  return value *
         scales[row / kScaleBlock * ((cols + kScaleBlock - 1) / kScaleBlock) + col / kScaleBlock];
}

template <typename T, typename W>
__global__ void __launch_bounds__(kThreads)
    attention_kernel(MlaShape shape, const T* q, int64_t q_ld, const W* kv_b, const float* scales,
                     StepBatch batch, CacheLayer cache, T* out, int64_t out_ld) {
  extern __shared__ float memory[];
  const int t = blockIdx.y, h = blockIdx.x;
  const int L = shape.latent_dim, width = L + shape.rope_dim;
  float* query = memory;        // [L + R]
  float* sums = query + width;  // [L]
  float* weights = sums + L;    // [kBlockTokens]
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t rows = shape.nope_dim + shape.value_dim;
  const T* head = q + t * q_ld + int64_t{h} * (shape.nope_dim + shape.rope_dim);
  for (int l = threadIdx.x; l < L; l += kThreads) {
    float sum = 0.0f;
    for (int i = 0; i < shape.nope_dim; ++i)
      sum = fmaf(to_float(head[i]), dequantised(kv_b, scales, h * rows + i, l, L), sum);
    query[l] = sum;
    sums[l] = 0.0f;
  }
  for (int i = threadIdx.x; i < shape.rope_dim; i += kThreads)
    query[L + i] = to_float(head[shape.nope_dim + i]);
  __syncthreads();
  const int sequence = sequence_of(batch, t), last = batch.positions[t];
  float max = -INFINITY, total = 0.0f;
  for (int first = 0; first <= last; first += kBlockTokens) {
    const int valid = min(kBlockTokens, last + 1 - first);
    for (int j = warp; j < valid; j += kWarps) {
      const std::byte* row = cache_row(batch, cache, sequence, first + j);
      float dot = 0.0f;
      for (int i = lane; i < width; i += 32)
        dot = fmaf(query[i], latent_at(row, cache.format, L, i), dot);
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
    for (int l = threadIdx.x; l < L; l += kThreads) {
      float sum = sums[l] * rescale;
      for (int j = 0; j < valid; ++j) {
        const std::byte* row = cache_row(batch, cache, sequence, first + j);
        sum = fmaf(expf(weights[j] - max), latent_at(row, cache.format, L, l), sum);
      }
      sums[l] = sum;
    }
    __syncthreads();
  }
  for (int v = warp; v < shape.value_dim; v += kWarps) {
    float sum = 0.0f;
    for (int l = lane; l < L; l += 32)
      sum = fmaf(dequantised(kv_b, scales, h * rows + shape.nope_dim + v, l, L), sums[l], sum);
    for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, offset);
    if (lane == 0) out[t * out_ld + int64_t{h} * shape.value_dim + v] = from_float<T>(sum / total);
  }
}

}  // namespace

void CudaOps::mla_prepare(const MlaShape& shape, const Matrix& q, const Matrix& kv_a,
                          const Weight& norm, float eps, const RopeTable& rope,
                          const StepBatch& batch, const CacheLayer& cache) {
  const int64_t L = shape.latent_dim, R = shape.rope_dim, head_dim = shape.nope_dim + R;
  GALLEY_CHECK(q.cols == shape.num_heads * head_dim && kv_a.cols == L + R, "q and kv_a fit");
  GALLEY_CHECK(q.rows == batch.num_tokens && kv_a.rows == batch.num_tokens, "a row for each token");
  GALLEY_CHECK(cache.width == L + R && rope.half_dim * 2 == R && norm.rows * norm.cols == L,
               "cache, rope and norm fit");
  GALLEY_CHECK(q.dtype == kv_a.dtype, "activations of one type");
  if (batch.num_tokens == 0) return;
  with_activation(q.dtype, [&](auto t) {
    using T = decltype(t);
    prepare_kernel<<<static_cast<unsigned>(batch.num_tokens), 256,
                     static_cast<size_t>(L + R) * sizeof(float), stream_>>>(
        shape, static_cast<T*>(q.data), q.ld, static_cast<const T*>(kv_a.data), kv_a.ld, norm.data,
        norm.dtype, eps, rope, batch, cache);
  });
  launched("mla_prepare");
}

void CudaOps::mla_attention(const MlaShape& shape, MlaForm, const Matrix& q, const Weight& kv_b,
                            const StepBatch& batch, const CacheLayer& cache, const Matrix& out) {
  GALLEY_CHECK(q.cols == shape.num_heads * int64_t{shape.nope_dim + shape.rope_dim} &&
                   out.cols == shape.num_heads * int64_t{shape.value_dim},
               "q is [T, N * (nope + R)], out [T, N * value]");
  GALLEY_CHECK(kv_b.rows == shape.num_heads * int64_t{shape.nope_dim + shape.value_dim} &&
                   kv_b.cols == shape.latent_dim,
               "kv_b is [N * (nope + value), L]");
  GALLEY_CHECK(cache.width == shape.latent_dim + shape.rope_dim, "the cache holds latents");
  GALLEY_CHECK(q.dtype == out.dtype, "activations of one type");
  if (batch.num_tokens == 0) return;
  const dim3 grid(static_cast<unsigned>(shape.num_heads), static_cast<unsigned>(batch.num_tokens));
  const size_t bytes =
      static_cast<size_t>(2 * shape.latent_dim + shape.rope_dim + kBlockTokens) * sizeof(float);
  with_activation(q.dtype, [&](auto t) {
    with_weight(kv_b.dtype, [&](auto w) {
      using T = decltype(t);
      attention_kernel<<<grid, kThreads, bytes, stream_>>>(
          shape, static_cast<const T*>(q.data), q.ld, static_cast<const decltype(w)*>(kv_b.data),
          kv_b.scales, batch, cache, static_cast<T*>(out.data), out.ld);
    });
  });
  launched("mla_attention");
}

}  // namespace galley::kernels::cuda

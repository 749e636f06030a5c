// Multi-head latent attention. The reference form is one block for each token and head, in f32,
// with online softmax over the context in its order; it serves both forms of ops.h, which are the
// same mathematics.
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/hopper.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/mla_decode.h"
#include "kernels/cuda/mla_prefill.h"

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
  hopper::let_next_kernel_start();
  hopper::wait_previous_kernels();
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

// out = the weight's values, rounded to bf16.
template <typename W>
__global__ void to_bf16_kernel(const W* w, const float* scales, int64_t rows, int64_t cols,
                               bf16* out) {
  for (int64_t i = threadIdx.x + int64_t{blockIdx.x} * blockDim.x; i < rows * cols;
       i += int64_t{blockDim.x} * gridDim.x)
    out[i] = from_float<bf16>(dequantised(w, scales, i / cols, i % cols, cols));
}

// The rotated part of each head behind its latent query. One warp is one head of a token.
__global__ void copy_rope_kernel(const bf16* q, int64_t q_ld, int num_heads, int nope, bf16* out) {
  hopper::let_next_kernel_start();
  hopper::wait_previous_kernels();
  const int t = blockIdx.x;
  for (int i = threadIdx.x; i < num_heads * 32; i += blockDim.x) {
    const int h = i / 32, lane = i % 32;
    const auto* from =
        reinterpret_cast<const uint32_t*>(q + t * q_ld + int64_t{h} * (nope + kMlaRope) + nope);
    auto* to =
        reinterpret_cast<uint32_t*>(out + (int64_t{t} * num_heads + h) * kMlaKey + kMlaLatent);
    to[lane] = from[lane];
  }
}

// Row of position 0 of each sequence among the rows that gather_kernel makes. One thread.
__global__ void begins_kernel(StepBatch batch, int32_t* begins) {
  int32_t at = 0;
  for (int s = 0; s < batch.num_sequences; ++s) {
    begins[s] = at;
    at += batch.context_len[s];
  }
}

// Every cached position of the step's sequences: latent [C, L] and rotated key [C, R].
__global__ void gather_kernel(StepBatch batch, CacheLayer cache, const int32_t* begins,
                              bf16* latents, bf16* keys) {
  const int s = blockIdx.y;
  for (int p = blockIdx.x; p < batch.context_len[s]; p += gridDim.x) {
    const std::byte* row = cache_row(batch, cache, s, p);
    const int64_t at = begins[s] + p;
    for (int i = threadIdx.x; i < kMlaKey; i += blockDim.x) {
      const bf16 value = from_float<bf16>(latent_at(row, cache.format, kMlaLatent, i));
      if (i < kMlaLatent) {
        latents[at * kMlaLatent + i] = value;
      } else {
        keys[at * kMlaRope + i - kMlaLatent] = value;
      }
    }
  }
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
    check(launch(prepare_kernel<T>,
                 {.grid = dim3(static_cast<unsigned>(batch.num_tokens)),
                  .threads = 256,
                  .shared_bytes = static_cast<int>((L + R) * int64_t{sizeof(float)})},
                 stream_, shape, static_cast<T*>(q.data), q.ld, static_cast<const T*>(kv_a.data),
                 kv_a.ld, norm.data, norm.dtype, eps, rope, batch, cache),
          "mla_prepare");
  });
  launched("mla_prepare");
}

const void* CudaOps::as_bf16(const Weight& weight) {
  if (weight.dtype == DType::kBF16) return weight.data;
  const void*& copy = bf16_copies_[weight.data];
  if (copy != nullptr) return copy;
  const int64_t count = weight.rows * weight.cols;
  auto* const to = reinterpret_cast<bf16*>(memory_.take(static_cast<size_t>(count) * 2));
  if (to == nullptr) return nullptr;
  with_weight(weight.dtype, [&](auto w) {
    to_bf16_kernel<<<1024, 256, 0, stream_>>>(static_cast<const decltype(w)*>(weight.data),
                                              weight.scales, weight.rows, weight.cols, to);
  });
  launched("bf16 copy");
  copy = to;
  return copy;
}

bool CudaOps::mla_fast(const MlaShape& shape, MlaForm form, const Matrix& q, const Weight& kv_b,
                       const StepBatch& batch, const CacheLayer& cache, const Matrix& out) {
  const bool takes = precision_ == Precision::kBFloat16 && !batch_invariant_ &&
                     q.dtype == DType::kBF16 && shape.latent_dim == kMlaLatent &&
                     shape.rope_dim == kMlaRope && shape.nope_dim == 128 &&
                     shape.value_dim == 128 && cache.format != CacheFormat::kF32 &&
                     q.ld == q.cols && out.ld == out.cols && cache.row_bytes % 16 == 0;
  if (!takes) return false;
  const void* const weight = as_bf16(kv_b);
  if (weight == nullptr) return false;
  scratch_.clear();
  if (form == MlaForm::kExpanded && mla_expanded(shape, q, weight, batch, cache, out)) return true;
  scratch_.clear();
  return mla_absorbed(shape, q, weight, batch, cache, out);
}

// q W_UK by head, attention over the latents, W_UV by head.
bool CudaOps::mla_absorbed(const MlaShape& shape, const Matrix& q, const void* kv_b,
                           const StepBatch& batch, const CacheLayer& cache, const Matrix& out) {
  const int64_t N = shape.num_heads, T = batch.num_tokens;
  const int64_t head_dim = shape.nope_dim + shape.rope_dim;
  const int64_t rows = shape.nope_dim + shape.value_dim;
  if (static_cast<size_t>(T * N * (kMlaKey + kMlaLatent) * 2 + 1024) > scratch_.left())
    return false;
  auto* const queries = scratch_.take<bf16>(T * N * kMlaKey);
  auto* const latents = scratch_.take<bf16>(T * N * kMlaLatent);
  const MlaDecodeConfig config{.num_heads = shape.num_heads,
                               .num_sms = num_processors_,
                               .tokens_max = limits_.tokens_max,
                               .sequences_max = limits_.sequences_max,
                               .context_max = limits_.context_max,
                               .split_tokens = 0};
  void* const plan = plan_memory(mla_decode_workspace_bytes(config));
  if (plan == nullptr) return false;
  const Product in{.x = q.data,
                   .w = kv_b,
                   .out = queries,
                   .tokens = T,
                   .cols = shape.nope_dim,
                   .rows = kMlaLatent,
                   .x_ld = q.ld,
                   .w_ld = kMlaLatent,
                   .out_ld = N * kMlaKey,
                   .w_is_kn = true,
                   .batch = shape.num_heads,
                   .x_stride = head_dim,
                   .w_stride = rows * kMlaLatent,
                   .out_stride = kMlaKey};
  const Product back{.x = latents,
                     .w = static_cast<const bf16*>(kv_b) + shape.nope_dim * kMlaLatent,
                     .out = out.data,
                     .tokens = T,
                     .cols = kMlaLatent,
                     .rows = shape.value_dim,
                     .x_ld = N * kMlaLatent,
                     .w_ld = kMlaLatent,
                     .out_ld = out.ld,
                     .batch = shape.num_heads,
                     .x_stride = kMlaLatent,
                     .w_stride = rows * kMlaLatent,
                     .out_stride = shape.value_dim};
  if (!CublasLt::takes(in) || !CublasLt::takes(back) || !cublas_.multiply(in, stream_))
    return false;
  check(launch(copy_rope_kernel, {.grid = dim3(static_cast<unsigned>(T)), .threads = 256}, stream_,
               static_cast<const bf16*>(q.data), q.ld, shape.num_heads, shape.nope_dim, queries),
        "mla_attention");
  if (planned_upload_ != num_uploads_) {
    check(mla_decode_plan(config, batch, plan, stream_), "plan of attention");
    planned_upload_ = num_uploads_;
  }
  check(mla_decode(
            config, batch,
            {.q = queries, .out = latents, .cache = cache, .scale = shape.scale, .workspace = plan},
            stream_),
        "mla_decode");
  return cublas_.multiply(back, stream_);
}

// Keys and values of every position of the context, then plain attention over them.
bool CudaOps::mla_expanded(const MlaShape& shape, const Matrix& q, const void* kv_b,
                           const StepBatch& batch, const CacheLayer& cache, const Matrix& out) {
  const int64_t N = shape.num_heads, rows = shape.nope_dim + shape.value_dim;
  // The lengths are on the device: the longest stands for all.
  const int64_t C = int64_t{batch.num_sequences} * batch.context_len_max;
  const int64_t bytes = C * (kMlaKey + N * rows) * 2 + 4 * batch.num_sequences + 4096;
  if (static_cast<size_t>(bytes) > scratch_.left()) return false;
  auto* const begins = scratch_.take<int32_t>(batch.num_sequences);
  auto* const counter = scratch_.take<int32_t>(1);
  auto* const latents = scratch_.take<bf16>(C * kMlaLatent);
  auto* const keys = scratch_.take<bf16>(C * kMlaRope);
  auto* const heads = scratch_.take<bf16>(C * N * rows);
  begins_kernel<<<1, 1, 0, stream_>>>(batch, begins);
  const dim3 grid(static_cast<unsigned>(batch.context_len_max),
                  static_cast<unsigned>(batch.num_sequences));
  gather_kernel<<<grid, 192, 0, stream_>>>(batch, cache, begins, latents, keys);
  const Product expand{.x = latents,
                       .w = kv_b,
                       .out = heads,
                       .tokens = C,
                       .cols = kMlaLatent,
                       .rows = N * rows,
                       .x_ld = kMlaLatent,
                       .w_ld = kMlaLatent,
                       .out_ld = N * rows};
  if (!CublasLt::takes(expand) || !cublas_.multiply(expand, stream_)) return false;
  check(mla_prefill(batch,
                    {.q = static_cast<const bf16*>(q.data),
                     .k_nope = {heads, N * rows, rows},
                     .v = {heads + shape.nope_dim, N * rows, rows},
                     .k_rope = keys,
                     .k_rope_stride = kMlaRope,
                     .num_rows = C,
                     .kv_begin = begins,
                     .out = static_cast<bf16*>(out.data),
                     .scale = shape.scale,
                     .num_heads = shape.num_heads,
                     .num_sms = num_processors_,
                     .workspace = counter},
                    stream_),
        "mla_prefill");
  return true;
}

void CudaOps::mla_attention(const MlaShape& shape, MlaForm form, const Matrix& q,
                            const Weight& kv_b, const StepBatch& batch, const CacheLayer& cache,
                            const Matrix& out) {
  GALLEY_CHECK(q.cols == shape.num_heads * int64_t{shape.nope_dim + shape.rope_dim} &&
                   out.cols == shape.num_heads * int64_t{shape.value_dim},
               "q is [T, N * (nope + R)], out [T, N * value]");
  GALLEY_CHECK(kv_b.rows == shape.num_heads * int64_t{shape.nope_dim + shape.value_dim} &&
                   kv_b.cols == shape.latent_dim,
               "kv_b is [N * (nope + value), L]");
  GALLEY_CHECK(cache.width == shape.latent_dim + shape.rope_dim, "the cache holds latents");
  GALLEY_CHECK(q.dtype == out.dtype, "activations of one type");
  if (batch.num_tokens == 0) return;
  if (mla_fast(shape, form, q, kv_b, batch, cache, out)) {
    launched("mla_attention");
    return;
  }
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

// Grouped-query attention of few queries: memory bound, so the plan is about bytes in flight.
//
// Plan    Four warps share a piece; of every cache block of 64 tokens each warp has 16, which it
//         fetches for itself, three blocks ahead, and multiplies (m16n8k16) under its own running
//         maximum: warps never wait for each other until the piece ends, when their four results
//         join in shared memory. Two blocks of threads share a multiprocessor.
#include <algorithm>

#include "base/check.h"
#include "kernels/cuda/attention_plan.h"
#include "kernels/cuda/attention_tiles.cuh"
#include "kernels/cuda/gqa.h"
#include "kernels/cuda/hopper.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/tensor_map.h"

namespace galley::kernels::cuda {
namespace {

constexpr int kRows = 16;  // query rows of a unit
constexpr int kWarps = 4;
constexpr int kKeys = kBlockTokens / kWarps;  // of a block, for each warp
constexpr int kStages = 3;
constexpr int kBlocksPerSm = 2;
constexpr int kChunk = kKeys * 128;  // bytes: 16 rows of 64 bf16

struct KernelArgs {
  const __nv_bfloat16* q;
  int64_t q_token_stride;
  __nv_bfloat16* out;
  const int32_t* block_table;
  int32_t block_table_ld;
  int32_t num_heads;
  int32_t num_kv_heads;
  const int32_t* partition_begin;
  const AttentionPiece* pieces;
  float* lse;
  float* partial;
  int32_t slots_max;
  float scale_log2;
};

// Shared memory: stages of every warp; at the end of a piece the warps' results lie there.
template <int kDim>
struct Layout {
  static constexpr int kChunks = kDim / 64;
  static constexpr int kStage = 2 * kChunks * kChunk;  // keys, then values
  static constexpr int kWarp = kStages * kStage;
  static constexpr int kResults = kWarps * kRows * (kDim + 2) * static_cast<int>(sizeof(float));
  static constexpr int kBarriers = kWarps * kWarp > kResults ? kWarps* kWarp
                                                             : (kResults + 7) / 8 * 8;
  static constexpr int kBytes = kBarriers + kWarps * kStages * 8;
};

template <int kDim>
__global__ __launch_bounds__(kWarps * 32, kBlocksPerSm) void gqa_decode_kernel(
    const __grid_constant__ CUtensorMap k_map, const __grid_constant__ CUtensorMap v_map,
    const __grid_constant__ KernelArgs args) {
  using L = Layout<kDim>;
  constexpr int kSteps = kDim / 16;  // of the score's sum
  constexpr int kTiles = kDim / 8;   // of the output, 8 values wide
  extern __shared__ __align__(1024) std::byte shared[];
  const uint32_t smem = hopper::shared_address(shared);
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int kv_head = static_cast<int>(blockIdx.y);
  const int group = args.num_heads / args.num_kv_heads;
  const uint32_t stages = smem + static_cast<uint32_t>(warp * L::kWarp);
  const uint32_t barriers = smem + L::kBarriers + static_cast<uint32_t>(warp * kStages * 8);
  if (threadIdx.x == 0) {
    if (smem % 1024 != 0) __trap();  // the swizzle would not match
    for (int i = 0; i < kWarps * kStages; ++i) hopper::barrier_init(smem + L::kBarriers + i * 8, 1);
    hopper::barrier_init_fence();
  }
  __syncthreads();
  hopper::let_next_kernel_start();
  hopper::wait_previous_kernels();

  uint32_t loaded = 0, used = 0;  // blocks, since the start: stage and phase of each
  const int piece_end = args.partition_begin[blockIdx.x + 1];
  for (int index = args.partition_begin[blockIdx.x]; index < piece_end; ++index) {
    const AttentionPiece piece = args.pieces[index];
    const int32_t* table = args.block_table + int64_t{piece.sequence} * args.block_table_ld;
    const int num_rows = piece.query_len * group;
    // Blocks with a key for this warp.
    int block_end = piece.block_end;
    if (piece.context_len - (block_end - 1) * kBlockTokens <= warp * kKeys) --block_end;

    const auto load = [&](int block) {
      const uint32_t stage = loaded % kStages;
      ++loaded;
      if (lane != 0) return;
      const uint32_t barrier = barriers + stage * 8, to = stages + stage * L::kStage;
      const int row = table[block] * kBlockTokens + warp * kKeys;
      hopper::barrier_expect(barrier, L::kStage);
      for (int c = 0; c < L::kChunks; ++c) {
        hopper::copy_box_3d(to + c * kChunk, &k_map, barrier, 0, row, kv_head * L::kChunks + c);
        hopper::copy_box_3d(to + (L::kChunks + c) * kChunk, &v_map, barrier, 0, row,
                            kv_head * L::kChunks + c);
      }
    };
    int next = piece.block_begin;
    for (int i = 0; i < kStages && next < block_end; ++i) load(next++);

    // --- queries ------------------------------------------------------------------------------
    uint32_t q[kSteps][4];
    int visible[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = piece.row + lane / 4 + 8 * half;
      const int clamped = min(row, num_rows - 1);
      const int token = clamped / group;
      visible[half] = piece.context_len - piece.query_len + token + 1;
      const __nv_bfloat16* from = args.q + (piece.first_token + token) * args.q_token_stride +
                                  (kv_head * group + clamped % group) * kDim + lane % 4 * 2;
#pragma unroll
      for (int step = 0; step < kSteps; ++step) {
        q[step][half] = *reinterpret_cast<const uint32_t*>(from + step * 16);
        q[step][half + 2] = *reinterpret_cast<const uint32_t*>(from + step * 16 + 8);
      }
    }

    // --- blocks -------------------------------------------------------------------------------
    float o[kTiles][4];
#pragma unroll
    for (int i = 0; i < kTiles; ++i) o[i][0] = o[i][1] = o[i][2] = o[i][3] = 0.0f;
    float max[2] = {-INFINITY, -INFINITY}, sum[2] = {0.0f, 0.0f};
    for (int block = piece.block_begin; block < block_end; ++block) {
      const uint32_t stage = used % kStages;
      hopper::barrier_wait(barriers + stage * 8, used / kStages % 2);
      ++used;
      const uint32_t k = stages + stage * L::kStage, v = k + L::kChunks * kChunk;
      const int first = block * kBlockTokens + warp * kKeys;
      const int held = piece.context_len - first;
      if (held < kKeys) {
        // Values past the context belong to nobody: a weight of zero would keep a NaN.
        for (int i = lane; i < (kKeys - held) * L::kChunks * 8; i += 32) {
          const int row = held + i / (L::kChunks * 8);
          hopper::store_shared(v + i / 8 % L::kChunks * kChunk + row * 128 + i % 8 * 16, 0, 0, 0,
                               0);
        }
        hopper::fence_async_shared();
        __syncwarp();
      }

      float s[2][4] = {};
#pragma unroll
      for (int step = 0; step < kSteps; ++step) {
        // Matrices: keys 0..7 and 8..15 by the two halves of 16 dimensions.
        const int row = lane / 16 * 8 + lane % 8, piece16 = step % 4 * 2 + lane / 8 % 2;
        uint32_t b[4];
        hopper::load_matrices(b, k + step / 4 * kChunk + row * 128 + ((piece16 ^ (row % 8)) << 4));
        hopper::mma_m16n8k16(s[0], q[step], b[0], b[1]);
        hopper::mma_m16n8k16(s[1], q[step], b[2], b[3]);
      }
      uint32_t p[4];
      float factor[2];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float top = -INFINITY;
#pragma unroll
        for (int i = 0; i < 2; ++i) {
#pragma unroll
          for (int j = 0; j < 2; ++j) {
            float& score = s[i][2 * half + j];
            if (first + 8 * i + lane % 4 * 2 + j >= visible[half]) score = -INFINITY;
            top = fmaxf(top, score);
          }
        }
        top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 1));
        top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 2));
        const float before = max[half];
        max[half] = fmaxf(before, top * args.scale_log2);
        const float base = max[half] == -INFINITY ? 0.0f : max[half];
        factor[half] = hopper::exp2_approx(before - base);
        float total = 0.0f;
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const float a = hopper::exp2_approx(fmaf(s[i][2 * half], args.scale_log2, -base));
          const float b = hopper::exp2_approx(fmaf(s[i][2 * half + 1], args.scale_log2, -base));
          total += a + b;
          p[half + 2 * i] = hopper::pack_bf16(a, b);
        }
        sum[half] = sum[half] * factor[half] + total;
      }
      if (!__all_sync(0xffffffffu, factor[0] == 1.0f && factor[1] == 1.0f)) {
#pragma unroll
        for (int i = 0; i < kTiles; ++i) {
          o[i][0] *= factor[0];
          o[i][1] *= factor[0];
          o[i][2] *= factor[1];
          o[i][3] *= factor[1];
        }
      }
#pragma unroll
      for (int i = 0; i < kTiles; i += 2) {
        // Matrices: keys 0..7 and 8..15 of values 8 i .., then of the next 8.
        const int row = lane % 16, piece16 = i % 8 + lane / 16;
        uint32_t b[4];
        hopper::load_matrices_transposed(
            b, v + i / 8 * kChunk + row * 128 + ((piece16 ^ (row % 8)) << 4));
        hopper::mma_m16n8k16(o[i], p, b[0], b[1]);
        hopper::mma_m16n8k16(o[i + 1], p, b[2], b[3]);
      }
      __syncwarp();
      if (next < block_end) load(next++);
    }

    // --- the four warps' results --------------------------------------------------------------
    float* const results = reinterpret_cast<float*>(shared);  // [warp, row, dim]
    float* const maxima = results + kWarps * kRows * kDim;    // [warp, row]
    float* const sums = maxima + kWarps * kRows;              // [warp, row]
    __syncthreads();
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      sum[half] += __shfl_xor_sync(0xffffffffu, sum[half], 1);
      sum[half] += __shfl_xor_sync(0xffffffffu, sum[half], 2);
      const int row = warp * kRows + lane / 4 + 8 * half;
      if (lane % 4 == 0) {
        maxima[row] = max[half];
        sums[row] = sum[half];
      }
#pragma unroll
      for (int i = 0; i < kTiles; ++i) {
        *reinterpret_cast<float2*>(results + row * kDim + 8 * i + lane % 4 * 2) =
            make_float2(o[i][2 * half], o[i][2 * half + 1]);
      }
    }
    __syncthreads();
    constexpr int kThreadsPerRow = kWarps * 32 / kRows;  // 8
    const int in_unit = static_cast<int>(threadIdx.x) / kThreadsPerRow;
    const int column0 = static_cast<int>(threadIdx.x) % kThreadsPerRow * 4;
    const int row = piece.row + in_unit;
    if (row < num_rows) {
      float top = -INFINITY, total = 0.0f, weight[kWarps];
      for (int w = 0; w < kWarps; ++w) top = fmaxf(top, maxima[w * kRows + in_unit]);
      const float base = top == -INFINITY ? 0.0f : top;
#pragma unroll
      for (int w = 0; w < kWarps; ++w) {
        weight[w] = hopper::exp2_approx(maxima[w * kRows + in_unit] - base);
        total += weight[w] * sums[w * kRows + in_unit];
      }
      const float inverse = total > 0.0f ? 1.0f / total : 0.0f;
      const int64_t slot_row = (int64_t{kv_head} * args.slots_max + piece.slot) * kRows + in_unit;
      __nv_bfloat16* const out =
          args.out + (int64_t{piece.first_token + row / group} * args.num_heads + kv_head * group +
                      row % group) *
                         kDim;
#pragma unroll
      for (int column = column0; column < kDim; column += kThreadsPerRow * 4) {
        float4 value = {};
#pragma unroll
        for (int w = 0; w < kWarps; ++w) {
          const float4 part =
              *reinterpret_cast<const float4*>(results + (w * kRows + in_unit) * kDim + column);
          value.x += weight[w] * part.x;
          value.y += weight[w] * part.y;
          value.z += weight[w] * part.z;
          value.w += weight[w] * part.w;
        }
        value = {value.x * inverse, value.y * inverse, value.z * inverse, value.w * inverse};
        if (piece.slot < 0) {
          *reinterpret_cast<uint2*>(out + column) =
              make_uint2(hopper::pack_bf16(value.x, value.y), hopper::pack_bf16(value.z, value.w));
        } else {
          *reinterpret_cast<float4*>(args.partial + slot_row * kDim + column) = value;
        }
      }
      if (piece.slot >= 0 && column0 == 0)
        args.lse[slot_row] = total > 0.0f ? top + log2f(total) : -INFINITY;
    }
    hopper::fence_async_shared();  // copies write there next
    __syncthreads();
  }
}

AttentionPlanConfig plan_config(const GqaDecodeConfig& config) {
  const GqaShape& shape = config.shape;
  GALLEY_CHECK(shape.head_dim == 64 || shape.head_dim == 128, "head_dim is 64 or 128");
  GALLEY_CHECK(shape.num_kv_heads > 0 && shape.num_heads % shape.num_kv_heads == 0,
               "kv_heads divide the heads");
  GALLEY_CHECK(config.split_tokens >= 0 && config.split_tokens % kBlockTokens == 0,
               "splits are whole cache blocks");
  const int32_t blocks = config.num_sms * kBlocksPerSm;
  return {.rows_per_token = shape.num_heads / shape.num_kv_heads,
          .rows_per_unit = kRows,
          .num_partitions = std::clamp(blocks / shape.num_kv_heads, 1, kPartitionsMax),
          .width = shape.head_dim,
          .copies = shape.num_kv_heads,
          .tokens_max = config.tokens_max,
          .sequences_max = config.sequences_max,
          .context_max = config.context_max,
          .split_blocks = config.split_tokens / kBlockTokens};
}

template <int kDim>
cudaError_t launch_decode(const AttentionPlanConfig& plan, const CUtensorMap& k_map,
                          const CUtensorMap& v_map, const KernelArgs& args, cudaStream_t stream) {
  return cuda::launch(
      gqa_decode_kernel<kDim>,
      {.grid = dim3(static_cast<unsigned>(plan.num_partitions), static_cast<unsigned>(plan.copies)),
       .threads = kWarps * 32,
       .shared_bytes = Layout<kDim>::kBytes},
      stream, k_map, v_map, args);
}

}  // namespace

size_t gqa_decode_workspace_bytes(const GqaDecodeConfig& config) {
  return attention_plan_layout(plan_config(config), nullptr).bytes;
}

cudaError_t gqa_decode_plan(const GqaDecodeConfig& config, const StepBatch& batch, void* workspace,
                            cudaStream_t stream) {
  if (batch.num_tokens == 0) return cudaSuccess;
  const AttentionPlanConfig plan = plan_config(config);
  return attention_plan(plan, batch, attention_plan_layout(plan, workspace), stream);
}

cudaError_t gqa_decode(const GqaDecodeConfig& config, const StepBatch& batch, const GqaArgs& args,
                       cudaStream_t stream) {
  if (batch.num_tokens == 0) return cudaSuccess;
  const GqaShape& shape = config.shape;
  const CacheLayer& cache = args.cache;
  GALLEY_CHECK(
      cache.format == CacheFormat::kBF16 && cache.width == 2 * shape.num_kv_heads * shape.head_dim,
      "the cache holds bf16 keys and values");
  GALLEY_CHECK(shape.scale > 0.0f, "maxima of scores are maxima of scaled scores");
  const AttentionPlanConfig plan_of = plan_config(config);
  const AttentionPlan plan = attention_plan_layout(plan_of, args.workspace);
  const int64_t chunks = shape.head_dim / 64;
  const BoxLayout rows = {.rows = int64_t{cache.num_blocks} * kBlockTokens,
                          .row_stride = cache.row_bytes,
                          .planes = shape.num_kv_heads * chunks,
                          .plane_stride = 128,
                          .box_rows = kKeys};
  const CUtensorMap k_map = make_box_map(cache.data, rows);
  const CUtensorMap v_map = make_box_map(cache.data + shape.num_kv_heads * chunks * 128, rows);
  const KernelArgs kernel_args = {.q = args.q,
                                  .q_token_stride = args.q_token_stride,
                                  .out = args.out,
                                  .block_table = batch.block_table,
                                  .block_table_ld = batch.block_table_ld,
                                  .num_heads = shape.num_heads,
                                  .num_kv_heads = shape.num_kv_heads,
                                  .partition_begin = plan.partition_begin,
                                  .pieces = plan.pieces,
                                  .lse = plan.lse,
                                  .partial = plan.partial,
                                  .slots_max = plan.slots_max,
                                  .scale_log2 = shape.scale * 1.4426950408889634f};
  const cudaError_t error = shape.head_dim == 64
                                ? launch_decode<64>(plan_of, k_map, v_map, kernel_args, stream)
                                : launch_decode<128>(plan_of, k_map, v_map, kernel_args, stream);
  if (error != cudaSuccess) return error;
  const int64_t group = shape.num_heads / shape.num_kv_heads;
  const AttentionOutput out = {.data = args.out,
                               .token_stride = int64_t{shape.num_heads} * shape.head_dim,
                               .row_stride = shape.head_dim,
                               .copy_stride = group * shape.head_dim};
  return attention_combine(plan_of, batch, plan, out, stream);
}

}  // namespace galley::kernels::cuda

// The kernel of absorbed MLA; mla_decode.h has the plan in words.
//
// One block of threads: warpgroups 0 and 1 compute, warpgroup 2 fills shared memory. In time order,
// for each pair of cache blocks (token rows 0 and 1 below), S = scores, P = probabilities, O =
// output (left half: values 0..255, in warpgroup 0; right half in warpgroup 1):
//
//   warpgroup 0                            warpgroup 1
//   S0 = Q K0                              S1 = Q K1
//   P0 = softmax(S0), shared     --P0-->   right += P0 V0
//   left += P0 V0                          P1 = softmax(S1), shared
//   left += P1 V1                <--P1--   right += P1 V1
//
// so tensor cores have one warpgroup's product to work on while the other computes exponentials.
// Warpgroup 0 gives back the left half of a buffer, warpgroup 1 the right half, and the next block
// flows in half by half. P needs no space of its own: it lies on the rotary part of its own cache
// block, which nothing reads after S.
#include <algorithm>

#include "base/check.h"
#include "kernels/cuda/attention_plan.h"
#include "kernels/cuda/attention_tiles.cuh"
#include "kernels/cuda/mla_decode.h"
#include "kernels/cuda/mla_decode_compute.cuh"
#include "kernels/cuda/mla_decode_fill.cuh"
#include "kernels/cuda/tensor_map.h"

namespace galley::kernels::cuda {
namespace {

using namespace mla;

template <bool kFp8, int kCluster>
__global__ __launch_bounds__(kThreads, 1) void mla_decode_kernel(
    const __grid_constant__ CUtensorMap q_map, const __grid_constant__ CUtensorMap cache_map,
    const __grid_constant__ KernelArgs args) {
  extern __shared__ __align__(1024) std::byte shared[];
  const uint32_t smem = hopper::shared_address(shared);
  Stats& stats = *reinterpret_cast<Stats*>(shared + Shared::kStats);
  const Barriers barriers = {smem + Shared::kBarriers};
  // 2 * compute + fill <= 3 * 168, what the block starts with; more would wait for ever. Expanding
  // FP8 rows takes more registers than starting copies.
  constexpr int kFillRegisters = kFp8 ? 88 : 40, kComputeRegisters = kFp8 ? 208 : 232;
  const int group = static_cast<int>(threadIdx.x) / 128;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int partition = static_cast<int>(blockIdx.x) / kCluster;
  const int rank = static_cast<int>(blockIdx.x) % kCluster;

  if (threadIdx.x == 0) {
    if (smem % 1024 != 0) __trap();  // the swizzle would not match
    hopper::barrier_init(barriers.q_full(), 1);
    hopper::barrier_init(barriers.q_empty(), 8);
    for (int buffer = 0; buffer < 2; ++buffer) {
      for (int side = 0; side < 2; ++side) {
        hopper::barrier_init(barriers.full(buffer, side), kFp8 ? 128 : 1);
        hopper::barrier_init(barriers.empty(buffer, side), 4 * kCluster);
      }
    }
    hopper::barrier_init_fence();
    hopper::prefetch_map(&q_map);
    hopper::prefetch_map(&cache_map);
  }
  if constexpr (kCluster > 1) {
    hopper::cluster_sync();
  } else {
    __syncthreads();
  }

  // A warp of a computing warpgroup has read its half of a buffer.
  const auto release = [&](int buffer, int side) {
    if constexpr (kCluster > 1) {
      if (lane < kCluster)
        hopper::barrier_arrive_in(barriers.empty(buffer, side), static_cast<uint32_t>(lane));
    } else {
      if (lane == 0) hopper::barrier_arrive(barriers.empty(buffer, side));
    }
  };
  const auto release_q = [&] {
    if (lane == 0) hopper::barrier_arrive(barriers.q_empty());
  };
  const uint32_t k0 = smem + Shared::kK, k1 = k0 + kTile;
  const uint32_t p0 = k0 + kRopeChunk * kChunk;
  const uint32_t p1 = k1 + kRopeChunk * kChunk;
  const int in_tile = thread_in_group() / 32 * 16 + lane / 4;
  const auto read_pair = [&](const float(&values)[kTileRows]) {
    return RowPair{values[in_tile], values[in_tile + 8]};
  };
  const auto write_pair = [&](float(&values)[kTileRows], RowPair pair) {
    values[in_tile] = pair.low;
    values[in_tile + 8] = pair.high;
  };
  // Of a block of the context whose end some row does not see.
  const auto mask_block = [&](float(&s)[32], const Place& place, int block) {
    const int begin = block * kBlockTokens;
    if (begin + kBlockTokens > place.visible_min)
      mask(s, place.visible[0] - begin, place.visible[1] - begin);
  };

  const int piece_begin = args.partition_begin[partition];
  const int piece_end = args.partition_begin[partition + 1];
  if (group == 2) {
    hopper::keep_registers<kFillRegisters>();
    if constexpr (kFp8) {
      fill_fp8<kCluster>(args, q_map, cache_map, smem, barriers, partition, rank);
    } else {
      if (thread_in_group() < 32)
        fill_bf16<kCluster>(args, q_map, cache_map, smem, barriers, partition, rank);
    }
  } else if (group == 0) {
    hopper::take_registers<kComputeRegisters>();
    const uint32_t v0 = k0;
    const uint32_t v1 = k1;
    uint32_t q_phase = 0, phase0 = 0, phase1 = 0;
    for (int index = piece_begin; index < piece_end; ++index) {
      const AttentionPiece piece = args.pieces[index];
      const Place place = place_of(piece, args.num_heads, rank);
      const int num_blocks = piece.block_end - piece.block_begin;
      float o[128];
#pragma unroll
      for (int i = 0; i < 128; ++i) o[i] = 0.0f;
      RowPair max = {-INFINITY, -INFINITY}, sum = {0.0f, 0.0f}, factor;
      hopper::barrier_wait(barriers.q_full(), q_phase);
      q_phase ^= 1;
      float s[32];
      issue_scores<kFp8, 0, true>(s, smem, barriers, phase0);
      issue_scores<kFp8, 0, false>(s, smem, barriers, phase0);
      phase0 ^= 1;
      hopper::wgmma_wait<0>();
      for (int i = 0; i < num_blocks; i += 2) {
        const bool two = i + 1 < num_blocks;
        const int block = piece.block_begin + i;
        if (i + 2 >= num_blocks) release_q();

        // P0, for both.
        const int held = piece.context_len - block * kBlockTokens;
        if (held < kBlockTokens) {
          zero_rows(k0, held);
          hopper::named_barrier(kZeroed0, 128);
        }
        mask_block(s, place, block);
        uint32_t p[4][4];
        softmax(s, args.scale_log2, max, max, factor, sum, p);
        if (lane % 4 == 0) {
          write_pair(stats.max[0], max);
          write_pair(stats.factor[0], factor);
        }
        share(p, p0);
        hopper::fence_async_shared();
        hopper::named_barrier_arrive(kProbabilities0, 256);

        rescale(o, factor.low, factor.high);
        issue_values(o, p, v0);
        if (!two) {
          hopper::wgmma_wait<0>();
          release(0, 0);
          break;
        }

        // P1, from warpgroup 1.
        hopper::wgmma_wait<0>();
        release(0, 0);
        hopper::named_barrier(kProbabilities1, 256);
        max = read_pair(stats.max[1]);
        factor = read_pair(stats.factor[1]);
        hopper::barrier_wait(barriers.full(1, 0), phase1);
        phase1 ^= 1;
        sum.low *= factor.low;
        sum.high *= factor.high;
        rescale(o, factor.low, factor.high);
        issue_values(o, p1, v1);
        if (i + 2 < num_blocks) {
          issue_scores<kFp8, 0, true>(s, smem, barriers, phase0);
          hopper::wgmma_wait<1>();
          release(1, 0);
          issue_scores<kFp8, 0, false>(s, smem, barriers, phase0);
          phase0 ^= 1;
          hopper::wgmma_wait<0>();
        } else {
          hopper::wgmma_wait<0>();
          release(1, 0);
        }
      }
      finish<0>(args, piece, place, kTileRows * kCluster, rank, o, max, sum,
                stats.sum[(index - piece_begin) % 2]);
    }
  } else {
    hopper::take_registers<kComputeRegisters>();
    const uint32_t v0 = k0 + kSideChunks * kChunk;
    const uint32_t v1 = k1 + kSideChunks * kChunk;
    uint32_t q_phase = 0, phase0 = 0, phase1 = 0;
    for (int index = piece_begin; index < piece_end; ++index) {
      const AttentionPiece piece = args.pieces[index];
      const Place place = place_of(piece, args.num_heads, rank);
      const int num_blocks = piece.block_end - piece.block_begin;
      float o[128];
#pragma unroll
      for (int i = 0; i < 128; ++i) o[i] = 0.0f;
      RowPair max = {-INFINITY, -INFINITY}, sum = {0.0f, 0.0f}, factor;
      hopper::barrier_wait(barriers.q_full(), q_phase);
      q_phase ^= 1;
      float s[32];
      if (num_blocks > 1) {
        issue_scores<kFp8, 1, true>(s, smem, barriers, phase1);
        issue_scores<kFp8, 1, false>(s, smem, barriers, phase1);
        phase1 ^= 1;
        hopper::wgmma_wait<0>();
      }
      for (int i = 0; i < num_blocks; i += 2) {
        const bool two = i + 1 < num_blocks;
        const int block = piece.block_begin + i + 1;
        if (i + 3 >= num_blocks && i + 1 < num_blocks) release_q();
        if (num_blocks == 1) release_q();

        // P0, from warpgroup 0.
        hopper::named_barrier(kProbabilities0, 256);
        max = read_pair(stats.max[0]);
        factor = read_pair(stats.factor[0]);
        hopper::barrier_wait(barriers.full(0, 1), phase0);
        phase0 ^= 1;
        sum.low *= factor.low;
        sum.high *= factor.high;
        rescale(o, factor.low, factor.high);
        issue_values(o, p0, v0);
        if (!two) {
          hopper::wgmma_wait<0>();
          release(0, 1);
          break;
        }

        // P1, for both, while P0's product runs.
        const int held = piece.context_len - block * kBlockTokens;
        if (held < kBlockTokens) {
          zero_rows(k1, held);
          hopper::named_barrier(kZeroed1, 128);
        }
        mask_block(s, place, block);
        uint32_t p[4][4];
        softmax(s, args.scale_log2, max, max, factor, sum, p);
        if (lane % 4 == 0) {
          write_pair(stats.max[1], max);
          write_pair(stats.factor[1], factor);
        }
        share(p, p1);
        hopper::fence_async_shared();
        hopper::named_barrier_arrive(kProbabilities1, 256);

        hopper::wgmma_wait<0>();
        release(0, 1);
        rescale(o, factor.low, factor.high);
        issue_values(o, p, v1);
        hopper::wgmma_wait<0>();
        release(1, 1);  // the next scores of this warpgroup need the space
        if (i + 3 < num_blocks) {
          issue_scores<kFp8, 1, true>(s, smem, barriers, phase1);
          issue_scores<kFp8, 1, false>(s, smem, barriers, phase1);
          phase1 ^= 1;
          hopper::wgmma_wait<0>();
        }
      }
      finish<1>(args, piece, place, kTileRows * kCluster, rank, o, max, sum,
                stats.sum[(index - piece_begin) % 2]);
    }
  }
  // A block must not end while others of its cluster may still write to it.
  if constexpr (kCluster > 1) {
    __syncwarp();
    hopper::cluster_sync();
  }
}

// --- launching ----------------------------------------------------------------------------------

// One tile per sequence needs no cluster.
int cluster_of(const MlaDecodeConfig& config, const StepBatch& batch) {
  return int64_t{batch.query_len_max} * config.num_heads > kTileRows ? 2 : 1;
}

AttentionPlanConfig plan_config(const MlaDecodeConfig& config, int cluster) {
  GALLEY_CHECK(config.split_tokens >= 0 && config.split_tokens % kBlockTokens == 0,
               "splits are whole cache blocks");
  return {.rows_per_token = config.num_heads,
          .rows_per_unit = kTileRows * cluster,
          .num_partitions = config.num_sms / cluster,
          .width = kMlaLatent,
          .copies = 1,
          .tokens_max = config.tokens_max,
          .sequences_max = config.sequences_max,
          .context_max = config.context_max,
          .split_blocks = config.split_tokens / kBlockTokens};
}

template <bool kFp8, int kCluster>
cudaError_t launch(const MlaDecodeConfig& config, const CUtensorMap& q_map,
                   const CUtensorMap& cache_map, const KernelArgs& args, cudaStream_t stream) {
  const auto kernel = mla_decode_kernel<kFp8, kCluster>;
  const cudaError_t error =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Shared::kBytes);
  if (error != cudaSuccess) return error;
  cudaLaunchConfig_t launch_config = {};
  launch_config.gridDim = dim3(static_cast<unsigned>(config.num_sms / kCluster * kCluster));
  launch_config.blockDim = dim3(kThreads);
  launch_config.dynamicSmemBytes = Shared::kBytes;
  launch_config.stream = stream;
  cudaLaunchAttribute cluster = {};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim = {kCluster, 1, 1};
  if (kCluster > 1) {
    launch_config.attrs = &cluster;
    launch_config.numAttrs = 1;
  }
  return cudaLaunchKernelEx(&launch_config, kernel, q_map, cache_map, args);
}

}  // namespace

size_t mla_decode_workspace_bytes(const MlaDecodeConfig& config) {
  return std::max(attention_plan_layout(plan_config(config, 1), nullptr).bytes,
                  attention_plan_layout(plan_config(config, 2), nullptr).bytes);
}

cudaError_t mla_decode_plan(const MlaDecodeConfig& config, const StepBatch& batch, void* workspace,
                            cudaStream_t stream) {
  if (batch.num_tokens == 0) return cudaSuccess;
  const AttentionPlanConfig plan = plan_config(config, cluster_of(config, batch));
  return attention_plan(plan, batch, attention_plan_layout(plan, workspace), stream);
}

cudaError_t mla_decode(const MlaDecodeConfig& config, const StepBatch& batch,
                       const MlaDecodeArgs& args, cudaStream_t stream) {
  if (batch.num_tokens == 0) return cudaSuccess;
  const CacheLayer& cache = args.cache;
  const bool fp8 = cache.format == CacheFormat::kFp8Latent;
  GALLEY_CHECK(fp8 || cache.format == CacheFormat::kBF16, "the cache is bf16 or FP8 latents");
  GALLEY_CHECK(cache.width == kMlaKey, "rows are L + R = 512 + 64 values");
  GALLEY_CHECK(cache.row_bytes % 16 == 0, "the copy engine reads multiples of 16 bytes");
  GALLEY_CHECK(args.scale > 0.0f, "maxima of scores are maxima of scaled scores");
  const int cluster = cluster_of(config, batch);
  const AttentionPlanConfig plan_of = plan_config(config, cluster);
  const AttentionPlan plan = attention_plan_layout(plan_of, args.workspace);

  constexpr int64_t kChunkValues = 128;  // bytes of 64 bf16
  const CUtensorMap q_map =
      make_box_map(args.q, {.rows = int64_t{batch.num_tokens} * config.num_heads,
                            .row_stride = kMlaKey * int64_t{sizeof(__nv_bfloat16)},
                            .planes = kChunks,
                            .plane_stride = kChunkValues,
                            .box_rows = kTileRows});
  // All of a bf16 row; the rotary part of an FP8 row.
  constexpr int64_t kFp8Rope = kMlaLatent + kMlaLatent / 128 * int64_t{sizeof(float)};
  const CUtensorMap cache_map = make_box_map(cache.data + (fp8 ? kFp8Rope : 0),
                                             {.rows = int64_t{cache.num_blocks} * kBlockTokens,
                                              .row_stride = cache.row_bytes,
                                              .planes = fp8 ? 1 : kChunks,
                                              .plane_stride = kChunkValues,
                                              .box_rows = kBlockTokens});
  const KernelArgs kernel_args = {.block_table = batch.block_table,
                                  .block_table_ld = batch.block_table_ld,
                                  .num_heads = config.num_heads,
                                  .partition_begin = plan.partition_begin,
                                  .pieces = plan.pieces,
                                  .lse = plan.lse,
                                  .partial = plan.partial,
                                  .out = args.out,
                                  .scale_log2 = args.scale * 1.4426950408889634f,
                                  .cache = cache.data,
                                  .row_bytes = cache.row_bytes,
                                  .prefetch_blocks = args.prefetch_blocks};
  cudaError_t error;
  if (fp8) {
    error = cluster == 2 ? launch<true, 2>(config, q_map, cache_map, kernel_args, stream)
                         : launch<true, 1>(config, q_map, cache_map, kernel_args, stream);
  } else {
    error = cluster == 2 ? launch<false, 2>(config, q_map, cache_map, kernel_args, stream)
                         : launch<false, 1>(config, q_map, cache_map, kernel_args, stream);
  }
  if (error != cudaSuccess) return error;
  const AttentionOutput out = {.data = args.out,
                               .token_stride = int64_t{config.num_heads} * kMlaLatent,
                               .row_stride = kMlaLatent,
                               .copy_stride = 0};
  return attention_combine(plan_of, batch, plan, out, stream);
}

}  // namespace galley::kernels::cuda

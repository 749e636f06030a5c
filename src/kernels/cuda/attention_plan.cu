// The split plan and the joining of its pieces.
//
// Plan    One block of threads makes the plan: units, their costs (blocks of context, and what
//         starting and ending a unit costs, in blocks), then one cut per partition on the line of
//         all costs. A cut moves to the end of a unit that is near: a unit in one piece needs no
//         partial results.
// Cost    5 to 15 us, once a step. Joining reads rows_per_unit * width f32 per slot, from L2
// mostly. Exact   Pieces join in the order of the context, in f32, whoever computed them.
#include <algorithm>

#include "base/check.h"
#include "kernels/cuda/attention_plan.h"
#include "kernels/cuda/attention_tiles.cuh"
#include "kernels/cuda/hopper.cuh"
#include "kernels/cuda/launch.cuh"

namespace galley::kernels::cuda {
namespace {

constexpr int kPlanThreads = 1024;
constexpr int kUnitBlocks = 4;   // what a unit costs beside its context: queries in, results out
constexpr int kPieceBlocks = 4;  // a piece is rarely shorter: joining would cost more
constexpr int kNearBlocks = 8;   // how far a cut moves at most to spare a unit from being cut
constexpr int kCombineRows = 8;  // rows, one warp each, of a block of attention_combine
constexpr int kSharedCosts = 8192;

__device__ int warp_inclusive_sum(int value) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  for (int offset = 1; offset < 32; offset *= 2) {
    const int other = __shfl_up_sync(0xffffffffu, value, offset);
    if (lane >= offset) value += other;
  }
  return value;
}

// Sum of the values of the threads before this one; `total` of all.
__device__ int block_exclusive_sum(int value, int* warp_sums, int& total) {
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int inclusive = warp_inclusive_sum(value);
  __syncthreads();
  if (lane == 31) warp_sums[warp] = inclusive;
  __syncthreads();
  if (warp == 0) {
    const int sum = warp_inclusive_sum(warp_sums[lane]);
    warp_sums[lane] = sum;
  }
  __syncthreads();
  total = warp_sums[kPlanThreads / 32 - 1];
  return inclusive - value + (warp > 0 ? warp_sums[warp - 1] : 0);
}

struct Cut {
  int32_t unit;
  int32_t block;
};

// The next cut after position `begin` of the cost line, about `share` further on. `low`: a unit
// that starts before; moves on. By one warp, all lanes alike.
__device__ Cut next_cut(const int32_t* cost_begin, int num_units, int begin, int share,
                        int split_blocks, int& low) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int end = begin + share;
  while (true) {  // to the last unit that starts before `end`
    const int unit = low + 1 + lane;
    const bool before = unit < num_units && cost_begin[unit] < end;
    const int count = __popc(__ballot_sync(0xffffffffu, before));
    low += count;
    if (count < 32) break;
  }
  const int unit_begin = cost_begin[low], unit_end = cost_begin[low + 1];
  const int blocks = unit_end - unit_begin - kUnitBlocks;
  const int near = min(kNearBlocks, share / 16);
  if (unit_end - end <= near + kUnitBlocks) return {low + 1, 0};
  int block = end - unit_begin;
  if (split_blocks > 0) {
    block = (block + split_blocks / 2) / split_blocks * split_blocks;
    const int first = max(begin - unit_begin, 0) / split_blocks * split_blocks;
    if (unit_begin + block <= begin) block = first + split_blocks;
    if (block >= blocks) return {low + 1, 0};
    return {low, block};
  }
  if (block <= near && unit_begin > begin) return {low, 0};
  return {low, block};
}

__global__ __launch_bounds__(kPlanThreads) void plan_kernel(AttentionPlanConfig config,
                                                            StepBatch batch, AttentionPlan plan) {
  __shared__ int warp_sums[32];
  __shared__ Cut cuts[kPartitionsMax + 1];
  __shared__ int32_t shared_costs[kSharedCosts + 1];
  const int thread = static_cast<int>(threadIdx.x);
  const int partitions = config.num_partitions;
  int total;

  // --- units --------------------------------------------------------------------------------
  int num_units = 0;
  for (int begin = 0; begin < batch.num_sequences; begin += kPlanThreads) {
    const int sequence = begin + thread;
    int query_len = 0, units = 0;
    if (sequence < batch.num_sequences) {
      query_len = batch.query_begin[sequence + 1] - batch.query_begin[sequence];
      units = (query_len * config.rows_per_token + config.rows_per_unit - 1) / config.rows_per_unit;
    }
    const int before = num_units + block_exclusive_sum(units, warp_sums, total);
    for (int i = 0; i < units; ++i) {
      const int row = i * config.rows_per_unit;
      const int last_row = min(row + config.rows_per_unit, query_len * config.rows_per_token) - 1;
      const int visible =
          batch.context_len[sequence] - query_len + last_row / config.rows_per_token + 1;
      plan.units[before + i] = {.sequence = sequence,
                                .row = row,
                                .num_blocks = (visible + kBlockTokens - 1) / kBlockTokens};
    }
    num_units += total;
  }
  __syncthreads();

  // --- the line of costs --------------------------------------------------------------------
  int32_t* const cost_begin = num_units <= kSharedCosts ? shared_costs : plan.cost_begin;
  int cost = 0;
  for (int begin = 0; begin < num_units; begin += kPlanThreads) {
    const int unit = begin + thread;
    const int own = unit < num_units ? plan.units[unit].num_blocks + kUnitBlocks : 0;
    const int before = block_exclusive_sum(own, warp_sums, total);
    if (unit < num_units) cost_begin[unit] = cost + before;
    cost += total;
  }
  if (thread == 0) cost_begin[num_units] = cost;
  __syncthreads();

  // --- cuts ---------------------------------------------------------------------------------
  if (thread < 32) {
    int position = 0, low = 0;
    for (int p = 0; p <= partitions; ++p) {
      Cut cut = {num_units, 0};
      if (p == 0) {
        cut = {0, 0};
      } else if (p < partitions && position < cost) {
        const float left = static_cast<float>(partitions - p + 1);
        const int even = static_cast<int>(ceilf(static_cast<float>(cost - position) / left));
        cut = next_cut(cost_begin, num_units, position, max(even, kPieceBlocks),
                       config.split_blocks, low);
      }
      if (thread == 0) cuts[p] = cut;
      position = cost_begin[cut.unit] + cut.block;
    }
    if (thread == 0) *plan.num_units = num_units;
  }
  __syncthreads();

  // --- pieces -------------------------------------------------------------------------------
  int num_pieces = 0, num_slots = 0;
  for (int begin = 0; begin < num_units; begin += kPlanThreads) {
    const int index = begin + thread;
    AttentionUnit unit = {};
    int first_cut = 0;  // the first cut inside the unit
    if (index < num_units) {
      unit = plan.units[index];
      if (config.split_blocks > 0) {
        unit.num_pieces = (unit.num_blocks + config.split_blocks - 1) / config.split_blocks;
      } else {
        int low = 0, high = partitions;  // the first cut beyond the unit's beginning
        while (low < high) {
          const int middle = (low + high) / 2;
          const bool beyond =
              cuts[middle].unit > index || (cuts[middle].unit == index && cuts[middle].block > 0);
          if (beyond) {
            high = middle;
          } else {
            low = middle + 1;
          }
        }
        first_cut = low;
        while (low < partitions && cuts[low].unit == index) ++low;
        unit.num_pieces = low - first_cut + 1;
      }
    }
    int total_slots;
    unit.piece_begin = num_pieces + block_exclusive_sum(unit.num_pieces, warp_sums, total);
    const int slots = unit.num_pieces > 1 ? unit.num_pieces : 0;
    unit.slot_begin = num_slots + block_exclusive_sum(slots, warp_sums, total_slots);
    num_pieces += total;
    num_slots += total_slots;
    if (index < num_units) {
      plan.units[index] = unit;
      const int first_token = batch.query_begin[unit.sequence];
      AttentionPiece piece = {.sequence = unit.sequence,
                              .row = unit.row,
                              .block_begin = 0,
                              .block_end = 0,
                              .slot = -1,
                              .first_token = first_token,
                              .query_len = batch.query_begin[unit.sequence + 1] - first_token,
                              .context_len = batch.context_len[unit.sequence]};
      for (int i = 0; i < unit.num_pieces; ++i) {
        piece.block_begin = piece.block_end;
        if (i + 1 == unit.num_pieces) {
          piece.block_end = unit.num_blocks;
        } else if (config.split_blocks > 0) {
          piece.block_end += config.split_blocks;
        } else {
          piece.block_end = cuts[first_cut + i].block;
        }
        if (unit.num_pieces > 1) piece.slot = unit.slot_begin + i;
        plan.pieces[unit.piece_begin + i] = piece;
      }
    }
  }
  __syncthreads();

  for (int p = thread; p <= partitions; p += kPlanThreads) {
    const Cut cut = cuts[p];
    int piece = num_pieces;
    if (cut.unit < num_units) {
      piece = plan.units[cut.unit].piece_begin;
      if (config.split_blocks > 0) {
        piece += cut.block / config.split_blocks;
      } else if (cut.block > 0) {
        int first = p;
        while (first > 0 && cuts[first - 1].unit == cut.unit && cuts[first - 1].block > 0) --first;
        piece += p - first + 1;
      }
    }
    plan.partition_begin[p] = piece;
  }
}

// A warp joins one row.
template <int kWidth>
__global__ __launch_bounds__(kCombineRows *
                             32) void combine_kernel(AttentionPlanConfig config, StepBatch batch,
                                                     AttentionPlan plan, AttentionOutput out) {
  hopper::let_next_kernel_start();
  hopper::wait_previous_kernels();
  const int blocks_per_unit = (config.rows_per_unit + kCombineRows - 1) / kCombineRows;
  const int index = static_cast<int>(blockIdx.x) / blocks_per_unit;
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int row_in_unit = static_cast<int>(blockIdx.x) % blocks_per_unit * kCombineRows + warp;
  const int copy = static_cast<int>(blockIdx.y);
  if (index >= *plan.num_units || row_in_unit >= config.rows_per_unit) return;
  const AttentionUnit unit = plan.units[index];
  if (unit.num_pieces <= 1) return;
  const int first_token = batch.query_begin[unit.sequence];
  const int query_len = batch.query_begin[unit.sequence + 1] - first_token;
  const int row = unit.row + row_in_unit;
  if (row >= query_len * config.rows_per_token) return;

  const int64_t slot = int64_t{copy} * plan.slots_max + unit.slot_begin;
  const float* lse = plan.lse + slot * config.rows_per_unit + row_in_unit;
  float max = -INFINITY;
  for (int i = 0; i < unit.num_pieces; ++i)
    max = fmaxf(max, lse[int64_t{i} * config.rows_per_unit]);
  constexpr int kVectors = kWidth / 64;  // a lane's float2 values
  float2 sum[kVectors] = {};
  float weights = 0.0f;
  const float* partial = plan.partial + (slot * config.rows_per_unit + row_in_unit) * kWidth;
  for (int i = 0; i < unit.num_pieces; ++i) {
    const float weight = exp2f(lse[int64_t{i} * config.rows_per_unit] - max);
    if (weight == 0.0f) continue;  // nothing visible there, and nothing written
    weights += weight;
    const float* values = partial + int64_t{i} * config.rows_per_unit * kWidth;
#pragma unroll
    for (int j = 0; j < kVectors; ++j) {
      const float2 v = *reinterpret_cast<const float2*>(values + j * 64 + lane * 2);
      sum[j].x += weight * v.x;
      sum[j].y += weight * v.y;
    }
  }
  const float inverse = 1.0f / weights;
  __nv_bfloat16* const to = out.data +
                            (first_token + row / config.rows_per_token) * out.token_stride +
                            row % config.rows_per_token * out.row_stride + copy * out.copy_stride;
#pragma unroll
  for (int j = 0; j < kVectors; ++j) {
    *reinterpret_cast<uint32_t*>(to + j * 64 + lane * 2) =
        hopper::pack_bf16(sum[j].x * inverse, sum[j].y * inverse);
  }
}

int64_t units_bound(const AttentionPlanConfig& config, int64_t tokens, int64_t sequences) {
  return tokens * config.rows_per_token / config.rows_per_unit + sequences;
}

}  // namespace

AttentionPlan attention_plan_layout(const AttentionPlanConfig& config, void* workspace) {
  GALLEY_CHECK(config.num_partitions > 0 && config.num_partitions <= kPartitionsMax,
               "the kernel keeps all cuts in shared memory");
  AttentionPlan plan = {};
  const int64_t units = units_bound(config, config.tokens_max, config.sequences_max);
  int64_t pieces = units + config.num_partitions, slots = 2 * int64_t{config.num_partitions};
  if (config.split_blocks > 0) {
    const int64_t split = int64_t{config.split_blocks} * kBlockTokens;
    pieces = slots = units * ((config.context_max + split - 1) / split);
  }
  size_t at = 0;
  const auto take = [&](size_t bytes) {
    std::byte* const p = static_cast<std::byte*>(workspace) + at;
    at += (bytes + 255) / 256 * 256;
    return p;
  };
  const auto count = [](int64_t n) { return static_cast<size_t>(n); };
  plan.num_units = reinterpret_cast<int32_t*>(take(sizeof(int32_t)));
  plan.partition_begin =
      reinterpret_cast<int32_t*>(take((count(config.num_partitions) + 1) * sizeof(int32_t)));
  plan.units = reinterpret_cast<AttentionUnit*>(take(count(units) * sizeof(AttentionUnit)));
  plan.pieces = reinterpret_cast<AttentionPiece*>(take(count(pieces) * sizeof(AttentionPiece)));
  plan.cost_begin = reinterpret_cast<int32_t*>(take((count(units) + 1) * sizeof(int32_t)));
  const size_t rows = count(config.copies * slots * config.rows_per_unit);
  plan.lse = reinterpret_cast<float*>(take(rows * sizeof(float)));
  plan.partial = reinterpret_cast<float*>(take(rows * count(config.width) * sizeof(float)));
  plan.units_max = static_cast<int32_t>(units);
  plan.pieces_max = static_cast<int32_t>(pieces);
  plan.slots_max = static_cast<int32_t>(slots);
  plan.bytes = at;
  return plan;
}

cudaError_t attention_plan(const AttentionPlanConfig& config, const StepBatch& batch,
                           const AttentionPlan& plan, cudaStream_t stream) {
  GALLEY_CHECK(batch.num_tokens <= config.tokens_max && batch.num_sequences <= config.sequences_max,
               "the step is within the limits of the plan");
  plan_kernel<<<1, kPlanThreads, 0, stream>>>(config, batch, plan);
  return cudaGetLastError();
}

cudaError_t attention_combine(const AttentionPlanConfig& config, const StepBatch& batch,
                              const AttentionPlan& plan, const AttentionOutput& out,
                              cudaStream_t stream) {
  const int64_t units = std::min(
      units_bound(config, batch.num_tokens, batch.num_sequences),
      int64_t{batch.num_sequences} *
          ((int64_t{batch.query_len_max} * config.rows_per_token + config.rows_per_unit - 1) /
           config.rows_per_unit));
  const dim3 grid(
      static_cast<unsigned>(units * ((config.rows_per_unit + kCombineRows - 1) / kCombineRows)),
      static_cast<unsigned>(config.copies));
  const LaunchShape shape{.grid = grid, .threads = kCombineRows * 32};
  switch (config.width) {
    case 64:
      return launch(combine_kernel<64>, shape, stream, config, batch, plan, out);
    case 128:
      return launch(combine_kernel<128>, shape, stream, config, batch, plan, out);
    case 512:
      return launch(combine_kernel<512>, shape, stream, config, batch, plan, out);
    default:
      GALLEY_CHECK(false, "widths are 64, 128 and 512");
  }
  return cudaSuccess;
}

}  // namespace galley::kernels::cuda

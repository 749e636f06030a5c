#include "base/check.h"
#include "kernels/cuda/attention_prefill.cuh"
#include "kernels/cuda/gqa.h"
#include "kernels/cuda/tensor_map.h"

namespace galley::kernels::cuda {

cudaError_t gqa_prefill(const StepBatch& batch, const GqaArgs& args, cudaStream_t stream) {
  if (batch.num_tokens == 0) return cudaSuccess;
  const GqaShape& shape = args.shape;
  const CacheLayer& cache = args.cache;
  GALLEY_CHECK(shape.head_dim == 64 || shape.head_dim == 128, "head_dim is 64 or 128");
  GALLEY_CHECK(shape.num_heads % shape.num_kv_heads == 0, "kv_heads divide the heads");
  GALLEY_CHECK(
      cache.format == CacheFormat::kBF16 && cache.width == 2 * shape.num_kv_heads * shape.head_dim,
      "the cache holds bf16 keys and values");
  GALLEY_CHECK(shape.scale > 0.0f, "maxima of scores are maxima of scaled scores");
  constexpr int64_t kValue = 2;  // bytes of a bf16
  const int32_t chunks = shape.head_dim / 64;
  const BoxLayout rows = {.rows = int64_t{cache.num_blocks} * kBlockTokens,
                          .row_stride = cache.row_bytes,
                          .planes = int64_t{shape.num_kv_heads} * chunks,
                          .plane_stride = 64 * kValue,
                          .box_rows = kBlockTokens};
  const BoxLayout queries = {.rows = batch.num_tokens,
                             .row_stride = args.q_token_stride * kValue,
                             .planes = int64_t{shape.num_heads} * chunks,
                             .plane_stride = 64 * kValue,
                             .box_rows = prefill::kTileQueries};
  const CUtensorMap keys = make_box_map(cache.data, rows);
  const prefill::Maps maps = {
      .q = make_box_map(args.q, queries),
      .k = keys,
      .k_rope = keys,
      .v = make_box_map(cache.data + int64_t{shape.num_kv_heads} * shape.head_dim * kValue, rows)};
  const int64_t group = shape.num_heads / shape.num_kv_heads;
  const prefill::Args kernel_args = {
      .query_begin = batch.query_begin,
      .context_len = batch.context_len,
      .kv_begin = nullptr,
      .block_table = batch.block_table,
      .block_table_ld = batch.block_table_ld,
      .num_sequences = batch.num_sequences,
      .num_heads = shape.num_heads,
      .heads_per_kv = static_cast<int32_t>(group),
      .section_heads = prefill::section_heads(
          shape.num_heads,
          (int64_t{batch.context_len_max} * 2 * shape.head_dim * kValue + group - 1) / group),
      .q_head_planes = chunks,
      .k_head_planes = chunks,
      .v_head_planes = chunks,
      .k_rope_chunk = -1,
      .next_tile = static_cast<int32_t*>(args.workspace),
      .out = args.out,
      .out_token_stride = int64_t{shape.num_heads} * shape.head_dim,
      .scale_log2 = shape.scale * 1.4426950408889634f};
  if (shape.head_dim == 64) {
    return prefill::launch<prefill::Shape<1, 1, true>>(maps, kernel_args, args.num_sms, stream);
  }
  return prefill::launch<prefill::Shape<2, 2, true>>(maps, kernel_args, args.num_sms, stream);
}

}  // namespace galley::kernels::cuda

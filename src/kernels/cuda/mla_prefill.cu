#include "base/check.h"
#include "kernels/cuda/attention_prefill.cuh"
#include "kernels/cuda/mla_prefill.h"
#include "kernels/cuda/tensor_map.h"

namespace galley::kernels::cuda {

cudaError_t mla_prefill(const StepBatch& batch, const MlaPrefillArgs& args, cudaStream_t stream) {
  using Shape = prefill::Shape<3, 2, false>;
  constexpr int64_t kValue = 2;  // bytes of a bf16
  constexpr int64_t kPlane = 64 * kValue;
  if (batch.num_tokens == 0) return cudaSuccess;
  GALLEY_CHECK(args.k_nope.head_stride % 64 == 0 && args.v.head_stride % 64 == 0,
               "heads are whole chunks of 64 values apart");
  GALLEY_CHECK(args.scale > 0.0f, "maxima of scores are maxima of scaled scores");
  const auto rows_map = [&](const __nv_bfloat16* data, int64_t rows, int64_t token_stride,
                            int64_t planes, int32_t box_rows) {
    return make_box_map(data, {.rows = rows,
                               .row_stride = token_stride * kValue,
                               .planes = planes,
                               .plane_stride = kPlane,
                               .box_rows = box_rows});
  };
  const int64_t heads = args.num_heads;
  const auto head_planes = [&](const HeadRows& rows) {
    return (heads - 1) * (rows.head_stride / 64) + 2;
  };
  const prefill::Maps maps = {
      .q = rows_map(args.q, batch.num_tokens, heads * 192, heads * 3, prefill::kTileQueries),
      .k = rows_map(args.k_nope.data, args.num_rows, args.k_nope.token_stride,
                    head_planes(args.k_nope), Shape::kBoxRows),
      .k_rope = rows_map(args.k_rope, args.num_rows, args.k_rope_stride, 1, Shape::kBoxRows),
      .v = rows_map(args.v.data, args.num_rows, args.v.token_stride, head_planes(args.v),
                    Shape::kBoxRows)};
  const prefill::Args kernel_args = {
      .query_begin = batch.query_begin,
      .context_len = batch.context_len,
      .kv_begin = args.kv_begin,
      .num_sequences = batch.num_sequences,
      .num_heads = args.num_heads,
      .heads_per_kv = 1,
      .section_heads =
          prefill::section_heads(args.num_heads, int64_t{batch.context_len_max} * 256 * kValue),
      .q_head_planes = 3,
      .k_head_planes = static_cast<int32_t>(args.k_nope.head_stride / 64),
      .v_head_planes = static_cast<int32_t>(args.v.head_stride / 64),
      .k_rope_chunk = 2,
      .next_tile = args.workspace,
      .out = args.out,
      .out_token_stride = heads * 128,
      .scale_log2 = args.scale * 1.4426950408889634f};
  return prefill::launch<Shape>(maps, kernel_args, args.num_sms, stream);
}

}  // namespace galley::kernels::cuda

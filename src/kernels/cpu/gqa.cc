// Grouped-query attention: one task is one key-value head beside a tile of queries of one sequence,
// so a block of the context is converted once for all their heads. Order of sums as in mla.cc.
#include <algorithm>
#include <cmath>

#include "kernels/cpu/cache_rows.h"
#include "kernels/cpu/cpu_ops.h"

namespace galley::kernels::cpu {
namespace {

int64_t qkv_cols(const GqaShape& shape) {
  return int64_t{shape.num_heads + 2 * shape.num_kv_heads} * shape.head_dim;
}

}  // namespace

void CpuOps::gqa_prepare(const GqaShape& shape, const Matrix& qkv, const RopeTable& rope,
                         const StepBatch& batch, const CacheLayer& cache) {
  const int64_t D = shape.head_dim, kv_width = shape.num_kv_heads * D;
  GALLEY_CHECK(qkv.cols == qkv_cols(shape) && qkv.rows == batch.num_tokens,
               "qkv is [T, (N + 2 * kv_heads) * head_dim]");
  GALLEY_CHECK(cache.width == 2 * kv_width && rope.half_dim * 2 == D, "cache and rope fit");
  GALLEY_CHECK(cache.row_bytes >= cache_row_bytes(cache.format, cache.width, 0),
               "a row has its bytes");
  for_tokens(batch.num_tokens, [&](int64_t t, int32_t) {
    float* row = qkv.row<float>(t);
    for (int64_t h = 0; h < shape.num_heads + shape.num_kv_heads; ++h)
      rotate(rope, batch.positions[t], row + h * D);
    write_row(primitives_, cache, cache_row(cache, batch.slots[t]), row + shape.num_heads * D, 0,
              2 * kv_width);
  });
}

void CpuOps::gqa_attention(const GqaShape& shape, const Matrix& qkv, const StepBatch& batch,
                           const CacheLayer& cache, const Matrix& out) {
  const int64_t D = shape.head_dim, kv_heads = shape.num_kv_heads;
  GALLEY_CHECK(kv_heads > 0 && shape.num_heads % kv_heads == 0, "kv_heads divide the heads");
  GALLEY_CHECK(qkv.cols == qkv_cols(shape) && out.cols == shape.num_heads * D, "qkv and out fit");
  GALLEY_CHECK(qkv.rows == batch.num_tokens && out.rows == batch.num_tokens,
               "qkv and out have a row for each token of the step");
  if (batch.num_tokens == 0) return;
  const int64_t group = shape.num_heads / kv_heads;
  arena_.clear();
  const std::span<const QueryTile> tiles = query_tiles(batch, 0, batch.num_tokens, kQueryTile);
  pool_.for_each(static_cast<int64_t>(tiles.size()) * kv_heads, [&](int64_t i, int32_t thread) {
    const QueryTile& tile = tiles[static_cast<size_t>(i / kv_heads)];
    const int64_t kv_head = i % kv_heads;
    Arena& arena = threads_[static_cast<size_t>(thread)].arena;
    arena.clear();
    auto* k = arena.take<float>(kBlockTokens * D);
    auto* v = arena.take<float>(kBlockTokens * D);
    auto* max = arena.take<float>(kQueryTile * group);
    auto* sum = arena.take<float>(kQueryTile * group);
    std::fill_n(max, kQueryTile * group, -INFINITY);
    std::fill_n(sum, kQueryTile * group, 0.0f);
    const auto out_of = [&](int64_t t) { return out.row<float>(t) + kv_head * group * D; };
    for (int32_t t = tile.token_begin; t < tile.token_end; ++t)
      std::fill_n(out_of(t), group * D, 0.0f);
    const int64_t last = batch.positions[tile.token_end - 1];
    for (int64_t first = 0; first <= last; first += kBlockTokens) {
      const std::byte* rows = cache_block(batch, cache, tile.sequence, first / kBlockTokens);
      const int64_t valid = std::min<int64_t>(kBlockTokens, last + 1 - first);
      for (int64_t j = 0; j < valid; ++j) {
        const std::byte* row = rows + j * cache.row_bytes;
        read_row(primitives_, cache, row, kv_head * D, D, k + j * D);
        read_row(primitives_, cache, row, (kv_heads + kv_head) * D, D, v + j * D);
      }
      for (int32_t t = tile.token_begin; t < tile.token_end; ++t) {
        const int64_t keys = std::min<int64_t>(kBlockTokens, batch.positions[t] + 1 - first);
        if (keys <= 0) continue;
        primitives_.attend({.q = qkv.row<float>(t) + kv_head * group * D,
                            .q_ld = D,
                            .num_heads = group,
                            .k = k,
                            .k_ld = D,
                            .key_dim = D,
                            .v = v,
                            .v_ld = D,
                            .value_dim = D,
                            .num_keys = keys,
                            .scale = shape.scale,
                            .max = max + (t - tile.token_begin) * group,
                            .sum = sum + (t - tile.token_begin) * group,
                            .acc = out_of(t),
                            .acc_ld = D});
      }
    }
    for (int32_t t = tile.token_begin; t < tile.token_end; ++t) {
      for (int64_t h = 0; h < group; ++h) {
        const float divisor = 1.0f / sum[(t - tile.token_begin) * group + h];
        for (int64_t d = 0; d < D; ++d) out_of(t)[h * D + d] *= divisor;
      }
    }
  });
}

}  // namespace galley::kernels::cpu

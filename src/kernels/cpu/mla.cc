// Multi-head latent attention, both forms.
//
// The context is read in its cache blocks of 64 positions, in order, with online softmax: the order
// of every sum follows from the token's position. Scores and values are f32.
//
// Absorbed: three regions for up to kMlaTokens tokens.
//   1. by head:                 q_lat = W_UK^T q_nope, so W_UK is read once for all tokens
//   2. by query tile and heads: attention over the latents, all heads of a tile beside one block
//   3. by head:                 out = W_UV o_lat
// Expanded: one task is one head of one sequence. Keys and values of a context block are made once
// for all queries of the sequence in this step.
#include <algorithm>
#include <cmath>

#include "kernels/cpu/cache_rows.h"
#include "kernels/cpu/cpu_ops.h"

namespace galley::kernels::cpu {
namespace {

void check_step(const StepBatch& batch, const Matrix& q, const Matrix& out) {
  GALLEY_CHECK(q.rows == batch.num_tokens && out.rows == batch.num_tokens,
               "queries and out have a row for each token of the step");
  GALLEY_CHECK(
      batch.query_begin[0] == 0 && batch.query_begin[batch.num_sequences] <= batch.num_tokens,
      "the sequences' tokens are tokens of the step");
}

// The next multiple of 16 floats: rows of scratch start on a cache line.
int64_t aligned(int64_t n) {
  return (n + 15) / 16 * 16;
}

}  // namespace

void CpuOps::mla_prepare(const MlaShape& shape, const Matrix& q, const Matrix& kv_a,
                         const Weight& norm, float eps, const RopeTable& rope,
                         const StepBatch& batch, const CacheLayer& cache) {
  const int64_t L = shape.latent_dim, R = shape.rope_dim, head_dim = shape.nope_dim + R;
  GALLEY_CHECK(q.cols == shape.num_heads * head_dim && kv_a.cols == L + R, "q and kv_a fit");
  GALLEY_CHECK(q.rows == batch.num_tokens && kv_a.rows == batch.num_tokens, "a row for each token");
  GALLEY_CHECK(cache.width == L + R && rope.half_dim * 2 == R && norm.rows * norm.cols == L,
               "cache, rope and norm fit");
  GALLEY_CHECK(cache.row_bytes >= cache_row_bytes(cache.format, L + R, L), "a row has its bytes");
  if (batch.num_tokens == 0) return;
  arena_.clear();
  const float* norm_values = widen_weight(norm);
  for_tokens(batch.num_tokens, [&](int64_t t, int32_t thread) {
    Arena& arena = threads_[static_cast<size_t>(thread)].arena;
    arena.clear();
    auto* latent = arena.take<float>(L);
    auto* key = arena.take<float>(R);
    const int64_t position = batch.positions[t];
    for (int64_t h = 0; h < shape.num_heads; ++h)
      rotate(rope, position, q.row<float>(t) + h * head_dim + shape.nope_dim);
    primitives_.rms_norm(kv_a.row<float>(t), norm_values, eps, L, latent);
    std::copy_n(kv_a.row<float>(t) + L, R, key);
    rotate(rope, position, key);
    write_latent(primitives_, cache, cache_row(cache, batch.slots[t]), latent, L, key, R);
  });
}

std::span<const CpuOps::QueryTile> CpuOps::query_tiles(const StepBatch& batch, int32_t token_begin,
                                                       int32_t token_end, int32_t tile_tokens) {
  auto* tiles = arena_.take<QueryTile>(token_end - token_begin);
  size_t count = 0;
  for (int32_t s = 0; s < batch.num_sequences; ++s) {
    const int32_t end = std::min(batch.query_begin[s + 1], token_end);
    for (int32_t t = std::max(batch.query_begin[s], token_begin); t < end; t += tile_tokens)
      tiles[count++] = {s, t, std::min(end, t + tile_tokens)};
  }
  return {tiles, count};
}

void CpuOps::mla_attention(const MlaShape& shape, MlaForm form, const Matrix& q, const Weight& kv_b,
                           const StepBatch& batch, const CacheLayer& cache, const Matrix& out) {
  GALLEY_CHECK(q.cols == shape.num_heads * int64_t{shape.nope_dim + shape.rope_dim} &&
                   out.cols == shape.num_heads * int64_t{shape.value_dim},
               "q is [T, N * (nope + R)], out [T, N * value]");
  GALLEY_CHECK(kv_b.rows == shape.num_heads * int64_t{shape.nope_dim + shape.value_dim} &&
                   kv_b.cols == shape.latent_dim,
               "kv_b is [N * (nope + value), L]");
  GALLEY_CHECK(cache.width == shape.latent_dim + shape.rope_dim, "the cache holds latents");
  if (batch.num_tokens == 0) return;
  check_step(batch, q, out);
  if (form == MlaForm::kExpanded) {
    mla_expanded(shape, q, kv_b, batch, cache, out);
    return;
  }
  for (int32_t begin = 0; begin < batch.num_tokens; begin += kMlaTokens)
    mla_absorbed(shape, q, kv_b, batch, cache, begin,
                 std::min(batch.num_tokens, begin + kMlaTokens), out);
}

void CpuOps::widen_rows(const Weight& weight, int64_t row, int64_t rows, float* out) const {
  const int64_t blocks = (weight.cols + kScaleBlock - 1) / kScaleBlock;
  const int64_t bytes = weight.cols * static_cast<int64_t>(size_of(weight.dtype));
  for (int64_t r = 0; r < rows; ++r) {
    float* to = out + r * weight.cols;
    primitives_.widen(static_cast<const std::byte*>(weight.data) + (row + r) * bytes, weight.dtype,
                      weight.cols, to);
    if (weight.dtype != DType::kF8E4M3) continue;
    const float* scales = weight.scales + (row + r) / kScaleBlock * blocks;
    for (int64_t i = 0; i < weight.cols; ++i) to[i] *= scales[i / kScaleBlock];
  }
}

void CpuOps::mla_absorbed(const MlaShape& shape, const Matrix& q, const Weight& kv_b,
                          const StepBatch& batch, const CacheLayer& cache, int32_t token_begin,
                          int32_t token_end, const Matrix& out) {
  const int64_t N = shape.num_heads, L = shape.latent_dim, R = shape.rope_dim;
  const int64_t nope = shape.nope_dim, value = shape.value_dim;
  const int64_t tokens = token_end - token_begin;
  const int64_t q_ld = aligned(L + R), o_ld = padded_cols(L);
  arena_.clear();
  auto* q_lat = arena_.take<float>(tokens * N * q_ld);  // [tokens, N, q_ld]
  auto* o_lat = arena_.take<float>(tokens * N * o_ld);  // [tokens, N, o_ld]
  const std::span<const QueryTile> tiles = query_tiles(batch, token_begin, token_end, kQueryTile);

  pool_.for_each(N, [&](int64_t h, int32_t thread) {
    Arena& arena = threads_[static_cast<size_t>(thread)].arena;
    // A few rows at a time, so that they stay in L1 while every token takes its share.
    constexpr int64_t kRows = 8;
    for (int64_t first = 0; first < nope; first += kRows) {
      arena.clear();
      auto* rows = arena.take<float>(kRows * L);
      const int64_t count = std::min(kRows, nope - first);
      widen_rows(kv_b, h * (nope + value) + first, count, rows);
      primitives_.gemm_rows(q.row<float>(token_begin) + h * (nope + R) + first, q.ld, tokens, rows,
                            L, count, L, first > 0, q_lat + h * q_ld, N * q_ld);
    }
    for (int64_t t = 0; t < tokens; ++t)
      std::copy_n(q.row<float>(token_begin + t) + h * (nope + R) + nope, R,
                  q_lat + (t * N + h) * q_ld + L);
  });

  // Enough groups of heads for every thread, but no smaller than the inner loop likes.
  const auto num_tiles = std::max<int64_t>(static_cast<int64_t>(tiles.size()), 1);
  const int64_t wanted = (2 * pool_.size() + num_tiles - 1) / num_tiles;
  const int64_t heads = std::clamp<int64_t>((N + wanted - 1) / wanted, std::min<int64_t>(N, 4), N);
  const int64_t groups = (N + heads - 1) / heads;
  pool_.for_each(static_cast<int64_t>(tiles.size()) * groups, [&](int64_t i, int32_t thread) {
    const QueryTile& tile = tiles[static_cast<size_t>(i / groups)];
    const int64_t head = i % groups * heads;
    const int64_t count = std::min(heads, N - head);
    Arena& arena = threads_[static_cast<size_t>(thread)].arena;
    arena.clear();
    auto* block = arena.take<float>(kBlockTokens * q_ld);
    auto* max = arena.take<float>(kQueryTile * count);
    auto* sum = arena.take<float>(kQueryTile * count);
    std::fill_n(max, kQueryTile * count, -INFINITY);
    std::fill_n(sum, kQueryTile * count, 0.0f);
    for (int32_t t = tile.token_begin; t < tile.token_end; ++t)
      std::fill_n(o_lat + ((t - token_begin) * N + head) * o_ld, count * o_ld, 0.0f);
    const int64_t last = batch.positions[tile.token_end - 1];
    for (int64_t first = 0; first <= last; first += kBlockTokens) {
      const std::byte* rows = cache_block(batch, cache, tile.sequence, first / kBlockTokens);
      const int64_t valid = std::min<int64_t>(kBlockTokens, last + 1 - first);
      for (int64_t j = 0; j < valid; ++j)
        read_latent(primitives_, cache, rows + j * cache.row_bytes, L, R, block + j * q_ld);
      for (int32_t t = tile.token_begin; t < tile.token_end; ++t) {
        const int64_t keys = std::min<int64_t>(kBlockTokens, batch.positions[t] + 1 - first);
        if (keys <= 0) continue;
        const int64_t at = (t - token_begin) * N + head;
        primitives_.attend({.q = q_lat + at * q_ld,
                            .q_ld = q_ld,
                            .num_heads = count,
                            .k = block,
                            .k_ld = q_ld,
                            .key_dim = L + R,
                            .v = block,
                            .v_ld = q_ld,
                            .value_dim = L,
                            .num_keys = keys,
                            .scale = shape.scale,
                            .max = max + (t - tile.token_begin) * count,
                            .sum = sum + (t - tile.token_begin) * count,
                            .acc = o_lat + at * o_ld,
                            .acc_ld = o_ld});
      }
    }
    for (int32_t t = tile.token_begin; t < tile.token_end; ++t) {
      for (int64_t h = 0; h < count; ++h) {
        const float divisor = 1.0f / sum[(t - tile.token_begin) * count + h];
        float* to = o_lat + ((t - token_begin) * N + head + h) * o_ld;
        for (int64_t d = 0; d < L; ++d) to[d] *= divisor;
      }
    }
  });

  pool_.for_each(N, [&](int64_t h, int32_t thread) {
    const int64_t row = h * (nope + value) + nope;
    primitives_.gemm({.x = {.data = o_lat + h * o_ld, .ld = N * o_ld, .form = Form::kF32},
                      .num_tokens = tokens,
                      .weight = &kv_b,
                      .row_begin = row,
                      .row_end = row + value,
                      .out = out.row<float>(token_begin) + h * value,
                      .ld_out = out.ld,
                      .scratch = threads_[static_cast<size_t>(thread)].gemm_scratch});
  });
}

void CpuOps::mla_expanded(const MlaShape& shape, const Matrix& q, const Weight& kv_b,
                          const StepBatch& batch, const CacheLayer& cache, const Matrix& out) {
  const int64_t N = shape.num_heads, L = shape.latent_dim, R = shape.rope_dim;
  const int64_t nope = shape.nope_dim, value = shape.value_dim, head_dim = nope + R;
  const int64_t latent_ld = padded_cols(L), k_ld = aligned(head_dim), v_ld = aligned(value);
  pool_.for_each(batch.num_sequences * N, [&](int64_t i, int32_t thread) {
    const int64_t s = i / N, h = i % N;
    const int32_t begin = batch.query_begin[s], end = batch.query_begin[s + 1];
    if (begin == end) return;
    ThreadState& state = threads_[static_cast<size_t>(thread)];
    state.arena.clear();
    auto* latents = state.arena.take<float>(kBlockTokens * latent_ld);
    auto* row = state.arena.take<float>(L + R);
    auto* k = state.arena.take<float>(kBlockTokens * k_ld);
    auto* v = state.arena.take<float>(kBlockTokens * v_ld);
    auto* max = state.arena.take<float>(end - begin);
    auto* sum = state.arena.take<float>(end - begin);
    std::fill_n(max, end - begin, -INFINITY);
    std::fill_n(sum, end - begin, 0.0f);
    for (int32_t t = begin; t < end; ++t) std::fill_n(out.row<float>(t) + h * value, value, 0.0f);
    const int64_t last = batch.positions[end - 1];
    for (int64_t first = 0; first <= last; first += kBlockTokens) {
      const std::byte* rows = cache_block(batch, cache, s, first / kBlockTokens);
      const int64_t valid = std::min<int64_t>(kBlockTokens, last + 1 - first);
      for (int64_t j = 0; j < valid; ++j) {
        read_latent(primitives_, cache, rows + j * cache.row_bytes, L, R, row);
        std::copy_n(row, L, latents + j * latent_ld);
        std::fill_n(latents + j * latent_ld + L, latent_ld - L, 0.0f);
        std::copy_n(row + L, R, k + j * k_ld + nope);
      }
      GemmArgs args{.x = {.data = latents, .ld = latent_ld, .form = Form::kF32},
                    .num_tokens = valid,
                    .weight = &kv_b,
                    .row_begin = h * (nope + value),
                    .row_end = h * (nope + value) + nope,
                    .out = k,
                    .ld_out = k_ld,
                    .scratch = state.gemm_scratch};
      primitives_.gemm(args);
      args.row_begin = args.row_end;
      args.row_end = args.row_begin + value;
      args.out = v;
      args.ld_out = v_ld;
      primitives_.gemm(args);
      for (int32_t t = begin; t < end; ++t) {
        const int64_t keys = std::min<int64_t>(kBlockTokens, batch.positions[t] + 1 - first);
        if (keys <= 0) continue;
        primitives_.attend({.q = q.row<float>(t) + h * head_dim,
                            .q_ld = head_dim,
                            .num_heads = 1,
                            .k = k,
                            .k_ld = k_ld,
                            .key_dim = head_dim,
                            .v = v,
                            .v_ld = v_ld,
                            .value_dim = value,
                            .num_keys = keys,
                            .scale = shape.scale,
                            .max = max + t - begin,
                            .sum = sum + t - begin,
                            .acc = out.row<float>(t) + h * value,
                            .acc_ld = out.ld});
      }
    }
    for (int32_t t = begin; t < end; ++t) {
      const float divisor = 1.0f / sum[t - begin];
      for (int64_t d = 0; d < value; ++d) out.row<float>(t)[h * value + d] *= divisor;
    }
  });
}

}  // namespace galley::kernels::cpu

// MLA and GQA of every implementation against attention in double.
#include "kernels/testing/attention_fixture.h"

namespace galley::kernels::testing {
namespace {

class AttentionOps : public OpsTest {};
GALLEY_ON_EVERY_IMPLEMENTATION(AttentionOps);

constexpr Tolerance kAttention{.relative = 1e-5,
                               .absolute = 3e-5,
                               .reason = "f32 dots of up to 576 and averages of values about 1"};

struct MlaCase {
  MlaShape shape;
  std::vector<int32_t> contexts;
  std::vector<int32_t> queries;  // the last so many positions of each
};

MlaShape mla_shape(int32_t heads, int32_t nope, int32_t rope, int32_t value, int32_t latent) {
  return {.num_heads = heads,
          .nope_dim = nope,
          .rope_dim = rope,
          .value_dim = value,
          .latent_dim = latent,
          .scale = 1.0f / std::sqrt(static_cast<float>(nope + rope))};
}

// Everything mla_prepare and mla_attention need, prepared.
struct MlaSetup {
  MlaSetup(Ops& ops, const MlaCase& c, CacheFormat format, DType kv_b_type, uint64_t seed)
      : random(seed),
        shape(c.shape),
        cache(random, format, shape.latent_dim + shape.rope_dim, shape.latent_dim, c.contexts),
        whole(whole_step(cache)),
        rope(*std::max_element(c.contexts.begin(), c.contexts.end()) + 1, shape.rope_dim / 2, true),
        kv_b(random_weight(random, kv_b_type, shape.num_heads * (shape.nope_dim + shape.value_dim),
                           shape.latent_dim,
                           1.0f / std::sqrt(static_cast<float>(shape.latent_dim)))),
        norm(random_weight(random, DType::kBF16, 1, shape.latent_dim, 1.0f)),
        q(random_dense(random, whole->batch.num_tokens,
                       shape.num_heads * (shape.nope_dim + shape.rope_dim))),
        kv_a(random_dense(random, whole->batch.num_tokens, shape.latent_dim + shape.rope_dim)),
        q_before(q) {
    ops.mla_prepare(shape, q.matrix(), kv_a.matrix(), norm.weight(), 1e-6f, rope.table,
                    whole->batch, cache.layer);
    std::vector<int32_t> sequences, begins;
    for (size_t s = 0; s < c.contexts.size(); ++s) {
      sequences.push_back(static_cast<int32_t>(s));
      begins.push_back(c.contexts[s] - c.queries[s]);
    }
    step = std::make_unique<Step>(cache, sequences, begins, c.contexts);
  }

  Dense attend(Ops& ops, MlaForm form) {
    Dense queries = rows_of(q, *whole, *step);
    Dense out(step->batch.num_tokens, shape.num_heads * shape.value_dim);
    ops.mla_attention(shape, form, queries.matrix(), kv_b.weight(), step->batch, cache.layer,
                      out.matrix());
    return out;
  }

  std::vector<float> expected(int64_t token, int64_t head) const {
    const auto t = static_cast<size_t>(token);
    const int64_t nope = shape.nope_dim, head_dim = nope + shape.rope_dim;
    const int64_t rows = nope + shape.value_dim, L = shape.latent_dim;
    const int64_t from = whole->query_begin[static_cast<size_t>(step->owners[t])];
    const auto row =
        q.row(from + step->positions[t])
            .subspan(static_cast<size_t>(head * head_dim), static_cast<size_t>(head_dim));
    // W_UK and W_UV are moved to the query and the result: the same mathematics, and cheap enough.
    std::vector<double> query(static_cast<size_t>(L), 0.0);
    for (int64_t i = 0; i < nope; ++i) {
      for (int64_t l = 0; l < L; ++l)
        query[static_cast<size_t>(l)] +=
            double{row[static_cast<size_t>(i)]} * kv_b.value(head * rows + i, l);
    }
    for (int64_t i = nope; i < head_dim; ++i) query.push_back(double{row[static_cast<size_t>(i)]});
    std::vector<std::vector<double>> keys, values;
    for (int64_t p = 0; p <= step->positions[t]; ++p) {
      const std::vector<float> cached =
          cache_values(cache, cache.slot(step->owners[t], p), shape.latent_dim);
      keys.emplace_back(cached.begin(), cached.end());
      values.emplace_back(cached.begin(), cached.begin() + L);
    }
    const std::vector<float> latent = naive_attention(query, keys, values, double{shape.scale});
    std::vector<float> out;
    for (int64_t r = nope; r < rows; ++r) {
      double sum = 0.0;
      for (int64_t l = 0; l < L; ++l)
        sum += kv_b.value(head * rows + r, l) * double{latent[static_cast<size_t>(l)]};
      out.push_back(static_cast<float>(sum));
    }
    return out;
  }

  Random random;
  MlaShape shape;
  PagedCache cache;
  std::unique_ptr<Step> whole, step;
  Rope rope;
  OwnedWeight kv_b, norm;
  Dense q, kv_a, q_before;
};

void check_mla(Ops& ops, const MlaCase& c, CacheFormat format, DType kv_b_type, uint64_t seed,
               int64_t heads_checked) {
  SCOPED_TRACE(::testing::Message() << "kv_b " << label(kv_b_type, ops.precision()) << ", format "
                                    << static_cast<int>(format) << ", seed " << seed);
  MlaSetup setup(ops, c, format, kv_b_type, seed);
  const Dense absorbed = setup.attend(ops, MlaForm::kAbsorbed);
  const Dense expanded = setup.attend(ops, MlaForm::kExpanded);
  const auto value = static_cast<size_t>(c.shape.value_dim);
  for (int64_t t = 0; t < absorbed.rows; t += 1 + absorbed.rows / 8) {
    for (int64_t i = 0; i < heads_checked; ++i) {
      const int64_t h = setup.random.below(c.shape.num_heads);
      const std::vector<float> expected = setup.expected(t, h);
      const auto part = [&](const Dense& out) {
        return out.row(t).subspan(static_cast<size_t>(h) * value, value);
      };
      ASSERT_TRUE(all_near(part(absorbed), expected, kAttention)) << "token " << t << " head " << h;
      ASSERT_TRUE(all_near(part(expanded), expected, kAttention)) << "token " << t << " head " << h;
    }
  }
  ASSERT_TRUE(all_near(absorbed.values, expanded.values, kAttention));
}

TEST_P(AttentionOps, MlaSmallAndOdd) {
  const MlaCase cases[] = {
      {mla_shape(1, 1, 2, 1, 1), {1}, {1}},
      {mla_shape(3, 5, 6, 7, 33), {1, 64, 65, 130}, {1, 3, 65, 20}},
      // The values of head 10 are rows 125 .. 131 of kv_b: across the edge of a block of scales.
      {mla_shape(13, 5, 6, 7, 40), {20}, {2}},
      {mla_shape(4, 16, 8, 16, 128), {200, 63}, {1, 63}},
      {mla_shape(16, 32, 16, 48, 200), {5, 129}, {0, 33}},
  };
  for (const Precision precision : kPrecisions) {
    auto ops = make(precision);
    uint64_t seed = 100;
    for (const MlaCase& c : cases) {
      for (const CacheFormat format :
           {CacheFormat::kF32, CacheFormat::kBF16, CacheFormat::kFp8Latent}) {
        for (const DType dtype : kWeightTypes)
          check_mla(*ops, c, format, dtype, seed++, c.shape.num_heads == 13 ? 26 : 3);
      }
    }
  }
}

TEST_P(AttentionOps, MlaModelShapes) {
  auto ops = make(Precision::kBFloat16);
  // V3: 128 heads; V2-Lite: 16 heads of the same sizes.
  const MlaShape v3 = mla_shape(128, 128, 64, 128, 512), v2_lite = mla_shape(16, 128, 64, 128, 512);
  check_mla(*ops, {v3, {4}, {1}}, CacheFormat::kFp8Latent, DType::kF8E4M3, 200, 4);
  check_mla(*ops, {v2_lite, {66, 3}, {2, 1}}, CacheFormat::kFp8Latent, DType::kF8E4M3, 201, 2);
  check_mla(*ops, {v2_lite, {130, 9, 1}, {19, 1, 1}}, CacheFormat::kBF16, DType::kBF16, 202, 2);
}

// The queries are rotated in place, the cache gets the normalised latent and the rotated key, and
// nothing else in the cache changes.
TEST_P(AttentionOps, MlaPrepareWritesQueriesAndCache) {
  const MlaCase c{mla_shape(3, 8, 6, 8, 160), {70, 2}, {1, 1}};
  for (const CacheFormat format :
       {CacheFormat::kF32, CacheFormat::kBF16, CacheFormat::kFp8Latent}) {
    auto ops = make(Precision::kBFloat16);
    MlaSetup s(*ops, c, format, DType::kBF16, 7);
    const Tolerance exact{1e-6, 1e-6, "f32"};
    const Tolerance stored = format == CacheFormat::kF32    ? exact
                             : format == CacheFormat::kBF16 ? Tolerance{4e-3, 1e-6, "bf16"}
                                                            : Tolerance{7e-2, 4e-2, "e4m3"};
    for (int64_t t = 0; t < s.q.rows; ++t) {
      const auto at = static_cast<size_t>(t);
      for (size_t h = 0; h < 3; ++h) {
        EXPECT_TRUE(all_near(s.q.row(t).subspan(h * 14, 8), s.q_before.row(t).subspan(h * 14, 8),
                             {0, 0, "not rotated"}));
        EXPECT_TRUE(all_near(
            s.q.row(t).subspan(h * 14 + 8, 6),
            s.rope.rotated(s.q_before.row(t).subspan(h * 14 + 8, 6), s.whole->positions[at]),
            exact));
      }
      const std::vector<float> cached = cache_values(s.cache, s.whole->slots[at], 160);
      double squares = 0.0;
      for (int64_t i = 0; i < 160; ++i)
        squares += double{s.kv_a.at(t, i)} * double{s.kv_a.at(t, i)};
      std::vector<float> latent;
      for (int64_t i = 0; i < 160; ++i)
        latent.push_back(static_cast<float>(double{s.kv_a.at(t, i)} * s.norm.value(0, i) /
                                            std::sqrt(squares / 160.0 + 1e-6)));
      EXPECT_TRUE(all_near(std::span(cached).first(160), latent, stored));
      EXPECT_TRUE(all_near(std::span(cached).subspan(160),
                           s.rope.rotated(s.kv_a.row(t).subspan(160), s.whole->positions[at]),
                           format == CacheFormat::kF32 ? exact : Tolerance{4e-3, 1e-6, "bf16"}));
    }
    int64_t untouched = 0;
    for (int64_t slot = 0; slot < s.cache.layer.num_blocks * kBlockTokens; ++slot) {
      const std::byte* row = s.cache.bytes.data() + slot * s.cache.layer.row_bytes;
      untouched += std::all_of(row, row + s.cache.layer.row_bytes,
                               [](std::byte b) { return b == std::byte{0xff}; });
    }
    EXPECT_EQ(untouched, s.cache.layer.num_blocks * kBlockTokens - 72);
  }
}

struct GqaCase {
  int32_t heads, kv_heads, head_dim;
  bool interleaved;
  std::vector<int32_t> contexts, queries;
};

void check_gqa(Ops& ops, const GqaCase& c, CacheFormat format, uint64_t seed) {
  SCOPED_TRACE(::testing::Message()
               << c.heads << "/" << c.kv_heads << " heads of " << c.head_dim << ", format "
               << static_cast<int>(format) << ", seed " << seed);
  Random random(seed);
  const GqaShape shape{.num_heads = c.heads,
                       .num_kv_heads = c.kv_heads,
                       .head_dim = c.head_dim,
                       .scale = 1.0f / std::sqrt(static_cast<float>(c.head_dim))};
  PagedCache cache(random, format, 2 * c.kv_heads * c.head_dim, 0, c.contexts);
  const auto whole = whole_step(cache);
  const Rope rope(*std::max_element(c.contexts.begin(), c.contexts.end()), c.head_dim / 2,
                  c.interleaved);
  Dense qkv =
      random_dense(random, whole->batch.num_tokens, int64_t{c.heads + 2 * c.kv_heads} * c.head_dim);
  const Dense before = qkv;
  ops.gqa_prepare(shape, qkv.matrix(), rope.table, whole->batch, cache.layer);
  const auto D = static_cast<size_t>(c.head_dim);
  const auto kv_heads = static_cast<size_t>(c.kv_heads), heads = static_cast<size_t>(c.heads);
  for (int64_t t = 0; t < qkv.rows; ++t) {
    for (size_t h = 0; h < heads + kv_heads; ++h)
      ASSERT_TRUE(all_near(
          qkv.row(t).subspan(h * D, D),
          rope.rotated(before.row(t).subspan(h * D, D), whole->positions[static_cast<size_t>(t)]),
          {1e-6, 1e-6, "f32"}));
    const std::vector<float> cached = cache_values(cache, whole->slots[static_cast<size_t>(t)], 0);
    for (size_t i = 0; i < cached.size(); ++i) {
      const float value = qkv.row(t)[heads * D + i];
      ASSERT_EQ(cached[i], format == CacheFormat::kF32 ? value : bf16_to_f32(f32_to_bf16(value)));
    }
  }
  std::vector<int32_t> sequences(c.contexts.size()), begins;
  std::iota(sequences.begin(), sequences.end(), 0);
  for (size_t s = 0; s < c.contexts.size(); ++s) begins.push_back(c.contexts[s] - c.queries[s]);
  const Step step(cache, sequences, begins, c.contexts);
  Dense queries = rows_of(qkv, *whole, step);
  Dense out(step.batch.num_tokens, c.heads * c.head_dim);
  ops.gqa_attention(shape, queries.matrix(), step.batch, cache.layer, out.matrix());
  for (int64_t t = 0; t < out.rows; t += 1 + out.rows / 12) {
    const auto at = static_cast<size_t>(t);
    for (size_t h = 0; h < heads; ++h) {
      const size_t kv_head = h / (heads / kv_heads);
      const auto q_row = queries.row(t).subspan(h * D, D);
      const std::vector<double> query(q_row.begin(), q_row.end());
      std::vector<std::vector<double>> keys, values;
      for (int32_t p = 0; p <= step.positions[at]; ++p) {
        const auto cached = cache_values(cache, cache.slot(step.owners[at], p), 0);
        const auto k = cached.begin() + static_cast<std::ptrdiff_t>(kv_head * D);
        const auto v = k + static_cast<std::ptrdiff_t>(kv_heads * D);
        keys.emplace_back(k, k + c.head_dim);
        values.emplace_back(v, v + c.head_dim);
      }
      ASSERT_TRUE(all_near(out.row(t).subspan(h * D, D),
                           naive_attention(query, keys, values, double{shape.scale}), kAttention))
          << "token " << t << " head " << h;
    }
  }
}

TEST_P(AttentionOps, Gqa) {
  auto ops = make(Precision::kBFloat16);
  uint64_t seed = 300;
  for (const CacheFormat format : {CacheFormat::kF32, CacheFormat::kBF16}) {
    check_gqa(*ops, {1, 1, 2, false, {1}, {1}}, format, seed++);
    check_gqa(*ops, {6, 3, 10, true, {64, 65, 1}, {64, 2, 1}}, format, seed++);
    check_gqa(*ops, {4, 4, 36, false, {200}, {1}}, format, seed++);
    check_gqa(*ops, {12, 2, 128, false, {150, 3, 128}, {40, 0, 1}}, format, seed++);  // Qwen2-1.5B
    check_gqa(*ops, {28, 4, 128, false, {67}, {3}}, format, seed++);                  // Qwen2-7B
    check_gqa(*ops, {32, 8, 64, false, {30, 90}, {1, 1}}, format, seed++);            // Llama 3.2
  }
}

TEST_P(AttentionOps, NoTokens) {
  Random random(1);
  auto ops = make(Precision::kBFloat16);
  PagedCache cache(random, CacheFormat::kF32, 8, 6, {4});
  const Step step(cache, {0}, {4}, {4});
  Dense q(0, 4), kv_a(0, 8), out(0, 2);
  const Rope rope(5, 1, true);
  const OwnedWeight norm = random_weight(random, DType::kF32, 1, 6, 1.0f);
  const OwnedWeight kv_b = random_weight(random, DType::kF32, 4, 6, 1.0f);
  const MlaShape shape = mla_shape(1, 2, 2, 2, 6);
  ops->mla_prepare(shape, q.matrix(), kv_a.matrix(), norm.weight(), 1e-6f, rope.table, step.batch,
                   cache.layer);
  for (const MlaForm form : {MlaForm::kAbsorbed, MlaForm::kExpanded})
    ops->mla_attention(shape, form, q.matrix(), kv_b.weight(), step.batch, cache.layer,
                       out.matrix());
}

}  // namespace
}  // namespace galley::kernels::testing

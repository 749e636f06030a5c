// The promise of batch_invariant(): a token's bits do not depend on its neighbours, on how its
// sequence is cut into steps, or on the number of threads.
#include <bit>

#include "kernels/testing/attention_fixture.h"

namespace galley::kernels::testing {
namespace {

class Invariance : public OpsTest {};
GALLEY_ON_EVERY_IMPLEMENTATION(Invariance);

// Bits, not values: -0 differs from 0.
::testing::AssertionResult same_bits(std::span<const float> a, std::span<const float> b) {
  for (size_t i = 0; i < a.size(); ++i) {
    if (std::bit_cast<uint32_t>(a[i]) != std::bit_cast<uint32_t>(b[i]))
      return ::testing::AssertionFailure() << "at " << i << ": " << a[i] << " and " << b[i];
  }
  return ::testing::AssertionSuccess();
}

// Rows [begin, end) as a matrix of their own.
Dense slice(const Dense& x, int64_t begin, int64_t end) {
  Dense out(end - begin, x.cols);
  std::copy_n(x.values.begin() + begin * x.ld, (end - begin) * x.cols, out.values.begin());
  return out;
}

constexpr int64_t kTokens = 64;

// Runs `op` on all tokens at once, then on pieces of every size that matters with 1 to 3 threads.
template <typename Op>
void check_pieces(const Backend& one, Precision precision, const Dense& x, int64_t out_cols,
                  const Op& op) {
  auto ops = make_ops(one, precision, 2, kTestLimits, true);
  Dense input = x, whole(x.rows, out_cols);
  op(*ops, 0, input, whole);
  for (const int32_t threads : {1, 2, 3}) {
    auto other = make_ops(one, precision, threads, kTestLimits, true);
    for (const int64_t piece : {1, 2, 5, 6, 7, 9, 31}) {
      for (int64_t begin = 0; begin < x.rows; begin += piece) {
        const int64_t end = std::min(x.rows, begin + piece);
        Dense part = slice(x, begin, end), out(end - begin, out_cols);
        op(*other, begin, part, out);
        for (int64_t t = begin; t < end; ++t)
          ASSERT_TRUE(same_bits(out.row(t - begin), whole.row(t)))
              << threads << " threads, pieces of " << piece << ", token " << t;
      }
    }
  }
}

TEST_P(Invariance, LinearAndMlp) {
  for (const Precision precision : kPrecisions) {
    for (const DType dtype : kWeightTypes) {
      SCOPED_TRACE(label(dtype, precision));
      Random random(5);
      // Longer than one chunk of K, and ending inside a block of 128.
      const OwnedWeight weight = random_weight(random, dtype, 70, 2200, 0.02f);
      check_pieces(implementation(), precision, random_dense(random, kTokens, 2200), 70,
                   [&](Ops& ops, int64_t, Dense& in, Dense& out) {
                     ops.linear(in.matrix(), weight.weight(), {}, out.matrix());
                   });
      // One token reads rows of each of these lengths in groups of another size; the rows cross a
      // block of 128.
      for (const int64_t cols : {700, 1300, 2050}) {
        SCOPED_TRACE(cols);
        const OwnedWeight other = random_weight(random, dtype, 141, cols, 0.02f);
        const Dense x = random_dense(random, 3, cols);
        check_pieces(implementation(), precision, x, 141,
                     [&](Ops& ops, int64_t, Dense& in, Dense& out) {
                       ops.linear(in.matrix(), other.weight(), {}, out.matrix());
                     });
      }
      const OwnedMlp mlp = random_mlp(random, dtype, 140, 200);
      check_pieces(implementation(), precision, random_dense(random, kTokens, 140), 140,
                   [&](Ops& ops, int64_t, Dense& in, Dense& out) {
                     ops.gated_mlp(in.matrix(), mlp.weights(), out.matrix());
                   });
    }
  }
}

TEST_P(Invariance, NormsAndExperts) {
  Random random(6);
  const OwnedWeight norm = random_weight(random, DType::kBF16, 1, 1000, 1.0f);
  check_pieces(implementation(), Precision::kBFloat16, random_dense(random, kTokens, 1000), 1000,
               [&](Ops& ops, int64_t, Dense& in, Dense& out) {
                 ops.rms_norm(in.matrix(), norm.weight(), 1e-6f, out.matrix());
               });
  for (const DType dtype : {DType::kBF16, DType::kF8E4M3}) {
    SCOPED_TRACE(name_of(dtype));
    std::vector<OwnedMlp> owned;
    std::vector<MlpWeights> all;
    owned.reserve(6);
    all.reserve(6);
    for (int i = 0; i < 6; ++i) owned.push_back(random_mlp(random, dtype, 150, 72));
    for (const OwnedMlp& mlp : owned) all.push_back(mlp.weights());
    std::vector<int32_t> experts;
    std::vector<float> weights;
    for (int64_t i = 0; i < kTokens; ++i) {
      const auto first = static_cast<int32_t>(random.below(6));
      experts.insert(experts.end(),
                     {first, (first + 1 + static_cast<int32_t>(random.below(5))) % 6});
      weights.insert(weights.end(), {0.7f, random.normal()});
    }
    check_pieces(implementation(), Precision::kBFloat16, random_dense(random, kTokens, 150), 150,
                 [&](Ops& ops, int64_t begin, Dense& in, Dense& out) {
                   ops.experts(in.matrix(), all, 2, experts.data() + begin * 2,
                               weights.data() + begin * 2, out.matrix());
                 });
  }
}

// `attend(ops, step, queries)` gives the outputs of a step; the outputs of all positions at once
// are compared with those of the same positions in steps of other sizes, among other sequences.
template <typename Attend>
void check_steps(const Backend& one, const PagedCache& cache, const Dense& queries,
                 const Attend& attend) {
  const auto whole = whole_step(cache);
  auto ops = make_ops(one, Precision::kBFloat16, 2, kTestLimits, true);
  const Dense expected = attend(*ops, *whole, queries);
  const auto sequences = static_cast<int32_t>(cache.contexts.size());
  for (const int32_t threads : {1, 3}) {
    auto other = make_ops(one, Precision::kBFloat16, threads, kTestLimits, true);
    for (const int32_t piece : {1, 2, 17, 100}) {
      for (const bool together : {false, true}) {
        // Round by round, the next piece of each sequence: alone, or all in one step.
        for (int32_t begin = 0;
             begin < *std::max_element(cache.contexts.begin(), cache.contexts.end());
             begin += piece) {
          for (int32_t first = 0; first < sequences; first += together ? sequences : 1) {
            std::vector<int32_t> ids, begins, ends;
            for (int32_t s = first; s < (together ? sequences : first + 1); ++s) {
              const int32_t context = cache.contexts[static_cast<size_t>(s)];
              ids.push_back(s);
              begins.push_back(std::min(begin, context));
              ends.push_back(std::min(begin + piece, context));
            }
            // Of long rows of single steps a few are enough.
            if (piece == 1 && begin > 3 && begin % 31 != 0 && begin % 64 > 1) continue;
            const Step step(cache, ids, begins, ends);
            const Dense out = attend(*other, step, rows_of(queries, *whole, step));
            for (int64_t t = 0; t < out.rows; ++t) {
              const auto at = static_cast<size_t>(t);
              const int64_t row =
                  whole->query_begin[static_cast<size_t>(step.owners[at])] + step.positions[at];
              ASSERT_TRUE(same_bits(out.row(t), expected.row(row)))
                  << threads << " threads, pieces of " << piece << ", sequence " << step.owners[at]
                  << ", position " << step.positions[at];
            }
          }
        }
      }
    }
  }
}

TEST_P(Invariance, Mla) {
  const MlaShape shape{.num_heads = 6,
                       .nope_dim = 12,
                       .rope_dim = 8,
                       .value_dim = 20,
                       .latent_dim = 136,
                       .scale = 0.2f};
  for (const CacheFormat format :
       {CacheFormat::kF32, CacheFormat::kBF16, CacheFormat::kFp8Latent}) {
    Random random(7);
    PagedCache cache(random, format, 144, 136, {150, 1, 70});
    const auto whole = whole_step(cache);
    const Rope rope(150, 4, true);
    const OwnedWeight norm = random_weight(random, DType::kBF16, 1, 136, 1.0f);
    const OwnedWeight kv_b = random_weight(random, DType::kBF16, 6 * 32, 136, 0.1f);
    Dense q = random_dense(random, whole->batch.num_tokens, 6 * 20);
    Dense kv_a = random_dense(random, whole->batch.num_tokens, 144);
    auto ops = make(Precision::kBFloat16);
    ops->mla_prepare(shape, q.matrix(), kv_a.matrix(), norm.weight(), 1e-6f, rope.table,
                     whole->batch, cache.layer);
    for (const MlaForm form : {MlaForm::kAbsorbed, MlaForm::kExpanded}) {
      check_steps(implementation(), cache, q, [&](Ops& any, const Step& step, Dense queries) {
        Dense out(queries.rows, 6 * 20);
        any.mla_attention(shape, form, queries.matrix(), kv_b.weight(), step.batch, cache.layer,
                          out.matrix());
        return out;
      });
    }
  }
}

TEST_P(Invariance, Gqa) {
  const GqaShape shape{.num_heads = 6, .num_kv_heads = 2, .head_dim = 36, .scale = 0.15f};
  for (const CacheFormat format : {CacheFormat::kF32, CacheFormat::kBF16}) {
    Random random(8);
    PagedCache cache(random, format, 144, 0, {150, 1, 70});
    const auto whole = whole_step(cache);
    const Rope rope(150, 18, false);
    Dense qkv = random_dense(random, whole->batch.num_tokens, 10 * 36);
    auto ops = make(Precision::kBFloat16);
    ops->gqa_prepare(shape, qkv.matrix(), rope.table, whole->batch, cache.layer);
    check_steps(implementation(), cache, qkv, [&](Ops& any, const Step& step, Dense queries) {
      Dense out(queries.rows, 6 * 36);
      any.gqa_attention(shape, queries.matrix(), step.batch, cache.layer, out.matrix());
      return out;
    });
  }
}

}  // namespace
}  // namespace galley::kernels::testing

// The router and the routed experts of every implementation.
#include <algorithm>
#include <numeric>

#include "kernels/testing/ops_fixture.h"

namespace galley::kernels::testing {
namespace {

class ExpertOps : public OpsTest {};
GALLEY_ON_EVERY_IMPLEMENTATION(ExpertOps);

constexpr RouteShape kV3{.scoring = Scoring::kSigmoid,
                         .top_k = TopK::kNoAuxTc,
                         .num_experts = 256,
                         .num_groups = 8,
                         .num_groups_kept = 4,
                         .experts_per_token = 8,
                         .normalise = true,
                         .routed_scale = 2.5f};
constexpr RouteShape kV2{.scoring = Scoring::kSoftmax,
                         .top_k = TopK::kGroupLimitedGreedy,
                         .num_experts = 160,
                         .num_groups = 8,
                         .num_groups_kept = 3,
                         .experts_per_token = 6,
                         .normalise = false,
                         .routed_scale = 16.0f};
constexpr RouteShape kV2Lite{.scoring = Scoring::kSoftmax,
                             .top_k = TopK::kGreedy,
                             .num_experts = 64,
                             .num_groups = 1,
                             .num_groups_kept = 1,
                             .experts_per_token = 6,
                             .normalise = false,
                             .routed_scale = 1.0f};

struct Routed {
  std::vector<int32_t> experts;
  std::vector<float> weights;
};

Routed route(Ops& ops, const RouteShape& shape, Dense& logits, const float* bias) {
  const auto size = static_cast<size_t>(logits.rows * shape.experts_per_token);
  Routed out{std::vector<int32_t>(size, -1), std::vector<float>(size, NAN)};
  ops.route_tokens(shape, logits.matrix(), bias, out.experts.data(), out.weights.data());
  return out;
}

// By sorting, where the operation selects.
Routed naive_route(const RouteShape& shape, const Dense& logits, const float* bias) {
  Routed out;
  const auto size = static_cast<size_t>(shape.num_experts / shape.num_groups);
  for (int64_t t = 0; t < logits.rows; ++t) {
    std::vector<double> scores(logits.row(t).begin(), logits.row(t).end());
    const double max = *std::max_element(scores.begin(), scores.end());
    double total = 0.0;
    for (double& s : scores) {
      s = shape.scoring == Scoring::kSigmoid ? 1.0 / (1.0 + std::exp(-s)) : std::exp(s - max);
      total += s;
    }
    if (shape.scoring == Scoring::kSoftmax) {
      for (double& s : scores) s /= total;
    }
    std::vector<double> choices = scores;
    for (size_t e = 0; e < choices.size(); ++e) choices[e] += bias != nullptr ? double{bias[e]} : 0;
    const auto best_first = [](const std::vector<double>& v) {
      std::vector<int32_t> ids(v.size());
      std::iota(ids.begin(), ids.end(), 0);
      std::stable_sort(ids.begin(), ids.end(), [&](int32_t a, int32_t b) {
        return v[static_cast<size_t>(a)] > v[static_cast<size_t>(b)];
      });
      return ids;
    };
    std::vector<double> groups;
    for (size_t begin = 0; begin < choices.size(); begin += size) {
      std::vector<double> in(choices.begin() + static_cast<std::ptrdiff_t>(begin),
                             choices.begin() + static_cast<std::ptrdiff_t>(begin + size));
      std::sort(in.rbegin(), in.rend());
      groups.push_back(shape.top_k == TopK::kNoAuxTc ? in[0] + in[1] : in[0]);
    }
    std::vector<int32_t> order = best_first(groups);
    order.resize(static_cast<size_t>(shape.num_groups_kept));
    double sum = 0.0;
    std::vector<int32_t> chosen;
    for (const int32_t e : best_first(choices)) {
      if (std::find(order.begin(), order.end(), e / static_cast<int32_t>(size)) == order.end())
        continue;
      chosen.push_back(e);
      sum += scores[static_cast<size_t>(e)];
      if (static_cast<int32_t>(chosen.size()) == shape.experts_per_token) break;
    }
    for (const int32_t e : chosen) {
      out.experts.push_back(e);
      out.weights.push_back(
          static_cast<float>(scores[static_cast<size_t>(e)] / (shape.normalise ? sum : 1.0) *
                             double{shape.routed_scale}));
    }
  }
  return out;
}

TEST_P(ExpertOps, RouteEqualsTheReference) {
  auto ops = make(Precision::kBFloat16);
  Random random(11);
  for (const RouteShape& shape : {kV3, kV2, kV2Lite}) {
    Dense logits = random_dense(random, 200, shape.num_experts, 2.0f);
    std::vector<float> bias(static_cast<size_t>(shape.num_experts));
    for (float& b : bias) b = random.normal() * 0.1f - 0.3f;  // choices below zero occur
    const float* biases = shape.top_k == TopK::kNoAuxTc ? bias.data() : nullptr;
    const Routed actual = route(*ops, shape, logits, biases);
    const Routed expected = naive_route(shape, logits, biases);
    EXPECT_EQ(actual.experts, expected.experts);
    EXPECT_TRUE(all_near(actual.weights, expected.weights, {1e-5, 1e-7, "f32"}));
  }
  Dense none(0, kV3.num_experts);
  route(*ops, kV3, none, nullptr);
}

// The surprising rule: the biased score chooses, the unbiased one weighs.
TEST_P(ExpertOps, BiasChoosesAndDoesNotWeigh) {
  auto ops = make(Precision::kBFloat16);
  const RouteShape shape{.scoring = Scoring::kSigmoid,
                         .top_k = TopK::kNoAuxTc,
                         .num_experts = 4,
                         .num_groups = 1,
                         .num_groups_kept = 1,
                         .experts_per_token = 2,
                         .normalise = true,
                         .routed_scale = 1.0f};
  Dense logits(1, 4);
  logits.values = {0.0f, 0.0f, 3.0f, 3.0f};
  const std::vector<float> bias = {10.0f, 0.0f, 0.0f, 0.0f};
  const Routed routed = route(*ops, shape, logits, bias.data());
  EXPECT_EQ(routed.experts, (std::vector<int32_t>{0, 2}));
  const float three = 1.0f / (1.0f + std::exp(-3.0f));
  EXPECT_NEAR(routed.weights[0], 0.5f / (0.5f + three), 1e-6);
  EXPECT_NEAR(routed.weights[1], three / (0.5f + three), 1e-6);
}

TEST_P(ExpertOps, TiesGoToTheLowerId) {
  auto ops = make(Precision::kBFloat16);
  for (const RouteShape& shape : {kV3, kV2, kV2Lite}) {
    Dense logits(1, shape.num_experts);
    std::fill(logits.values.begin(), logits.values.end(), 0.25f);
    std::vector<int32_t> expected(static_cast<size_t>(shape.experts_per_token));
    std::iota(expected.begin(), expected.end(), 0);
    EXPECT_EQ(route(*ops, shape, logits, nullptr).experts, expected);
  }
}

// A broken upstream may hand over NaN: the ids must stay inside the table all the same.
TEST_P(ExpertOps, NanLogitsStillGiveDistinctExperts) {
  auto ops = make(Precision::kBFloat16);
  for (const RouteShape& shape : {kV3, kV2, kV2Lite}) {
    Dense logits(2, shape.num_experts);
    std::fill_n(logits.values.begin() + shape.num_experts, 3, 1.0f);
    Routed routed = route(*ops, shape, logits, nullptr);
    for (int64_t t = 0; t < 2; ++t) {
      auto first = routed.experts.begin() + t * shape.experts_per_token;
      std::sort(first, first + shape.experts_per_token);
      EXPECT_EQ(std::adjacent_find(first, first + shape.experts_per_token),
                first + shape.experts_per_token);
      EXPECT_GE(*first, 0);
      EXPECT_LT(*(first + shape.experts_per_token - 1), shape.num_experts);
    }
  }
}

void check_experts(Ops& ops, DType dtype, int64_t tokens, int64_t hidden, int64_t inner,
                   int64_t num_experts, int32_t per_token, uint64_t seed) {
  SCOPED_TRACE(::testing::Message() << label(dtype, ops.precision()) << ", T " << tokens << ", H "
                                    << hidden << ", I " << inner << ", seed " << seed);
  Random random(seed);
  std::vector<OwnedMlp> owned;
  std::vector<MlpWeights> all;
  owned.reserve(static_cast<size_t>(num_experts));
  all.reserve(static_cast<size_t>(num_experts));
  for (int64_t e = 0; e < num_experts; ++e)
    owned.push_back(random_mlp(random, dtype, hidden, inner));
  for (const OwnedMlp& mlp : owned) all.push_back(mlp.weights());
  Dense x = random_dense(random, tokens, hidden);
  std::vector<int32_t> experts;
  std::vector<float> weights;
  for (int64_t t = 0; t < tokens; ++t) {
    std::vector<int32_t> ids(static_cast<size_t>(num_experts));
    std::iota(ids.begin(), ids.end(), 0);
    for (int32_t k = 0; k < per_token; ++k) {
      const auto at = static_cast<size_t>(k);
      std::swap(ids[at], ids[at + static_cast<size_t>(random.below(num_experts - k))]);
      experts.push_back(ids[at]);
      weights.push_back(0.1f + 0.1f * static_cast<float>(random.below(9)));
    }
  }
  Dense out(tokens, hidden);
  ops.experts(x.matrix(), all, per_token, experts.data(), weights.data(), out.matrix());
  const bool quantised = dtype == DType::kF8E4M3 && ops.precision() == Precision::kBFloat16;
  const Tolerance tolerance =
      ops.precision() == Precision::kFloat32
          ? Tolerance{1e-5, 5e-5, "f32 sums"}
          : Tolerance{0.0, quantised ? 4e-2 : 6e-3,
                      "a last bit of the inner value may round to the next bf16 or e4m3"};
  for (int64_t t = 0; t < tokens; ++t) {
    std::vector<float> expected(static_cast<size_t>(hidden), 0.0f);
    for (int32_t k = 0; k < per_token; ++k) {
      const auto at = static_cast<size_t>(t * per_token + k);
      const std::vector<float> part =
          naive_mlp(x.row(t), owned[static_cast<size_t>(experts[at])], ops.precision());
      for (size_t i = 0; i < part.size(); ++i) expected[i] += weights[at] * part[i];
    }
    ASSERT_TRUE(all_near(out.row(t), expected, tolerance)) << "token " << t;
  }
}

TEST_P(ExpertOps, ExpertsEqualTheReference) {
  for (const Precision precision : kPrecisions) {
    auto ops = make(precision);
    uint64_t seed = 40;
    for (const DType dtype : kWeightTypes) {
      check_experts(*ops, dtype, 0, 32, 16, 4, 2, seed++);
      check_experts(*ops, dtype, 1, 1, 1, 1, 1, seed++);
      check_experts(*ops, dtype, 1, 200, 65, 8, 8, seed++);
      check_experts(*ops, dtype, 37, 129, 130, 9, 3, seed++);
    }
  }
}

// More tokens than experts() groups at once: the seam between the groups shows nothing.
TEST_P(ExpertOps, MoreTokensThanOneGroup) {
  auto ops = make(Precision::kBFloat16);
  check_experts(*ops, DType::kBF16, cpu::kExpertTokens + 3, 16, 8, 4, 2, 90);
}

// V3's and V2-Lite's widths, few experts.
TEST_P(ExpertOps, ModelShapes) {
  auto ops = make(Precision::kBFloat16);
  check_experts(*ops, DType::kF8E4M3, 2, 7168, 256, 2, 1, 91);
  check_experts(*ops, DType::kF8E4M3, 1, 256, 2048, 3, 2, 92);
  check_experts(*ops, DType::kBF16, 2, 2048, 1408, 2, 2, 93);
}

}  // namespace
}  // namespace galley::kernels::testing

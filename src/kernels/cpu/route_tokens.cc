// The router: E is at most a few hundred, so everything is plain loops in one task per token.
#include <algorithm>
#include <cmath>

#include "kernels/cpu/cpu_ops.h"

namespace galley::kernels::cpu {
namespace {

// Ids of the `count` largest values of v[0, n), best first; the lower id wins a tie, and NaN loses
// against everything.
void choose_best(const float* v, int64_t n, int64_t count, int32_t* ids, bool* taken) {
  std::fill_n(taken, n, false);
  for (int64_t rank = 0; rank < count; ++rank) {
    int64_t best = -1;
    for (int64_t i = 0; i < n; ++i) {
      if (taken[i]) continue;
      if (best < 0 || v[i] > v[best] || (std::isnan(v[best]) && !std::isnan(v[i]))) best = i;
    }
    taken[best] = true;
    ids[rank] = static_cast<int32_t>(best);
  }
}

void score_row(Scoring scoring, const float* logits, int64_t n, float* scores) {
  if (scoring == Scoring::kSigmoid) {
    for (int64_t i = 0; i < n; ++i) scores[i] = 1.0f / (1.0f + std::exp(-logits[i]));
    return;
  }
  const float max = *std::max_element(logits, logits + n);
  double sum = 0.0;
  for (int64_t i = 0; i < n; ++i) {
    scores[i] = std::exp(logits[i] - max);
    sum += double{scores[i]};
  }
  for (int64_t i = 0; i < n; ++i) scores[i] = static_cast<float>(double{scores[i]} / sum);
}

float group_value(TopK rule, const float* choices, int64_t n) {
  float best = -INFINITY, second = -INFINITY;
  for (int64_t i = 0; i < n; ++i) {
    if (choices[i] > best) {
      second = best;
      best = choices[i];
    } else if (choices[i] > second) {
      second = choices[i];
    }
  }
  return rule == TopK::kNoAuxTc ? best + second : best;
}

}  // namespace

void CpuOps::route_tokens(const RouteShape& shape, const Matrix& logits, const float* bias,
                          int32_t* experts, float* weights) {
  const int64_t E = shape.num_experts, K = shape.experts_per_token, G = shape.num_groups;
  GALLEY_CHECK(logits.cols == E && logits.dtype == DType::kF32, "logits are [T, E] f32");
  GALLEY_CHECK(G > 0 && E % G == 0 && shape.num_groups_kept > 0 && shape.num_groups_kept <= G,
               "groups divide the experts");
  GALLEY_CHECK(K > 0 && K <= E / G * shape.num_groups_kept, "K experts are left to choose from");
  if (logits.rows == 0) return;
  for_tokens(logits.rows, [&](int64_t t, int32_t thread) {
    Arena& arena = threads_[static_cast<size_t>(thread)].arena;
    arena.clear();
    auto* scores = arena.take<float>(E);
    auto* choices = arena.take<float>(E);
    auto* taken = arena.take<bool>(E);
    auto* groups = arena.take<float>(G);
    auto* kept = arena.take<int32_t>(G);
    score_row(shape.scoring, logits.row<float>(t), E, scores);
    for (int64_t e = 0; e < E; ++e) choices[e] = scores[e] + (bias != nullptr ? bias[e] : 0.0f);
    if (shape.top_k != TopK::kGreedy && shape.num_groups_kept < G) {
      const int64_t size = E / G;
      for (int64_t g = 0; g < G; ++g)
        groups[g] = group_value(shape.top_k, choices + g * size, size);
      choose_best(groups, G, shape.num_groups_kept, kept, taken);
      // `taken` now says which groups stay. What is dropped must lose against any choice that
      // stays, whatever its sign: NaN does.
      for (int64_t g = 0; g < G; ++g) {
        if (!taken[g]) std::fill_n(choices + g * size, size, NAN);
      }
    }
    int32_t* ids = experts + t * K;
    choose_best(choices, E, K, ids, taken);
    float sum = 0.0f;
    for (int64_t k = 0; k < K; ++k) sum += scores[ids[k]];
    const float factor = shape.normalise ? shape.routed_scale / (sum + 1e-20f) : shape.routed_scale;
    for (int64_t k = 0; k < K; ++k) weights[t * K + k] = scores[ids[k]] * factor;
  });
}

}  // namespace galley::kernels::cpu

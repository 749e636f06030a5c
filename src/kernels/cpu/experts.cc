// The routed experts: tokens are grouped by expert, so each chosen expert's weights are read once
// for up to kExpertTokens tokens.
//
// Two regions: gate and up of every (expert, block of rows); then down, by blocks of output rows:
// one task holds that block for all experts and adds a token's parts in the order of its ranks, so
// the sum has one order whoever computes it.
#include <algorithm>
#include <cstring>

#include "kernels/cpu/cpu_ops.h"

namespace galley::kernels::cpu {

// An assignment is one (token, rank). They are sorted by expert, then token, then rank.
struct CpuOps::ExpertPlan {
  int64_t num_active = 0;
  int32_t* active = nullptr;  // [num_active] expert ids, ascending
  int32_t* begin = nullptr;   // [num_active + 1] first place of each
  int32_t* token = nullptr;   // [assignments] token at each place
  int32_t* place = nullptr;   // [assignments] place of token * K + rank
};

CpuOps::ExpertPlan CpuOps::plan_experts(int64_t num_experts, int64_t tokens,
                                        int32_t experts_per_token, const int32_t* experts) {
  const int64_t assigned = tokens * experts_per_token;
  ExpertPlan plan;
  plan.active = arena_.take<int32_t>(num_experts);
  plan.begin = arena_.take<int32_t>(num_experts + 1);
  plan.token = arena_.take<int32_t>(assigned);
  plan.place = arena_.take<int32_t>(assigned);
  auto* next = arena_.take<int32_t>(num_experts);
  std::fill_n(next, num_experts, 0);
  for (int64_t i = 0; i < assigned; ++i) {
    GALLEY_CHECK(experts[i] >= 0 && experts[i] < num_experts, "an expert id is inside E");
    ++next[experts[i]];
  }
  int32_t at = 0;
  for (int64_t e = 0; e < num_experts; ++e) {
    const int32_t count = next[e];
    next[e] = at;
    if (count == 0) continue;
    plan.active[plan.num_active] = static_cast<int32_t>(e);
    plan.begin[plan.num_active++] = at;
    at += count;
  }
  plan.begin[plan.num_active] = at;
  for (int64_t i = 0; i < assigned; ++i) {
    const int32_t place = next[experts[i]]++;
    plan.place[i] = place;
    plan.token[place] = static_cast<int32_t>(i / experts_per_token);
  }
  return plan;
}

void CpuOps::experts_chunk(const Matrix& x, std::span<const MlpWeights> all,
                           int32_t experts_per_token, const int32_t* experts, const float* weights,
                           const Matrix& out) {
  arena_.clear();
  const int64_t inner = all[0].gate.rows;
  const int64_t assigned = x.rows * experts_per_token;
  const ExpertPlan plan =
      plan_experts(static_cast<int64_t>(all.size()), x.rows, experts_per_token, experts);
  const Activations a = prepare(x, all[0].gate.dtype, Rounding::kByPrecision);
  const Matrix hidden{.data = arena_.take<float>(assigned * inner),
                      .dtype = DType::kF32,
                      .rows = assigned,
                      .cols = inner,
                      .ld = inner};

  const int64_t blocks = (inner + kRowBlock - 1) / kRowBlock;
  pool_.for_each(plan.num_active * blocks, [&](int64_t i, int32_t thread) {
    const int64_t slot = i / blocks;
    const int64_t begin = i % blocks * kRowBlock;
    const MlpWeights& expert = all[static_cast<size_t>(plan.active[slot])];
    gate_and_up(a, plan.token + plan.begin[slot], plan.begin[slot + 1] - plan.begin[slot], expert,
                begin, std::min(inner, begin + kRowBlock), thread,
                hidden.row<float>(plan.begin[slot]), hidden.ld);
  });

  const Activations h = prepare(hidden, all[0].down.dtype, Rounding::kByPrecision);
  for_row_blocks(
      x.rows, out.cols, row_bytes(all[0].down), [&](int64_t begin, int64_t end, int32_t thread) {
        ThreadState& state = threads_[static_cast<size_t>(thread)];
        state.arena.clear();
        auto* parts = state.arena.take<float>(assigned * kRowBlock);
        for (int64_t slot = 0; slot < plan.num_active; ++slot) {
          const int64_t first = plan.begin[slot];
          primitives_.gemm({.x = rows_from(h, first),
                            .num_tokens = plan.begin[slot + 1] - first,
                            .weight = &all[static_cast<size_t>(plan.active[slot])].down,
                            .row_begin = begin,
                            .row_end = end,
                            .out = parts + first * kRowBlock,
                            .ld_out = kRowBlock,
                            .scratch = state.gemm_scratch});
        }
        for (int64_t t = 0; t < x.rows; ++t) {
          float* to = out.row<float>(t) + begin;
          std::fill_n(to, end - begin, 0.0f);
          for (int64_t k = t * experts_per_token; k < (t + 1) * experts_per_token; ++k)
            primitives_.add_scaled(to, parts + plan.place[k] * kRowBlock, weights[k], end - begin);
        }
      });
}

void CpuOps::experts(const Matrix& x, std::span<const MlpWeights> all, int32_t experts_per_token,
                     const int32_t* experts, const float* weights, const Matrix& out) {
  GALLEY_CHECK(!all.empty() && experts_per_token > 0, "there are experts");
  GALLEY_CHECK(out.rows == x.rows && out.cols == x.cols, "x and out are [T, H]");
  GALLEY_CHECK(x.data != out.data || x.rows == 0, "out is not x");
  for (const MlpWeights& expert : all) {
    check_mlp(expert, x.cols);
    GALLEY_CHECK(expert.gate.rows == all[0].gate.rows && expert.gate.dtype == all[0].gate.dtype &&
                     expert.down.dtype == all[0].down.dtype,
                 "all experts have one shape and type");
  }
  for (int64_t first = 0; first < x.rows; first += kExpertTokens) {
    const int64_t count = std::min(kExpertTokens, x.rows - first);
    const auto part = [&](const Matrix& m) {
      return Matrix{
          .data = m.row<float>(first), .dtype = m.dtype, .rows = count, .cols = m.cols, .ld = m.ld};
    };
    experts_chunk(part(x), all, experts_per_token, experts + first * experts_per_token,
                  weights + first * experts_per_token, part(out));
  }
}

}  // namespace galley::kernels::cpu

// From logits to a token; kernels/sampling.h states the rules.
//
// Everything is a few passes over V. Nothing is sorted: top_k and top_p end in one Cut, the last
// token that stays in the order (larger probability, then lower id), found by partition; the draw
// then goes through the ids in their order. Greedy without edits is one pass.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu/cpu_ops.h"

namespace galley::kernels::cpu {
namespace {

constexpr float kLowest = -std::numeric_limits<float>::infinity();

struct Candidate {
  float p;
  int32_t token;
};

bool before(const Candidate& a, const Candidate& b) {
  return a.p > b.p || (a.p == b.p && a.token < b.token);
}

bool allowed(const SampleRow& row, int64_t token) {
  return row.mask == nullptr || (row.mask[token / 32] >> (token % 32) & 1u) != 0;
}

bool is_edited(const SampleRow& row) {
  const bool penalties = row.presence_penalty != 0.0f || row.frequency_penalty != 0.0f ||
                         row.repetition_penalty != 1.0f;
  return row.mask != nullptr || !row.banned.empty() || !row.logit_bias.empty() ||
         (penalties && (!row.counts.empty() || !row.pending.empty()));
}

void penalise(const SampleRow& row, int32_t in_output, bool seen, float& logit) {
  if (seen && row.repetition_penalty != 1.0f)
    logit = logit > 0.0f ? logit / row.repetition_penalty : logit * row.repetition_penalty;
  if (in_output > 0) {
    logit -= row.frequency_penalty * static_cast<float>(in_output);
    logit -= row.presence_penalty;
  }
}

// Steps 2 and 3 of the rules, in place. Tokens that may not be chosen become -infinity, last, so
// that no bias brings them back. Ids outside the vocabulary are ignored.
void edit(const SampleRow& row, int64_t vocab_size, float* logits) {
  const auto inside = [&](int64_t token) { return token >= 0 && token < vocab_size; };
  for (const auto& [token, bias] : row.logit_bias) {
    if (inside(token)) logits[token] += bias;
  }
  const auto times_pending = [&](int32_t token) {
    return static_cast<int32_t>(std::count(row.pending.begin(), row.pending.end(), token));
  };
  for (const TokenCount& count : row.counts) {
    if (!inside(count.token)) continue;
    const int32_t in_output = count.in_output + times_pending(count.token);
    penalise(row, in_output, in_output > 0 || count.in_prompt, logits[count.token]);
  }
  for (size_t i = 0; i < row.pending.size(); ++i) {
    const int32_t token = row.pending[i];
    const auto earlier = row.pending.first(i);
    if (!inside(token) || std::find(earlier.begin(), earlier.end(), token) != earlier.end())
      continue;
    const bool counted = std::any_of(row.counts.begin(), row.counts.end(),
                                     [&](const TokenCount& c) { return c.token == token; });
    if (!counted) penalise(row, times_pending(token), true, logits[token]);
  }
  for (const int32_t token : row.banned) {
    if (inside(token)) logits[token] = kLowest;
  }
  if (row.mask == nullptr) return;
  for (int64_t token = 0; token < vocab_size; ++token) {
    if (!allowed(row, token)) logits[token] = kLowest;
  }
}

int32_t first_equal(const float* v, int64_t n, float value) {
  for (int64_t i = 0; i < n; ++i) {
    if (v[i] == value) return static_cast<int32_t>(i);
  }
  return -1;
}

// What is left when every logit is NaN or -infinity: the lowest id that is neither banned nor
// masked, or -1.
int32_t first_allowed(const SampleRow& row, int64_t vocab_size) {
  for (int64_t token = 0; token < vocab_size; ++token) {
    const auto id = static_cast<int32_t>(token);
    if (allowed(row, token) &&
        std::find(row.banned.begin(), row.banned.end(), id) == row.banned.end())
      return id;
  }
  return -1;
}

// The last candidate that stays when the best `count` do. Reorders.
Candidate kth_best(std::span<Candidate> all, int64_t count) {
  std::nth_element(all.begin(), all.begin() + (count - 1), all.end(), before);
  return all[static_cast<size_t>(count - 1)];
}

// The last candidate of the smallest set of best ones whose sum reaches `target`. Halves the range
// that holds it: linear time on average. Reorders.
Candidate reach_sum(std::span<Candidate> all, double target) {
  size_t begin = 0, end = all.size();
  double above = 0.0;
  while (end - begin > 1) {
    const size_t half = begin + (end - begin) / 2;
    const auto at = [&](size_t i) { return all.begin() + static_cast<std::ptrdiff_t>(i); };
    std::nth_element(at(begin), at(half), at(end), before);
    double sum = 0.0;
    for (size_t i = begin; i < half; ++i) sum += double{all[i].p};
    if (above + sum >= target) {
      end = half;
    } else {
      above += sum;
      begin = half;
    }
  }
  return all[begin];
}

// The worst candidate that top_k and top_p leave, among tokens with p >= min_p and p > 0.
// `p` are exp(logit - max) and sum to `total`.
Candidate find_cut(const SampleRow& row, const float* p, int64_t vocab_size, double total,
                   Candidate* buffer) {
  const bool nucleus = row.top_p < 1.0f;
  const bool best_k = row.top_k > 0 && row.top_k < vocab_size;
  const Candidate everything{std::max(row.min_p, std::numeric_limits<float>::denorm_min()),
                             std::numeric_limits<int32_t>::max()};
  if (!nucleus && !best_k) return everything;
  // All tokens below this value weigh less than 1 - top_p together, so none is in the nucleus.
  float floor = everything.p;
  if (nucleus && !best_k && row.min_p == 0.0f) {
    const double share = (1.0 - double{row.top_p}) * total / static_cast<double>(vocab_size);
    floor = std::max(floor, static_cast<float>(share * 0.999));
  }
  size_t count = 0;
  double kept_total = 0.0;
  for (int64_t i = 0; i < vocab_size; ++i) {
    if (!(p[i] >= floor)) continue;
    buffer[count++] = {p[i], static_cast<int32_t>(i)};
    kept_total += double{p[i]};
  }
  std::span<Candidate> kept(buffer, count);
  if (floor > everything.p) kept_total = total;
  Candidate cut = everything;
  if (best_k && static_cast<size_t>(row.top_k) < kept.size()) {
    cut = kth_best(kept, row.top_k);
    kept = kept.first(static_cast<size_t>(row.top_k));
    kept_total = 0.0;
    for (const Candidate& c : kept) kept_total += double{c.p};
  }
  if (nucleus) cut = reach_sum(kept, double{row.top_p} * kept_total);
  return cut;
}

// The token at `u` of the cumulated probabilities of those that stay, by id.
int32_t draw(const float* p, int64_t vocab_size, const Candidate& cut, float u) {
  const auto stays = [&](int64_t i) { return p[i] > cut.p || (p[i] == cut.p && i <= cut.token); };
  double total = 0.0;
  for (int64_t i = 0; i < vocab_size; ++i) total += stays(i) ? double{p[i]} : 0.0;
  const double target = double{u} * total;
  double sum = 0.0;
  int32_t last = -1;
  for (int64_t i = 0; i < vocab_size; ++i) {
    if (!stays(i)) continue;
    last = static_cast<int32_t>(i);
    sum += double{p[i]};
    if (sum > target) break;
  }
  return last;
}

// NaN and +infinity as numbers that can be compared: never chosen, and always.
float ordered(float logit) {
  if (std::isnan(logit)) return kLowest;
  return std::min(logit, std::numeric_limits<float>::max());
}

// Rank, logprob and the best tokens, from the raw logits.
void score(const Primitives& primitives, const float* logits, int64_t vocab_size, int32_t wanted,
           SampleResult& result) {
  const float max = ordered(primitives.max_value(logits, vocab_size));
  const double sum =
      max == kLowest ? 0.0 : primitives.exp_sum(logits, max, 1.0f, vocab_size, nullptr);
  const auto logprob = [&](float logit) {
    const double value = double{ordered(logit)} - double{max} - std::log(sum);
    // Written so that NaN becomes the lowest: every comparison with NaN is false.
    return value > double{kLogprobLowest} ? static_cast<float>(value) : kLogprobLowest;
  };
  const int32_t top = static_cast<int32_t>(std::min<int64_t>({wanted, kLogprobsMax, vocab_size}));
  Candidate best[kLogprobsMax + 1];
  int32_t count = 0;
  for (int64_t i = 0; top > 0 && i < vocab_size; ++i) {
    const Candidate c{ordered(logits[i]), static_cast<int32_t>(i)};
    if (count == top && !before(c, best[count - 1])) continue;
    int32_t at = count < top ? count++ : count - 1;
    for (; at > 0 && before(c, best[at - 1]); --at) best[at] = best[at - 1];
    best[at] = c;
  }
  for (int32_t i = 0; i < count; ++i) result.top[i] = {best[i].token, logprob(best[i].p)};
  result.num_top = count;
  if (result.token < 0 || result.token >= vocab_size) {
    result.logprob = kLogprobLowest;
    return;
  }
  const float own = ordered(logits[result.token]);
  result.logprob = logprob(own);
  result.rank = 1;
  for (int64_t i = 0; i < vocab_size; ++i) result.rank += logits[i] > own ? 1 : 0;
}

}  // namespace

void CpuOps::sample_row(const float* logits, int64_t vocab_size, const SampleRow& row,
                        SampleResult& result, Arena& arena) const {
  arena.clear();
  result = SampleResult{};
  result.token = row.target;
  if (row.target < 0) {
    const float* edited = logits;
    if (is_edited(row)) {
      auto* copy = arena.take<float>(vocab_size);
      std::copy_n(logits, vocab_size, copy);
      edit(row, vocab_size, copy);
      edited = copy;
    }
    const float max = primitives_.max_value(edited, vocab_size);
    if (max == kLowest) {
      result.token = first_allowed(row, vocab_size);
    } else if (row.temperature < kGreedyBelow || std::isinf(max)) {
      result.token = first_equal(edited, vocab_size, max);
    } else {
      auto* p = arena.take<float>(vocab_size);
      auto* buffer = arena.take<Candidate>(vocab_size);
      const double total = primitives_.exp_sum(edited, max, 1.0f / row.temperature, vocab_size, p);
      const Candidate cut = find_cut(row, p, vocab_size, total, buffer);
      result.token = draw(p, vocab_size, cut, uniform(row.seed, row.position));
    }
  }
  if (row.num_logprobs >= 0) score(primitives_, logits, vocab_size, row.num_logprobs, result);
}

void CpuOps::sample(const Matrix& logits, std::span<const SampleRow> rows,
                    std::span<SampleResult> results) {
  GALLEY_CHECK(logits.dtype == DType::kF32, "logits are f32");
  GALLEY_CHECK(logits.rows == static_cast<int64_t>(rows.size()) && rows.size() == results.size(),
               "a row and a result for each row of logits");
  pool_.for_each(logits.rows, [&](int64_t i, int32_t thread) {
    const auto at = static_cast<size_t>(i);
    sample_row(logits.row<float>(i), logits.cols, rows[at], results[at],
               threads_[static_cast<size_t>(thread)].arena);
  });
  sampled_.clear();
  for (const SampleResult& result : results) sampled_.push_back(result.token);
}

void CpuOps::begin_sample(const Matrix& logits, std::span<const SampleRow> rows) {
  GALLEY_CHECK(num_begun_ - num_finished_ < kSamplesBegun, "few samples are under way");
  std::vector<SampleResult>& results = begun_[num_begun_++ % kSamplesBegun];
  results.resize(rows.size());
  sample(logits, rows, results);
}

void CpuOps::finish_sample(std::span<SampleResult> results) {
  GALLEY_CHECK(num_finished_ < num_begun_, "a sample is under way");
  const std::vector<SampleResult>& begun = begun_[num_finished_++ % kSamplesBegun];
  GALLEY_CHECK(begun.size() == results.size(), "a result for each row");
  std::ranges::copy(begun, results.begin());
}

void CpuOps::take_sampled(std::span<const int32_t> rows, int32_t* ids) {
  for (size_t i = 0; i < rows.size(); ++i) {
    GALLEY_CHECK(rows[i] >= 0 && static_cast<size_t>(rows[i]) < sampled_.size(),
                 "a row of the newest sample");
    ids[i] = sampled_[static_cast<size_t>(rows[i])];
  }
}

}  // namespace galley::kernels::cpu

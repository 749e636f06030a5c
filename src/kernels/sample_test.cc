// Ops::sample: the rules of sampling.h one by one, then distributions by chi-square.
#include <algorithm>
#include <map>
#include <numeric>
#include <set>
#include <tuple>

#include "kernels/testing/ops_fixture.h"

namespace galley::kernels::testing {
namespace {

class Sample : public OpsTest {};
GALLEY_ON_EVERY_IMPLEMENTATION(Sample);

SampleResult sample_one(Ops& ops, std::vector<float> logits, const SampleRow& row) {
  SampleResult result;
  const auto size = static_cast<int64_t>(logits.size());
  ops.sample({.data = logits.data(), .dtype = DType::kF32, .rows = 1, .cols = size, .ld = size},
             {&row, 1}, {&result, 1});
  return result;
}

std::vector<float> random_logits(Random& random, int64_t size, float scale) {
  std::vector<float> out(static_cast<size_t>(size));
  for (float& v : out) v = random.normal() * scale;
  return out;
}

std::byte sync_byte(Ops& ops, const void* at) {
  std::byte out{};
  ops.download(&out, at, 1);
  return out;
}

// Two under way, their results in order, and the newest one's tokens where the next step wants
// them.
TEST_P(Sample, InTwoHalves) {
  Random random(11);
  auto ops = make(Precision::kFloat32);
  constexpr int64_t kVocab = 1000;
  std::vector<float> first = random_logits(random, 3 * kVocab, 2.0f);
  std::vector<float> second = random_logits(random, 2 * kVocab, 2.0f);
  const auto matrix = [](std::vector<float>& logits) {
    return Matrix{.data = logits.data(),
                  .dtype = DType::kF32,
                  .rows = static_cast<int64_t>(logits.size()) / kVocab,
                  .cols = kVocab,
                  .ld = kVocab};
  };
  std::vector<SampleRow> rows(3);
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = {.seed = 5, .position = i};
  std::vector<SampleResult> expected(5), actual(5);
  std::vector<float> a = first, b = second;
  ops->sample(matrix(a), rows, std::span(expected).first(3));
  ops->sample(matrix(b), std::span(rows).first(2), std::span(expected).last(2));
  for (int time = 0; time < 3; ++time) {
    ops->begin_sample(matrix(first), rows);
    ops->begin_sample(matrix(second), std::span(rows).first(2));
    const std::vector<int32_t> from = {1, 0, 1};
    std::vector<int32_t> ids(3, -7);
    ops->take_sampled(from, ids.data());
    sync_byte(*ops, from.data());
    EXPECT_EQ(ids[0], expected[4].token);
    EXPECT_EQ(ids[1], expected[3].token);
    EXPECT_EQ(ids[2], expected[4].token);
    ops->finish_sample(std::span(actual).first(3));
    ops->finish_sample(std::span(actual).last(2));
    for (size_t i = 0; i < 5; ++i) EXPECT_EQ(actual[i].token, expected[i].token) << i;
  }
}

// --- an independent reading of sampling.h -------------------------------------------------------

// The distribution that a row is drawn from, by sorting.
std::vector<double> expected_distribution(const std::vector<float>& raw, const SampleRow& row) {
  std::vector<double> logits(raw.begin(), raw.end());
  for (const auto& [token, bias] : row.logit_bias)
    logits[static_cast<size_t>(token)] += double{bias};
  std::map<int32_t, std::pair<int32_t, bool>> seen;  // in output, anywhere
  for (const TokenCount& c : row.counts)
    seen[c.token] = {c.in_output, c.in_prompt || c.in_output > 0};
  for (const int32_t token : row.pending) {
    ++seen[token].first;
    seen[token].second = true;
  }
  for (const auto& [token, count] : seen) {
    double& l = logits[static_cast<size_t>(token)];
    if (count.second)
      l = l > 0 ? l / double{row.repetition_penalty} : l * double{row.repetition_penalty};
    l -= double{row.frequency_penalty} * count.first;
    if (count.first > 0) l -= double{row.presence_penalty};
  }
  for (const int32_t token : row.banned) logits[static_cast<size_t>(token)] = -INFINITY;
  std::vector<double> p(logits.size());
  const double max = *std::max_element(logits.begin(), logits.end());
  for (size_t i = 0; i < p.size(); ++i)
    p[i] = std::exp((logits[i] - max) / double{row.temperature});
  std::vector<size_t> order(p.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return p[a] > p[b]; });
  size_t kept = 0;
  while (kept < order.size() && p[order[kept]] >= double{row.min_p} && p[order[kept]] > 0) ++kept;
  if (row.top_k > 0) kept = std::min(kept, static_cast<size_t>(row.top_k));
  double total = 0.0;
  for (size_t i = 0; i < kept; ++i) total += p[order[i]];
  double sum = 0.0;
  for (size_t i = 0; i < kept; ++i) {
    sum += p[order[i]];
    if (sum >= double{row.top_p} * total) kept = i + 1;
  }
  for (size_t i = kept; i < order.size(); ++i) p[order[i]] = 0.0;
  total = std::accumulate(p.begin(), p.end(), 0.0);
  for (double& v : p) v /= total;
  return p;
}

// Pearson's statistic against the 1e-6 quantile (Wilson and Hilferty's approximation), cells of
// fewer than 5 expected draws together in one.
::testing::AssertionResult fits(const std::vector<int64_t>& counts, const std::vector<double>& p) {
  const auto draws = static_cast<double>(std::accumulate(counts.begin(), counts.end(), int64_t{0}));
  double statistic = 0.0, rare_expected = 0.0, rare_seen = 0.0, cells = 0.0;
  for (size_t i = 0; i < p.size(); ++i) {
    const auto seen = static_cast<double>(counts[i]);
    const double expected = p[i] * draws;
    if (expected == 0.0 && seen > 0.0)
      return ::testing::AssertionFailure()
             << "token " << i << " has no probability, drawn " << seen;
    if (expected < 5.0) {
      rare_expected += expected;
      rare_seen += seen;
      continue;
    }
    statistic += (seen - expected) * (seen - expected) / expected;
    cells += 1.0;
  }
  if (rare_expected > 5.0) {
    statistic += (rare_seen - rare_expected) * (rare_seen - rare_expected) / rare_expected;
    cells += 1.0;
  }
  const double freedom = std::max(cells - 1.0, 1.0);
  const double root = 1.0 - 2.0 / (9.0 * freedom) + 4.753 * std::sqrt(2.0 / (9.0 * freedom));
  const double limit = freedom * root * root * root;
  if (statistic <= limit) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure()
         << "chi-square " << statistic << " above " << limit << ", " << cells << " cells";
}

std::vector<int64_t> draw_many(Ops& ops, const std::vector<float>& logits, SampleRow row,
                               int64_t draws) {
  std::vector<int64_t> counts(logits.size(), 0);
  constexpr int64_t kRows = 64;
  Dense batch(kRows, static_cast<int64_t>(logits.size()));
  std::vector<SampleRow> rows(kRows, row);
  std::vector<SampleResult> results(kRows);
  for (int64_t done = 0; done < draws; done += kRows) {
    for (int64_t i = 0; i < kRows; ++i) {
      std::copy(logits.begin(), logits.end(), batch.values.begin() + i * batch.ld);
      rows[static_cast<size_t>(i)].position = static_cast<uint64_t>(done + i);
    }
    ops.sample(batch.matrix(), rows, results);
    for (const SampleResult& r : results) ++counts.at(static_cast<size_t>(r.token));
  }
  return counts;
}

// --- the rules ----------------------------------------------------------------------------------

TEST(Uniform, IsUniformAndIndependentOfNeighbours) {
  std::vector<int64_t> cells(64, 0), pairs(64, 0);
  for (uint64_t seed = 0; seed < 40; ++seed) {
    for (uint64_t position = 0; position < 1000; ++position) {
      const float u = uniform(seed, position), next = uniform(seed, position + 1);
      ASSERT_GE(u, 0.0f);
      ASSERT_LT(u, 1.0f);
      ++cells[static_cast<size_t>(u * 64.0f)];
      ++pairs[static_cast<size_t>(u * 8.0f) * 8 + static_cast<size_t>(next * 8.0f)];
    }
  }
  EXPECT_TRUE(fits(cells, std::vector<double>(64, 1.0 / 64)));
  EXPECT_TRUE(fits(pairs, std::vector<double>(64, 1.0 / 64)));
  EXPECT_NE(uniform(1, 2), uniform(2, 1));
  EXPECT_NE(uniform(uint64_t{1} << 40, 0), uniform(0, 0));
  // Pinned: a seed must give the same text in the next version.
  EXPECT_EQ(uniform(0u, 0u), 0x6627e8p-24f);
  EXPECT_EQ(uniform(42u, 7u), 0x5bbd83p-24f);
  EXPECT_EQ(uniform(9223372036854775813u, 123456789012u), 0x9fa278p-24f);
}

TEST_P(Sample, GreedyTakesTheLargestAndTheLowestOfEquals) {
  auto ops = make(Precision::kBFloat16);
  const SampleRow greedy{.temperature = 0.0f};
  EXPECT_EQ(sample_one(*ops, {1, 5, 3, 5, 2}, greedy).token, 1);
  EXPECT_EQ(sample_one(*ops, {-7}, greedy).token, 0);
  Random random(1);
  std::vector<float> logits = random_logits(random, 129280, 1.0f);
  logits[129279] = logits[70000] = 50.0f;
  EXPECT_EQ(sample_one(*ops, logits, greedy).token, 70000);
  // Rules that only cut the tail cannot change it.
  EXPECT_EQ(
      sample_one(*ops, logits, {.temperature = 0.0f, .top_p = 0.1f, .min_p = 0.5f, .top_k = 3})
          .token,
      70000);
  // So do a top_k of 1 and a tiny top_p at any temperature.
  EXPECT_EQ(sample_one(*ops, logits, {.temperature = 2.0f, .top_k = 1, .seed = 5}).token, 70000);
  EXPECT_EQ(sample_one(*ops, logits, {.temperature = 2.0f, .top_p = 1e-9f, .seed = 5}).token,
            70000);
}

TEST_P(Sample, EditsComeInTheirOrder) {
  auto ops = make(Precision::kBFloat16);
  const std::vector<float> logits = {4.0f, 3.0f, -1.0f, 0.0f};
  SampleRow row{.temperature = 0.0f};
  const std::vector<int32_t> banned = {0};
  row.banned = banned;
  EXPECT_EQ(sample_one(*ops, logits, row).token, 1);
  const std::vector<std::pair<int32_t, float>> bias = {
      {0, 100.0f}, {3, 50.0f}, {99, 1.0f}, {-1, 1.0f}};
  row.logit_bias = bias;  // a bias does not lift a ban; ids outside are ignored
  EXPECT_EQ(sample_one(*ops, logits, row).token, 3);
  const uint32_t mask[] = {0b0110};
  row.mask = mask;
  EXPECT_EQ(sample_one(*ops, logits, row).token, 1);

  // Repetition divides what is positive and multiplies what is negative, in prompt and output.
  row = {.temperature = 0.0f, .repetition_penalty = 2.0f};
  const std::vector<TokenCount> prompt = {{0, 0, true}};
  row.counts = prompt;
  EXPECT_EQ(sample_one(*ops, logits, row).token, 1);  // 4 / 2 < 3
  // Presence and frequency count output alone.
  row = {.temperature = 0.0f, .presence_penalty = 1.5f};
  row.counts = prompt;
  EXPECT_EQ(sample_one(*ops, logits, row).token, 0);
  const std::vector<TokenCount> output = {{0, 3, false}};
  row.counts = output;
  EXPECT_EQ(sample_one(*ops, logits, row).token, 1);  // 4 - 1.5 < 3
  row = {.temperature = 0.0f, .frequency_penalty = 0.4f};
  row.counts = output;
  EXPECT_EQ(sample_one(*ops, logits, row).token, 1);  // 4 - 3 * 0.4 < 3
  // Drafts count as output, whether `counts` knows the token or not.
  const std::vector<int32_t> pending = {0, 1, 0};
  row.counts = {};
  row.pending = pending;
  row.frequency_penalty = 0.6f;
  EXPECT_EQ(sample_one(*ops, logits, row).token, 0);  // 4 - 1.2 > 3 - 0.6
  row.counts = output;
  EXPECT_EQ(sample_one(*ops, logits, row).token, 1);  // 4 - 5 * 0.6 < 3 - 0.6
}

TEST_P(Sample, NanAndInfinity) {
  auto ops = make(Precision::kBFloat16);
  constexpr float kInf = INFINITY;
  const std::vector<int32_t> banned = {0, 1};
  for (const float temperature : {0.0f, 1.0f, 1e-30f, 1e-4f, 1e30f}) {
    for (const auto& [top_p, top_k, min_p] :
         {std::tuple{1.0f, 0, 0.0f}, {0.5f, 0, 0.0f}, {1.0f, 2, 0.0f}, {0.9f, 3, 0.1f}}) {
      SampleRow row{.temperature = temperature,
                    .top_p = top_p,
                    .min_p = min_p,
                    .top_k = top_k,
                    .seed = 3,
                    .num_logprobs = 5};
      EXPECT_EQ(sample_one(*ops, {NAN, NAN, 1.0f, NAN}, row).token, 2);
      EXPECT_EQ(sample_one(*ops, {0.0f, 1.0f, kInf, kInf}, row).token, 2);
      EXPECT_EQ(sample_one(*ops, {-kInf, -kInf, -kInf, 3e38f}, row).token, 3);
      EXPECT_EQ(sample_one(*ops, {NAN, -kInf, NAN}, row).token, 0);  // nothing left: lowest allowed
      row.banned = banned;
      EXPECT_EQ(sample_one(*ops, {kInf, NAN, -kInf, NAN}, row).token, 2);
      EXPECT_EQ(sample_one(*ops, {5.0f, kInf, -3e38f}, row).token, 2);
      EXPECT_EQ(sample_one(*ops, {5.0f, 6.0f}, row).token, -1);  // nothing is allowed
      const uint32_t mask[] = {0b1011};
      row.mask = mask;
      EXPECT_EQ(sample_one(*ops, {5.0f, kInf, 9.0f, NAN}, row).token, 3);
      const SampleResult r = sample_one(*ops, {NAN, kInf, 1.0f, -kInf}, row);
      for (int32_t i = 0; i < r.num_top; ++i) EXPECT_TRUE(std::isfinite(r.top[i].logprob));
      EXPECT_TRUE(std::isfinite(r.logprob));
    }
  }
}

TEST_P(Sample, LogprobsAreOfTheRawLogits) {
  auto ops = make(Precision::kBFloat16);
  Random random(2);
  const std::vector<float> logits = random_logits(random, 1000, 3.0f);
  double sum = 0.0;
  for (const float l : logits) sum += std::exp(double{l});
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return logits[static_cast<size_t>(a)] > logits[static_cast<size_t>(b)];
  });
  const std::vector<std::pair<int32_t, float>> bias = {{17, 100.0f}};
  SampleRow row{.temperature = 0.7f, .logit_bias = bias, .num_logprobs = 20};
  const SampleResult r = sample_one(*ops, logits, row);
  EXPECT_EQ(r.token, 17);
  EXPECT_NEAR(r.logprob, double{logits[17]} - std::log(sum), 1e-4);
  EXPECT_EQ(order[static_cast<size_t>(r.rank - 1)], 17);
  ASSERT_EQ(r.num_top, 20);
  for (size_t i = 0; i < 20; ++i) {
    EXPECT_EQ(r.top[i].token, order[i]);
    EXPECT_NEAR(r.top[i].logprob, double{logits[static_cast<size_t>(order[i])]} - std::log(sum),
                1e-4);
  }
  row.num_logprobs = 0;
  EXPECT_EQ(sample_one(*ops, logits, row).num_top, 0);
  EXPECT_EQ(sample_one(*ops, logits, row).rank, r.rank);
  row.num_logprobs = -1;
  EXPECT_EQ(sample_one(*ops, logits, row).rank, 0);
  // A target is scored, never drawn.
  for (const int32_t target : {0, 17, 999}) {
    const SampleResult scored =
        sample_one(*ops, logits, {.temperature = 0.0f, .num_logprobs = 1, .target = target});
    EXPECT_EQ(scored.token, target);
    EXPECT_NEAR(scored.logprob, double{logits[static_cast<size_t>(target)]} - std::log(sum), 1e-4);
    EXPECT_EQ(scored.top[0].token, order[0]);
  }
}

TEST_P(Sample, SeedsReproduceAndNeighboursDoNotMatter) {
  Random random(3);
  const std::vector<float> logits = random_logits(random, 5000, 2.0f);
  auto ops = make(Precision::kBFloat16, 1);
  std::vector<int32_t> alone;
  for (uint64_t position = 0; position < 64; ++position)
    alone.push_back(
        sample_one(*ops, logits, {.top_p = 0.9f, .seed = 77, .position = position}).token);
  EXPECT_GT(std::set<int32_t>(alone.begin(), alone.end()).size(), 20u);
  auto other = make(Precision::kBFloat16, 3);
  Dense batch = random_dense(random, 64, 5000, 2.0f);
  std::vector<SampleRow> rows(64);
  for (size_t i = 0; i < 64; ++i) {
    rows[i] = {.top_p = 0.5f + 0.005f * static_cast<float>(i), .seed = i};
    if (i % 3 != 0) continue;
    std::copy(logits.begin(), logits.end(), batch.values.begin() + static_cast<int64_t>(i) * 5000);
    rows[i] = {.top_p = 0.9f, .seed = 77, .position = i};
  }
  std::vector<SampleResult> results(64);
  other->sample(batch.matrix(), rows, results);
  for (size_t i = 0; i < 64; i += 3) EXPECT_EQ(results[i].token, alone[i]);
}

// --- distributions ------------------------------------------------------------------------------

TEST_P(Sample, DistributionsFit) {
  auto ops = make(Precision::kBFloat16);
  Random random(4);
  const std::vector<float> logits = random_logits(random, 97, 1.5f);
  const std::vector<TokenCount> counts = {
      {3, 2, false}, {10, 0, true}, {11, 1, true}, {50, 9, false}};
  const std::vector<int32_t> pending = {3, 60, 60};
  const std::vector<std::pair<int32_t, float>> bias = {{7, 2.0f}, {8, -100.0f}};
  const std::vector<int32_t> banned = {0, 1, 2};
  const SampleRow cases[] = {
      {.seed = 1},
      {.temperature = 0.3f, .seed = 2},
      {.temperature = 1.7f, .seed = 3},
      {.top_p = 0.8f, .seed = 4},
      {.top_p = 0.05f, .seed = 5},
      {.min_p = 0.1f, .seed = 6},
      {.top_k = 7, .seed = 7},
      {.temperature = 1.2f, .top_p = 0.7f, .min_p = 0.02f, .top_k = 20, .seed = 8},
      {.presence_penalty = 0.5f,
       .frequency_penalty = 0.3f,
       .repetition_penalty = 1.3f,
       .seed = 9,
       .counts = counts,
       .pending = pending,
       .logit_bias = bias,
       .banned = banned},
      {.temperature = 0.8f,
       .top_p = 0.9f,
       .presence_penalty = -0.5f,
       .frequency_penalty = 0.4f,
       .repetition_penalty = 0.8f,
       .seed = 10,
       .counts = counts,
       .pending = pending},
  };
  for (const SampleRow& row : cases) {
    SCOPED_TRACE(::testing::Message() << "case with seed " << row.seed);
    EXPECT_TRUE(fits(draw_many(*ops, logits, row, 20000), expected_distribution(logits, row)));
  }
  // The test itself can fail: the wrong temperature does not fit.
  EXPECT_FALSE(fits(draw_many(*ops, logits, {.temperature = 1.15f, .seed = 1}, 20000),
                    expected_distribution(logits, {.temperature = 1.0f})));
}

// Which tokens stay is exact, also where many are equal and over a real vocabulary.
TEST_P(Sample, CutsKeepExactlyTheRightTokens) {
  auto ops = make(Precision::kBFloat16);
  const std::vector<float> equal(100, 1.0f);
  std::vector<int64_t> counts = draw_many(*ops, equal, {.top_k = 10, .seed = 1}, 4096);
  for (size_t i = 0; i < 100; ++i) EXPECT_EQ(counts[i] > 0, i < 10) << i;
  counts = draw_many(*ops, equal, {.top_p = 0.255f, .seed = 2}, 4096);
  for (size_t i = 0; i < 100; ++i) EXPECT_EQ(counts[i] > 0, i < 26) << i;
  Random random(5);
  const std::vector<float> logits = random_logits(random, 129280, 2.0f);
  for (const SampleRow& row :
       {SampleRow{.top_p = 0.3f, .seed = 3}, SampleRow{.top_k = 50, .seed = 4},
        SampleRow{.min_p = 0.3f, .seed = 5}}) {
    const std::vector<double> p = expected_distribution(logits, row);
    counts = draw_many(*ops, logits, row, 128);
    for (size_t i = 0; i < p.size(); ++i) ASSERT_TRUE(counts[i] == 0 || p[i] > 0.0) << i;
  }
}

// Drafts are verified by sampling their positions as usual and comparing. Whatever the draft model
// proposes, the tokens that come out are those of sampling one by one: with penalties and top_p, a
// context that steers the logits, and drafts that are often wrong.
TEST_P(Sample, VerifiedDraftsAreTheTokensOfPlainSampling) {
  auto ops = make(Precision::kBFloat16);
  constexpr int32_t kVocab = 23;
  Random random(6);
  std::vector<std::vector<float>> model;  // the logits after each token
  model.reserve(kVocab);
  for (int32_t i = 0; i < kVocab; ++i) model.push_back(random_logits(random, kVocab, 1.5f));
  SampleRow base{.temperature = 0.9f,
                 .top_p = 0.85f,
                 .presence_penalty = 0.6f,
                 .frequency_penalty = 0.2f,
                 .repetition_penalty = 1.1f};
  int64_t accepted = 0;
  std::vector<int64_t> plain_counts(kVocab, 0);
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const auto run = [&](bool drafting) {
      std::vector<int32_t> tokens = {0};
      while (tokens.size() < 13) {
        std::map<int32_t, int32_t> seen;
        for (size_t i = 1; i < tokens.size(); ++i) ++seen[tokens[i]];
        std::vector<TokenCount> counts = {{0, seen[0], true}};
        for (const auto& [token, count] : seen) {
          if (token != 0) counts.push_back({token, count, false});
        }
        std::vector<int32_t> drafts;
        for (int32_t last = tokens.back(); drafting && drafts.size() < 3;) {
          const auto& next = model[static_cast<size_t>(last)];
          last = static_cast<int32_t>(std::max_element(next.begin(), next.end()) - next.begin());
          drafts.push_back(last);
        }
        Dense logits(static_cast<int64_t>(drafts.size()) + 1, kVocab);
        std::vector<SampleRow> rows(drafts.size() + 1, base);
        for (size_t i = 0; i <= drafts.size(); ++i) {
          const int32_t last = i == 0 ? tokens.back() : drafts[i - 1];
          std::copy_n(model[static_cast<size_t>(last)].begin(), kVocab,
                      logits.values.begin() + static_cast<int64_t>(i) * kVocab);
          rows[i].seed = seed;
          rows[i].position = tokens.size() + i;
          rows[i].counts = counts;
          rows[i].pending = std::span(drafts).first(i);
        }
        std::vector<SampleResult> results(rows.size());
        ops->sample(logits.matrix(), rows, results);
        for (size_t i = 0; i < results.size(); ++i) {
          tokens.push_back(results[i].token);
          if (i < drafts.size() && results[i].token != drafts[i]) break;
          accepted += i < drafts.size() ? 1 : 0;
        }
      }
      tokens.resize(13);
      return tokens;
    };
    const std::vector<int32_t> plain = run(false), drafted = run(true);
    ASSERT_EQ(plain, drafted) << "seed " << seed;
    ++plain_counts[static_cast<size_t>(plain[1])];
  }
  EXPECT_GT(accepted, 100);
  EXPECT_TRUE(fits(plain_counts, expected_distribution(model[0], [&] {
                     SampleRow row = base;
                     static const std::vector<TokenCount> kPrompt = {{0, 0, true}};
                     row.counts = kPrompt;
                     return row;
                   }())));
}

TEST_P(Sample, NoRows) {
  auto ops = make(Precision::kBFloat16);
  Dense none(0, 100);
  ops->sample(none.matrix(), {}, {});
}

}  // namespace
}  // namespace galley::kernels::testing

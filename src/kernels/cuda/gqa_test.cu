// Grouped-query attention on the device, both forms, against attention in double over caches whose
// unused rows are NaN.
#include <gtest/gtest.h>

#include "kernels/cuda/gqa.h"
#include "kernels/cuda/testing/attention_cases.h"

namespace galley::kernels::cuda {
namespace {

using testing::Buffer;
using testing::Difference;

enum class Form { kPrefill, kDecode };

struct Case {
  int32_t num_heads, num_kv_heads, head_dim;
  std::vector<int32_t> contexts, queries;
  int32_t split_tokens = 0;
};

struct Problem {
  Problem(const Case& c, uint64_t seed)
      : random(seed),
        sequences(random, c.contexts, c.queries),
        width(2 * c.num_kv_heads * c.head_dim),
        q_stride((c.num_heads + 2 * c.num_kv_heads) * c.head_dim) {
    const size_t rows = static_cast<size_t>(sequences.num_blocks) * kBlockTokens;
    cache.assign(rows * static_cast<size_t>(width), __float2bfloat16(NAN));
    std::normal_distribution<float> normal(0.0f, 1.0f);
    for (size_t s = 0; s < c.contexts.size(); ++s) {
      for (int32_t j = 0; j < c.contexts[s]; ++j) {
        for (int32_t i = 0; i < width; ++i)
          cache[static_cast<size_t>(sequences.slot(s, j) * width + i)] =
              __float2bfloat16(normal(random));
      }
    }
    q = testing::random_bf16(
        random, static_cast<size_t>(sequences.num_tokens()) * static_cast<size_t>(q_stride), 1.0f);
  }

  std::vector<__nv_bfloat16> run(const Case& c, Form form) const {
    const testing::DeviceSequences device(sequences);
    const Buffer<__nv_bfloat16> cache_buffer(cache), q_buffer(q);
    const size_t tokens = static_cast<size_t>(sequences.num_tokens());
    const Buffer<__nv_bfloat16> out(tokens * static_cast<size_t>(c.num_heads * c.head_dim));
    const GqaShape shape = {.num_heads = c.num_heads,
                            .num_kv_heads = c.num_kv_heads,
                            .head_dim = c.head_dim,
                            .scale = 1.0f / std::sqrt(static_cast<float>(c.head_dim))};
    const GqaDecodeConfig config = {.shape = shape,
                                    .num_sms = testing::num_sms(),
                                    .tokens_max = device.batch.num_tokens,
                                    .sequences_max = device.batch.num_sequences,
                                    .context_max = sequences.context_max(),
                                    .split_tokens = c.split_tokens};
    const Buffer<std::byte> workspace(gqa_decode_workspace_bytes(config));
    const GqaArgs args = {.q = q_buffer.data(),
                          .q_token_stride = q_stride,
                          .out = out.data(),
                          .cache = {.data = reinterpret_cast<std::byte*>(cache_buffer.data()),
                                    .format = CacheFormat::kBF16,
                                    .num_blocks = sequences.num_blocks,
                                    .width = width,
                                    .row_bytes = int64_t{width} * 2},
                          .shape = shape,
                          .num_sms = testing::num_sms(),
                          .workspace = workspace.data()};
    if (form == Form::kPrefill) {
      GALLEY_CUDA_CHECK(gqa_prefill(device.batch, args, nullptr));
    } else {
      GALLEY_CUDA_CHECK(gqa_decode_plan(config, device.batch, workspace.data(), nullptr));
      GALLEY_CUDA_CHECK(gqa_decode(config, device.batch, args, nullptr));
    }
    GALLEY_CUDA_CHECK(cudaDeviceSynchronize());
    return out.download();
  }

  std::mt19937_64 random;
  testing::Sequences sequences;
  int32_t width;
  int32_t q_stride;
  std::vector<__nv_bfloat16> cache, q;
};

class Gqa : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!testing::has_hopper()) GTEST_SKIP() << "skipped, no GPU";
  }

  void check(const Case& c, Form form, uint64_t seed) {
    SCOPED_TRACE(::testing::Message()
                 << "heads " << c.num_heads << "/" << c.num_kv_heads << " of " << c.head_dim
                 << (form == Form::kPrefill ? ", prefill" : ", decode") << ", seed " << seed);
    const Problem problem(c, seed);
    const std::vector<__nv_bfloat16> out = problem.run(c, form);
    const int64_t dim = c.head_dim;
    for (size_t s = 0; s < c.contexts.size(); ++s) {
      for (int32_t t = 0; t < c.queries[s]; t += 1 + c.queries[s] / 40) {
        Difference difference;
        for (int32_t h = t % 2; h < c.num_heads; h += 1 + c.num_heads / 7) {
          const int64_t token = problem.sequences.query_begin[s] + t;
          const int32_t kv_head = h / (c.num_heads / c.num_kv_heads);
          std::vector<float> q(static_cast<size_t>(dim));
          for (int64_t i = 0; i < dim; ++i)
            q[static_cast<size_t>(i)] = __bfloat162float(
                problem.q[static_cast<size_t>(token * problem.q_stride + h * dim + i)]);
          const int32_t visible = c.contexts[s] - c.queries[s] + t + 1;
          std::vector<float> keys(static_cast<size_t>(visible * dim)), values(keys.size());
          for (int32_t j = 0; j < visible; ++j) {
            const int64_t row = problem.sequences.slot(s, j) * problem.width;
            for (int64_t i = 0; i < dim; ++i) {
              const size_t to = static_cast<size_t>(j * dim + i);
              keys[to] =
                  __bfloat162float(problem.cache[static_cast<size_t>(row + kv_head * dim + i)]);
              values[to] = __bfloat162float(
                  problem.cache[static_cast<size_t>(row + (c.num_kv_heads + kv_head) * dim + i)]);
            }
          }
          const std::vector<double> want = testing::attend(
              q, visible, 1.0 / std::sqrt(static_cast<double>(dim)), dim,
              [&](int32_t j) { return keys.data() + j * dim; },
              [&](int32_t j) { return values.data() + j * dim; });
          for (int64_t i = 0; i < dim; ++i) {
            difference.add(double{__bfloat162float(
                               out[static_cast<size_t>((token * c.num_heads + h) * dim + i)])},
                           want[static_cast<size_t>(i)]);
          }
        }
        if (difference.size > 0.0) {
          ASSERT_TRUE(difference.relative() < 6e-3)
              << "sequence " << s << " (context " << c.contexts[s] << "), query " << t << ": "
              << difference.relative();
        }
      }
    }
    for (size_t i = 0; i < out.size(); ++i)
      ASSERT_FALSE(std::isnan(__bfloat162float(out[i]))) << "value " << i;
  }
};

TEST_F(Gqa, PrefillOneBlock) {
  check({1, 1, 128, {128}, {128}}, Form::kPrefill, 1);
}
TEST_F(Gqa, PrefillEdges) {
  for (const int32_t dim : {64, 128}) {
    check({14,
           2,
           dim,
           {1, 2, 63, 64, 65, 127, 128, 129, 300},
           {1, 2, 63, 64, 65, 127, 128, 129, 300}},
          Form::kPrefill, 2);
    check({28, 4, dim, {1000, 130, 4000, 129, 190}, {100, 2, 1, 128, 64}}, Form::kPrefill, 3);
  }
}
TEST_F(Gqa, DecodeOneBlock) {
  check({7, 1, 128, {64}, {1}}, Form::kDecode, 4);
}
TEST_F(Gqa, DecodeEdges) {
  for (const int32_t dim : {64, 128}) {
    check({28,
           4,
           dim,
           {1, 15, 16, 17, 63, 64, 65, 127, 128, 129, 4096, 1000},
           std::vector<int32_t>(12, 1)},
          Form::kDecode, 5);
    check({12, 2, dim, {20000}, {1}}, Form::kDecode, 6);
    check({32, 8, dim, {4, 63, 65, 66, 700, 80}, {4, 3, 2, 4, 1, 0}}, Form::kDecode, 7);
    check({28, 4, dim, {300, 90}, {50, 7}, 128}, Form::kDecode, 8);
  }
}
TEST_F(Gqa, DecodeRandomBatches) {
  for (uint64_t seed = 100; seed < 105; ++seed) {
    std::mt19937_64 random(seed);
    Case c = {28, 4, random() % 2 ? 128 : 64, {}, {}};
    c.split_tokens = random() % 2 ? 0 : 512;
    const size_t count = 1 + random() % 40;
    for (size_t s = 0; s < count; ++s) {
      c.contexts.push_back(4 + static_cast<int32_t>(random() % (random() % 8 ? 500 : 3000)));
      c.queries.push_back(1 + static_cast<int32_t>(random() % 4));
    }
    check(c, Form::kDecode, seed);
  }
}

// With fixed splits a token's result is bit for bit the same alone and in a batch, in either form.
TEST_F(Gqa, FixedSplitsAreInvariant) {
  const Case together = {28, 4, 128, {2000, 130, 1025, 64}, {4, 4, 1, 1}, 512};
  const Problem problem(together, 13);
  for (const Form form : {Form::kPrefill, Form::kDecode}) {
    const std::vector<__nv_bfloat16> all = problem.run(together, form);
    for (int32_t t = 0; t < 4; ++t) {
      Case alone = together;
      Problem one(together, 13);
      one.sequences.contexts = alone.contexts = {1997 + t};
      one.sequences.queries = alone.queries = {1};
      one.sequences.query_begin = {0, 1};
      one.sequences.query_len_max = 1;
      const std::ptrdiff_t stride = problem.q_stride;
      one.q.assign(problem.q.begin() + t * stride, problem.q.begin() + (t + 1) * stride);
      const std::vector<__nv_bfloat16> out = one.run(alone, form);
      EXPECT_EQ(
          std::memcmp(out.data(), all.data() + static_cast<size_t>(t) * 28 * 128, 28 * 128 * 2), 0)
          << "query " << t;
    }
  }
}

}  // namespace
}  // namespace galley::kernels::cuda

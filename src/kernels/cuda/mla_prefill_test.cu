// Expanded MLA on the device against attention in double; unused rows are NaN.
#include <gtest/gtest.h>

#include "kernels/cuda/mla_prefill.h"
#include "kernels/cuda/testing/attention_cases.h"

namespace galley::kernels::cuda {
namespace {

using testing::Buffer;
using testing::Difference;

constexpr float kScale = 0.1352337788608801f;
constexpr int64_t kKvRow = 256;  // nope, then value, of a head

struct Case {
  int32_t num_heads;
  std::vector<int32_t> contexts, queries;
};

class MlaPrefill : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!testing::has_hopper()) GTEST_SKIP() << "skipped, no GPU";
  }

  void check(const Case& c, uint64_t seed) {
    SCOPED_TRACE(::testing::Message() << "heads " << c.num_heads << ", sequences "
                                      << c.contexts.size() << ", seed " << seed);
    std::mt19937_64 random(seed);
    const testing::Sequences sequences(random, c.contexts, c.queries);
    const testing::DeviceSequences device(sequences);
    // Rows of a sequence follow each other; strangers' rows between sequences are NaN.
    std::vector<int32_t> kv_begin;
    int32_t rows = 5;
    for (const int32_t context : c.contexts) {
      kv_begin.push_back(rows);
      rows += context + static_cast<int32_t>(random() % 200);
    }
    const size_t heads = static_cast<size_t>(c.num_heads);
    const __nv_bfloat16 nan = __float2bfloat16(NAN);
    std::vector<__nv_bfloat16> kv(static_cast<size_t>(rows) * heads * kKvRow, nan);
    std::vector<__nv_bfloat16> rope(static_cast<size_t>(rows) * 64, nan);
    std::normal_distribution<float> normal(0.0f, 1.0f);
    for (size_t s = 0; s < c.contexts.size(); ++s) {
      const size_t begin = static_cast<size_t>(kv_begin[s]), n = static_cast<size_t>(c.contexts[s]);
      for (size_t i = begin * heads * kKvRow; i < (begin + n) * heads * kKvRow; ++i)
        kv[i] = __float2bfloat16(normal(random));
      for (size_t i = begin * 64; i < (begin + n) * 64; ++i)
        rope[i] = __float2bfloat16(normal(random));
    }
    const size_t tokens = static_cast<size_t>(sequences.num_tokens());
    const auto q = testing::random_bf16(random, tokens * heads * 192, 1.0f);
    const Buffer<__nv_bfloat16> q_buffer(q), kv_buffer(kv), rope_buffer(rope);
    const Buffer<__nv_bfloat16> out_buffer(tokens * heads * 128);
    const Buffer<int32_t> kv_begin_buffer(kv_begin), workspace(1);
    const MlaPrefillArgs args = {
        .q = q_buffer.data(),
        .k_nope = {kv_buffer.data(), int64_t{c.num_heads} * kKvRow, kKvRow},
        .v = {kv_buffer.data() + 128, int64_t{c.num_heads} * kKvRow, kKvRow},
        .k_rope = rope_buffer.data(),
        .k_rope_stride = 64,
        .num_rows = rows,
        .kv_begin = kv_begin_buffer.data(),
        .out = out_buffer.data(),
        .scale = kScale,
        .num_heads = c.num_heads,
        .num_sms = testing::num_sms(),
        .workspace = workspace.data()};
    GALLEY_CUDA_CHECK(mla_prefill(device.batch, args, nullptr));
    GALLEY_CUDA_CHECK(cudaDeviceSynchronize());
    const std::vector<__nv_bfloat16> out = out_buffer.download();

    for (size_t s = 0; s < c.contexts.size(); ++s) {
      for (int32_t t = 0; t < c.queries[s]; t += 1 + c.queries[s] / 40) {
        Difference difference;
        for (size_t h = static_cast<size_t>(t) % 3; h < heads; h += 1 + heads / 3) {
          const size_t token = static_cast<size_t>(sequences.query_begin[s] + t);
          std::vector<float> query(192);
          for (size_t i = 0; i < 192; ++i)
            query[i] = __bfloat162float(q[(token * heads + h) * 192 + i]);
          const int32_t visible = c.contexts[s] - c.queries[s] + t + 1;
          std::vector<float> keys(static_cast<size_t>(visible) * 192);
          std::vector<float> values(static_cast<size_t>(visible) * 128);
          for (size_t j = 0; j < static_cast<size_t>(visible); ++j) {
            const size_t row = static_cast<size_t>(kv_begin[s]) + j;
            for (size_t i = 0; i < 128; ++i) {
              keys[j * 192 + i] = __bfloat162float(kv[(row * heads + h) * kKvRow + i]);
              values[j * 128 + i] = __bfloat162float(kv[(row * heads + h) * kKvRow + 128 + i]);
            }
            for (size_t i = 0; i < 64; ++i)
              keys[j * 192 + 128 + i] = __bfloat162float(rope[row * 64 + i]);
          }
          const std::vector<double> want = testing::attend(
              query, visible, double{kScale}, 128,
              [&](int32_t j) { return keys.data() + int64_t{j} * 192; },
              [&](int32_t j) { return values.data() + int64_t{j} * 128; });
          for (size_t i = 0; i < 128; ++i)
            difference.add(double{__bfloat162float(out[(token * heads + h) * 128 + i])}, want[i]);
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

TEST_F(MlaPrefill, OneBlock) {
  check({1, {128}, {128}}, 1);
}
TEST_F(MlaPrefill, TwoBlocks) {
  check({2, {256}, {256}}, 2);
}
TEST_F(MlaPrefill, Edges) {
  check({3, {1, 2, 63, 64, 65, 127, 128, 129, 300}, {1, 2, 63, 64, 65, 127, 128, 129, 300}}, 3);
}
TEST_F(MlaPrefill, Past) {
  check({16, {1000, 130, 4000, 129}, {100, 2, 1, 128}}, 4);
}
TEST_F(MlaPrefill, V3Heads) {
  check({128, {600, 700}, {600, 333}}, 5);
}
TEST_F(MlaPrefill, ManySequences) {
  std::mt19937_64 random(6);
  Case c = {4, {}, {}};
  for (int s = 0; s < 70; ++s) {
    c.contexts.push_back(1 + static_cast<int32_t>(random() % 400));
    const uint64_t context = static_cast<uint64_t>(c.contexts.back());
    c.queries.push_back(s % 9 == 3 ? 0 : 1 + static_cast<int32_t>(random() % context));
  }
  check(c, 6);
}

}  // namespace
}  // namespace galley::kernels::cuda

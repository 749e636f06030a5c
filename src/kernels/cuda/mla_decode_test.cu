// Absorbed MLA on the device against attention in double, over caches whose unused rows are NaN.
#include <gtest/gtest.h>

#include "kernels/cuda/mla_decode.h"
#include "kernels/cuda/testing/attention_cases.h"

namespace galley::kernels::cuda {
namespace {

using testing::Buffer;
using testing::DeviceSequences;
using testing::Difference;
using testing::Sequences;

constexpr float kScale = 0.1352337788608801f;  // V3: 192^-0.5 and YaRN's mscale^2
constexpr int64_t kRowFp8 = 656;
constexpr int64_t kRowBf16 = kMlaKey * 2;

// Rows as a kernel reads them, and their values.
struct Cache {
  std::vector<std::byte> rows;
  std::vector<float> values;  // [rows, 576]
};

Cache make_cache(std::mt19937_64& random, const Sequences& sequences, CacheFormat format) {
  const int64_t row_bytes = format == CacheFormat::kFp8Latent ? kRowFp8 : kRowBf16;
  const int64_t rows = int64_t{sequences.num_blocks} * kBlockTokens;
  Cache cache{std::vector<std::byte>(static_cast<size_t>(rows * row_bytes), std::byte{0xff}),
              std::vector<float>(static_cast<size_t>(rows * kMlaKey), NAN)};
  std::normal_distribution<float> normal(0.0f, 1.0f);
  std::uniform_real_distribution<float> uniform(0.5f, 2.0f);
  for (size_t s = 0; s < sequences.contexts.size(); ++s) {
    for (int32_t position = 0; position < sequences.contexts[s]; ++position) {
      const int64_t slot = sequences.slot(s, position);
      std::byte* row = cache.rows.data() + slot * row_bytes;
      float* values = cache.values.data() + slot * kMlaKey;
      const auto put_bf16 = [&](std::byte* to, int i) {
        const __nv_bfloat16 v = __float2bfloat16(normal(random));
        std::memcpy(to, &v, 2);
        values[i] = __bfloat162float(v);
      };
      if (format == CacheFormat::kBF16) {
        for (int i = 0; i < kMlaKey; ++i) put_bf16(row + 2 * i, i);
        continue;
      }
      for (int group = 0; group < 4; ++group) {
        const float scale = uniform(random) / 100.0f;
        std::memcpy(row + 512 + 4 * group, &scale, 4);
        for (int i = group * 128; i < group * 128 + 128; ++i) {
          const __nv_fp8_e4m3 v(normal(random) * 100.0f);
          std::memcpy(row + i, &v, 1);
          values[i] = static_cast<float>(v) * scale;
        }
      }
      for (int i = 0; i < kMlaRope; ++i) put_bf16(row + 528 + 2 * i, kMlaLatent + i);
    }
  }
  return cache;
}

struct Case {
  int32_t num_heads;
  std::vector<int32_t> contexts, queries;
  CacheFormat format = CacheFormat::kBF16;
  int32_t split_tokens = 0;
};

// A case on the host, and its outputs.
struct Problem {
  explicit Problem(const Case& c, uint64_t seed)
      : random(seed),
        sequences(random, c.contexts, c.queries),
        cache(make_cache(random, sequences, c.format)),
        q(testing::random_bf16(random,
                               static_cast<size_t>(sequences.num_tokens()) *
                                   static_cast<size_t>(c.num_heads) * kMlaKey,
                               0.5f)) {}

  std::vector<__nv_bfloat16> run(const Case& c) const {
    const DeviceSequences device(sequences);
    const Buffer<std::byte> rows(cache.rows);
    const Buffer<__nv_bfloat16> queries(q);
    const Buffer<__nv_bfloat16> out(q.size() / kMlaKey * kMlaLatent);
    const MlaDecodeConfig config = {.num_heads = c.num_heads,
                                    .num_sms = testing::num_sms(),
                                    .tokens_max = device.batch.num_tokens,
                                    .sequences_max = device.batch.num_sequences,
                                    .context_max = sequences.context_max(),
                                    .split_tokens = c.split_tokens};
    const Buffer<std::byte> workspace(mla_decode_workspace_bytes(config));
    const bool fp8 = c.format == CacheFormat::kFp8Latent;
    const MlaDecodeArgs args = {.q = queries.data(),
                                .out = out.data(),
                                .cache = {.data = rows.data(),
                                          .format = c.format,
                                          .num_blocks = sequences.num_blocks,
                                          .width = kMlaKey,
                                          .row_bytes = fp8 ? kRowFp8 : kRowBf16},
                                .scale = kScale,
                                .workspace = workspace.data()};
    GALLEY_CUDA_CHECK(mla_decode_plan(config, device.batch, workspace.data(), nullptr));
    GALLEY_CUDA_CHECK(mla_decode(config, device.batch, args, nullptr));
    GALLEY_CUDA_CHECK(cudaDeviceSynchronize());
    return out.download();
  }

  std::mt19937_64 random;
  Sequences sequences;
  Cache cache;
  std::vector<__nv_bfloat16> q;
};

class MlaDecode : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!testing::has_hopper()) GTEST_SKIP() << "skipped, no GPU";
  }

  void check(const Case& c, uint64_t seed) {
    SCOPED_TRACE(::testing::Message() << "heads " << c.num_heads << ", sequences "
                                      << c.contexts.size() << ", seed " << seed);
    const Problem run(c, seed);
    const std::vector<__nv_bfloat16> out = run.run(c);
    for (size_t s = 0; s < c.contexts.size(); ++s) {
      for (int32_t t = 0; t < c.queries[s]; ++t) {
        Difference difference;
        for (int32_t h = t % 7; h < c.num_heads; h += 1 + c.num_heads / 5) {
          const int64_t row = int64_t{run.sequences.query_begin[s] + t} * c.num_heads + h;
          std::vector<float> q(kMlaKey);
          for (size_t i = 0; i < q.size(); ++i)
            q[i] = __bfloat162float(run.q[static_cast<size_t>(row) * kMlaKey + i]);
          const auto key = [&](int32_t j) {
            return run.cache.values.data() + run.sequences.slot(s, j) * kMlaKey;
          };
          const std::vector<double> want = testing::attend(q, c.contexts[s] - c.queries[s] + t + 1,
                                                           double{kScale}, kMlaLatent, key, key);
          for (size_t i = 0; i < want.size(); ++i) {
            difference.add(double{__bfloat162float(out[static_cast<size_t>(row) * kMlaLatent + i])},
                           want[i]);
          }
        }
        // bf16 probabilities and outputs (and expanded FP8 latents): 2^-9 each, averaged.
        if (difference.size > 0.0) {
          ASSERT_TRUE(difference.relative() < (c.format == CacheFormat::kBF16 ? 6e-3 : 1e-2))
              << "sequence " << s << " (context " << c.contexts[s] << "), query " << t << ": "
              << difference.relative();
        }
      }
    }
  }
};

TEST_F(MlaDecode, OneBlock) {
  check({128, {64}, {1}}, 1);
}
TEST_F(MlaDecode, TwoBlocks) {
  check({128, {128}, {1}}, 2);
}
TEST_F(MlaDecode, OneTile) {
  check({16, {64, 128, 192}, {1, 1, 1}}, 3);
}
TEST_F(MlaDecode, Edges) {
  for (const CacheFormat format : {CacheFormat::kBF16, CacheFormat::kFp8Latent}) {
    check({128, {1, 63, 64, 65, 127, 128, 129, 4096, 1000}, {1, 1, 1, 1, 1, 1, 1, 1, 1}, format},
          4);
    check({16, {1, 63, 64, 65, 127, 128, 129, 4096, 1000}, {1, 1, 1, 1, 1, 1, 1, 1, 1}, format}, 5);
  }
}

TEST_F(MlaDecode, OneLongSequence) {
  check({128, {20000}, {1}}, 6);
  check({128, {20001}, {2}, CacheFormat::kFp8Latent}, 7);
}

TEST_F(MlaDecode, SpeculativeQueries) {
  for (const CacheFormat format : {CacheFormat::kBF16, CacheFormat::kFp8Latent}) {
    check({128, {4, 63, 65, 66, 700}, {4, 3, 2, 4, 1}, format}, 8);
    check({16, {4, 63, 65, 66, 700}, {4, 3, 2, 4, 1}, format}, 9);
  }
}

TEST_F(MlaDecode, OddHeads) {
  check({20, {5, 300, 64}, {5, 2, 1}}, 10);
}
TEST_F(MlaDecode, ManyQueries) {
  check({128, {300, 77}, {100, 77}}, 11);
}
TEST_F(MlaDecode, NoQueries) {
  check({128, {300, 100, 80}, {1, 0, 1}}, 12);
}

TEST_F(MlaDecode, RandomBatches) {
  for (uint64_t seed = 100; seed < 106; ++seed) {
    std::mt19937_64 random(seed);
    Case c = {random() % 2 ? 128 : 16, {}, {}};
    c.format = random() % 2 ? CacheFormat::kBF16 : CacheFormat::kFp8Latent;
    c.split_tokens = random() % 2 ? 0 : 512;
    const size_t count = 1 + random() % 40;
    for (size_t s = 0; s < count; ++s) {
      c.contexts.push_back(4 + static_cast<int32_t>(random() % (random() % 8 ? 500 : 3000)));
      c.queries.push_back(1 + static_cast<int32_t>(random() % 4));
    }
    check(c, seed);
  }
}

// With fixed splits a token's result is bit for bit the same alone, in a batch, in any cut.
TEST_F(MlaDecode, FixedSplitsAreInvariant) {
  for (const int32_t heads : {16, 128}) {
    const Case together = {heads, {2000, 130, 1025, 64}, {4, 4, 1, 1}, CacheFormat::kBF16, 512};
    const Problem run(together, 13);
    const std::vector<__nv_bfloat16> all = run.run(together);
    const size_t row = static_cast<size_t>(heads) * kMlaLatent;
    for (int32_t t = 0; t < 4; ++t) {
      Case alone = together;
      Problem one(together, 13);
      one.sequences.contexts = alone.contexts = {1997 + t};
      one.sequences.queries = alone.queries = {1};
      one.sequences.query_begin = {0, 1};
      one.sequences.query_len_max = 1;
      const size_t width = static_cast<size_t>(heads) * kMlaKey;
      one.q.assign(run.q.begin() + static_cast<std::ptrdiff_t>(static_cast<size_t>(t) * width),
                   run.q.begin() + static_cast<std::ptrdiff_t>(static_cast<size_t>(t + 1) * width));
      const std::vector<__nv_bfloat16> out = one.run(alone);
      EXPECT_EQ(std::memcmp(out.data(), all.data() + static_cast<size_t>(t) * row, row * 2), 0)
          << "query " << t;
    }
  }
}

}  // namespace
}  // namespace galley::kernels::cuda

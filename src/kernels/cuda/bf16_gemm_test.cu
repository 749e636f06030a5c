// bf16 products of few tokens against sums in double, at true, odd and small shapes.
#include <gtest/gtest.h>

#include "kernels/cuda/bf16_gemm.h"
#include "kernels/cuda/testing/gemm_fixture.h"

namespace galley::kernels::cuda {
namespace {

using testing::DeviceArray;
using testing::must;
using testing::Random;

class Bf16Gemm : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!testing::has_gpu()) GTEST_SKIP() << "skipped, no GPU";
  }
};

struct Case {
  int64_t tokens, features, cols;
  bool bias = false, f32 = false, swiglu = false;
  int64_t checks = 2048;  // outputs compared with double
};

const __nv_bfloat16* view(const DeviceArray<uint16_t>& array) {
  return reinterpret_cast<const __nv_bfloat16*>(array.get());
}

void run(const Case& c) {
  SCOPED_TRACE(::testing::Message()
               << "T " << c.tokens << " M " << c.features << " K " << c.cols
               << (c.bias ? " bias" : "") << (c.f32 ? " f32" : "") << (c.swiglu ? " swiglu" : ""));
  Random random(static_cast<uint64_t>(c.tokens * 31 + c.features * 7 + c.cols));
  const auto x = testing::random_bf16(random, c.tokens * c.cols, 1.0f);
  const auto w = testing::random_bf16(random, c.features * c.cols, 0.1f);
  const auto up = testing::random_bf16(random, c.features * c.cols, 0.1f);
  const auto bias = testing::random_bf16(random, c.features, 3.0f);
  const DeviceArray<uint16_t> xs(x), ws(w), ups(up), biases(bias);
  const int64_t ld = c.features + (c.f32 ? 3 : 0);  // an odd row length takes the scalar stores
  const size_t count = static_cast<size_t>(c.tokens * ld);
  const DeviceArray<uint8_t> y(count * (c.f32 ? 4 : 2));
  must(bf16_gemm({.x = view(xs),
                  .x_ld = c.cols,
                  .tokens = c.tokens,
                  .cols = c.cols,
                  .weight = view(ws),
                  .up = c.swiglu ? view(ups) : nullptr,
                  .bias = c.bias ? view(biases) : nullptr,
                  .features = c.features,
                  .y = y.get(),
                  .y_ld = ld,
                  .y_f32 = c.f32},
                 nullptr));
  const auto bytes = y.take();
  const int64_t total = c.tokens * c.features;
  int64_t wrong = 0;
  for (int64_t i = 0; i < std::min(total, c.checks); ++i) {
    const int64_t at = total <= c.checks ? i : random.below(total);
    const int64_t t = at / c.features, m = at % c.features;
    double sum = c.bias ? double{bf16_to_f32(bias[static_cast<size_t>(m)])} : 0.0, other = 0.0;
    double size = std::fabs(sum);
    for (int64_t k = 0; k < c.cols; ++k) {
      const double value = double{bf16_to_f32(x[static_cast<size_t>(t * c.cols + k)])};
      const double product = value * double{bf16_to_f32(w[static_cast<size_t>(m * c.cols + k)])};
      sum += product;
      size += std::fabs(product);
      other += value * double{bf16_to_f32(up[static_cast<size_t>(m * c.cols + k)])};
    }
    const double want = c.swiglu ? sum / (1.0 + std::exp(-sum)) * other : sum;
    if (c.swiglu) size *= std::fabs(other) + 1.0;
    const size_t slot = static_cast<size_t>(t * ld + m);
    const double got =
        c.f32 ? double{reinterpret_cast<const float*>(bytes.data())[slot]}
              : double{bf16_to_f32(reinterpret_cast<const uint16_t*>(bytes.data())[slot])};
    const double bound = 1e-5 * size + (c.f32 ? 0.0 : std::fabs(want) / 256.0) + 1e-30;
    if (!(std::fabs(got - want) <= bound) && ++wrong <= 5)
      ADD_FAILURE() << "token " << t << " feature " << m << ": " << got << ", expected " << want;
  }
  EXPECT_EQ(wrong, 0);
}

TEST_F(Bf16Gemm, ShapesOfModels) {
  for (const int64_t tokens : {1, 7, 8, 9, 16, 31, 64}) {
    run({.tokens = tokens, .features = 1536, .cols = 1536, .bias = true});
    run({.tokens = tokens, .features = 256, .cols = 1536, .bias = true});
    run({.tokens = tokens, .features = 1536, .cols = 8960});
    run({.tokens = tokens, .features = 576, .cols = 2048});
    run({.tokens = tokens, .features = 64, .cols = 2048, .f32 = true});
    run({.tokens = tokens, .features = 8960, .cols = 1536, .swiglu = true});
    run({.tokens = tokens, .features = 2816, .cols = 2048, .swiglu = true});
  }
  for (const int64_t tokens : {1, 64}) {
    run({.tokens = tokens, .features = 20000, .cols = 1536, .f32 = true, .checks = 512});
    run({.tokens = tokens, .features = 17000, .cols = 3584, .checks = 512});
  }
}

TEST_F(Bf16Gemm, OddShapes) {
  for (const int64_t features : {1, 3, 63, 65, 127, 130, 1000}) {
    for (const int64_t cols : {8, 40, 64, 72, 200, 1032}) {
      run({.tokens = 5, .features = features, .cols = cols, .bias = true});
      run({.tokens = 33, .features = features, .cols = cols, .bias = true, .f32 = true});
      run({.tokens = 12, .features = features, .cols = cols, .swiglu = true});
    }
  }
}

TEST_F(Bf16Gemm, NoTokensDoNothing) {
  const DeviceArray<uint16_t> w(std::vector<uint16_t>(64 * 64, 0));
  must(bf16_gemm({.x = view(w),
                  .x_ld = 64,
                  .tokens = 0,
                  .cols = 64,
                  .weight = view(w),
                  .features = 64,
                  .y = w.get(),
                  .y_ld = 64},
                 nullptr));
}

}  // namespace
}  // namespace galley::kernels::cuda

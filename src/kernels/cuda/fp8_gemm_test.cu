#include <gtest/gtest.h>

#include <cstring>

#include "kernels/cuda/fp8_gemm.h"
#include "kernels/cuda/testing/gemm_fixture.h"

namespace galley::kernels::cuda {
namespace {

using testing::DeviceArray;
using testing::Fp8Weight;
using testing::must;
using testing::QuantizedRows;
using testing::Random;

class Fp8Gemm : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!testing::has_gpu()) GTEST_SKIP() << "skipped, no GPU";
  }
};

struct Case {
  int64_t tokens, features, k;
  Fp8GemmPath path = Fp8GemmPath::kAuto;
  bool f32 = false;
  bool invariant = false;
  int split = 0;
  int64_t checks = 4096;  // outputs compared with double, all below that
};

Fp8GemmArgs arguments(const Case& c, const QuantizedRows& x, const Fp8Weight& w, void* y,
                      int64_t ld) {
  return {.x = x.view,
          .weight = w.device_codes.get(),
          .weight_scales = w.device_scales.get(),
          .features = c.features,
          .y = y,
          .y_ld = ld,
          .y_f32 = c.f32,
          .batch_invariant = c.invariant,
          .path = c.path,
          .split = c.split};
}

std::string name(const Case& c) {
  return "T " + std::to_string(c.tokens) + " M " + std::to_string(c.features) + " K " +
         std::to_string(c.k) + " path " + std::to_string(static_cast<int>(c.path)) + " split " +
         std::to_string(c.split) + (c.f32 ? " f32" : " bf16") + (c.invariant ? " invariant" : "");
}

void run(const Case& c) {
  SCOPED_TRACE(name(c));
  Random random(static_cast<uint64_t>(c.tokens * 31 + c.features * 7 + c.k));
  const QuantizedRows x(random, c.tokens, c.k);
  const Fp8Weight w(random, c.features, c.k);
  const int64_t ld = c.features + (c.f32 ? 3 : 0);  // an odd row length takes the scalar stores
  const size_t count = static_cast<size_t>(c.tokens * ld);
  const DeviceArray<uint8_t> y(count * (c.f32 ? 4 : 2));
  must(fp8_gemm(arguments(c, x, w, y.get(), ld), nullptr));
  const auto bytes = y.take();

  const int64_t total = c.tokens * c.features;
  int64_t wrong = 0;
  for (int64_t i = 0; i < std::min(total, c.checks); ++i) {
    const int64_t at = total <= c.checks ? i : random.below(total);
    const int64_t t = at / c.features, m = at % c.features;
    double want = 0.0, size = 0.0;
    for (int64_t k = 0; k < c.k; ++k) {
      const double product = x.value(t, k) * w.value(m, k);
      want += product;
      size += std::fabs(product);
    }
    const size_t slot = static_cast<size_t>(t * ld + m);
    const double got =
        c.f32 ? double{reinterpret_cast<const float*>(bytes.data())[slot]}
              : double{bf16_to_f32(reinterpret_cast<const uint16_t*>(bytes.data())[slot])};
    const double bound = 1e-3 * size + (c.f32 ? 0.0 : std::fabs(want) / 256.0) + 1e-30;
    if (!(std::fabs(got - want) <= bound) && ++wrong <= 5)
      ADD_FAILURE() << "token " << t << " feature " << m << ": " << got << ", want " << want;
  }
  EXPECT_EQ(wrong, 0) << "of " << std::min(total, c.checks);
  // Nothing unwritten anywhere, nothing written past a row.
  int64_t unwritten = 0, strayed = 0;
  for (int64_t t = 0; t < c.tokens; ++t) {
    for (int64_t m = 0; m < ld; ++m) {
      const size_t slot = static_cast<size_t>(t * ld + m);
      const bool poison = c.f32
                              ? reinterpret_cast<const uint32_t*>(bytes.data())[slot] == 0xffffffffu
                              : reinterpret_cast<const uint16_t*>(bytes.data())[slot] == 0xffffu;
      if (m < c.features && poison) ++unwritten;
      if (m >= c.features && !poison) ++strayed;
    }
  }
  EXPECT_EQ(unwritten, 0);
  EXPECT_EQ(strayed, 0);
}

TEST_F(Fp8Gemm, PlainTakesAnySize) {
  for (const bool f32 : {false, true})
    for (const int64_t k : {1, 16, 127, 128, 200, 1000})
      for (const int64_t t : {1, 63, 65}) run({t, 77, k, Fp8GemmPath::kPlain, f32});
}

TEST_F(Fp8Gemm, NarrowSmall) {
  run({1, 64, 128, Fp8GemmPath::kNarrow, true});
  run({8, 128, 128, Fp8GemmPath::kNarrow, true});
  run({8, 128, 1024, Fp8GemmPath::kNarrow, true, true});
}

TEST_F(Fp8Gemm, NarrowOddSizes) {
  for (const int64_t t : {1, 7, 8, 9, 16, 31, 33, 64, 65, 127, 128})
    for (const int64_t m : {1, 63, 130, 577})
      for (const int64_t k : {16, 144, 656})
        run({t, m, k, Fp8GemmPath::kNarrow, t % 2 == 0, m % 2 == 0});
}

TEST_F(Fp8Gemm, EverySplit) {
  for (const int split : {1, 2, 4, 8})
    for (const int64_t t : {1, 8, 16, 32, 64, 128})
      run({t, 200, 2048, Fp8GemmPath::kNarrow, t == 8, false, split});
}

constexpr std::pair<int64_t, int64_t> kV3Shapes[] = {{1536, 7168},  {576, 7168},   {2112, 7168},
                                                     {24576, 1536}, {7168, 16384}, {4096, 7168},
                                                     {7168, 2048},  {36864, 7168}, {7168, 18432}};

TEST_F(Fp8Gemm, V3ShapesFewTokens) {
  for (const auto& [m, k] : kV3Shapes)
    for (const int64_t t : {1, 32, 128}) run({t, m, k, Fp8GemmPath::kNarrow, false, false, 0, 300});
}

TEST_F(Fp8Gemm, TallSmall) {
  run({128, 256, 128, Fp8GemmPath::kTall, true});
  run({128, 256, 1024, Fp8GemmPath::kTall});
  run({256, 128, 1024, Fp8GemmPath::kTall});
  run({256, 256, 1024, Fp8GemmPath::kTall, false, false, 2});
  run({512, 128, 1024, Fp8GemmPath::kTall, true, false, 2});
}

TEST_F(Fp8Gemm, TallOddSizes) {
  for (const int64_t t : {1, 64, 127, 129, 300, 600})
    for (const int64_t m : {1, 64, 129, 200, 576, 900})
      for (const int64_t k : {16, 144, 2064})
        run({t, m, k, Fp8GemmPath::kTall, (t + m) % 3 == 0, false, m % 2 == 0 ? 1 : 2, 500});
}

TEST_F(Fp8Gemm, TallV3Shapes) {
  for (const auto& [m, k] : kV3Shapes)
    for (const int waves : {1, 2})
      run({k < 8000 ? 1300 : 300, m, k, Fp8GemmPath::kTall, false, false, waves, 100});
}

// One token after another, alone and among others, on both fast paths.
TEST_F(Fp8Gemm, InvariantToNeighbours) {
  Random random(6);
  const int64_t features = 1536, k = 7168, tokens = 300;
  const QuantizedRows x(random, tokens, k);
  const Fp8Weight w(random, features, k);
  const auto product = [&](int64_t count) {
    Case c{count, features, k, Fp8GemmPath::kAuto, true, true};
    const DeviceArray<float> y(static_cast<size_t>(count * features));
    Fp8GemmArgs args = arguments(c, x, w, y.get(), features);
    args.x.rows = count;
    must(fp8_gemm(args, nullptr));
    return y.take();
  };
  const auto all = product(tokens);
  for (const int64_t count : {1, 8, 9, 17, 64, 100, 128, 129, 200}) {
    const auto some = product(count);
    EXPECT_EQ(std::memcmp(all.data(), some.data(), some.size() * 4), 0) << count << " tokens";
  }
}

TEST_F(Fp8Gemm, NothingToDo) {
  Random random(4);
  const Fp8Weight w(random, 128, 128);
  Fp8GemmArgs args{.x = {.cols = 128, .ld = 128},
                   .weight = w.device_codes.get(),
                   .weight_scales = w.device_scales.get(),
                   .features = 128,
                   .y = nullptr,
                   .y_ld = 128};
  EXPECT_EQ(fp8_gemm(args, nullptr), cudaSuccess);
}

TEST_F(Fp8Gemm, SameBitsInEveryRun) {
  Random random(5);
  const Case c{40, 1536, 7168, Fp8GemmPath::kAuto, true};
  const QuantizedRows x(random, c.tokens, c.k);
  const Fp8Weight w(random, c.features, c.k);
  std::vector<float> first;
  for (int i = 0; i < 5; ++i) {
    const DeviceArray<float> y(static_cast<size_t>(c.tokens * c.features));
    must(fp8_gemm(arguments(c, x, w, y.get(), c.features), nullptr));
    const auto values = y.take();
    if (i == 0) first = values;
    ASSERT_EQ(std::memcmp(first.data(), values.data(), values.size() * 4), 0) << "run " << i;
  }
}

}  // namespace
}  // namespace galley::kernels::cuda

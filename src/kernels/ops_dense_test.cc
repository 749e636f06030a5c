// Rows, linear and gated_mlp of every implementation against references in double.
#include "kernels/random_values.h"
#include "kernels/testing/ops_fixture.h"

namespace galley::kernels::testing {
namespace {

class DenseOps : public OpsTest {};
GALLEY_ON_EVERY_IMPLEMENTATION(DenseOps);

constexpr Tolerance kSums{.relative = 1e-5,
                          .absolute = 2e-5,
                          .reason = "f32 sums of up to 18432 products of about 1 / sqrt(K)"};

TEST_P(DenseOps, EmbedIsExact) {
  Random random(1);
  auto ops = make(Precision::kBFloat16);
  for (const DType dtype : kWeightTypes) {
    SCOPED_TRACE(name_of(dtype));
    const OwnedWeight table = random_weight(random, dtype, 131, 257, 1.0f);
    const std::vector<int32_t> ids = {0, 130, 5, 5, 128, 127};
    Dense out(6, 257, 260);
    ops->embed(ids, table.weight(), out.matrix());
    for (int64_t t = 0; t < 6; ++t) {
      for (int64_t i = 0; i < 257; ++i)
        ASSERT_EQ(out.at(t, i), static_cast<float>(table.value(ids[static_cast<size_t>(t)], i)));
    }
  }
  Dense empty(0, 257);
  ops->embed({}, random_weight(random, DType::kBF16, 3, 257, 1.0f).weight(), empty.matrix());
}

TEST_P(DenseOps, MadeUpValuesAreTheSameOnEveryBackend) {
  auto ops = make(Precision::kBFloat16);
  for (const DType dtype : kWeightTypes) {
    SCOPED_TRACE(name_of(dtype));
    const float deviation = dtype == DType::kF8E4M3 ? 64.0f : 0.02f;
    const std::vector<std::byte> table = draw_table(dtype, deviation);
    for (const int64_t count : {1, 3, 4, 1030, 100003}) {
      std::vector<std::byte> expected(static_cast<size_t>(count) * size_of(dtype));
      std::vector<std::byte> made(expected.size());
      fill_random(dtype, table.data(), 77, 0, count, expected.data());
      ops->download(made.data(), ops->place_random(dtype, count, 77, deviation), made.size());
      EXPECT_EQ(made, expected) << count;
    }
  }
}

TEST_P(DenseOps, UploadRowsLeavesWhatLiesBetween) {
  auto ops = make(Precision::kFloat32);
  auto* const to = static_cast<std::byte*>(ops->allocate(3 * 20));
  const std::vector<std::byte> rows(3 * 8, std::byte{7});
  ops->upload_rows(to, 20, rows.data(), 8, 3);
  std::vector<std::byte> all(3 * 20);
  ops->download(all.data(), to, all.size());
  for (size_t i = 0; i < all.size(); ++i)
    EXPECT_EQ(all[i], i % 20 < 8 ? std::byte{7} : std::byte{0}) << i;
}

// What lies in the backend's memory varies, the calls do not.
TEST_P(DenseOps, RepeatDoesTheSameAgainWithOtherData) {
  Random random(3);
  auto ops = make_ops(backends()[GetParam()], Precision::kBFloat16, 2, kTestLimits, false, false);
  const OwnedWeight table = random_weight(random, DType::kBF16, 131, 64, 1.0f);
  const OwnedWeight norm = random_weight(random, DType::kBF16, 1, 64, 1.0f);
  std::vector<int32_t> ids(6);
  Dense out(6, 64), expected(6, 64);
  for (int32_t time = 0; time < 5; ++time) {
    for (size_t i = 0; i < ids.size(); ++i)
      ids[i] = (time * 17 + static_cast<int32_t>(i) * 29) % 131;
    const auto operations = [&](Dense& to) {
      ops->embed(ids, table.weight(), to.matrix());
      ops->rms_norm(to.matrix(), norm.weight(), 1e-6f, to.matrix());
    };
    ops->repeat(time % 2 == 0 ? 5u : 9u, [&] { operations(out); });
    operations(expected);
    std::byte ignored{};
    ops->download(&ignored, ids.data(), 1);
    EXPECT_EQ(out.values, expected.values) << time;
  }
}

TEST_P(DenseOps, GatherRows) {
  Random random(2);
  auto ops = make(Precision::kFloat32);
  Dense x = random_dense(random, 9, 33);
  Dense out(4, 33);
  const std::vector<int32_t> rows = {8, 0, 3, 3};
  ops->gather_rows(x.matrix(), rows, out.matrix());
  for (int64_t i = 0; i < 4; ++i) {
    for (int64_t c = 0; c < 33; ++c) ASSERT_EQ(out.at(i, c), x.at(rows[static_cast<size_t>(i)], c));
  }
}

TEST_P(DenseOps, RmsNormAndAdd) {
  Random random(3);
  auto ops = make(Precision::kBFloat16);
  for (const int64_t cols : {1, 7, 16, 63, 64, 1536, 7168}) {
    for (const int64_t rows : {0, 1, 5, 33}) {
      SCOPED_TRACE(::testing::Message() << rows << " x " << cols);
      Dense x = random_dense(random, rows, cols, 3.0f);
      Dense residual = random_dense(random, rows, cols);
      const OwnedWeight weight = random_weight(random, DType::kBF16, 1, cols, 1.0f);
      Dense sum(rows, cols), out(rows, cols), normed(rows, cols), fused(rows, cols);
      for (int64_t t = 0; t < rows; ++t) {
        double squares = 0.0;
        for (int64_t i = 0; i < cols; ++i) {
          sum.at(t, i) = residual.at(t, i) + x.at(t, i);
          squares += double{sum.at(t, i)} * double{sum.at(t, i)};
        }
        const double factor = 1.0 / std::sqrt(squares / static_cast<double>(cols) + 1e-6);
        for (int64_t i = 0; i < cols; ++i)
          out.at(t, i) = static_cast<float>(double{sum.at(t, i)} * factor * weight.value(0, i));
      }
      ops->rms_norm(sum.matrix(), weight.weight(), 1e-6f, normed.matrix());
      EXPECT_TRUE(all_near(normed.values, out.values, kSums));
      ops->add_rms_norm(x.matrix(), residual.matrix(), weight.weight(), 1e-6f, fused.matrix());
      EXPECT_EQ(residual.values, sum.values);
      EXPECT_EQ(fused.values, normed.values);
      ops->rms_norm(residual.matrix(), weight.weight(), 1e-6f, residual.matrix());  // in place
      EXPECT_EQ(residual.values, normed.values);
      Dense added = x;
      ops->add(added.matrix(), out.matrix());
      for (size_t i = 0; i < x.values.size(); ++i)
        ASSERT_EQ(added.values[i], x.values[i] + out.values[i]);
    }
  }
}

struct LinearShape {
  int64_t tokens, in, out;
};

void check_linear(Ops& ops, LinearShape shape, DType dtype, uint64_t seed) {
  SCOPED_TRACE(::testing::Message()
               << label(dtype, ops.precision()) << ", [" << shape.tokens << ", " << shape.in
               << "] x [" << shape.out << ", " << shape.in << "], seed " << seed);
  Random random(seed);
  const OwnedWeight weight = random_weight(random, dtype, shape.out, shape.in,
                                           1.0f / std::sqrt(static_cast<float>(shape.in)));
  const OwnedWeight bias = random_weight(random, DType::kBF16, 1, shape.out, 0.5f);
  Dense x = random_dense(random, shape.tokens, shape.in);
  // Both with a gap of 4 values behind each row: the same alignment, so the same kernel.
  Dense out(shape.tokens, shape.out, shape.out + 4);
  Dense biased(shape.tokens, shape.out, shape.out + 4);
  ops.linear(x.matrix(), weight.weight(), {}, out.matrix());
  ops.linear(x.matrix(), weight.weight(), bias.weight(), biased.matrix());
  for (int64_t t = 0; t < shape.tokens; ++t) {
    std::vector<float> expected = naive_linear(x.row(t), weight, ops.precision());
    ASSERT_TRUE(all_near(out.row(t), expected, kSums)) << "token " << t;
    for (int64_t m = 0; m < shape.out; ++m)
      ASSERT_EQ(biased.at(t, m), out.at(t, m) + static_cast<float>(bias.value(0, m)));
    // The gap between the rows belongs to the caller.
    for (int64_t m = 0; m < 4 && t + 1 < shape.tokens; ++m)
      ASSERT_TRUE(std::isnan(out.values[static_cast<size_t>(t * out.ld + shape.out + m)]));
  }
}

TEST_P(DenseOps, LinearOddShapes) {
  for (const Precision precision : kPrecisions) {
    auto ops = make(precision);
    uint64_t seed = 10;
    for (const DType dtype : kWeightTypes) {
      for (const int64_t tokens : {0, 1, 2, 3, 5, 6, 7, 13, 33}) {
        check_linear(*ops, {tokens, 1, 1}, dtype, seed++);
        check_linear(*ops, {tokens, 31, 17}, dtype, seed++);
        check_linear(*ops, {tokens, 129, 130}, dtype, seed++);
        check_linear(*ops, {tokens, 200, 65}, dtype, seed++);
      }
      for (int64_t in = 2; in < 160; in += 11) check_linear(*ops, {2, in, 5}, dtype, seed++);
    }
  }
}

// DeepSeek-V3's matrices with their real K; rows are fewer where that is enough to cross every
// tile edge. Qwen2-1.5B's likewise.
TEST_P(DenseOps, LinearModelShapes) {
  const LinearShape shapes[] = {
      {3, 7168, 208},   // q_a (1536 rows)
      {2, 1536, 320},   // q_b (24576 rows)
      {7, 7168, 132},   // kv_a (576 rows)
      {2, 16384, 100},  // o (7168 rows)
      {1, 18432, 96},   // dense down (7168 rows)
      {9, 2048, 100},   // expert down (7168 rows)
      {2, 7168, 64},    // router (256 rows)
      {5, 1536, 200},   // Qwen2 gate (8960 rows)
      {5, 8960, 96},    // Qwen2 down (1536 rows)
  };
  for (const Precision precision : kPrecisions) {
    auto ops = make(precision);
    uint64_t seed = 500;
    for (const DType dtype : {DType::kBF16, DType::kF8E4M3}) {
      for (const LinearShape& shape : shapes) check_linear(*ops, shape, dtype, seed++);
    }
  }
}

// Zeros quantise to zeros, and large values keep their direction.
TEST_P(DenseOps, QuantisationOfZerosAndOutliers) {
  Random random(4);
  auto ops = make(Precision::kBFloat16);
  const OwnedWeight weight = random_weight(random, DType::kF8E4M3, 40, 300, 0.06f);
  Dense x = random_dense(random, 3, 300);
  for (int64_t i = 0; i < 300; ++i) x.at(0, i) = 0.0f;
  for (int64_t i = 0; i < 128; ++i) x.at(1, i) = 0.0f;
  x.at(2, 5) = 3e4f;
  Dense out(3, 40);
  ops->linear(x.matrix(), weight.weight(), {}, out.matrix());
  for (int64_t m = 0; m < 40; ++m) EXPECT_EQ(out.at(0, m), 0.0f);
  for (int64_t t = 1; t < 3; ++t) {
    const std::vector<float> expected = naive_linear(x.row(t), weight, Precision::kBFloat16);
    EXPECT_TRUE(all_near(out.row(t), expected,
                         {.relative = 2e-5, .absolute = 2e-3, .reason = "sums of up to 3e4"}));
  }
}

TEST_P(DenseOps, GatedMlp) {
  for (const Precision precision : kPrecisions) {
    auto ops = make(precision);
    for (const DType dtype : kWeightTypes) {
      struct Shape {
        int64_t tokens, hidden, inner;
      };
      for (const Shape& shape : {Shape{0, 64, 32}, Shape{1, 1, 1}, Shape{1, 7168, 64},
                                 Shape{3, 300, 129}, Shape{20, 129, 257}, Shape{2, 1536, 200}}) {
        SCOPED_TRACE(::testing::Message() << label(dtype, precision) << ", T " << shape.tokens
                                          << ", H " << shape.hidden << ", I " << shape.inner);
        Random random(static_cast<uint64_t>(shape.hidden + shape.inner));
        const OwnedMlp mlp = random_mlp(random, dtype, shape.hidden, shape.inner);
        Dense x = random_dense(random, shape.tokens, shape.hidden);
        Dense out(shape.tokens, shape.hidden);
        ops->gated_mlp(x.matrix(), mlp.weights(), out.matrix());
        const bool quantised = dtype == DType::kF8E4M3 && precision == Precision::kBFloat16;
        const Tolerance tolerance =
            precision == Precision::kFloat32
                ? Tolerance{1e-5, 3e-5, "f32 sums"}
                : Tolerance{0.0, quantised ? 3e-2 : 4e-3,
                            "a last bit of the inner value may round to the next bf16 or e4m3"};
        for (int64_t t = 0; t < shape.tokens; ++t)
          ASSERT_TRUE(all_near(out.row(t), naive_mlp(x.row(t), mlp, precision), tolerance));
      }
    }
  }
}

TEST(MakeCpuOps, NamesWhatIsMissing) {
  for (const cpu::Implementation& one : cpu::implementations()) {
    const auto ops = make_cpu_ops({.isa = one.isa, .threads = 1, .pin_threads = false});
    bool any = false;
    for (const cpu::Implementation& other : cpu::implementations())
      any = any || (other.isa == one.isa && other.primitives != nullptr);
    EXPECT_EQ(ops.ok(), any) << one.name;
    if (ops.ok()) continue;
    EXPECT_EQ(ops.code(), Code::kUnavailable);
  }
  const auto best = make_cpu_ops({.threads = 1, .pin_threads = false});
  ASSERT_TRUE(best.ok());
  EXPECT_EQ(best.value()->activation_dtype(), DType::kF32);
}

TEST(MakeCpuOps, MemoryIsZeroedAndAligned) {
  auto ops = make_cpu_ops({.threads = 1, .pin_threads = false});
  ASSERT_TRUE(ops.ok());
  for (const size_t bytes : {size_t{0}, size_t{1}, size_t{100}, size_t{5} << 20}) {
    auto* data = static_cast<unsigned char*>(ops.value()->allocate(bytes));
    ASSERT_NE(data, nullptr);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(data) % 64, 0u);
    for (size_t i = 0; i < bytes; i += 97) ASSERT_EQ(data[i], 0);
  }
  EXPECT_EQ(ops.value()->allocate(SIZE_MAX), nullptr);
}

TEST(MakeCpuOps, RefusesScratchThatNoMachineHas) {
  auto ops = make_cpu_ops({.threads = 1, .pin_threads = false});
  ASSERT_TRUE(ops.ok());
  StepLimits limits = kTestLimits;
  limits.tokens_max = INT32_MAX;
  limits.width_max = INT32_MAX;
  EXPECT_EQ(ops.value()->reserve(limits).code(), Code::kTooLarge);
}

}  // namespace
}  // namespace galley::kernels::testing

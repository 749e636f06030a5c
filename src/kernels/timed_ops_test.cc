// TimedOps: the same numbers as the Ops inside, every call counted, and lines that add up.
#include "kernels/timed_ops.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>
#include <vector>

namespace galley::kernels {
namespace {

std::unique_ptr<Ops> make_portable() {
  auto ops = make_cpu_ops({.isa = Isa::kPortable, .threads = 1, .pin_threads = false});
  EXPECT_TRUE(ops.ok());
  EXPECT_TRUE((*ops)
                  ->reserve({.tokens_max = 8,
                             .sequences_max = 4,
                             .context_max = 64,
                             .width_max = 256,
                             .vocab_size = 256,
                             .sample_rows_max = 4,
                             .experts_per_token = 0,
                             .num_experts = 0,
                             .num_heads = 1,
                             .latent_dim = 0})
                  .ok());
  return std::move(*ops);
}

class TimedOpsTest : public testing::Test {
 protected:
  TimedOpsTest() : plain_(make_portable()), timed_(make_portable(), false) {
    for (size_t i = 0; i < weights_.size(); ++i)
      weights_[i] = f32_to_bf16(static_cast<float>(i % 17) - 8.0f);
    for (size_t i = 0; i < x_.size(); ++i) x_[i] = static_cast<float>(i % 5) - 2.0f;
  }

  Weight weight(int64_t rows, int64_t cols) const {
    return {.data = weights_.data(), .dtype = DType::kBF16, .rows = rows, .cols = cols};
  }
  static Matrix matrix(std::vector<float>* values, int64_t rows, int64_t cols) {
    return {.data = values->data(), .dtype = DType::kF32, .rows = rows, .cols = cols, .ld = cols};
  }
  // A step of two operations for `tokens` tokens.
  std::vector<float> step(Ops* ops, int64_t tokens) {
    std::vector<float> out(static_cast<size_t>(tokens) * 24);
    const std::vector<int32_t> ids(static_cast<size_t>(tokens), 3);
    const Matrix x = matrix(&x_, tokens, 32);
    ops->embed(ids, weight(16, 32), x);
    ops->linear(x, weight(24, 32), {}, matrix(&out, tokens, 24));
    return out;
  }
  const OpTime* find(const std::vector<OpTime>& lines, const std::string& operation,
                     int64_t tokens) {
    for (const OpTime& line : lines) {
      if (line.operation == operation && line.step_tokens == tokens) return &line;
    }
    return nullptr;
  }

  std::vector<uint16_t> weights_ = std::vector<uint16_t>(64 * 64);
  std::vector<float> x_ = std::vector<float>(8 * 32);
  std::unique_ptr<Ops> plain_;
  TimedOps timed_;
};

TEST_F(TimedOpsTest, ComputesWhatTheOpsInsideDoes) {
  EXPECT_EQ(step(plain_.get(), 3), step(&timed_, 3));
  EXPECT_EQ(timed_.name(), plain_->name());
  EXPECT_EQ(timed_.batch_invariant(), plain_->batch_invariant());
}

TEST_F(TimedOpsTest, CountsCallsAndBytesByShapeAndStep) {
  for (int i = 0; i < 3; ++i) step(&timed_, 1);
  step(&timed_, 4);
  const std::vector<OpTime> lines = timed_.lines();
  const OpTime* one = find(lines, "linear", 1);
  ASSERT_NE(one, nullptr);
  EXPECT_EQ(one->calls, 3);
  EXPECT_EQ(one->bytes, 3 * 24 * 32 * 2);
  EXPECT_EQ(shape_of(*one), "24 x 32 bfloat16");
  const OpTime* four = find(lines, "linear", 4);
  ASSERT_NE(four, nullptr);
  EXPECT_EQ(four->calls, 1);
  EXPECT_EQ(find(lines, "embed", 4)->bytes, 4 * 32 * 2);
}

// Every moment from the first call to the end of the last belongs to one line.
TEST_F(TimedOpsTest, LinesAddUpToTheTimeOfTheSteps) {
  const auto now = [] { return std::chrono::steady_clock::now(); };
  step(&timed_, 1);
  timed_.clear();
  const auto begin = now();
  step(&timed_, 1);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  step(&timed_, 1);
  const int64_t wall_ns =
      std::chrono::duration_cast<std::chrono::nanoseconds>(now() - begin).count();
  const std::vector<OpTime> lines = timed_.lines();
  int64_t sum_ns = 0;
  for (const OpTime& line : lines) sum_ns += line.time_ns;
  EXPECT_LE(sum_ns, wall_ns);
  EXPECT_GT(sum_ns, 20'000'000);
  EXPECT_STREQ(lines.front().operation, "between steps");
  EXPECT_GE(lines.front().time_ns, 20'000'000);
  EXPECT_EQ(find(lines, "between operations", 1)->calls, 2);
}

TEST_F(TimedOpsTest, AFullTableKeepsTheTimeAndCallsOfWhatFindsNoPlace) {
  const auto shapes = static_cast<int64_t>(TimedOps::kLinesMax) + 40;
  std::vector<float> out(64);
  for (int64_t i = 1; i <= shapes; ++i) {
    const std::vector<int32_t> ids(1, 0);
    const Matrix x = matrix(&x_, 1, 1 + i % 32);
    timed_.embed(ids, weight(1 + i / 32, 1 + i % 32), x);
  }
  const std::vector<OpTime> lines = timed_.lines();
  EXPECT_EQ(lines.size(), TimedOps::kLinesMax);
  int64_t calls = 0;
  for (const OpTime& line : lines) calls += line.calls;
  EXPECT_EQ(calls, 2 * shapes - 1);  // and what passes between them
}

TEST_F(TimedOpsTest, PrintsALineForEach) {
  step(&timed_, 2);
  const std::string text = to_text(timed_.lines());
  EXPECT_NE(text.find("24 x 32 bfloat16"), std::string::npos) << text;
  EXPECT_NE(text.find("between operations"), std::string::npos) << text;
}

}  // namespace
}  // namespace galley::kernels

#include <gtest/gtest.h>

#include <cstring>
#include <memory>

#include "kernels/cuda/expert_gemm.h"
#include "kernels/cuda/testing/gemm_fixture.h"

namespace galley::kernels::cuda {
namespace {

using testing::DeviceArray;
using testing::must;
using testing::Random;

// A weight on the host and on the device, FP8 or bf16.
struct HostWeight {
  HostWeight(Random& random, bool fp8_in, int64_t rows_in, int64_t cols_in)
      : fp8(fp8_in), rows(rows_in), cols(cols_in) {
    if (fp8) {
      codes = std::make_unique<testing::Fp8Weight>(random, rows, cols);
    } else {
      values =
          testing::random_bf16(random, rows * cols, 1.0f / std::sqrt(static_cast<float>(cols)));
      device = std::make_unique<DeviceArray<uint16_t>>(values);
    }
  }
  double value(int64_t r, int64_t c) const {
    return fp8 ? codes->value(r, c)
               : double{bf16_to_f32(values[static_cast<size_t>(r * cols + c)])};
  }
  Weight weight() const {
    if (fp8)
      return {.data = codes->device_codes.get(),
              .scales = codes->device_scales.get(),
              .dtype = DType::kF8E4M3,
              .rows = rows,
              .cols = cols};
    return {.data = device->get(), .dtype = DType::kBF16, .rows = rows, .cols = cols};
  }
  bool fp8;
  int64_t rows, cols;
  std::unique_ptr<testing::Fp8Weight> codes;
  std::vector<uint16_t> values;
  std::unique_ptr<DeviceArray<uint16_t>> device;
};

struct Layer {
  Layer(Random& random, const ExpertShape& shape_in) : shape(shape_in) {
    for (int32_t e = 0; e < shape.experts; ++e) {
      gate.emplace_back(random, shape.fp8, shape.inner, shape.hidden);
      up.emplace_back(random, shape.fp8, shape.inner, shape.hidden);
      down.emplace_back(random, shape.fp8, shape.hidden, shape.inner);
    }
    for (size_t e = 0; e < gate.size(); ++e)
      all.push_back({.gate = gate[e].weight(), .up = up[e].weight(), .down = down[e].weight()});
    table = std::make_unique<DeviceArray<std::byte>>(expert_table(all));
  }
  ExpertShape shape;
  std::vector<HostWeight> gate, up, down;
  std::vector<MlpWeights> all;
  std::unique_ptr<DeviceArray<std::byte>> table;
};

// What a product reads in the place of x (ops.h, Precision).
std::vector<double> as_input(const std::vector<double>& x, bool fp8) {
  std::vector<double> out(x.size());
  for (size_t begin = 0; begin < x.size(); begin += 128) {
    const size_t end = std::min(x.size(), begin + 128);
    float largest = 0.0f;
    for (size_t i = begin; i < end; ++i)
      largest = std::max(largest, std::fabs(static_cast<float>(x[i])));
    const float scale = largest / 448.0f;
    for (size_t i = begin; i < end; ++i) {
      const auto value = static_cast<float>(x[i]);
      if (!fp8) {
        out[i] = bf16_to_f32(f32_to_bf16(value));
      } else if (scale > 0.0f) {
        out[i] = double{e4m3_to_f32(f32_to_e4m3(value / scale))} * double{scale};
      }
    }
  }
  return out;
}

std::vector<double> product(const HostWeight& w, const std::vector<double>& x) {
  std::vector<double> out(static_cast<size_t>(w.rows));
  for (int64_t r = 0; r < w.rows; ++r)
    for (int64_t c = 0; c < w.cols; ++c)
      out[static_cast<size_t>(r)] += w.value(r, c) * x[static_cast<size_t>(c)];
  return out;
}

std::vector<double> mlp(const Layer& layer, size_t expert, const std::vector<double>& x) {
  const std::vector<double> input = as_input(x, layer.shape.fp8);
  std::vector<double> gate = product(layer.gate[expert], input);
  const std::vector<double> up = product(layer.up[expert], input);
  for (size_t i = 0; i < gate.size(); ++i) gate[i] = gate[i] / (1.0 + std::exp(-gate[i])) * up[i];
  return product(layer.down[expert], as_input(gate, layer.shape.fp8));
}

struct Step {
  Step(Random& random, const ExpertShape& shape, int64_t tokens_in, int32_t per_token_in)
      : tokens(tokens_in),
        per_token(per_token_in),
        x(testing::random_bf16(random, tokens * shape.hidden, 1.0f)),
        device_x(x) {
    for (int64_t t = 0; t < tokens; ++t) {
      std::vector<int32_t> ids(static_cast<size_t>(shape.experts));
      for (int32_t e = 0; e < shape.experts; ++e) ids[static_cast<size_t>(e)] = e;
      for (int32_t k = 0; k < per_token; ++k) {
        std::swap(ids[static_cast<size_t>(k)],
                  ids[static_cast<size_t>(k + random.below(shape.experts - k))]);
        experts.push_back(ids[static_cast<size_t>(k)]);
        weights.push_back(0.1f + 0.1f * static_cast<float>(random.below(10)));
      }
    }
  }
  int64_t tokens;
  int32_t per_token;
  std::vector<uint16_t> x;
  DeviceArray<uint16_t> device_x;
  std::vector<int32_t> experts;
  std::vector<float> weights;
};

std::vector<uint16_t> run(const Layer& layer, const Step& step, ExpertPath path, int32_t tile = 0,
                          int64_t at_once = 0) {
  if (at_once == 0) at_once = std::max<int64_t>(step.tokens, 1);
  const DeviceArray<int32_t> experts(step.experts);
  const DeviceArray<float> weights(step.weights);
  const DeviceArray<std::byte> workspace(
      expert_workspace_bytes(layer.shape, step.per_token, at_once));
  const DeviceArray<uint16_t> out(static_cast<size_t>(step.tokens * layer.shape.hidden));
  must(run_experts({.shape = layer.shape,
                    .table = layer.table->get(),
                    .x = reinterpret_cast<const __nv_bfloat16*>(step.device_x.get()),
                    .x_ld = layer.shape.hidden,
                    .tokens = step.tokens,
                    .experts = experts.get(),
                    .weights = weights.get(),
                    .experts_per_token = step.per_token,
                    .out = reinterpret_cast<__nv_bfloat16*>(out.get()),
                    .out_ld = layer.shape.hidden,
                    .workspace = workspace.get(),
                    .tokens_at_once = at_once,
                    .path = path,
                    .tile = tile},
                   nullptr));
  return out.take();
}

// ||out - reference|| / ||reference|| over the tokens, about `checks` of them. FP8: the inner
// values are quantised again, and one that lies near the middle between two codes may go to the
// other one (the tensor cores sum 128 products with 14 bits): a few in a hundred do, each by 1/16
// of itself.
void expect_near(const Layer& layer, const Step& step, const std::vector<uint16_t>& out,
                 int64_t checks) {
  const int64_t hidden = layer.shape.hidden;
  double error = 0.0, size = 0.0;
  for (int64_t t = 0; t < step.tokens; t += std::max<int64_t>(1, step.tokens / checks)) {
    std::vector<double> x(static_cast<size_t>(hidden)), want(x.size());
    for (int64_t i = 0; i < hidden; ++i)
      x[static_cast<size_t>(i)] = bf16_to_f32(step.x[static_cast<size_t>(t * hidden + i)]);
    for (int32_t k = 0; k < step.per_token; ++k) {
      const auto at = static_cast<size_t>(t * step.per_token + k);
      if (step.experts[at] < 0) continue;
      const std::vector<double> y = mlp(layer, static_cast<size_t>(step.experts[at]), x);
      for (size_t i = 0; i < y.size(); ++i) want[i] += double{step.weights[at]} * y[i];
    }
    for (int64_t i = 0; i < hidden; ++i) {
      const double got = bf16_to_f32(out[static_cast<size_t>(t * hidden + i)]);
      const double diff = got - want[static_cast<size_t>(i)];
      error += diff * diff;
      size += want[static_cast<size_t>(i)] * want[static_cast<size_t>(i)];
    }
  }
  const double bound = layer.shape.fp8 ? 1.5e-2 : 6e-3;
  EXPECT_TRUE(std::sqrt(error) <= bound * std::sqrt(size) + 1e-30)
      << std::sqrt(error) << " of " << std::sqrt(size);
}

class ExpertGemm : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (!testing::has_gpu()) GTEST_SKIP() << "skipped, no GPU";
  }
  bool fp8() const { return GetParam(); }
};

INSTANTIATE_TEST_SUITE_P(Weights, ExpertGemm, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "Fp8" : "BF16"; });

TEST_P(ExpertGemm, OneTokenOneExpert) {
  Random random(1);
  const Layer layer(random, {.hidden = 256, .inner = 128, .experts = 1, .fp8 = fp8()});
  const Step step(random, layer.shape, 1, 1);
  for (const ExpertPath path : {ExpertPath::kNarrow, ExpertPath::kTall}) {
    SCOPED_TRACE(static_cast<int>(path));
    expect_near(layer, step, run(layer, step, path), 1);
  }
}

TEST_P(ExpertGemm, EveryPathAndTileAgreesWithDouble) {
  for (const auto& [hidden, inner] :
       std::vector<std::pair<int64_t, int64_t>>{{256, 128}, {208, 144}, {640, 336}}) {
    Random random(static_cast<uint64_t>(hidden));
    const Layer layer(random, {.hidden = hidden, .inner = inner, .experts = 7, .fp8 = fp8()});
    for (const int64_t tokens : {2, 33, 200}) {
      SCOPED_TRACE(std::to_string(hidden) + "x" + std::to_string(inner) + " T " +
                   std::to_string(tokens));
      const Step step(random, layer.shape, tokens, 3);
      const auto tall = run(layer, step, ExpertPath::kTall);
      expect_near(layer, step, tall, 20);
      const auto wide = run(layer, step, ExpertPath::kTall, 256);
      EXPECT_EQ(std::memcmp(wide.data(), tall.data(), tall.size() * 2), 0)
          << "tile 256: bits differ";
      for (const int32_t tile : {8, 16, 32, 64}) {
        SCOPED_TRACE("tile " + std::to_string(tile));
        const auto narrow = run(layer, step, ExpertPath::kNarrow, tile);
        expect_near(layer, step, narrow, 20);
        EXPECT_EQ(std::memcmp(narrow.data(), tall.data(), tall.size() * 2), 0) << "bits differ";
      }
    }
  }
}

class ExpertWidth : public ::testing::TestWithParam<std::tuple<bool, int64_t, int64_t>> {
 protected:
  void SetUp() override {
    if (!testing::has_gpu()) GTEST_SKIP() << "skipped, no GPU";
  }
};

INSTANTIATE_TEST_SUITE_P(Widths, ExpertWidth,
                         ::testing::Combine(::testing::Bool(), ::testing::Values(208, 384),
                                            ::testing::Values(16, 32, 64, 80, 144)),
                         [](const auto& info) {
                           return std::string(std::get<0>(info.param) ? "Fp8" : "BF16") + "H" +
                                  std::to_string(std::get<1>(info.param)) + "I" +
                                  std::to_string(std::get<2>(info.param));
                         });

// Matrices narrower than a box of the copy engine among them: the demo model's 384 x 64.
TEST_P(ExpertWidth, AnyMultipleOf16) {
  const auto [fp8, hidden, inner] = GetParam();
  Random random(static_cast<uint64_t>(inner));
  const Layer layer(random, {.hidden = hidden, .inner = inner, .experts = 32, .fp8 = fp8});
  for (const int64_t tokens : {1, 2, 40}) {
    SCOPED_TRACE("T " + std::to_string(tokens));
    const Step step(random, layer.shape, tokens, 4);
    const auto tall = run(layer, step, ExpertPath::kTall);
    expect_near(layer, step, tall, 20);
    for (const int32_t tile : {8, 16, 32, 64}) {
      SCOPED_TRACE("tile " + std::to_string(tile));
      const auto narrow = run(layer, step, ExpertPath::kNarrow, tile);
      expect_near(layer, step, narrow, 20);
      EXPECT_EQ(std::memcmp(narrow.data(), tall.data(), tall.size() * 2), 0) << "bits differ";
    }
  }
}

TEST_P(ExpertGemm, AllTokensToOneExpert) {
  Random random(2);
  const Layer layer(random, {.hidden = 384, .inner = 256, .experts = 5, .fp8 = fp8()});
  Step step(random, layer.shape, 150, 1);
  std::fill(step.experts.begin(), step.experts.end(), 3);
  for (const ExpertPath path : {ExpertPath::kNarrow, ExpertPath::kTall})
    expect_near(layer, step, run(layer, step, path), 20);
}

TEST_P(ExpertGemm, NegativeIdsAddNothing) {
  Random random(3);
  const Layer layer(random, {.hidden = 256, .inner = 128, .experts = 4, .fp8 = fp8()});
  Step step(random, layer.shape, 21, 2);
  for (size_t i = 0; i < step.experts.size(); i += 3) step.experts[i] = -1;
  step.experts[0] = step.experts[1] = -1;  // a token with no expert here: zeros
  for (const ExpertPath path : {ExpertPath::kNarrow, ExpertPath::kTall}) {
    const auto out = run(layer, step, path);
    expect_near(layer, step, out, 21);
    for (int64_t i = 0; i < layer.shape.hidden; ++i) ASSERT_EQ(out[static_cast<size_t>(i)], 0);
  }
  std::fill(step.experts.begin(), step.experts.end(), -1);
  for (const uint16_t v : run(layer, step, ExpertPath::kNarrow)) ASSERT_EQ(v, 0);
}

TEST_P(ExpertGemm, TurnsGiveTheSameBits) {
  Random random(4);
  const Layer layer(random, {.hidden = 256, .inner = 256, .experts = 6, .fp8 = fp8()});
  const Step step(random, layer.shape, 300, 3);
  const auto whole = run(layer, step, ExpertPath::kAuto);
  for (const int64_t at_once : {1, 7, 128, 299}) {
    const auto turns = run(layer, step, ExpertPath::kAuto, 0, at_once);
    EXPECT_EQ(std::memcmp(whole.data(), turns.data(), whole.size() * 2), 0) << at_once;
  }
}

TEST_P(ExpertGemm, NoTokensDoNothing) {
  Random random(5);
  const Layer layer(random, {.hidden = 256, .inner = 128, .experts = 2, .fp8 = fp8()});
  EXPECT_TRUE(run(layer, Step(random, layer.shape, 0, 2), ExpertPath::kAuto).empty());
}

TEST_P(ExpertGemm, RealShapes) {
  Random random(6);
  const ExpertShape shape = fp8() ? ExpertShape{7168, 2048, 3, true}    // DeepSeek-V3
                                  : ExpertShape{2048, 1408, 6, false};  // V2-Lite
  const Layer layer(random, shape);
  for (const int64_t tokens : {1, 150, 700}) {
    const Step step(random, shape, tokens, 2);
    SCOPED_TRACE(tokens);
    const auto narrow = run(layer, step, ExpertPath::kNarrow);
    const auto tall = run(layer, step, ExpertPath::kTall);
    expect_near(layer, step, tall, 1);
    const auto wide = run(layer, step, ExpertPath::kTall, 256);
    EXPECT_EQ(std::memcmp(wide.data(), tall.data(), tall.size() * 2), 0) << "tile 256: bits differ";
    EXPECT_EQ(std::memcmp(narrow.data(), tall.data(), tall.size() * 2), 0) << "bits differ";
  }
}

TEST(ExpertGemmSeam, OddWeightsAreRefused) {
  alignas(16) static std::byte memory[64];
  const auto weight = [&](DType dtype, int64_t rows, int64_t cols, size_t offset = 0) {
    return Weight{.data = memory + offset, .dtype = dtype, .rows = rows, .cols = cols};
  };
  const auto one = [&](DType dtype, int64_t hidden, int64_t inner, size_t offset = 0) {
    return std::vector<MlpWeights>{{.gate = weight(dtype, inner, hidden),
                                    .up = weight(dtype, inner, hidden, offset),
                                    .down = weight(dtype, hidden, inner)}};
  };
  EXPECT_TRUE(can_run_experts(one(DType::kF8E4M3, 256, 128)));
  EXPECT_TRUE(can_run_experts(one(DType::kBF16, 256, 136)));
  EXPECT_FALSE(can_run_experts({}));
  EXPECT_FALSE(can_run_experts(one(DType::kF16, 256, 128)));
  EXPECT_FALSE(can_run_experts(one(DType::kF8E4M3, 256, 136)));
  EXPECT_FALSE(can_run_experts(one(DType::kF8E4M3, 250, 128)));
  EXPECT_FALSE(can_run_experts(one(DType::kBF16, 256, 128, 8)));
}

}  // namespace
}  // namespace galley::kernels::cuda

#include <gtest/gtest.h>

#include "kernels/cuda/testing/gemm_fixture.h"

namespace galley::kernels::cuda {
namespace {

using testing::DeviceArray;
using testing::must;
using testing::Random;

class Quantize : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!testing::has_gpu()) GTEST_SKIP() << "skipped, no GPU";
  }
};

const __nv_bfloat16* as_bf16(const uint16_t* p) {
  return reinterpret_cast<const __nv_bfloat16*>(p);
}

// Codes and scales of one row as the CPU makes them.
void expect_row(const std::vector<float>& x, const std::vector<uint8_t>& bytes, const Fp8Rows& view,
                int64_t row, const std::string& what) {
  const auto* scales =
      reinterpret_cast<const float*>(bytes.data() + fp8_code_bytes(view.rows, view.cols));
  for (int64_t g = 0; g < fp8_groups(view.cols); ++g) {
    float largest = 0.0f;
    const int64_t end = std::min(view.cols, 128 * (g + 1));
    for (int64_t c = 128 * g; c < end; ++c)
      largest = std::max(largest, std::fabs(x[static_cast<size_t>(c)]));
    const float scale = largest / 448.0f;
    ASSERT_EQ(scales[g * view.scale_ld + row], scale) << what << " row " << row << " group " << g;
    for (int64_t c = 128 * g; c < end; ++c) {
      const uint8_t code =
          scale > 0.0f ? f32_to_e4m3(x[static_cast<size_t>(c)] / scale) : uint8_t{0};
      ASSERT_EQ(bytes[static_cast<size_t>(row * view.ld + c)], code)
          << what << " row " << row << " column " << c;
    }
  }
  for (int64_t c = view.cols; c < view.ld; ++c)
    ASSERT_EQ(bytes[static_cast<size_t>(row * view.ld + c)], 0) << what << " pad of row " << row;
}

TEST_F(Quantize, BitsEqualTheCpu) {
  Random random(1);
  for (const auto& [rows, cols] : std::vector<std::pair<int64_t, int64_t>>{
           {1, 1}, {1, 128}, {3, 127}, {5, 130}, {7, 7168}, {64, 1536}, {33, 200}, {2, 18432}}) {
    auto x = testing::random_bf16(random, rows * cols, 3.0f);
    if (rows > 1) std::fill(x.begin(), x.begin() + cols, uint16_t{0});  // a row of zeros
    const DeviceArray<uint16_t> device_x(x);
    const DeviceArray<uint8_t> memory(static_cast<size_t>(fp8_bytes(rows, cols)));
    const Fp8Rows view = fp8_rows(memory.get(), rows, cols);
    must(quantize_rows(as_bf16(device_x.get()), cols, view, nullptr));
    const auto bytes = memory.take();
    for (int64_t r = 0; r < rows; ++r) {
      std::vector<float> row(static_cast<size_t>(cols));
      for (int64_t c = 0; c < cols; ++c)
        row[static_cast<size_t>(c)] = bf16_to_f32(x[static_cast<size_t>(r * cols + c)]);
      expect_row(row, bytes, view, r, std::to_string(rows) + "x" + std::to_string(cols));
    }
  }
}

TEST_F(Quantize, NoRowsDoNothing) {
  EXPECT_EQ(quantize_rows(nullptr, 128, {.cols = 128}, nullptr), cudaSuccess);
  EXPECT_EQ(swiglu_quantize_rows(nullptr, nullptr, 128, {.cols = 128}, nullptr), cudaSuccess);
}

TEST_F(Quantize, SwigluIsWithinOneCodeOfDouble) {
  Random random(2);
  const int64_t rows = 19, cols = 1408;
  const auto gate_up = testing::random_bf16(random, rows * cols * 2, 2.0f);
  const DeviceArray<uint16_t> device(gate_up);
  const DeviceArray<uint8_t> memory(static_cast<size_t>(fp8_bytes(rows, cols)));
  const Fp8Rows view = fp8_rows(memory.get(), rows, cols);
  must(swiglu_quantize_rows(as_bf16(device.get()), as_bf16(device.get() + cols), 2 * cols, view,
                            nullptr));
  const auto bytes = memory.take();
  const auto* scales = reinterpret_cast<const float*>(bytes.data() + fp8_code_bytes(rows, cols));
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) {
      const double g = bf16_to_f32(gate_up[static_cast<size_t>(r * 2 * cols + c)]);
      const double u = bf16_to_f32(gate_up[static_cast<size_t>(r * 2 * cols + cols + c)]);
      const double want = g / (1.0 + std::exp(-g)) * u;
      const double scale = scales[c / 128 * view.scale_ld + r];
      const double got = e4m3_to_f32(bytes[static_cast<size_t>(r * view.ld + c)]) * scale;
      // Half a step of e4m3: 1/16 of the value, or the smallest subnormal.
      const double bound = std::fabs(want) / 16.0 * 1.001 + scale * 0.001;
      ASSERT_TRUE(std::fabs(got - want) <= bound) << r << "," << c << ": " << got << " " << want;
    }
  }
}

TEST_F(Quantize, ScattersToTheRowsOfItsPairs) {
  Random random(3);
  const int64_t tokens = 9, cols = 384, copies = 3, rows = 40;
  const auto x = testing::random_bf16(random, tokens * cols, 1.0f);
  std::vector<int32_t> row_of;
  for (int32_t i = 0; i < tokens * copies; ++i) row_of.push_back(i % 5 == 4 ? -1 : 39 - i);
  const DeviceArray<uint16_t> device_x(x);
  const DeviceArray<int32_t> device_rows(row_of);
  const DeviceArray<uint8_t> memory(static_cast<size_t>(fp8_bytes(rows, cols)));
  const Fp8Rows view = fp8_rows(memory.get(), rows, cols);
  must(quantize_scatter({.x = as_bf16(device_x.get()),
                         .x_ld = cols,
                         .tokens = tokens,
                         .row_of = device_rows.get(),
                         .copies = copies},
                        view, nullptr));
  const auto bytes = memory.take();
  for (int32_t i = 0; i < tokens * copies; ++i) {
    if (row_of[static_cast<size_t>(i)] < 0) continue;
    std::vector<float> row;
    for (int64_t c = 0; c < cols; ++c)
      row.push_back(bf16_to_f32(x[static_cast<size_t>(i / copies * cols + c)]));
    expect_row(row, bytes, view, row_of[static_cast<size_t>(i)], "pair " + std::to_string(i));
  }
}

}  // namespace
}  // namespace galley::kernels::cuda

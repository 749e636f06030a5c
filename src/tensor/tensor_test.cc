#include "tensor/tensor.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace galley {
namespace {

// For every code c of a narrow type: value(c) must encode back to c, and a value between two
// neighbours must go to the nearer one, to the even one when in the middle.
template <typename Code>
void check_rounding(uint32_t code_max, float (*decode)(Code), Code (*encode)(float)) {
  for (uint32_t c = 0; c < code_max; ++c) {
    const float low = decode(static_cast<Code>(c));
    const float high = decode(static_cast<Code>(c + 1));
    const float middle = low + (high - low) / 2;
    ASSERT_EQ(encode(low), c);
    ASSERT_EQ(encode(middle), c % 2 == 0 ? c : c + 1) << c;
    ASSERT_EQ(encode(std::nextafter(middle, low)), c) << c;
    ASSERT_EQ(encode(std::nextafter(middle, high)), c + 1) << c;
    ASSERT_EQ(decode(encode(-low)), -low);
  }
}

TEST(Tensor, NarrowTypesRoundToNearestEven) {
  check_rounding<uint8_t>(0x7e, e4m3_to_f32, f32_to_e4m3);
  check_rounding<uint16_t>(0x7bff, f16_to_f32, f32_to_f16);
  check_rounding<uint16_t>(0x7f7f, bf16_to_f32, f32_to_bf16);
}

TEST(Tensor, KnownCodes) {
  EXPECT_EQ(e4m3_to_f32(0x7e), 448.0f);
  EXPECT_EQ(e4m3_to_f32(0x01), 0.001953125f);
  EXPECT_EQ(f32_to_e4m3(1e9f), 0x7e) << "saturates";
  EXPECT_EQ(f16_to_f32(0x3c00), 1.0f);
  EXPECT_EQ(f32_to_f16(65520.0f), 0x7c00) << "rounds to infinity";
  EXPECT_TRUE(std::isinf(f16_to_f32(0xfc00)));
  for (const float nan : {std::nanf(""), -std::nanf("")}) {
    EXPECT_TRUE(std::isnan(e4m3_to_f32(f32_to_e4m3(nan))));
    EXPECT_TRUE(std::isnan(f16_to_f32(f32_to_f16(nan))));
    EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(nan))));
  }
}

}  // namespace
}  // namespace galley

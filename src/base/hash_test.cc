#include "base/hash.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace galley {
namespace {

std::string hex(const Hash128& hash) {
  std::string text;
  for (const uint64_t word : {hash.low, hash.high}) {
    for (int i = 0; i < 8; ++i) {
      const auto byte = static_cast<unsigned>((word >> (8 * i)) & 0xff);
      text += "0123456789abcdef"[byte >> 4];
      text += "0123456789abcdef"[byte & 15];
    }
  }
  return text;
}

// Key 00 01 ... 0f, input 00 01 ... of each length: vectors_sip128 of the reference implementation.
TEST(SipHash128, GivesThePublishedResults) {
  const HashKey key = {.k0 = 0x0706050403020100, .k1 = 0x0f0e0d0c0b0a0908};
  const std::pair<size_t, const char*> kVectors[] = {
      {0, "a3817f04ba25a8e66df67214c7550293"},  {1, "da87c1d86b99af44347659119b22fc45"},
      {2, "8177228da4a45dc7fca38bdef60affe4"},  {3, "9c70b60c5267a94e5f33b6b02985ed51"},
      {7, "a1f1ebbed8dbc153c0b84aa61ff08239"},  {8, "3b62a9ba6258f5610f83e264f31497b4"},
      {9, "264499060ad9baabc47f8b02bb6d71ed"},  {15, "5493e99933b0a8117e08ec0f97cfc3d9"},
      {16, "6ee2a4ca67b054bbfd3315bf85230577"}, {63, "5150d1772f50834a503e069a973fbd7c"},
  };
  for (const auto& [length, expected] : kVectors) {
    std::vector<std::byte> data(length);
    for (size_t i = 0; i < length; ++i) data[i] = static_cast<std::byte>(i);
    EXPECT_EQ(hex(siphash128(key, data)), expected) << "length " << length;
  }
}

TEST(SipHash128, DependsOnTheKey) {
  const std::vector<std::byte> data(64);
  EXPECT_NE(hex(siphash128({1, 2}, data)), hex(siphash128({1, 3}, data)));
  EXPECT_NE(random_hash_key().k0, random_hash_key().k0);
}

}  // namespace
}  // namespace galley

#include "kernels/random_values.h"

#include <algorithm>
#include <cstring>
#include <random>

#include "base/check.h"

namespace galley::kernels {
namespace {

// The entry for one draw, at `to`.
void encode(DType dtype, float value, std::byte* to) {
  const auto store = [to](auto code) { std::memcpy(to, &code, sizeof code); };
  switch (dtype) {
    case DType::kF32:
      return store(value);
    case DType::kBF16:
      return store(f32_to_bf16(value));
    case DType::kF16:
      return store(f32_to_f16(value));
    case DType::kF8E4M3:
      return store(f32_to_e4m3(value));
    case DType::kI32:
      break;
  }
  GALLEY_CHECK(false, "weights are f32, bf16, f16 or e4m3");
}

template <typename Code>
void fill(const std::byte* table, uint64_t seed, int64_t begin, int64_t end, std::byte* data) {
  const auto* const codes = reinterpret_cast<const Code*>(table);
  Code* const to = reinterpret_cast<Code*>(data);
  for (int64_t i = begin; i < end;) {
    uint64_t word = pick_word(seed, static_cast<uint64_t>(i / kPicksPerWord));
    word >>= 16 * (i % kPicksPerWord);
    const int64_t stop = std::min(end, (i / kPicksPerWord + 1) * kPicksPerWord);
    for (; i < stop; ++i, word >>= 16) to[i] = codes[word % kDrawTable];
  }
}

}  // namespace

std::vector<std::byte> draw_table(DType dtype, float deviation) {
  std::mt19937_64 random(20241226);
  std::vector<std::byte> table(kDrawTable * size_of(dtype));
  for (size_t i = 0; i < kDrawTable; ++i) {
    double sum = -6.0;  // Irwin-Hall: twelve uniforms, variance 1; the same on every platform
    for (int n = 0; n < 12; ++n) sum += static_cast<double>(random() >> 11) * 0x1p-53;
    encode(dtype, static_cast<float>(sum) * deviation, table.data() + i * size_of(dtype));
  }
  return table;
}

void fill_random(DType dtype, const std::byte* table, uint64_t seed, int64_t begin, int64_t end,
                 std::byte* data) {
  switch (size_of(dtype)) {
    case 4:
      return fill<uint32_t>(table, seed, begin, end, data);
    case 2:
      return fill<uint16_t>(table, seed, begin, end, data);
    default:
      return fill<uint8_t>(table, seed, begin, end, data);
  }
}

}  // namespace galley::kernels

// AVX-512 F, BW, DQ and VL (Intel from Skylake-SP): pairs of bf16 are two registers of floats.
#include <immintrin.h>

#include <cstring>

#include "kernels/cpu/primitives.h"

namespace galley::kernels::cpu {
namespace {

#include "kernels/cpu/vector_512.inl"

struct V : V512 {
  struct H {
    F even, odd;
  };
  static constexpr int kTileTokens = 6;    // of any step
  static constexpr int kScaledTokens = 2;  // two accumulators for each output

  static H load_pairs(const std::byte* p) {
    const __m512i pairs = _mm512_loadu_si512(p);
    return {_mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16)),
            _mm512_castsi512_ps(
                _mm512_and_si512(pairs, _mm512_set1_epi32(static_cast<int>(0xffff0000u))))};
  }
  static F dot_pairs(F acc, H a, H b) { return fma(a.odd, b.odd, fma(a.even, b.even, acc)); }
  static H load_e4m3_pairs(const std::byte* p) {
    const __m512i codes =
        _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
    return {e4m3_values(_mm512_and_si512(codes, _mm512_set1_epi32(0xff))),
            e4m3_values(_mm512_srli_epi32(codes, 8))};
  }
  static void decode_e4m3(const std::byte* p, int64_t n, std::byte* out) {
    for (int64_t i = 0; i < n; i += kLanes) {
      alignas(64) std::byte codes[kLanes] = {};
      const int64_t count = n - i < kLanes ? n - i : kLanes;
      std::memcpy(codes, p + i, static_cast<size_t>(count));
      alignas(64) uint16_t values[kLanes];
      store_bf16(values, load_e4m3(codes));
      std::memcpy(out + i * 2, values, static_cast<size_t>(count) * 2);
    }
  }
};

#include "kernels/cpu/vector_kernels.inl"

constexpr Primitives kTable = make_table("avx512");

}  // namespace

const Primitives& avx512_primitives() {
  return kTable;
}

}  // namespace galley::kernels::cpu

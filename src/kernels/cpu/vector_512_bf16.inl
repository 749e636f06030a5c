// V for AVX-512 with avx512_bf16 and avx512_vbmi, shared by avx512_bf16.cc and amx.cc.
#include "kernels/cpu/vector_512.inl"

// bf16 of each e4m3 magnitude: low and high bytes, by the 7 bits.
struct E4m3Bytes {
  alignas(64) uint8_t low[128];
  alignas(64) uint8_t high[128];
};

constexpr E4m3Bytes make_e4m3_bytes() {
  E4m3Bytes table{};
  for (uint32_t code = 0; code < 128; ++code) {
    const uint32_t exponent = code >> 3, mantissa = code & 7;
    uint32_t bits = ((exponent + 120) << 7) | (mantissa << 4);
    if (code == 0x7f) bits = 0x7fc0;  // NaN
    if (exponent == 0) {              // mantissa * 2^-9
      bits = 0;
      for (uint32_t top = 0; top < 3; ++top) {
        if (mantissa >> top == 1)
          bits = ((118 + top) << 7) | ((mantissa - (1u << top)) << (7 - top));
      }
    }
    table.low[code] = static_cast<uint8_t>(bits & 0xff);
    table.high[code] = static_cast<uint8_t>(bits >> 8);
  }
  return table;
}

constexpr E4m3Bytes kBytes = make_e4m3_bytes();

struct V : V512 {
  using H = __m512bh;
  static constexpr int kTileTokens = 6;
  static constexpr int kScaledTokens = 3;  // two accumulators for each output

  static H load_pairs(const std::byte* p) { return (H)_mm512_loadu_si512(p); }
  static F dot_pairs(F acc, H a, H b) { return _mm512_dpbf16_ps(acc, a, b); }

  // 64 codes as their low and high bytes, both in the order of the codes.
  static void decode_64(__m512i codes, __m512i& low, __m512i& high) {
    low = _mm512_permutex2var_epi8(_mm512_load_si512(kBytes.low), codes,
                                   _mm512_load_si512(kBytes.low + 64));
    high = _mm512_permutex2var_epi8(_mm512_load_si512(kBytes.high), codes,
                                    _mm512_load_si512(kBytes.high + 64));
    // high | (codes & 0x80)
    high = _mm512_ternarylogic_epi32(high, codes, _mm512_set1_epi8(static_cast<char>(0x80)), 0xf8);
  }
  // 32 codes, each in its word: code 0 of the other byte becomes 0.
  static H load_e4m3_pairs(const std::byte* p) {
    const __m512i codes =
        _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
    __m512i low, high;
    decode_64(codes, low, high);
    return (H)_mm512_or_si512(low, _mm512_slli_epi16(high, 8));
  }
  static void decode_e4m3(const std::byte* p, int64_t n, std::byte* out) {
    int64_t i = 0;
    for (; i + 32 <= n; i += 32) _mm512_storeu_si512(out + i * 2, (__m512i)load_e4m3_pairs(p + i));
    if (i == n) return;
    alignas(64) std::byte copy[32] = {};
    std::memcpy(copy, p + i, static_cast<size_t>(n - i));
    alignas(64) std::byte pairs[64];
    _mm512_store_si512(pairs, (__m512i)load_e4m3_pairs(copy));
    std::memcpy(out + i * 2, pairs, static_cast<size_t>(n - i) * 2);
  }
};

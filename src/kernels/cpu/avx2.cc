// AVX2 with FMA and F16C (Intel from Haswell, AMD from Zen).
#include <immintrin.h>

#include <cstring>

#include "kernels/cpu/primitives.h"

namespace galley::kernels::cpu {
namespace {

struct V {
  static constexpr int64_t kLanes = 8;
  static constexpr int kTileTokens = 2;  // of a tile of 4 rows: 16 registers are few
  static constexpr int kFloatTokens = 2;
  static constexpr int kScaledTokens = 1;
  static constexpr int kSumRows = 2;
  static constexpr int kStreamRows = 8;
  using F = __m256;
  struct H {
    F even, odd;
  };

  static constexpr int64_t size_in_file(DType dtype) {
    return dtype == DType::kF32 ? 4 : dtype == DType::kF8E4M3 ? 1 : 2;
  }
  static __m256i mask(int64_t n) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lane);
  }

  static void prefetch(const std::byte* p) {
    _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0);
  }
  static void prefetch_l2(const std::byte* p) {
    _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T1);
  }
  static F zero() { return _mm256_setzero_ps(); }
  static F all(float x) { return _mm256_set1_ps(x); }
  static F load(const float* p) { return _mm256_loadu_ps(p); }
  static F load(const float* p, int64_t n) { return _mm256_maskload_ps(p, mask(n)); }
  static void store(float* p, F x) { _mm256_storeu_ps(p, x); }
  static void store(float* p, F x, int64_t n) {
    if (n >= kLanes) {
      store(p, x);
    } else {
      _mm256_maskstore_ps(p, mask(n), x);
    }
  }
  static F first(F x, int64_t n) { return _mm256_and_ps(x, _mm256_castsi256_ps(mask(n))); }
  static F add(F a, F b) { return _mm256_add_ps(a, b); }
  static F sub(F a, F b) { return _mm256_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static F div(F a, F b) { return _mm256_div_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  // NaN in the first operand: the second one.
  static F max(F a, F b) { return _mm256_max_ps(a, b); }
  static F min(F a, F b) { return _mm256_min_ps(a, b); }
  static F abs(F x) { return _mm256_and_ps(x, _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff))); }
  static F round(F x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  // k is an integer in [-126, 127].
  static F times_power_of_2(F x, F k) {
    const __m256i bits =
        _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(k), _mm256_set1_epi32(127)), 23);
    return mul(x, _mm256_castsi256_ps(bits));
  }
  static F zero_unless_above(F x, F bound, F value) {
    return _mm256_and_ps(_mm256_cmp_ps(x, bound, _CMP_GE_OQ), value);
  }
  static float sqrt_of(float x) { return _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(x))); }

  // The fixed tree: lanes 4 apart, then 2, 1.
  static float sum_of(F x) {
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
  }
  static void store_sums(float* out, F a, F b, F c, F d) {
    out[0] = sum_of(a);
    out[1] = sum_of(b);
    out[2] = sum_of(c);
    out[3] = sum_of(d);
  }
  static float max_of(F x) {
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
  }

  static F load_bf16(const std::byte* p) {
    const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
  }
  static F load_f16(const std::byte* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  // As in vector_512.inl: exponent and mantissa to their places, times 2^120.
  static F e4m3_values(__m256i bytes) {
    const __m256i magnitude = _mm256_and_si256(bytes, _mm256_set1_epi32(0x7f));
    const __m256i sign = _mm256_slli_epi32(_mm256_and_si256(bytes, _mm256_set1_epi32(0x80)), 24);
    const F value = mul(_mm256_castsi256_ps(_mm256_slli_epi32(magnitude, 20)), all(0x1p120f));
    const F nan = _mm256_castsi256_ps(_mm256_cmpeq_epi32(magnitude, _mm256_set1_epi32(0x7f)));
    return _mm256_or_ps(_mm256_or_ps(value, nan), _mm256_castsi256_ps(sign));
  }
  static F load_e4m3(const std::byte* p) {
    return e4m3_values(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
  }
  static F rounded_bf16(F x) {
    const __m256i bits = _mm256_castps_si256(x);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i up = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    const __m256i nan = _mm256_or_si256(bits, _mm256_set1_epi32(0x00400000));
    const F chosen = _mm256_blendv_ps(_mm256_castsi256_ps(up), _mm256_castsi256_ps(nan),
                                      _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    return _mm256_and_ps(chosen,
                         _mm256_castsi256_ps(_mm256_set1_epi32(static_cast<int>(0xffff0000u))));
  }
  static F rounded_e4m3(F x) {
    const F magnitude = min(abs(x), all(448.0f));
    const __m256i bits = _mm256_castps_si256(magnitude);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 20), _mm256_set1_epi32(1));
    const __m256i up = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7ffff)));
    const F normal =
        _mm256_castsi256_ps(_mm256_and_si256(up, _mm256_set1_epi32(static_cast<int>(0xfff00000u))));
    const F small = sub(add(magnitude, all(24576.0f)), all(24576.0f));
    F value = _mm256_blendv_ps(normal, small, _mm256_cmp_ps(magnitude, all(0x1p-6f), _CMP_LT_OQ));
    value = _mm256_blendv_ps(value, x, _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    const F sign =
        _mm256_and_ps(x, _mm256_castsi256_ps(_mm256_set1_epi32(static_cast<int>(0x80000000u))));
    return _mm256_or_ps(value, sign);
  }
  static void store_bf16(uint16_t* p, F x) {
    const __m256i words = _mm256_srli_epi32(_mm256_castps_si256(x), 16);
    const __m128i packed =
        _mm_packus_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), packed);
  }

  static H load_pairs(const std::byte* p) {
    const __m256i pairs = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return {_mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16)),
            _mm256_castsi256_ps(
                _mm256_and_si256(pairs, _mm256_set1_epi32(static_cast<int>(0xffff0000u))))};
  }
  static F dot_pairs(F acc, H a, H b) { return fma(a.odd, b.odd, fma(a.even, b.even, acc)); }
  static H load_e4m3_pairs(const std::byte* p) {
    const __m256i codes =
        _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    return {e4m3_values(_mm256_and_si256(codes, _mm256_set1_epi32(0xff))),
            e4m3_values(_mm256_srli_epi32(codes, 8))};
  }
  static void decode_e4m3(const std::byte* p, int64_t n, std::byte* out) {
    for (int64_t i = 0; i < n; i += kLanes) {
      alignas(32) std::byte codes[kLanes] = {};
      const int64_t count = n - i < kLanes ? n - i : kLanes;
      std::memcpy(codes, p + i, static_cast<size_t>(count));
      alignas(32) uint16_t values[kLanes];
      store_bf16(values, load_e4m3(codes));
      std::memcpy(out + i * 2, values, static_cast<size_t>(count) * 2);
    }
  }
};

#include "kernels/cpu/vector_kernels.inl"

constexpr Primitives kTable = make_table("avx2");

}  // namespace

const Primitives& avx2_primitives() {
  return kTable;
}

}  // namespace galley::kernels::cpu

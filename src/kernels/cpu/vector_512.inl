// V for 512-bit registers, shared by avx512.cc and avx512_bf16.cc: what does not depend on
// avx512_bf16. Needs AVX-512 F, BW, DQ and VL.
struct V512 {
  static constexpr int64_t kLanes = 16;
  static constexpr int kFloatTokens = 6;
  static constexpr int kSumRows = 6;
  static constexpr int kStreamRows = 16;
  using F = __m512;

  static constexpr int64_t size_in_file(DType dtype) {
    return dtype == DType::kF32 ? 4 : dtype == DType::kF8E4M3 ? 1 : 2;
  }
  static __mmask16 mask(int64_t n) {
    return n >= 16 ? __mmask16{0xffff} : static_cast<__mmask16>((1u << n) - 1u);
  }

  static void prefetch(const std::byte* p) {
    _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0);
  }
  static void prefetch_l2(const std::byte* p) {
    _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T1);
  }
  static F zero() { return _mm512_setzero_ps(); }
  static F all(float x) { return _mm512_set1_ps(x); }
  static F load(const float* p) { return _mm512_loadu_ps(p); }
  static F load(const float* p, int64_t n) { return _mm512_maskz_loadu_ps(mask(n), p); }
  static void store(float* p, F x) { _mm512_storeu_ps(p, x); }
  static void store(float* p, F x, int64_t n) { _mm512_mask_storeu_ps(p, mask(n), x); }
  static F first(F x, int64_t n) { return _mm512_maskz_mov_ps(mask(n), x); }
  static F add(F a, F b) { return _mm512_add_ps(a, b); }
  static F sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F div(F a, F b) { return _mm512_div_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  // NaN in the first operand: the second one.
  static F max(F a, F b) { return _mm512_max_ps(a, b); }
  static F min(F a, F b) { return _mm512_min_ps(a, b); }
  static F abs(F x) { return _mm512_abs_ps(x); }
  static F round(F x) {
    return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  static F times_power_of_2(F x, F k) { return _mm512_scalef_ps(x, k); }
  static F zero_unless_above(F x, F bound, F value) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, bound, _CMP_GE_OQ), value);
  }
  static float sqrt_of(float x) { return _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(x))); }

  // The fixed tree: lanes 8 apart, then 4, 2, 1.
  static float sum_of(F x) {
    const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
  }
  // The same tree for four registers at once.
  static void store_sums(float* out, F a, F b, F c, F d) {
    const F ab = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
    const F cd = _mm512_add_ps(_mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xee));
    const F four =
        _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));
    const F two = _mm512_add_ps(four, _mm512_permute_ps(four, 0x4e));
    const F one = _mm512_add_ps(two, _mm512_permute_ps(two, 0xb1));
    const __m512i picks = _mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    _mm_storeu_ps(out, _mm512_castps512_ps128(_mm512_permutexvar_ps(picks, one)));
  }
  static float max_of(F x) { return _mm512_reduce_max_ps(x); }

  static F load_bf16(const std::byte* p) {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
  }
  static F load_f16(const std::byte* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  // The byte in bits 7..0 of each lane. Exponent and mantissa go to their places in a float, whose
  // bias is 120 higher: times 2^120 is exact, subnormals included.
  static F e4m3_values(__m512i bytes) {
    const __m512i magnitude = _mm512_and_si512(bytes, _mm512_set1_epi32(0x7f));
    const __m512i sign = _mm512_slli_epi32(_mm512_and_si512(bytes, _mm512_set1_epi32(0x80)), 24);
    F value = _mm512_mul_ps(_mm512_castsi512_ps(_mm512_slli_epi32(magnitude, 20)), all(0x1p120f));
    value = _mm512_mask_mov_ps(value, _mm512_cmpeq_epi32_mask(magnitude, _mm512_set1_epi32(0x7f)),
                               all(__builtin_nanf("")));
    return _mm512_castsi512_ps(_mm512_or_si512(_mm512_castps_si512(value), sign));
  }
  static F load_e4m3(const std::byte* p) {
    return e4m3_values(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
  }

  // To bf16 and back: nearest even, NaN stays NaN.
  static F rounded_bf16(F x) {
    const __m512i bits = _mm512_castps_si512(x);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i up = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    const __m512i nan = _mm512_or_si512(bits, _mm512_set1_epi32(0x00400000));
    const __m512i chosen = _mm512_mask_mov_epi32(up, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), nan);
    return _mm512_castsi512_ps(
        _mm512_and_si512(chosen, _mm512_set1_epi32(static_cast<int>(0xffff0000u))));
  }
  // To e4m3 and back: saturates at 448; below 2^-6 in steps of 2^-9, which adding and subtracting
  // a number whose last bit is 2^-9 rounds to.
  static F rounded_e4m3(F x) {
    const F magnitude = _mm512_min_ps(abs(x), all(448.0f));
    const __m512i bits = _mm512_castps_si512(magnitude);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 20), _mm512_set1_epi32(1));
    const __m512i up = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7ffff)));
    const F normal =
        _mm512_castsi512_ps(_mm512_and_si512(up, _mm512_set1_epi32(static_cast<int>(0xfff00000u))));
    const F small = _mm512_sub_ps(_mm512_add_ps(magnitude, all(24576.0f)), all(24576.0f));
    F value =
        _mm512_mask_mov_ps(normal, _mm512_cmp_ps_mask(magnitude, all(0x1p-6f), _CMP_LT_OQ), small);
    value = _mm512_mask_mov_ps(value, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), x);
    const __m512i sign =
        _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(static_cast<int>(0x80000000u)));
    return _mm512_castsi512_ps(_mm512_or_si512(_mm512_castps_si512(value), sign));
  }
  // Of values that are bf16 already.
  static void store_bf16(uint16_t* p, F x) {
    const __m256i bits = _mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_castps_si512(x), 16));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), bits);
  }
};

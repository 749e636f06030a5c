// AVX-512 with avx512_bf16 and avx512_vbmi (AMD from Zen 4, Intel from Sapphire Rapids): vdpbf16ps
// multiplies 32 pairs of bf16, and a permutation decodes 64 values of FP8.
#include <immintrin.h>

#include <cstring>

#include "kernels/cpu/primitives.h"

namespace galley::kernels::cpu {
namespace {

#include "kernels/cpu/vector_512_bf16.inl"
#include "kernels/cpu/vector_kernels.inl"

constexpr Primitives kTable = make_table("avx512_bf16");

}  // namespace

const Primitives& avx512_bf16_primitives() {
  return kTable;
}

}  // namespace galley::kernels::cpu

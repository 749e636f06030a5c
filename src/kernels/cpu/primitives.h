// The inner loops of the CPU backend: what each instruction set provides, as one table.
//
// CpuOps (cpu_ops.h) does the shapes, the threads and the order of the parts; a Primitives table
// does the arithmetic. portable.cc is the reference; avx2.cc, avx512.cc, avx512_bf16.cc and amx.cc
// are each compiled with their own -m flags and reached only through the table, so the program
// starts on any x86-64.
//
// Invariance  Every output element has one order of summation that depends on K (or on the position
//             in the context) alone: never on how many tokens or rows are in the call, which
//             thread runs it, or where a tile begins. Two tables may differ in the last bits; one
//             table never differs from itself.
// Alignment   Weights may stand at any address (they are mapped from a checkpoint) and are never
//             read past the end of a row. Everything else is ours and aligned to 4 bytes or more.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/tensor.h"

namespace galley::kernels::cpu {

// How an activation matrix enters a GEMM; chosen from the weight's type and the precision.
enum class Form : uint8_t {
  kF32,   // float, as it is or rounded to bf16
  kBF16,  // bf16
  kQ8,    // the e4m3 codes' values as bf16 (exact), one scale for 128 channels
};

// Rows of activations, zero-padded to a multiple of kPadding elements so that vectors may run over
// the end of K.
constexpr int64_t kPadding = 128;

struct Activations {
  const void* data = nullptr;     // [rows, ld] float (kF32) or bf16
  const float* scales = nullptr;  // [rows, scale_ld], only for kQ8
  int64_t ld = 0;
  int64_t scale_ld = 0;
  Form form = Form::kF32;
  bool rounded = false;  // kF32: the values are rounded to bf16
};

// out[t, m - row_begin] = sum over k of x[row(t), k] * weight[m, k], for m in [row_begin, row_end).
struct GemmArgs {
  Activations x;
  const int32_t* x_rows = nullptr;  // [num_tokens] row of x of each token; null: t itself
  int64_t num_tokens = 0;
  const Weight* weight = nullptr;
  int64_t row_begin = 0;
  int64_t row_end = 0;
  float* out = nullptr;  // [num_tokens, ld_out]
  int64_t ld_out = 0;
  std::byte* scratch = nullptr;  // kGemmScratchBytes of this thread, aligned to 64
};
constexpr size_t kGemmScratchBytes = size_t{1} << 20;

// One block of the context for some heads of one token, by online softmax:
//   s = scale * q k^T;  m' = max(m, s);  acc = acc * exp(m - m') + exp(s - m') v;  l likewise
struct AttendArgs {
  const float* q = nullptr;  // [num_heads, q_ld]
  int64_t q_ld = 0;
  int64_t num_heads = 0;
  const float* k = nullptr;  // [num_keys, k_ld], key_dim of each
  int64_t k_ld = 0;
  int64_t key_dim = 0;
  const float* v = nullptr;  // [num_keys, v_ld], value_dim of each
  int64_t v_ld = 0;
  int64_t value_dim = 0;
  int64_t num_keys = 0;  // 1 .. kBlockTokens
  float scale = 1.0f;
  float* max = nullptr;  // [num_heads]; -infinity before the first block
  float* sum = nullptr;  // [num_heads]; 0 before the first block
  float* acc = nullptr;  // [num_heads, acc_ld]; 0 before the first block
  int64_t acc_ld = 0;
};

struct Primitives {
  const char* name;

  // --- conversions of a row ---
  void (*widen)(const void* src, DType dtype, int64_t n, float* out);  // exact
  void (*to_bf16)(const float* x, int64_t n, uint16_t* out);           // nearest even
  void (*round_bf16)(const float* x, int64_t n, float* out);           // the same, kept in f32
  // scale = max |x| / 448 of each 128 channels; out = bf16 of the value of e4m3(x / scale).
  void (*quantise)(const float* x, int64_t n, uint16_t* out, float* scales);

  // --- rows ---
  // out = x / sqrt(mean(x^2) + eps) * weight; out may be x.
  void (*rms_norm)(const float* x, const float* weight, float eps, int64_t n, float* out);
  void (*add)(float* a, const float* b, int64_t n);                      // a += b
  void (*add_scaled)(float* a, const float* b, float scale, int64_t n);  // a += scale * b
  void (*silu_mul)(const float* gate, const float* up, int64_t n, float* out);
  // max over the row, NaN left out; -infinity if nothing is left.
  float (*max_value)(const float* x, int64_t n);
  // out = exp((x - max) * inv_temperature), NaN counts as -infinity; returns the sum. out may be
  // null, or x.
  double (*exp_sum)(const float* x, float max, float inv_temperature, int64_t n, float* out);

  // --- matrices ---
  void (*gemm)(const GemmArgs& args);
  // out[t, n] (+)= sum over k, in order, of x[t, k] * w[k, n]: rows of w run along the output.
  void (*gemm_rows)(const float* x, int64_t x_ld, int64_t num_tokens, const float* w, int64_t w_ld,
                    int64_t num_rows, int64_t n, bool accumulate, float* out, int64_t out_ld);
  void (*attend)(const AttendArgs& args);

  // --- the machine's limit, for op_bench ---
  // Multiplies registers `rounds` times with the instruction of gemm (of its f32 form when `f32`)
  // and returns how many FLOPs that was.
  double (*multiply_registers)(bool f32, int64_t rounds);
};

// The tables. Only portable's functions may be called without asking cpu_isa.h first.
const Primitives& portable_primitives();
const Primitives& avx2_primitives();
const Primitives& avx512_primitives();
const Primitives& avx512_bf16_primitives();
const Primitives& amx_primitives();

}  // namespace galley::kernels::cpu

// Activations to e4m3 with one f32 scale for each row and 128 channels, as the FP8 matrix products
// read them, alone or behind SwiGLU.
//
// Rule      (ops.h, Precision) scale = largest magnitude of the 128 / 448; code = e4m3(x / scale),
//           round to nearest even; a group of zeros has scale 0 and codes 0. The last group of a
//           row is shorter when K is not a multiple of 128. Bits equal the CPU's.
// Layout    codes [rows, ld] with ld a multiple of 16 (fp8_ld); scales are stored channel group
//           first, [ceil(K / 128), scale_ld], so that a block of tokens is one contiguous copy.
// Bound     memory: T * K * (2 + 1 + 4/128) bytes; T = 16,384, K = 7,168: 352 MB, 82 us at 4.3
// TB/s. Invariant each row is on its own. Launches are asynchronous on `stream`, allocate nothing
// and may be captured in a graph; the result is the launch's error.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace galley::kernels::cuda {

constexpr int64_t fp8_ld(int64_t cols) {
  return (cols + 15) / 16 * 16;
}
constexpr int64_t fp8_scale_ld(int64_t rows) {
  return (rows + 3) / 4 * 4;
}
constexpr int64_t fp8_groups(int64_t cols) {
  return (cols + 127) / 128;
}

// Quantised rows, in device memory.
struct Fp8Rows {
  uint8_t* codes = nullptr;  // [rows, ld] e4m3, 16-byte aligned
  float* scales = nullptr;   // [fp8_groups(cols), scale_ld], 16-byte aligned
  int64_t rows = 0;
  int64_t cols = 0;      // K
  int64_t ld = 0;        // fp8_ld(cols) or more, a multiple of 16
  int64_t scale_ld = 0;  // fp8_scale_ld(rows) or more, a multiple of 4
};

// Bytes of the two arrays for `rows` rows: codes first, then, 256-byte aligned, the scales.
constexpr int64_t fp8_code_bytes(int64_t rows, int64_t cols) {
  return (rows * fp8_ld(cols) + 255) / 256 * 256;
}
constexpr int64_t fp8_bytes(int64_t rows, int64_t cols) {
  return fp8_code_bytes(rows, cols) + fp8_groups(cols) * fp8_scale_ld(rows) * 4;
}
// The arrays of fp8_bytes() at `memory` (256-byte aligned).
inline Fp8Rows fp8_rows(void* memory, int64_t rows, int64_t cols) {
  auto* bytes = static_cast<uint8_t*>(memory);
  return {.codes = bytes,
          .scales = reinterpret_cast<float*>(bytes + fp8_code_bytes(rows, cols)),
          .rows = rows,
          .cols = cols,
          .ld = fp8_ld(cols),
          .scale_ld = fp8_scale_ld(rows)};
}

// out = quantised x. x [rows, cols] bf16 with x_ld elements from row to row, out.rows rows.
cudaError_t quantize_rows(const __nv_bfloat16* x, int64_t x_ld, const Fp8Rows& out,
                          cudaStream_t stream);

// out = quantised silu(gate) * up. gate and up [rows, cols] bf16, both with `ld` elements from row
// to row (2 * cols where one product made both). The product is not rounded to bf16 in between.
cudaError_t swiglu_quantize_rows(const __nv_bfloat16* gate, const __nv_bfloat16* up, int64_t ld,
                                 const Fp8Rows& out, cudaStream_t stream);

// Row t of x goes to the rows row_of[t, 0 .. copies - 1] of `out` (the pairs of token and expert);
// a negative one is skipped. x [tokens, out.cols] bf16, row_of on the device.
struct QuantizeScatterArgs {
  const __nv_bfloat16* x;
  int64_t x_ld;
  int64_t tokens;
  const int32_t* row_of;  // [tokens, copies]
  int32_t copies;
};
cudaError_t quantize_scatter(const QuantizeScatterArgs& args, const Fp8Rows& out,
                             cudaStream_t stream);

}  // namespace galley::kernels::cuda

// Element types and plain views of memory. Nothing here owns memory or knows a backend.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace galley {

enum class DType : uint8_t { kF32, kBF16, kF16, kF8E4M3, kI32 };

constexpr size_t size_of(DType dtype) {
  switch (dtype) {
    case DType::kF32:
    case DType::kI32:
      return 4;
    case DType::kBF16:
    case DType::kF16:
      return 2;
    case DType::kF8E4M3:
      return 1;
  }
  return 0;
}

std::string_view name_of(DType dtype);  // "float32", "bfloat16", "float16", "float8_e4m3", "int32"

// Rows and columns that share one scale of an FP8 weight, and channels that share one of an
// activation. DeepSeek-V3's format (arXiv:2412.19437, section 3.3).
constexpr int64_t kScaleBlock = 128;

// A dense matrix in the backend's memory, row-major.
struct Matrix {
  void* data = nullptr;  // [rows, cols] dtype
  DType dtype = DType::kF32;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t ld = 0;  // elements from one row to the next; >= cols

  template <typename T>
  T* row(int64_t r) const {
    return static_cast<T*>(data) + r * ld;
  }
};

// A weight as the checkpoint stores it. In a linear layer y = x * weight^T.
struct Weight {
  const void* data = nullptr;     // [rows, cols] dtype, contiguous; rows are output features
  const float* scales = nullptr;  // [ceil(rows/128), ceil(cols/128)]; only for kF8E4M3
  DType dtype = DType::kBF16;     // kF32, kBF16, kF16 or kF8E4M3
  int64_t rows = 0;
  int64_t cols = 0;

  explicit operator bool() const { return data != nullptr; }
};

// Conversions of one value. To a narrower type: round to nearest even, NaN stays NaN.
float bf16_to_f32(uint16_t bits);
uint16_t f32_to_bf16(float value);
float f16_to_f32(uint16_t bits);
uint16_t f32_to_f16(float value);
// OCP FP8 E4M3: no infinity, 0x7f and 0xff are NaN, maximum 448. f32_to_e4m3 saturates.
float e4m3_to_f32(uint8_t bits);
uint8_t f32_to_e4m3(float value);

}  // namespace galley

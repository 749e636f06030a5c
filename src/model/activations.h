// The matrices between the operations of a forward pass: taken once, viewed for each step.
#pragma once

#include <cstdint>

#include "kernels/ops.h"
#include "tensor/tensor.h"

namespace galley::model {

// Hands out matrices from an Ops, or only counts their bytes without one: the memory plan
// and the model then follow the same list.
class MatrixPool {
 public:
  explicit MatrixPool(kernels::Ops* ops) : MatrixPool(ops, ops->activation_dtype()) {}
  explicit MatrixPool(DType activations) : MatrixPool(nullptr, activations) {}

  Matrix take(int64_t rows, int64_t cols, DType dtype) {
    Matrix matrix{.dtype = dtype, .rows = rows, .cols = cols, .ld = cols};
    const int64_t size = rows * cols * static_cast<int64_t>(size_of(dtype));
    bytes_ += (size + 63) / 64 * 64;
    if (ops_ == nullptr) return matrix;
    matrix.data = ops_->allocate(static_cast<size_t>(size));
    if (matrix.data == nullptr && size > 0) failed_ = true;
    return matrix;
  }
  DType activation_dtype() const { return activations_; }
  int64_t bytes() const { return bytes_; }
  bool failed() const { return failed_; }  // some matrix did not fit

 private:
  MatrixPool(kernels::Ops* ops, DType activations) : ops_(ops), activations_(activations) {}

  kernels::Ops* const ops_;
  const DType activations_;
  int64_t bytes_ = 0;
  bool failed_ = false;
};

inline Matrix first_rows(Matrix matrix, int64_t rows) {
  matrix.rows = rows;
  return matrix;
}

inline Matrix columns(Matrix matrix, int64_t first, int64_t count) {
  matrix.data =
      static_cast<std::byte*>(matrix.data) + first * static_cast<int64_t>(size_of(matrix.dtype));
  matrix.cols = count;
  return matrix;
}

}  // namespace galley::model

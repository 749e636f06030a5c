// cuBLASLt, found at run time: the program starts without it.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <map>
#include <string>
#include <tuple>

#include "base/status.h"
#include "tensor/tensor.h"

namespace galley::kernels::cuda {

// A product of row-major matrices: out[b] [T, M] = x[b] [T, K] * w[b]^T, w [M, K], or with
// `w_is_kn` w [K, M]. Batches are `*_stride` elements apart.
struct Product {
  const void* x = nullptr;
  const void* w = nullptr;
  void* out = nullptr;
  int64_t tokens = 0, cols = 0, rows = 0;  // T, K, M
  int64_t x_ld = 0, w_ld = 0, out_ld = 0;
  DType dtype = DType::kBF16;      // of x and w
  DType out_dtype = DType::kBF16;  // kBF16 or kF32
  bool w_is_kn = false;
  int32_t batch = 1;
  int64_t x_stride = 0, w_stride = 0, out_stride = 0;
};

// Sums are f32. The algorithm is the library's first choice for the shape, kept for later calls;
// it depends on T, so results of a token may differ in their last bits with its neighbours.
class CublasLt {
 public:
  static constexpr size_t kWorkspaceBytes = size_t{32} << 20;

  CublasLt() = default;
  ~CublasLt();
  CublasLt(const CublasLt&) = delete;
  CublasLt& operator=(const CublasLt&) = delete;

  // Errors  kUnavailable  the library is not found in `folder` (if given), the loader's path or
  //                       CUDA's usual places, or is not of version 13
  Status open(const std::string& folder);
  static Status find(const std::string& folder);  // the same question, without opening it for use
  void set_workspace(void* workspace) { workspace_ = workspace; }

  // Whether multiply() takes it: alignments of 16 bytes, a type it knows.
  static bool takes(const Product& product);
  // False when the library has no algorithm for it.
  bool multiply(const Product& product, cudaStream_t stream);

 private:
  struct Functions;
  struct Plan {
    cublasLtMatmulDesc_t operation = nullptr;
    cublasLtMatrixLayout_t x = nullptr, w = nullptr, out = nullptr;
    cublasLtMatmulAlgo_t algorithm{};
    bool found = false;
  };
  using Key = std::tuple<int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int, int, bool,
                         int32_t, int64_t, int64_t, int64_t>;
  Plan make_plan(const Product& product);

  void* library_ = nullptr;
  Functions* functions_ = nullptr;
  cublasLtHandle_t handle_ = nullptr;
  void* workspace_ = nullptr;
  std::map<Key, Plan> plans_;
};

}  // namespace galley::kernels::cuda

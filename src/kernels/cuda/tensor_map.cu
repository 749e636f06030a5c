#include <cudaTypedefs.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <string>

#include "base/check.h"
#include "kernels/cuda/tensor_map.h"

namespace galley::kernels::cuda {
namespace {

// The driver's encoder, found at run time: the program does not link against libcuda.
PFN_cuTensorMapEncodeTiled_v12000 encoder() {
  static const auto found = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult result{};
    const cudaError_t error = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function,
                                                               12000, cudaEnableDefault, &result);
    GALLEY_CHECK(error == cudaSuccess && function != nullptr,
                 "the driver has no cuTensorMapEncodeTiled (CUDA 12.0)");
    return reinterpret_cast<PFN_cuTensorMapEncodeTiled_v12000>(function);
  }();
  return found;
}

CUtensorMapDataType data_type(MapType type) {
  switch (type) {
    case MapType::kByte:
      return CU_TENSOR_MAP_DATA_TYPE_UINT8;
    case MapType::kBF16:
      return CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
    case MapType::kF32:
      return CU_TENSOR_MAP_DATA_TYPE_FLOAT32;
  }
  return CU_TENSOR_MAP_DATA_TYPE_UINT8;
}

}  // namespace

bool can_map(const void* data, int64_t ld_bytes) {
  return reinterpret_cast<uintptr_t>(data) % 16 == 0 && ld_bytes % 16 == 0;
}

CUtensorMap make_map(const MapArgs& args) {
  CUtensorMap map{};
  const cuuint64_t sizes[2] = {static_cast<cuuint64_t>(args.cols),
                               static_cast<cuuint64_t>(std::max<int64_t>(args.rows, 1))};
  const cuuint64_t strides[1] = {static_cast<cuuint64_t>(args.ld_bytes)};
  const cuuint32_t box[2] = {static_cast<cuuint32_t>(args.box_cols),
                             static_cast<cuuint32_t>(args.box_rows)};
  const cuuint32_t steps[2] = {1, 1};
  const CUresult result =
      encoder()(&map, data_type(args.type), 2, const_cast<void*>(args.data), sizes, strides, box,
                steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
                args.swizzle128 ? CU_TENSOR_MAP_SWIZZLE_128B : CU_TENSOR_MAP_SWIZZLE_NONE,
                CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  const std::string why = "the copy engine cannot take a matrix of " + std::to_string(args.rows) +
                          " x " + std::to_string(args.cols) + ", row length " +
                          std::to_string(args.ld_bytes) + " bytes: driver error " +
                          std::to_string(static_cast<int>(result));
  GALLEY_CHECK(result == CUDA_SUCCESS, why.c_str());
  return map;
}

CUtensorMap make_box_map(const void* data, const BoxLayout& layout) {
  constexpr cuuint64_t kWidth = 64;  // 128 bytes: the width of the swizzle
  const cuuint64_t sizes[3] = {kWidth, static_cast<cuuint64_t>(layout.rows),
                               static_cast<cuuint64_t>(layout.planes)};
  const cuuint64_t strides[2] = {static_cast<cuuint64_t>(layout.row_stride),
                                 static_cast<cuuint64_t>(layout.plane_stride)};
  const cuuint32_t box[3] = {kWidth, static_cast<cuuint32_t>(layout.box_rows), 1};
  const cuuint32_t steps[3] = {1, 1, 1};
  CUtensorMap map{};
  const CUresult result =
      encoder()(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 3, const_cast<void*>(data), sizes, strides,
                box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  GALLEY_CHECK(result == CUDA_SUCCESS, "strides and address are multiples of 16 bytes");
  return map;
}

}  // namespace galley::kernels::cuda

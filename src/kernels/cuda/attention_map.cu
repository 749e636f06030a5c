#include <cudaTypedefs.h>
#include <cuda_runtime.h>

#include "base/check.h"
#include "kernels/cuda/attention_map.h"

namespace galley::kernels::cuda {
namespace {

// The driver's function, found at run time: the program links no driver library.
PFN_cuTensorMapEncodeTiled_v12000 find_encoder() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
  const cudaError_t error = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function,
                                                             12000, cudaEnableDefault, &found);
  GALLEY_CHECK(error == cudaSuccess && found == cudaDriverEntryPointSuccess,
               "the driver has tensor maps (CUDA 12 or later)");
  return reinterpret_cast<PFN_cuTensorMapEncodeTiled_v12000>(function);
}

}  // namespace

CUtensorMap make_box_map(const void* data, const BoxLayout& layout) {
  static const PFN_cuTensorMapEncodeTiled_v12000 encode = find_encoder();
  constexpr cuuint64_t kWidth = 64;  // 128 bytes: the width of the swizzle
  const cuuint64_t sizes[3] = {kWidth, static_cast<cuuint64_t>(layout.rows),
                               static_cast<cuuint64_t>(layout.planes)};
  const cuuint64_t strides[2] = {static_cast<cuuint64_t>(layout.row_stride),
                                 static_cast<cuuint64_t>(layout.plane_stride)};
  const cuuint32_t box[3] = {kWidth, static_cast<cuuint32_t>(layout.box_rows), 1};
  const cuuint32_t steps[3] = {1, 1, 1};
  CUtensorMap map;
  const CUresult result =
      encode(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 3, const_cast<void*>(data), sizes, strides,
             box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  GALLEY_CHECK(result == CUDA_SUCCESS, "strides and address are multiples of 16 bytes");
  return map;
}

}  // namespace galley::kernels::cuda

// Tensor maps for the copy engine: how the attention kernels describe their operands to it.
#pragma once

#include <cuda.h>

#include <cstdint>

namespace galley::kernels::cuda {

// bf16 values [planes, rows, 64] read in boxes [1, box_rows, 64], which arrive in shared memory as
// box_rows rows of 128 bytes, swizzled (attention_ptx.cuh). Rows outside read as zeros. Strides in
// bytes, multiples of 16; data on a 16-byte boundary.
struct BoxLayout {
  int64_t rows;
  int64_t row_stride;
  int64_t planes;
  int64_t plane_stride;
  int32_t box_rows;  // up to 256
};

// Cost  about a microsecond of the CPU, none of the GPU; made at each launch.
CUtensorMap make_box_map(const void* data, const BoxLayout& layout);

}  // namespace galley::kernels::cuda

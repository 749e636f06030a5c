// Tensor maps: how the copy engine finds the tiles of a matrix in global memory. Made on the host,
// passed to a kernel by value (__grid_constant__) or in global memory.
#pragma once

#include <cuda.h>

#include <cstdint>

namespace galley::kernels::cuda {

enum class MapType : uint8_t { kByte, kBF16, kF32 };

// A row-major matrix and the box that one copy moves.
struct MapArgs {
  const void* data = nullptr;  // [rows, cols], 16-byte aligned
  MapType type = MapType::kByte;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t ld_bytes = 0;     // from one row to the next; a multiple of 16
  int32_t box_rows = 0;     // 1 .. 256
  int32_t box_cols = 0;     // 1 .. 256
  bool swizzle128 = false;  // the box's rows are 128 bytes; in shared memory as wgmma.cuh wants it
};

// A matrix that the copy engine can read: its address, row length and sizes allow it.
bool can_map(const void* data, int64_t ld_bytes);

// The map. A size that the engine cannot take is our own bug (GALLEY_CHECK); ask can_map() first.
// No rows: the map of one row that is never read.
CUtensorMap make_map(const MapArgs& args);

// bf16 values [planes, rows, 64] read in boxes [1, box_rows, 64], which arrive in shared memory as
// box_rows rows of 128 bytes, swizzled. Rows outside read as zeros. Strides in bytes, multiples of
// 16; data on a 16-byte boundary.
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

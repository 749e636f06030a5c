// What the grouped matrix products share: where the weights of each expert are, and which rows of
// the sorted tokens belong to which expert. Both live in device memory.
#pragma once

#include <cuda.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace galley::kernels::cuda {

// One layer's experts. Matrices: 0 gate, 1 up, 2 down.
struct ExpertMaps {
  const CUtensorMap* maps = nullptr;     // [3, experts], boxes of 64 rows x 128 bytes
  const float* const* scales = nullptr;  // [3, experts] FP8: block scales of each weight
  int32_t experts = 0;

  __host__ __device__ const CUtensorMap* map(int matrix, int expert) const {
    return maps + (matrix * experts + expert);
  }
  __host__ __device__ const float* scale(int matrix, int expert) const {
    return scales[matrix * experts + expert];
  }
};

// Up to a tile's width of consecutive sorted rows of one expert.
struct ExpertTile {
  int32_t expert;
  int32_t row;
  int32_t rows;
  int32_t unused;
};

struct TileList {
  const ExpertTile* tiles = nullptr;
  const int32_t* count = nullptr;  // one value
};

}  // namespace galley::kernels::cuda

// Rotary embedding and the rows of the KV cache, for mla.cc and gqa.cc.
#pragma once

#include <cstdint>

#include "kernels/cpu/primitives.h"
#include "kernels/ops.h"

namespace galley::kernels::cpu {

// Rotates x [2 * half_dim] in place for `position`.
void rotate(const RopeTable& rope, int64_t position, float* x);

// The row of one slot, or of one position of a sequence.
std::byte* cache_row(const CacheLayer& cache, int64_t slot);
const std::byte* cache_block(const StepBatch& batch, const CacheLayer& cache, int64_t sequence,
                             int64_t block);

// Writes values [0, n) of a row from `first` on; kF32 and kBF16 only.
void write_row(const Primitives& primitives, const CacheLayer& cache, std::byte* row,
               const float* values, int64_t first, int64_t n);
void read_row(const Primitives& primitives, const CacheLayer& cache, const std::byte* row,
              int64_t first, int64_t n, float* out);

// The whole row of MLA: latent [L], then rotated key [R]; every format.
void write_latent(const Primitives& primitives, const CacheLayer& cache, std::byte* row,
                  const float* latent, int64_t latent_dim, const float* key, int64_t rope_dim);
void read_latent(const Primitives& primitives, const CacheLayer& cache, const std::byte* row,
                 int64_t latent_dim, int64_t rope_dim, float* out);

// Bytes of a row that `width` values need in `format`; `latent_dim` of them quantised in
// kFp8Latent.
int64_t cache_row_bytes(CacheFormat format, int64_t width, int64_t latent_dim);

}  // namespace galley::kernels::cpu

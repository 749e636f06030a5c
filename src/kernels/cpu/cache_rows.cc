#include "kernels/cpu/cache_rows.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"

namespace galley::kernels::cpu {
namespace {

DType plain_type(const CacheLayer& cache) {
  GALLEY_CHECK(cache.format != CacheFormat::kFp8Latent, "only MLA has rows of FP8 latents");
  return cache.format == CacheFormat::kF32 ? DType::kF32 : DType::kBF16;
}

int64_t num_scales(int64_t latent_dim) {
  return (latent_dim + kScaleBlock - 1) / kScaleBlock;
}

}  // namespace

void rotate(const RopeTable& rope, int64_t position, float* x) {
  const int64_t half = rope.half_dim;
  const float* cos = rope.cos + position * half;
  const float* sin = rope.sin + position * half;
  const int64_t step = rope.interleaved ? 2 : 1;
  const int64_t apart = rope.interleaved ? 1 : half;
  for (int64_t i = 0; i < half; ++i) {
    const float a = x[i * step], b = x[i * step + apart];
    x[i * step] = a * cos[i] - b * sin[i];
    x[i * step + apart] = b * cos[i] + a * sin[i];
  }
}

std::byte* cache_row(const CacheLayer& cache, int64_t slot) {
  GALLEY_CHECK(slot >= 0 && slot < int64_t{cache.num_blocks} * kBlockTokens,
               "a slot is inside the cache");
  return cache.data + slot * cache.row_bytes;
}

const std::byte* cache_block(const StepBatch& batch, const CacheLayer& cache, int64_t sequence,
                             int64_t block) {
  GALLEY_CHECK(block < batch.block_table_ld, "the block table holds the whole context");
  const int64_t id = batch.block_table[sequence * batch.block_table_ld + block];
  GALLEY_CHECK(id >= 0 && id < cache.num_blocks, "a block is inside the cache");
  return cache.data + id * kBlockTokens * cache.row_bytes;
}

void write_row(const Primitives& primitives, const CacheLayer& cache, std::byte* row,
               const float* values, int64_t first, int64_t n) {
  if (plain_type(cache) == DType::kF32) {
    std::memcpy(row + first * 4, values, static_cast<size_t>(n) * 4);
  } else {
    primitives.to_bf16(values, n, reinterpret_cast<uint16_t*>(row + first * 2));
  }
}

void read_row(const Primitives& primitives, const CacheLayer& cache, const std::byte* row,
              int64_t first, int64_t n, float* out) {
  const DType type = plain_type(cache);
  primitives.widen(row + first * static_cast<int64_t>(size_of(type)), type, n, out);
}

void write_latent(const Primitives& primitives, const CacheLayer& cache, std::byte* row,
                  const float* latent, int64_t latent_dim, const float* key, int64_t rope_dim) {
  if (cache.format != CacheFormat::kFp8Latent) {
    write_row(primitives, cache, row, latent, 0, latent_dim);
    write_row(primitives, cache, row, key, latent_dim, rope_dim);
    return;
  }
  std::byte* scales = row + latent_dim;
  for (int64_t begin = 0; begin < latent_dim; begin += kScaleBlock) {
    const int64_t end = std::min(latent_dim, begin + kScaleBlock);
    float amax = 0.0f;
    for (int64_t i = begin; i < end; ++i) amax = std::max(amax, std::fabs(latent[i]));
    const float scale = amax / 448.0f;
    for (int64_t i = begin; i < end; ++i)
      row[i] = std::byte{f32_to_e4m3(scale > 0.0f ? latent[i] / scale : 0.0f)};
    std::memcpy(scales + begin / kScaleBlock * 4, &scale, sizeof(scale));
  }
  std::byte* keys = scales + num_scales(latent_dim) * 4;
  for (int64_t i = 0; i < rope_dim; ++i) {
    const uint16_t bits = f32_to_bf16(key[i]);
    std::memcpy(keys + i * 2, &bits, sizeof(bits));
  }
}

void read_latent(const Primitives& primitives, const CacheLayer& cache, const std::byte* row,
                 int64_t latent_dim, int64_t rope_dim, float* out) {
  if (cache.format != CacheFormat::kFp8Latent) {
    read_row(primitives, cache, row, 0, latent_dim + rope_dim, out);
    return;
  }
  const std::byte* scales = row + latent_dim;
  primitives.widen(row, DType::kF8E4M3, latent_dim, out);
  for (int64_t begin = 0; begin < latent_dim; begin += kScaleBlock) {
    const int64_t end = std::min(latent_dim, begin + kScaleBlock);
    float scale;
    std::memcpy(&scale, scales + begin / kScaleBlock * 4, sizeof(scale));
    for (int64_t i = begin; i < end; ++i) out[i] *= scale;
  }
  primitives.widen(scales + num_scales(latent_dim) * 4, DType::kBF16, rope_dim, out + latent_dim);
}

int64_t cache_row_bytes(CacheFormat format, int64_t width, int64_t latent_dim) {
  switch (format) {
    case CacheFormat::kF32:
      return width * 4;
    case CacheFormat::kBF16:
      return width * 2;
    case CacheFormat::kFp8Latent:
      return latent_dim + num_scales(latent_dim) * 4 + (width - latent_dim) * 2;
  }
  GALLEY_CHECK(false, "a cache format");
}

}  // namespace galley::kernels::cpu

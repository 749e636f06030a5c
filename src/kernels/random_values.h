// Made-up weights, the same for the same seed on every backend: what place_random() holds.
//
// The draws of a normal distribution lie encoded in a table; value i is the entry that a counter
// names, so that any number of threads can fill a tensor. One 64-bit word gives four picks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tensor/tensor.h"

#ifdef __CUDACC__
#define GALLEY_HOST_DEVICE __host__ __device__
#else
#define GALLEY_HOST_DEVICE
#endif

namespace galley::kernels {

constexpr size_t kDrawTable = 4096;  // entries
constexpr int kPicksPerWord = 4;

// kDrawTable entries of `dtype`, of this deviation.
std::vector<std::byte> draw_table(DType dtype, float deviation);

// The four picks of word `index`: 16 bits each, modulo kDrawTable (splitmix64).
GALLEY_HOST_DEVICE inline uint64_t pick_word(uint64_t seed, uint64_t index) {
  uint64_t word = seed + (index + 1) * 0x9e3779b97f4a7c15ull;
  word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9ull;
  word = (word ^ (word >> 27)) * 0x94d049bb133111ebull;
  return word ^ (word >> 31);
}

// Values [begin, end) of a tensor; `table` is of its type.
void fill_random(DType dtype, const std::byte* table, uint64_t seed, int64_t begin, int64_t end,
                 std::byte* data);

}  // namespace galley::kernels

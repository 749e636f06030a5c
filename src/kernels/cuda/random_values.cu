// Made-up weights on the device, the bits of kernels/random_values.h. Bound: the memory's writes.
#include "kernels/cuda/cuda_ops.h"
#include "kernels/random_values.h"

namespace galley::kernels::cuda {
namespace {

constexpr int kThreads = 256;

// A thread writes the four values of one word at a time.
template <typename Code>
__global__ void __launch_bounds__(kThreads)
    fill_kernel(const Code* table, uint64_t seed, int64_t count, Code* to) {
  struct alignas(sizeof(Code) * kPicksPerWord) Four {
    Code codes[kPicksPerWord];
  };
  const int64_t words = (count + kPicksPerWord - 1) / kPicksPerWord;
  for (int64_t w = threadIdx.x + int64_t{blockIdx.x} * kThreads; w < words;
       w += int64_t{gridDim.x} * kThreads) {
    uint64_t word = pick_word(seed, static_cast<uint64_t>(w));
    Four four;
#pragma unroll
    for (int i = 0; i < kPicksPerWord; ++i, word >>= 16) four.codes[i] = table[word % kDrawTable];
    const int64_t first = w * kPicksPerWord;
    if (first + kPicksPerWord <= count) {
      *reinterpret_cast<Four*>(to + first) = four;
    } else {
      for (int i = 0; first + i < count; ++i) to[first + i] = four.codes[i];
    }
  }
}

}  // namespace

const void* CudaOps::place_random(DType dtype, int64_t count, uint64_t seed, float deviation) {
  std::byte* const at = memory_.take(static_cast<size_t>(count) * size_of(dtype));
  if (at == nullptr) return nullptr;
  const void*& table = draw_tables_[{dtype, deviation}];
  if (table == nullptr) {
    const std::vector<std::byte> host = draw_table(dtype, deviation);
    table = place(host.data(), host.size());
    if (table == nullptr) return nullptr;
  }
  const auto fill = [&](auto code) {
    using Code = decltype(code);
    const int64_t blocks = (count / kPicksPerWord + kThreads) / kThreads;
    const auto grid = static_cast<unsigned>(std::min<int64_t>(blocks, 16 * num_processors_));
    fill_kernel<<<grid, kThreads, 0, stream_>>>(static_cast<const Code*>(table), seed, count,
                                                reinterpret_cast<Code*>(at));
  };
  switch (size_of(dtype)) {
    case 4:
      fill(uint32_t{});
      break;
    case 2:
      fill(uint16_t{});
      break;
    default:
      fill(uint8_t{});
  }
  launched("place_random");
  return at;
}

}  // namespace galley::kernels::cuda

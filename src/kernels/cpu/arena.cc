#include "kernels/cpu/arena.h"

#include <sys/mman.h>

namespace galley::kernels::cpu {

Memory::~Memory() {
  for (const Block& block : blocks_) munmap(block.data, block.bytes);
}

std::byte* Memory::take(size_t bytes) {
  constexpr size_t kPage = 4096;
  constexpr size_t kHugePage = size_t{2} << 20;
  if (bytes > SIZE_MAX / 2) return nullptr;
  const size_t size = (bytes + kPage - 1) / kPage * kPage + (bytes == 0 ? kPage : 0);
  void* data = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) return nullptr;
  // Fewer TLB misses where the system has huge pages; a refusal costs speed, nothing else.
  if (size >= kHugePage) (void)madvise(data, size, MADV_HUGEPAGE);
  blocks_.push_back({data, size});
  return static_cast<std::byte*>(data);
}

}  // namespace galley::kernels::cpu

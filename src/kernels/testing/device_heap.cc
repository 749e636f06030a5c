// The heap of the operations' test programs: memory that a GPU can address, so that the tests hand
// the same pointers to every implementation. Without a GPU it is malloc.
//
// Blocks come in sizes of powers of two from slabs of pinned memory and are kept when freed.
#include <bit>
#include <cstddef>
#include <cstdlib>
#include <mutex>
#include <new>

#include "kernels/cuda/device_memory.h"

namespace {

constexpr std::size_t kHeader = 64;  // keeps the alignment of what follows
constexpr std::size_t kSlab = std::size_t{64} << 20;
constexpr int kClasses = 40;

struct Block {
  Block* next;
  int size_class;  // -1: from malloc
};

struct Heap {
  std::mutex mutex;
  Block* free[kClasses] = {};
  std::byte* slab = nullptr;
  std::size_t left = 0;
};

Heap& heap() {
  static Heap* const one = new (std::malloc(sizeof(Heap))) Heap;
  return *one;
}

Block* from_slab(Heap& h, std::size_t bytes) {
  if (bytes > h.left) {
    const std::size_t size = bytes > kSlab ? bytes : kSlab;
    auto* const slab = static_cast<std::byte*>(galley::kernels::cuda::allocate_pinned(size));
    if (slab == nullptr) return nullptr;
    h.slab = slab;
    h.left = size;
  }
  auto* const block = reinterpret_cast<Block*>(h.slab);
  h.slab += bytes;
  h.left -= bytes;
  return block;
}

void* take(std::size_t size) {
  const auto size_class = static_cast<int>(std::bit_width(size + kHeader - 1));
  Heap& h = heap();
  const std::lock_guard lock(h.mutex);
  Block* block = h.free[size_class];
  if (block != nullptr) {
    h.free[size_class] = block->next;
  } else {
    // While the driver allocates for itself inside from_slab(), it must not come back here: it uses
    // malloc, not operator new of this program.
    block = from_slab(h, std::size_t{1} << size_class);
    if (block != nullptr) {
      block->size_class = size_class;
    } else {
      block = static_cast<Block*>(
          std::aligned_alloc(kHeader, (size + 2 * kHeader - 1) / kHeader * kHeader));
      if (block == nullptr) std::abort();
      block->size_class = -1;
    }
  }
  return reinterpret_cast<std::byte*>(block) + kHeader;
}

void give(void* memory) {
  if (memory == nullptr) return;
  auto* const block = reinterpret_cast<Block*>(static_cast<std::byte*>(memory) - kHeader);
  if (block->size_class < 0) {
    std::free(block);
    return;
  }
  Heap& h = heap();
  const std::lock_guard lock(h.mutex);
  block->next = h.free[block->size_class];
  h.free[block->size_class] = block;
}

}  // namespace

void* operator new(std::size_t size) {
  return take(size);
}
void* operator new[](std::size_t size) {
  return take(size);
}
void operator delete(void* memory) noexcept {
  give(memory);
}
void operator delete[](void* memory) noexcept {
  give(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  give(memory);
}
void operator delete[](void* memory, std::size_t) noexcept {
  give(memory);
}

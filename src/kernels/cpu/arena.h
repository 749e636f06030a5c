// Memory of the CPU backend: blocks that live until the backend is destroyed, and arenas that hand
// out scratch within one operation. Owned by CpuOps; an arena belongs to one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/check.h"

namespace galley::kernels::cpu {

// Zeroed, aligned to 64, given back to the system with the object. Pages are taken when touched.
class Memory {
 public:
  Memory() = default;
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  std::byte* take(size_t bytes);  // null: the system has no such memory

 private:
  struct Block {
    void* data;
    size_t bytes;
  };
  std::vector<Block> blocks_;
};

// Scratch within one operation: take() what it needs, clear() at its start.
class Arena {
 public:
  void set(std::byte* data, size_t bytes) {
    data_ = data;
    bytes_ = bytes;
    used_ = 0;
  }
  void clear() { used_ = 0; }

  // `count` values of T, aligned to 64, not initialised.
  template <typename T>
  T* take(int64_t count) {
    GALLEY_CHECK(count >= 0, "a count is not negative");
    const size_t bytes = padded(static_cast<size_t>(count) * sizeof(T));
    GALLEY_CHECK(bytes <= bytes_ - used_, "the step is larger than reserve() was told");
    auto* at = reinterpret_cast<T*>(data_ + used_);
    used_ += bytes;
    return at;
  }

  static constexpr size_t padded(size_t bytes) { return (bytes + 63) / 64 * 64; }

 private:
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
  size_t used_ = 0;
};

}  // namespace galley::kernels::cpu

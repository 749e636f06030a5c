// Replaces every form of operator new and delete of the program, and counts what one thread takes.
// They are definitions: one file of a program includes this.
//
// All forms, for a sanitizer refuses memory that is taken by one allocator and freed by another.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <new>

namespace galley::engine::testing {

inline thread_local bool counts_allocations = false;
inline int64_t num_allocations = 0;  // of the one thread that counts

inline void* take_counted(size_t size, size_t alignment) {
  if (counts_allocations) ++num_allocations;
  const size_t rounded = (size + alignment - 1) / alignment * alignment;
  return std::aligned_alloc(alignment, rounded == 0 ? alignment : rounded);
}
inline void* must_take(size_t size, size_t alignment) {
  void* memory = take_counted(size, alignment);
  if (memory == nullptr) std::abort();
  return memory;
}
constexpr size_t kUsual = __STDCPP_DEFAULT_NEW_ALIGNMENT__;

}  // namespace galley::engine::testing

// clang-format off
using galley::engine::testing::kUsual;
using galley::engine::testing::must_take;
using galley::engine::testing::take_counted;
void* operator new(size_t n) { return must_take(n, kUsual); }
void* operator new[](size_t n) { return must_take(n, kUsual); }
void* operator new(size_t n, std::align_val_t a) { return must_take(n, static_cast<size_t>(a)); }
void* operator new[](size_t n, std::align_val_t a) { return must_take(n, static_cast<size_t>(a)); }
void* operator new(size_t n, const std::nothrow_t&) noexcept { return take_counted(n, kUsual); }
void* operator new[](size_t n, const std::nothrow_t&) noexcept { return take_counted(n, kUsual); }
void* operator new(size_t n, std::align_val_t a, const std::nothrow_t&) noexcept { return take_counted(n, static_cast<size_t>(a)); }
void* operator new[](size_t n, std::align_val_t a, const std::nothrow_t&) noexcept { return take_counted(n, static_cast<size_t>(a)); }
void operator delete(void* p) noexcept { std::free(p); }
void operator delete[](void* p) noexcept { std::free(p); }
void operator delete(void* p, size_t) noexcept { std::free(p); }
void operator delete[](void* p, size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete[](void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, size_t, std::align_val_t) noexcept { std::free(p); }
void operator delete[](void* p, size_t, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, const std::nothrow_t&) noexcept { std::free(p); }
void operator delete[](void* p, const std::nothrow_t&) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t, const std::nothrow_t&) noexcept { std::free(p); }
void operator delete[](void* p, std::align_val_t, const std::nothrow_t&) noexcept { std::free(p); }
// clang-format on

// Memory of the device, and the ways into it.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/check.h"

namespace galley::kernels::cuda {

// Hands out device memory that lives as long as this object. Small requests share slabs: a model
// has up to 10^5 tensors, and cudaMalloc takes 2 MiB for each. Slabs grow with what is taken, so
// that neither the ends of slabs nor the last one are more than 2 % of it.
class DeviceMemory {
 public:
  static constexpr size_t kAlignment = 256;
  static constexpr size_t kSlabBytes = size_t{64} << 20;
  static constexpr size_t kSlabBytesMax = size_t{512} << 20;

  DeviceMemory() = default;
  ~DeviceMemory();
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  // Null when the memory is not there. Not zeroed.
  std::byte* take(size_t bytes);
  size_t bytes_taken() const { return taken_; }  // from the driver

 private:
  std::vector<void*> slabs_;
  std::byte* next_ = nullptr;
  size_t left_ = 0;
  size_t taken_ = 0;
};

// A piece of device memory for one operation after the other: the stream orders their use.
class Scratch {
 public:
  void set(std::byte* data, size_t size) {
    data_ = data;
    size_ = size;
    used_ = 0;
  }
  void clear() { used_ = 0; }
  template <typename T>
  T* take(int64_t count) {
    const size_t bytes = (static_cast<size_t>(count) * sizeof(T) + DeviceMemory::kAlignment - 1) /
                         DeviceMemory::kAlignment * DeviceMemory::kAlignment;
    GALLEY_CHECK(bytes <= size_ - used_, "reserve() made room for this operation");
    std::byte* at = data_ + used_;
    used_ += bytes;
    return reinterpret_cast<T*>(at);
  }
  size_t left() const { return size_ - used_; }

 private:
  std::byte* data_ = nullptr;
  size_t size_ = 0, used_ = 0;
};

// A ring of pinned host memory with a twin on the device: arrays of the caller are copied here, so
// that the caller may change them at once while the stream is still behind.
class HostStaging {
 public:
  HostStaging() = default;
  ~HostStaging();
  HostStaging(const HostStaging&) = delete;
  HostStaging& operator=(const HostStaging&) = delete;

  cudaError_t reserve(size_t bytes, std::byte* device_twin);
  // Room for `bytes` in both; `host` is filled by the caller, then sent by send(). Waits for the
  // stream when the ring is full.
  struct Piece {
    std::byte* host;
    std::byte* device;
    size_t bytes;
  };
  Piece take(size_t bytes, cudaStream_t stream);
  cudaError_t send(const Piece& piece, cudaStream_t stream);
  void stream_is_idle() { used_ = 0; }

 private:
  std::byte* host_ = nullptr;
  std::byte* device_ = nullptr;
  size_t size_ = 0, used_ = 0;
};

// Pinned host memory that the device can address; null without a device or memory.
void* allocate_pinned(size_t bytes);
void free_pinned(void* memory);

}  // namespace galley::kernels::cuda

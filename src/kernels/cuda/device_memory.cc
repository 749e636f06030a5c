#include "kernels/cuda/device_memory.h"

#include <algorithm>

namespace galley::kernels::cuda {
namespace {

size_t aligned(size_t bytes) {
  return (bytes + DeviceMemory::kAlignment - 1) / DeviceMemory::kAlignment *
         DeviceMemory::kAlignment;
}

}  // namespace

DeviceMemory::~DeviceMemory() {
  for (void* slab : slabs_) cudaFree(slab);
}

std::byte* DeviceMemory::take(size_t bytes) {
  bytes = aligned(bytes == 0 ? 1 : bytes);
  if (bytes > left_) {
    const bool own = bytes >= kSlabBytes / 2;
    const size_t slab_bytes = std::clamp(taken_ / 64, kSlabBytes, kSlabBytesMax);
    const size_t size = own ? bytes : slab_bytes;
    void* slab = nullptr;
    if (cudaMalloc(&slab, size) != cudaSuccess) {
      cudaGetLastError();  // out of memory is not sticky: the caller reports it
      return nullptr;
    }
    slabs_.push_back(slab);
    taken_ += size;
    if (own) return static_cast<std::byte*>(slab);
    next_ = static_cast<std::byte*>(slab);
    left_ = size;
  }
  std::byte* at = next_;
  next_ += bytes;
  left_ -= bytes;
  return at;
}

HostStaging::~HostStaging() {
  if (host_ != nullptr) cudaFreeHost(host_);
}

cudaError_t HostStaging::reserve(size_t bytes, std::byte* device_twin) {
  void* host = nullptr;
  const cudaError_t error = cudaMallocHost(&host, bytes);
  if (error != cudaSuccess) return error;
  host_ = static_cast<std::byte*>(host);
  device_ = device_twin;
  size_ = bytes;
  return cudaSuccess;
}

HostStaging::Piece HostStaging::take(size_t bytes, cudaStream_t stream) {
  const size_t size = aligned(bytes);
  GALLEY_CHECK(size <= size_, "reserve() made room for the arrays of a step");
  if (size > size_ - used_) {
    cudaStreamSynchronize(stream);
    used_ = 0;
  }
  const Piece piece{.host = host_ + used_, .device = device_ + used_, .bytes = bytes};
  used_ += size;
  return piece;
}

cudaError_t HostStaging::send(const Piece& piece, cudaStream_t stream) {
  if (piece.bytes == 0) return cudaSuccess;
  return cudaMemcpyAsync(piece.device, piece.host, piece.bytes, cudaMemcpyHostToDevice, stream);
}

void* allocate_pinned(size_t bytes) {
  void* memory = nullptr;
  if (cudaMallocHost(&memory, bytes) != cudaSuccess) {
    cudaGetLastError();
    return nullptr;
  }
  return memory;
}

void free_pinned(void* memory) {
  cudaFreeHost(memory);
}

}  // namespace galley::kernels::cuda

// Launching a kernel that uses clusters and more shared memory than the default.
//
// Every kernel launched here may start before the one ahead of it in the stream has ended
// (programmatic dependent launch): it must call hopper::wait_previous_kernels() before it reads
// what an earlier kernel wrote and before it writes anything. Weights never change, so the matrix
// kernels fetch them before that. A kernel of anybody else in the stream needs to know nothing of
// it.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <type_traits>

namespace galley::kernels::cuda {

// Multiprocessors of the current device, asked once.
inline int processors() {
  static const int count = [] {
    int device = 0, value = 0;
    if (cudaGetDevice(&device) != cudaSuccess ||
        cudaDeviceGetAttribute(&value, cudaDevAttrMultiProcessorCount, device) != cudaSuccess)
      return 1;
    return value;
  }();
  return count;
}

struct LaunchShape {
  dim3 grid;
  dim3 cluster{1, 1, 1};
  int threads = 0;
  int shared_bytes = 0;
};

// The attributes of a launch, and the configuration that points at them.
struct LaunchConfig {
  explicit LaunchConfig(const LaunchShape& shape, cudaStream_t stream) {
    attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[0].val.programmaticStreamSerializationAllowed = 1;
    attributes[1].id = cudaLaunchAttributeClusterDimension;
    attributes[1].val.clusterDim = {shape.cluster.x, shape.cluster.y, shape.cluster.z};
    config.gridDim = shape.grid;
    config.blockDim = dim3(static_cast<uint32_t>(shape.threads));
    config.dynamicSmemBytes = static_cast<size_t>(shape.shared_bytes);
    config.stream = stream;
    config.attrs = attributes;
    config.numAttrs = 2;
  }
  LaunchConfig(const LaunchConfig&) = delete;
  LaunchConfig& operator=(const LaunchConfig&) = delete;

  cudaLaunchAttribute attributes[2] = {};
  cudaLaunchConfig_t config{};
};

template <typename... Args>
cudaError_t allow_shared(void (*kernel)(Args...), int bytes) {
  return cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                              cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
}

template <typename... Args>
cudaError_t launch(void (*kernel)(Args...), const LaunchShape& shape, cudaStream_t stream,
                   const std::type_identity_t<Args>&... args) {
  if (shape.shared_bytes > 0) {
    const cudaError_t error = allow_shared(kernel, shape.shared_bytes);
    if (error != cudaSuccess) return error;
  }
  const LaunchConfig launch_config(shape, stream);
  return cudaLaunchKernelEx(&launch_config.config, kernel, args...);
}

// Clusters of the kernel that the card holds at one time; 0 if it cannot say.
template <typename... Args>
int active_clusters(void (*kernel)(Args...), const LaunchShape& shape) {
  const LaunchConfig launch_config(shape, nullptr);
  int count = 0;
  if (allow_shared(kernel, shape.shared_bytes) != cudaSuccess) return 0;
  if (cudaOccupancyMaxActiveClusters(&count, kernel, &launch_config.config) != cudaSuccess) {
    (void)cudaGetLastError();
    return 0;
  }
  return count;
}

}  // namespace galley::kernels::cuda

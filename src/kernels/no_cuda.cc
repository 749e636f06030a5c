// make_cuda_ops() of a program that was built without CUDA.
#include "kernels/ops.h"

namespace galley::kernels {

namespace {

Status built_without() {
  return Status(Code::kUnavailable,
                "this program was built without CUDA: build it where nvcc 13 is installed, or use "
                "--device cpu");
}

}  // namespace

Result<CudaMemory> cuda_memory(const CudaOptions&) {
  return built_without();
}

Result<int64_t> cuda_reserved_bytes(const CudaOptions&, const StepLimits&) {
  return built_without();
}

Result<std::unique_ptr<Ops>> make_cuda_ops(const CudaOptions&) {
  return built_without();
}

}  // namespace galley::kernels

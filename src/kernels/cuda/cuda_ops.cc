// The device, its memory, and what every operation needs.
#include "kernels/cuda/cuda_ops.h"

#include <algorithm>
#include <cstring>

#include "kernels/cuda/gqa.h"
#include "kernels/cuda/mla_decode.h"

namespace galley::kernels::cuda {
namespace {

constexpr double kScratchMax = 1e13;
constexpr size_t kStagingBytes = size_t{64} << 20;  // arrays of steps the device is behind with

// What the driver takes for the kernels' code and for the recordings of decode steps: 0.4 GiB with
// 30 recordings of 450 launches (H100, CUDA 13).
constexpr int64_t kDriverBytes = int64_t{400} << 20;

// What reserve() takes, in bytes; doubles, because limits may be absurd.
struct Reservation {
  double scratch = 0.0;  // of one operation
  double plan = 0.0;     // of attention
};

// The largest operation: prepared activations (f32 in the reference form) and what stands beside
// them.
Reservation reservation(const StepLimits& limits, Precision precision, int32_t num_sms) {
  const double tokens = limits.tokens_max, width = limits.width_max + 8.0;
  const double dense = tokens * width * 16.0;
  const double pairs = std::min<double>(tokens, kExpertTokens) * limits.experts_per_token;
  const double experts =
      pairs * width * 4.0 * 4.0 + std::min<double>(tokens, kExpertTokens) * width * 4.0;
  // Latent queries and outputs of the absorbed form, or keys and values of as many positions.
  const bool fast = precision == Precision::kBFloat16;
  const double mla =
      fast ? tokens * limits.num_heads * (2.0 * limits.latent_dim + 64.0) * 2.0 : 0.0;
  const double samples = limits.sample_rows_max * 256.0 + limits.vocab_size * 64.0;
  Reservation out;
  out.scratch = std::max({dense, experts, mla, samples}) + (1 << 20);
  if (!fast || out.scratch >= kScratchMax) return out;
  if (limits.latent_dim == kMlaLatent) {
    out.plan =
        static_cast<double>(mla_decode_workspace_bytes({.num_heads = limits.num_heads,
                                                        .num_sms = num_sms,
                                                        .tokens_max = limits.tokens_max,
                                                        .sequences_max = limits.sequences_max,
                                                        .context_max = limits.context_max,
                                                        .split_tokens = 0}));
  } else if (limits.head_dim == 64 || limits.head_dim == 128) {
    const GqaShape shape{.num_heads = limits.num_heads,
                         .num_kv_heads = limits.num_kv_heads,
                         .head_dim = limits.head_dim,
                         .scale = 1.0f};
    out.plan =
        static_cast<double>(gqa_decode_workspace_bytes({.shape = shape,
                                                        .num_sms = num_sms,
                                                        .tokens_max = limits.tokens_max,
                                                        .sequences_max = limits.sequences_max,
                                                        .context_max = limits.context_max,
                                                        .split_tokens = 0}));
  }
  return out;
}

std::string text_of(cudaError_t error) {
  return std::string(cudaGetErrorName(error)) + " (" + cudaGetErrorString(error) + ")";
}

Status find_device(int device, cudaDeviceProp* properties) {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess || count == 0) {
    return Status(Code::kUnavailable,
                  "no CUDA device: " + (error != cudaSuccess ? text_of(error) : "none is visible") +
                      "; use --device cpu, or check the driver with nvidia-smi");
  }
  if (device < 0 || device >= count) {
    return Status(Code::kUnavailable, "CUDA device " + std::to_string(device) +
                                          " does not exist: there are " + std::to_string(count));
  }
  if (const cudaError_t e = cudaGetDeviceProperties(properties, device); e != cudaSuccess)
    return Status(Code::kUnavailable, "the CUDA device cannot be read: " + text_of(e));
  if (properties->major != 9 || properties->minor != 0) {
    return Status(Code::kUnavailable,
                  std::string(properties->name) + " has compute capability " +
                      std::to_string(properties->major) + "." + std::to_string(properties->minor) +
                      "; the CUDA backend needs 9.0 (Hopper: H100, H200, GH200). Use --device cpu");
  }
  return {};
}

}  // namespace

CudaOps::CudaOps(const CudaOptions& options)
    : precision_(options.precision),
      batch_invariant_(options.batch_invariant),
      synchronous_(options.synchronous) {}

Result<std::unique_ptr<CudaOps>> CudaOps::make(const CudaOptions& options) {
  cudaDeviceProp properties{};
  GALLEY_RETURN_IF_ERROR(find_device(options.device, &properties));
  std::unique_ptr<CudaOps> ops(new CudaOps(options));
  if (const cudaError_t error = cudaSetDevice(options.device); error != cudaSuccess)
    return Status(Code::kUnavailable, "the CUDA device cannot be used: " + text_of(error));
  GALLEY_RETURN_IF_ERROR(ops->cublas_.open(options.libraries));
  ops->name_ = std::string("cuda/sm_90a (") + properties.name + ")";
  ops->num_processors_ = properties.multiProcessorCount;
  ops->check(cudaStreamCreateWithFlags(&ops->stream_, cudaStreamNonBlocking), "stream");
  std::byte* const twin = ops->memory_.take(kStagingBytes);
  std::byte* const workspace = ops->memory_.take(CublasLt::kWorkspaceBytes);
  if (twin == nullptr || workspace == nullptr)
    return Status(Code::kTooLarge, "the device has no memory left for buffers of 128 MiB");
  ops->cublas_.set_workspace(workspace);
  // Split products leave parts there in ways that compute-sanitizer's initcheck does not see.
  ops->check(cudaMemsetAsync(workspace, 0, CublasLt::kWorkspaceBytes, ops->stream_), "workspace");
  ops->check(ops->staging_.reserve(kStagingBytes, twin), "pinned memory");
  for (StepClock& clock : ops->clocks_) {
    ops->check(cudaEventCreate(&clock.begin), "events");
    ops->check(cudaEventCreate(&clock.end), "events");
  }
  if (!ops->status_.ok()) return ops->status_;
  return ops;
}

Result<CudaMemory> CudaOps::memory_of(const CudaOptions& options) {
  cudaDeviceProp properties{};
  GALLEY_RETURN_IF_ERROR(find_device(options.device, &properties));
  GALLEY_RETURN_IF_ERROR(CublasLt::find(options.libraries));
  size_t free_bytes = 0, total_bytes = 0;
  cudaError_t error = cudaSetDevice(options.device);
  if (error == cudaSuccess) error = cudaMemGetInfo(&free_bytes, &total_bytes);
  if (error != cudaSuccess)
    return Status(Code::kUnavailable, "the CUDA device cannot be used: " + text_of(error));
  return CudaMemory{.free_bytes = static_cast<int64_t>(free_bytes),
                    .total_bytes = static_cast<int64_t>(total_bytes)};
}

Result<int64_t> CudaOps::reserved_bytes(const CudaOptions& options, const StepLimits& limits) {
  cudaDeviceProp properties{};
  GALLEY_RETURN_IF_ERROR(find_device(options.device, &properties));
  const Reservation r = reservation(limits, options.precision, properties.multiProcessorCount);
  const double copies = options.precision == Precision::kBFloat16 && !options.batch_invariant
                            ? static_cast<double>(limits.latent_weights) * 2.0
                            : 0.0;
  const double bytes = std::min(r.scratch + r.plan + copies, 1e15);
  return static_cast<int64_t>(bytes) + static_cast<int64_t>(kStagingBytes) +
         static_cast<int64_t>(CublasLt::kWorkspaceBytes) + kDriverBytes;
}

CudaOps::~CudaOps() {
  if (stream_ == nullptr) return;
  cudaStreamSynchronize(stream_);
  recordings_.clear();
  for (const StepClock& clock : clocks_) {
    if (clock.begin != nullptr) cudaEventDestroy(clock.begin);
    if (clock.end != nullptr) cudaEventDestroy(clock.end);
  }
  cudaStreamDestroy(stream_);
}

void CudaOps::check(cudaError_t error, const char* what) {
  if (error == cudaSuccess || !status_.ok()) return;
  status_ =
      Status(Code::kUnavailable, std::string("CUDA failed in ") + what + ": " + text_of(error));
}

void CudaOps::launched(const char* what) {
  check(cudaGetLastError(), what);
  if (!synchronous_) return;
  check(cudaStreamSynchronize(stream_), what);
  staging_.stream_is_idle();
}

// --- memory -------------------------------------------------------------------------------------

void* CudaOps::plan_memory(size_t bytes) {
  if (bytes <= plan_bytes_) return plan_;
  plan_ = memory_.take(bytes);
  plan_bytes_ = plan_ == nullptr ? 0 : bytes;
  planned_upload_ = -1;
  return plan_;
}

void* CudaOps::allocate(size_t bytes) {
  std::byte* const at = memory_.take(bytes);
  if (at != nullptr) check(cudaMemsetAsync(at, 0, bytes, stream_), "allocate");
  return at;
}

const void* CudaOps::place(const void* host, size_t bytes) {
  std::byte* const at = memory_.take(bytes);
  if (at != nullptr) upload(at, host, bytes);
  return at;
}

void CudaOps::upload_rows(void* to, size_t pitch_bytes, const void* host, size_t row_bytes,
                          size_t rows) {
  begin_work();
  ++num_uploads_;
  const HostStaging::Piece piece = staging_.take(row_bytes * rows, stream_);
  std::memcpy(piece.host, host, row_bytes * rows);
  check(cudaMemcpy2DAsync(to, pitch_bytes, piece.host, row_bytes, row_bytes, rows,
                          cudaMemcpyHostToDevice, stream_),
        "upload");
  if (synchronous_) launched("upload");
}

void CudaOps::upload(void* to, const void* host, size_t bytes) {
  begin_work();
  ++num_uploads_;
  for (size_t done = 0; done < bytes;) {
    const size_t size = std::min(bytes - done, kStagingBytes / 4);
    const HostStaging::Piece piece = staging_.take(size, stream_);
    std::memcpy(piece.host, static_cast<const std::byte*>(host) + done, size);
    check(cudaMemcpyAsync(static_cast<std::byte*>(to) + done, piece.host, size,
                          cudaMemcpyHostToDevice, stream_),
          "upload");
    done += size;
  }
  if (synchronous_) launched("upload");
}

void CudaOps::download(void* host, const void* from, size_t bytes) {
  if (bytes > 0)
    check(cudaMemcpyAsync(host, from, bytes, cudaMemcpyDeviceToHost, stream_), "download");
  check(cudaStreamSynchronize(stream_), "download");
  staging_.stream_is_idle();
}

Status CudaOps::reserve(const StepLimits& limits) {
  GALLEY_CHECK(!reserved_, "reserve() is called once");
  GALLEY_CHECK(limits.tokens_max > 0 && limits.width_max > 0, "a step has tokens and a width");
  const Reservation r = reservation(limits, precision_, num_processors_);
  const bool is_possible = r.scratch < kScratchMax;
  std::byte* data = is_possible ? memory_.take(static_cast<size_t>(r.scratch)) : nullptr;
  if (data == nullptr || (r.plan > 0.0 && plan_memory(static_cast<size_t>(r.plan)) == nullptr)) {
    return Status(Code::kTooLarge,
                  "the scratch memory of one step, about " +
                      std::to_string(static_cast<int64_t>((r.scratch + r.plan) / (1 << 20))) +
                      " MiB, is not available on the device: lower the tokens of a step "
                      "(--max-num-batched-tokens)");
  }
  scratch_.set(data, static_cast<size_t>(r.scratch));
  limits_ = limits;
  reserved_ = true;
  return status_;
}

}  // namespace galley::kernels::cuda

namespace galley::kernels {

Result<CudaMemory> cuda_memory(const CudaOptions& options) {
  return cuda::CudaOps::memory_of(options);
}

Result<int64_t> cuda_reserved_bytes(const CudaOptions& options, const StepLimits& limits) {
  return cuda::CudaOps::reserved_bytes(options, limits);
}

Result<std::unique_ptr<Ops>> make_cuda_ops(const CudaOptions& options) {
  GALLEY_ASSIGN_OR_RETURN(std::unique_ptr<cuda::CudaOps> ops, cuda::CudaOps::make(options));
  return std::unique_ptr<Ops>(std::move(ops));
}

}  // namespace galley::kernels

// CudaOps: the CUDA backend (compute capability 9.0), the second implementation of kernels::Ops.
//
// One file for each family of operations: memory in cuda_ops.cc, rows in rows.cu, linear.cu,
// experts.cu, route_tokens.cu, mla.cu, gqa.cu, sample.cu. Each has a reference form in plain
// CUDA that takes every type and every shape and sums in a fixed order; the fast forms beside it
// take the types and shapes of real models (bf16 activations) and are held to it by the tests.
//
// Everything goes to one stream in the order of the calls; only download() and sample() wait.
// Owned and called by one thread.
//
// Errors  a CUDA error at run time stays: status() names the first one and the operation that
//         found it, later calls do nothing that can be seen, and the owner must drop the Ops.
#pragma once

#include <cuda_runtime.h>

#include <map>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "kernels/cuda/cublas.h"
#include "kernels/cuda/device_memory.h"
#include "kernels/cuda/quantize.h"
#include "kernels/ops.h"

namespace galley::kernels::cuda {

constexpr int64_t kExpertTokens = 512;  // most tokens whose pairs the reference form holds

class CudaOps final : public Ops {
 public:
  // Errors  kUnavailable  no device, one that is not supported, or CUDA's libraries are not found
  static Result<std::unique_ptr<CudaOps>> make(const CudaOptions& options);
  static Result<CudaMemory> memory_of(const CudaOptions& options);
  static Result<int64_t> reserved_bytes(const CudaOptions& options, const StepLimits& limits);
  ~CudaOps() override;

  std::string name() const override { return name_; }
  DType activation_dtype() const override {
    return precision_ == Precision::kFloat32 ? DType::kF32 : DType::kBF16;
  }
  Precision precision() const override { return precision_; }
  bool batch_invariant() const override { return batch_invariant_; }
  Status status() const override { return status_; }

  void* allocate(size_t bytes) override;
  const void* place(const void* host, size_t bytes) override;
  const void* place_random(DType dtype, int64_t count, uint64_t seed, float deviation) override;
  void upload(void* to, const void* host, size_t bytes) override;
  void upload_rows(void* to, size_t pitch_bytes, const void* host, size_t row_bytes,
                   size_t rows) override;
  void download(void* host, const void* from, size_t bytes) override;
  Status reserve(const StepLimits& limits) override;

  bool records() const override { return !synchronous_; }
  void repeat(uint64_t key, const std::function<void()>& operations) override;
  DeviceTimes device_times() const override { return times_; }

  void embed(std::span<const int32_t> ids, const Weight& table, const Matrix& out) override;
  void gather_rows(const Matrix& x, std::span<const int32_t> rows, const Matrix& out) override;
  void rms_norm(const Matrix& x, const Weight& weight, float eps, const Matrix& out) override;
  void add_rms_norm(const Matrix& x, const Matrix& residual, const Weight& weight, float eps,
                    const Matrix& out) override;
  void add(const Matrix& a, const Matrix& b) override;
  void linear(const Matrix& x, const Weight& weight, const Weight& bias,
              const Matrix& out) override;
  void gated_mlp(const Matrix& x, const MlpWeights& weights, const Matrix& out) override;

  void route_tokens(const RouteShape& shape, const Matrix& logits, const float* bias,
                    int32_t* experts, float* weights) override;
  void experts(const Matrix& x, std::span<const MlpWeights> all, int32_t experts_per_token,
               const int32_t* experts, const float* weights, const Matrix& out) override;

  void mla_prepare(const MlaShape& shape, const Matrix& q, const Matrix& kv_a, const Weight& norm,
                   float eps, const RopeTable& rope, const StepBatch& batch,
                   const CacheLayer& cache) override;
  void mla_attention(const MlaShape& shape, MlaForm form, const Matrix& q, const Weight& kv_b,
                     const StepBatch& batch, const CacheLayer& cache, const Matrix& out) override;
  void gqa_prepare(const GqaShape& shape, const Matrix& qkv, const RopeTable& rope,
                   const StepBatch& batch, const CacheLayer& cache) override;
  void gqa_attention(const GqaShape& shape, const Matrix& qkv, const StepBatch& batch,
                     const CacheLayer& cache, const Matrix& out) override;

  void sample(const Matrix& logits, std::span<const SampleRow> rows,
              std::span<SampleResult> results) override;
  void begin_sample(const Matrix& logits, std::span<const SampleRow> rows) override;
  void finish_sample(std::span<SampleResult> results) override;
  void take_sampled(std::span<const int32_t> rows, int32_t* ids) override;

 private:
  explicit CudaOps(const CudaOptions& options);

  // Remembers the first error. `what` is the operation, for people.
  void check(cudaError_t error, const char* what);
  // After a launch: its error, and with options.synchronous its execution too.
  void launched(const char* what);

  // Activations as a matrix product takes them (ops.h, Precision), in scratch where they must be
  // changed: bf16 beside bf16 weights, e4m3 values beside FP8 ones (as f32: the reference form).
  Matrix prepare(const Matrix& x, DType weight_dtype);
  // out = x * weight^T of prepared activations; out is f32 or bf16. True: the bias is in it.
  bool multiply(const Matrix& x, const Weight& weight, const Weight& bias, const Matrix& out);
  bool gate_and_up(const Matrix& x, const MlpWeights& weights, const Matrix& out);
  bool is_fp8(const Matrix& x, const Weight& weight) const;  // fp8_gemm.h takes them
  Fp8Rows quantise(const Matrix& x);                         // in scratch
  void multiply_fp8(const Fp8Rows& x, const Weight& weight, const Matrix& out);
  void gated_mlp_fp8(const Matrix& x, const MlpWeights& weights, const Matrix& out);
  // The fast forms of attention; false: they do not take this step.
  bool mla_fast(const MlaShape& shape, MlaForm form, const Matrix& q, const Weight& kv_b,
                const StepBatch& batch, const CacheLayer& cache, const Matrix& out);
  bool mla_absorbed(const MlaShape& shape, const Matrix& q, const void* kv_b,
                    const StepBatch& batch, const CacheLayer& cache, const Matrix& out);
  bool mla_expanded(const MlaShape& shape, const Matrix& q, const void* kv_b,
                    const StepBatch& batch, const CacheLayer& cache, const Matrix& out);
  bool gqa_fast(const GqaShape& shape, const Matrix& qkv, const StepBatch& batch,
                const CacheLayer& cache, const Matrix& out);
  // The weight's values as bf16: itself, or a copy made on the first call; null without memory.
  const void* as_bf16(const Weight& weight);
  // Memory for the plans of attention, from reserve(); more is taken on the first call.
  void* plan_memory(size_t bytes);

  struct SampleArrays;
  // One key of repeat().
  struct Recording {
    Recording() = default;
    Recording(const Recording&) = delete;
    Recording& operator=(const Recording&) = delete;
    ~Recording();
    cudaGraphExec_t graph = nullptr;
    bool is_known = false;  // it has run once
    bool failed = false;
  };
  bool capture(const std::function<void()>& operations, Recording* recording);
  // A step from its first work to the results of its sample(). One more than can be under way: the
  // end of the one before is needed too.
  struct StepClock {
    cudaEvent_t begin = nullptr, end = nullptr;
    bool counts = false;  // it began when the device was ready, not while weights were loaded
  };
  static constexpr uint64_t kStepClocks = kSamplesBegun + 1;
  StepClock& clock_at(uint64_t step) { return clocks_[step % kStepClocks]; }
  void begin_work();  // by whatever comes first in a step
  void count_work();  // of the oldest step, which has ended

  void swiglu(const Matrix& gate, const Matrix& up);  // gate = silu(gate) * up
  // What the device must know of `all`, made on the first call with these weights.
  struct ExpertTable {
    std::vector<MlpWeights> host;
    MlpWeights* weights = nullptr;  // a copy of `host`
    std::byte* fast = nullptr;      // expert_gemm.h; null: it does not take them
  };
  const ExpertTable& table_of(std::span<const MlpWeights> all);
  void experts_reference(const Matrix& x, const ExpertTable& table, int32_t experts_per_token,
                         const int32_t* experts, const float* weights, const Matrix& out);

  const Precision precision_;
  const bool batch_invariant_;
  const bool synchronous_;
  std::string name_;
  Status status_;
  int num_processors_ = 0;
  cudaStream_t stream_ = nullptr;
  DeviceMemory memory_;
  Scratch scratch_;      // of the operation in progress
  HostStaging staging_;  // what the device still has to read of the host's arrays
  CublasLt cublas_;
  std::unordered_map<const MlpWeights*, ExpertTable> expert_tables_;
  std::unordered_map<const void*, const void*> bf16_copies_;
  void* plan_ = nullptr;  // of the step in progress
  size_t plan_bytes_ = 0;
  int64_t num_uploads_ = 0;      // a step begins with one
  int64_t planned_upload_ = -1;  // the one that plan_ belongs to
  std::map<std::pair<DType, float>, const void*> draw_tables_;
  std::unordered_map<uint64_t, Recording> recordings_;
  StepClock clocks_[kStepClocks];
  uint64_t num_begun_ = 0, num_finished_ = 0;  // samples
  bool in_work_ = false;
  DeviceTimes times_;
  std::shared_ptr<SampleArrays> sample_;  // made by the first call
  StepLimits limits_{};
  bool reserved_ = false;
};

}  // namespace galley::kernels::cuda

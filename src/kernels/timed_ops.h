// TimedOps: an Ops around another one that measures every call, for `galley bench offline
// --breakdown`. It knows contracts, not backends, so it fits any.
//
// Calls are kept by operation, shape and size of the step in a table of kLinesMax lines; what finds
// no place is added to the last. What passes between two calls has lines of its own, so that the
// lines of a step add up to its time. Nothing is allocated on the step path.
//
// A backend that works asynchronously is made to finish each call: its times then contain a launch
// and a wait each, and the step takes longer than unmeasured.
//
// Used by the thread that owns the Ops; lines() and clear() only while no step runs.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/ops.h"

namespace galley::kernels {

struct OpTime {
  const char* operation = "";
  // Rows and columns of the weight, or what they are for this operation; 0: there is none.
  int64_t rows = 0;
  int64_t cols = 0;
  DType dtype = DType::kF32;
  int64_t step_tokens = 0;  // tokens of the step, or of the pass that drafts
  int64_t calls = 0;
  int64_t time_ns = 0;
  // Of weights and cache that the calls had to read; for experts at most (each token its own).
  int64_t bytes = 0;
};

std::string shape_of(const OpTime& line);  // "8960 x 1536 bfloat16"; empty without a shape
// A table: calls, time, share of all lines, GB/s. Longest first.
std::string to_text(std::span<const OpTime> lines);

class TimedOps final : public Ops {
 public:
  static constexpr size_t kLinesMax = 256;

  TimedOps(std::unique_ptr<Ops> inner, bool asynchronous);

  std::vector<OpTime> lines() const;  // longest first
  void clear();

  std::string name() const override { return inner_->name(); }
  DType activation_dtype() const override { return inner_->activation_dtype(); }
  Precision precision() const override { return inner_->precision(); }
  bool batch_invariant() const override { return inner_->batch_invariant(); }
  Status status() const override { return inner_->status(); }

  void* allocate(size_t bytes) override { return inner_->allocate(bytes); }
  const void* place(const void* host, size_t bytes) override { return inner_->place(host, bytes); }
  const void* place_random(DType dtype, int64_t count, uint64_t seed, float deviation) override {
    return inner_->place_random(dtype, count, seed, deviation);
  }
  void upload(void* to, const void* host, size_t bytes) override;
  void upload_rows(void* to, size_t pitch_bytes, const void* host, size_t row_bytes,
                   size_t rows) override;
  void download(void* host, const void* from, size_t bytes) override;
  Status reserve(const StepLimits& limits) override { return inner_->reserve(limits); }

  // Padded as without measuring, but each operation by itself.
  bool records() const override { return inner_->records(); }
  DeviceTimes device_times() const override { return inner_->device_times(); }

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
  // `what` holds the operation, its shape and the bytes of one call.
  template <typename Call>
  void time(OpTime what, const Call& call);
  void record(const OpTime& what, int64_t time_ns);
  void finish();  // waits for an asynchronous backend

  const std::unique_ptr<Ops> inner_;
  void* probe_ = nullptr;  // backend memory to wait by; null: calls are synchronous
  int64_t step_tokens_ = 0;
  int64_t last_end_ns_ = 0;  // 0: no call yet
  std::array<OpTime, kLinesMax> lines_{};
  size_t num_lines_ = 0;
};

}  // namespace galley::kernels

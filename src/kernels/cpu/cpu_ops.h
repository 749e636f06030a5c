// CpuOps: the CPU backend. Shapes, threads and the order of the parts; the arithmetic is in the
// Primitives of the chosen instruction set.
//
// One file for each family of operations: memory and rows in cpu_ops.cc, linear.cc, experts.cc,
// route_tokens.cc, mla.cc, gqa.cc, sample.cc. Owned and called by one thread.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/cpu/arena.h"
#include "kernels/cpu/primitives.h"
#include "kernels/ops.h"

namespace galley::kernels::cpu {

class CpuOps final : public Ops {
 public:
  // options.isa is not read: `primitives` is what it chose.
  CpuOps(const CpuOptions& options, const Primitives& primitives);

  std::string name() const override;
  DType activation_dtype() const override { return DType::kF32; }
  Precision precision() const override { return precision_; }
  bool batch_invariant() const override { return true; }

  void* allocate(size_t bytes) override;
  const void* place(const void* host, size_t bytes) override;
  const void* place_random(DType dtype, int64_t count, uint64_t seed, float deviation) override;
  void upload(void* to, const void* host, size_t bytes) override;
  void upload_rows(void* to, size_t pitch_bytes, const void* host, size_t row_bytes,
                   size_t rows) override;
  void download(void* host, const void* from, size_t bytes) override;
  Status reserve(const StepLimits& limits) override;

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
  struct ThreadState {
    std::byte* gemm_scratch = nullptr;
    Arena arena;
  };
  // A run of tokens of one sequence that attention handles together.
  struct QueryTile {
    int32_t sequence;
    int32_t token_begin;
    int32_t token_end;
  };

  // Rows of `x` as a GEMM with a weight of this type takes them. kExact: never rounded (kv_b).
  enum class Rounding : uint8_t { kByPrecision, kExact };
  Activations prepare(const Matrix& x, DType weight_dtype, Rounding rounding);
  Activations new_activations(int64_t rows, int64_t cols, DType weight_dtype, Rounding rounding);
  // One row of it, into `data` at row `row`.
  void prepare_row(const float* x, int64_t cols, int64_t row, const Activations& into) const;
  Form form_for(DType weight_dtype, Rounding rounding) const;

  // task(begin, end, thread) over [0, rows) in blocks of output rows; `row_bytes` of weights are
  // read for each.
  template <typename Task>
  void for_row_blocks(int64_t tokens, int64_t rows, int64_t row_bytes, const Task& task);
  // task(t, thread) for each of `tokens` tokens; alone on the calling thread when they are few.
  template <typename Task>
  void for_tokens(int64_t tokens, const Task& task);

  const float* widen_weight(const Weight& weight);  // a norm's or bias's values, in arena_
  // Rows of a weight, dequantised, as f32 [rows, cols].
  void widen_rows(const Weight& weight, int64_t row, int64_t rows, float* out) const;

  static void check_mlp(const MlpWeights& weights, int64_t hidden);
  // out[t, begin .. end) = silu(gate(x)) * up(x) of the tokens, inside one task.
  void gate_and_up(const Activations& x, const int32_t* x_rows, int64_t tokens,
                   const MlpWeights& weights, int64_t begin, int64_t end, int32_t thread,
                   float* out, int64_t ld_out);

  struct ExpertPlan;
  ExpertPlan plan_experts(int64_t num_experts, int64_t tokens, int32_t experts_per_token,
                          const int32_t* experts);
  void experts_chunk(const Matrix& x, std::span<const MlpWeights> all, int32_t experts_per_token,
                     const int32_t* experts, const float* weights, const Matrix& out);

  void mla_absorbed(const MlaShape& shape, const Matrix& q, const Weight& kv_b,
                    const StepBatch& batch, const CacheLayer& cache, int32_t token_begin,
                    int32_t token_end, const Matrix& out);
  void mla_expanded(const MlaShape& shape, const Matrix& q, const Weight& kv_b,
                    const StepBatch& batch, const CacheLayer& cache, const Matrix& out);
  std::span<const QueryTile> query_tiles(const StepBatch& batch, int32_t token_begin,
                                         int32_t token_end, int32_t tile_tokens);

  void sample_row(const float* logits, int64_t vocab_size, const SampleRow& row,
                  SampleResult& result, Arena& arena) const;

  size_t arena_bytes(const StepLimits& limits) const;
  size_t thread_arena_bytes(const StepLimits& limits) const;

  const Primitives& primitives_;
  const Precision precision_;
  ThreadPool pool_;
  Memory memory_;
  Arena arena_;                       // of the operation in progress, for all threads
  std::vector<ThreadState> threads_;  // one for each thread of the pool
  std::map<std::pair<DType, float>, std::vector<std::byte>> draw_tables_;
  std::vector<SampleResult> begun_[kSamplesBegun];  // the oldest at num_finished_
  uint64_t num_begun_ = 0, num_finished_ = 0;
  std::vector<int32_t> sampled_;  // tokens of the newest sample()
  StepLimits limits_{};
  bool reserved_ = false;
};

// Rows and tokens of the parts that operations are cut into. None changes a result.
constexpr int64_t kRowBlock = 64;         // most output rows of a task: a chunk of them stays in L2
constexpr int64_t kRunBytes = 320 << 10;  // most weights that one token reads in a task
constexpr int64_t kTokenBlock = 512;      // most tokens of an output tile
constexpr int64_t kFewTokens = 4;         // below, a row operation is not worth a region
constexpr int64_t kExpertTokens = 512;    // most tokens that experts() groups at once
constexpr int32_t kMlaTokens = 128;       // most tokens whose latent queries are held
constexpr int32_t kQueryTile = 16;        // most tokens that read a context block together

// [0, rows) in large blocks, then small ones, so that threads end together.
struct RowBlocks {
  int64_t rows;
  int64_t large;      // rows of a large block
  int64_t num_large;  // they come first
  int64_t small;      // rows of the others

  int64_t count() const { return num_large + (rows - num_large * large + small - 1) / small; }
  int64_t begin(int64_t i) const {
    const int64_t at = i < num_large ? i * large : num_large * large + (i - num_large) * small;
    return at < rows ? at : rows;
  }
};

// One token: few bytes are left to the last block, for while one thread waits for the other half of
// the memory's bandwidth is idle; all else in long runs, for each begins with a wait. Multiples of
// the rows that a kernel reads together.
inline RowBlocks row_blocks(int64_t tokens, int64_t rows, int64_t row_bytes, int32_t threads) {
  constexpr int64_t kStep = 16;
  if (tokens == 1) {
    const int64_t fitting = kRunBytes / (row_bytes > 0 ? row_bytes : 1) / kStep * kStep;
    const int64_t large = fitting < kStep ? kStep : fitting > kRowBlock ? kRowBlock : fitting;
    const int64_t num_large = rows / large - threads;
    return {rows, large, num_large > 0 ? num_large : 0, large > kStep ? kStep : kStep / 2};
  }
  // Four blocks a thread, so that a slow core does not hold up the others for long.
  const int64_t share = (rows / (4 * threads) + kStep - 1) / kStep * kStep;
  const int64_t block = share < kStep ? kStep : share > kRowBlock ? kRowBlock : share;
  return {rows, block, 0, block};
}

template <typename Task>
void CpuOps::for_row_blocks(int64_t tokens, int64_t rows, int64_t row_bytes, const Task& task) {
  const RowBlocks blocks = row_blocks(tokens, rows, row_bytes, pool_.size());
  pool_.for_each(blocks.count(), [&](int64_t i, int32_t thread) {
    task(blocks.begin(i), blocks.begin(i + 1), thread);
  });
}

template <typename Task>
void CpuOps::for_tokens(int64_t tokens, const Task& task) {
  if (tokens <= kFewTokens) {
    for (int64_t t = 0; t < tokens; ++t) task(t, 0);
    return;
  }
  pool_.for_each(tokens, task);
}

// The same activations from row `first` on.
inline Activations rows_from(Activations x, int64_t first) {
  const auto bytes = static_cast<int64_t>(x.form == Form::kF32 ? sizeof(float) : sizeof(uint16_t));
  x.data = static_cast<const std::byte*>(x.data) + first * x.ld * bytes;
  if (x.scales != nullptr) x.scales += first * x.scale_ld;
  return x;
}

inline int64_t row_bytes(const Weight& weight) {
  return weight.cols * static_cast<int64_t>(size_of(weight.dtype));
}

inline int64_t padded_cols(int64_t cols) {
  return (cols + kPadding - 1) / kPadding * kPadding;
}

}  // namespace galley::kernels::cpu

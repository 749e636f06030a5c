// The operations of the models: the whole vocabulary of src/model/, and the first of the five
// seams.
//
// kernels::Ops has a CPU version (kernels/cpu/: a portable reference, then AVX2, AVX-512 and AMX
// chosen at run time) and a CUDA version (kernels/cuda/). They share these contracts, and one
// conformance test runs them all.
//
// Conventions for all operations
//   Letters    T tokens in the step, H hidden size, E routed experts, K experts per token, N query
//              heads, V vocabulary, L kv_lora_rank, R rotary width, S sequences in the step
//   Layout     row-major, innermost dimension contiguous
//   Types      activations are `activation_dtype()` matrices (the CPU keeps f32, CUDA bf16);
//              ids and positions are int32; router logits and head logits are f32
//   Precision  kFloat32: products in f32, cache f32, weights enter as their (dequantised) values.
//              kBFloat16: inputs of linear(), gated_mlp() and experts() are rounded to bf16; beside
//              FP8 weights they are quantised to e4m3 per token and 128 channels (scale: largest
//              magnitude / 448); f32 and f16 weights keep their values; sums in f32
//   Memory     the caller owns every buffer and takes it from allocate(); nothing is allocated
//              after reserve(), and only the operations that say so synchronise
//   Empty      T = 0 is legal and does nothing
//   Errors     sizes that do not match are a bug of the caller (GALLEY_CHECK); a device that fails
//              says so in status(), and results after that mean nothing
//   Invariance with batch_invariant(), each token's outputs are bit-identical whatever other tokens
//              are in the call, however a sequence is cut into calls, and for any number of
//              threads. An operation that cannot promise that says so below.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "base/status.h"
#include "kernels/sampling.h"
#include "tensor/tensor.h"

namespace galley::kernels {

enum class Precision : uint8_t { kFloat32, kBFloat16 };

constexpr int32_t kSamplesBegun = 2;  // begin_sample() without finish_sample()
constexpr int32_t kBlockTokens = 64;  // tokens in a KV cache block

// How a row of the cache is stored. kFp8Latent: L e4m3, L/128 f32 scales, R bf16 (V3: 656 bytes).
enum class CacheFormat : uint8_t { kF32, kBF16, kFp8Latent };

// One layer's paged cache: [num_blocks, kBlockTokens, row_bytes].
struct CacheLayer {
  std::byte* data = nullptr;
  CacheFormat format = CacheFormat::kBF16;
  int32_t num_blocks = 0;
  int32_t width = 0;  // values in a row: MLA L + R; GQA 2 * kv_heads * head_dim (keys, values)
  int64_t row_bytes = 0;
};

// Where the tokens of one step belong. All arrays are in the backend's memory. Tokens from
// query_begin[S] on belong to no sequence: padding, whose cache rows are written where their slots
// say and whose attention means nothing.
struct StepBatch {
  int32_t num_tokens = 0;                // T
  int32_t num_sequences = 0;             // S
  const int32_t* query_begin = nullptr;  // [S + 1] first token of each sequence in the step
  const int32_t* context_len = nullptr;  // [S] cached tokens once this step has written its own
  const int32_t* positions = nullptr;    // [T]
  const int32_t* slots = nullptr;        // [T] block * kBlockTokens + offset of each token's row
  const int32_t* block_table = nullptr;  // [S, block_table_ld] block of each 64 positions
  int32_t block_table_ld = 0;
  int32_t query_len_max = 0;  // longest query in the step
  int32_t context_len_max = 0;
};

// Rotary tables, made once by the model: YaRN and its attention factor are already in them.
struct RopeTable {
  const float* cos = nullptr;  // [max_positions, half_dim]
  const float* sin = nullptr;  // [max_positions, half_dim]
  int32_t half_dim = 0;        // R / 2
  bool interleaved = false;    // DeepSeek rotates (2i, 2i+1); Llama and Qwen (i, i + R/2)
};

struct MlaShape {
  int32_t num_heads;   // N; V3: 128
  int32_t nope_dim;    // V3: 128
  int32_t rope_dim;    // R; V3: 64
  int32_t value_dim;   // V3: 128
  int32_t latent_dim;  // L; V3: 512
  float scale;         // of the scores, YaRN's mscale included
};

// Two forms of the same mathematics. Absorbed: heads read the latent itself through W_UK and W_UV;
// cheap for few queries. Expanded: keys and values of the context are made first; cheap for many.
enum class MlaForm : uint8_t { kAbsorbed, kExpanded };

struct GqaShape {
  int32_t num_heads;     // N
  int32_t num_kv_heads;  // divides N
  int32_t head_dim;
  float scale;
};

enum class Scoring : uint8_t { kSigmoid, kSoftmax };
// kNoAuxTc: V3 (two best per group). kGroupLimitedGreedy: V2 (best per group). kGreedy: V2-Lite.
enum class TopK : uint8_t { kNoAuxTc, kGroupLimitedGreedy, kGreedy };

struct RouteShape {
  Scoring scoring;
  TopK top_k;
  int32_t num_experts;        // E; V3: 256
  int32_t num_groups;         // divides E; V3: 8; 1 for kGreedy
  int32_t num_groups_kept;    // V3: 4
  int32_t experts_per_token;  // K; V3: 8
  bool normalise;             // norm_topk_prob
  float routed_scale;         // routed_scaling_factor; V3: 2.5
};

// A SwiGLU block: down(silu(gate(x)) * up(x)).
struct MlpWeights {
  Weight gate;  // [I, H]
  Weight up;    // [I, H]
  Weight down;  // [H, I]
};

// The largest step that reserve() makes room for.
struct StepLimits {
  int32_t tokens_max;          // T
  int32_t sequences_max;       // S
  int32_t context_max;         // positions of one sequence
  int32_t width_max;           // widest matrix of a layer: H, I, N * head dims
  int32_t vocab_size;          // V
  int32_t sample_rows_max;     // rows of one sample() or linear() to logits
  int32_t experts_per_token;   // 0 without experts
  int32_t num_experts;         // 0 without experts
  int32_t num_heads;           // N
  int32_t latent_dim;          // L; 0 without MLA
  int32_t num_kv_heads = 0;    // 0 with MLA
  int32_t head_dim = 0;        // 0 with MLA
  int64_t latent_weights = 0;  // values of all kv_b that are not bf16 in the checkpoint
};

// Since the start, of an asynchronous backend that measures; else zeros.
struct DeviceTimes {
  int64_t steps = 0;
  double busy_ms = 0.0;  // from the first work of a step to the results of its sample()
  double idle_ms = 0.0;  // from those to the first work of the next step
};

class Ops {
 public:
  virtual ~Ops() = default;

  virtual std::string name() const = 0;  // "cpu/avx512", "cuda/sm_90a", for people
  virtual DType activation_dtype() const = 0;
  virtual Precision precision() const = 0;
  virtual bool batch_invariant() const = 0;
  // The first error of the device; it stays. The CPU has none.
  virtual Status status() const { return {}; }

  // --- memory -------------------------------------------------------------------------------

  // `bytes` of backend memory, 64-byte aligned, zeroed; lives until the Ops is destroyed. Null when
  // the memory is not there: the caller reports what it wanted it for.
  virtual void* allocate(size_t bytes) = 0;
  // Backend memory that holds the `bytes` at `host`. The CPU returns `host` itself, so weights stay
  // where the checkpoint is mapped (any alignment); `host` must outlive the Ops.
  virtual const void* place(const void* host, size_t bytes) = 0;
  // Backend memory with `count` made-up values: of a normal distribution with this deviation, the
  // same for the same seed on every backend. Null as allocate(). kF32, kBF16, kF16 or kF8E4M3.
  virtual const void* place_random(DType dtype, int64_t count, uint64_t seed, float deviation) = 0;
  virtual void upload(void* to, const void* host, size_t bytes) = 0;
  // Rows of `row_bytes` from `host`, where they lie one after the other, to rows `pitch_bytes`
  // apart.
  virtual void upload_rows(void* to, size_t pitch_bytes, const void* host, size_t row_bytes,
                           size_t rows) = 0;
  virtual void download(void* host, const void* from, size_t bytes) = 0;  // synchronises
  // Takes the scratch memory that steps within `limits` need. Start-up only, once.
  // Errors  kTooLarge  it does not fit, with the bytes
  virtual Status reserve(const StepLimits& limits) = 0;

  // --- steps --------------------------------------------------------------------------------

  // Whether repeat() costs less than the operations it repeats: then steps are worth padding to a
  // few shapes.
  virtual bool records() const { return false; }
  // Does what `operations` does: calls it, or, where records(), from the third time on repeats what
  // it did the second time, without calling it. So for one key it makes the same calls with the
  // same arguments each time, and what varies lies in the backend's memory. Among the calls are no
  // upload, download or sample, and nothing that takes memory.
  virtual void repeat(uint64_t key, const std::function<void()>& operations) {
    static_cast<void>(key);
    operations();
  }
  // How long the device had nothing to do between the results of one sample() and the next step.
  virtual DeviceTimes device_times() const { return {}; }

  // --- dense --------------------------------------------------------------------------------

  // out[t] = table[ids[t]]. table [V, H]; out [T, H]. The CPU checks the ids; a GPU answers one
  // outside the vocabulary with zeros.
  virtual void embed(std::span<const int32_t> ids, const Weight& table, const Matrix& out) = 0;
  // out[i] = x[rows[i]].
  virtual void gather_rows(const Matrix& x, std::span<const int32_t> rows, const Matrix& out) = 0;
  // out = x / sqrt(mean(x^2) + eps) * weight, weight [1, cols]. out may be x.
  virtual void rms_norm(const Matrix& x, const Weight& weight, float eps, const Matrix& out) = 0;
  // residual += x; then out = rms_norm(residual). out may be x.
  virtual void add_rms_norm(const Matrix& x, const Matrix& residual, const Weight& weight,
                            float eps, const Matrix& out) = 0;
  // a += b, same shape.
  virtual void add(const Matrix& a, const Matrix& b) = 0;
  // out[t] = weight * x[t] + bias. x [T, K], weight [M, K], bias [1, M] or empty, out [T, M]; out
  // may be f32 whatever the activation type (router and head logits). out must not be x.
  virtual void linear(const Matrix& x, const Weight& weight, const Weight& bias,
                      const Matrix& out) = 0;
  // out = down(silu(gate(x)) * up(x)), x and out [T, H]; out must not be x.
  virtual void gated_mlp(const Matrix& x, const MlpWeights& weights, const Matrix& out) = 0;

  // --- experts ------------------------------------------------------------------------------

  // Chooses K experts for each token and their weights.
  //   score  = sigmoid(logit), or softmax over all E
  //   choice = score (+ bias where given: it decides which experts, and nothing else)
  //   kNoAuxTc: a group is worth the sum of its two best choices; kGroupLimitedGreedy: its best
  //   one; the best num_groups_kept groups stay, and among their experts the K best choices weight
  //   = score (/ (sum of the K kept scores + 1e-20) if `normalise`) * routed_scale
  // Ties: the lower id wins, on every backend. A surprising rule, pinned by a test: the biased
  // score chooses, the unbiased one weighs. logits [T, E] f32; bias [E] f32 or null; out: experts
  // [T, K], weights [T, K], best choice first. Source  arXiv:2412.19437 section 2.1.2;
  // arXiv:2405.04434 section 2.1.2.
  virtual void route_tokens(const RouteShape& shape, const Matrix& logits, const float* bias,
                            int32_t* experts, float* weights) = 0;
  // out[t] = sum over k, in the order of the ids' ranks k = 0 .. K-1, in f32, of
  //          weights[t, k] * mlp(all[experts[t, k]])(x[t]).
  // `all` has E entries. out [T, H] is overwritten; out must not be x.
  virtual void experts(const Matrix& x, std::span<const MlpWeights> all, int32_t experts_per_token,
                       const int32_t* experts, const float* weights, const Matrix& out) = 0;

  // --- attention ----------------------------------------------------------------------------

  // Rotates the rotary part of every query head, normalises the latent, rotates the shared rotary
  // key and writes the cache row (latent, rotated key) of each token.
  //   q [T, N * (nope + R)] in place (nope first in each head); kv_a [T, L + R], unchanged;
  //   norm [1, L]; cache.width = L + R
  virtual void mla_prepare(const MlaShape& shape, const Matrix& q, const Matrix& kv_a,
                           const Weight& norm, float eps, const RopeTable& rope,
                           const StepBatch& batch, const CacheLayer& cache) = 0;
  // Causal attention of each token over its sequence's cache, positions 0 .. its own.
  //   q as mla_prepare left it; kv_b [N * (nope + value), L]: for each head nope rows of W_UK, then
  //   value rows of W_UV; out [T, N * value].
  // kv_b enters as its dequantised value, never quantising the latent beside it, in both forms.
  // Invariance: the two forms round differently. Who promises invariance uses one for all tokens.
  virtual void mla_attention(const MlaShape& shape, MlaForm form, const Matrix& q,
                             const Weight& kv_b, const StepBatch& batch, const CacheLayer& cache,
                             const Matrix& out) = 0;
  // qkv [T, (N + 2 * kv_heads) * head_dim]: rotates q and k in place, writes (k, v) to the cache.
  virtual void gqa_prepare(const GqaShape& shape, const Matrix& qkv, const RopeTable& rope,
                           const StepBatch& batch, const CacheLayer& cache) = 0;
  // Causal attention, as above. out [T, N * head_dim].
  virtual void gqa_attention(const GqaShape& shape, const Matrix& qkv, const StepBatch& batch,
                             const CacheLayer& cache, const Matrix& out) = 0;

  // --- sampling -----------------------------------------------------------------------------

  // One token (or the score of a given one) for each row of logits [rows, V] f32;
  // kernels/sampling.h says how. The logits may be overwritten. Synchronises: the results are on
  // the host.
  virtual void sample(const Matrix& logits, std::span<const SampleRow> rows,
                      std::span<SampleResult> results) = 0;
  // sample() in two halves, for a step that begins before the results of the one before are known.
  // begin_sample() returns at once; finish_sample() waits for the oldest that was begun. At most
  // kSamplesBegun are under way, and no sample() meanwhile.
  virtual void begin_sample(const Matrix& logits, std::span<const SampleRow> rows) = 0;
  virtual void finish_sample(std::span<SampleResult> results) = 0;
  // ids[i] = the token that the newest sample() or begin_sample() chose for its row rows[i].
  virtual void take_sampled(std::span<const int32_t> rows, int32_t* ids) = 0;
};

// Instruction sets of the CPU version. kAuto: the best that CPUID and the system allow.
enum class Isa : uint8_t { kAuto, kPortable, kAvx2, kAvx512, kAmx };

struct CpuOptions {
  Isa isa = Isa::kAuto;
  int32_t threads = 0;  // 0: one for each core this process may use
  bool pin_threads = true;
  Precision precision = Precision::kBFloat16;
  bool batch_invariant = true;  // the CPU's operations are, either way
};

// The CPU backend.
// Errors  kUnavailable  `isa` is not available on this machine, with what is
Result<std::unique_ptr<Ops>> make_cpu_ops(const CpuOptions& options);

struct CudaOptions {
  int32_t device = 0;
  Precision precision = Precision::kBFloat16;
  bool batch_invariant = false;  // costs speed: docs/benchmarks.md
  bool synchronous = false;      // every operation waits: names the one that failed
  std::string libraries = {};    // folder of cuBLASLt; empty: the usual places
};

struct CudaMemory {
  int64_t free_bytes = 0;
  int64_t total_bytes = 0;
};
// Of the device that make_cuda_ops would take. Errors  as make_cuda_ops
Result<CudaMemory> cuda_memory(const CudaOptions& options);

// Bytes that the CUDA backend takes beside what is asked of allocate() and place(), when reserve()
// gets these limits and decode steps are recorded: scratch, plans of attention, bf16 copies of
// kv_b, buffers. Errors  as make_cuda_ops
Result<int64_t> cuda_reserved_bytes(const CudaOptions& options, const StepLimits& limits);

// The CUDA backend: compute capability 9.0.
// Errors  kUnavailable  built without CUDA, no such device, or CUDA's libraries are not found
Result<std::unique_ptr<Ops>> make_cuda_ops(const CudaOptions& options);

}  // namespace galley::kernels

// Memory, and the operations that go row by row.
#include "kernels/cpu/cpu_ops.h"

#include <algorithm>
#include <cstring>

#include "kernels/cpu/cpu_isa.h"
#include "kernels/random_values.h"

namespace galley::kernels::cpu {

CpuOps::CpuOps(const CpuOptions& options, const Primitives& primitives)
    : primitives_(primitives),
      precision_(options.precision),
      pool_(options.threads, options.pin_threads),
      threads_(static_cast<size_t>(pool_.size())) {}

std::string CpuOps::name() const {
  return std::string("cpu/") + primitives_.name;
}

void* CpuOps::allocate(size_t bytes) {
  return memory_.take(bytes);
}

const void* CpuOps::place(const void* host, size_t) {
  return host;
}

const void* CpuOps::place_random(DType dtype, int64_t count, uint64_t seed, float deviation) {
  std::byte* const data = memory_.take(static_cast<size_t>(count) * size_of(dtype));
  if (data == nullptr) return nullptr;
  auto& table = draw_tables_[{dtype, deviation}];
  if (table.empty()) table = draw_table(dtype, deviation);
  constexpr int64_t kPart = int64_t{1} << 20;
  pool_.for_each((count + kPart - 1) / kPart, [&](int64_t part, int32_t) {
    fill_random(dtype, table.data(), seed, part * kPart, std::min(count, (part + 1) * kPart), data);
  });
  return data;
}

void CpuOps::upload(void* to, const void* host, size_t bytes) {
  if (bytes > 0) std::memcpy(to, host, bytes);
}

void CpuOps::upload_rows(void* to, size_t pitch_bytes, const void* host, size_t row_bytes,
                         size_t rows) {
  for (size_t i = 0; i < rows; ++i) {
    upload(static_cast<std::byte*>(to) + i * pitch_bytes,
           static_cast<const std::byte*>(host) + i * row_bytes, row_bytes);
  }
}

void CpuOps::download(void* host, const void* from, size_t bytes) {
  if (bytes > 0) std::memcpy(host, from, bytes);
}

// --- scratch ------------------------------------------------------------------------------------

namespace {

// 64 TiB.
constexpr double kScratchMax = 64.0 * (1 << 30) * 1024.0;

int64_t head_dim_max(const StepLimits& limits) {
  return limits.width_max / std::max(limits.num_heads, 1) + kPadding;
}

}  // namespace

// The largest operation. Prepared activations of one GEMM, then what stands beside them.
size_t CpuOps::arena_bytes(const StepLimits& limits) const {
  const int64_t tokens = limits.tokens_max;
  const int64_t width = padded_cols(limits.width_max);
  const int64_t row = width * 4 + width / kScaleBlock * 4 + 256;  // one prepared row
  const int64_t hidden = limits.width_max * int64_t{4} + 64;
  const int64_t assigned =
      std::min<int64_t>(tokens, kExpertTokens) * std::max(limits.experts_per_token, 1);
  const int64_t dense = tokens * (2 * row + hidden);
  const int64_t experts = assigned * (row + hidden + 16) + std::min(tokens, kExpertTokens) * row +
                          limits.num_experts * int64_t{32};
  const int64_t mla = std::min<int64_t>(tokens, kMlaTokens) * limits.num_heads *
                      (2 * limits.latent_dim + head_dim_max(limits) + 64) * 4;
  const int64_t tiles = (tokens + limits.sequences_max) * int64_t{sizeof(QueryTile)};
  const int64_t samples = limits.sample_rows_max * int64_t{row};
  return static_cast<size_t>(std::max({dense, experts, mla, samples}) + tiles + width * 8 + 65536);
}

size_t CpuOps::thread_arena_bytes(const StepLimits& limits) const {
  const int64_t head = head_dim_max(limits);
  const int64_t tile = 2 * kTokenBlock * kRowBlock * 4;
  const int64_t assigned =
      std::min<int64_t>(limits.tokens_max, kExpertTokens) * std::max(limits.experts_per_token, 1);
  const int64_t experts = assigned * kRowBlock * 4;
  const int64_t block = kBlockTokens * (limits.latent_dim + 3 * head) * 4;
  const int64_t gqa = kQueryTile * limits.num_heads * (head + 2) * 4;
  const int64_t mla = kQueryTile * limits.num_heads * int64_t{8} +
                      limits.tokens_max * (head + 2) * 4 + 2 * head * limits.latent_dim * 4;
  const int64_t sample = limits.vocab_size * int64_t{16};
  return static_cast<size_t>(std::max({tile, experts, block + gqa + mla, sample}) + 65536);
}

Status CpuOps::reserve(const StepLimits& limits) {
  GALLEY_CHECK(!reserved_, "reserve() is called once");
  GALLEY_CHECK(limits.tokens_max > 0 && limits.width_max > 0, "a step has tokens and a width");
  // The largest terms of the sums below; what no machine has is refused before integers wrap.
  const double estimate = 16.0 * limits.tokens_max * limits.width_max +
                          4.0 * kMlaTokens * limits.num_heads * limits.latent_dim +
                          16.0 * limits.vocab_size * pool_.size();
  const bool possible = estimate < kScratchMax;
  const size_t shared = possible ? Arena::padded(arena_bytes(limits)) : 0;
  const size_t each = possible ? Arena::padded(thread_arena_bytes(limits)) : 0;
  std::byte* data =
      possible ? memory_.take(shared + (each + kGemmScratchBytes) * threads_.size()) : nullptr;
  if (data == nullptr) {
    return Status(Code::kTooLarge, "the scratch memory of one step, about " +
                                       std::to_string(static_cast<int64_t>(estimate / (1 << 20))) +
                                       " MiB, is not available: lower the tokens of a step "
                                       "(--max-num-batched-tokens)");
  }
  arena_.set(data, shared);
  data += shared;
  for (ThreadState& thread : threads_) {
    thread.gemm_scratch = data;
    thread.arena.set(data + kGemmScratchBytes, each);
    data += kGemmScratchBytes + each;
  }
  const auto rows = static_cast<size_t>(std::max(limits.sample_rows_max, 0));
  for (std::vector<SampleResult>& results : begun_) results.reserve(rows);
  sampled_.reserve(rows);
  limits_ = limits;
  reserved_ = true;
  return Status();
}

const float* CpuOps::widen_weight(const Weight& weight) {
  const int64_t n = weight.rows * weight.cols;
  GALLEY_CHECK(weight.dtype != DType::kF8E4M3, "a norm or bias has no FP8 form");
  auto* values = arena_.take<float>(n);
  primitives_.widen(weight.data, weight.dtype, n, values);
  return values;
}

// --- rows ---------------------------------------------------------------------------------------

namespace {

void check_f32(const Matrix& x) {
  GALLEY_CHECK(x.dtype == DType::kF32, "the CPU's activations are f32");
  GALLEY_CHECK(x.ld >= x.cols, "rows do not overlap");
}

}  // namespace

void CpuOps::embed(std::span<const int32_t> ids, const Weight& table, const Matrix& out) {
  check_f32(out);
  GALLEY_CHECK(out.rows == static_cast<int64_t>(ids.size()) && out.cols == table.cols,
               "out is [ids, H]");
  for_tokens(out.rows, [&](int64_t t, int32_t) {
    const int64_t id = ids[static_cast<size_t>(t)];
    GALLEY_CHECK(id >= 0 && id < table.rows, "a token id is inside the vocabulary");
    const auto* row = static_cast<const std::byte*>(table.data) +
                      id * table.cols * static_cast<int64_t>(size_of(table.dtype));
    float* to = out.row<float>(t);
    primitives_.widen(row, table.dtype, table.cols, to);
    if (table.dtype != DType::kF8E4M3) return;
    const int64_t blocks = (table.cols + kScaleBlock - 1) / kScaleBlock;
    const float* scales = table.scales + id / kScaleBlock * blocks;
    for (int64_t i = 0; i < table.cols; ++i) to[i] *= scales[i / kScaleBlock];
  });
}

void CpuOps::gather_rows(const Matrix& x, std::span<const int32_t> rows, const Matrix& out) {
  check_f32(x);
  check_f32(out);
  GALLEY_CHECK(out.rows == static_cast<int64_t>(rows.size()) && out.cols == x.cols,
               "out is [rows, cols of x]");
  for (int64_t i = 0; i < out.rows; ++i) {
    const int64_t row = rows[static_cast<size_t>(i)];
    GALLEY_CHECK(row >= 0 && row < x.rows, "a gathered row is a row of x");
    std::memcpy(out.row<float>(i), x.row<float>(row), static_cast<size_t>(x.cols) * sizeof(float));
  }
}

void CpuOps::rms_norm(const Matrix& x, const Weight& weight, float eps, const Matrix& out) {
  check_f32(x);
  check_f32(out);
  GALLEY_CHECK(weight.rows * weight.cols == x.cols && out.cols == x.cols && out.rows == x.rows,
               "x, weight and out have the same columns");
  if (x.rows == 0) return;
  arena_.clear();
  const float* values = widen_weight(weight);
  for_tokens(x.rows, [&](int64_t t, int32_t) {
    primitives_.rms_norm(x.row<float>(t), values, eps, x.cols, out.row<float>(t));
  });
}

void CpuOps::add_rms_norm(const Matrix& x, const Matrix& residual, const Weight& weight, float eps,
                          const Matrix& out) {
  check_f32(x);
  check_f32(residual);
  check_f32(out);
  GALLEY_CHECK(weight.rows * weight.cols == x.cols && out.cols == x.cols && out.rows == x.rows &&
                   residual.cols == x.cols && residual.rows == x.rows,
               "x, residual, weight and out have the same shape");
  if (x.rows == 0) return;
  arena_.clear();
  const float* values = widen_weight(weight);
  for_tokens(x.rows, [&](int64_t t, int32_t) {
    primitives_.add(residual.row<float>(t), x.row<float>(t), x.cols);
    primitives_.rms_norm(residual.row<float>(t), values, eps, x.cols, out.row<float>(t));
  });
}

void CpuOps::add(const Matrix& a, const Matrix& b) {
  check_f32(a);
  check_f32(b);
  GALLEY_CHECK(a.rows == b.rows && a.cols == b.cols, "a and b have the same shape");
  for_tokens(a.rows, [&](int64_t t, int32_t) {
    primitives_.add(a.row<float>(t), b.row<float>(t), a.cols);
  });
}

}  // namespace galley::kernels::cpu

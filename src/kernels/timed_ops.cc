#include "kernels/timed_ops.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string_view>

#include "base/check.h"

namespace galley::kernels {
namespace {

constexpr const char* kBetweenOps = "between operations";
constexpr const char* kBetweenSteps = "between steps";

int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

int64_t bytes_of(const Weight& weight) {
  return weight.rows * weight.cols * static_cast<int64_t>(size_of(weight.dtype));
}

int64_t bytes_of(const MlpWeights& weights) {
  return bytes_of(weights.gate) + bytes_of(weights.up) + bytes_of(weights.down);
}

OpTime with_weight(const char* operation, const Weight& weight, int64_t bytes) {
  return {.operation = operation,
          .rows = weight.rows,
          .cols = weight.cols,
          .dtype = weight.dtype,
          .bytes = bytes};
}

int64_t cache_bytes(const StepBatch& batch, const CacheLayer& cache) {
  return int64_t{batch.num_sequences} * batch.context_len_max * cache.row_bytes;
}

bool same_line(const OpTime& a, const OpTime& b) {
  return std::string_view(a.operation) == b.operation && a.rows == b.rows && a.cols == b.cols &&
         a.dtype == b.dtype && a.step_tokens == b.step_tokens;
}

}  // namespace

std::string shape_of(const OpTime& line) {
  if (line.rows == 0) return "";
  return std::to_string(line.rows) + " x " + std::to_string(line.cols) + " " +
         std::string(name_of(line.dtype));
}

std::string to_text(std::span<const OpTime> lines) {
  double total_ns = 0;
  for (const OpTime& line : lines) total_ns += static_cast<double>(line.time_ns);
  std::string out;
  char row[256];
  std::snprintf(row, sizeof row, "  %-20s %-24s %8s %11s %11s %7s %7s\n", "operation", "shape",
                "calls", "us a call", "ms in all", "share", "GB/s");
  out += row;
  for (const OpTime& line : lines) {
    const auto ns = static_cast<double>(std::max<int64_t>(line.time_ns, 1));
    char rate[32] = "";
    if (line.bytes > 0)
      std::snprintf(rate, sizeof rate, "%.1f", static_cast<double>(line.bytes) / ns);
    std::snprintf(row, sizeof row, "  %-20s %-24s %8lld %11.1f %11.1f %5.1f %% %7s\n",
                  line.operation, shape_of(line).c_str(), static_cast<long long>(line.calls),
                  ns * 1e-3 / static_cast<double>(line.calls), ns * 1e-6, 100.0 * ns / total_ns,
                  rate);
    out += row;
  }
  return out;
}

TimedOps::TimedOps(std::unique_ptr<Ops> inner, bool asynchronous) : inner_(std::move(inner)) {
  if (!asynchronous) return;
  probe_ = inner_->allocate(1);
  GALLEY_CHECK(probe_ != nullptr, "a backend has memory for one byte");
}

std::vector<OpTime> TimedOps::lines() const {
  std::vector<OpTime> out(lines_.begin(), lines_.begin() + static_cast<std::ptrdiff_t>(num_lines_));
  std::stable_sort(out.begin(), out.end(),
                   [](const OpTime& a, const OpTime& b) { return a.time_ns > b.time_ns; });
  return out;
}

void TimedOps::clear() {
  num_lines_ = 0;
  last_end_ns_ = 0;
}

void TimedOps::record(const OpTime& what, int64_t time_ns) {
  size_t at = 0;
  while (at < num_lines_ && !same_line(lines_[at], what)) ++at;
  if (at == num_lines_) {
    if (num_lines_ == kLinesMax) {
      at = kLinesMax - 1;
    } else {
      lines_[num_lines_++] = what;
      lines_[at].bytes = 0;
    }
  }
  lines_[at].calls += 1;
  lines_[at].time_ns += time_ns;
  lines_[at].bytes += what.bytes;
}

void TimedOps::finish() {
  if (probe_ == nullptr) return;
  std::byte ignored;
  inner_->download(&ignored, probe_, 1);
}

template <typename Call>
void TimedOps::time(OpTime what, const Call& call) {
  what.step_tokens = step_tokens_;
  const int64_t begin_ns = now_ns();
  if (last_end_ns_ != 0) {
    const bool new_step = std::string_view(what.operation) == "embed";
    record({.operation = new_step ? kBetweenSteps : kBetweenOps, .step_tokens = step_tokens_},
           begin_ns - last_end_ns_);
  }
  call();
  finish();
  last_end_ns_ = now_ns();
  record(what, last_end_ns_ - begin_ns);
}

void TimedOps::upload(void* to, const void* host, size_t bytes) {
  time({.operation = "upload", .bytes = static_cast<int64_t>(bytes)},
       [&] { inner_->upload(to, host, bytes); });
}

void TimedOps::upload_rows(void* to, size_t pitch_bytes, const void* host, size_t row_bytes,
                           size_t rows) {
  time({.operation = "upload", .bytes = static_cast<int64_t>(row_bytes * rows)},
       [&] { inner_->upload_rows(to, pitch_bytes, host, row_bytes, rows); });
}

void TimedOps::download(void* host, const void* from, size_t bytes) {
  time({.operation = "download", .bytes = static_cast<int64_t>(bytes)},
       [&] { inner_->download(host, from, bytes); });
}

// The first operation of a step: it says how many tokens the step has.
void TimedOps::embed(std::span<const int32_t> ids, const Weight& table, const Matrix& out) {
  step_tokens_ = out.rows;
  const int64_t row_bytes = table.cols * static_cast<int64_t>(size_of(table.dtype));
  time(with_weight("embed", table, out.rows * row_bytes), [&] { inner_->embed(ids, table, out); });
}

void TimedOps::gather_rows(const Matrix& x, std::span<const int32_t> rows, const Matrix& out) {
  time({.operation = "gather_rows"}, [&] { inner_->gather_rows(x, rows, out); });
}

void TimedOps::rms_norm(const Matrix& x, const Weight& weight, float eps, const Matrix& out) {
  time(with_weight("rms_norm", weight, 0), [&] { inner_->rms_norm(x, weight, eps, out); });
}

void TimedOps::add_rms_norm(const Matrix& x, const Matrix& residual, const Weight& weight,
                            float eps, const Matrix& out) {
  time(with_weight("add_rms_norm", weight, 0),
       [&] { inner_->add_rms_norm(x, residual, weight, eps, out); });
}

void TimedOps::add(const Matrix& a, const Matrix& b) {
  time({.operation = "add"}, [&] { inner_->add(a, b); });
}

void TimedOps::linear(const Matrix& x, const Weight& weight, const Weight& bias,
                      const Matrix& out) {
  time(with_weight("linear", weight, bytes_of(weight)),
       [&] { inner_->linear(x, weight, bias, out); });
}

void TimedOps::gated_mlp(const Matrix& x, const MlpWeights& weights, const Matrix& out) {
  time(with_weight("gated_mlp", weights.gate, bytes_of(weights)),
       [&] { inner_->gated_mlp(x, weights, out); });
}

void TimedOps::route_tokens(const RouteShape& shape, const Matrix& logits, const float* bias,
                            int32_t* experts, float* weights) {
  time({.operation = "route_tokens"},
       [&] { inner_->route_tokens(shape, logits, bias, experts, weights); });
}

void TimedOps::experts(const Matrix& x, std::span<const MlpWeights> all, int32_t experts_per_token,
                       const int32_t* experts, const float* weights, const Matrix& out) {
  const int64_t active =
      std::min(static_cast<int64_t>(all.size()), x.rows * int64_t{experts_per_token});
  time(with_weight("experts", all[0].gate, active * bytes_of(all[0])),
       [&] { inner_->experts(x, all, experts_per_token, experts, weights, out); });
}

void TimedOps::mla_prepare(const MlaShape& shape, const Matrix& q, const Matrix& kv_a,
                           const Weight& norm, float eps, const RopeTable& rope,
                           const StepBatch& batch, const CacheLayer& cache) {
  time({.operation = "mla_prepare"},
       [&] { inner_->mla_prepare(shape, q, kv_a, norm, eps, rope, batch, cache); });
}

void TimedOps::mla_attention(const MlaShape& shape, MlaForm form, const Matrix& q,
                             const Weight& kv_b, const StepBatch& batch, const CacheLayer& cache,
                             const Matrix& out) {
  time(with_weight("mla_attention", kv_b, bytes_of(kv_b) + cache_bytes(batch, cache)),
       [&] { inner_->mla_attention(shape, form, q, kv_b, batch, cache, out); });
}

void TimedOps::gqa_prepare(const GqaShape& shape, const Matrix& qkv, const RopeTable& rope,
                           const StepBatch& batch, const CacheLayer& cache) {
  time({.operation = "gqa_prepare"}, [&] { inner_->gqa_prepare(shape, qkv, rope, batch, cache); });
}

void TimedOps::gqa_attention(const GqaShape& shape, const Matrix& qkv, const StepBatch& batch,
                             const CacheLayer& cache, const Matrix& out) {
  time({.operation = "gqa_attention", .bytes = cache_bytes(batch, cache)},
       [&] { inner_->gqa_attention(shape, qkv, batch, cache, out); });
}

void TimedOps::sample(const Matrix& logits, std::span<const SampleRow> rows,
                      std::span<SampleResult> results) {
  time({.operation = "sample"}, [&] { inner_->sample(logits, rows, results); });
}

void TimedOps::begin_sample(const Matrix& logits, std::span<const SampleRow> rows) {
  time({.operation = "sample"}, [&] { inner_->begin_sample(logits, rows); });
}

void TimedOps::finish_sample(std::span<SampleResult> results) {
  inner_->finish_sample(results);
}

void TimedOps::take_sampled(std::span<const int32_t> rows, int32_t* ids) {
  time({.operation = "take_sampled"}, [&] { inner_->take_sampled(rows, ids); });
}

}  // namespace galley::kernels

#include "kernels/op_bench.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <functional>
#include <memory>

#include "base/thread_pool.h"
#include "kernels/cpu/cache_rows.h"
#include "kernels/cpu/cpu_isa.h"
#include "kernels/cpu/cpu_ops.h"

namespace galley::kernels {
namespace {

constexpr size_t kBufferBytes = size_t{512} << 20;  // larger than caches
constexpr int64_t kContext = 1024;
constexpr int32_t kTokensMax = 512;

double now_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// One operation on one shape. `run` computes all tokens, or with `last` only the last one, which is
// then compared with the portable result.
struct Case {
  std::string model, operation, shape;
  int64_t tokens = 0;
  double bytes = 0;
  double flops = 0;
  bool f32 = false;  // its multiplications are f32
  int64_t out_cols = 0;
  std::function<void(Ops& ops, bool last, const Matrix& out)> run;
};

// Random bits that are weights in every type: bit 6 of each byte is 0, so bf16 values are below 2
// and no e4m3 is NaN.
class Data {
 public:
  Data() : bytes_(memory_.take(kBufferBytes)), scales_(1 << 16, 0.02f), norm_(8192, 1.0f) {
    GALLEY_CHECK(bytes_ != nullptr, "half a GiB for the weights of a measurement");
    uint64_t state = 88172645463325252u;
    for (size_t i = 0; i < kBufferBytes; i += 8) {
      state ^= state << 13;
      state ^= state >> 7;
      state ^= state << 17;
      const uint64_t word = state & 0xbfbfbfbfbfbfbfbfu;
      std::memcpy(bytes_ + i, &word, 8);
    }
    activations_.resize(size_t{kTokensMax} * 32768);
    for (size_t i = 0; i < activations_.size(); ++i)
      activations_[i] =
          static_cast<float>(static_cast<int>(i * 2654435761u >> 20 & 1023u) - 512) / 256.0f;
  }

  // A weight at the next place of the buffer, so that caches hold nothing of it.
  Weight weight(DType dtype, int64_t rows, int64_t cols) {
    const size_t size = static_cast<size_t>(rows * cols) * size_of(dtype);
    GALLEY_CHECK(size <= kBufferBytes, "a weight fits the buffer");
    if (size > kBufferBytes - next_) next_ = 0;
    const Weight w{.data = bytes_ + next_,
                   .scales = dtype == DType::kF8E4M3 ? scales_.data() : nullptr,
                   .dtype = dtype,
                   .rows = rows,
                   .cols = cols};
    next_ += size;
    return w;
  }
  MlpWeights mlp(DType dtype, int64_t hidden, int64_t inner) {
    return {.gate = weight(dtype, inner, hidden),
            .up = weight(dtype, inner, hidden),
            .down = weight(dtype, hidden, inner)};
  }
  void rewind() { next_ = 0; }
  std::byte* bytes() { return bytes_; }
  const float* norm() const { return norm_.data(); }
  // [rows, cols] from `first` on; the same numbers every time.
  Matrix activations(int64_t first, int64_t rows, int64_t cols) {
    return {.data = activations_.data() + first * cols,
            .dtype = DType::kF32,
            .rows = rows,
            .cols = cols,
            .ld = cols};
  }

 private:
  cpu::Memory memory_;
  std::byte* bytes_;
  size_t next_ = 0;
  std::vector<float> scales_, norm_, activations_;
};

std::string by(int64_t rows, int64_t cols, DType dtype) {
  return std::to_string(rows) + " x " + std::to_string(cols) + " " + std::string(name_of(dtype));
}

double bytes_of(DType dtype, int64_t rows, int64_t cols) {
  return static_cast<double>(rows * cols) * static_cast<double>(size_of(dtype));
}

class Cases {
 public:
  explicit Cases(Data& data) : data_(data) {}

  void linear(const char* model, const char* name, DType dtype, int64_t rows, int64_t cols,
              int64_t tokens) {
    // The place in the buffer moves with each call; the portable call repeats the last one.
    auto weight = std::make_shared<Weight>();
    add(model, name, by(rows, cols, dtype), tokens, bytes_of(dtype, rows, cols),
        2.0 * static_cast<double>(tokens * rows * cols), rows,
        [this, weight, dtype, rows, cols, tokens](Ops& ops, bool last, const Matrix& out) {
          if (!last) *weight = data_.weight(dtype, rows, cols);
          const Matrix x =
              last ? data_.activations(tokens - 1, 1, cols) : data_.activations(0, tokens, cols);
          ops.linear(x, *weight, {}, out);
        });
  }

  void gated_mlp(const char* model, DType dtype, int64_t hidden, int64_t inner, int64_t tokens) {
    auto mlp = std::make_shared<MlpWeights>();
    add(model, "gated_mlp", by(inner, hidden, dtype), tokens, 3.0 * bytes_of(dtype, inner, hidden),
        6.0 * static_cast<double>(tokens * inner * hidden), hidden,
        [this, mlp, dtype, hidden, inner, tokens](Ops& ops, bool last, const Matrix& out) {
          if (!last) *mlp = data_.mlp(dtype, hidden, inner);
          ops.gated_mlp(last ? data_.activations(tokens - 1, 1, hidden)
                             : data_.activations(0, tokens, hidden),
                        *mlp, out);
        });
  }

  void experts(const char* model, DType dtype, int64_t hidden, int64_t inner, int32_t count,
               int32_t per_token, int64_t tokens) {
    auto all = std::make_shared<std::vector<MlpWeights>>(static_cast<size_t>(count));
    auto ids = std::make_shared<std::vector<int32_t>>();
    auto weights = std::make_shared<std::vector<float>>();
    std::vector<bool> active(static_cast<size_t>(count));
    for (int64_t i = 0; i < tokens * per_token; ++i) {
      // Spread evenly; distinct within a token.
      const auto id = static_cast<int32_t>((i * 7 + i / per_token) % count);
      ids->push_back(id);
      weights->push_back(0.2f);
      active[static_cast<size_t>(id)] = true;
    }
    const auto num_active = static_cast<double>(std::count(active.begin(), active.end(), true));
    add(model, "experts", std::to_string(count) + " of " + by(inner, hidden, dtype), tokens,
        num_active * 3.0 * bytes_of(dtype, inner, hidden),
        6.0 * static_cast<double>(tokens * per_token * inner * hidden), hidden,
        [=, this](Ops& ops, bool last, const Matrix& out) {
          if (!last) {
            for (MlpWeights& mlp : *all) mlp = data_.mlp(dtype, hidden, inner);
          }
          const int64_t first = last ? (tokens - 1) * per_token : 0;
          ops.experts(last ? data_.activations(tokens - 1, 1, hidden)
                           : data_.activations(0, tokens, hidden),
                      *all, per_token, ids->data() + first, weights->data() + first, out);
        });
  }

  void rms_norm(const char* model, int64_t hidden, int64_t tokens) {
    add(model, "rms_norm", std::to_string(hidden), tokens,
        8.0 * static_cast<double>(tokens * hidden), 3.0 * static_cast<double>(tokens * hidden),
        hidden, [=, this](Ops& ops, bool last, const Matrix& out) {
          const Weight weight{
              .data = data_.norm(), .dtype = DType::kF32, .rows = 1, .cols = hidden};
          ops.rms_norm(last ? data_.activations(tokens - 1, 1, hidden)
                            : data_.activations(0, tokens, hidden),
                       weight, 1e-6f, out);
        });
    list_.back().f32 = true;
  }

  void sample(const char* model, const char* name, int64_t vocab, SampleRow row) {
    add(model, name, std::to_string(vocab), 1, 4.0 * static_cast<double>(vocab), 0.0, 1,
        [=, this](Ops& ops, bool, const Matrix& out) {
          SampleResult result;
          ops.sample(data_.activations(0, 1, vocab), {&row, 1}, {&result, 1});
          *out.row<float>(0) = static_cast<float>(result.token);
        });
    list_.back().f32 = true;
  }

  // The last `tokens` positions of one context of kContext.
  void mla(const char* model, const MlaShape& shape, CacheFormat format, DType dtype,
           int64_t tokens) {
    const int64_t heads = shape.num_heads, L = shape.latent_dim, R = shape.rope_dim;
    const int64_t rows = heads * (shape.nope_dim + shape.value_dim);
    const int64_t row_bytes = cpu::cache_row_bytes(format, L + R, L);
    const double pairs = static_cast<double>(tokens) * (kContext - static_cast<double>(tokens) / 2);
    add(model, "mla_attention",
        std::to_string(heads) + " heads, context " + std::to_string(kContext), tokens,
        bytes_of(dtype, rows, L) + static_cast<double>(kContext * row_bytes),
        pairs * static_cast<double>(heads * (4 * L + 2 * R)) +
            2.0 * static_cast<double>(tokens * rows * L),
        heads * shape.value_dim, [=, this](Ops& ops, bool last, const Matrix& out) {
          Step step(last ? 1 : tokens);
          const CacheLayer cache{.data = data_.bytes(),
                                 .format = format,
                                 .num_blocks = kContext / kBlockTokens,
                                 .width = static_cast<int32_t>(L + R),
                                 .row_bytes = row_bytes};
          data_.rewind();
          data_.weight(DType::kF8E4M3, kContext, row_bytes);
          const Weight kv_b = data_.weight(dtype, rows, L);
          const int64_t cols = heads * (shape.nope_dim + R);
          ops.mla_attention(shape, MlaForm::kAbsorbed,
                            data_.activations(last ? tokens - 1 : 0, step.batch.num_tokens, cols),
                            kv_b, step.batch, cache, out);
        });
    list_.back().f32 = true;
  }

  void gqa(const char* model, const GqaShape& shape, int64_t tokens) {
    const int64_t D = shape.head_dim, kv = shape.num_kv_heads, heads = shape.num_heads;
    const double pairs = static_cast<double>(tokens) * (kContext - static_cast<double>(tokens) / 2);
    add(model, "gqa_attention",
        std::to_string(heads) + " heads, context " + std::to_string(kContext), tokens,
        static_cast<double>(kContext * 4 * kv * D), pairs * static_cast<double>(4 * heads * D),
        heads * D, [=, this](Ops& ops, bool last, const Matrix& out) {
          Step step(last ? 1 : tokens);
          const CacheLayer cache{.data = data_.bytes(),
                                 .format = CacheFormat::kBF16,
                                 .num_blocks = kContext / kBlockTokens,
                                 .width = static_cast<int32_t>(2 * kv * D),
                                 .row_bytes = 4 * kv * D};
          ops.gqa_attention(
              shape,
              data_.activations(last ? tokens - 1 : 0, step.batch.num_tokens, (heads + 2 * kv) * D),
              step.batch, cache, out);
        });
    list_.back().f32 = true;
  }

  const std::vector<Case>& list() const { return list_; }

 private:
  struct Step {
    explicit Step(int64_t tokens) {
      for (int32_t i = 0; i < kContext / kBlockTokens; ++i) blocks.push_back(i);
      for (int64_t i = kContext - tokens; i < kContext; ++i)
        positions.push_back(static_cast<int32_t>(i));
      begin[1] = static_cast<int32_t>(tokens);
      batch = {.num_tokens = begin[1],
               .num_sequences = 1,
               .query_begin = begin,
               .context_len = &context,
               .positions = positions.data(),
               .slots = positions.data(),
               .block_table = blocks.data(),
               .block_table_ld = static_cast<int32_t>(blocks.size()),
               .query_len_max = begin[1],
               .context_len_max = context};
    }
    Step(const Step&) = delete;
    Step& operator=(const Step&) = delete;
    std::vector<int32_t> blocks, positions;
    int32_t begin[2] = {0, 0};
    int32_t context = kContext;
    StepBatch batch;
  };

  void add(const char* model, const char* operation, std::string shape, int64_t tokens,
           double bytes, double flops, int64_t out_cols,
           std::function<void(Ops&, bool, const Matrix&)> run) {
    list_.push_back({.model = model,
                     .operation = operation,
                     .shape = std::move(shape),
                     .tokens = tokens,
                     .bytes = bytes,
                     .flops = flops,
                     .out_cols = out_cols,
                     .run = std::move(run)});
  }

  Data& data_;
  std::vector<Case> list_;
};

void add_all(Cases& cases) {
  constexpr DType kBf16 = DType::kBF16, kFp8 = DType::kF8E4M3;
  const MlaShape lite{.num_heads = 16,
                      .nope_dim = 128,
                      .rope_dim = 64,
                      .value_dim = 128,
                      .latent_dim = 512,
                      .scale = 0.05f};
  MlaShape v3 = lite;
  v3.num_heads = 128;
  const GqaShape qwen{.num_heads = 12, .num_kv_heads = 2, .head_dim = 128, .scale = 0.05f};
  for (const int64_t tokens : {1, 512}) {
    cases.linear("qwen2-1.5b", "linear qkv", kBf16, 2048, 1536, tokens);
    cases.linear("qwen2-1.5b", "linear o", kBf16, 1536, 1536, tokens);
    cases.gated_mlp("qwen2-1.5b", kBf16, 1536, 8960, tokens);
    cases.gqa("qwen2-1.5b", qwen, tokens);
    cases.rms_norm("qwen2-1.5b", 1536, tokens);
    cases.linear("v2-lite", "linear q", kBf16, 3072, 2048, tokens);
    cases.experts("v2-lite", kBf16, 2048, 1408, 64, 6, tokens);
    cases.mla("v2-lite", lite, CacheFormat::kBF16, kBf16, tokens);
  }
  cases.linear("qwen2-1.5b", "linear lm_head", kBf16, 151936, 1536, 1);
  cases.sample("qwen2-1.5b", "sample greedy", 151936, {.temperature = 0.0f});
  cases.sample("qwen2-1.5b", "sample top_p", 151936, {.top_p = 0.95f});
  cases.sample("qwen2-1.5b", "sample logprobs", 151936, {.temperature = 0.0f, .num_logprobs = 20});
  for (const int64_t tokens : {1, 64}) {
    cases.linear("v3", "linear q_a", kFp8, 1536, 7168, tokens);
    cases.linear("v3", "linear q_b", kFp8, 24576, 1536, tokens);
    cases.linear("v3", "linear o", kFp8, 7168, 16384, tokens);
    cases.experts("v3", kFp8, 7168, 2048, 32, 8, tokens);
    cases.mla("v3", v3, CacheFormat::kFp8Latent, kFp8, tokens);
  }
}

StepLimits bench_limits() {
  return {.tokens_max = kTokensMax,
          .sequences_max = 1,
          .context_max = kContext,
          .width_max = 24576,
          .vocab_size = 151936,
          .sample_rows_max = 1,
          .experts_per_token = 8,
          .num_experts = 64,
          .num_heads = 128,
          .latent_dim = 512};
}

void measure_limits(const cpu::Primitives& primitives, ThreadPool& pool, Data& data,
                    OpBenchReport& report) {
  constexpr int64_t kPart = int64_t{4} << 20;
  constexpr auto kParts = static_cast<int64_t>(kBufferBytes) / kPart;
  double best_s = INFINITY;
  for (int i = 0; i < 5; ++i) {
    const double start = now_s();
    pool.for_each(kParts, [&](int64_t part, int32_t) {
      volatile float sink = primitives.max_value(
          reinterpret_cast<const float*>(data.bytes() + part * kPart), kPart / 4);
      (void)sink;
    });
    best_s = std::min(best_s, now_s() - start);
  }
  report.memory_gb_per_s = static_cast<double>(kBufferBytes) / best_s * 1e-9;
  for (const bool f32 : {false, true}) {
    double best = 0.0;
    for (int i = 0; i < 20; ++i) {
      std::vector<double> flops(static_cast<size_t>(pool.size()), 0.0);
      const double start = now_s();
      pool.for_each(pool.size(), [&](int64_t at, int32_t) {
        flops[static_cast<size_t>(at)] = primitives.multiply_registers(f32, 200000);
      });
      double total = 0.0;
      for (const double one : flops) total += one;
      best = std::max(best, total / (now_s() - start) * 1e-9);
    }
    (f32 ? report.f32_gflop_per_s : report.bf16_gflop_per_s) = best;
  }
}

OpBenchRow measure(const Case& c, const OpBenchOptions& options, const OpBenchReport& limits,
                   Ops& ops, Ops& portable) {
  OpBenchRow row{.model = c.model, .operation = c.operation, .shape = c.shape, .tokens = c.tokens};
  std::vector<float> out(static_cast<size_t>(c.tokens * c.out_cols), NAN);
  std::vector<float> expected(static_cast<size_t>(c.out_cols), NAN);
  const auto matrix = [&](std::vector<float>& v, int64_t rows) {
    return Matrix{
        .data = v.data(), .dtype = DType::kF32, .rows = rows, .cols = c.out_cols, .ld = c.out_cols};
  };
  double best_s = INFINITY;
  const double start = now_s();
  for (int calls = 0; calls < 2 || now_s() - start < options.seconds; ++calls) {
    const double begin = now_s();
    c.run(ops, /*last=*/false, matrix(out, c.tokens));
    best_s = std::min(best_s, now_s() - begin);
  }
  c.run(portable, /*last=*/true, matrix(expected, 1));
  double difference = 0.0, norm = 0.0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double got = double{out[out.size() - expected.size() + i]}, want = double{expected[i]};
    difference += (got - want) * (got - want);
    norm += want * want;
  }
  row.error = norm > 0.0 ? std::sqrt(difference / norm) : std::sqrt(difference);
  // Inner values may round to another bf16 or e4m3; anything wrong is far beyond.
  row.correct = row.error <= 1e-2;

  row.microseconds = best_s * 1e6;
  row.gb_per_s = c.bytes / best_s * 1e-9;
  row.gflop_per_s = c.flops / best_s * 1e-9;
  const bool f32 = c.f32 || ops.precision() == Precision::kFloat32;
  const double memory_part = row.gb_per_s / limits.memory_gb_per_s;
  const double multiply_part =
      row.gflop_per_s / (f32 ? limits.f32_gflop_per_s : limits.bf16_gflop_per_s);
  row.memory_bound = memory_part > multiply_part;
  row.percent = 100.0 * std::max(memory_part, multiply_part);
  return row;
}

std::string format(const char* pattern, auto... values) {
  char line[256];
  std::snprintf(line, sizeof(line), pattern, values...);
  return line;
}

}  // namespace

Result<OpBenchReport> run_op_bench(const OpBenchOptions& options) {
  const CpuOptions cpu{
      .isa = options.isa, .threads = options.threads, .precision = options.precision};
  GALLEY_ASSIGN_OR_RETURN(const std::unique_ptr<Ops> ops, make_cpu_ops(cpu));
  GALLEY_ASSIGN_OR_RETURN(
      const std::unique_ptr<Ops> portable,
      make_cpu_ops(
          {.isa = Isa::kPortable, .threads = options.threads, .precision = options.precision}));
  GALLEY_RETURN_IF_ERROR(ops->reserve(bench_limits()));
  GALLEY_RETURN_IF_ERROR(portable->reserve(bench_limits()));
  OpBenchReport report;
  report.backend = ops->name();
  Data data;
  Cases cases(data);
  add_all(cases);
  const auto chosen = [&](const Case& c) {
    return (c.model + " " + c.operation).find(options.filter) != std::string::npos;
  };
  if (std::none_of(cases.list().begin(), cases.list().end(), chosen))
    return Status(Code::kNotFound, "no operation matches \"" + options.filter +
                                       "\"; names look like \"v3 experts\"");
  {
    ThreadPool pool(options.threads, /*pin=*/true);
    report.threads = pool.size();
    for (const cpu::Implementation& one : cpu::implementations()) {
      if (one.primitives != nullptr && report.backend == "cpu/" + std::string(one.name))
        measure_limits(*one.primitives, pool, data, report);
    }
  }
  for (const Case& c : cases.list()) {
    if (chosen(c)) report.rows.push_back(measure(c, options, report, *ops, *portable));
  }
  return report;
}

std::string to_text(const OpBenchReport& report) {
  std::string out = format(
      "%s, %d threads; measured limits: memory %.1f GB/s, bf16 %.0f GFLOP/s, f32 %.0f GFLOP/s\n",
      report.backend.c_str(), report.threads, report.memory_gb_per_s, report.bf16_gflop_per_s,
      report.f32_gflop_per_s);
  out += format("%-11s %-16s %-32s %6s %11s %8s %9s %16s  %s\n", "model", "operation", "shape",
                "tokens", "us", "GB/s", "GFLOP/s", "of the limit", "check");
  for (const OpBenchRow& row : report.rows) {
    out +=
        format("%-11s %-16s %-32s %6lld %11.1f %8.1f %9.1f %6.1f %% %-7s  %s\n", row.model.c_str(),
               row.operation.c_str(), row.shape.c_str(), static_cast<long long>(row.tokens),
               row.microseconds, row.gb_per_s, row.gflop_per_s, row.percent,
               row.memory_bound ? "memory" : "compute", row.correct ? "ok" : "WRONG");
  }
  return out +
         "Best of the calls. Above 100 %: the data is small and stays in caches, or the machine "
         "was "
         "busy while its limits were measured.\n";
}

std::string to_json(const OpBenchReport& report) {
  std::string out = format(
      "{\"backend\": \"%s\", \"threads\": %d, \"memory_gb_per_s\": %.3f, "
      "\"bf16_gflop_per_s\": %.3f, \"f32_gflop_per_s\": %.3f, \"operations\": [",
      report.backend.c_str(), report.threads, report.memory_gb_per_s, report.bf16_gflop_per_s,
      report.f32_gflop_per_s);
  for (size_t i = 0; i < report.rows.size(); ++i) {
    const OpBenchRow& row = report.rows[i];
    out += i > 0 ? ", " : "";
    out +=
        format("{\"model\": \"%s\", \"operation\": \"%s\", \"shape\": \"%s\", \"tokens\": %lld, ",
               row.model.c_str(), row.operation.c_str(), row.shape.c_str(),
               static_cast<long long>(row.tokens));
    out += format("\"us\": %.3f, \"gb_per_s\": %.3f, \"gflop_per_s\": %.3f, \"percent\": %.2f, ",
                  row.microseconds, row.gb_per_s, row.gflop_per_s, row.percent);
    out += format("\"bound\": \"%s\", \"relative_error\": %.3g, \"correct\": %s}",
                  row.memory_bound ? "memory" : "compute",
                  std::isfinite(row.error) ? row.error : 1e9, row.correct ? "true" : "false");
  }
  return out + "]}";
}

}  // namespace galley::kernels

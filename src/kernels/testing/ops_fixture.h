// What the tests of Ops share: every implementation as a test parameter, random data whose exact
// values are known, and independent references in double that follow ops.h word by word.
//
// The tests hand host pointers to the operations. On a GPU that works because the heap of the test
// programs is memory that the device can address (testing/device_heap.cc) and every operation
// waits.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/testing/compare.h"
#include "kernels/cpu/cpu_isa.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/ops.h"

namespace galley::kernels::testing {

using galley::testing::all_near;
using galley::testing::Tolerance;

// A dense matrix that owns its memory.
struct Dense {
  Dense(int64_t rows_in, int64_t cols_in, int64_t ld_in = 0)
      : rows(rows_in), cols(cols_in), ld(ld_in == 0 ? cols_in : ld_in) {
    // NaN wherever nothing was written: an element that an operation forgets cannot pass.
    values.assign(static_cast<size_t>(rows * ld), NAN);
  }
  Matrix matrix() {
    return {.data = values.data(), .dtype = DType::kF32, .rows = rows, .cols = cols, .ld = ld};
  }
  float& at(int64_t r, int64_t c) { return values[static_cast<size_t>(r * ld + c)]; }
  float at(int64_t r, int64_t c) const { return values[static_cast<size_t>(r * ld + c)]; }
  std::span<const float> row(int64_t r) const {
    return std::span(values).subspan(static_cast<size_t>(r * ld), static_cast<size_t>(cols));
  }

  int64_t rows, cols, ld;
  std::vector<float> values;
};

// Deterministic values; the seed is in every failure through SCOPED_TRACE of the test.
class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  float normal() {
    // A sum of four uniforms: near enough to normal, and fast for millions of weights.
    const uint64_t bits = engine_();
    const auto part = [&](int shift) { return static_cast<float>((bits >> shift) & 0xffffu); };
    return (part(0) + part(16) + part(32) + part(48) - 131070.0f) * (1.0f / 37837.0f);
  }
  int64_t below(int64_t n) { return static_cast<int64_t>(engine_() % static_cast<uint64_t>(n)); }
  uint64_t bits() { return engine_(); }

 private:
  std::mt19937_64 engine_;
};

inline Dense random_dense(Random& random, int64_t rows, int64_t cols, float scale = 1.0f) {
  Dense d(rows, cols);
  for (float& v : d.values) v = random.normal() * scale;
  return d;
}

// Where weights begin in their memory: at an odd address as in a mapped checkpoint for the CPU; on
// a device place() aligns them.
inline size_t weight_offset = 1;

// A weight that owns its bytes, with nothing readable promised after the last row.
struct OwnedWeight {
  Weight weight() const {
    return {.data = bytes.data() + weight_offset,
            .scales = scales.empty() ? nullptr : scales.data(),
            .dtype = dtype,
            .rows = rows,
            .cols = cols};
  }
  double value(int64_t r, int64_t c) const { return values[static_cast<size_t>(r * cols + c)]; }

  DType dtype = DType::kBF16;
  int64_t rows = 0, cols = 0;
  std::vector<std::byte> bytes;
  std::vector<float> scales;
  std::vector<float> values;  // what the stored bits mean, dequantised
};

inline OwnedWeight random_weight(Random& random, DType dtype, int64_t rows, int64_t cols,
                                 float scale) {
  OwnedWeight w{
      .dtype = dtype, .rows = rows, .cols = cols, .bytes = {}, .scales = {}, .values = {}};
  const size_t size = size_of(dtype);
  w.bytes.resize(static_cast<size_t>(rows * cols) * size + weight_offset);
  w.values.resize(static_cast<size_t>(rows * cols));
  const int64_t blocks = (cols + kScaleBlock - 1) / kScaleBlock;
  if (dtype == DType::kF8E4M3) {
    for (int64_t i = 0; i < (rows + kScaleBlock - 1) / kScaleBlock * blocks; ++i)
      w.scales.push_back(scale / 64.0f * (0.5f + 0.1f * static_cast<float>(random.below(10))));
  }
  for (int64_t i = 0; i < rows * cols; ++i) {
    std::byte* to = w.bytes.data() + weight_offset + static_cast<size_t>(i) * size;
    float& value = w.values[static_cast<size_t>(i)];
    const float draw = random.normal();
    if (dtype == DType::kF32) {
      value = draw * scale;
      std::memcpy(to, &value, 4);
    } else if (dtype == DType::kBF16 || dtype == DType::kF16) {
      const bool bf16 = dtype == DType::kBF16;
      const uint16_t bits = bf16 ? f32_to_bf16(draw * scale) : f32_to_f16(draw * scale);
      value = bf16 ? bf16_to_f32(bits) : f16_to_f32(bits);
      std::memcpy(to, &bits, 2);
    } else {
      const uint8_t bits = f32_to_e4m3(draw * 64.0f * (i % 7 == 0 ? 0.0001f : 1.0f));
      *to = std::byte{bits};  // one in seven is small: subnormals of e4m3 occur
      const int64_t r = i / cols, c = i % cols;
      value = e4m3_to_f32(bits) *
              w.scales[static_cast<size_t>(r / kScaleBlock * blocks + c / kScaleBlock)];
    }
  }
  return w;
}

// A row of activations as a GEMM beside `dtype` sees it (ops.h, Precision), as values.
inline std::vector<double> gemm_input(std::span<const float> x, DType dtype, Precision precision) {
  std::vector<double> out(x.begin(), x.end());
  if (precision == Precision::kFloat32) return out;
  if (dtype != DType::kF8E4M3) {
    for (size_t i = 0; i < x.size(); ++i) out[i] = double{bf16_to_f32(f32_to_bf16(x[i]))};
    return out;
  }
  for (size_t begin = 0; begin < x.size(); begin += 128) {
    const size_t end = std::min(x.size(), begin + 128);
    float largest = 0.0f;
    for (size_t i = begin; i < end; ++i) largest = std::max(largest, std::fabs(x[i]));
    const float scale = largest / 448.0f;
    for (size_t i = begin; i < end; ++i) {
      const float code = scale > 0.0f ? e4m3_to_f32(f32_to_e4m3(x[i] / scale)) : 0.0f;
      out[i] = double{code} * double{scale};
    }
  }
  return out;
}

// weight * x for one row of x.
inline std::vector<float> naive_linear(std::span<const float> x, const OwnedWeight& w,
                                       Precision precision) {
  const std::vector<double> input = gemm_input(x, w.dtype, precision);
  std::vector<float> out(static_cast<size_t>(w.rows));
  for (int64_t m = 0; m < w.rows; ++m) {
    double sum = 0.0;
    for (int64_t k = 0; k < w.cols; ++k) sum += input[static_cast<size_t>(k)] * w.value(m, k);
    out[static_cast<size_t>(m)] = static_cast<float>(sum);
  }
  return out;
}

struct OwnedMlp {
  MlpWeights weights() const {
    return {.gate = gate.weight(), .up = up.weight(), .down = down.weight()};
  }
  OwnedWeight gate, up, down;
};

inline OwnedMlp random_mlp(Random& random, DType dtype, int64_t hidden, int64_t inner) {
  const float in = 1.0f / std::sqrt(static_cast<float>(hidden));
  const float out = 1.0f / std::sqrt(static_cast<float>(inner));
  return {.gate = random_weight(random, dtype, inner, hidden, in),
          .up = random_weight(random, dtype, inner, hidden, in),
          .down = random_weight(random, dtype, hidden, inner, out)};
}

inline std::vector<float> naive_mlp(std::span<const float> x, const OwnedMlp& mlp,
                                    Precision precision) {
  std::vector<float> gate = naive_linear(x, mlp.gate, precision);
  const std::vector<float> up = naive_linear(x, mlp.up, precision);
  for (size_t i = 0; i < gate.size(); ++i) {
    const double g = double{gate[i]};
    gate[i] = static_cast<float>(g / (1.0 + std::exp(-g)) * double{up[i]});
  }
  return naive_linear(gate, mlp.down, precision);
}

constexpr StepLimits kTestLimits{.tokens_max = 600,
                                 .sequences_max = 64,
                                 .context_max = 4096,
                                 .width_max = 25000,
                                 .vocab_size = 130000,
                                 .sample_rows_max = 64,
                                 .experts_per_token = 8,
                                 .num_experts = 256,
                                 .num_heads = 128,
                                 .latent_dim = 512};

// One implementation: of the CPU, or (null) the CUDA backend.
struct Backend {
  std::string name;
  const cpu::Implementation* cpu;
};

inline const std::vector<Backend>& backends() {
  static const std::vector<Backend> all = [] {
    std::vector<Backend> list;
    for (const cpu::Implementation& one : cpu::implementations())
      list.push_back({std::string(one.name), &one});
    list.push_back({"cuda", nullptr});
    return list;
  }();
  return all;
}

inline std::unique_ptr<Ops> make_ops(const Backend& one, Precision precision, int32_t threads = 2,
                                     StepLimits limits = kTestLimits,
                                     bool batch_invariant = false, bool synchronous = true) {
  std::unique_ptr<Ops> ops;
  if (one.cpu == nullptr) {
    limits.width_max = std::min(limits.width_max, 20000);  // scratch of a device grows with it
    auto made = make_cuda_ops({.precision = precision,
                               .batch_invariant = batch_invariant,
                               .synchronous = synchronous});
    EXPECT_TRUE(made.ok()) << made.message();
    ops = std::move(made.value());
  } else {
    const CpuOptions options{
        .isa = one.cpu->isa, .threads = threads, .pin_threads = false, .precision = precision};
    ops = std::make_unique<cpu::CpuOps>(options, *one.cpu->primitives);
  }
  const Status status = ops->reserve(limits);
  EXPECT_TRUE(status.ok()) << status.message();
  return ops;
}

// Why an implementation cannot run here; empty when it can.
inline std::string missing(const Backend& one) {
  if (one.cpu != nullptr) return one.cpu->missing;
  static const std::string why = [] {
    const auto ops = make_cuda_ops({});
    return ops.ok() ? std::string() : "skipped, no GPU: " + ops.message();
  }();
  return why;
}

// Runs each test on every implementation. One that this machine does not have is reported as
// skipped, with the reason; it does not count as passed.
class OpsTest : public ::testing::TestWithParam<size_t> {
 protected:
  void SetUp() override {
    if (!missing(implementation()).empty())
      GTEST_SKIP() << implementation().name << ": not available here, needs "
                   << missing(implementation());
    weight_offset = is_cuda() ? 0 : 1;
  }
  const Backend& implementation() const { return backends()[GetParam()]; }
  bool is_cuda() const { return implementation().cpu == nullptr; }
  std::unique_ptr<Ops> make(Precision precision, int32_t threads = 2) const {
    return make_ops(implementation(), precision, threads);
  }
};

inline std::string implementation_name(const ::testing::TestParamInfo<size_t>& info) {
  return backends()[info.param].name;
}

#define GALLEY_ON_EVERY_IMPLEMENTATION(suite)                                         \
  INSTANTIATE_TEST_SUITE_P(On, suite, ::testing::Range(size_t{0}, backends().size()), \
                           implementation_name)

inline std::string label(DType dtype, Precision precision) {
  return std::string(name_of(dtype)) +
         (precision == Precision::kFloat32 ? ", float32" : ", bfloat16");
}

constexpr DType kWeightTypes[] = {DType::kF32, DType::kBF16, DType::kF16, DType::kF8E4M3};
constexpr Precision kPrecisions[] = {Precision::kFloat32, Precision::kBFloat16};

}  // namespace galley::kernels::testing

// What the tests and benches of the matrix kernels share: memory on the device, random operands
// with known values, and references in double.
#pragma once

#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "base/check.h"
#include "kernels/cuda/quantize.h"
#include "tensor/tensor.h"

namespace galley::kernels::cuda::testing {

inline void must(cudaError_t error) {
  GALLEY_CHECK(error == cudaSuccess, cudaGetErrorString(error));
}

inline bool has_gpu() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
}

// Device memory, filled with NaN bytes (0xff is NaN as f32, bf16 and e4m3) until written.
template <typename T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t count) : count_(count) {
    must(cudaMalloc(&data_, bytes() + 1024));
    must(cudaMemset(data_, 0xff, bytes() + 1024));
  }
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) { put(values); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;
  ~DeviceArray() { cudaFree(data_); }

  T* get() const { return static_cast<T*>(data_); }
  size_t count() const { return count_; }
  size_t bytes() const { return count_ * sizeof(T); }
  void put(const std::vector<T>& values) {
    must(cudaMemcpy(data_, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice));
  }
  std::vector<T> take() const {
    std::vector<T> out(count_);
    must(cudaDeviceSynchronize());
    must(cudaMemcpy(out.data(), data_, bytes(), cudaMemcpyDeviceToHost));
    return out;
  }
  void poison() { must(cudaMemset(data_, 0xff, bytes() + 1024)); }

 private:
  void* data_ = nullptr;
  size_t count_;
};

// A sum of uniforms: near enough to normal.
class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  float normal() {
    const uint64_t bits = engine_();
    const auto part = [&](int shift) { return static_cast<float>((bits >> shift) & 0xffffu); };
    return (part(0) + part(16) + part(32) + part(48) - 131070.0f) * (1.0f / 37837.0f);
  }
  int64_t below(int64_t n) { return static_cast<int64_t>(engine_() % static_cast<uint64_t>(n)); }

 private:
  std::mt19937_64 engine_;
};

inline std::vector<uint16_t> random_bf16(Random& random, int64_t count, float scale) {
  std::vector<uint16_t> out(static_cast<size_t>(count));
  for (auto& v : out) v = f32_to_bf16(random.normal() * scale);
  return out;
}

// An FP8 weight as a checkpoint has it, on the host and on the device.
struct Fp8Weight {
  Fp8Weight(Random& random, int64_t rows_in, int64_t cols_in)
      : rows(rows_in),
        cols(cols_in),
        codes(make_codes(random, rows_in * cols_in)),
        scales(make_scales(random, rows_in, cols_in)),
        device_codes(codes),
        device_scales(scales) {}
  double value(int64_t r, int64_t c) const {
    return double{e4m3_to_f32(codes[static_cast<size_t>(r * cols + c)])} *
           double{scales[static_cast<size_t>(r / 128 * fp8_groups(cols) + c / 128)]};
  }
  static std::vector<uint8_t> make_codes(Random& random, int64_t count) {
    // Drawn from a table: a large weight is made in moments, subnormal codes occur.
    static const std::vector<uint8_t> table = [] {
      Random draws(7);
      std::vector<uint8_t> t(65536);
      for (size_t i = 0; i < t.size(); ++i)
        t[i] = f32_to_e4m3(draws.normal() * 64.0f * (i % 7 == 0 ? 0.0001f : 1.0f));
      return t;
    }();
    std::vector<uint8_t> out(static_cast<size_t>(count));
    uint64_t state = static_cast<uint64_t>(random.below(INT64_MAX)) | 1;
    for (auto& v : out) {
      state = state * 6364136223846793005ull + 1442695040888963407ull;
      v = table[state >> 48];
    }
    return out;
  }
  static std::vector<float> make_scales(Random& random, int64_t rows, int64_t cols) {
    std::vector<float> out(static_cast<size_t>(fp8_groups(rows) * fp8_groups(cols)));
    for (auto& v : out)
      v = (0.5f + 0.1f * static_cast<float>(random.below(10))) / 64.0f /
          std::sqrt(static_cast<float>(cols));
    return out;
  }

  int64_t rows, cols;
  std::vector<uint8_t> codes;
  std::vector<float> scales;
  DeviceArray<uint8_t> device_codes;
  DeviceArray<float> device_scales;
};

// Rows quantised on the device by quantize_rows, and what they mean.
struct QuantizedRows {
  QuantizedRows(Random& random, int64_t rows, int64_t cols, float scale = 1.0f)
      : source(random_bf16(random, rows * cols, scale)),
        device_source(source),
        memory(static_cast<size_t>(fp8_bytes(rows, cols))),
        view(fp8_rows(memory.get(), rows, cols)) {
    must(quantize_rows(reinterpret_cast<const __nv_bfloat16*>(device_source.get()), cols, view,
                       nullptr));
    bytes = memory.take();
  }
  double value(int64_t r, int64_t c) const {
    const uint8_t code = bytes[static_cast<size_t>(r * view.ld + c)];
    const auto* scales =
        reinterpret_cast<const float*>(bytes.data() + fp8_code_bytes(view.rows, view.cols));
    return double{e4m3_to_f32(code)} * double{scales[c / 128 * view.scale_ld + r]};
  }

  std::vector<uint16_t> source;
  DeviceArray<uint16_t> device_source;
  DeviceArray<uint8_t> memory;
  Fp8Rows view;
  std::vector<uint8_t> bytes;
};

}  // namespace galley::kernels::cuda::testing

// Times the matrix kernels of Hopper at DeepSeek-V3's and V2-Lite's shapes, each as a CUDA graph of
// many launches over weights that do not fit L2, and checks each result against the plain kernel or
// the other path first.
//
//   cuda_gemm_bench [linear|experts]     us, TFLOP/s, TB/s of weights, % of the roofline
//
// Roofline: the larger of the bytes that must move (weights, activations, result) over the copy
// bandwidth measured here, and the products over the tensor cores' dense rate (1,979 TFLOP/s FP8,
// 989 bf16: H100 and H200 SXM, NVIDIA's datasheets).
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "kernels/cuda/expert_gemm.h"
#include "kernels/cuda/fp8_gemm.h"
#include "kernels/cuda/testing/gemm_fixture.h"

namespace galley::kernels::cuda {
namespace {

using testing::DeviceArray;
using testing::must;
using testing::Random;

constexpr double kFp8Rate = 1979e12, kBf16Rate = 989e12;
constexpr int kRuns = 5;
constexpr int64_t kPoolBytes = int64_t{1} << 30;  // of weights, in turn: many times L2

// Median microseconds of one launch in a graph of `count`.
double time_us(const std::function<cudaError_t(int, cudaStream_t)>& launch, int count) {
  cudaStream_t stream = nullptr;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  cudaEvent_t begin = nullptr, end = nullptr;
  must(cudaStreamCreate(&stream));
  must(cudaEventCreate(&begin));
  must(cudaEventCreate(&end));
  must(launch(0, stream));
  must(cudaStreamSynchronize(stream));
  must(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  for (int i = 0; i < count; ++i) must(launch(i, stream));
  must(cudaStreamEndCapture(stream, &graph));
  must(cudaGraphInstantiate(&exec, graph, 0));
  must(cudaGraphLaunch(exec, stream));
  std::vector<float> times;
  for (int run = 0; run < kRuns; ++run) {
    must(cudaEventRecord(begin, stream));
    must(cudaGraphLaunch(exec, stream));
    must(cudaEventRecord(end, stream));
    must(cudaStreamSynchronize(stream));
    float ms = 0.0f;
    must(cudaEventElapsedTime(&ms, begin, end));
    times.push_back(ms * 1000.0f / static_cast<float>(count));
  }
  std::sort(times.begin(), times.end());
  must(cudaGraphExecDestroy(exec));
  must(cudaGraphDestroy(graph));
  must(cudaEventDestroy(begin));
  must(cudaEventDestroy(end));
  must(cudaStreamDestroy(stream));
  return times[kRuns / 2];
}

double copy_bandwidth() {
  const size_t bytes = size_t{2} << 30;
  const DeviceArray<uint8_t> from(bytes), to(bytes);
  const double us = time_us(
      [&](int, cudaStream_t stream) {
        return cudaMemcpyAsync(to.get(), from.get(), bytes, cudaMemcpyDeviceToDevice, stream);
      },
      4);
  return 2.0 * static_cast<double>(bytes) / us * 1e6;
}

struct Work {
  double weight_bytes, other_bytes, flops, rate;
};

void print(const char* what, double us, const Work& work, double bandwidth) {
  const double floor_us =
      std::max((work.weight_bytes + work.other_bytes) / bandwidth, work.flops / work.rate) * 1e6;
  std::printf("%-34s %9.1f us %8.1f TFLOP/s %6.2f TB/s %5.1f %%\n", what, us, work.flops / us / 1e6,
              work.weight_bytes / us / 1e6, 100.0 * floor_us / us);
  std::fflush(stdout);
}

// ||a - b|| / ||b|| of bf16 values; NaN is not near.
bool near(const std::vector<uint16_t>& a, const std::vector<uint16_t>& b, double bound) {
  double error = 0.0, size = 0.0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double y = bf16_to_f32(b[i]), d = bf16_to_f32(a[i]) - y;
    error += d * d;
    size += y * y;
  }
  return std::sqrt(error) <= bound * std::sqrt(size);
}

template <typename T>
void fill(DeviceArray<T>& to, const std::vector<T>& pattern) {
  for (size_t at = 0; at < to.count(); at += pattern.size())
    must(cudaMemcpy(to.get() + at, pattern.data(),
                    std::min(pattern.size(), to.count() - at) * sizeof(T), cudaMemcpyHostToDevice));
}

int linear(double bandwidth) {
  constexpr std::pair<int64_t, int64_t> kShapes[] = {{2112, 7168},  {1536, 7168}, {24576, 1536},
                                                     {7168, 16384}, {4096, 7168}, {7168, 2048},
                                                     {36864, 7168}, {7168, 18432}};
  constexpr int64_t kTokens[] = {1, 8, 16, 32, 64, 128, 256, 512, 1024, 4096, 16384};
  constexpr int64_t kTokensMax = 16384, kColumnsMax = 18432, kFeaturesMax = 36864;
  Random random(1);
  DeviceArray<uint8_t> pool(kPoolBytes);
  fill(pool, testing::Fp8Weight::make_codes(random, 64 << 20));
  const DeviceArray<float> scales(
      testing::Fp8Weight::make_scales(random, kFeaturesMax, kColumnsMax));
  DeviceArray<uint16_t> source(kTokensMax * kColumnsMax);
  fill(source, testing::random_bf16(random, 16 << 20, 1.0f));
  const DeviceArray<uint8_t> codes(static_cast<size_t>(fp8_bytes(kTokensMax, kColumnsMax)));
  DeviceArray<uint16_t> y(kTokensMax * kFeaturesMax);
  int failures = 0;
  for (const auto& [features, k] : kShapes) {
    for (const int64_t tokens : kTokens) {
      const Fp8Rows x = fp8_rows(codes.get(), tokens, k);
      must(quantize_rows(reinterpret_cast<const __nv_bfloat16*>(source.get()), k, x, nullptr));
      Fp8GemmArgs args{.x = x,
                       .weight = pool.get(),
                       .weight_scales = scales.get(),
                       .features = features,
                       .y = y.get(),
                       .y_ld = features};
      const std::string what = "linear " + std::to_string(features) + "x" + std::to_string(k) +
                               " T " + std::to_string(tokens);
      if (tokens <= 512) {
        const DeviceArray<uint16_t> fast(static_cast<size_t>(tokens * features));
        const DeviceArray<uint16_t> plain(fast.count());
        args.y = fast.get();
        must(fp8_gemm(args, nullptr));
        args.y = plain.get();
        args.path = Fp8GemmPath::kPlain;
        must(fp8_gemm(args, nullptr));
        if (!near(fast.take(), plain.take(), 4e-3)) {
          std::printf("%s: WRONG\n", what.c_str());
          ++failures;
        }
        args.y = y.get();
        args.path = Fp8GemmPath::kAuto;
      }
      const auto copies = std::clamp<int64_t>(kPoolBytes / (features * k), 1, 16);
      const double us = time_us(
          [&](int i, cudaStream_t stream) {
            Fp8GemmArgs one = args;
            one.weight = pool.get() + i % copies * features * k;
            return fp8_gemm(one, stream);
          },
          tokens >= 4096 ? 4 : 48);
      print(what.c_str(), us,
            {static_cast<double>(features * k), static_cast<double>(tokens * (k + 2 * features)),
             2.0 * static_cast<double>(tokens) * static_cast<double>(features * k), kFp8Rate},
            bandwidth);
    }
  }
  return failures;
}

int experts(const char* name, const ExpertShape& shape, int32_t per_token, double bandwidth) {
  constexpr int64_t kTokens[] = {1, 8, 32, 64, 128, 256, 512, 1024, 4096, 8192, 16384};
  constexpr int64_t kTokensMax = 16384, kAtOnce = 8192;
  Random random(2);
  const int64_t count = shape.hidden * shape.inner;  // of one weight
  const int64_t bytes = count * (shape.fp8 ? 1 : 2);
  DeviceArray<uint8_t> weights(static_cast<size_t>(bytes * 3 * shape.experts));
  if (shape.fp8) {
    fill(weights, testing::Fp8Weight::make_codes(random, 64 << 20));
  } else {
    const auto values = testing::random_bf16(random, 16 << 20, 0.03f);
    const auto* begin = reinterpret_cast<const uint8_t*>(values.data());
    fill(weights, std::vector<uint8_t>(begin, begin + 2 * values.size()));
  }
  const DeviceArray<float> scales(
      testing::Fp8Weight::make_scales(random, shape.hidden, shape.inner));
  std::vector<MlpWeights> all;
  for (int64_t e = 0; e < shape.experts; ++e) {
    const auto weight = [&](int64_t matrix, int64_t rows, int64_t cols) {
      return Weight{.data = weights.get() + (3 * e + matrix) * bytes,
                    .scales = shape.fp8 ? scales.get() : nullptr,
                    .dtype = shape.fp8 ? DType::kF8E4M3 : DType::kBF16,
                    .rows = rows,
                    .cols = cols};
    };
    all.push_back({.gate = weight(0, shape.inner, shape.hidden),
                   .up = weight(1, shape.inner, shape.hidden),
                   .down = weight(2, shape.hidden, shape.inner)});
  }
  const DeviceArray<std::byte> table(expert_table(all));
  const DeviceArray<std::byte> workspace(expert_workspace_bytes(shape, per_token, kAtOnce));
  DeviceArray<uint16_t> x(static_cast<size_t>(kTokensMax * shape.hidden)), out(x.count());
  fill(x, testing::random_bf16(random, 8 << 20, 1.0f));
  std::vector<int32_t> ids;
  for (int64_t t = 0; t < kTokensMax; ++t) {
    std::vector<int32_t> order(static_cast<size_t>(shape.experts));
    for (size_t e = 0; e < order.size(); ++e) order[e] = static_cast<int32_t>(e);
    for (int32_t k = 0; k < per_token; ++k) {
      const auto at = static_cast<size_t>(k);
      std::swap(order[at], order[at + static_cast<size_t>(random.below(shape.experts - k))]);
      ids.push_back(order[at]);
    }
  }
  const DeviceArray<int32_t> device_ids(ids);
  const DeviceArray<float> device_weights(std::vector<float>(ids.size(), 0.125f));
  int failures = 0;
  for (const int64_t tokens : kTokens) {
    ExpertArgs args{.shape = shape,
                    .table = table.get(),
                    .x = reinterpret_cast<const __nv_bfloat16*>(x.get()),
                    .x_ld = shape.hidden,
                    .tokens = tokens,
                    .experts = device_ids.get(),
                    .weights = device_weights.get(),
                    .experts_per_token = per_token,
                    .out = reinterpret_cast<__nv_bfloat16*>(out.get()),
                    .out_ld = shape.hidden,
                    .workspace = workspace.get(),
                    .tokens_at_once = kAtOnce};
    const std::string what = std::string("experts ") + name + " T " + std::to_string(tokens);
    if (tokens <= 1024) {
      const size_t values = static_cast<size_t>(tokens * shape.hidden);
      const DeviceArray<uint16_t> narrow(values), tall(values);
      args.out = reinterpret_cast<__nv_bfloat16*>(narrow.get());
      args.path = ExpertPath::kNarrow;
      must(run_experts(args, nullptr));
      args.out = reinterpret_cast<__nv_bfloat16*>(tall.get());
      args.path = ExpertPath::kTall;
      must(run_experts(args, nullptr));
      if (!near(narrow.take(), tall.take(), 1e-3)) {
        std::printf("%s: WRONG\n", what.c_str());
        ++failures;
      }
      args.out = reinterpret_cast<__nv_bfloat16*>(out.get());
      args.path = ExpertPath::kAuto;
    }
    // Other tokens in every launch: their experts' weights are not those L2 still holds.
    const auto first = [&](int i) { return i * 37 * tokens % (kTokensMax - tokens + 1); };
    std::vector<bool> used(static_cast<size_t>(shape.experts));
    for (int64_t i = 0; i < tokens * per_token; ++i)
      used[static_cast<size_t>(ids[static_cast<size_t>(i)])] = true;
    const auto experts_used = static_cast<double>(std::count(used.begin(), used.end(), true));
    const double us = time_us(
        [&](int i, cudaStream_t stream) {
          ExpertArgs one = args;
          one.experts = device_ids.get() + first(i) * per_token;
          return run_experts(one, stream);
        },
        tokens >= 1024 ? 3 : 16);
    const double pairs = static_cast<double>(tokens * per_token);
    print(what.c_str(), us,
          {3.0 * static_cast<double>(bytes) * experts_used,
           static_cast<double>(tokens * shape.hidden * 4), 6.0 * pairs * static_cast<double>(count),
           shape.fp8 ? kFp8Rate : kBf16Rate},
          bandwidth);
  }
  return failures;
}

int run(const std::string& which) {
  if (!testing::has_gpu()) {
    std::printf("skipped, no GPU\n");
    return 0;
  }
  cudaDeviceProp device{};
  must(cudaGetDeviceProperties(&device, 0));
  const double bandwidth = copy_bandwidth();
  std::printf("%s, copy %.2f TB/s\n", device.name, bandwidth / 1e12);
  int failures = 0;
  if (which != "experts") failures += linear(bandwidth);
  if (which != "linear") {
    failures += experts("V3 EP8 share", {7168, 2048, 32, true}, 8, bandwidth);
    failures += experts("V2-Lite", {2048, 1408, 64, false}, 6, bandwidth);
  }
  return failures == 0 ? 0 : 1;
}

}  // namespace
}  // namespace galley::kernels::cuda

int main(int argc, char** argv) {
  return galley::kernels::cuda::run(argc > 1 ? argv[1] : "all");
}

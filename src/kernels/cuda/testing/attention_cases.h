// What tests and benches of the attention kernels share: device buffers, a random paged cache with
// everything unused poisoned, and attention in double.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp8.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <numeric>
#include <random>
#include <vector>

#include "base/check.h"
#include "kernels/ops.h"

namespace galley::kernels::cuda::testing {

#define GALLEY_CUDA_CHECK(call)                                            \
  do {                                                                     \
    const cudaError_t error_ = (call);                                     \
    if (error_ != cudaSuccess) {                                           \
      std::fprintf(stderr, "%s: %s\n", #call, cudaGetErrorString(error_)); \
      std::abort();                                                        \
    }                                                                      \
  } while (false)

inline bool has_hopper() {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) return false;
  cudaDeviceProp properties;
  GALLEY_CUDA_CHECK(cudaGetDeviceProperties(&properties, 0));
  return properties.major == 9;
}

inline int num_sms() {
  cudaDeviceProp properties;
  GALLEY_CUDA_CHECK(cudaGetDeviceProperties(&properties, 0));
  return properties.multiProcessorCount;
}

// Device memory, filled with 0xff: NaN in every float type.
template <typename T>
class Buffer {
 public:
  explicit Buffer(size_t count) : count_(count) {
    GALLEY_CUDA_CHECK(cudaMalloc(&data_, std::max<size_t>(bytes(), 16)));
    poison();
  }
  explicit Buffer(const std::vector<T>& host) : Buffer(host.size()) {
    GALLEY_CUDA_CHECK(cudaMemcpy(data_, host.data(), bytes(), cudaMemcpyHostToDevice));
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { cudaFree(data_); }
  void poison() { GALLEY_CUDA_CHECK(cudaMemset(data_, 0xff, bytes())); }
  T* data() const { return static_cast<T*>(data_); }
  size_t bytes() const { return count_ * sizeof(T); }
  std::vector<T> download() const {
    std::vector<T> host(count_);
    GALLEY_CUDA_CHECK(cudaMemcpy(host.data(), data_, bytes(), cudaMemcpyDeviceToHost));
    return host;
  }

 private:
  size_t count_;
  void* data_ = nullptr;
};

inline std::vector<__nv_bfloat16> random_bf16(std::mt19937_64& random, size_t count, float size) {
  std::normal_distribution<float> normal(0.0f, size);
  std::vector<__nv_bfloat16> values(count);
  for (auto& v : values) v = __float2bfloat16(normal(random));
  return values;
}

// Sequences of a step: the last `queries` positions of `contexts`, in blocks strewn over the cache.
struct Sequences {
  std::vector<int32_t> contexts, queries;
  std::vector<int32_t> query_begin, block_table;
  int32_t block_table_ld = 0, num_blocks = 0, query_len_max = 0;

  Sequences(std::mt19937_64& random, std::vector<int32_t> contexts_in,
            std::vector<int32_t> queries_in)
      : contexts(std::move(contexts_in)), queries(std::move(queries_in)) {
    query_begin = {0};
    for (const int32_t q : queries) {
      query_begin.push_back(query_begin.back() + q);
      query_len_max = std::max(query_len_max, q);
    }
    int32_t used = 0;
    for (const int32_t c : contexts) {
      block_table_ld = std::max(block_table_ld, (c + kBlockTokens - 1) / kBlockTokens);
      used += (c + kBlockTokens - 1) / kBlockTokens;
    }
    num_blocks = used + 3;
    std::vector<int32_t> ids(static_cast<size_t>(num_blocks));
    std::iota(ids.begin(), ids.end(), 0);
    std::shuffle(ids.begin(), ids.end(), random);
    block_table.assign(contexts.size() * static_cast<size_t>(block_table_ld), 1 << 30);
    size_t next = 0;
    for (size_t s = 0; s < contexts.size(); ++s) {
      for (int32_t b = 0; b * kBlockTokens < contexts[s]; ++b)
        block_table[s * static_cast<size_t>(block_table_ld) + static_cast<size_t>(b)] = ids[next++];
    }
  }

  int32_t num_tokens() const { return query_begin.back(); }
  // Cache row of a position.
  int64_t slot(size_t s, int32_t position) const {
    const size_t at =
        s * static_cast<size_t>(block_table_ld) + static_cast<size_t>(position / kBlockTokens);
    return int64_t{block_table[at]} * kBlockTokens + position % kBlockTokens;
  }
  int32_t context_max() const { return *std::max_element(contexts.begin(), contexts.end()); }
};

// The same on the device.
struct DeviceSequences {
  explicit DeviceSequences(const Sequences& host)
      : query_begin(host.query_begin), context_len(host.contexts), block_table(host.block_table) {
    batch.num_tokens = host.num_tokens();
    batch.num_sequences = static_cast<int32_t>(host.contexts.size());
    batch.query_begin = query_begin.data();
    batch.context_len = context_len.data();
    batch.block_table = block_table.data();
    batch.block_table_ld = host.block_table_ld;
    batch.query_len_max = host.query_len_max;
    batch.context_len_max = host.context_max();
  }
  Buffer<int32_t> query_begin, context_len, block_table;
  StepBatch batch;
};

// softmax(scale * q k) v over `count` keys, in double. key(j) and value(j) point at floats.
template <typename Key, typename Value>
std::vector<double> attend(const std::vector<float>& q, int32_t count, double scale,
                           int64_t value_dim, const Key& key, const Value& value) {
  std::vector<double> scores(static_cast<size_t>(count));
  double max = -INFINITY;
  for (int32_t j = 0; j < count; ++j) {
    const float* k = key(j);
    double dot = 0.0;
    for (size_t d = 0; d < q.size(); ++d) dot += double{q[d]} * double{k[d]};
    scores[static_cast<size_t>(j)] = dot * scale;
    max = std::max(max, dot * scale);
  }
  std::vector<double> out(static_cast<size_t>(value_dim), 0.0);
  double sum = 0.0;
  for (int32_t j = 0; j < count; ++j) {
    const double p = std::exp(scores[static_cast<size_t>(j)] - max);
    sum += p;
    const float* v = value(j);
    for (size_t d = 0; d < out.size(); ++d) out[d] += p * double{v[d]};
  }
  for (double& o : out) o /= sum;
  return out;
}

// Accumulates ||out - reference|| / ||reference||; NaN stays.
struct Difference {
  double error = 0.0, size = 0.0;
  void add(double out, double reference) {
    error += (out - reference) * (out - reference);
    size += reference * reference;
  }
  double relative() const { return std::sqrt(error / size); }
};

// Median of `runs` timings of launch(stream), microseconds: replays of a graph of it, so that the
// host's part does not count.
template <typename Launch>
double median_us(int runs, const Launch& launch) {
  cudaStream_t stream;
  cudaGraph_t graph;
  cudaGraphExec_t replay;
  cudaEvent_t begin, end;
  GALLEY_CUDA_CHECK(cudaStreamCreate(&stream));
  GALLEY_CUDA_CHECK(cudaEventCreate(&begin));
  GALLEY_CUDA_CHECK(cudaEventCreate(&end));
  GALLEY_CUDA_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  launch(stream);
  GALLEY_CUDA_CHECK(cudaStreamEndCapture(stream, &graph));
  GALLEY_CUDA_CHECK(cudaGraphInstantiate(&replay, graph, 0));
  std::vector<float> times;
  for (int i = 0; i < 3 + runs; ++i) {
    GALLEY_CUDA_CHECK(cudaEventRecord(begin, stream));
    GALLEY_CUDA_CHECK(cudaGraphLaunch(replay, stream));
    GALLEY_CUDA_CHECK(cudaEventRecord(end, stream));
    GALLEY_CUDA_CHECK(cudaEventSynchronize(end));
    float ms;
    GALLEY_CUDA_CHECK(cudaEventElapsedTime(&ms, begin, end));
    if (i >= 3) times.push_back(ms * 1000.0f);
  }
  GALLEY_CUDA_CHECK(cudaGraphExecDestroy(replay));
  GALLEY_CUDA_CHECK(cudaGraphDestroy(graph));
  GALLEY_CUDA_CHECK(cudaEventDestroy(begin));
  GALLEY_CUDA_CHECK(cudaEventDestroy(end));
  GALLEY_CUDA_CHECK(cudaStreamDestroy(stream));
  std::nth_element(times.begin(), times.begin() + runs / 2, times.end());
  return double{times[static_cast<size_t>(runs / 2)]};
}

}  // namespace galley::kernels::cuda::testing

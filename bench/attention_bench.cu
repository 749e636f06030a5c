// Times the attention kernels alone on the shapes of real models: microseconds, TFLOP/s, GB/s of
// cache and the share of the roofline (790 TFLOP/s of bf16, 4.3 TB/s: what an H200 was measured to
// give; an H100 has 3.0 TB/s).
//   attention_bench [substring of a row]
#include <string>

#include "kernels/cuda/gqa.h"
#include "kernels/cuda/mla_decode.h"
#include "kernels/cuda/mla_prefill.h"
#include "kernels/cuda/testing/attention_cases.h"

namespace galley::kernels::cuda {
namespace {

using testing::Buffer;
using testing::DeviceSequences;
using testing::Sequences;

std::string filter;

bool wanted(const std::string& name) {
  return name.find(filter) != std::string::npos;
}

void report(const std::string& name, double us, double flop, double bytes) {
  const bool h200 = [] {
    cudaDeviceProp p;
    GALLEY_CUDA_CHECK(cudaGetDeviceProperties(&p, 0));
    return p.totalGlobalMem > (size_t{100} << 30);
  }();
  const double floor_us = std::max(flop / 790e12, bytes / (h200 ? 4.3e12 : 3.0e12)) * 1e6;
  std::printf("%-46s %9.1f us %7.0f TFLOP/s %6.0f GB/s %5.1f %%\n", name.c_str(), us,
              flop / us * 1e-6, bytes / us * 1e-3, 100.0 * floor_us / us);
  std::fflush(stdout);
}

__global__ void fill_random(uint32_t* data, size_t count, uint32_t mask, uint32_t base) {
  size_t i = blockIdx.x * size_t{blockDim.x} + threadIdx.x;
  for (; i < count; i += size_t{gridDim.x} * blockDim.x) {
    uint32_t x = static_cast<uint32_t>(i) * 2654435761u;
    x ^= x >> 15;
    x *= 2246822519u;
    x ^= x >> 13;
    data[i] = (x & mask) | base;
  }
}

// bf16 values of magnitude 0.5 to 1, either sign; as bytes: e4m3 0.5 to 1.9 or so.
void fill_bf16(void* data, size_t bytes) {
  fill_random<<<1024, 256>>>(static_cast<uint32_t*>(data), bytes / 4, 0x807e807eu, 0x3f003f00u);
}

struct MlaDecodeRow {
  int32_t heads, batch, context, queries;
  CacheFormat format;
  int32_t split_tokens, prefetch_blocks;
};

void bench_mla_decode(const MlaDecodeRow& row) {
  const bool fp8 = row.format == CacheFormat::kFp8Latent;
  const std::string name = "mla_decode N" + std::to_string(row.heads) + " B" +
                           std::to_string(row.batch) + " S" + std::to_string(row.context) + " q" +
                           std::to_string(row.queries) + (fp8 ? " fp8" : " bf16") +
                           (row.split_tokens ? " split" + std::to_string(row.split_tokens) : "") +
                           " pf" + std::to_string(row.prefetch_blocks);
  if (!wanted(name)) return;
  std::mt19937_64 random(1);
  const size_t batch = static_cast<size_t>(row.batch);
  const Sequences sequences(random, std::vector<int32_t>(batch, row.context),
                            std::vector<int32_t>(batch, row.queries));
  const DeviceSequences device(sequences);
  const int64_t row_bytes = fp8 ? 656 : 1152;
  const Buffer<std::byte> cache(
      static_cast<size_t>(int64_t{sequences.num_blocks} * kBlockTokens * row_bytes));
  fill_bf16(cache.data(), cache.bytes());
  const size_t rows = batch * static_cast<size_t>(row.queries) * static_cast<size_t>(row.heads);
  const Buffer<__nv_bfloat16> q(rows * kMlaKey), out(rows * kMlaLatent);
  fill_bf16(q.data(), q.bytes());
  const MlaDecodeConfig config = {.num_heads = row.heads,
                                  .num_sms = testing::num_sms(),
                                  .tokens_max = row.batch * row.queries,
                                  .sequences_max = row.batch,
                                  .context_max = row.context,
                                  .split_tokens = row.split_tokens};
  const Buffer<std::byte> workspace(mla_decode_workspace_bytes(config));
  const MlaDecodeArgs args = {.q = q.data(),
                              .out = out.data(),
                              .cache = {.data = cache.data(),
                                        .format = row.format,
                                        .num_blocks = sequences.num_blocks,
                                        .width = kMlaKey,
                                        .row_bytes = row_bytes},
                              .scale = 0.1352337788608801f,
                              .workspace = workspace.data(),
                              .prefetch_blocks = row.prefetch_blocks};
  const double plan_us = testing::median_us(11, [&](cudaStream_t stream) {
    GALLEY_CUDA_CHECK(mla_decode_plan(config, device.batch, workspace.data(), stream));
  });
  const double us = testing::median_us(31, [&](cudaStream_t stream) {
    GALLEY_CUDA_CHECK(mla_decode(config, device.batch, args, stream));
  });
  GALLEY_CUDA_CHECK(cudaDeviceSynchronize());
  const double context = row.context;
  report(name + " (plan " + std::to_string(static_cast<int>(plan_us)) + ")", us,
         2.0 * static_cast<double>(rows) * context * (kMlaKey + kMlaLatent),
         context * row.batch * static_cast<double>(row_bytes) +
             static_cast<double>(rows) * (kMlaKey + kMlaLatent) * 2.0);
}

void bench_mla_prefill(int32_t heads, int32_t batch_size, int32_t queries, int32_t past) {
  const std::string name = "mla_prefill N" + std::to_string(heads) + " " +
                           std::to_string(batch_size) + " x " + std::to_string(queries) + " past " +
                           std::to_string(past);
  if (!wanted(name)) return;
  std::mt19937_64 random(1);
  const size_t batch = static_cast<size_t>(batch_size);
  const int32_t context = queries + past;
  const Sequences sequences(random, std::vector<int32_t>(batch, context),
                            std::vector<int32_t>(batch, queries));
  const DeviceSequences device(sequences);
  const size_t tokens = batch * static_cast<size_t>(queries), n = static_cast<size_t>(heads);
  const size_t rows = batch * static_cast<size_t>(context);
  const Buffer<__nv_bfloat16> q(tokens * n * 192), kv(rows * n * 256), rope(rows * 64);
  const Buffer<__nv_bfloat16> out(tokens * n * 128);
  fill_bf16(q.data(), q.bytes());
  fill_bf16(kv.data(), kv.bytes());
  fill_bf16(rope.data(), rope.bytes());
  std::vector<int32_t> begin;
  for (int32_t s = 0; s < batch_size; ++s) begin.push_back(s * context);
  const Buffer<int32_t> kv_begin(begin), workspace(1);
  const MlaPrefillArgs args = {.q = q.data(),
                               .k_nope = {kv.data(), int64_t{heads} * 256, 256},
                               .v = {kv.data() + 128, int64_t{heads} * 256, 256},
                               .k_rope = rope.data(),
                               .k_rope_stride = 64,
                               .num_rows = static_cast<int64_t>(rows),
                               .kv_begin = kv_begin.data(),
                               .out = out.data(),
                               .scale = 0.1352337788608801f,
                               .num_heads = heads,
                               .num_sms = testing::num_sms(),
                               .workspace = workspace.data()};
  const double us = testing::median_us(
      15, [&](cudaStream_t stream) { GALLEY_CUDA_CHECK(mla_prefill(device.batch, args, stream)); });
  GALLEY_CUDA_CHECK(cudaDeviceSynchronize());
  const double pairs =
      static_cast<double>(batch_size) * queries * (past + (queries + 1) / 2.0) * heads;
  report(name, us, 2.0 * pairs * (192 + 128),
         static_cast<double>(q.bytes() + kv.bytes() + rope.bytes() + out.bytes()));
}

struct GqaRow {
  int32_t heads, kv_heads, dim, batch, queries, past;
};

// Decode where a sequence has one query.
void bench_gqa(const GqaRow& row) {
  const bool decode = row.queries == 1;
  const std::string name = std::string(decode ? "gqa_decode " : "gqa_prefill ") +
                           std::to_string(row.heads) + "/" + std::to_string(row.kv_heads) + "x" +
                           std::to_string(row.dim) + " B" + std::to_string(row.batch) + " q" +
                           std::to_string(row.queries) + " past " + std::to_string(row.past);
  if (!wanted(name)) return;
  std::mt19937_64 random(1);
  const size_t batch = static_cast<size_t>(row.batch);
  const int32_t context = row.queries + row.past;
  const Sequences sequences(random, std::vector<int32_t>(batch, context),
                            std::vector<int32_t>(batch, row.queries));
  const DeviceSequences device(sequences);
  const int32_t width = 2 * row.kv_heads * row.dim;
  const int32_t q_stride = (row.heads + 2 * row.kv_heads) * row.dim;
  const size_t tokens = batch * static_cast<size_t>(row.queries);
  const Buffer<std::byte> cache(
      static_cast<size_t>(int64_t{sequences.num_blocks} * kBlockTokens * width * 2));
  const Buffer<__nv_bfloat16> q(tokens * static_cast<size_t>(q_stride));
  const Buffer<__nv_bfloat16> out(tokens * static_cast<size_t>(row.heads * row.dim));
  fill_bf16(cache.data(), cache.bytes());
  fill_bf16(q.data(), q.bytes());
  const GqaShape shape = {
      .num_heads = row.heads, .num_kv_heads = row.kv_heads, .head_dim = row.dim, .scale = 0.1f};
  const GqaDecodeConfig config = {.shape = shape,
                                  .num_sms = testing::num_sms(),
                                  .tokens_max = static_cast<int32_t>(tokens),
                                  .sequences_max = row.batch,
                                  .context_max = context,
                                  .split_tokens = 0};
  const Buffer<std::byte> workspace(gqa_decode_workspace_bytes(config));
  const GqaArgs args = {.q = q.data(),
                        .q_token_stride = q_stride,
                        .out = out.data(),
                        .cache = {.data = cache.data(),
                                  .format = CacheFormat::kBF16,
                                  .num_blocks = sequences.num_blocks,
                                  .width = width,
                                  .row_bytes = int64_t{width} * 2},
                        .shape = shape,
                        .num_sms = testing::num_sms(),
                        .workspace = workspace.data()};
  if (decode) GALLEY_CUDA_CHECK(gqa_decode_plan(config, device.batch, workspace.data(), nullptr));
  const double us = testing::median_us(21, [&](cudaStream_t stream) {
    GALLEY_CUDA_CHECK(decode ? gqa_decode(config, device.batch, args, stream)
                             : gqa_prefill(device.batch, args, stream));
  });
  GALLEY_CUDA_CHECK(cudaDeviceSynchronize());
  const double pairs = static_cast<double>(row.batch) * row.queries *
                       (row.past + (row.queries + 1) / 2.0) * row.heads;
  report(name, us, 4.0 * pairs * row.dim,
         static_cast<double>(row.batch) * context * width * 2.0 +
             static_cast<double>(out.bytes()) * 2.0);
}

void run() {
  for (const int32_t batch : {1, 16, 64, 256}) bench_gqa({28, 4, 128, batch, 1, 2047});
  bench_gqa({28, 4, 128, 1, 1, 32767});
  bench_gqa({28, 4, 128, 128, 1, 8191});
  bench_gqa({12, 2, 128, 1, 1, 2047});
  bench_gqa({12, 2, 128, 256, 1, 2047});
  bench_gqa({32, 8, 64, 128, 1, 4095});
  bench_gqa({28, 4, 128, 1, 8192, 0});
  bench_gqa({28, 4, 128, 4, 4096, 0});
  bench_gqa({12, 2, 128, 1, 8192, 0});
  bench_gqa({32, 8, 64, 1, 8192, 0});
  bench_gqa({28, 4, 128, 1, 512, 0});
  bench_mla_prefill(128, 1, 4096, 0);
  bench_mla_prefill(128, 4, 4096, 0);
  bench_mla_prefill(128, 1, 2048, 6144);
  bench_mla_prefill(128, 1, 512, 0);
  bench_mla_prefill(16, 1, 8192, 0);
  constexpr CacheFormat kBf16 = CacheFormat::kBF16, kFp8 = CacheFormat::kFp8Latent;
  for (const CacheFormat format : {kBf16, kFp8})
    for (const int32_t prefetch : {0, 1, 2, 3})
      bench_mla_decode({128, 128, 4096, 1, format, 0, prefetch});
  for (const CacheFormat format : {kBf16, kFp8}) {
    bench_mla_decode({128, 128, 4096, 1, format, 0, 1});
    bench_mla_decode({128, 128, 4096, 1, format, 1024, 1});
    bench_mla_decode({128, 132, 4096, 1, format, 0, 1});
    bench_mla_decode({128, 128, 4096, 2, format, 0, 1});
    bench_mla_decode({128, 1, 4096, 1, format, 0, 1});
    bench_mla_decode({128, 32, 4096, 1, format, 0, 1});
    bench_mla_decode({128, 256, 4096, 1, format, 0, 1});
    bench_mla_decode({128, 64, 16384, 1, format, 0, 1});
    bench_mla_decode({16, 1, 4096, 1, format, 0, 1});
    bench_mla_decode({16, 64, 4096, 1, format, 0, 1});
    bench_mla_decode({16, 256, 2048, 1, format, 0, 1});
  }
}

}  // namespace
}  // namespace galley::kernels::cuda

int main(int argc, char** argv) {
  using namespace galley::kernels::cuda;
  if (!testing::has_hopper()) {
    std::puts("skipped, no GPU");
    return 0;
  }
  if (argc > 1) filter = argv[1];
  run();
  return 0;
}

// A model folder driven below the runner: log-probabilities of whole sequences, cut into steps as a
// test wishes. For comparison with tests/golden/models/.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "engine/step_arrays.h"
#include "engine/testing/test_device.h"
#include "kernels/ops.h"
#include "model/activations.h"
#include "model/checkpoint.h"
#include "model/config.h"
#include "model/deepseek.h"
#include "model/memory_plan.h"
#include "model/model.h"

namespace galley::engine::testing {

// golden.safetensors: what the reference computed.
struct Golden {
  std::vector<int32_t> ids;
  int32_t prompt_len = 0;
  std::vector<float> logprobs;      // [ids, V]
  std::vector<float> mtp_logprobs;  // [ids - 1, V], or empty
};

template <typename T>
std::vector<T> values_of(const std::vector<model::StoredTensor>& tensors, const std::string& name) {
  for (const model::StoredTensor& tensor : tensors) {
    if (tensor.name != name) continue;
    std::vector<T> values(tensor.data.size() / sizeof(T));
    std::memcpy(values.data(), tensor.data.data(), tensor.data.size());
    return values;
  }
  return {};
}

inline Golden read_golden(const std::string& folder) {
  Golden golden;
  const auto file = MappedFile::open(folder + "/golden.safetensors");
  EXPECT_TRUE(file.ok()) << file.message();
  if (!file.ok()) return golden;
  const auto tensors = model::parse_safetensors(file->bytes(), "golden.safetensors");
  EXPECT_TRUE(tensors.ok()) << tensors.message();
  if (!tensors.ok()) return golden;
  golden.ids = values_of<int32_t>(*tensors, "ids");
  golden.prompt_len = values_of<int32_t>(*tensors, "prompt_len").at(0);
  golden.logprobs = values_of<float>(*tensors, "logprobs");
  golden.mtp_logprobs = values_of<float>(*tensors, "mtp_logprobs");
  return golden;
}

struct DriveOptions {
  kernels::Precision precision = kernels::Precision::kFloat32;
  kernels::CacheFormat cache_format = kernels::CacheFormat::kF32;
  kernels::Isa isa = kernels::Isa::kAuto;
  int32_t threads = 1;
  int32_t tokens_max = 256;
};

// One sequence through a model, with caches of its own.
class DrivenModel {
 public:
  static Result<std::unique_ptr<DrivenModel>> open(const std::string& folder,
                                                   const DriveOptions& options) {
    std::unique_ptr<DrivenModel> driven(new DrivenModel);
    GALLEY_ASSIGN_OR_RETURN(const model::FolderConfig config, model::read_folder_config(folder));
    GALLEY_ASSIGN_OR_RETURN(driven->checkpoint_, model::Checkpoint::open(folder));
    driven->source_ = std::make_unique<model::CheckpointSource>(&driven->checkpoint_);
    GALLEY_RETURN_IF_ERROR(driven->build(config.model, options));
    return driven;
  }
  // With made-up weights.
  static Result<std::unique_ptr<DrivenModel>> make(const model::ModelConfig& config,
                                                   const DriveOptions& options) {
    std::unique_ptr<DrivenModel> driven(new DrivenModel);
    driven->source_ = std::make_unique<model::DummySource>(config, false);
    GALLEY_RETURN_IF_ERROR(driven->build(config, options));
    return driven;
  }

  // Log-probabilities [ids, V] after each token, computed in steps of `chunk` tokens.
  std::vector<float> logprobs(const std::vector<int32_t>& ids, int32_t chunk) {
    std::vector<float> all;
    hidden_.clear();
    for (size_t begin = 0; begin < ids.size(); begin += static_cast<size_t>(chunk)) {
      const size_t count = std::min(ids.size() - begin, static_cast<size_t>(chunk));
      const Matrix hidden = model_->forward(step(ids, begin, count), caches_);
      const std::vector<float> values = read(hidden);
      hidden_.insert(hidden_.end(), values.begin(), values.end());
      const Matrix out = model::first_rows(logits_, hidden.rows);
      model_->logits(hidden, out);
      append_logprobs(out, &all);
    }
    return all;
  }

  // Of the MTP layer for all positions but the last, after logprobs() of the same ids.
  std::vector<float> mtp_logprobs(const std::vector<int32_t>& ids, int32_t chunk) {
    std::vector<float> all;
    const std::vector<int32_t> next(ids.begin() + 1, ids.end());
    for (size_t begin = 0; begin < next.size(); begin += static_cast<size_t>(chunk)) {
      const size_t count = std::min(next.size() - begin, static_cast<size_t>(chunk));
      const Matrix input = model::first_rows(mtp_input_, static_cast<int64_t>(count));
      write(std::span(hidden_).subspan(begin * static_cast<size_t>(input.cols),
                                       count * static_cast<size_t>(input.cols)),
            input);
      const Matrix drafted = model_->draft(0, step(next, begin, count), input, mtp_cache_);
      const Matrix out = model::first_rows(logits_, drafted.rows);
      model_->draft_logits(0, drafted, out);
      append_logprobs(out, &all);
    }
    return all;
  }

  model::Model& model() { return *model_; }
  const model::ModelConfig& config() const { return config_; }
  const std::vector<std::string>& notes() const { return notes_; }
  kernels::Ops& ops() { return *ops_; }

 private:
  static constexpr int32_t kPositions = 256;
  static constexpr int32_t kBlocks = kPositions / kernels::kBlockTokens;

  Status build(const model::ModelConfig& config, const DriveOptions& options) {
    config_ = config;
    GALLEY_ASSIGN_OR_RETURN(ops_, on_cuda()
                                      ? kernels::make_cuda_ops({.precision = options.precision})
                                      : kernels::make_cpu_ops({.isa = options.isa,
                                                               .threads = options.threads,
                                                               .pin_threads = false,
                                                               .precision = options.precision}));
    GALLEY_RETURN_IF_ERROR(ops_->reserve({.tokens_max = options.tokens_max,
                                          .sequences_max = 1,
                                          .context_max = kPositions,
                                          .width_max = model::model_width_max(config),
                                          .vocab_size = config.vocab_size,
                                          .sample_rows_max = options.tokens_max,
                                          .experts_per_token = config.moe.route.experts_per_token,
                                          .num_experts = config.moe.num_experts,
                                          .num_heads = config.num_heads,
                                          .latent_dim = config.mla.kv_lora_rank}));
    GALLEY_ASSIGN_OR_RETURN(
        model_,
        model::make_model(config, {.tokens_max = options.tokens_max, .positions_max = kPositions},
                          source_.get(), ops_.get(), &notes_));
    arrays_ = std::make_unique<StepArrays>(
        StepArrays::Limits{
            .tokens_max = options.tokens_max, .sequences_max = 1, .blocks_max = kBlocks},
        ops_.get());
    for (int32_t i = 0; i < model_->num_cache_layers(); ++i)
      caches_.push_back(new_cache(options.cache_format));
    mtp_cache_ = new_cache(options.cache_format);
    model::MatrixPool pool(ops_.get());
    logits_ = pool.take(options.tokens_max, config.vocab_size, DType::kF32);
    mtp_input_ = pool.take(options.tokens_max, config.hidden_size, ops_->activation_dtype());
    for (int32_t i = 0; i < kBlocks; ++i) blocks_.push_back(kBlocks - 1 - i);
    return {};
  }

  kernels::CacheLayer new_cache(kernels::CacheFormat format) {
    kernels::CacheLayer cache{.format = format,
                              .num_blocks = kBlocks,
                              .width = config_.cache_width(),
                              .row_bytes = model::cache_row_bytes(config_, format)};
    cache.data =
        static_cast<std::byte*>(ops_->allocate(static_cast<size_t>(cache.row_bytes) * kPositions));
    return cache;
  }

  model::Step step(const std::vector<int32_t>& ids, size_t begin, size_t count) {
    part_ = {.blocks = blocks_,
             .begin = static_cast<int32_t>(begin),
             .count = static_cast<int32_t>(count)};
    return arrays_->build({&part_, 1}, std::span(ids).subspan(begin, count));
  }

  // A packed matrix of the backend, and into one.
  std::vector<float> read(const Matrix& matrix) {
    std::vector<float> values(static_cast<size_t>(matrix.rows * matrix.cols));
    if (matrix.dtype == DType::kF32) {
      ops_->download(values.data(), matrix.data, values.size() * sizeof(float));
      return values;
    }
    std::vector<uint16_t> bits(values.size());
    ops_->download(bits.data(), matrix.data, bits.size() * sizeof(uint16_t));
    for (size_t i = 0; i < bits.size(); ++i) values[i] = bf16_to_f32(bits[i]);
    return values;
  }
  void write(std::span<const float> values, const Matrix& matrix) {
    if (matrix.dtype == DType::kF32) {
      ops_->upload(matrix.data, values.data(), values.size_bytes());
      return;
    }
    std::vector<uint16_t> bits;
    for (const float value : values) bits.push_back(f32_to_bf16(value));
    ops_->upload(matrix.data, bits.data(), bits.size() * sizeof(uint16_t));
  }

  void append_logprobs(const Matrix& logits, std::vector<float>* all) {
    const std::vector<float> values = read(logits);
    for (int64_t r = 0; r < logits.rows; ++r) {
      const float* const row = values.data() + r * logits.cols;
      double best = row[0], sum = 0.0;
      for (int64_t i = 0; i < logits.cols; ++i) best = std::max(best, double{row[i]});
      for (int64_t i = 0; i < logits.cols; ++i) sum += std::exp(row[i] - best);
      const double total = best + std::log(sum);
      for (int64_t i = 0; i < logits.cols; ++i) all->push_back(static_cast<float>(row[i] - total));
    }
  }

  model::ModelConfig config_;
  model::Checkpoint checkpoint_;
  std::unique_ptr<model::TensorSource> source_;
  std::vector<std::string> notes_;
  std::unique_ptr<kernels::Ops> ops_;
  std::unique_ptr<model::Model> model_;
  std::unique_ptr<StepArrays> arrays_;
  std::vector<kernels::CacheLayer> caches_;
  kernels::CacheLayer mtp_cache_;
  std::vector<BlockId> blocks_;
  SequencePart part_;
  std::vector<float> hidden_;  // of the last logprobs()
  Matrix logits_;
  Matrix mtp_input_;
};

}  // namespace galley::engine::testing

// Llama and Qwen2 (the R1 distills): grouped-query attention and dense blocks. They differ in their
// biases alone.
#pragma once

#include "model/activations.h"
#include "model/model.h"
#include "model/weights.h"

namespace galley::model {

class LlamaModel final : public Model {
 public:
  // Matrices for one step of T tokens.
  struct Buffers {
    Matrix residual;  // [T, H] sum of all blocks so far
    Matrix x;         // [T, H] normed input of a block, finally the result
    Matrix y;         // [T, H] output of a block
    Matrix qkv;       // [T, (N + 2 * kv_heads) * D]
    Matrix heads;     // [T, N * D]
  };
  static Buffers take_buffers(const ModelConfig& config, int64_t tokens, MatrixPool* pool);

  LlamaModel(const ModelConfig& config, LlamaWeights weights, const Buffers& buffers,
             const kernels::RopeTable& rope, kernels::Ops* ops);

  int32_t num_cache_layers() const override { return config_.num_layers; }
  Matrix forward(const Step& step, std::span<const kernels::CacheLayer> caches) override;
  void logits(const Matrix& hidden, const Matrix& out) override;

 private:
  void attention(const LlamaLayer& layer, const Step& step, const kernels::CacheLayer& cache);

  const ModelConfig config_;
  const LlamaWeights weights_;
  const Buffers buffers_;
  const kernels::RopeTable rope_;
  kernels::Ops* const ops_;
  const kernels::GqaShape shape_;
};

}  // namespace galley::model

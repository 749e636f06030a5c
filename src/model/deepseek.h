// DeepSeek-V2 and -V3 (R1, V3.1): latent attention, sparse experts, multi-token prediction.
#pragma once

#include <optional>

#include "model/activations.h"
#include "model/model.h"
#include "model/weights.h"

namespace galley::model {

class DeepseekModel final : public Model {
 public:
  // Matrices for one step of T tokens.
  struct Buffers {
    Matrix residual;   // [T, H] sum of all blocks so far
    Matrix x;          // [T, H] normed input of a block, finally the result
    Matrix y;          // [T, H] output of a block
    Matrix shared;     // [T, H] output of the shared experts
    Matrix q_a;        // [T, q_lora]
    Matrix q;          // [T, N * (nope + R)]
    Matrix kv_a;       // [T, L + R]
    Matrix heads;      // [T, N * value]
    Matrix router;     // [T, E] f32
    Matrix experts;    // [T, K] i32
    Matrix weights;    // [T, K] f32
    Matrix mtp_input;  // [T, 2 * H] normed embedding, normed hidden state
  };
  static Buffers take_buffers(const ModelConfig& config, int64_t tokens, MatrixPool* pool);

  DeepseekModel(const ModelConfig& config, DeepseekWeights weights, const Buffers& buffers,
                const kernels::RopeTable& rope, kernels::Ops* ops);

  int32_t num_cache_layers() const override { return config_.num_layers; }
  int32_t num_mtp_layers() const override { return static_cast<int32_t>(weights_.mtp.size()); }
  Matrix forward(const Step& step, std::span<const kernels::CacheLayer> caches) override;
  void logits(const Matrix& hidden, const Matrix& out) override;
  Matrix draft(int32_t layer, const Step& step, const Matrix& hidden,
               const kernels::CacheLayer& cache) override;
  void draft_logits(int32_t layer, const Matrix& hidden, const Matrix& out) override;

  // For the test that both forms of attention agree: which one, instead of the cheaper.
  void force_form(kernels::MlaForm form) { forced_form_ = form; }

 private:
  void attention(const MlaWeights& weights, const Step& step, const kernels::CacheLayer& cache);
  void feed_forward(const DeepseekLayer& layer, int64_t tokens);
  kernels::MlaForm form_of(const Step& step) const;

  const ModelConfig config_;
  const DeepseekWeights weights_;
  const Buffers buffers_;
  const kernels::RopeTable rope_;
  kernels::Ops* const ops_;
  const kernels::MlaShape shape_;
  std::optional<kernels::MlaForm> forced_form_;
};

}  // namespace galley::model

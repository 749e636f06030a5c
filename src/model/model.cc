#include "model/model.h"

#include <algorithm>

#include "model/activations.h"
#include "model/deepseek.h"
#include "model/llama.h"
#include "model/rope.h"
#include "model/weights.h"

namespace galley::model {
namespace {

int32_t rope_width(const ModelConfig& config) {
  return config.has_mla() ? config.mla.rope_dim : config.head_dim;
}

Status no_room(const MatrixPool& pool) {
  return Status(Code::kTooLarge, "activations of " + std::to_string(pool.bytes()) +
                                     " bytes for one step do not fit: lower "
                                     "--max-num-batched-tokens");
}

}  // namespace

Matrix Model::draft(int32_t, const Step&, const Matrix&, const kernels::CacheLayer&) {
  GALLEY_CHECK(false, "draft() of a model without MTP layers");
  return {};
}

void Model::draft_logits(int32_t, const Matrix&, const Matrix&) {
  GALLEY_CHECK(false, "draft_logits() of a model without MTP layers");
}

int32_t model_width_max(const ModelConfig& config) {
  const MlaConfig& mla = config.mla;
  int32_t width =
      std::max({config.hidden_size, config.intermediate_size, config.num_heads * config.head_dim});
  if (config.has_mla()) {
    width = std::max({width, config.num_heads * (mla.nope_dim + mla.value_dim), mla.q_lora_rank,
                      mla.kv_lora_rank + mla.rope_dim,
                      config.moe.intermediate * std::max(config.moe.num_shared, 1)});
  } else {
    width = std::max(width, (config.num_heads + 2 * config.num_kv_heads) * config.head_dim);
  }
  return config.num_mtp_layers > 0 ? std::max(width, 2 * config.hidden_size) : width;
}

int64_t model_scratch_bytes(const ModelConfig& config, const ModelLimits& limits,
                            DType activations) {
  MatrixPool pool(activations);
  if (config.has_mla()) {
    DeepseekModel::take_buffers(config, limits.tokens_max, &pool);
  } else {
    LlamaModel::take_buffers(config, limits.tokens_max, &pool);
  }
  return pool.bytes() + rope_table_bytes(rope_width(config), limits.positions_max);
}

Result<std::unique_ptr<Model>> make_model(const ModelConfig& config, const ModelLimits& limits,
                                          TensorSource* source, kernels::Ops* ops,
                                          std::vector<std::string>* notes) {
  WeightReader reader(source, ops, config);
  DeepseekWeights deepseek;
  LlamaWeights llama;
  if (config.has_mla()) {
    deepseek = read_deepseek_weights(config, &reader, notes);
  } else {
    llama = read_llama_weights(config, &reader);
  }
  std::vector<std::string> ignored;
  GALLEY_RETURN_IF_ERROR(reader.finish(&ignored));
  (config.has_mla() ? deepseek.memory : llama.memory) = reader.take_memory();
  if (!ignored.empty()) {
    notes->push_back("ignored " + std::to_string(ignored.size()) +
                     " rotary buffers of an old checkpoint, from \"" + ignored.front() + "\" on");
  }
  GALLEY_ASSIGN_OR_RETURN(
      const kernels::RopeTable rope,
      make_rope_table(config.rope, rope_width(config), limits.positions_max, ops));
  MatrixPool pool(ops);
  std::unique_ptr<Model> model;
  if (config.has_mla()) {
    const auto buffers = DeepseekModel::take_buffers(config, limits.tokens_max, &pool);
    model = std::make_unique<DeepseekModel>(config, std::move(deepseek), buffers, rope, ops);
  } else {
    const auto buffers = LlamaModel::take_buffers(config, limits.tokens_max, &pool);
    model = std::make_unique<LlamaModel>(config, std::move(llama), buffers, rope, ops);
  }
  if (pool.failed()) return no_room(pool);
  return model;
}

}  // namespace galley::model

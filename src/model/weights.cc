#include "model/weights.h"

namespace galley::model {
namespace {

using kernels::MlpWeights;

MlpWeights read_mlp(WeightReader* reader, const std::string& name, int64_t hidden, int64_t inner) {
  MlpWeights mlp;
  mlp.gate = reader->linear(name + ".gate_proj", inner, hidden);
  mlp.up = reader->linear(name + ".up_proj", inner, hidden);
  mlp.down = reader->linear(name + ".down_proj", hidden, inner);
  reader->expect_same_types(mlp, mlp, name);
  return mlp;
}

// The head, or the embedding in its place. A checkpoint may save the tied head all the same.
Weight read_head(const ModelConfig& config, WeightReader* reader, const Weight& embed) {
  if (!config.tied_embeddings)
    return reader->plain("lm_head", config.vocab_size, config.hidden_size);
  const std::string saved = "lm_head.weight";
  const std::string tied = "model.embed_tokens.weight";
  // Sources that make tensors have none that nobody asks for.
  if (reader->holds(saved)) {
    reader->ignore(saved);
    if (!reader->same_bytes(saved, tied))
      reader->fail(saved, "differs from " + tied + ", but config.json ties them");
  }
  return embed;
}

MlaWeights read_mla(const ModelConfig& config, WeightReader* reader, const std::string& name) {
  const MlaConfig& mla = config.mla;
  const int64_t hidden = config.hidden_size, heads = config.num_heads;
  const int64_t q_width = heads * config.head_dim;
  MlaWeights weights;
  if (mla.q_lora_rank == 0) {
    weights.q = reader->linear(name + ".q_proj", q_width, hidden);
  } else {
    weights.q_a = reader->linear(name + ".q_a_proj", mla.q_lora_rank, hidden);
    weights.q_a_norm = reader->norm(name + ".q_a_layernorm", mla.q_lora_rank);
    weights.q_b = reader->linear(name + ".q_b_proj", q_width, mla.q_lora_rank);
  }
  weights.kv_a =
      reader->linear(name + ".kv_a_proj_with_mqa", mla.kv_lora_rank + mla.rope_dim, hidden);
  weights.kv_a_norm = reader->norm(name + ".kv_a_layernorm", mla.kv_lora_rank);
  weights.kv_b =
      reader->linear(name + ".kv_b_proj", heads * (mla.nope_dim + mla.value_dim), mla.kv_lora_rank);
  weights.out = reader->linear(name + ".o_proj", hidden, heads * mla.value_dim);
  if (config.out_bias) {
    if (mla.q_lora_rank > 0) weights.q_a_bias = reader->bias(name + ".q_a_proj", mla.q_lora_rank);
    weights.kv_a_bias = reader->bias(name + ".kv_a_proj_with_mqa", mla.kv_lora_rank + mla.rope_dim);
    weights.out_bias = reader->bias(name + ".o_proj", hidden);
  }
  return weights;
}

MoeWeights read_moe(const ModelConfig& config, WeightReader* reader, const std::string& name) {
  const MoeConfig& moe = config.moe;
  MoeWeights weights;
  weights.router = reader->plain(name + ".gate", moe.num_experts, config.hidden_size);
  if (moe.has_bias)
    weights.bias = reader->floats(name + ".gate.e_score_correction_bias", 0, moe.num_experts);
  for (int32_t e = 0; e < moe.num_experts; ++e) {
    const std::string expert = name + ".experts." + std::to_string(e);
    weights.experts.push_back(read_mlp(reader, expert, config.hidden_size, moe.intermediate));
    reader->expect_same_types(weights.experts.front(), weights.experts.back(), expert);
  }
  if (moe.num_shared > 0) {
    weights.shared = read_mlp(reader, name + ".shared_experts", config.hidden_size,
                              int64_t{moe.num_shared} * moe.intermediate);
  }
  return weights;
}

DeepseekLayer read_layer(const ModelConfig& config, WeightReader* reader, int32_t index) {
  const std::string name = "model.layers." + std::to_string(index);
  DeepseekLayer layer;
  layer.input_norm = reader->norm(name + ".input_layernorm", config.hidden_size);
  layer.attention = read_mla(config, reader, name + ".self_attn");
  layer.post_norm = reader->norm(name + ".post_attention_layernorm", config.hidden_size);
  layer.is_moe = config.is_moe_layer(index);
  if (layer.is_moe) {
    layer.moe = read_moe(config, reader, name + ".mlp");
  } else {
    layer.mlp = read_mlp(reader, name + ".mlp", config.hidden_size, config.intermediate_size);
  }
  return layer;
}

MtpLayer read_mtp(const ModelConfig& config, WeightReader* reader, int32_t index,
                  const DeepseekWeights& main) {
  const std::string name = "model.layers." + std::to_string(index);
  const int64_t vocab = config.vocab_size, hidden = config.hidden_size;
  MtpLayer layer;
  layer.embed = main.embed;
  if (reader->has(name + ".embed_tokens.weight"))
    layer.embed = reader->plain(name + ".embed_tokens", vocab, hidden);
  layer.embed_norm = reader->norm(name + ".enorm", hidden);
  layer.hidden_norm = reader->norm(name + ".hnorm", hidden);
  layer.project = reader->plain(name + ".eh_proj", hidden, 2 * hidden);
  layer.block = read_layer(config, reader, index);
  layer.head_norm = reader->norm(name + ".shared_head.norm", hidden);
  layer.head = main.head;
  if (reader->has(name + ".shared_head.head.weight"))
    layer.head = reader->plain(name + ".shared_head.head", vocab, hidden);
  return layer;
}

}  // namespace

DeepseekWeights read_deepseek_weights(const ModelConfig& config, WeightReader* reader,
                                      std::vector<std::string>* notes) {
  DeepseekWeights weights;
  weights.embed = reader->plain("model.embed_tokens", config.vocab_size, config.hidden_size);
  for (int32_t i = 0; i < config.num_layers; ++i)
    weights.layers.push_back(read_layer(config, reader, i));
  weights.norm = reader->norm("model.norm", config.hidden_size);
  weights.head = read_head(config, reader, weights.embed);

  bool has_mtp = false;
  for (int32_t i = 0; i < config.num_mtp_layers; ++i) {
    const std::string prefix = "model.layers." + std::to_string(config.num_layers + i) + ".";
    has_mtp = has_mtp || reader->has_prefix(prefix);
  }
  if (config.num_mtp_layers > 0 && !has_mtp) {
    notes->push_back("config.json announces " + std::to_string(config.num_mtp_layers) +
                     " MTP layer(s), but the checkpoint has none of their tensors: serving "
                     "without MTP");
    return weights;
  }
  for (int32_t i = 0; i < config.num_mtp_layers; ++i)
    weights.mtp.push_back(read_mtp(config, reader, config.num_layers + i, weights));
  return weights;
}

LlamaWeights read_llama_weights(const ModelConfig& config, WeightReader* reader) {
  const int64_t hidden = config.hidden_size;
  const int64_t q_width = int64_t{config.num_heads} * config.head_dim;
  const int64_t kv_width = int64_t{config.num_kv_heads} * config.head_dim;
  LlamaWeights weights;
  weights.embed = reader->plain("model.embed_tokens", config.vocab_size, hidden);
  for (int32_t i = 0; i < config.num_layers; ++i) {
    const std::string name = "model.layers." + std::to_string(i);
    const std::string attention = name + ".self_attn";
    LlamaLayer layer;
    layer.input_norm = reader->norm(name + ".input_layernorm", hidden);
    layer.q = reader->linear(attention + ".q_proj", q_width, hidden);
    layer.k = reader->linear(attention + ".k_proj", kv_width, hidden);
    layer.v = reader->linear(attention + ".v_proj", kv_width, hidden);
    layer.out = reader->linear(attention + ".o_proj", hidden, q_width);
    if (config.qkv_bias) {
      layer.q_bias = reader->bias(attention + ".q_proj", q_width);
      layer.k_bias = reader->bias(attention + ".k_proj", kv_width);
      layer.v_bias = reader->bias(attention + ".v_proj", kv_width);
    }
    if (config.out_bias) layer.out_bias = reader->bias(attention + ".o_proj", hidden);
    layer.post_norm = reader->norm(name + ".post_attention_layernorm", hidden);
    layer.mlp = read_mlp(reader, name + ".mlp", hidden, config.intermediate_size);
    weights.layers.push_back(layer);
  }
  weights.norm = reader->norm("model.norm", hidden);
  weights.head = read_head(config, reader, weights.embed);
  return weights;
}

}  // namespace galley::model

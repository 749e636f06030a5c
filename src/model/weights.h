// The weights of each architecture as plain structs, in the order in which the forward pass reads
// them. Shapes as the checkpoint stores them: rows are output features.
//
// The views point into the checkpoint (or the memory a DummySource made), which must outlive them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernels/ops.h"
#include "model/config.h"
#include "model/weight_reader.h"
#include "tensor/tensor.h"

namespace galley::model {

struct MlaWeights {
  Weight q;                // [N * (nope + R), H]; only without q_lora_rank
  Weight q_a, q_a_bias;    // [q_lora, H], [1, q_lora] or empty
  Weight q_a_norm;         // [1, q_lora]
  Weight q_b;              // [N * (nope + R), q_lora]
  Weight kv_a, kv_a_bias;  // [L + R, H], [1, L + R] or empty
  Weight kv_a_norm;        // [1, L]
  Weight kv_b;             // [N * (nope + value), L]
  Weight out, out_bias;    // [H, N * value], [1, H] or empty
};

struct MoeWeights {
  Weight router;                             // [E, H]
  const float* bias = nullptr;               // [E] e_score_correction_bias, or null
  std::vector<kernels::MlpWeights> experts;  // E of [I, H]
  kernels::MlpWeights shared;                // [shared * I, H]; empty without shared experts
};

struct DeepseekLayer {
  Weight input_norm;  // [1, H]
  MlaWeights attention;
  Weight post_norm;  // [1, H]
  bool is_moe = false;
  kernels::MlpWeights mlp;  // of a dense layer
  MoeWeights moe;           // of a sparse one
};

// Multi-token prediction: one more block, fed with a hidden state and the token after it.
struct MtpLayer {
  Weight embed;        // [V, H]; the main one unless the checkpoint has its own
  Weight embed_norm;   // [1, H] enorm
  Weight hidden_norm;  // [1, H] hnorm
  Weight project;      // [H, 2 * H] eh_proj
  DeepseekLayer block;
  Weight head_norm;  // [1, H]
  Weight head;       // [V, H]; the main one unless the checkpoint has its own
};

struct DeepseekWeights {
  Weight embed;  // [V, H]
  std::vector<DeepseekLayer> layers;
  Weight norm;  // [1, H]
  Weight head;  // [V, H]
  std::vector<MtpLayer> mtp;
  std::vector<std::unique_ptr<std::byte[]>> memory;  // of scales and biases that were converted
};

struct LlamaLayer {
  Weight input_norm;        // [1, H]
  Weight q, q_bias;         // [N * D, H], [1, N * D] or empty
  Weight k, k_bias;         // [kv_heads * D, H]
  Weight v, v_bias;         // [kv_heads * D, H]
  Weight out, out_bias;     // [H, N * D]
  Weight post_norm;         // [1, H]
  kernels::MlpWeights mlp;  // [I, H]
};

struct LlamaWeights {
  Weight embed;  // [V, H]
  std::vector<LlamaLayer> layers;
  Weight norm;                                       // [1, H]
  Weight head;                                       // [V, H]; the embedding when tied
  std::vector<std::unique_ptr<std::byte[]>> memory;  // as in DeepseekWeights
};

// Asks `reader` for every tensor of the architecture; errors stay in the reader until finish().
// `notes` gets one sentence for people when the config announces MTP layers and the checkpoint has
// none of their tensors (as transformers saves it); then `mtp` is empty.
DeepseekWeights read_deepseek_weights(const ModelConfig& config, WeightReader* reader,
                                      std::vector<std::string>* notes);
LlamaWeights read_llama_weights(const ModelConfig& config, WeightReader* reader);

}  // namespace galley::model

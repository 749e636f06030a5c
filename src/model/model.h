// Model: the forward pass of one architecture over kernels::Ops.
//
// Third of the path: the runner (engine/model_runner.h) says which tokens of which sequences, the
// model computes their hidden states and writes their cache rows. It knows no requests. Owned by
// the runner and called from the engine thread; nothing is allocated after make_model().
//
// Letters as in kernels/ops.h: T tokens of the step, H hidden size, V vocabulary.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "kernels/ops.h"
#include "model/config.h"
#include "model/weight_reader.h"
#include "tensor/tensor.h"

namespace galley::model {

// One step's tokens and where they belong. The sums let the model choose the cheaper form of
// attention where the backend does not promise invariance.
struct Step {
  std::span<const int32_t> ids;  // [T], host memory
  const kernels::StepBatch* batch = nullptr;
  int64_t context_sum = 0;  // over sequences: cached tokens
  int64_t pair_sum = 0;     // over tokens: positions each attends to
};

class Model {
 public:
  virtual ~Model() = default;

  virtual int32_t num_cache_layers() const = 0;  // of forward(), without the MTP layers
  virtual int32_t num_mtp_layers() const { return 0; }

  // Hidden states after the final norm, [T, H]: valid until the next forward() or draft(). Writes
  // the rows of every token into `caches` (num_cache_layers of them).
  virtual Matrix forward(const Step& step, std::span<const kernels::CacheLayer> caches) = 0;
  // Head logits of rows of forward()'s result: hidden [n, H], out [n, V] f32.
  virtual void logits(const Matrix& hidden, const Matrix& out) = 0;

  // The MTP layer `layer`. For a token at position i, step.ids holds the token at i + 1 and
  // `hidden` [T, H] the state at i: forward()'s result, or for further drafts the previous
  // draft()'s. Writes row i of the layer's own `cache` and returns the block's output before its
  // head's norm, [T, H]: valid until the next forward() or draft().
  virtual Matrix draft(int32_t layer, const Step& step, const Matrix& hidden,
                       const kernels::CacheLayer& cache);
  // Logits for position i + 2: hidden [n, H] rows of draft()'s result, normed in place; out [n, V].
  virtual void draft_logits(int32_t layer, const Matrix& hidden, const Matrix& out);
};

struct ModelLimits {
  int32_t tokens_max = 0;     // T of one step
  int32_t positions_max = 0;  // of one sequence
};

// Bytes that make_model takes from the backend beside the weights: activations, rotary tables.
int64_t model_scratch_bytes(const ModelConfig& config, const ModelLimits& limits,
                            DType activations);

// Widest matrix of a layer, for kernels::StepLimits.
int32_t model_width_max(const ModelConfig& config);

// Reads the weights of config's architecture from `source` and builds its forward pass. `source`'s
// bytes and `ops` outlive the model. `notes` gets sentences for people: tensors ignored, MTP
// absent. Errors  kInvalid   a tensor is missing, surplus, or of the wrong shape or dtype, by name
//         kTooLarge  the activations do not fit
Result<std::unique_ptr<Model>> make_model(const ModelConfig& config, const ModelLimits& limits,
                                          TensorSource* source, kernels::Ops* ops,
                                          std::vector<std::string>* notes);

}  // namespace galley::model

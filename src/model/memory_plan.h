// Where the memory of a served model goes, and whether it fits. Computed from the config, the names
// of the tensors and the limits before anything is loaded: `galley inspect` shows it, `serve`
// prints it and refuses what cannot fit with the number that would.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/status.h"
#include "kernels/ops.h"
#include "model/config.h"
#include "model/weight_reader.h"

namespace galley::model {

// Rows of logits that are sampled together; more come in pieces. On a GPU a step's are one piece,
// so that a step can be one recording: 512 rows of a vocabulary of 129,280 are 265 MB.
constexpr int32_t kSampleRowsMax = 64;
constexpr int32_t kSampleRowsMaxGpu = 512;

// What was asked for. Zero where the plan shall choose.
struct PlanLimits {
  int32_t max_model_len = 0;           // --max-model-len; 0: the model's, or what the memory holds
  int32_t max_num_seqs = 64;           // --max-num-seqs
  int32_t max_num_batched_tokens = 0;  // --max-num-batched-tokens; 0: 2048
  int32_t num_blocks = 0;              // --num-gpu-blocks-override; 0: from the memory
  int32_t drafts_max = 0;              // speculative tokens a step may verify for one request
  int64_t memory_bytes = 0;            // memory the process may use; 0: no limit known
  kernels::CacheFormat cache_format = kernels::CacheFormat::kBF16;
  int32_t sample_rows_max = kSampleRowsMax;  // a bound: no more than a step has
  DType activations = DType::kF32;           // Ops::activation_dtype()
  // What the backend takes for such steps beside what it is asked for; none: an estimate.
  std::function<int64_t(const kernels::StepLimits&)> backend_bytes = {};
};

struct DTypeBytes {
  std::string dtype;  // "bfloat16", ...
  int64_t parameters = 0;
  int64_t bytes = 0;
};

struct MemoryPlan {
  // Weights
  std::vector<DTypeBytes> weights;
  int64_t parameters = 0;         // MTP layers included
  int64_t parameters_active = 0;  // read for one token: K of the E experts
  int64_t weight_bytes = 0;
  int32_t num_mtp_layers = 0;      // that the checkpoint holds
  std::vector<std::string> notes;  // what make_model would say about the tensors
  // Cache
  kernels::CacheFormat cache_format = kernels::CacheFormat::kBF16;
  int64_t cache_row_bytes = 0;        // one layer, one token
  int64_t cache_bytes_per_token = 0;  // all layers, MTP layers included
  int32_t num_blocks = 0;
  int64_t cache_bytes = 0;
  // Steps
  int32_t max_model_len = 0;
  int32_t max_num_seqs = 0;
  int32_t max_num_batched_tokens = 0;
  int32_t drafts_max = 0;
  int32_t sample_rows_max = 0;   // rows of logits at one time
  int64_t activation_bytes = 0;  // activations, rotary tables, logits, scratch (estimated)
  int64_t total_bytes = 0;
  int64_t memory_bytes = 0;  // the limit, 0: none known
  bool fits = true;
  std::vector<std::string> advice;  // flags that would make it fit, one sentence each
};

// The largest step of such a plan, as Ops::reserve() wants it.
kernels::StepLimits step_limits(const ModelConfig& config, const MemoryPlan& plan);

// Bytes of one row of one layer's cache.
int64_t cache_row_bytes(const ModelConfig& config, kernels::CacheFormat format);

// `source` says in which types the weights come; a DummySource without data answers from the config
// alone. Never fails for lack of memory: then `fits` is false and `advice` says what would help.
// Errors  kInvalid  a limit that contradicts the model (a context longer than it was made for, an
//         fp8 cache for a model without latent attention), naming the flag; or a tensor that
//         make_model would refuse, by name
Result<MemoryPlan> plan_memory(const ModelConfig& config, const PlanLimits& limits,
                               TensorSource* source);

// The plan as a table for people, a line each, ending in a newline.
std::string render(const ModelConfig& config, const MemoryPlan& plan);

}  // namespace galley::model

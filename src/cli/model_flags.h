// The flags that say which model is loaded and how it computes: shared by serve, chat, inspect and
// `bench offline`. Raw values as Settings fills them; resolve() turns them into the options of the
// layers below.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"
#include "cli/model_folder.h"
#include "cli/pull.h"
#include "cli/settings.h"
#include "engine/engine.h"
#include "engine/load_model.h"

namespace galley::cli {

struct ModelFlags {
  std::string model;  // folder or org/name; empty: the demo model that came with the program
  HubFlags hub;
  std::string load_format = "auto";
  std::string dtype = "auto";
  std::string kv_cache_dtype = "auto";
  int64_t max_model_len = 0;  // 0, here and below: chosen by the memory plan
  int64_t max_num_seqs = 64;
  int64_t max_num_batched_tokens = 0;
  int64_t num_blocks = 0;
  int64_t memory_limit_bytes = 0;
  bool prefix_caching = true;
  std::optional<bool> batch_invariant;  // empty: on a CPU yes, on a GPU no
  std::string speculative_config;       // JSON; empty: MTP where the model has it
  std::string device = "auto";
  std::string cuda_libraries;
  double gpu_memory_utilization = 0.9;
  std::string isa = "auto";
  int64_t threads = 0;
};

// Declares the flags of `flags` and the positional MODEL, and refuses what means nothing on a CPU.
void declare(ModelFlags* flags, Settings* settings);
// The same without --model, for a command that has a --model of its own.
void declare_computing(ModelFlags* flags, Settings* settings);

// Errors  kInvalid   names the flag and value
//         kNotFound  no --model was given and the demo model is not beside the program
//         as hub::pull  --model is org/name, which is fetched here
Result<engine::LoadOptions> resolve(const ModelFlags& flags);

// Replaces each 0 that left a limit to the plan, or the threads to the machine, by what was chosen:
// what is printed at start is what holds.
void fill_in(const model::MemoryPlan& plan, ModelFlags* flags);

// {"method": "mtp", "num_speculative_tokens": N} or {"method": "none"}, strictly: the number of
// tokens, -1 where the model decides, 0 for none.
// Errors  kInvalid  names the key
Result<int32_t> parse_speculative_config(std::string_view json);

}  // namespace galley::cli

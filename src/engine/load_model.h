// From a model folder to a runner: the one door through which serve, inspect, bench and chat load a
// model. Start-up only.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "engine/runner.h"
#include "kernels/ops.h"
#include "kernels/timed_ops.h"
#include "model/config.h"
#include "model/memory_plan.h"

namespace galley::engine {

enum class DTypeChoice : uint8_t { kAuto, kFloat32, kBFloat16 };
enum class CacheChoice : uint8_t { kAuto, kFloat32, kBFloat16, kFp8 };
enum class DeviceChoice : uint8_t { kAuto, kCpu, kCuda };
enum class LoadFormat : uint8_t { kSafetensors, kDummy };

// The flags' spellings. Errors  kInvalid  names the value and the choices
Result<DTypeChoice> parse_dtype(const std::string& text);        // auto, float32, bfloat16
Result<CacheChoice> parse_cache_dtype(const std::string& text);  // auto, float32, bfloat16, fp8
Result<DeviceChoice> parse_device(const std::string& text);      // auto, cpu, cuda
Result<LoadFormat> parse_load_format(const std::string& text);   // auto, safetensors, dummy

struct LoadOptions {
  std::string folder;                      // --model
  DTypeChoice dtype = DTypeChoice::kAuto;  // auto: float32 for float32 weights, else bfloat16
  CacheChoice cache = CacheChoice::kAuto;  // auto: as the dtype
  LoadFormat format = LoadFormat::kSafetensors;
  DeviceChoice device = DeviceChoice::kCpu;  // auto: a GPU where there is one that is supported
  int32_t max_model_len = 0;                 // 0: the model's, or what the memory holds
  int32_t max_num_seqs = 64;
  int32_t max_num_batched_tokens = 0;   // 0: 2048
  int32_t num_blocks = 0;               // 0: from the memory
  int64_t memory_bytes = 0;             // 0: the share below of what the device has free
  double memory_share = 0.9;            // --gpu-memory-utilization; of the machine's on the CPU
  int32_t num_speculative_tokens = -1;  // -1: 1 where the model has an MTP layer; 0: off
  kernels::CpuOptions cpu;              // `precision` is set from dtype, here and below
  kernels::CudaOptions cuda;
  bool time_operations = false;  // LoadedModel::timed is then set
  bool pads_steps = false;       // ModelRunnerOptions::pads_steps
};

// Called now and then from the calling thread: while weights are read in, then while the shapes of
// decode steps are recorded (steps_total > 0).
struct LoadProgress {
  int64_t bytes_done = 0;
  int64_t bytes_total = 0;
  int32_t steps_done = 0;
  int32_t steps_total = 0;
};
using ProgressFn = std::function<void(const LoadProgress&)>;

// Everything a served model is made of; members are destroyed in reverse order.
struct LoadedModel {
  model::ModelConfig config;
  model::GenerationConfig generation;
  model::MemoryPlan plan;
  std::vector<std::string> notes;  // for people: "serves without MTP: ...", ignored buffers
  std::shared_ptr<void> weights;   // the mapped checkpoint; outlives ops
  std::unique_ptr<kernels::Ops> ops;
  kernels::TimedOps* timed = nullptr;  // `ops`, where time_operations asked for it
  std::unique_ptr<Runner> runner;
};

// Reads the configs and plans the memory; nothing is loaded. For `inspect`, and for `serve` to
// print before it loads. Errors  kNotFound, kInvalid  as load_model_runner, for what can be known
// from config.json alone
struct PlannedModel {
  model::ModelConfig config;
  model::GenerationConfig generation;
  model::MemoryPlan plan;
};
Result<PlannedModel> plan_model(const LoadOptions& options);

// Plans, refuses what does not fit, maps and checks the checkpoint, reads it in, builds the runner.
// Errors  kNotFound     a file is not there
//         kInvalid      a file or a flag is wrong, naming the field or tensor
//         kCorrupt      the checkpoint contradicts itself
//         kTooLarge     it cannot fit, with the bytes and the flags that would help
//         kUnavailable  the instruction set asked for is not on this machine
Result<LoadedModel> load_model_runner(const LoadOptions& options, const ProgressFn& progress);

}  // namespace galley::engine

#include "engine/load_model.h"

#include <algorithm>
#include <cstdio>
#include <limits>
#include <optional>

#include "base/file.h"
#include "engine/model_runner.h"
#include "model/checkpoint.h"
#include "model/model.h"

namespace galley::engine {
namespace {

using kernels::CacheFormat;
using kernels::Precision;

Status unknown_value(const char* flag, const std::string& text, const char* known) {
  return Status(Code::kInvalid, std::string(flag) + " is \"" + text.substr(0, 80) +
                                    "\", which is not supported (known: " + known + ")");
}

// A number from a small system file, after `key` where one is given.
std::optional<int64_t> system_number(const std::string& path, const std::string& key) {
  const auto text = read_system_file(path);
  if (!text.ok()) return std::nullopt;
  const size_t at = key.empty() ? 0 : text->find(key);
  if (at == std::string::npos) return std::nullopt;
  int64_t number = 0;
  if (std::sscanf(text->c_str() + at + key.size(), "%ld", &number) != 1) return std::nullopt;
  return number;
}

// What the process may use: what is available now, or the control group's limit if that is lower.
int64_t machine_memory_bytes(double share) {
  int64_t bytes = std::numeric_limits<int64_t>::max();
  if (const auto kib = system_number("/proc/meminfo", "MemAvailable:")) bytes = *kib * 1024;
  for (const char* limit :
       {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    if (const auto number = system_number(limit, "")) bytes = std::min(bytes, *number);
  }
  if (bytes == std::numeric_limits<int64_t>::max()) return 0;
  return static_cast<int64_t>(static_cast<double>(bytes) * share);
}

// Where the model will be computed. kAuto becomes a device that is there.
Result<DeviceChoice> choose_device(const LoadOptions& options) {
  if (options.device == DeviceChoice::kCpu) return DeviceChoice::kCpu;
  const Result<kernels::CudaMemory> memory = kernels::cuda_memory(options.cuda);
  if (memory.ok()) return DeviceChoice::kCuda;
  if (options.device == DeviceChoice::kCuda) return memory.status();
  return DeviceChoice::kCpu;
}

// vLLM's rule: a share of the device's whole memory, less what others hold.
Result<int64_t> device_memory_bytes(const LoadOptions& options, DeviceChoice device) {
  if (device == DeviceChoice::kCpu) return machine_memory_bytes(options.memory_share);
  GALLEY_ASSIGN_OR_RETURN(const kernels::CudaMemory memory, kernels::cuda_memory(options.cuda));
  const auto share =
      static_cast<int64_t>(static_cast<double>(memory.total_bytes) * options.memory_share);
  return std::min(share, memory.free_bytes);
}

bool uses_float32(const LoadOptions& options, const model::ModelConfig& config) {
  if (options.dtype == DTypeChoice::kAuto) return config.dtype == DType::kF32;
  return options.dtype == DTypeChoice::kFloat32;
}

CacheFormat cache_format(const LoadOptions& options, bool float32) {
  switch (options.cache) {
    case CacheChoice::kFloat32:
      return CacheFormat::kF32;
    case CacheChoice::kBFloat16:
      return CacheFormat::kBF16;
    case CacheChoice::kFp8:
      return CacheFormat::kFp8Latent;
    case CacheChoice::kAuto:
      break;
  }
  return float32 ? CacheFormat::kF32 : CacheFormat::kBF16;
}

// The tensors of the folder, or made-up ones; and what must live as long as they do.
struct Source {
  std::shared_ptr<model::Checkpoint> checkpoint;  // null for made-up ones
  std::shared_ptr<model::TensorSource> tensors;
};

Result<Source> open_source(const LoadOptions& options, const model::ModelConfig& config) {
  Source source;
  if (options.format == LoadFormat::kDummy) {
    source.tensors = std::make_shared<model::DummySource>(config, false);
    return source;
  }
  GALLEY_ASSIGN_OR_RETURN(model::Checkpoint checkpoint, model::Checkpoint::open(options.folder));
  source.checkpoint = std::make_shared<model::Checkpoint>(std::move(checkpoint));
  source.tensors = std::make_shared<model::CheckpointSource>(source.checkpoint.get());
  return source;
}

Result<PlannedModel> plan_with(const LoadOptions& options, model::FolderConfig config,
                               model::TensorSource* tensors) {
  PlannedModel planned;
  planned.config = std::move(config.model);
  planned.generation = std::move(config.generation);
  model::PlanLimits limits;
  limits.max_model_len = options.max_model_len;
  limits.max_num_seqs = options.max_num_seqs;
  limits.max_num_batched_tokens = options.max_num_batched_tokens;
  limits.num_blocks = options.num_blocks;
  limits.drafts_max = options.num_speculative_tokens < 0 ? 1 : options.num_speculative_tokens;
  GALLEY_ASSIGN_OR_RETURN(const DeviceChoice device, choose_device(options));
  limits.memory_bytes = options.memory_bytes;
  if (limits.memory_bytes == 0) {
    GALLEY_ASSIGN_OR_RETURN(limits.memory_bytes, device_memory_bytes(options, device));
  }
  if (device == DeviceChoice::kCuda) {
    const bool float32 = uses_float32(options, planned.config);
    kernels::CudaOptions cuda = options.cuda;
    cuda.precision = float32 ? Precision::kFloat32 : Precision::kBFloat16;
    limits.activations = float32 ? DType::kF32 : DType::kBF16;
    limits.sample_rows_max = model::kSampleRowsMaxGpu;
    limits.backend_bytes = [cuda](const kernels::StepLimits& step) {
      const Result<int64_t> bytes = kernels::cuda_reserved_bytes(cuda, step);
      return bytes.ok() ? *bytes : 0;  // the device was found just now
    };
  }
  limits.cache_format = cache_format(options, uses_float32(options, planned.config));
  GALLEY_ASSIGN_OR_RETURN(planned.plan, model::plan_memory(planned.config, limits, tensors));
  if (options.num_speculative_tokens > 0 && planned.plan.num_mtp_layers == 0) {
    return Status(Code::kInvalid,
                  "--speculative-config asks for MTP, but the model has no MTP layer: use "
                  "'{\"method\":\"none\"}'");
  }
  return planned;
}

RunnerInfo runner_info(const model::ModelConfig& config, const model::MemoryPlan& plan) {
  RunnerInfo info;
  info.vocab_size = config.vocab_size;
  info.context_max = plan.max_model_len;
  info.num_blocks = plan.num_blocks;
  info.step_tokens_max = plan.max_num_batched_tokens;
  info.step_requests_max = plan.max_num_seqs;
  info.drafts_max = plan.drafts_max;
  return info;
}

Status does_not_fit(const model::MemoryPlan& plan) {
  std::string message = "the model needs " + std::to_string(plan.total_bytes) + " bytes";
  if (plan.memory_bytes > 0)
    message += " and " + std::to_string(plan.memory_bytes) + " are available";
  for (const std::string& sentence : plan.advice) message += "; " + sentence;
  return Status(Code::kTooLarge, message);
}

Result<std::unique_ptr<kernels::Ops>> make_ops(const LoadOptions& options,
                                               const model::ModelConfig& config) {
  const Precision precision =
      uses_float32(options, config) ? Precision::kFloat32 : Precision::kBFloat16;
  GALLEY_ASSIGN_OR_RETURN(const DeviceChoice device, choose_device(options));
  if (device == DeviceChoice::kCuda) {
    kernels::CudaOptions cuda = options.cuda;
    cuda.precision = precision;
    return kernels::make_cuda_ops(cuda);
  }
  kernels::CpuOptions cpu = options.cpu;
  cpu.precision = precision;
  return kernels::make_cpu_ops(cpu);
}

}  // namespace

Result<DTypeChoice> parse_dtype(const std::string& text) {
  if (text == "auto") return DTypeChoice::kAuto;
  if (text == "float32" || text == "float") return DTypeChoice::kFloat32;
  if (text == "bfloat16") return DTypeChoice::kBFloat16;
  return unknown_value("--dtype", text, "auto, float32, bfloat16");
}

Result<CacheChoice> parse_cache_dtype(const std::string& text) {
  if (text == "auto") return CacheChoice::kAuto;
  if (text == "float32") return CacheChoice::kFloat32;
  if (text == "bfloat16") return CacheChoice::kBFloat16;
  if (text == "fp8" || text == "fp8_e4m3") return CacheChoice::kFp8;
  return unknown_value("--kv-cache-dtype", text, "auto, float32, bfloat16, fp8");
}

Result<DeviceChoice> parse_device(const std::string& text) {
  if (text == "auto") return DeviceChoice::kAuto;
  if (text == "cpu") return DeviceChoice::kCpu;
  if (text == "cuda") return DeviceChoice::kCuda;
  return unknown_value("--device", text, "auto, cpu, cuda");
}

Result<LoadFormat> parse_load_format(const std::string& text) {
  if (text == "auto" || text == "safetensors") return LoadFormat::kSafetensors;
  if (text == "dummy") return LoadFormat::kDummy;
  return unknown_value("--load-format", text, "auto, safetensors, dummy");
}

Result<PlannedModel> plan_model(const LoadOptions& options) {
  GALLEY_ASSIGN_OR_RETURN(model::FolderConfig config, model::read_folder_config(options.folder));
  GALLEY_ASSIGN_OR_RETURN(const Source source, open_source(options, config.model));
  return plan_with(options, std::move(config), source.tensors.get());
}

Result<LoadedModel> load_model_runner(const LoadOptions& options, const ProgressFn& progress) {
  GALLEY_ASSIGN_OR_RETURN(model::FolderConfig config, model::read_folder_config(options.folder));
  GALLEY_ASSIGN_OR_RETURN(Source source, open_source(options, config.model));
  GALLEY_ASSIGN_OR_RETURN(PlannedModel planned,
                          plan_with(options, std::move(config), source.tensors.get()));
  if (!planned.plan.fits) return does_not_fit(planned.plan);
  LoadedModel loaded;
  loaded.config = std::move(planned.config);
  loaded.generation = std::move(planned.generation);
  loaded.plan = std::move(planned.plan);
  loaded.weights = std::make_shared<Source>(source);

  GALLEY_ASSIGN_OR_RETURN(loaded.ops, make_ops(options, loaded.config));
  if (options.time_operations) {
    GALLEY_ASSIGN_OR_RETURN(const DeviceChoice device, choose_device(options));
    auto timed =
        std::make_unique<kernels::TimedOps>(std::move(loaded.ops), device == DeviceChoice::kCuda);
    loaded.timed = timed.get();
    loaded.ops = std::move(timed);
  }
  GALLEY_RETURN_IF_ERROR(loaded.ops->reserve(model::step_limits(loaded.config, loaded.plan)));
  const model::ModelLimits limits{
      .tokens_max = loaded.plan.max_num_batched_tokens,
      .positions_max = loaded.plan.max_model_len + loaded.plan.drafts_max};
  GALLEY_ASSIGN_OR_RETURN(std::unique_ptr<model::Model> model,
                          model::make_model(loaded.config, limits, source.tensors.get(),
                                            loaded.ops.get(), &loaded.notes));
  if (model->num_mtp_layers() > 1 && loaded.plan.drafts_max > 0)
    loaded.notes.push_back("of several MTP layers the first makes all drafts");
  if (source.checkpoint != nullptr) {
    const int64_t total = source.checkpoint->size_bytes();
    source.checkpoint->page_in([&](int64_t done) {
      if (progress) progress({.bytes_done = done, .bytes_total = total});
    });
  }
  ModelRunnerOptions runner_options{.config = loaded.config,
                                    .info = runner_info(loaded.config, loaded.plan),
                                    .cache_format = loaded.plan.cache_format,
                                    .sample_rows_max = loaded.plan.sample_rows_max};
  runner_options.pads_steps = options.pads_steps || loaded.ops->records();
  if (runner_options.pads_steps && loaded.plan.drafts_max == 0)
    runner_options.info.lookahead_tokens = 1;
  GALLEY_ASSIGN_OR_RETURN(std::unique_ptr<ModelRunner> runner,
                          ModelRunner::make(runner_options, std::move(model), loaded.ops.get()));
  GALLEY_RETURN_IF_ERROR(runner->record([&](int32_t done, int32_t of) {
    if (progress) progress({.steps_done = done, .steps_total = of});
  }));
  loaded.runner = std::move(runner);
  return loaded;
}

}  // namespace galley::engine

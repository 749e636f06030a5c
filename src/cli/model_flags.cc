#include "cli/model_flags.h"

#include <array>
#include <boost/json/parse.hpp>
#include <limits>

#include "base/thread_pool.h"

namespace galley::cli {

namespace {

constexpr int64_t kInt32Max = std::numeric_limits<int32_t>::max();

struct IsaName {
  std::string_view name;
  kernels::Isa isa;
};
constexpr std::array<IsaName, 5> kIsaNames = {{{"auto", kernels::Isa::kAuto},
                                               {"portable", kernels::Isa::kPortable},
                                               {"avx2", kernels::Isa::kAvx2},
                                               {"avx512", kernels::Isa::kAvx512},
                                               {"amx", kernels::Isa::kAmx}}};

Status refused_config(const std::string& why) {
  return Status(Code::kInvalid, "--speculative-config: " + why +
                                    "; write {\"method\": \"mtp\", \"num_speculative_tokens\": 1}"
                                    " or {\"method\": \"none\"}");
}

void refuse_foreign(Settings* settings) {
  const std::string one = "this version computes on one device in one process; leave the flag out";
  for (const char* flag : {"tensor-parallel-size", "pipeline-parallel-size", "data-parallel-size",
                           "enable-expert-parallel", "distributed-executor-backend"}) {
    settings->refuse(flag, one);
  }
  settings->refuse("swap-space", "there is no swap: preempted requests are computed again");
  settings->refuse("cpu-offload-gb", "weights are on one device; leave the flag out");
  settings->refuse("trust-remote-code", "Galley never runs code from a model folder");
  settings->refuse("quantization", "the checkpoint itself says how it is quantised");
  settings->refuse("enforce-eager", "there are no CUDA graphs to avoid");
  settings->refuse("block-size", "blocks hold 64 tokens, always");
  settings->refuse("tokenizer", "the tokenizer is read from the model folder");
  settings->refuse("enable-chunked-prefill", "long prompts are always computed in chunks");
}

}  // namespace

void declare(ModelFlags* flags, Settings* settings) {
  settings->heading("Model");
  settings->add({"model", "DIR", "model folder, or ORG/NAME of a hub; by default the demo model"},
                &flags->model);
  settings->positional("MODEL", "model");
  declare(&flags->hub, settings);
  declare_computing(flags, settings);
}

void declare_computing(ModelFlags* flags, Settings* settings) {
  settings->add_choice({"load-format", "FORMAT", "auto, safetensors, or dummy for random weights"},
                       {"auto", "safetensors", "dummy"}, &flags->load_format);
  settings->add_choice({"dtype", "TYPE", "auto, bfloat16 or float32"},
                       {"auto", "bfloat16", "float32"}, &flags->dtype);
  settings->add_choice({"kv-cache-dtype", "TYPE", "auto, bfloat16, float32 or fp8"},
                       {"auto", "bfloat16", "float32", "fp8"}, &flags->kv_cache_dtype);
  settings->add_json({"speculative-config", "JSON", "drafts: {\"method\":\"none\"} turns them off"},
                     &flags->speculative_config);
  settings->heading("Limits (0: chosen by the memory plan)");
  settings->add({"max-model-len", "N", "longest prompt and answer together, in tokens"},
                {.min = 0, .max = kInt32Max}, &flags->max_model_len);
  settings->add({"max-num-seqs", "N", "requests in one step"}, {.min = 1, .max = 4096},
                &flags->max_num_seqs);
  settings->add({"max-num-batched-tokens", "N", "tokens in one step"}, {.min = 0, .max = 1 << 20},
                &flags->max_num_batched_tokens);
  settings->add({"num-gpu-blocks-override", "N", "cache blocks of 64 tokens"},
                {.min = 0, .max = kInt32Max}, &flags->num_blocks);
  settings->add_size({"memory-limit", "SIZE", "memory to use; by default 90 % of the machine's"},
                     &flags->memory_limit_bytes);
  settings->heading("Computing");
  settings->add_switch({"enable-prefix-caching", "", "reuse the cache of equal beginnings"},
                       &flags->prefix_caching);
  settings->add_switch(
      {"batch-invariant", "", "answers do not depend on their neighbours (CPU: on)"},
      &flags->batch_invariant);
  settings->add_choice({"device", "NAME", "auto (a GPU where there is one), cpu or cuda"},
                       {"auto", "cpu", "cuda"}, &flags->device);
  settings->add({"gpu-memory-utilization", "SHARE", "of the device's memory that may be used"},
                {.min = 0.01, .max = 1.0}, &flags->gpu_memory_utilization);
  settings->add({"cuda-libraries", "FOLDER", "where cuBLASLt 13 is; empty: the usual places"},
                &flags->cuda_libraries);
  settings->add({"threads", "N", "0: one for each core this process may use"},
                {.min = 0, .max = 1024}, &flags->threads);
  settings->add_choice({"isa", "NAME", "auto, portable, avx2, avx512 or amx"},
                       {"auto", "portable", "avx2", "avx512", "amx"}, &flags->isa);
  refuse_foreign(settings);
}

Result<engine::LoadOptions> resolve(const ModelFlags& flags) {
  engine::LoadOptions out;
  out.folder = flags.model;
  if (out.folder.empty()) {
    GALLEY_ASSIGN_OR_RETURN(out.folder, find_demo_model());
  } else if (is_hub_name(out.folder)) {
    GALLEY_ASSIGN_OR_RETURN(const hub::Pulled pulled, pull_model(flags.model, flags.hub));
    out.folder = pulled.folder;
  }
  GALLEY_ASSIGN_OR_RETURN(out.dtype, engine::parse_dtype(flags.dtype));
  GALLEY_ASSIGN_OR_RETURN(out.cache, engine::parse_cache_dtype(flags.kv_cache_dtype));
  GALLEY_ASSIGN_OR_RETURN(out.format, engine::parse_load_format(flags.load_format));
  out.max_model_len = static_cast<int32_t>(flags.max_model_len);
  out.max_num_seqs = static_cast<int32_t>(flags.max_num_seqs);
  out.max_num_batched_tokens = static_cast<int32_t>(flags.max_num_batched_tokens);
  out.num_blocks = static_cast<int32_t>(flags.num_blocks);
  out.memory_bytes = flags.memory_limit_bytes;
  if (!flags.speculative_config.empty()) {
    GALLEY_ASSIGN_OR_RETURN(out.num_speculative_tokens,
                            parse_speculative_config(flags.speculative_config));
  }
  for (const IsaName& known : kIsaNames) {
    if (known.name == flags.isa) out.cpu.isa = known.isa;
  }
  GALLEY_ASSIGN_OR_RETURN(out.device, engine::parse_device(flags.device));
  out.cuda.libraries = flags.cuda_libraries;
  out.cuda.batch_invariant = flags.batch_invariant.value_or(false);
  out.memory_share = flags.gpu_memory_utilization;
  out.cpu.threads = static_cast<int32_t>(flags.threads);
  out.cpu.batch_invariant = flags.batch_invariant.value_or(true);
  return out;
}

void fill_in(const model::MemoryPlan& plan, ModelFlags* flags) {
  flags->max_model_len = plan.max_model_len;
  flags->max_num_seqs = plan.max_num_seqs;
  flags->max_num_batched_tokens = plan.max_num_batched_tokens;
  flags->num_blocks = plan.num_blocks;
  flags->memory_limit_bytes = plan.memory_bytes;
  if (flags->threads == 0) flags->threads = static_cast<int64_t>(usable_cores().size());
}

Result<int32_t> parse_speculative_config(std::string_view json) {
  boost::system::error_code error;
  const boost::json::value parsed =
      boost::json::parse(boost::json::string_view(json.data(), json.size()), error);
  if (error || !parsed.is_object()) return refused_config("is not a JSON object");
  std::string method;
  int32_t tokens = -1;
  for (const auto& [key, value] : parsed.as_object()) {
    if (key == "method" && value.is_string()) {
      method = value.as_string().c_str();
    } else if (key == "num_speculative_tokens" && value.is_int64() && value.as_int64() >= 1 &&
               value.as_int64() <= engine::kDraftsMax) {
      tokens = static_cast<int32_t>(value.as_int64());
    } else if (key == "num_speculative_tokens") {
      return refused_config("num_speculative_tokens is not a number from 1 to " +
                            std::to_string(engine::kDraftsMax));
    } else if (key == "method") {
      return refused_config("method is not text");
    } else {
      return refused_config("unknown key '" + std::string(key.data(), key.size()) + "'");
    }
  }
  if (method == "none" && tokens != -1) {
    return refused_config("method none takes no num_speculative_tokens");
  }
  if (method == "none") return 0;
  if (method == "mtp" || method == "deepseek_mtp") return tokens;
  return refused_config(method.empty() ? "method is missing" : "unknown method '" + method + "'");
}

}  // namespace galley::cli

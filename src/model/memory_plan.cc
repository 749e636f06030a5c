#include "model/memory_plan.h"

#include <algorithm>
#include <cstdio>

#include "model/model.h"
#include "model/weights.h"

namespace galley::model {
namespace {

using kernels::CacheFormat;
using kernels::kBlockTokens;

constexpr int32_t kBatchedTokensDefault = 2048;
constexpr int32_t kBatchedTokensMax = 1 << 16;
constexpr int32_t kSeqsMax = 4096;
constexpr int32_t kBlocksMax = 1 << 24;

int64_t blocks_for(int64_t positions) {
  return (positions + kBlockTokens - 1) / kBlockTokens;
}

std::string_view name_of(CacheFormat format) {
  switch (format) {
    case CacheFormat::kF32:
      return "float32";
    case CacheFormat::kBF16:
      return "bfloat16";
    case CacheFormat::kFp8Latent:
      return "fp8";
  }
  return "?";
}

// "1.53 GiB". Binary units, as memory is sold.
std::string size_text(int64_t bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024.0 && unit + 1 < std::size(kUnits)) {
    value /= 1024.0;
    ++unit;
  }
  char text[32];
  std::snprintf(text, sizeof text, unit == 0 ? "%.0f %s" : "%.2f %s", value, kUnits[unit]);
  return text;
}

std::string count_text(int64_t count) {
  const auto value = static_cast<double>(count);
  char text[32];
  if (count >= 1'000'000'000) {
    std::snprintf(text, sizeof text, "%.2f B", value / 1e9);
  } else {
    std::snprintf(text, sizeof text, "%.2f M", value / 1e6);
  }
  return text;
}

Status check_limits(const ModelConfig& config, const PlanLimits& limits) {
  const auto bounded = [](const char* flag, int64_t value, int64_t min, int64_t max) {
    if (value >= min && value <= max) return Status();
    return Status(Code::kInvalid, std::string(flag) + " is " + std::to_string(value) +
                                      ", expected " + std::to_string(min) + " to " +
                                      std::to_string(max));
  };
  if (limits.max_model_len != 0) {
    const Status status = bounded("--max-model-len", limits.max_model_len, 1, config.max_positions);
    if (!status.ok()) {
      return Status(status.code(), status.message() + " (max_position_embeddings of the model)");
    }
  }
  GALLEY_RETURN_IF_ERROR(bounded("--max-num-seqs", limits.max_num_seqs, 1, kSeqsMax));
  if (limits.max_num_batched_tokens != 0) {
    GALLEY_RETURN_IF_ERROR(bounded("--max-num-batched-tokens", limits.max_num_batched_tokens,
                                   std::max(limits.max_num_seqs, 1 + limits.drafts_max),
                                   kBatchedTokensMax));
  }
  if (limits.num_blocks != 0)
    GALLEY_RETURN_IF_ERROR(bounded("--num-gpu-blocks-override", limits.num_blocks, 1, kBlocksMax));
  GALLEY_RETURN_IF_ERROR(bounded("num_speculative_tokens", limits.drafts_max, 0, 16));
  if (limits.cache_format == CacheFormat::kFp8Latent && !config.has_mla()) {
    return Status(Code::kInvalid,
                  "--kv-cache-dtype fp8 needs latent attention (DeepSeek-V2, V3); " +
                      std::string(name_of(config.architecture)) + " has none: use bfloat16");
  }
  return {};
}

Status count_weights(const ModelConfig& config, TensorSource* source, MemoryPlan* plan) {
  WeightReader reader(source, nullptr, config);
  int64_t idle = 0;  // parameters of experts that a token does not choose
  if (config.has_mla()) {
    const DeepseekWeights weights = read_deepseek_weights(config, &reader, &plan->notes);
    plan->num_mtp_layers = static_cast<int32_t>(weights.mtp.size());
    const int64_t expert = int64_t{3} * config.hidden_size * config.moe.intermediate;
    const int64_t unused = config.moe.num_experts - config.moe.route.experts_per_token;
    for (const DeepseekLayer& layer : weights.layers) idle += layer.is_moe ? unused * expert : 0;
    for (const MtpLayer& layer : weights.mtp) idle += layer.block.is_moe ? unused * expert : 0;
  } else {
    read_llama_weights(config, &reader);
  }
  std::vector<std::string> ignored;
  GALLEY_RETURN_IF_ERROR(reader.finish(&ignored));
  plan->parameters = reader.parameters();
  plan->parameters_active = plan->parameters - idle;
  for (const auto& [type, entry] : reader.counts()) {
    plan->weights.push_back({type, entry.parameters, entry.bytes});
    plan->weight_bytes += entry.bytes;
  }
  return {};
}

// What a step takes beside weights and cache: logits, activations, and the backend's own scratch,
// where nobody knows better two copies of the widest activation.
int64_t step_bytes(const ModelConfig& config, const PlanLimits& limits, MemoryPlan plan,
                   int32_t batched_tokens, int32_t model_len) {
  plan.max_num_batched_tokens = batched_tokens;
  plan.max_model_len = model_len;
  const int64_t logits = plan.sample_rows_max *
                         (int64_t{config.vocab_size} * 4 +
                          config.hidden_size * static_cast<int64_t>(size_of(limits.activations)));
  const int64_t scratch = limits.backend_bytes
                              ? limits.backend_bytes(step_limits(config, plan))
                              : int64_t{batched_tokens} * model_width_max(config) * 12 +
                                    int64_t{16} * config.vocab_size * 8;
  const ModelLimits model{.tokens_max = batched_tokens, .positions_max = model_len};
  return model_scratch_bytes(config, model, limits.activations) + logits + scratch;
}

class Planner {
 public:
  Planner(const ModelConfig& config, const PlanLimits& limits, MemoryPlan* plan)
      : config_(config), limits_(limits), plan_(plan) {}

  void run() {
    plan_->max_model_len =
        limits_.max_model_len > 0 ? limits_.max_model_len : config_.max_positions;
    set_step(plan_->max_num_batched_tokens, plan_->max_model_len);
    if (limits_.max_model_len == 0 && room() >= block_bytes() && room_blocks() < needed_blocks()) {
      // Nobody asked for the model's whole context: take what the memory holds.
      const int64_t positions = room_blocks() * kBlockTokens - plan_->drafts_max;
      plan_->max_model_len = static_cast<int32_t>(
          std::clamp<int64_t>(positions, std::min<int64_t>(kBlockTokens, config_.max_positions),
                              config_.max_positions));
      set_step(plan_->max_num_batched_tokens, plan_->max_model_len);
    }
    choose_blocks();
    plan_->cache_bytes = plan_->num_blocks * block_bytes();
    plan_->total_bytes = plan_->weight_bytes + plan_->cache_bytes + plan_->activation_bytes;
    plan_->fits = plan_->memory_bytes == 0 || plan_->total_bytes <= plan_->memory_bytes;
    plan_->fits = plan_->fits && plan_->num_blocks >= needed_blocks();
    if (!plan_->fits) advise();
  }

 private:
  int64_t block_bytes() const { return plan_->cache_bytes_per_token * kBlockTokens; }
  // Blocks without which one request of full length cannot run.
  int64_t needed_blocks() const { return blocks_for(plan_->max_model_len + plan_->drafts_max); }
  int64_t wanted_blocks() const { return needed_blocks() * plan_->max_num_seqs; }
  void set_step(int32_t tokens, int32_t model_len) {
    plan_->activation_bytes = step_bytes(config_, limits_, *plan_, tokens, model_len);
  }
  // Memory left for the cache, -1 when no limit is known.
  int64_t room() const {
    if (plan_->memory_bytes == 0) return -1;
    return std::max<int64_t>(0,
                             plan_->memory_bytes - plan_->weight_bytes - plan_->activation_bytes);
  }
  int64_t room_blocks() const { return room() / block_bytes(); }

  void choose_blocks() {
    int64_t blocks = std::min<int64_t>(wanted_blocks(), kBlocksMax);
    if (room() >= 0) blocks = std::min(blocks, room_blocks());
    blocks = std::max(blocks, needed_blocks());
    if (limits_.num_blocks > 0) blocks = limits_.num_blocks;
    plan_->num_blocks = static_cast<int32_t>(blocks);
  }

  // Sentences that each name one flag and a value, the smallest change first.
  void advise() {
    if (plan_->num_blocks < needed_blocks()) {
      plan_->advice.push_back(
          "raise --num-gpu-blocks-override to at least " + std::to_string(needed_blocks()) +
          ", or lower --max-model-len to " +
          std::to_string(
              std::max<int64_t>(1, int64_t{plan_->num_blocks} * kBlockTokens - plan_->drafts_max)));
    }
    if (plan_->memory_bytes == 0 || plan_->total_bytes <= plan_->memory_bytes) return;
    const int64_t memory = plan_->memory_bytes;
    const int64_t fixed = plan_->weight_bytes + plan_->activation_bytes;
    if (limits_.num_blocks > 0 && fixed + needed_blocks() * block_bytes() <= memory) {
      plan_->advice.push_back("lower --num-gpu-blocks-override to " +
                              std::to_string(room_blocks()));
      return;
    }
    constexpr int32_t kSmallStep = 256;
    const int64_t small =
        plan_->weight_bytes +
        step_bytes(config_, limits_, *plan_, std::min(kSmallStep, tokens()), plan_->max_model_len);
    if (small < fixed && small + needed_blocks() * block_bytes() <= memory)
      plan_->advice.push_back("lower --max-num-batched-tokens to " + std::to_string(kSmallStep));
    if (room_blocks() > 0) {
      plan_->advice.push_back(
          "lower --max-model-len to " +
          std::to_string(std::max<int64_t>(1, room_blocks() * kBlockTokens - plan_->drafts_max)));
    }
    const int64_t fp8_row = config_.has_mla() ? cache_row_bytes(config_, CacheFormat::kFp8Latent)
                                              : plan_->cache_row_bytes;
    if (fp8_row < plan_->cache_row_bytes &&
        fixed + needed_blocks() * block_bytes() / plan_->cache_row_bytes * fp8_row <= memory)
      plan_->advice.push_back("--kv-cache-dtype fp8");
    if (plan_->advice.empty()) {
      plan_->advice.push_back("no flag makes it fit: weights and one short request need " +
                              size_text(small + block_bytes()) + ", this machine gives " +
                              size_text(memory));
    }
  }

  int32_t tokens() const { return plan_->max_num_batched_tokens; }

  const ModelConfig& config_;
  const PlanLimits& limits_;
  MemoryPlan* const plan_;
};

}  // namespace

kernels::StepLimits step_limits(const ModelConfig& config, const MemoryPlan& plan) {
  const MlaConfig& mla = config.mla;
  kernels::StepLimits limits{
      .tokens_max = plan.max_num_batched_tokens,
      .sequences_max = plan.max_num_seqs,
      .context_max = plan.max_model_len + plan.drafts_max,
      .width_max = model_width_max(config),
      .vocab_size = config.vocab_size,
      .sample_rows_max = plan.sample_rows_max,
      .experts_per_token = config.moe.num_experts > 0 ? config.moe.route.experts_per_token : 0,
      .num_experts = config.moe.num_experts,
      .num_heads = config.num_heads,
      .latent_dim = mla.kv_lora_rank};
  if (!config.has_mla()) {
    limits.num_kv_heads = config.num_kv_heads;
    limits.head_dim = config.head_dim;
  } else if (config.fp8 || config.dtype != DType::kBF16) {
    limits.latent_weights = int64_t{config.num_layers + plan.num_mtp_layers} * config.num_heads *
                            (mla.nope_dim + mla.value_dim) * mla.kv_lora_rank;
  }
  return limits;
}

int64_t cache_row_bytes(const ModelConfig& config, CacheFormat format) {
  const int64_t width = config.cache_width(), latent = config.mla.kv_lora_rank;
  switch (format) {
    case CacheFormat::kF32:
      return width * 4;
    case CacheFormat::kBF16:
      return width * 2;
    case CacheFormat::kFp8Latent:
      return latent + (latent + kScaleBlock - 1) / kScaleBlock * 4 + (width - latent) * 2;
  }
  return 0;
}

Result<MemoryPlan> plan_memory(const ModelConfig& config, const PlanLimits& limits,
                               TensorSource* source) {
  GALLEY_RETURN_IF_ERROR(check_limits(config, limits));
  MemoryPlan plan;
  GALLEY_RETURN_IF_ERROR(count_weights(config, source, &plan));
  plan.cache_format = limits.cache_format;
  plan.cache_row_bytes = cache_row_bytes(config, limits.cache_format);
  plan.drafts_max = plan.num_mtp_layers > 0 ? limits.drafts_max : 0;
  const int32_t mtp_caches = plan.drafts_max > 0 ? 1 : 0;  // the first makes all drafts
  plan.cache_bytes_per_token = plan.cache_row_bytes * (config.num_layers + mtp_caches);
  plan.max_num_seqs = limits.max_num_seqs;
  plan.max_num_batched_tokens = limits.max_num_batched_tokens;
  if (plan.max_num_batched_tokens == 0)
    plan.max_num_batched_tokens =
        std::max(kBatchedTokensDefault, plan.max_num_seqs * (1 + plan.drafts_max));
  plan.sample_rows_max = static_cast<int32_t>(
      std::min<int64_t>(plan.max_num_seqs * int64_t{1 + plan.drafts_max}, limits.sample_rows_max));
  plan.memory_bytes = limits.memory_bytes;
  Planner(config, limits, &plan).run();
  return plan;
}

std::string render(const ModelConfig& config, const MemoryPlan& plan) {
  std::string text;
  const auto line = [&text](std::string_view name, const std::string& value) {
    text +=
        std::string(name) + std::string(24 - std::min<size_t>(23, name.size()), ' ') + value + "\n";
  };
  line("architecture", std::string(name_of(config.architecture)));
  line("parameters", count_text(plan.parameters) +
                         (plan.parameters_active < plan.parameters
                              ? ", " + count_text(plan.parameters_active) + " for one token"
                              : ""));
  line("MTP layers", std::to_string(plan.num_mtp_layers));
  for (const DTypeBytes& entry : plan.weights) {
    line("weights " + entry.dtype,
         size_text(entry.bytes) +
             (entry.parameters > 0 ? " (" + count_text(entry.parameters) + " parameters)" : ""));
  }
  line("KV cache per token", size_text(plan.cache_bytes_per_token) + " (" +
                                 std::string(name_of(plan.cache_format)) + ", " +
                                 std::to_string(plan.cache_row_bytes) + " bytes a layer)");
  line("KV cache", size_text(plan.cache_bytes) + " (" + std::to_string(plan.num_blocks) +
                       " blocks of 64: " + std::to_string(int64_t{plan.num_blocks} * 64) +
                       " tokens)");
  line("activations, scratch", size_text(plan.activation_bytes) + " (steps of " +
                                   std::to_string(plan.max_num_batched_tokens) + " tokens, " +
                                   std::to_string(plan.max_num_seqs) + " requests)");
  line("context", std::to_string(plan.max_model_len) +
                      " tokens (the model: " + std::to_string(config.max_positions) + ")");
  line("total", size_text(plan.total_bytes) +
                    (plan.memory_bytes > 0 ? " of " + size_text(plan.memory_bytes) : "") +
                    (plan.fits ? "" : ": DOES NOT FIT"));
  for (const std::string& sentence : plan.notes) text += "note: " + sentence + "\n";
  for (const std::string& sentence : plan.advice) text += "to make it fit: " + sentence + "\n";
  return text;
}

}  // namespace galley::model

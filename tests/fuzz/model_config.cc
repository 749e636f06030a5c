// Fuzzes config.json and generation_config.json. Whatever is taken is within its bounds, and a
// memory plan of it computes without overflow.
#include <cmath>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "model/config.h"
#include "model/memory_plan.h"
#include "model/rope.h"

namespace galley::model {
namespace {

void check_plan(const ModelConfig& config) {
  // A plan asks for every tensor: only small ones here, for speed.
  if (int64_t{config.num_layers} * (config.moe.num_experts + 10) > 500) return;
  DummySource source(config, false);
  const auto plan =
      plan_memory(config, {.drafts_max = 1, .memory_bytes = int64_t{1} << 34}, &source);
  if (!plan.ok()) return;
  GALLEY_CHECK(plan->total_bytes >= plan->weight_bytes && plan->weight_bytes > 0, "a sum");
  GALLEY_CHECK(plan->parameters >= plan->parameters_active && plan->parameters_active > 0,
               "a part");
  GALLEY_CHECK(plan->max_model_len >= 1 && plan->num_blocks >= 1, "room for something");
  GALLEY_CHECK(plan->fits || !plan->advice.empty(), "a refusal says what would help");
  GALLEY_CHECK(!render(config, *plan).empty(), "a text");
}

void check(std::string_view text) {
  const auto generation = parse_generation_config(text);
  if (generation.ok())
    GALLEY_CHECK(generation->end_tokens.size() <= ConfigLimits::kEndTokensMax, "end tokens");
  const auto config = parse_model_config(text);
  if (!config.ok()) {
    GALLEY_CHECK(config.code() == Code::kInvalid && config.message().size() < 1000,
                 "a refusal says why, and does not repeat the file");
    return;
  }
  GALLEY_CHECK(config->hidden_size >= 1 && config->hidden_size <= ConfigLimits::kWidthMax, "width");
  GALLEY_CHECK(config->num_layers >= 1 && config->num_layers <= ConfigLimits::kLayersMax, "layers");
  GALLEY_CHECK(config->cache_width() > 0, "a cache row has values");
  const kernels::RouteShape& route = config->moe.route;
  if (config->moe.num_experts > 0) {
    GALLEY_CHECK(route.num_groups >= 1 && route.num_experts % route.num_groups == 0, "groups");
    GALLEY_CHECK(route.num_groups_kept <= route.num_groups, "groups kept");
    GALLEY_CHECK(
        route.experts_per_token <= route.num_groups_kept * (route.num_experts / route.num_groups),
        "enough experts to choose from");
  }
  const int32_t width = config->has_mla() ? config->mla.rope_dim : config->head_dim;
  for (const double f : rope_frequencies(config->rope, width).per_pair)
    GALLEY_CHECK(std::isfinite(f) && f >= 0.0, "a frequency");
  check_plan(*config);
}

}  // namespace
}  // namespace galley::model

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  galley::model::check({reinterpret_cast<const char*>(data), size});
  return 0;
}

// `galley inspect`: what is in a model folder, what serving it takes, and whether that fits here.
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <cstdio>

#include "cli/command.h"
#include "cli/model_flags.h"
#include "cli/numbers.h"

namespace galley::cli {

namespace {

std::string to_json(const engine::PlannedModel& planned) {
  const model::ModelConfig& config = planned.config;
  const model::MemoryPlan& plan = planned.plan;
  boost::json::object dtypes;
  for (const model::DTypeBytes& weights : plan.weights) {
    dtypes[weights.dtype] = {{"parameters", weights.parameters}, {"bytes", weights.bytes}};
  }
  boost::json::array advice;
  for (const std::string& sentence : plan.advice) advice.emplace_back(sentence);
  const boost::json::object out = {
      {"architecture", std::string(model::name_of(config.architecture))},
      {"parameters", plan.parameters},
      {"parameters_active", plan.parameters_active},
      {"layers", config.num_layers},
      {"mtp_layers", config.num_mtp_layers},
      {"experts", config.moe.num_experts},
      {"vocab_size", config.vocab_size},
      {"context_max", config.max_positions},
      {"weight_bytes", plan.weight_bytes},
      {"weights", std::move(dtypes)},
      {"cache_bytes_per_token", plan.cache_bytes_per_token},
      {"max_model_len", plan.max_model_len},
      {"max_num_seqs", plan.max_num_seqs},
      {"max_num_batched_tokens", plan.max_num_batched_tokens},
      {"num_blocks", plan.num_blocks},
      {"cache_bytes", plan.cache_bytes},
      {"activation_bytes", plan.activation_bytes},
      {"total_bytes", plan.total_bytes},
      {"memory_bytes", plan.memory_bytes},
      {"fits", plan.fits},
      {"advice", std::move(advice)}};
  return boost::json::serialize(out);
}

}  // namespace

Status run_inspect(Args args, const Variables& variables) {
  ModelFlags flags;
  bool json = false;
  Settings settings("galley inspect",
                    "Shows what is in a model folder, the memory that serving it takes, and which"
                    " flags make it fit.");
  declare(&flags, &settings);
  settings.heading("Output");
  settings.add_switch({"json", "", "print JSON"}, &json);
  allow_serve_config(&settings);
  GALLEY_RETURN_IF_ERROR(settings.parse(args, variables));
  if (print_and_stop(settings)) return Status();
  GALLEY_ASSIGN_OR_RETURN(const engine::LoadOptions options, resolve(flags));
  GALLEY_ASSIGN_OR_RETURN(const engine::PlannedModel planned, engine::plan_model(options));
  if (json) {
    std::printf("%s\n", to_json(planned).c_str());
    return Status();
  }
  std::printf("%s\n%s", options.folder.c_str(),
              model::render(planned.config, planned.plan).c_str());
  return Status();
}

}  // namespace galley::cli

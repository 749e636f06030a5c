#include "cli/served_model.h"

#include <optional>
#include <thread>

#include "base/clock.h"
#include "base/log.h"
#include "cli/loading.h"
#include "cli/numbers.h"
#include "cli/text_model.h"
#include "cli/version.h"
#include "gateway/serve_app.h"
#include "kernels/ops.h"

namespace galley::cli {

namespace {

engine::SamplingParams default_sampling(const model::GenerationConfig& generation) {
  engine::SamplingParams out;
  if (generation.temperature) out.temperature = static_cast<float>(*generation.temperature);
  if (generation.top_p) out.top_p = static_cast<float>(*generation.top_p);
  if (generation.top_k) out.top_k = static_cast<int32_t>(*generation.top_k);
  if (generation.min_p) out.min_p = static_cast<float>(*generation.min_p);
  if (generation.repetition_penalty) {
    out.repetition_penalty = static_cast<float>(*generation.repetition_penalty);
  }
  return out;
}

}  // namespace

void declare(ServingFlags* flags, Settings* settings) {
  settings->heading("Serving");
  settings->add({"served-model-name", "NAME", "names of the model; by default the folder's"},
                &flags->served_model_names);
  settings->add({"max-num-queued-reqs", "N", "requests that may wait; more get 429"},
                {.min = 0, .max = 1 << 20}, &flags->max_num_queued_reqs);
  settings->add_choice({"scheduling-policy", "NAME", "fair: by tenant and cost; fcfs: in order"},
                       {"fair", "fcfs"}, &flags->scheduling_policy);
  settings->add({"chat-template", "FILE", "Jinja template in place of the model's"},
                &flags->chat_template);
  settings->add_choice({"generation-config", "NAME", "auto: the model's defaults; vllm: neutral"},
                       {"auto", "vllm"}, &flags->generation_config);
  settings->add({"seed", "N", "draws the seeds of requests that bring none"}, &flags->seed);
  settings->add_choice(
      {"reasoning-parser", "NAME", "auto, none, deepseek_r1, deepseek_v3 or qwen3"},
      {"auto", "none", "deepseek_r1", "deepseek_v3", "qwen3"}, &flags->reasoning_parser);
  settings->add_choice(
      {"tool-call-parser", "NAME", "auto, deepseek_v3, deepseek_v31, hermes or llama3_json"},
      {"auto", "deepseek_v3", "deepseek_v31", "hermes", "llama3_json"}, &flags->tool_call_parser);
}

struct ServedModel::Parts {
  std::vector<std::string> names;
  engine::LoadedModel model;
  RealClock clock;
  engine::EngineOptions engine_options;
  std::unique_ptr<gateway::ServeApp> app;  // outlives the engine, which calls its sink
  std::unique_ptr<engine::Engine> engine;
};

ServedModel::ServedModel(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
ServedModel::~ServedModel() = default;

Result<std::unique_ptr<ServedModel>> ServedModel::start(const ServedModelOptions& options) {
  auto parts = std::make_unique<Parts>();
  parts->names = options.serving.served_model_names;
  if (parts->names.empty()) parts->names.push_back(folder_name(options.load.folder));
  GALLEY_RETURN_IF_ERROR(gateway::validate(options.server));
  GALLEY_ASSIGN_OR_RETURN(const engine::PlannedModel planned,
                          plan_and_print(options.load, options.quiet));
  if (options.on_planned) options.on_planned(planned.plan);

  TextModelOptions text_options;
  text_options.folder = options.load.folder;
  text_options.chat_template = options.serving.chat_template;
  text_options.reasoning_parser = options.serving.reasoning_parser;
  text_options.eos_ids = planned.config.end_tokens;
  text_options.vocab_size = planned.config.vocab_size;
  GALLEY_ASSIGN_OR_RETURN(gateway::TextModel text, load_text_model(text_options));

  gateway::ServeAppOptions app_options;
  app_options.server = options.server;
  app_options.served_model_names = parts->names;
  app_options.model_root = options.load.folder;
  app_options.version = std::string(version());
  app_options.max_model_len = planned.plan.max_model_len;
  app_options.vocab_size = planned.config.vocab_size;
  if (options.serving.generation_config == "auto") {
    app_options.default_sampling = default_sampling(planned.generation);
  }
  app_options.requests_max = static_cast<size_t>(options.serving.max_num_queued_reqs) +
                             static_cast<size_t>(planned.plan.max_num_seqs);
  app_options.tenants_path = options.tenants;
  app_options.queued_sequences_max = static_cast<int32_t>(options.serving.max_num_queued_reqs);
  app_options.fair = options.serving.scheduling_policy == "fair";
  app_options.capacity.slots = planned.plan.max_num_seqs;
  app_options.capacity.kv_tokens = int64_t{planned.plan.num_blocks} * kernels::kBlockTokens;
  if (options.serving.seed) {
    const Result<int64_t> seed = parse_count(*options.serving.seed);
    if (!seed.ok()) return Status(Code::kInvalid, "--seed: " + seed.message());
    app_options.seed = static_cast<uint64_t>(*seed);
  }
  parts->app = std::make_unique<gateway::ServeApp>(app_options, std::move(text));
  // Before the weights: a port that is taken shall not cost the time of loading.
  GALLEY_RETURN_IF_ERROR(parts->app->listen());

  GALLEY_ASSIGN_OR_RETURN(parts->model, load_with_progress(options.load, options.quiet));
  parts->engine_options =
      engine_options(parts->model, options.prefix_caching,
                     static_cast<int32_t>(options.serving.max_num_queued_reqs), parts->names[0]);
  GALLEY_RETURN_IF_ERROR(engine::validate(parts->engine_options, parts->model.runner->info()));
  parts->engine = std::make_unique<engine::Engine>(parts->engine_options, parts->model.runner.get(),
                                                   &parts->clock, parts->app->sink());
  return std::unique_ptr<ServedModel>(new ServedModel(std::move(parts)));
}

void ServedModel::run(const std::function<void()>& on_ready) {
  std::thread engine_thread([this] { parts_->engine->run(); });
  parts_->app->run(parts_->engine.get(), on_ready);
  parts_->engine->stop();
  engine_thread.join();
}

void ServedModel::stop() {
  parts_->app->stop();
}

std::string ServedModel::url() const {
  return parts_->app->url();
}
const std::vector<std::string>& ServedModel::names() const {
  return parts_->names;
}
const engine::EngineLimits& ServedModel::engine_limits() const {
  return parts_->engine_options.limits;
}

}  // namespace galley::cli

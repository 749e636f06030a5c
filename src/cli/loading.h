// Loading a model as people see it: the memory plan first, then progress, then what to know.
#pragma once

#include "base/status.h"
#include "engine/engine.h"
#include "engine/load_model.h"

namespace galley::cli {

// The memory plan, printed on standard error unless `quiet`. Nothing is loaded.
// Errors  as engine::plan_model
Result<engine::PlannedModel> plan_and_print(const engine::LoadOptions& options, bool quiet);

// Loads, with progress on standard error unless `quiet`; refuses what cannot fit.
// Errors  as engine::load_model_runner
Result<engine::LoadedModel> load_with_progress(const engine::LoadOptions& options, bool quiet);

// The engine's options for a loaded model: its limits are those of the plan.
// `queued_max` requests may wait beside those that run.
engine::EngineOptions engine_options(const engine::LoadedModel& model, bool prefix_caching,
                                     int32_t queued_max, const std::string& name);

}  // namespace galley::cli

// Loading a model as people see it: the memory plan first, then progress, then what to know.
#pragma once

#include "base/status.h"
#include "engine/engine.h"
#include "engine/load_model.h"

namespace galley::cli {

// Prints the plan, refuses what cannot fit, loads with progress; all on standard error.
// `quiet`: prints nothing but what went wrong.
// Errors  as engine::load_model_runner
Result<engine::LoadedModel> load_with_progress(const engine::LoadOptions& options, bool quiet);

// The engine's options for a loaded model: its limits are those of the plan.
// `queued_max` requests may wait beside those that run.
engine::EngineOptions engine_options(const engine::LoadedModel& model, bool prefix_caching,
                                     int32_t queued_max, const std::string& name);

}  // namespace galley::cli

// ServedModel: a loaded model behind an HTTP server, in this process: what `serve` runs, and what
// `chat` talks to when it is given a folder.
//
//   start(): bind the port, plan, load, build text and engine      (main thread)
//   run():   engine thread + event loop, until drained or stopped  (the calling thread)
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "cli/model_flags.h"
#include "cli/settings.h"
#include "engine/engine.h"
#include "engine/load_model.h"
#include "gateway/server.h"

namespace galley::cli {

// Beside ModelFlags; as Settings fills them.
struct ServingFlags {
  std::vector<std::string> served_model_names;  // empty: the folder's name
  int64_t max_num_queued_reqs = 1024;
  std::string scheduling_policy = "fair";
  std::string chat_template;
  std::string generation_config = "auto";
  std::string reasoning_parser = "auto";
  std::string tool_call_parser = "auto";
  std::optional<std::string> seed;  // absent: unpredictable
};
void declare(ServingFlags* flags, Settings* settings);

struct ServedModelOptions {
  engine::LoadOptions load;
  bool prefix_caching = true;
  ServingFlags serving;
  gateway::ServerOptions server;
  std::string tenants;  // the tenant store; empty: one tenant
  bool quiet = false;   // no plan, no progress, no log
  // Called once the memory plan has chosen what was left to it, before anything is loaded.
  std::function<void(const model::MemoryPlan&)> on_planned;
};

class ServedModel {
 public:
  // Errors  kUnavailable  the port is taken; otherwise as engine::load_model_runner and
  //         load_text_model
  static Result<std::unique_ptr<ServedModel>> start(const ServedModelOptions& options);
  ~ServedModel();

  // `on_ready` is called once, before the first request is answered.
  void run(const std::function<void()>& on_ready);
  // Any thread, while run() runs.
  void stop();

  std::string url() const;
  const std::vector<std::string>& names() const;
  const engine::EngineLimits& engine_limits() const;

 private:
  struct Parts;
  explicit ServedModel(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace galley::cli

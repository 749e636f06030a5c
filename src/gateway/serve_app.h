// ServeApp: a whole serving process, but for the model: server, routes, local engine, metrics.
//
//   ServeApp app(options, text);
//   Engine engine(..., app.sink());
//   app.listen();                      // may come before the model is loaded
//   std::thread loop([&] { engine.run(); });
//   app.run(&engine, on_ready);        // until SIGTERM has drained it
//   engine.stop(); loop.join();        // before `app` is destroyed
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "engine/engine.h"
#include "gateway/admission.h"
#include "gateway/server.h"
#include "gateway/text_model.h"

namespace galley::gateway {

struct ServeAppOptions {
  ServerOptions server;
  std::vector<std::string> served_model_names;  // >= 1; the first is the default
  std::string model_root;                       // what /v1/models says is served
  std::string version;
  int32_t max_model_len = 0;
  int32_t vocab_size = 0;                   // of the model: token ids are below it
  engine::SamplingParams default_sampling;  // generation_config.json
  std::optional<uint64_t> seed;             // draws seeds for requests without; absent: by chance
  size_t prepare_threads = 1;               // for templates and tokenisation
  size_t requests_max = 4096;               // being prepared, waiting or running
  std::string tenants_path;                 // the tenant store; empty: one tenant
  int32_t queued_sequences_max = 1024;      // in front of the engine
  bool fair = true;                         // false: the engine gets all at once, in order
  EngineCapacity capacity;                  // of the engine
};

class ServeApp {
 public:
  // `options.server` passes validate().
  ServeApp(const ServeAppOptions& options, TextModel text);
  ~ServeApp();

  engine::Engine::EventSink sink();

  // Opens the tenant store, binds and listens.
  // Errors  kUnavailable  the port is taken, the store cannot be opened; kInvalid  it is no store
  Status listen();
  std::string url() const;

  // Serves on the calling thread until drained or stopped. `on_ready` is called once, on this
  // thread, before the first request is answered.
  void run(engine::Engine* engine, const std::function<void()>& on_ready);

  // Any thread: as SIGTERM, and as the second one.
  void drain();
  void stop();

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace galley::gateway

#include "gateway/serve_app.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <utility>

#include "base/clock.h"
#include "base/hash.h"
#include "gateway/callers.h"
#include "gateway/front_door.h"
#include "gateway/history.h"
#include "gateway/ledger.h"
#include "gateway/local_engine.h"
#include "gateway/metrics.h"
#include "gateway/router.h"
#include "gateway/work_pool.h"

namespace galley::gateway {
namespace {

int64_t wall_clock_s() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

RouterOptions router_options(const ServeAppOptions& options) {
  RouterOptions routes;
  routes.models.names = options.served_model_names;
  routes.models.root = options.model_root;
  routes.models.max_model_len = options.max_model_len;
  routes.models.created_s = wall_clock_s();
  routes.parse.defaults = options.default_sampling;
  routes.parse.vocab_size = options.vocab_size;
  routes.version = options.version;
  routes.cors = !options.server.cors_origins.empty();
  routes.inline_parse_bytes_max = options.server.limits.inline_parse_bytes_max;
  return routes;
}

FrontDoorOptions door_options(const ServeAppOptions& options) {
  FrontDoorOptions door;
  AdmissionLimits& admission = door.admission;
  admission.queued_sequences_max = options.queued_sequences_max;
  admission.queue.items_max =
      std::max<size_t>(1, static_cast<size_t>(options.queued_sequences_max));
  // What the engine is given beyond its slots must fit its own queue, which is as long.
  admission.spare_sequences = std::min(admission.spare_sequences, options.queued_sequences_max);
  admission.displaced_sequences_max =
      std::min(options.capacity.slots, options.queued_sequences_max - admission.spare_sequences);
  door.capacity = options.capacity;
  if (!options.fair) {  // Who waits, waits in the engine's own queue.
    admission.spare_sequences = options.queued_sequences_max;
    admission.displaced_sequences_max = 0;
    door.capacity.kv_tokens = 0;
  }
  door.seed = random_hash_key().k0;
  return door;
}

}  // namespace

struct ServeApp::Parts {
  Parts(const ServeAppOptions& opts, TextModel text_model)
      : options(opts),
        text(std::move(text_model)),
        server(opts.server),
        pool(server.executor(), opts.prepare_threads, opts.server.limits.prepare_jobs_max),
        local({.max_model_len = opts.max_model_len,
               .requests_max = opts.requests_max,
               .seed = opts.seed},
              &text, &pool, server.executor()),
        callers(opts.tenants_path.empty() ? Callers(opts.server.api_keys) : Callers()) {}

  const ServeAppOptions options;
  const TextModel text;
  Server server;
  WorkPool pool;
  LocalEngine local;
  const RealClock clock;
  Callers callers;
  std::unique_ptr<Ledger> ledger;  // with a tenant store
};

ServeApp::ServeApp(const ServeAppOptions& options, TextModel text)
    : parts_(std::make_unique<Parts>(options, std::move(text))) {}
ServeApp::~ServeApp() = default;

engine::Engine::EventSink ServeApp::sink() {
  return parts_->local.sink();
}
Status ServeApp::listen() {
  if (!parts_->options.tenants_path.empty()) {
    GALLEY_ASSIGN_OR_RETURN(
        parts_->ledger, Ledger::open(parts_->options.tenants_path, {}, parts_->server.executor(),
                                     &parts_->callers));
  }
  return parts_->server.listen();
}
std::string ServeApp::url() const {
  return parts_->server.url();
}

void ServeApp::run(engine::Engine* engine, const std::function<void()>& on_ready) {
  parts_->local.attach(engine);
  FrontDoor door(door_options(parts_->options), &parts_->local, &parts_->callers,
                 parts_->ledger.get(), &parts_->clock, parts_->server.executor());
  const std::string& name = parts_->options.served_model_names.front();
  History history{HistoryLimits{}};
  boost::asio::steady_timer recorder(parts_->server.executor());
  const std::function<void()> record = [&] {
    history.add(wall_clock_s(), engine->stats(), door.admission().queue().sequences(),
                door.refused());
    recorder.expires_after(std::chrono::seconds(history.limits().period_s));
    recorder.async_wait([&record](const boost::system::error_code& failure) {
      if (!failure) record();
    });
  };
  record();
  RouterOptions routes = router_options(parts_->options);
  routes.history = [&history](int64_t after_s) { return history.json(after_s); };
  Router router(std::move(routes), &parts_->callers, &parts_->server, &door, &parts_->local,
                &parts_->pool, [this, engine, name, &door](std::string& out) {
                  const int64_t queued = door.admission().queue().sequences();
                  write_engine_metrics(out, engine->stats(), {name, "0", queued});
                  if (const auto& grammars = parts_->text.grammars)
                    write_grammar_metrics(out, grammars->num_entries(), grammars->size_bytes());
                });
  if (on_ready) boost::asio::post(parts_->server.executor(), on_ready);
  parts_->server.run(&router);
  parts_->local.attach(nullptr);
}

void ServeApp::drain() {
  parts_->server.drain();
}
void ServeApp::stop() {
  parts_->server.stop();
}

}  // namespace galley::gateway

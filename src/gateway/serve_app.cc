#include "gateway/serve_app.h"

#include <boost/asio/post.hpp>
#include <chrono>
#include <utility>

#include "gateway/local_engine.h"
#include "gateway/metrics.h"
#include "gateway/router.h"
#include "gateway/work_pool.h"

namespace galley::gateway {
namespace {

RouterOptions router_options(const ServeAppOptions& options) {
  RouterOptions routes;
  routes.models.names = options.served_model_names;
  routes.models.root = options.model_root;
  routes.models.max_model_len = options.max_model_len;
  routes.models.created_s = std::chrono::duration_cast<std::chrono::seconds>(
                                std::chrono::system_clock::now().time_since_epoch())
                                .count();
  routes.parse.defaults = options.default_sampling;
  routes.parse.vocab_size = options.vocab_size;
  routes.version = options.version;
  routes.cors = !options.server.cors_origins.empty();
  routes.inline_parse_bytes_max = options.server.limits.inline_parse_bytes_max;
  return routes;
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
              &text, &pool, server.executor()) {}

  const ServeAppOptions options;
  const TextModel text;
  Server server;
  WorkPool pool;
  LocalEngine local;
};

ServeApp::ServeApp(const ServeAppOptions& options, TextModel text)
    : parts_(std::make_unique<Parts>(options, std::move(text))) {}
ServeApp::~ServeApp() = default;

engine::Engine::EventSink ServeApp::sink() {
  return parts_->local.sink();
}
Status ServeApp::listen() {
  return parts_->server.listen();
}
std::string ServeApp::url() const {
  return parts_->server.url();
}

void ServeApp::run(engine::Engine* engine, const std::function<void()>& on_ready) {
  parts_->local.attach(engine);
  const EngineLabels labels{parts_->options.served_model_names.front(), "0"};
  Router router(router_options(parts_->options), parts_->options.server.api_keys, &parts_->server,
                &parts_->local, &parts_->pool, [engine, labels](std::string& out) {
                  write_engine_metrics(out, engine->stats(), labels);
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

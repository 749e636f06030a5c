#include "cli/local_server.h"

#include <utility>

#include "base/hash.h"
#include "base/log.h"

namespace galley::cli {

Result<std::unique_ptr<LocalServer>> LocalServer::start(ServedModelOptions options) {
  auto out = std::unique_ptr<LocalServer>(new LocalServer);
  options.server.host = "127.0.0.1";
  options.server.port = 0;
  options.server.handle_signals = false;
  options.quiet = true;
  if (options.tenants.empty()) {
    const HashKey key = random_hash_key();
    out->api_key_ = std::to_string(key.k0) + "-" + std::to_string(key.k1);
    options.server.api_keys = {out->api_key_};
  }
  set_log_level(LogLevel::kWarning);
  GALLEY_ASSIGN_OR_RETURN(out->served_, ServedModel::start(options));
  out->thread_ = std::thread([served = out->served_.get()] { served->run([] {}); });
  return out;
}

LocalServer::~LocalServer() {
  if (!thread_.joinable()) return;
  served_->stop();
  thread_.join();
}

}  // namespace galley::cli

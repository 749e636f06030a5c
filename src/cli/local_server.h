// LocalServer: a server in this process, on a free loopback port, until it is destroyed: `chat`
// with a folder and `bench overload` talk to it as to any other.
#pragma once

#include <memory>
#include <string>
#include <thread>

#include "base/status.h"
#include "cli/served_model.h"

namespace galley::cli {

class LocalServer {
 public:
  // Host, port, signals and quiet of `options` are set here; without a tenant store also a key that
  // nobody else knows.
  // Errors  as ServedModel::start
  static Result<std::unique_ptr<LocalServer>> start(ServedModelOptions options);
  ~LocalServer();

  std::string url() const { return served_->url(); }
  const std::string& api_key() const { return api_key_; }  // empty with a tenant store
  const std::string& model() const { return served_->names().front(); }

 private:
  LocalServer() = default;

  std::string api_key_;
  std::unique_ptr<ServedModel> served_;
  std::thread thread_;
};

}  // namespace galley::cli

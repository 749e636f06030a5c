// AdminServer: tenants, keys, tiers and what was used, over HTTP, on a port and with a key of its
// own: the same TenantStore calls and the same JSON as `galley tenant` and `galley key`.
//
// Has its own thread, event loop and handle of the store, so that nothing it does can hold up an
// answer; the serving process sees its changes as those of any other process (LedgerLimits).
// docs/api.md lists the paths.
#pragma once

#include <memory>
#include <string>

#include "base/status.h"

namespace galley::gateway {

struct AdminOptions {
  std::string host = "127.0.0.1";
  uint16_t port = 0;  // 0: the system picks one
  std::string key;    // sent as bearer token; not empty
  std::string tenants_path;
};

class AdminServer {
 public:
  // Errors  kInvalid  the host, the key; kUnavailable  the port or the store
  static Result<std::unique_ptr<AdminServer>> start(const AdminOptions& options);
  ~AdminServer();

  std::string url() const;

 private:
  struct Parts;
  explicit AdminServer(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace galley::gateway

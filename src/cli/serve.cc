// `galley serve`: a model behind the OpenAI API, everything in one process.
#include <cstdio>

#include "base/log.h"
#include "cli/command.h"
#include "cli/served_model.h"
#include "cli/version.h"
#include "gateway/admin.h"

namespace galley::cli {

namespace {

constexpr size_t kApiKeysMax = 1024;
constexpr size_t kServedNamesMax = 64;

struct ServeFlags {
  ModelFlags model;
  ServingFlags serving;
  std::string host = "127.0.0.1";
  int64_t port = 8000;
  std::vector<std::string> api_keys;
  std::string tenants;
  std::string admin_host = "127.0.0.1";
  int64_t admin_port = 0;
  std::string admin_key;
  bool allow_unauthenticated = false;
  std::vector<std::string> allowed_origins;
  double shutdown_timeout_s = 30;
  std::string log_level = "info";
};

void declare(ServeFlags* flags, Settings* settings) {
  declare(&flags->model, settings);
  declare(&flags->serving, settings);
  settings->heading("Server");
  settings->add({"host", "ADDRESS", "to listen on"}, &flags->host);
  settings->add({"port", "N", "0: any free one"}, {.min = 0, .max = 65535}, &flags->port);
  settings->add({"api-key", "KEY", "clients must send one of these"}, &flags->api_keys).secret =
      true;
  settings->add({"tenants", "FILE", "the tenant store: keys, tiers, balances (galley tenant)"},
                &flags->tenants);
  settings
      ->add({"admin-key", "KEY", "opens the admin API over --tenants, with this key"},
            &flags->admin_key)
      .secret = true;
  settings->add({"admin-host", "ADDRESS", "the admin API listens on"}, &flags->admin_host).rare =
      true;
  settings
      ->add({"admin-port", "N", "of the admin API; 0: any free one"}, {.min = 0, .max = 65535},
            &flags->admin_port)
      .rare = true;
  settings->add_switch({"allow-unauthenticated", "", "listen beyond loopback without a key"},
                       &flags->allow_unauthenticated);
  settings->add({"allowed-origins", "URL", "web pages that may call (CORS); * for all"},
                &flags->allowed_origins);
  settings->add({"shutdown-timeout", "S", "after SIGTERM, for answers under way"},
                Settings::RealRange{.min = 0, .max = 86400}, &flags->shutdown_timeout_s);
  settings->add_choice({"log-level", "NAME", "debug, info, warning, error or off"},
                       {"debug", "info", "warning", "error", "off"}, &flags->log_level);
  settings->allow_config_file();
}

Result<ServedModelOptions> resolve(const ServeFlags& flags) {
  ServedModelOptions out;
  GALLEY_ASSIGN_OR_RETURN(out.load, resolve(flags.model));
  out.prefix_caching = flags.model.prefix_caching;
  out.serving = flags.serving;
  out.server.host = flags.host;
  out.server.port = static_cast<uint16_t>(flags.port);
  out.server.api_keys = flags.api_keys;
  out.server.allow_unauthenticated = flags.allow_unauthenticated;
  out.server.cors_origins = flags.allowed_origins;
  out.server.shutdown_timeout_ms = static_cast<int64_t>(flags.shutdown_timeout_s * 1000);
  out.tenants = flags.tenants;
  out.server.keys_elsewhere = !flags.tenants.empty();
  if (!flags.tenants.empty() && !flags.api_keys.empty()) {
    return Status(Code::kInvalid,
                  "--api-key and --tenants: with a tenant store, make keys by 'galley key create'");
  }
  if (!flags.admin_key.empty() && flags.tenants.empty())
    return Status(Code::kInvalid, "--admin-key: the admin API needs --tenants");
  if (flags.api_keys.size() > kApiKeysMax) {
    return Status(Code::kInvalid, "--api-key: more than " + std::to_string(kApiKeysMax) + " keys");
  }
  if (flags.serving.served_model_names.size() > kServedNamesMax) {
    return Status(Code::kInvalid,
                  "--served-model-name: more than " + std::to_string(kServedNamesMax) + " names");
  }
  return out;
}

std::string joined(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) out += (out.empty() ? "" : ", ") + name;
  return out;
}

void print_limits(const ServedModel& served, const gateway::ServerLimits& server) {
  const engine::EngineLimits& engine = served.engine_limits();
  log_info("limits: ", engine.requests_max, " requests waiting or running, ",
           engine.batch_requests_max, " and ", engine.step_tokens_max, " tokens in one step, ",
           server.connections_max, " connections, ", server.body_bytes_max, " bytes of a body, ",
           server.head_bytes_max, " of its head");
}

}  // namespace

void allow_serve_config(Settings* settings, std::vector<std::string> unlike) {
  ServeFlags flags;
  Settings serve("galley serve", "");
  declare(&flags, &serve);
  for (std::string& name : serve.names())
    if (!settings->declares(name)) unlike.push_back(std::move(name));
  settings->allow_config_file(std::move(unlike));
}

Status run_serve(Args args, const Variables& variables) {
  ServeFlags flags;
  Settings settings("galley serve", "Serves a model over the OpenAI API.");
  declare(&flags, &settings);
  GALLEY_RETURN_IF_ERROR(settings.parse(args, variables));
  if (print_and_stop(settings)) return Status();
  GALLEY_ASSIGN_OR_RETURN(const LogLevel level, parse_log_level(flags.log_level));
  set_log_level(level);
  GALLEY_ASSIGN_OR_RETURN(ServedModelOptions options, resolve(flags));
  flags.model.model = options.load.folder;  // resolved: what is printed is what is served
  if (flags.serving.served_model_names.empty()) {
    flags.serving.served_model_names.push_back(folder_name(options.load.folder));
  }

  std::fprintf(stderr, "galley %s, commit %s\n", std::string(version()).c_str(),
               std::string(commit()).c_str());
  options.on_planned = [&](const model::MemoryPlan& plan) {
    fill_in(plan, &flags.model);
    std::fputs(settings.print().c_str(), stderr);
  };
  GALLEY_ASSIGN_OR_RETURN(const std::unique_ptr<ServedModel> served, ServedModel::start(options));
  print_limits(*served, options.server.limits);
  std::unique_ptr<gateway::AdminServer> admin;
  if (!flags.admin_key.empty()) {
    GALLEY_ASSIGN_OR_RETURN(
        admin, gateway::AdminServer::start({.host = flags.admin_host,
                                            .port = static_cast<uint16_t>(flags.admin_port),
                                            .key = flags.admin_key,
                                            .tenants_path = flags.tenants}));
    log_info("admin API at ", admin->url());
  }
  served->run([&] {
    log_info("ready: ", joined(served->names()), " at ", served->url(),
             options.server.api_keys.empty() && options.tenants.empty() ? " without a key"
                                                                        : " with a key");
    log_info("chat and figures, in a browser: ", served->url(), "/");
  });
  log_info("stopped");
  return Status();
}

}  // namespace galley::cli

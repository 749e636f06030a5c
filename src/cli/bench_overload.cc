// `galley bench overload`: what a server does when more is asked of it than it can do.
//
// Loads the model in this process, once under each policy, and plays clients against it over
// loopback: first enough of them to find the capacity, then open loops of 0.5 to 10 times that.
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json/parse.hpp>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/thread_pool.h"
#include "cli/bench.h"
#include "cli/local_server.h"
#include "cli/numbers.h"
#include "cli/overload_load.h"
#include "cli/overload_report.h"
#include "gateway/tenant_store.h"

namespace galley::cli {
namespace {

constexpr int kTenants = 4;
constexpr double kGreedyShare = 0.55;  // of the load, by the first of the equal tenants
constexpr size_t kMixSize = 4096;
constexpr double kNormalTtftMsMin = 1000;  // after the burst; with less nobody is unhappy

struct OverloadFlags {
  ModelFlags model;
  std::vector<std::string> loads;
  std::vector<std::string> scenarios;
  double duration_s = 24;
  double warmup_s = 8;
  double patience_s = 8;
  double high_load = 0.8;
  std::string trace;
  double scale = 0.1;
  int64_t input_len = 160, output_len = 48;
  int64_t seed = 1;
  bool json = false;
  std::string output, report;
};

void declare(OverloadFlags* flags, Settings* settings) {
  settings->heading("Load");
  settings->add({"loads", "X ...", "of capacity, one leg each (0.5 1 2 10)"}, &flags->loads);
  settings->add({"scenarios", "NAME ...", "sweep fairness tiers flood long fcfs (all)"},
                &flags->scenarios);
  settings->add({"duration", "S", "of one leg"}, Settings::RealRange{.min = 1, .max = 3600},
                &flags->duration_s);
  settings->add({"warmup", "S", "of it not counted"}, Settings::RealRange{.min = 0, .max = 3600},
                &flags->warmup_s);
  settings->add({"patience", "S", "of a client, to its whole answer"},
                Settings::RealRange{.min = 0.1, .max = 3600}, &flags->patience_s);
  settings->add({"high-load", "X", "of capacity, by the high tier and the victims of a flood"},
                Settings::RealRange{.min = 0.05, .max = 1}, &flags->high_load);
  settings->add({"input-len", "N", "mean of the prompts' tokens"}, {.min = 16, .max = 1 << 20},
                &flags->input_len);
  settings->add({"output-len", "N", "mean of the answers' tokens"}, {.min = 2, .max = 1 << 20},
                &flags->output_len);
  settings->add({"trace", "FILE", "lengths from a trace instead: Mooncake or Azure"},
                &flags->trace);
  settings->add({"scale", "X", "of the trace's lengths"},
                Settings::RealRange{.min = 1e-4, .max = 1}, &flags->scale);
  settings->add({"seed", "N", "of arrivals and lengths"}, {.min = 0, .max = 1 << 30}, &flags->seed);
  settings->heading("Report");
  settings->add_switch({"json", "", "print JSON"}, &flags->json);
  settings->add({"output", "FILE", "write the JSON there too"}, &flags->output);
  settings->add({"report", "FILE", "write a page with plots there"}, &flags->report);
  settings->rare_from_here();
  declare(&flags->model, settings);
}

// A folder for the tenant store, gone with this object.
class ScratchFolder {
 public:
  ScratchFolder() {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "galley-overload-XXXXXX").string();
    if (::mkdtemp(pattern.data()) != nullptr) path_ = pattern;
  }
  ~ScratchFolder() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

struct Keys {
  std::vector<std::string> equal;  // tenants of one tier
  std::string high, low;           // tiers of a level each
  std::string limited;             // the free tier's, with its limits
};

Result<Keys> make_tenants(const std::string& path) {
  GALLEY_ASSIGN_OR_RETURN(const auto store, gateway::open_sqlite_store(path));
  GALLEY_RETURN_IF_ERROR(store->put_tier({.name = "equal"}));
  GALLEY_RETURN_IF_ERROR(store->put_tier({.name = "high", .weight = 8, .level = 1}));
  GALLEY_RETURN_IF_ERROR(store->put_tier({.name = "low"}));
  const auto key = [&](const std::string& name, const std::string& tier) -> Result<std::string> {
    GALLEY_RETURN_IF_ERROR(store->create_tenant({.name = name, .tier = tier}).status());
    GALLEY_ASSIGN_OR_RETURN(const auto made, store->create_key(name, "bench", {}));
    return made.second;
  };
  Keys keys;
  for (int i = 0; i < kTenants; ++i) {
    GALLEY_ASSIGN_OR_RETURN(keys.equal.emplace_back(), key("equal-" + std::to_string(i), "equal"));
  }
  GALLEY_ASSIGN_OR_RETURN(keys.high, key("high", "high"));
  GALLEY_ASSIGN_OR_RETURN(keys.low, key("low", "low"));
  GALLEY_ASSIGN_OR_RETURN(keys.limited, key("limited", "free"));
  return keys;
}

// Lengths with the long tail that real ones have: of a trace, or log-normal.
Result<std::vector<Lengths>> make_mix(const OverloadFlags& flags, int32_t tokens_max) {
  std::vector<Lengths> mix;
  const auto add = [&](double input, double output) {
    const double room = tokens_max - 64.0;  // for the template
    Lengths one;
    one.input_tokens = static_cast<int32_t>(std::clamp(input, 16.0, room / 2));
    one.output_tokens = static_cast<int32_t>(std::clamp(output, 2.0, room / 4));
    mix.push_back(one);
  };
  if (!flags.trace.empty()) {
    GALLEY_ASSIGN_OR_RETURN(const std::vector<PlannedRequest> plan, read_trace(flags.trace));
    for (const PlannedRequest& request : plan)
      add(request.input_tokens * flags.scale, request.output_tokens * flags.scale);
    return mix;
  }
  Random random(static_cast<uint64_t>(flags.seed));
  const auto normal = [&random] {
    double sum = -6;
    for (int i = 0; i < 12; ++i) sum += random.uniform();
    return sum;
  };
  constexpr double kSpread = 0.6;  // of the logarithm; the mean is exp(spread^2 / 2) medians
  const double median = std::exp(-kSpread * kSpread / 2);
  while (mix.size() < kMixSize) {
    add(static_cast<double>(flags.input_len) * median * std::exp(kSpread * normal()),
        static_cast<double>(flags.output_len) * median * std::exp(kSpread * normal()));
  }
  return mix;
}

Result<int64_t> count_tokens(const Url& url, const std::string& key, const std::string& model,
                             int64_t words) {
  const std::string body =
      "{\"model\":\"" + model +
      "\",\"max_tokens\":1,\"messages\":[{\"role\":" + "\"user\",\"content\":\"" +
      random_words(static_cast<uint64_t>(words), words) + "\"}]}";
  GALLEY_ASSIGN_OR_RETURN(const std::string answer,
                          fetch(url, key, {.target = "/v1/chat/completions", .body = body}));
  boost::system::error_code error;
  const boost::json::value parsed = boost::json::parse(answer, error);
  const auto* tokens = error ? nullptr : parsed.find_pointer("/usage/prompt_tokens", error);
  if (tokens == nullptr) return Status(Code::kCorrupt, "the answer has no usage.prompt_tokens");
  return tokens->as_int64();
}

// One server and the legs that are run against it.
class Bench {
 public:
  Bench(const OverloadFlags& flags, OverloadReport* report) : flags_(flags), report_(report) {}

  Status run() {
    if (scratch_.path().empty()) return Status(Code::kUnavailable, "no folder for the tenants");
    GALLEY_ASSIGN_OR_RETURN(keys_, make_tenants(scratch_.path() + "/tenants.db"));
    {
      GALLEY_RETURN_IF_ERROR(start("fair"));
      GALLEY_ASSIGN_OR_RETURN(mix_, make_mix(flags_, context_));
      measure_capacity();
      if (!(capacity_ > 0)) return Status(Code::kUnavailable, "no request was answered");
      if (wants("sweep")) sweep();
      if (wants("fairness")) fairness();
      if (wants("tiers")) tiers();
      if (wants("flood")) flood();
      if (wants("long")) long_requests();
    }
    if (!wants("fcfs")) return Status();
    GALLEY_RETURN_IF_ERROR(start("fcfs"));
    sweep();
    return Status();
  }

 private:
  bool wants(const std::string& name) const {
    return flags_.scenarios.empty() || std::find(flags_.scenarios.begin(), flags_.scenarios.end(),
                                                 name) != flags_.scenarios.end();
  }

  Status start(const std::string& policy) {
    server_.reset();
    ServedModelOptions options;
    GALLEY_ASSIGN_OR_RETURN(options.load, resolve(flags_.model));
    options.serving.scheduling_policy = policy;
    options.tenants = scratch_.path() + "/tenants.db";
    options.server.keys_elsewhere = true;
    options.on_planned = [this](const model::MemoryPlan& plan) { context_ = plan.max_model_len; };
    GALLEY_ASSIGN_OR_RETURN(server_, LocalServer::start(options));
    policy_ = policy;
    report_->model = folder_name(options.load.folder);
    GALLEY_ASSIGN_OR_RETURN(target_.url, parse_url(server_->url()));
    target_.model = server_->model();
    target_.seed = static_cast<uint64_t>(flags_.seed);
    const std::string& key = keys_.equal.front();
    GALLEY_ASSIGN_OR_RETURN(const int64_t a, count_tokens(target_.url, key, target_.model, 16));
    GALLEY_ASSIGN_OR_RETURN(const int64_t b, count_tokens(target_.url, key, target_.model, 80));
    GALLEY_ASSIGN_OR_RETURN(target_.shape, fit_prompt_shape(16, a, 80, b));
    return Status();
  }

  ClientGroup group(const std::string& name, const std::string& key, double load) const {
    ClientGroup out;
    out.name = name;
    out.api_key = key;
    out.requests_per_s = load * capacity_requests_;
    out.to_s = flags_.duration_s;
    out.mix = mix_;
    out.patience_ms = std::llround(flags_.patience_s * 1000);
    out.sends_deadline = policy_ == "fair";
    return out;
  }

  Window window() const { return {flags_.warmup_s * 1000, flags_.duration_s * 1000}; }

  OverloadRun play(const std::vector<ClientGroup>& groups, const std::string& title) {
    ++target_.seed;  // No prompt comes twice, which the prefix cache would know.
    return run_overload(target_, groups, title + " (" + policy_ + ")");
  }

  LegQuestion question(const std::string& name, double load) const {
    LegQuestion out;
    out.name = name;
    out.policy = policy_;
    out.load = load;
    out.capacity_cost_per_s = capacity_;
    out.window = window();
    return out;
  }

  static constexpr double kCapacityWarmupS = 3;

  // Twice as many clients as slots, who ask again as soon as they are answered.
  void measure_capacity() {
    ClientGroup all = group("all", keys_.equal.front(), 0);
    all.closed_loop = static_cast<int32_t>(2 * flags_.model.max_num_seqs);
    all.patience_ms = 600'000;
    all.sends_deadline = false;
    all.to_s = kCapacityWarmupS + std::min(flags_.duration_s, 12.0);
    const OverloadRun run = play({all}, "capacity");
    const Window counted = {kCapacityWarmupS * 1000, all.to_s * 1000};
    double cost = 0;
    for (const Attempt& attempt : run.attempts) cost += cost_within(attempt, counted);
    capacity_ = cost / counted.seconds();
    double mean = 0;
    for (const Lengths& one : mix_) mean += one.cost() / static_cast<double>(mix_.size());
    capacity_requests_ = capacity_ / mean;
    report_->capacity_cost_per_s = capacity_;
    report_->capacity_requests_per_s = capacity_requests_;
  }

  // Equal tenants, of whom one asks for more than half; after the burst of the highest load a calm.
  void sweep() {
    for (const std::string& text : flags_.loads) {
      const double load = *parse_real(text);
      std::vector<ClientGroup> groups;
      for (int i = 0; i < kTenants; ++i) {
        const double share = i == 0 ? kGreedyShare : (1 - kGreedyShare) / (kTenants - 1);
        groups.push_back(
            group("equal-" + std::to_string(i), keys_.equal[static_cast<size_t>(i)], load * share));
      }
      LegQuestion asked = question("sweep", load);
      if (load > 1 && text == flags_.loads.back()) {
        ClientGroup calm = group("calm", keys_.equal[1], 0.5);
        calm.from_s = flags_.duration_s;
        calm.to_s = flags_.duration_s + 2 * flags_.patience_s;
        groups.push_back(calm);
        asked.recovery_group = groups.size() - 1;
        asked.burst_end_ms = flags_.duration_s * 1000;
        asked.normal_ttft_ms = std::max(kNormalTtftMsMin, 2 * calm_ttft_ms_);
      }
      const OverloadRun run = play(groups, "sweep " + text + "x");
      report_->legs.push_back(summarise(run, groups, asked));
      const double p99 = report_->legs.back().groups.front().ttft_ms.p99;
      if (load <= 0.7) calm_ttft_ms_ = std::max(calm_ttft_ms_, p99);
    }
  }

  // Tenants that each ask for the whole engine, over a longer time.
  void fairness() {
    std::vector<ClientGroup> groups;
    LegQuestion asked = question("fairness", kTenants);
    asked.window.to_ms *= 2;
    for (size_t i = 0; i < kTenants; ++i) {
      groups.push_back(group("equal-" + std::to_string(i), keys_.equal[i], 1));
      groups.back().to_s *= 2;
      asked.equal_groups.push_back(i);
    }
    report_->legs.push_back(summarise(play(groups, "fairness"), groups, asked));
  }

  void tiers() {
    const std::vector<ClientGroup> alone = {group("high", keys_.high, flags_.high_load)};
    report_->legs.push_back(summarise(play(alone, "tiers: high alone"), alone,
                                      question("tiers: alone", flags_.high_load)));
    std::vector<ClientGroup> both = alone;
    both.push_back(group("low", keys_.low, 10));
    report_->legs.push_back(summarise(play(both, "tiers: low at 10x"), both,
                                      question("tiers: low 10x", 10 + flags_.high_load)));
  }

  // A hundred times the capacity from a free key and from keys that do not exist.
  void flood() {
    const std::vector<ClientGroup> alone = {group("others", keys_.equal[0], flags_.high_load)};
    report_->legs.push_back(
        summarise(play(alone, "flood: none"), alone, question("flood: none", flags_.high_load)));
    std::vector<ClientGroup> flooded = alone;
    for (const bool known : {true, false}) {
      ClientGroup attacker =
          group(known ? "limited key" : "unknown key", known ? keys_.limited : "sk-not-a-key", 50);
      attacker.naive_share = 1;
      attacker.tries_max = 1;
      flooded.push_back(attacker);
    }
    report_->legs.push_back(summarise(play(flooded, "flood: 100x"), flooded,
                                      question("flood: 100x", 100 + flags_.high_load)));
  }

  // Short questions of one tenant beside the longest answers of another.
  void long_requests() {
    std::vector<Lengths> short_mix, long_mix;
    std::vector<int32_t> outputs;
    for (const Lengths& one : mix_) outputs.push_back(one.output_tokens);
    std::sort(outputs.begin(), outputs.end());
    const int32_t median = outputs[outputs.size() / 2];
    const int32_t longest = std::min(20 * median, context_ / 2);
    double mean = 0, short_mean = 0;
    for (const Lengths& one : mix_) mean += one.cost() / static_cast<double>(mix_.size());
    for (const Lengths& one : mix_) {
      if (one.output_tokens > median) continue;
      short_mix.push_back(one);
      short_mean += one.cost();
    }
    short_mean /= static_cast<double>(short_mix.size());
    long_mix.push_back({64, longest});
    ClientGroup quick = group("short", keys_.equal[0], 0.4 * mean / short_mean);
    quick.mix = short_mix;
    report_->legs.push_back(
        summarise(play({quick}, "long: short alone"), {quick}, question("long: alone", 0.4)));
    ClientGroup slow = group("long", keys_.equal[1], 2 * mean / long_mix.front().cost());
    slow.mix = long_mix;
    slow.patience_ms *= 10;
    slow.to_s = flags_.duration_s;
    const std::vector<ClientGroup> both = {quick, slow};
    report_->legs.push_back(
        summarise(play(both, "long: beside long"), both, question("long: beside", 2.4)));
  }

  const OverloadFlags& flags_;
  OverloadReport* const report_;
  const ScratchFolder scratch_;
  Keys keys_;
  std::vector<Lengths> mix_;
  std::unique_ptr<LocalServer> server_;
  OverloadTarget target_;
  std::string policy_;
  int32_t context_ = 2048;
  double capacity_ = 0, capacity_requests_ = 0;
  double calm_ttft_ms_ = 0;
};

Status write_file(const char* flag, const std::string& path, const std::string& text) {
  if (path.empty()) return Status();
  std::ofstream file(path);
  file << text;
  if (file.flush()) return Status();
  return Status(Code::kInvalid, std::string("--") + flag + ": '" + path + "' cannot be written");
}

Status check(const OverloadFlags& flags) {
  for (const std::string& load : flags.loads) {
    const Result<double> value = parse_real(load);
    if (!value.ok() || !(*value >= 0.01 && *value <= 100))
      return Status(Code::kInvalid, "--loads: '" + load + "' is not a number from 0.01 to 100");
  }
  for (const std::string& name : flags.scenarios) {
    static constexpr std::string_view kNames[] = {"sweep", "fairness", "tiers",
                                                  "flood", "long",     "fcfs"};
    if (std::find(std::begin(kNames), std::end(kNames), name) == std::end(kNames))
      return Status(
          Code::kInvalid,
          "--scenarios: '" + name + "' is none of sweep, fairness, tiers, flood, long and fcfs");
  }
  if (flags.warmup_s >= flags.duration_s)
    return Status(Code::kInvalid, "--warmup: nothing is left of --duration");
  return Status();
}

}  // namespace

Status run_bench_overload(Args args, const Variables& variables) {
  OverloadFlags flags;
  flags.loads = {"0.5", "1", "2", "10"};
  flags.model.max_num_seqs = 16;
  // One core is left to the gateway and the clients.
  const auto cores = static_cast<int64_t>(usable_cores().size());
  flags.model.threads = std::max<int64_t>(1, cores - 1);
  Settings settings("galley bench overload",
                    "Asks up to ten times of a server what it can do, and reports who was served.");
  declare(&flags, &settings);
  settings.example("Example: galley bench overload --report overload.html");
  GALLEY_RETURN_IF_ERROR(settings.parse(args, variables));
  if (print_and_stop(settings)) return Status();
  GALLEY_RETURN_IF_ERROR(check(flags));
  OverloadReport report;
  report.machine = std::to_string(cores) + " cores";
  report.patience_ms = std::llround(flags.patience_s * 1000);
  Bench bench(flags, &report);
  GALLEY_RETURN_IF_ERROR(bench.run());
  GALLEY_RETURN_IF_ERROR(write_file("output", flags.output, to_json(report) + "\n"));
  GALLEY_RETURN_IF_ERROR(write_file("report", flags.report, to_html(report)));
  std::printf("%s", (flags.json ? to_json(report) + "\n" : render(report)).c_str());
  return Status();
}

}  // namespace galley::cli

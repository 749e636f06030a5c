#include "cli/loading.h"

#include <unistd.h>

#include <chrono>
#include <cstdio>

#include "base/log.h"
#include "cli/numbers.h"

namespace galley::cli {

namespace {

using Clock = std::chrono::steady_clock;

// Prints how far loading is, at most twice a second, on one line of a terminal.
class ProgressLine {
 public:
  void show(const engine::LoadProgress& progress) {
    const bool records = progress.steps_total > 0;
    const bool last = records ? progress.steps_done >= progress.steps_total
                              : progress.bytes_done >= progress.bytes_total;
    if (!is_due(records, last)) return;
    if (records) {
      std::fprintf(stderr, "%srecording decode steps: %d of %d%s", terminal_ ? "\r" : "",
                   progress.steps_done, progress.steps_total, terminal_ && !last ? "  " : "\n");
      std::fflush(stderr);
      return;
    }
    const double share = progress.bytes_total > 0 ? static_cast<double>(progress.bytes_done) /
                                                        static_cast<double>(progress.bytes_total)
                                                  : 1.0;
    std::fprintf(stderr, "%sloading weights: %s of %s (%.0f %%)%s", terminal_ ? "\r" : "",
                 show_size(static_cast<double>(progress.bytes_done)).c_str(),
                 show_size(static_cast<double>(progress.bytes_total)).c_str(), share * 100,
                 terminal_ && !last ? "  " : "\n");
    std::fflush(stderr);
  }

 private:
  bool is_due(bool records, bool last) {
    if (records != records_) printed_ = false;  // a line of its own
    records_ = records;
    const Clock::time_point now = Clock::now();
    if (!last && now - shown_ < std::chrono::milliseconds(500)) return false;
    if (last && !printed_) return false;  // it took less than half a second: nothing to watch
    shown_ = now;
    printed_ = true;
    return true;
  }

  const bool terminal_ = ::isatty(STDERR_FILENO) == 1;
  Clock::time_point shown_ = Clock::now();
  bool printed_ = false;
  bool records_ = false;
};

}  // namespace

Result<engine::PlannedModel> plan_and_print(const engine::LoadOptions& options, bool quiet) {
  Result<engine::PlannedModel> planned = engine::plan_model(options);
  if (planned.ok() && !quiet) {
    std::fputs(model::render(planned->config, planned->plan).c_str(), stderr);
  }
  return planned;
}

Result<engine::LoadedModel> load_with_progress(const engine::LoadOptions& options, bool quiet) {
  const Clock::time_point start = Clock::now();
  ProgressLine line;
  engine::ProgressFn progress;
  if (!quiet) progress = [&line](const engine::LoadProgress& now) { line.show(now); };
  GALLEY_ASSIGN_OR_RETURN(engine::LoadedModel model, engine::load_model_runner(options, progress));
  for (const std::string& note : model.notes) log_info(note);
  if (!quiet) {
    const std::chrono::duration<double> took = Clock::now() - start;
    log_info("loaded ", options.folder, " in ", show_real(took.count(), 2), " s, computing on ",
             model.ops->name());
  }
  return model;
}

engine::EngineOptions engine_options(const engine::LoadedModel& model, bool prefix_caching,
                                     int32_t queued_max, const std::string& name) {
  const engine::RunnerInfo& info = model.runner->info();
  engine::EngineOptions out;
  out.limits.requests_max = queued_max + model.plan.max_num_seqs;
  out.limits.batch_requests_max = model.plan.max_num_seqs;
  out.limits.step_tokens_max = model.plan.max_num_batched_tokens;
  out.enable_prefix_caching = prefix_caching;
  out.drafts = info.drafts_max;
  out.eos_tokens = model.config.end_tokens;
  out.model_name = name;
  out.block_key = random_hash_key();
  return out;
}

}  // namespace galley::cli

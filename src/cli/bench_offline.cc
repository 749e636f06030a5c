// `galley bench offline`: the engine alone, without HTTP: how fast it reads prompts and writes
// answers at each batch size.
//
// Two runs for each size, on random tokens and with prefix caching off. Prefill: all prompts, one
// token each; the rate is prompt tokens over the time until the last first token. Decode: prompts
// and answers; the rate counts only tokens that came after every request had its first, so prefill
// is not in it. --breakdown adds up the operations of both runs, by the number of tokens of a step.
#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <thread>
#include <unordered_map>

#include "base/clock.h"
#include "cli/bench.h"
#include "cli/load_report.h"
#include "cli/loading.h"
#include "cli/model_flags.h"
#include "cli/numbers.h"
#include "cli/workload.h"

namespace galley::cli {

namespace {

constexpr size_t kBatchSizesMax = 64;

struct OfflineFlags {
  ModelFlags model;
  int64_t input_len = 512;
  int64_t output_len = 64;
  std::vector<std::string> batch = {"1", "2", "4", "8", "16"};
  int64_t repeat = 1;
  int64_t seed = 0;
  bool breakdown = false;
  bool json = false;
};

// Times of one request, in microseconds of the engine's clock.
struct Timeline {
  std::vector<int64_t> token_us;
  Status status;
};

struct BatchFigures {
  int64_t batch = 0;
  double prefill_tokens_per_s = 0;
  double ttft_ms = 0;  // mean over requests
  double decode_tokens_per_s = 0;
  double tpot_ms = 0;             // decode time per token of one request, mean
  double total_tokens_per_s = 0;  // in and out over the whole second run
  double idle_share = -1;         // of the device in decode; below 0: unknown
};

// The engine on its thread, and what its events said.
class OfflineEngine {
 public:
  OfflineEngine(const engine::EngineOptions& options, engine::Runner* runner,
                const kernels::Ops* ops)
      : ops_(ops),
        engine_(options, runner, &clock_,
                [this](std::span<engine::Event> events) { take(events); }),
        thread_([this] { engine_.run(); }) {}

  ~OfflineEngine() {
    engine_.stop();
    thread_.join();
  }

  // Submits `batch` prompts together and waits for all ends. Timelines start at 0.
  Result<std::vector<Timeline>> run(int64_t batch, int64_t input_len, int64_t output_len,
                                    int32_t vocab_size, Random* random) {
    std::vector<engine::Request> requests;
    for (int64_t i = 0; i < batch; ++i) {
      engine::Request request;
      request.id = next_id_++;
      for (int64_t t = 0; t < input_len; ++t) {
        request.prompt.push_back(
            static_cast<int32_t>(random->below(static_cast<uint64_t>(vocab_size))));
      }
      request.sampling.temperature = 0;
      request.sampling.max_tokens = static_cast<int32_t>(output_len);
      request.sampling.ignore_eos = true;
      requests.push_back(std::move(request));
    }
    const engine::RequestId first = requests.front().id;
    const int64_t start_us = clock_.now_us();
    {
      const std::lock_guard lock(mutex_);
      live_ = without_token_ = requests.size();
      first_ = first;
      start_us_ = start_us;
      timelines_.assign(requests.size(), {});
    }
    for (engine::Request& request : requests) {
      GALLEY_RETURN_IF_ERROR(engine_.submit(std::move(request)));
    }
    std::unique_lock lock(mutex_);
    ended_.wait(lock, [this] { return live_ == 0; });
    for (const Timeline& timeline : timelines_) GALLEY_RETURN_IF_ERROR(timeline.status);
    return timelines_;
  }

  engine::EngineStats stats() const { return engine_.stats(); }
  // Of the newest run, from the time all requests had their first token: how much of it the device
  // had nothing to do; below 0 where the backend cannot say.
  double idle_share() const {
    const double busy = end_.busy_ms - decoding_.busy_ms, idle = end_.idle_ms - decoding_.idle_ms;
    return busy > 0.0 ? idle / (busy + idle) : -1.0;
  }

 private:
  void take(std::span<engine::Event> events) {
    const int64_t now_us = clock_.now_us();
    const std::lock_guard lock(mutex_);
    for (const engine::Event& event : events) {
      Timeline& timeline = timelines_[event.id - first_];
      if (timeline.token_us.empty() && !event.tokens.empty() && --without_token_ == 0)
        decoding_ = ops_->device_times();
      timeline.token_us.insert(timeline.token_us.end(), event.tokens.size(), now_us - start_us_);
      if (event.finish == engine::FinishReason::kNone) continue;
      timeline.status = event.status;
      if (--live_ != 0) continue;
      end_ = ops_->device_times();
      ended_.notify_one();
    }
  }

  const kernels::Ops* const ops_;  // read on the engine's thread
  const RealClock clock_;
  engine::RequestId next_id_ = 1;
  std::mutex mutex_;  // guards what follows
  std::condition_variable ended_;
  std::vector<Timeline> timelines_;
  engine::RequestId first_ = 0;
  int64_t start_us_ = 0;
  size_t live_ = 0;
  size_t without_token_ = 0;
  kernels::DeviceTimes decoding_, end_;

  engine::Engine engine_;
  std::thread thread_;
};

double seconds(int64_t us) {
  return static_cast<double>(us) * 1e-6;
}

Result<BatchFigures> measure(OfflineEngine* engine, const OfflineFlags& flags, int64_t batch,
                             int32_t vocab_size, Random* random) {
  BatchFigures out;
  out.batch = batch;
  GALLEY_ASSIGN_OR_RETURN(const std::vector<Timeline> prefill,
                          engine->run(batch, flags.input_len, 1, vocab_size, random));
  int64_t last_first = 0;
  for (const Timeline& timeline : prefill) {
    last_first = std::max(last_first, timeline.token_us.front());
    out.ttft_ms += seconds(timeline.token_us.front()) * 1e3 / static_cast<double>(batch);
  }
  out.prefill_tokens_per_s = static_cast<double>(batch * flags.input_len) / seconds(last_first);
  if (flags.output_len < 2) return out;

  GALLEY_ASSIGN_OR_RETURN(
      const std::vector<Timeline> decode,
      engine->run(batch, flags.input_len, flags.output_len, vocab_size, random));
  out.idle_share = engine->idle_share();
  last_first = 0;
  int64_t end = 0;
  for (const Timeline& timeline : decode) {
    last_first = std::max(last_first, timeline.token_us.front());
    end = std::max(end, timeline.token_us.back());
    out.tpot_ms += seconds(timeline.token_us.back() - timeline.token_us.front()) * 1e3 /
                   static_cast<double>((flags.output_len - 1) * batch);
  }
  int64_t after = 0;
  for (const Timeline& timeline : decode) {
    for (const int64_t at : timeline.token_us) after += at > last_first ? 1 : 0;
  }
  if (end > last_first)
    out.decode_tokens_per_s = static_cast<double>(after) / seconds(end - last_first);
  out.total_tokens_per_s =
      static_cast<double>(batch * (flags.input_len + flags.output_len)) / seconds(end);
  return out;
}

boost::json::object to_object(const BatchFigures& figures) {
  return {{"batch", figures.batch},
          {"prefill_tokens_per_s", figures.prefill_tokens_per_s},
          {"ttft_ms", figures.ttft_ms},
          {"decode_tokens_per_s", figures.decode_tokens_per_s},
          {"tpot_ms", figures.tpot_ms},
          {"total_tokens_per_s", figures.total_tokens_per_s},
          {"device_idle_share", figures.idle_share}};
}

void declare(OfflineFlags* flags, Settings* settings) {
  declare(&flags->model, settings);
  settings->heading("Measurement");
  settings->add({"input-len", "N", "prompt tokens"}, {.min = 1, .max = 4 << 20}, &flags->input_len);
  settings->add({"output-len", "N", "tokens of an answer; 1: prefill only"},
                {.min = 1, .max = 4 << 20}, &flags->output_len);
  settings->add({"batch", "N", "requests at once, one measurement each"}, &flags->batch);
  settings->add({"repeat", "N", "measure so often and keep the best"}, {.min = 1, .max = 100},
                &flags->repeat);
  settings->add({"seed", "N", "of the random prompts"}, {.min = 0}, &flags->seed);
  settings->add_switch({"breakdown", "", "also the time of each operation of the steps"},
                       &flags->breakdown);
  settings->add_switch({"json", "", "print JSON"}, &flags->json);
}

boost::json::array to_array(std::span<const kernels::OpTime> lines) {
  boost::json::array out;
  for (const kernels::OpTime& line : lines) {
    out.emplace_back(boost::json::object{{"operation", line.operation},
                                         {"shape", kernels::shape_of(line)},
                                         {"step_tokens", line.step_tokens},
                                         {"calls", line.calls},
                                         {"time_ns", line.time_ns},
                                         {"bytes", line.bytes}});
  }
  return out;
}

// The steps of each size, those that took longest first.
void print_breakdown(std::vector<kernels::OpTime> lines) {
  while (!lines.empty()) {
    const int64_t tokens = lines.front().step_tokens;
    const auto rest = std::stable_partition(
        lines.begin(), lines.end(), [&](const auto& line) { return line.step_tokens == tokens; });
    std::printf("steps of %lld tokens\n%s", static_cast<long long>(tokens),
                kernels::to_text({lines.begin(), rest}).c_str());
    lines.erase(lines.begin(), rest);
  }
}

Result<std::vector<int64_t>> parse_batches(const std::vector<std::string>& texts,
                                           int64_t max_num_seqs) {
  std::vector<int64_t> out;
  for (const std::string& text : texts) {
    GALLEY_ASSIGN_OR_RETURN(const int64_t batch, parse_count(text));
    if (batch < 1 || batch > max_num_seqs) {
      return Status(Code::kInvalid, "--batch: " + text + " is not between 1 and --max-num-seqs (" +
                                        std::to_string(max_num_seqs) + ")");
    }
    out.push_back(batch);
  }
  if (out.size() > kBatchSizesMax) return Status(Code::kInvalid, "--batch: too many sizes");
  return out;
}

}  // namespace

Status run_bench_offline(Args args, const Variables& variables) {
  OfflineFlags flags;
  Settings settings("galley bench offline",
                    "Measures the engine without a server: prefill and decode tokens per second by"
                    " batch size.");
  declare(&flags, &settings);
  allow_serve_config(&settings);
  GALLEY_RETURN_IF_ERROR(settings.parse(args, variables));
  if (print_and_stop(settings)) return Status();
  GALLEY_ASSIGN_OR_RETURN(const std::vector<int64_t> batches,
                          parse_batches(flags.batch, flags.model.max_num_seqs));
  GALLEY_ASSIGN_OR_RETURN(engine::LoadOptions options, resolve(flags.model));
  options.time_operations = flags.breakdown;
  GALLEY_RETURN_IF_ERROR(plan_and_print(options, false).status());
  GALLEY_ASSIGN_OR_RETURN(engine::LoadedModel model, load_with_progress(options, false));
  const engine::EngineOptions engine_settings = engine_options(model, false, 0, "bench");
  GALLEY_RETURN_IF_ERROR(engine::validate(engine_settings, model.runner->info()));
  OfflineEngine engine(engine_settings, model.runner.get(), model.ops.get());
  const int32_t vocab_size = model.runner->info().vocab_size;
  Random random(static_cast<uint64_t>(flags.seed));

  boost::json::array rows;
  if (!flags.json) {
    std::printf("%lld prompt tokens, %lld answer tokens, on %s\n",
                static_cast<long long>(flags.input_len), static_cast<long long>(flags.output_len),
                model.ops->name().c_str());
    std::printf(
        "  batch   prefill tok/s      TTFT ms   decode tok/s      TPOT ms   total tok/s   device "
        "idle\n");
  }
  for (const int64_t batch : batches) {
    BatchFigures best;
    if (model.timed != nullptr) model.timed->clear();
    for (int64_t i = 0; i < flags.repeat; ++i) {
      GALLEY_ASSIGN_OR_RETURN(const BatchFigures figures,
                              measure(&engine, flags, batch, vocab_size, &random));
      if (figures.total_tokens_per_s + figures.prefill_tokens_per_s >=
          best.total_tokens_per_s + best.prefill_tokens_per_s) {
        best = figures;
      }
    }
    boost::json::object row = to_object(best);
    if (model.timed != nullptr) row["breakdown"] = to_array(model.timed->lines());
    rows.emplace_back(std::move(row));
    if (flags.json) continue;
    char idle[32] = "";
    if (best.idle_share >= 0.0)
      std::snprintf(idle, sizeof idle, "%.1f %%", 100.0 * best.idle_share);
    std::printf("%7lld %15.1f %12.1f %14.1f %12.2f %13.1f %13s\n",
                static_cast<long long>(best.batch), best.prefill_tokens_per_s, best.ttft_ms,
                best.decode_tokens_per_s, best.tpot_ms, best.total_tokens_per_s, idle);
    if (model.timed != nullptr) print_breakdown(model.timed->lines());
    std::fflush(stdout);
  }
  const engine::EngineStats stats = engine.stats();
  if (flags.json) {
    const boost::json::object out = {{"model", options.folder},
                                     {"backend", model.ops->name()},
                                     {"input_len", flags.input_len},
                                     {"output_len", flags.output_len},
                                     {"drafts_proposed", stats.drafts_proposed},
                                     {"drafts_accepted", stats.drafts_accepted},
                                     {"batches", std::move(rows)}};
    std::printf("%s\n", boost::json::serialize(out).c_str());
  } else if (stats.drafts_proposed > 0) {
    std::printf(
        "drafts: %.1f %% of %llu accepted (random prompts: a trained model's own text"
        " accepts more)\n",
        100.0 * static_cast<double>(stats.drafts_accepted) /
            static_cast<double>(stats.drafts_proposed),
        static_cast<unsigned long long>(stats.drafts_proposed));
  }
  return Status();
}

}  // namespace galley::cli

#include "gateway/metrics.h"

#include <array>
#include <charconv>
#include <string_view>

#include "kernels/ops.h"

namespace galley::gateway {
namespace {

std::string number_text(double value) {
  std::array<char, 40> digits;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
  return std::string(digits.data(), end);
}

std::string number_text(uint64_t value) {
  return std::to_string(value);
}
std::string number_text(int32_t value) {
  return std::to_string(value);
}

// One metric family after another; `labels` stand in every line.
class Exposition {
 public:
  Exposition(std::string& out, std::string labels) : out_(out), labels_(std::move(labels)) {}

  void family(std::string_view name, std::string_view type, std::string_view help) {
    name_ = name;
    out_.append("# HELP ").append(name).append(" ").append(help);
    out_.append("\n# TYPE ").append(name).append(" ").append(type).append("\n");
  }

  template <typename T>
  void value(T number, std::string_view more_labels = {}) {
    line("", more_labels, number_text(number));
  }

  template <typename T>
  void gauge(std::string_view name, std::string_view help, T number) {
    family(name, "gauge", help);
    value(number);
  }

  void counter(std::string_view name, std::string_view help, uint64_t number) {
    family(name, "counter", help);
    value(number);
  }

  void histogram(std::string_view name, std::string_view help, const Histogram& histogram) {
    family(name, "histogram", help);
    uint64_t below = 0;
    for (size_t i = 0; i < histogram.bounds().size(); ++i) {
      below += histogram.bucket(i);
      line("_bucket", "le=\"" + number_text(histogram.bounds()[i]) + "\"", number_text(below));
    }
    line("_bucket", "le=\"+Inf\"", number_text(histogram.count()));
    line("_sum", {}, number_text(histogram.sum()));
    line("_count", {}, number_text(histogram.count()));
  }

 private:
  void line(std::string_view suffix, std::string_view more_labels, const std::string& number) {
    out_.append(name_).append(suffix);
    if (!labels_.empty() || !more_labels.empty()) {
      out_ += '{';
      out_ += labels_;
      if (!labels_.empty() && !more_labels.empty()) out_ += ',';
      out_ += more_labels;
      out_ += '}';
    }
    out_.append(" ").append(number).append("\n");
  }

  std::string& out_;
  const std::string labels_;
  std::string name_;
};

void write_times(Exposition& out, const engine::EngineStats& stats) {
  out.histogram("vllm:time_to_first_token_seconds", "Arrival to first output token.",
                stats.time_to_first_token);
  out.histogram("vllm:inter_token_latency_seconds", "Between output tokens of a request.",
                stats.inter_token_latency);
  out.histogram("vllm:request_time_per_output_token_seconds",
                "Mean time per output token after the first, per request.",
                stats.request_time_per_output_token);
  out.histogram("vllm:e2e_request_latency_seconds", "Arrival to end of a request.",
                stats.e2e_request_latency);
  out.histogram("vllm:request_queue_time_seconds", "Time a request waits before its first step.",
                stats.request_queue_time);
  out.histogram("vllm:request_prefill_time_seconds", "First step to first output token.",
                stats.request_prefill_time);
  out.histogram("vllm:request_decode_time_seconds", "First to last output token.",
                stats.request_decode_time);
  out.histogram("vllm:request_inference_time_seconds", "First step to last output token.",
                stats.request_inference_time);
  out.histogram("vllm:iteration_tokens_total", "Tokens computed in one step.",
                stats.iteration_tokens);
  out.histogram("vllm:request_prompt_tokens", "Prompt tokens of a request.",
                stats.request_prompt_tokens);
  out.histogram("vllm:request_generation_tokens", "Output tokens of a request.",
                stats.request_generation_tokens);
}

void write_finished(Exposition& out, const engine::EngineStats& stats) {
  using engine::FinishReason;
  struct Reason {
    FinishReason reason;
    std::string_view name;
  };
  constexpr Reason kReasons[] = {{FinishReason::kStop, "stop"},
                                 {FinishReason::kLength, "length"},
                                 {FinishReason::kCancelled, "abort"},
                                 {FinishReason::kError, "error"}};
  out.family("vllm:request_success_total", "counter", "Requests that ended, by reason.");
  for (const Reason& reason : kReasons) {
    out.value(stats.finished[static_cast<size_t>(reason.reason)],
              "finished_reason=\"" + std::string(reason.name) + "\"");
  }
}

void write_speculation(Exposition& out, const engine::EngineStats& stats) {
  out.counter("vllm:spec_decode_num_drafts_total", "Times drafts of a request were verified.",
              stats.draft_steps);
  out.counter("vllm:spec_decode_num_draft_tokens_total", "Draft tokens proposed.",
              stats.drafts_proposed);
  out.counter("vllm:spec_decode_num_accepted_tokens_total", "Draft tokens accepted.",
              stats.drafts_accepted);
  out.family("vllm:spec_decode_num_accepted_tokens_per_pos_total", "counter",
             "Draft tokens accepted, by place in the draft.");
  for (size_t i = 0; i < stats.drafts_accepted_at.size(); ++i)
    out.value(stats.drafts_accepted_at[i], "position=\"" + std::to_string(i) + "\"");
}

}  // namespace

std::string escape_label(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\' || c == '"') out += '\\';
    c == '\n' ? out += "\\n" : out += c;
  }
  return out;
}

void HttpMetrics::answered(const std::string& route, int status, int64_t took_us) {
  ++requests_[{route, status}];
  seconds_.observe(static_cast<double>(took_us) / 1e6);
}

void HttpMetrics::write(std::string& out_text, const ServerCounts& counts) const {
  Exposition out(out_text, "");
  out.family("galley_http_requests_total", "counter", "HTTP requests answered.");
  for (const auto& [key, count] : requests_) {
    out.value(count, "route=\"" + escape_label(key.first) + "\",code=\"" +
                         std::to_string(key.second) + "\"");
  }
  out.histogram("galley_http_request_seconds", "From the end of a request to its answer's end.",
                seconds_);
  out.gauge("galley_http_connections", "Connections open.", counts.connections);
  out.gauge("galley_http_requests_in_progress", "Requests being answered.", counts.exchanges);
  out.gauge("galley_http_body_bytes", "Request bodies held in memory.", counts.body_bytes);
  out.counter("galley_http_connections_total", "Connections accepted.", counts.connections_total);
  out.counter("galley_http_connections_refused_total", "Connections refused at the bound.",
              counts.connections_refused);
  out.counter("galley_http_clients_gone_total", "Clients that left before their answer's end.",
              counts.clients_gone);
  out.counter("galley_http_clients_slow_total", "Clients dropped for not reading.",
              counts.clients_slow);
}

void write_engine_metrics(std::string& out_text, const engine::EngineStats& stats,
                          const EngineLabels& labels) {
  Exposition out(out_text, "engine=\"" + escape_label(labels.engine) + "\",model_name=\"" +
                               escape_label(labels.model_name) + "\"");
  out.gauge("vllm:num_requests_running", "Requests in the running batch.", stats.requests_running);
  out.gauge("vllm:num_requests_waiting", "Requests waiting.",
            static_cast<uint64_t>(stats.requests_waiting + labels.queued));
  const double usage = stats.blocks_total == 0 ? 0.0
                                               : static_cast<double>(stats.blocks_held) /
                                                     static_cast<double>(stats.blocks_total);
  out.gauge("vllm:kv_cache_usage_perc", "Part of the KV cache in use, 1 is all of it.", usage);
  out.family("vllm:cache_config_info", "gauge", "The KV cache's shape, in the labels.");
  out.value(1, "block_size=\"" + std::to_string(kernels::kBlockTokens) + "\",num_gpu_blocks=\"" +
                   std::to_string(stats.blocks_total) + "\"");
  out.counter("vllm:num_preemptions_total", "Requests preempted.", stats.preemptions);
  out.counter("vllm:prompt_tokens_total", "Prompt tokens processed.", stats.prompt_tokens);
  out.counter("vllm:generation_tokens_total", "Tokens generated.", stats.generation_tokens);
  out.counter("vllm:prefix_cache_queries_total", "Prompt tokens looked up in the prefix cache.",
              stats.prefix_query_tokens);
  out.counter("vllm:prefix_cache_hits_total", "Prompt tokens found in the prefix cache.",
              stats.prefix_hit_tokens);
  write_finished(out, stats);
  write_times(out, stats);
  write_speculation(out, stats);
  out.counter("galley_engine_steps_total", "Steps of the engine.", stats.steps);
  out.counter("galley_engine_refused_total", "Requests refused because the queue was full.",
              stats.refused_overloaded);
  out.counter("galley_engine_invariant_checks_total", "Checks of the scheduler while idle, passed.",
              stats.invariant_checks);
  out.gauge("galley_kv_blocks", "Blocks of the KV cache.", stats.blocks_total);
  out.gauge("galley_kv_blocks_held", "Blocks held by running requests.", stats.blocks_held);
  out.gauge("galley_kv_blocks_cached", "Blocks kept for prefix hits only.", stats.blocks_cached);
}

void write_grammar_metrics(std::string& out_text, size_t grammars, size_t bytes) {
  Exposition out(out_text, "");
  out.gauge("galley_grammar_cache_entries", "Grammars compiled, or refused, and kept.", grammars);
  out.gauge("galley_grammar_cache_bytes", "Bytes of the grammars kept.", bytes);
}

}  // namespace galley::gateway

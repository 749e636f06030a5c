#include "gateway/history.h"

#include <utility>

#include "api/json_writer.h"

namespace galley::gateway {
namespace {

std::optional<double> share(uint64_t part, uint64_t whole) {
  if (whole == 0) return std::nullopt;
  return static_cast<double>(part) / static_cast<double>(whole);
}

}  // namespace

std::optional<double> quantile_between(const Histogram& before, const Histogram& after, double q) {
  const uint64_t count = after.count() - before.count();
  if (count == 0) return std::nullopt;
  const double rank = q * static_cast<double>(count);
  const auto bounds = after.bounds();
  double below = 0;
  for (size_t i = 0; i < bounds.size(); ++i) {
    const auto here = static_cast<double>(after.bucket(i) - before.bucket(i));
    if (here > 0 && below + here >= rank) {
      const double low = i == 0 ? 0.0 : bounds[i - 1];
      return low + (bounds[i] - low) * (rank - below) / here;
    }
    below += here;
  }
  return bounds.empty() ? 0.0 : bounds.back();
}

void History::add(int64_t time_s, const engine::EngineStats& stats, int64_t waiting,
                  uint64_t refused) {
  Sample sample;
  sample.time_s = time_s;
  sample.running = stats.requests_running;
  sample.waiting = stats.requests_waiting + waiting;
  sample.kv_used =
      share(static_cast<uint64_t>(stats.blocks_held), static_cast<uint64_t>(stats.blocks_total))
          .value_or(0.0);
  if (last_ && time_s > last_s_) {
    const auto seconds = static_cast<double>(time_s - last_s_);
    const auto rate = [seconds](uint64_t now, uint64_t before) {
      return static_cast<double>(now - before) / seconds;
    };
    sample.refused = static_cast<int64_t>(refused - last_refused_);
    sample.prompt_rate = rate(stats.prompt_tokens, last_->prompt_tokens);
    sample.generation_rate = rate(stats.generation_tokens, last_->generation_tokens);
    const auto quantile = [&](const Histogram engine::EngineStats::*times, double q) {
      return quantile_between((*last_).*times, stats.*times, q);
    };
    sample.ttft_p50_s = quantile(&engine::EngineStats::time_to_first_token, 0.5);
    sample.ttft_p99_s = quantile(&engine::EngineStats::time_to_first_token, 0.99);
    sample.itl_p50_s = quantile(&engine::EngineStats::inter_token_latency, 0.5);
    sample.itl_p99_s = quantile(&engine::EngineStats::inter_token_latency, 0.99);
    sample.accepted = share(stats.drafts_accepted - last_->drafts_accepted,
                            stats.drafts_proposed - last_->drafts_proposed);
    sample.prefix_hits = share(stats.prefix_hit_tokens - last_->prefix_hit_tokens,
                               stats.prefix_query_tokens - last_->prefix_query_tokens);
  }
  last_ = stats;
  last_s_ = time_s;
  last_refused_ = refused;
  samples_.push_back(sample);
  if (samples_.size() > limits_.samples_max) samples_.pop_front();
}

std::string History::json(int64_t after_s) const {
  api::JsonWriter json;
  json.begin_object().key("period_s").integer(limits_.period_s);
  const auto column = [&](std::string_view name, auto member) {
    json.key(name).begin_array();
    for (const Sample& sample : samples_) {
      if (sample.time_s <= after_s) continue;
      const auto& value = sample.*member;
      if constexpr (std::is_same_v<decltype(value), const int64_t&>) {
        json.integer(value);
      } else if constexpr (std::is_same_v<decltype(value), const double&>) {
        json.number(value);
      } else {
        value ? json.number(*value) : json.null();
      }
    }
    json.end_array();
  };
  column("time_s", &Sample::time_s);
  column("running", &Sample::running);
  column("waiting", &Sample::waiting);
  column("refused", &Sample::refused);
  column("kv_used", &Sample::kv_used);
  column("prompt_tokens_per_s", &Sample::prompt_rate);
  column("generation_tokens_per_s", &Sample::generation_rate);
  column("ttft_p50_s", &Sample::ttft_p50_s);
  column("ttft_p99_s", &Sample::ttft_p99_s);
  column("itl_p50_s", &Sample::itl_p50_s);
  column("itl_p99_s", &Sample::itl_p99_s);
  column("drafts_accepted", &Sample::accepted);
  column("prefix_hits", &Sample::prefix_hits);
  json.end_object();
  return json.take();
}

}  // namespace galley::gateway

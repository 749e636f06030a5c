// GET /metrics: Prometheus' text format, engine figures under vLLM's names and labels.
//
// Http counts what the HTTP server did; the engine's figures come as EngineStats at each scrape.
// Event loop only.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>

#include "base/histogram.h"
#include "engine/engine_stats.h"
#include "gateway/server.h"

namespace galley::gateway {

inline constexpr double kHttpTimeBounds[] = {0.001, 0.005, 0.01, 0.05, 0.1,  0.5,
                                             1.0,   2.5,   5.0,  10.0, 30.0, 60.0};

class HttpMetrics {
 public:
  // `route` is one of the server's own, or "other": never what a client wrote.
  void answered(const std::string& route, int status, int64_t took_us);

  void write(std::string& out, const ServerCounts& counts) const;

 private:
  std::map<std::pair<std::string, int>, uint64_t> requests_;  // by route and status
  Histogram seconds_{kHttpTimeBounds};
};

struct EngineLabels {
  std::string model_name;
  std::string engine = "0";
  int64_t queued = 0;  // sequences that wait in front of the engine
};

// Appends vllm:* for one engine.
void write_engine_metrics(std::string& out, const engine::EngineStats& stats,
                          const EngineLabels& labels);

// Appends what the cache of compiled grammars holds.
void write_grammar_metrics(std::string& out, size_t grammars, size_t bytes);

// `text` inside a label's quotes.
std::string escape_label(const std::string& text);

}  // namespace galley::gateway

#include "gateway/metrics.h"

#include <gtest/gtest.h>

#include <sstream>
#include <string>

namespace galley::gateway {
namespace {

bool has_line(const std::string& text, const std::string& wanted) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);)
    if (line == wanted) return true;
  return false;
}

TEST(Metrics, EngineFiguresUnderVllmsNames) {
  engine::EngineStats stats;
  stats.requests_running = 3;
  stats.blocks_total = 8;
  stats.blocks_held = 2;
  stats.prompt_tokens = 100;
  stats.finished[static_cast<size_t>(engine::FinishReason::kLength)] = 4;
  stats.time_to_first_token.observe(0.03, 2);
  stats.time_to_first_token.observe(9999);
  std::string out;
  write_engine_metrics(out, stats, {"a\"b\\c", "1"});
  const std::string labels = "engine=\"1\",model_name=\"a\\\"b\\\\c\"";
  EXPECT_TRUE(has_line(out, "# TYPE vllm:num_requests_running gauge"));
  EXPECT_TRUE(has_line(out, "vllm:num_requests_running{" + labels + "} 3"));
  EXPECT_TRUE(has_line(out, "vllm:kv_cache_usage_perc{" + labels + "} 0.25"));
  EXPECT_TRUE(has_line(out, "vllm:prompt_tokens_total{" + labels + "} 100"));
  EXPECT_TRUE(
      has_line(out, "vllm:request_success_total{" + labels + ",finished_reason=\"length\"} 4"));
  const std::string ttft = "vllm:time_to_first_token_seconds_";
  EXPECT_TRUE(has_line(out, ttft + "bucket{" + labels + ",le=\"0.02\"} 0"));
  EXPECT_TRUE(has_line(out, ttft + "bucket{" + labels + ",le=\"0.04\"} 2"));
  EXPECT_TRUE(has_line(out, ttft + "bucket{" + labels + ",le=\"2560\"} 2"));
  EXPECT_TRUE(has_line(out, ttft + "bucket{" + labels + ",le=\"+Inf\"} 3"));
  EXPECT_TRUE(has_line(out, ttft + "count{" + labels + "} 3"));
}

TEST(Metrics, Grammars) {
  std::string out;
  write_grammar_metrics(out, 3, 4096);
  EXPECT_TRUE(has_line(out, "galley_grammar_cache_entries 3"));
  EXPECT_TRUE(has_line(out, "galley_grammar_cache_bytes 4096"));
}

TEST(Metrics, Http) {
  HttpMetrics metrics;
  metrics.answered("/health", 200, 500);
  metrics.answered("/health", 200, 500);
  metrics.answered("other", 404, 500);
  ServerCounts counts;
  counts.connections = 2;
  std::string out;
  metrics.write(out, counts);
  EXPECT_TRUE(has_line(out, "galley_http_requests_total{route=\"/health\",code=\"200\"} 2"));
  EXPECT_TRUE(has_line(out, "galley_http_requests_total{route=\"other\",code=\"404\"} 1"));
  EXPECT_TRUE(has_line(out, "galley_http_connections 2"));
  EXPECT_TRUE(has_line(out, "galley_http_request_seconds_bucket{le=\"0.001\"} 3"));
}

}  // namespace
}  // namespace galley::gateway

#include "kernels/op_bench.h"

#include <gtest/gtest.h>

namespace galley::kernels {
namespace {

TEST(OpBench, MeasuresAndChecks) {
  const auto report =
      run_op_bench({.threads = 1, .seconds = 0.001, .filter = "qwen2-1.5b linear o"});
  ASSERT_TRUE(report.ok()) << report.message();
  ASSERT_EQ(report->rows.size(), 2u);
  EXPECT_EQ(report->threads, 1);
  EXPECT_GT(report->memory_gb_per_s, 0.0);
  EXPECT_GT(report->bf16_gflop_per_s, 0.0);
  for (const OpBenchRow& row : report->rows) {
    EXPECT_TRUE(row.correct) << row.operation << " is off by " << row.error;
    EXPECT_GT(row.microseconds, 0.0);
    EXPECT_GT(row.percent, 0.0);
  }
  EXPECT_NE(to_text(*report).find("linear o"), std::string::npos);
  EXPECT_NE(to_json(*report).find("\"operation\": \"linear o\""), std::string::npos);
}

TEST(OpBench, RefusesAFilterThatMatchesNothing) {
  EXPECT_EQ(run_op_bench({.threads = 1, .seconds = 0.001, .filter = "nothing"}).code(),
            Code::kNotFound);
}

}  // namespace
}  // namespace galley::kernels

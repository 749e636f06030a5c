// After start-up the engine thread does not allocate while it generates. This program counts every
// operator new of the engine thread outside the runner.
#include <gtest/gtest.h>

#include <thread>

#include "engine/engine.h"
#include "engine/testing/count_allocations.h"

namespace galley::engine {
namespace {

using testing::counts_allocations;
using testing::num_allocations;

constexpr int32_t kRequests = 8;
constexpr int32_t kDrafts = 2;

// Token 1 always; drafts are right in every second step. Counts from the tenth step to the end of
// the hundredth.
class CountingRunner : public Runner {
 public:
  CountingRunner() {
    info_ = {.vocab_size = 8,
             .context_max = 4096,
             .num_blocks = 200,
             .block_tokens = 64,
             .step_tokens_max = 64,
             .step_requests_max = kRequests,
             .drafts_max = kDrafts};
    results_.reserve(kRequests);
    for (kernels::SampleResult& token : tokens_) token.token = 1;
  }
  const RunnerInfo& info() const override { return info_; }

  std::span<const StepResult> execute(std::span<const StepItem> plan) override {
    counts_allocations = false;
    num_steps_ += 1;
    results_.clear();
    const bool are_right = num_steps_ % 2 == 0;
    for (const StepItem& item : plan) {
      StepResult result;
      result.id = item.id;
      if (item.samples) {
        const size_t num_accepted = are_right ? item.drafts.size() : 0;
        result.tokens = std::span<const kernels::SampleResult>(tokens_).first(1 + num_accepted);
        result.drafts = drafts_;
      }
      results_.push_back(result);
    }
    counts_allocations = num_steps_ >= 10 && num_steps_ < 100;
    return results_;
  }
  void forget(RequestId) override {}

 private:
  RunnerInfo info_;
  std::vector<StepResult> results_;
  kernels::SampleResult tokens_[1 + kDrafts];
  const int32_t drafts_[kDrafts] = {1, 1};
  int64_t num_steps_ = 0;
};

TEST(EngineAllocation, NoneWhileItGenerates) {
  CountingRunner runner;
  const RealClock clock;
  EngineOptions options;
  options.limits = {.requests_max = 16, .batch_requests_max = kRequests, .step_tokens_max = 64};
  options.drafts = kDrafts;
  int64_t num_tokens = 0;
  Engine engine(options, &runner, &clock, [&](std::span<Event> events) {
    for (const Event& event : events) num_tokens += static_cast<int64_t>(event.tokens.size());
  });
  for (RequestId id = 1; id <= kRequests; ++id) {
    Request request;
    request.id = id;
    request.prompt.assign(8, 1);
    request.sampling.max_tokens = 400;
    ASSERT_TRUE(engine.submit(std::move(request)).ok());
  }
  engine.drain();
  engine.run();
  EXPECT_EQ(num_tokens, kRequests * 400);
  EXPECT_EQ(num_allocations, 0);
}

}  // namespace
}  // namespace galley::engine

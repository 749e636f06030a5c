#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "engine/engine.h"

namespace galley::engine {
namespace {

const RunnerInfo kRunner = {.vocab_size = 100,
                            .context_max = 64,
                            .num_blocks = 8,
                            .block_tokens = 4,
                            .step_tokens_max = 64,
                            .step_requests_max = 8,
                            .drafts_max = 2};
const EngineLimits kLimits = {.requests_max = 8, .batch_requests_max = 4, .step_tokens_max = 32};

Request good_request() {
  Request request;
  request.prompt = {1, 2, 3};
  return request;
}

Status with(const std::function<void(Request*)>& change) {
  Request request = good_request();
  change(&request);
  return validate(request, kLimits, kRunner);
}

// The first value outside is refused with the field's name, the last one inside is taken.
TEST(Validate, NamesTheFieldThatIsOutOfRange) {
  struct Case {
    const char* field;
    std::function<void(Request*)> good, bad;
  };
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Case cases[] = {
      {"temperature", [](Request* r) { r->sampling.temperature = 0.0f; },
       [](Request* r) { r->sampling.temperature = -0.01f; }},
      {"temperature", [](Request*) {}, [&](Request* r) { r->sampling.temperature = nan; }},
      {"temperature", [](Request*) {}, [](Request* r) { r->sampling.temperature = INFINITY; }},
      {"top_p", [](Request* r) { r->sampling.top_p = 1.0f; },
       [](Request* r) { r->sampling.top_p = 0.0f; }},
      {"top_p", [](Request*) {}, [&](Request* r) { r->sampling.top_p = nan; }},
      {"min_p", [](Request* r) { r->sampling.min_p = 1.0f; },
       [](Request* r) { r->sampling.min_p = 1.01f; }},
      {"top_k", [](Request* r) { r->sampling.top_k = 0; },
       [](Request* r) { r->sampling.top_k = -1; }},
      {"presence_penalty", [](Request* r) { r->sampling.presence_penalty = -2.0f; },
       [](Request* r) { r->sampling.presence_penalty = -2.01f; }},
      {"frequency_penalty", [](Request* r) { r->sampling.frequency_penalty = 2.0f; },
       [](Request* r) { r->sampling.frequency_penalty = 2.01f; }},
      {"repetition_penalty", [](Request* r) { r->sampling.repetition_penalty = 2.0f; },
       [](Request* r) { r->sampling.repetition_penalty = 0.0f; }},
      {"max_tokens", [](Request* r) { r->sampling.max_tokens = 1; },
       [](Request* r) { r->sampling.max_tokens = 0; }},
      {"min_tokens", [](Request* r) { r->sampling.min_tokens = 16; },
       [](Request* r) { r->sampling.min_tokens = 17; }},
      {"logprobs", [](Request* r) { r->sampling.logprobs = 20; },
       [](Request* r) { r->sampling.logprobs = 21; }},
      {"prompt_logprobs", [](Request* r) { r->sampling.prompt_logprobs = 20; },
       [](Request* r) { r->sampling.prompt_logprobs = -2; }},
      {"stop_token_ids", [](Request* r) { r->sampling.stop_token_ids = {99}; },
       [](Request* r) { r->sampling.stop_token_ids = {100}; }},
      {"logit_bias",
       [](Request* r) {
         r->sampling.logit_bias = {{0, -100.0f}};
       },
       [](Request* r) {
         r->sampling.logit_bias = {{-1, 1.0f}};
       }},
      {"logit_bias", [](Request*) {},
       [&](Request* r) {
         r->sampling.logit_bias = {{0, nan}};
       }},
      {"prompt", [](Request* r) { r->prompt = {99}; }, [](Request* r) { r->prompt = {100}; }},
      {"prompt", [](Request*) {}, [](Request* r) { r->prompt.clear(); }},
      {"thinking budget", [](Request* r) { r->thinking.budget = -1; },
       [](Request* r) { r->thinking.budget = -2; }},
      {"thinking budget",
       [](Request* r) {
         r->thinking.budget = 1;
         r->thinking.end = 5;
         r->thinking.close = {5};
       },
       [](Request* r) {
         r->thinking.budget = 1;
         r->thinking.end = 5;
         r->thinking.close = {6};
       }},
  };
  for (const Case& c : cases) {
    EXPECT_TRUE(with(c.good).ok()) << c.field << ": " << with(c.good).message();
    const Status status = with(c.bad);
    EXPECT_EQ(status.code(), Code::kInvalid) << c.field;
    EXPECT_NE(status.message().find(c.field), std::string::npos) << status.message();
  }
}

TEST(Validate, SaysWhatIsTooLarge) {
  EXPECT_EQ(with([](Request* r) { r->sampling.max_tokens = 30; }).code(), Code::kOk)
      << "32 rows: the last token needs none";
  const Status cache = with([](Request* r) { r->sampling.max_tokens = 31; });
  EXPECT_EQ(cache.code(), Code::kTooLarge);
  EXPECT_NE(cache.message().find("KV cache of 32"), std::string::npos) << cache.message();
  const Status context = with([](Request* r) { r->sampling.max_tokens = 62; });
  EXPECT_EQ(context.code(), Code::kTooLarge);
  EXPECT_NE(context.message().find("context of 64"), std::string::npos) << context.message();
  EXPECT_EQ(
      with([](Request* r) { r->sampling.max_tokens = std::numeric_limits<int32_t>::max(); }).code(),
      Code::kTooLarge);
  EXPECT_EQ(with([](Request* r) { r->sampling.stop_token_ids.assign(129, 1); }).code(),
            Code::kTooLarge);
  EXPECT_EQ(with([](Request* r) {
              r->sampling.logit_bias.assign(1025, {1, 0.0f});
            }).code(),
            Code::kTooLarge);
  EXPECT_EQ(with([](Request* r) { r->thinking.close.assign(65, 1); }).code(), Code::kTooLarge);
}

TEST(Validate, OptionsMustFitTheRunner) {
  EngineOptions good;
  good.limits = kLimits;
  good.drafts = 2;
  good.eos_tokens = {99};
  EXPECT_TRUE(validate(good, kRunner).ok()) << validate(good, kRunner).message();
  const auto refused = [&](const std::function<void(EngineOptions*)>& change, const char* flag) {
    EngineOptions options = good;
    change(&options);
    const Status status = validate(options, kRunner);
    EXPECT_EQ(status.code(), Code::kInvalid) << flag;
    EXPECT_NE(status.message().find(flag), std::string::npos) << status.message();
  };
  refused([](EngineOptions* o) { o->limits.requests_max = 0; }, "max-num-queued-reqs");
  refused([](EngineOptions* o) { o->limits.batch_requests_max = 9; }, "max-num-seqs");
  refused([](EngineOptions* o) { o->limits.step_tokens_max = 3; }, "max-num-batched-tokens");
  refused([](EngineOptions* o) { o->limits.step_tokens_max = 65; }, "max-num-batched-tokens");
  refused([](EngineOptions* o) { o->drafts = 3; }, "num_speculative_tokens");
  refused([](EngineOptions* o) { o->eos_tokens = {100}; }, "eos_token_id");
  refused([](EngineOptions* o) { o->limits.priority_step_ms = -1; }, "priority_step_ms");
}

}  // namespace
}  // namespace galley::engine

// A step of the model allocates nothing once its request is known, penalties and drafts included.
// This program counts every operator new of the calling thread.
#include <gtest/gtest.h>

#include "engine/testing/count_allocations.h"
#include "engine/testing/tiny_models.h"

namespace galley::engine {
namespace {

using testing::counts_allocations;
using testing::num_allocations;

TEST(ModelAllocation, DecodingAllocatesNothing) {
  for (const char* name : {"v3", "qwen2"}) {
    const bool has_mtp = std::string(name) == "v3";
    auto model = testing::load_tiny({.name = name, .drafts = has_mtp ? 2 : 0, .threads = 2});
    ASSERT_TRUE(model.ok()) << model.message();
    SamplingParams sampling;
    sampling.temperature = 0.8f;
    sampling.top_p = 0.9f;
    sampling.presence_penalty = 0.5f;
    sampling.logprobs = 5;
    sampling.max_tokens = 400;
    std::vector<int32_t> known = {1, 2, 3};
    known.reserve(500);
    std::vector<int32_t> drafts;
    drafts.reserve(8);
    const BlockId blocks[] = {5, 2, 9};
    num_allocations = 0;
    int32_t computed = 0;
    while (known.size() < 150) {
      StepItem item;
      item.id = 1;
      item.known = known;
      item.prompt_len = 3;
      item.token_begin = computed;
      item.token_count = static_cast<int32_t>(known.size()) - computed;
      item.samples = true;
      item.drafts = drafts;
      item.blocks = blocks;
      item.sampling = &sampling;
      counts_allocations = computed > 0;  // the first step meets the request
      const StepResult result = model->runner->execute({&item, 1})[0];
      counts_allocations = false;
      ASSERT_TRUE(result.status.ok());
      computed += item.token_count + static_cast<int32_t>(result.tokens.size()) - 1;
      for (const kernels::SampleResult& token : result.tokens) known.push_back(token.token);
      drafts.assign(result.drafts.begin(), result.drafts.end());
    }
    EXPECT_EQ(num_allocations, 0) << name;
  }
}

}  // namespace
}  // namespace galley::engine

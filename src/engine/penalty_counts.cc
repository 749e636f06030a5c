#include "engine/penalty_counts.h"

#include <algorithm>

#include "base/check.h"

namespace galley::engine {

bool has_penalties(const SamplingParams& sampling) {
  return sampling.presence_penalty != 0.0f || sampling.frequency_penalty != 0.0f ||
         sampling.repetition_penalty != 1.0f;
}

PenaltyCounts::PenaltyCounts(int32_t vocab_size, size_t tokens_max) {
  const size_t distinct_max = std::min(static_cast<size_t>(vocab_size), tokens_max);
  counts_.reserve(distinct_max);
  at_.reserve(distinct_max);
}

void PenaltyCounts::update(std::span<const int32_t> known, int32_t prompt_len) {
  GALLEY_CHECK(known.size() >= num_counted_, "known tokens are never taken back");
  for (; num_counted_ < known.size(); ++num_counted_) {
    const int32_t token = known[num_counted_];
    const auto [at, is_new] = at_.try_emplace(token, counts_.size());
    if (is_new) counts_.push_back({.token = token, .in_output = 0, .in_prompt = false});
    kernels::TokenCount& entry = counts_[at->second];
    if (num_counted_ < static_cast<size_t>(prompt_len)) {
      entry.in_prompt = true;
    } else {
      ++entry.in_output;
    }
  }
}

}  // namespace galley::engine

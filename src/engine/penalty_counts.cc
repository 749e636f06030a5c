#include "engine/penalty_counts.h"

#include <algorithm>
#include <bit>

#include "base/check.h"

namespace galley::engine {

bool has_penalties(const SamplingParams& sampling) {
  return sampling.presence_penalty != 0.0f || sampling.frequency_penalty != 0.0f ||
         sampling.repetition_penalty != 1.0f;
}

PenaltyCounts::PenaltyCounts(int32_t vocab_size, size_t tokens_max) {
  const size_t distinct_max = std::min(static_cast<size_t>(vocab_size), tokens_max);
  counts_.reserve(distinct_max);
  table_.assign(std::bit_ceil(2 * distinct_max + 1), -1);
}

kernels::TokenCount& PenaltyCounts::entry_of(int32_t token) {
  const size_t mask = table_.size() - 1;
  size_t at = static_cast<uint32_t>(token) * size_t{0x9e3779b1} & mask;
  while (table_[at] >= 0 && counts_[static_cast<size_t>(table_[at])].token != token)
    at = (at + 1) & mask;
  if (table_[at] < 0) {
    GALLEY_CHECK(counts_.size() < counts_.capacity(), "a request sees at most its tokens_max");
    table_[at] = static_cast<int32_t>(counts_.size());
    counts_.push_back({.token = token, .in_output = 0, .in_prompt = false});
  }
  return counts_[static_cast<size_t>(table_[at])];
}

void PenaltyCounts::update(std::span<const int32_t> known, int32_t prompt_len) {
  GALLEY_CHECK(known.size() >= num_counted_, "known tokens are never taken back");
  for (; num_counted_ < known.size(); ++num_counted_) {
    kernels::TokenCount& entry = entry_of(known[num_counted_]);
    if (num_counted_ < static_cast<size_t>(prompt_len)) {
      entry.in_prompt = true;
    } else {
      ++entry.in_output;
    }
  }
}

}  // namespace galley::engine

// Which tokens a request has seen and how often it made each, kept from step to step. Only requests
// with penalties have one.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/request.h"
#include "kernels/sampling.h"

namespace galley::engine {

bool has_penalties(const SamplingParams& sampling);

class PenaltyCounts {
 public:
  // Makes room for every token the request may yet see, so that update() does not allocate.
  PenaltyCounts(int32_t vocab_size, size_t tokens_max);

  // Counts the known tokens that were not there at the last call. `known` only ever grows.
  void update(std::span<const int32_t> known, int32_t prompt_len);
  std::span<const kernels::TokenCount> counts() const { return counts_; }

 private:
  kernels::TokenCount& entry_of(int32_t token);

  size_t num_counted_ = 0;
  std::vector<kernels::TokenCount> counts_;
  // Open addressing from a token to its index in counts_, -1: empty. At most half full, a power of
  // two long.
  std::vector<int32_t> table_;
};

}  // namespace galley::engine

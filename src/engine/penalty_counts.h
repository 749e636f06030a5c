// Which tokens a request has seen and how often it made each, kept from step to step. Only requests
// with penalties have one.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
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
  size_t num_counted_ = 0;
  std::vector<kernels::TokenCount> counts_;
  std::unordered_map<int32_t, size_t> at_;  // token -> index in counts_
};

}  // namespace galley::engine

// Rotary tables: cos and sin of every position, with the scaling of the rope type already in them.
#pragma once

#include <cstdint>
#include <vector>

#include "base/status.h"
#include "kernels/ops.h"
#include "model/config.h"

namespace galley::model {

// Angle per position of each of the width / 2 pairs, and the factor on cos and sin.
// Sources  YaRN arXiv:2309.00071; DeepSeek's mscale; Llama 3.1's smoothed scaling.
struct RopeFrequencies {
  std::vector<double> per_pair;  // [width / 2]
  double amplitude = 1.0;
};
RopeFrequencies rope_frequencies(const RopeConfig& config, int32_t width);

// DeepSeek's factor on the attention scores: m(mscale_all_dim)^2 for YaRN, else 1.
double rope_score_scale(const RopeConfig& config);

// Tables for positions [0, positions), in the memory of `ops`.
// Errors  kTooLarge  the memory is not there
Result<kernels::RopeTable> make_rope_table(const RopeConfig& config, int32_t width,
                                           int32_t positions, kernels::Ops* ops);

// Bytes that make_rope_table takes.
int64_t rope_table_bytes(int32_t width, int32_t positions);

}  // namespace galley::model

// The index arrays of one step in the backend's memory: built on the host from plain facts about
// each sequence, uploaded in one piece. Part of model_runner; allocates at construction only.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/runner.h"
#include "kernels/ops.h"
#include "model/model.h"

namespace galley::engine {

// Consecutive positions of one sequence that a step computes.
struct SequencePart {
  std::span<const BlockId> blocks;  // hold positions [0, begin + count)
  int32_t begin = 0;
  int32_t count = 0;  // >= 1
};

class StepArrays {
 public:
  struct Limits {
    int32_t tokens_max = 0;
    int32_t sequences_max = 0;
    int32_t blocks_max = 0;  // of one sequence
  };

  StepArrays(const Limits& limits, kernels::Ops* ops);
  bool ok() const { return device_ != nullptr; }  // the memory was there
  static int64_t size_bytes(const Limits& limits);

  // `ids` has a token for each position of `parts`, in order; it must live as long as the step. The
  // result is valid until the next build().
  model::Step build(std::span<const SequencePart> parts, std::span<const int32_t> ids);

 private:
  const Limits limits_;
  kernels::Ops* const ops_;
  std::vector<int32_t> host_;
  int32_t* device_ = nullptr;
  kernels::StepBatch batch_;
};

}  // namespace galley::engine

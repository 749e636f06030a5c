// SimulatedEngine: an engine on virtual time, by its costs alone: sequences in slots, prompts
// first, then a token each a step.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace galley::gateway::testing {

struct SimulatedCosts {
  double step_ms = 5;       // of any step
  double prompt_ms = 0.02;  // of a prompt token in it
  double output_ms = 0.5;   // of a sequence that decodes in it
  int64_t step_prompt_max = 512;
};

struct SimulatedAnswer {
  uint64_t id = 0;
  int64_t prompt_left = 0;
  int64_t output = 0;       // there
  int64_t output_real = 0;  // until it ends
};

class SimulatedEngine {
 public:
  SimulatedEngine(int32_t slots, const SimulatedCosts& costs) : slots_(slots), costs_(costs) {}

  void start(uint64_t id, int64_t prompt, int64_t output) {
    sequences_.push_back({id, std::max<int64_t>(prompt, 1), 0, std::max<int64_t>(output, 1)});
  }
  void cancel(uint64_t id) {
    std::erase_if(sequences_, [id](const SimulatedAnswer& one) { return one.id == id; });
  }
  // One step of those in the slots, in order of arrival; how long it takes. `on_token` hears of
  // each sequence that gained a token, and whether it has ended with it.
  template <typename OnToken>
  double step(OnToken on_token) {
    const size_t count = std::min(sequences_.size(), static_cast<size_t>(slots_));
    int64_t prompt_room = costs_.step_prompt_max;
    double took = costs_.step_ms;
    std::vector<SimulatedAnswer> advanced;
    for (size_t i = 0; i < count; ++i) {
      SimulatedAnswer& one = sequences_[i];
      if (one.prompt_left > 0) {
        const int64_t chunk = std::min(one.prompt_left, prompt_room);
        one.prompt_left -= chunk;
        prompt_room -= chunk;
        took += costs_.prompt_ms * static_cast<double>(chunk);
        if (one.prompt_left > 0) continue;
      } else {
        took += costs_.output_ms;
      }
      ++one.output;
      advanced.push_back(one);
    }
    std::erase_if(sequences_, [](const SimulatedAnswer& one) {
      return one.prompt_left == 0 && one.output >= one.output_real;
    });
    for (const SimulatedAnswer& one : advanced) on_token(one, one.output >= one.output_real);
    return took;
  }
  bool idle() const { return sequences_.empty(); }

 private:
  const int32_t slots_;
  const SimulatedCosts costs_;
  std::vector<SimulatedAnswer> sequences_;
};

}  // namespace galley::gateway::testing

// Seeds of random tests: GALLEY_SEED=N replays the run that a failure names.
#pragma once

#include <cstdint>
#include <cstdlib>

namespace galley::gateway::testing {

inline uint64_t seed_of(uint64_t round) {
  const char* given = std::getenv("GALLEY_SEED");
  return given != nullptr ? std::strtoull(given, nullptr, 10) : round + 1;
}

}  // namespace galley::gateway::testing

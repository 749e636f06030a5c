// Which instruction sets this machine and its system allow, and the primitives of each.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "kernels/cpu/primitives.h"
#include "kernels/ops.h"

namespace galley::kernels::cpu {

// One compiled set of primitives. kAvx512 comes in two: with and without avx512_bf16.
struct Implementation {
  Isa isa;
  std::string_view name;         // "avx512_bf16"
  const Primitives* primitives;  // null when it is not available here
  std::string missing;           // what is not there; empty when available
};

// All of them, worst first. Asks the system once for AMX's tile registers.
const std::vector<Implementation>& implementations();

}  // namespace galley::kernels::cpu

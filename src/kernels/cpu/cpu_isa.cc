#include "kernels/cpu/cpu_isa.h"

#include "kernels/cpu/cpu_ops.h"

namespace galley::kernels {
namespace cpu {
namespace {

std::vector<Implementation> find_implementations() {
  std::vector<Implementation> all;
  all.push_back({Isa::kPortable, "portable", &portable_primitives(), ""});
  return all;
}

}  // namespace

const std::vector<Implementation>& implementations() {
  static const std::vector<Implementation> all = find_implementations();
  return all;
}

}  // namespace cpu

Result<std::unique_ptr<Ops>> make_cpu_ops(const CpuOptions& options) {
  const cpu::Implementation* best = nullptr;
  std::string missing = "it is not part of this build";
  for (const cpu::Implementation& one : cpu::implementations()) {
    if (options.isa != Isa::kAuto && options.isa != one.isa) continue;
    if (one.primitives != nullptr) {
      best = &one;
    } else {
      missing = std::string(one.name) + " needs " + one.missing;
    }
  }
  if (best == nullptr) {
    return Status(Code::kUnavailable,
                  "the instruction set asked for is not available here: " + missing +
                      "; choose another or leave the choice to the program");
  }
  return std::unique_ptr<Ops>(std::make_unique<cpu::CpuOps>(options, *best->primitives));
}

}  // namespace galley::kernels

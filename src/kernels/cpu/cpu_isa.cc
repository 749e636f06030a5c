#include "kernels/cpu/cpu_isa.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernels/cpu/cpu_ops.h"

namespace galley::kernels {
namespace cpu {
namespace {

struct Registers {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers cpuid(uint32_t leaf, uint32_t subleaf) {
  Registers r;
  if (__get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx) == 0) return {};
  return r;
}

// Which register states the system saves: XCR0. 0 when it does not say.
uint64_t saved_states() {
  const bool has_xgetbv = (cpuid(1, 0).ecx >> 27 & 1u) != 0;
  if (!has_xgetbv) return 0;
  uint32_t low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t{high} << 32 | low;
}

// Linux hands out the 8 KiB of tile registers only to a process that asks (arch_prctl(2)).
bool tile_registers_granted() {
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long kTileData = 18;               // XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

constexpr uint64_t kAvxStates = 0x6;       // XMM, YMM
constexpr uint64_t kAvx512States = 0xe6;   // and masks, ZMM
constexpr uint64_t kTileStates = 0x60000;  // XTILECFG, XTILEDATA

// Names of the features that are not there, separated by spaces.
class Missing {
 public:
  void need(bool available, const char* name) {
    if (available) return;
    if (!names_.empty()) names_ += ' ';
    names_ += name;
  }
  const std::string& names() const { return names_; }

 private:
  std::string names_;
};

std::vector<Implementation> find_implementations() {
  const Registers one = cpuid(1, 0), seven = cpuid(7, 0), seven_one = cpuid(7, 1);
  const uint64_t states = saved_states();
  const auto bit = [](uint32_t word, int index) { return (word >> index & 1u) != 0; };
  const auto saves = [&](uint64_t wanted) { return (states & wanted) == wanted; };

  std::vector<Implementation> all;
  const auto add = [&](Isa isa, const Primitives& primitives, const Missing& missing) {
    const bool available = missing.names().empty();
    all.push_back({isa, primitives.name, available ? &primitives : nullptr, missing.names()});
  };

  Missing missing;
  add(Isa::kPortable, portable_primitives(), missing);

  missing.need(bit(one.ecx, 12), "fma");
  missing.need(bit(one.ecx, 29), "f16c");
  missing.need(bit(seven.ebx, 5), "avx2");
  missing.need(saves(kAvxStates), "a system that saves ymm registers");
  add(Isa::kAvx2, avx2_primitives(), missing);

  missing.need(bit(seven.ebx, 16), "avx512f");
  missing.need(bit(seven.ebx, 17), "avx512dq");
  missing.need(bit(seven.ebx, 30), "avx512bw");
  missing.need(bit(seven.ebx, 31), "avx512vl");
  missing.need(saves(kAvx512States), "a system that saves zmm registers");
  add(Isa::kAvx512, avx512_primitives(), missing);

  missing.need(bit(seven.ecx, 1), "avx512_vbmi");
  missing.need(bit(seven_one.eax, 5), "avx512_bf16");
  add(Isa::kAvx512, avx512_bf16_primitives(), missing);

  missing.need(bit(seven.edx, 24), "amx_tile");
  missing.need(bit(seven.edx, 22), "amx_bf16");
  missing.need(saves(kTileStates), "a system that saves tile registers");
  // Asked last: it changes the process.
  if (missing.names().empty())
    missing.need(tile_registers_granted(), "leave to use tile registers");
  add(Isa::kAmx, amx_primitives(), missing);
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

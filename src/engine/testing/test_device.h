// On which device the engine's tests compute: GALLEY_TEST_DEVICE=cuda says the GPU.
#pragma once

#include <cstdlib>
#include <string_view>

#include "engine/load_model.h"

namespace galley::engine::testing {

inline bool on_cuda() {
  const char* const device = std::getenv("GALLEY_TEST_DEVICE");
  return device != nullptr && std::string_view(device) == "cuda";
}

inline DeviceChoice test_device() {
  return on_cuda() ? DeviceChoice::kCuda : DeviceChoice::kCpu;
}

}  // namespace galley::engine::testing

// Where the engine's tests run: GALLEY_TEST_DEVICE=cuda says on the GPU; GALLEY_SOURCE_DIR says
// where the repository's data is on a machine that did not build them.
#pragma once

#include <cstdlib>
#include <string>
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

inline std::string source_dir() {
  const char* const folder = std::getenv("GALLEY_SOURCE_DIR");
  return folder != nullptr ? folder : GALLEY_SOURCE_DIR;
}

}  // namespace galley::engine::testing

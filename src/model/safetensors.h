// The header of a safetensors file, read as if an enemy had written it.
//
// Format  8 bytes little-endian: length of the header; the header, a JSON object of
//         name -> {"dtype", "shape", "data_offsets": [begin, end)}, optionally "__metadata__"
//         (string to string); then the data, to which the offsets are relative.
// Refused  a header longer than the file or the limit, anything that is not exactly that JSON,
//         a name that occurs twice, offsets that are not shape x dtype bytes, lie outside the file,
//         overlap, or leave bytes of the file that belong to no tensor.
// Nothing is allocated in proportion to a number that the file merely claims.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace galley::model {

struct SafetensorsLimits {
  static constexpr uint64_t kHeaderBytesMax = 100'000'000;  // the format's own bound
  static constexpr size_t kTensorsMax = size_t{1} << 20;
  static constexpr size_t kNameBytesMax = 512;
  static constexpr size_t kRankMax = 8;
};

// Every element type the format knows; which of them a model may use is for weights.h to say.
enum class StoredType : uint8_t {
  kBool,
  kU8,
  kI8,
  kF8E5M2,
  kF8E4M3,
  kF8E8M0,
  kI16,
  kU16,
  kF16,
  kBF16,
  kI32,
  kU32,
  kF32,
  kF64,
  kI64,
  kU64
};

std::string_view name_of(StoredType type);  // as in the file: "BF16"
uint64_t size_of(StoredType type);          // bytes of one element

struct StoredTensor {
  std::string name;
  StoredType type = StoredType::kF32;
  uint32_t rank = 0;
  std::array<int64_t, SafetensorsLimits::kRankMax> shape = {};
  std::span<const std::byte> data;  // within the file; any alignment

  std::span<const int64_t> dims() const { return {shape.data(), rank}; }
};

std::string shape_text(std::span<const int64_t> shape);  // "[2, 3]"

// The tensors of the file whose bytes are `file`, in the order of their data. `where` names the
// file in messages. The result points into `file`. Errors  kCorrupt  names the file, the tensor and
// what is wrong with it
Result<std::vector<StoredTensor>> parse_safetensors(std::span<const std::byte> file,
                                                    const std::string& where);

}  // namespace galley::model

// Fuzzes the safetensors header. Whatever is taken tiles the file's data exactly.
#include <cstdint>
#include <set>
#include <span>
#include <string_view>

#include "base/check.h"
#include "model/safetensors.h"

namespace galley::model {
namespace {

void check(std::span<const std::byte> file) {
  const auto parsed = parse_safetensors(file, "file");
  if (!parsed.ok()) {
    GALLEY_CHECK(parsed.code() == Code::kCorrupt && !parsed.message().empty(),
                 "a refusal says why");
    return;
  }
  std::set<std::string_view> names;
  const std::byte* at = nullptr;
  for (const StoredTensor& tensor : *parsed) {
    GALLEY_CHECK(names.insert(tensor.name).second, "names are distinct");
    uint64_t bytes = size_of(tensor.type);
    for (const int64_t dim : tensor.dims()) bytes *= static_cast<uint64_t>(dim);
    GALLEY_CHECK(tensor.data.size() == bytes, "shape and type give the bytes");
    GALLEY_CHECK(at == nullptr || tensor.data.data() == at,
                 "one tensor ends where the next begins");
    GALLEY_CHECK(tensor.data.data() >= file.data(), "inside the file");
    at = tensor.data.data() + tensor.data.size();
  }
  GALLEY_CHECK(at == nullptr || at == file.data() + file.size(), "the last ends with the file");
}

}  // namespace
}  // namespace galley::model

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  galley::model::check({reinterpret_cast<const std::byte*>(data), size});
  return 0;
}

#include "model/weight_reader.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>
#include <optional>
#include <random>

namespace galley::model {
namespace {

constexpr float kDummyDeviation = 0.02f;
constexpr size_t kSurplusShownMax = 5;

std::optional<DType> dtype_of(StoredType type) {
  switch (type) {
    case StoredType::kF32:
      return DType::kF32;
    case StoredType::kBF16:
      return DType::kBF16;
    case StoredType::kF16:
      return DType::kF16;
    case StoredType::kF8E4M3:
      return DType::kF8E4M3;
    default:
      return std::nullopt;
  }
}

StoredType stored_type_of(DType type) {
  switch (type) {
    case DType::kF32:
      return StoredType::kF32;
    case DType::kBF16:
      return StoredType::kBF16;
    case DType::kF16:
      return StoredType::kF16;
    case DType::kF8E4M3:
      return StoredType::kF8E4M3;
    case DType::kI32:
      break;
  }
  return StoredType::kI32;
}

int64_t blocks_of(int64_t n) {
  return (n + kScaleBlock - 1) / kScaleBlock;
}

// model.layers.7.self_attn.rotary_emb.inv_freq: a table that old checkpoints saved.
bool is_rotary_buffer(std::string_view name) {
  return name.ends_with(".rotary_emb.inv_freq");
}

// --- made-up tensors
// ------------------------------------------------------------------------------

constexpr size_t kDrawTable = 4096;

// Draws of a normal distribution, encoded; tensors pick from them at random.
template <typename Code>
std::vector<Code> draw_table(Code (*encode)(float), float deviation) {
  std::mt19937_64 random(20241226);
  std::vector<Code> table(kDrawTable);
  for (Code& entry : table) {
    double sum = -6.0;  // Irwin-Hall: twelve uniforms, variance 1; the same on every platform
    for (int i = 0; i < 12; ++i) sum += static_cast<double>(random() >> 11) * 0x1p-53;
    entry = encode(static_cast<float>(sum) * deviation);
  }
  return table;
}

template <typename Code>
void fill(std::byte* data, size_t count, uint64_t seed, const std::vector<Code>& table) {
  Code* const to = reinterpret_cast<Code*>(data);
  uint64_t state = seed;
  for (size_t i = 0; i < count; i += 4) {
    // splitmix64: one word gives four picks.
    state += 0x9e3779b97f4a7c15ull;
    uint64_t word = state;
    word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9ull;
    word = (word ^ (word >> 27)) * 0x94d049bb133111ebull;
    word ^= word >> 31;
    for (size_t k = i; k < std::min(count, i + 4); ++k, word >>= 16)
      to[k] = table[word % kDrawTable];
  }
}

float identity(float value) {
  return value;
}

constexpr float kDummyScale = kDummyDeviation / 64.0f;  // e4m3 codes then have deviation 64

void fill_random(StoredType type, std::byte* data, size_t count, uint64_t seed) {
  static const auto f32 = draw_table<float>(identity, kDummyDeviation);
  static const auto bf16 = draw_table<uint16_t>(f32_to_bf16, kDummyDeviation);
  static const auto f16 = draw_table<uint16_t>(f32_to_f16, kDummyDeviation);
  static const auto e4m3 = draw_table<uint8_t>(f32_to_e4m3, kDummyDeviation / kDummyScale);
  if (type == StoredType::kF32) fill(data, count, seed, f32);
  if (type == StoredType::kBF16) fill(data, count, seed, bf16);
  if (type == StoredType::kF16) fill(data, count, seed, f16);
  if (type == StoredType::kF8E4M3) fill(data, count, seed, e4m3);
}

void fill_constant(StoredType type, std::byte* data, size_t count, float value) {
  const uint16_t half = type == StoredType::kF16 ? f32_to_f16(value) : f32_to_bf16(value);
  for (size_t i = 0; i < count; ++i) {
    if (type == StoredType::kF32) {
      std::memcpy(data + i * 4, &value, 4);
    } else {
      std::memcpy(data + i * 2, &half, 2);
    }
  }
}

uint64_t seed_of(std::string_view name) {  // FNV-1a
  uint64_t hash = 0xcbf29ce484222325ull;
  for (const char c : name) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3ull;
  return hash;
}

}  // namespace

std::vector<std::string_view> CheckpointSource::names() const {
  std::vector<std::string_view> names;
  for (const StoredTensor& tensor : checkpoint_->tensors()) names.push_back(tensor.name);
  return names;
}

const StoredTensor* DummySource::find(const std::string& name, std::span<const int64_t> shape,
                                      Role role) {
  DType type = config_.dtype;
  if (role == Role::kLinear && config_.fp8) type = DType::kF8E4M3;
  if (role == Role::kFloats) type = DType::kF32;
  auto tensor = std::make_unique<StoredTensor>();
  tensor->name = name;
  tensor->type = stored_type_of(type);
  size_t count = 1;
  for (const int64_t dim : shape) {
    tensor->shape[tensor->rank++] = dim;
    count *= static_cast<size_t>(dim);
  }
  const size_t bytes = count * size_of(type);
  std::byte* data = nullptr;
  if (with_data_) {
    memory_.emplace_back(new (std::nothrow) std::byte[bytes]);
    data = memory_.back().get();
    if (data == nullptr) return nullptr;
    if (role == Role::kNorm || name.ends_with("_scale_inv")) {
      fill_constant(tensor->type, data, count, role == Role::kNorm ? 1.0f : kDummyScale);
    } else {
      fill_random(tensor->type, data, count, seed_of(name));
    }
  }
  tensor->data = {data, bytes};
  if (!with_data_) tensors_.clear();  // nobody keeps it: sizes only
  tensors_.push_back(std::move(tensor));
  return tensors_.back().get();
}

// --- WeightReader
// ---------------------------------------------------------------------------------

WeightReader::WeightReader(TensorSource* source, kernels::Ops* ops, const ModelConfig& config)
    : source_(source), ops_(ops), fp8_(config.fp8), made_(source->names().empty()) {
  names_ = source->names();
  std::sort(names_.begin(), names_.end());
}

void WeightReader::fail(const std::string& name, const std::string& why) {
  if (status_.ok()) status_ = Status(Code::kInvalid, "tensor \"" + name + "\" " + why);
}

bool WeightReader::has_prefix(const std::string& prefix) const {
  const auto at = std::lower_bound(names_.begin(), names_.end(), std::string_view(prefix));
  return made_ || (at != names_.end() && at->starts_with(prefix));
}

bool WeightReader::holds(const std::string& name) const {
  return std::binary_search(names_.begin(), names_.end(), std::string_view(name));
}

const StoredTensor* WeightReader::take(const std::string& name, std::span<const int64_t> shape,
                                       Role role) {
  used_.insert(name);
  if (!status_.ok()) return nullptr;
  const StoredTensor* const tensor = source_->find(name, shape, role);
  if (tensor == nullptr) {
    fail(name, made_ ? "does not fit into memory" : "is missing from the checkpoint");
    return nullptr;
  }
  if (!std::ranges::equal(tensor->dims(), shape)) {
    fail(name,
         "has shape " + shape_text(tensor->dims()) + ", config.json asks for " + shape_text(shape));
    return nullptr;
  }
  return tensor;
}

const void* WeightReader::place(const StoredTensor& tensor) {
  return ops_ == nullptr ? nullptr : ops_->place(tensor.data.data(), tensor.data.size());
}

void WeightReader::count(const std::string& type, int64_t parameters, int64_t bytes) {
  WeightCount& entry = counts_[type];
  entry.parameters += parameters;
  entry.bytes += bytes;
}

Weight WeightReader::matrix(const std::string& stem, int64_t rows, int64_t cols, Role role) {
  const std::string name = stem + ".weight";
  const StoredTensor* const tensor = take(name, {{rows, cols}}, role);
  if (tensor == nullptr) return {};
  const std::optional<DType> dtype = dtype_of(tensor->type);
  if (!dtype.has_value() || (*dtype == DType::kF8E4M3 && !fp8_)) {
    fail(name, "has dtype " + std::string(name_of(tensor->type)) +
                   (dtype.has_value() ? ", but config.json has no quantization_config of fp8"
                                      : ", expected F32, BF16, F16 or F8_E4M3"));
    return {};
  }
  Weight weight{.data = place(*tensor), .dtype = *dtype, .rows = rows, .cols = cols};
  count(std::string(name_of(*dtype)), rows * cols, static_cast<int64_t>(tensor->data.size()));
  if (*dtype == DType::kF8E4M3)
    weight.scales = floats(name + "_scale_inv", blocks_of(rows), blocks_of(cols));
  return weight;
}

Weight WeightReader::vector(const std::string& name, int64_t size, Role role) {
  const StoredTensor* const tensor = take(name, {{size}}, role);
  if (tensor == nullptr) return {};
  const std::optional<DType> dtype = dtype_of(tensor->type);
  if (!dtype.has_value() || *dtype == DType::kF8E4M3) {
    fail(name, "has dtype " + std::string(name_of(tensor->type)) + ", expected F32, BF16 or F16");
    return {};
  }
  count(std::string(name_of(*dtype)), size, static_cast<int64_t>(tensor->data.size()));
  return {.data = place(*tensor), .dtype = *dtype, .rows = 1, .cols = size};
}

const float* WeightReader::floats(const std::string& name, int64_t rows, int64_t cols) {
  const int64_t both[] = {rows, cols};
  const std::span<const int64_t> shape = rows == 0 ? std::span(both).subspan(1) : std::span(both);
  const int64_t size = rows == 0 ? cols : rows * cols;
  const StoredTensor* const tensor = take(name, shape, Role::kFloats);
  if (tensor == nullptr) return nullptr;
  if (tensor->type != StoredType::kF32 && tensor->type != StoredType::kBF16) {
    fail(name, "has dtype " + std::string(name_of(tensor->type)) + ", expected F32 or BF16");
    return nullptr;
  }
  count("scales and routing biases", 0, size * 4);
  if (ops_ == nullptr) return nullptr;
  const std::byte* const data = tensor->data.data();
  if (tensor->type == StoredType::kF32 && reinterpret_cast<uintptr_t>(data) % alignof(float) == 0)
    return static_cast<const float*>(place(*tensor));
  memory_.emplace_back(new std::byte[static_cast<size_t>(size) * 4]);
  std::byte* const copy = memory_.back().get();
  for (int64_t i = 0; i < size; ++i) {
    float value = 0.0f;
    if (tensor->type == StoredType::kF32) {
      std::memcpy(&value, data + i * 4, 4);
    } else {
      uint16_t bits = 0;
      std::memcpy(&bits, data + i * 2, 2);
      value = bf16_to_f32(bits);
    }
    std::memcpy(copy + i * 4, &value, 4);
  }
  return static_cast<const float*>(ops_->place(copy, static_cast<size_t>(size) * 4));
}

void WeightReader::expect_same_types(const kernels::MlpWeights& a, const kernels::MlpWeights& b,
                                     const std::string& name) {
  if (a.gate.dtype != b.up.dtype || a.gate.dtype != b.gate.dtype || a.down.dtype != b.down.dtype)
    fail(name,
         "mixes dtypes: gate_proj and up_proj must share one, and all experts of a layer too");
}

bool WeightReader::same_bytes(const std::string& a, const std::string& b) {
  const StoredTensor* const found = source_->find(a, {}, Role::kPlain);
  if (found == nullptr) return false;
  const StoredTensor first = *found;
  const StoredTensor* const second = source_->find(b, {}, Role::kPlain);
  return second != nullptr && first.type == second->type &&
         std::ranges::equal(first.dims(), second->dims()) &&
         std::memcmp(first.data.data(), second->data.data(), first.data.size()) == 0;
}

int64_t WeightReader::parameters() const {
  int64_t sum = 0;
  for (const auto& [type, entry] : counts_) sum += entry.parameters;
  return sum;
}

Status WeightReader::finish(std::vector<std::string>* ignored) {
  if (!status_.ok()) return status_;
  std::string surplus;
  size_t num_surplus = 0;
  for (const std::string_view name : names_) {
    if (used_.contains(std::string(name))) continue;
    if (is_rotary_buffer(name)) {
      ignored->emplace_back(name);
      continue;
    }
    if (num_surplus++ < kSurplusShownMax)
      surplus += (surplus.empty() ? "\"" : ", \"") + std::string(name) + "\"";
  }
  if (num_surplus == 0) return {};
  return Status(Code::kInvalid, "the checkpoint holds " + std::to_string(num_surplus) +
                                    " tensors that config.json has no use for: " + surplus +
                                    (num_surplus > kSurplusShownMax ? ", ..." : ""));
}

}  // namespace galley::model

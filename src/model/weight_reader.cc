#include "model/weight_reader.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>
#include <optional>

#include "kernels/random_values.h"

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

constexpr float kDummyScale = kDummyDeviation / 64.0f;  // e4m3 codes then have deviation 64

float deviation_of(DType type) {
  return type == DType::kF8E4M3 ? kDummyDeviation / kDummyScale : kDummyDeviation;
}

// What every value of such a tensor is; nothing: they are drawn.
std::optional<float> constant_of(const std::string& name, Role role) {
  if (role == Role::kNorm) return 1.0f;
  if (name.ends_with("_scale_inv")) return kDummyScale;
  return std::nullopt;
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
    if (const std::optional<float> constant = constant_of(name, role)) {
      fill_constant(tensor->type, data, count, *constant);
    } else {
      const std::vector<std::byte> table = kernels::draw_table(type, deviation_of(type));
      kernels::fill_random(type, table.data(), seed_of(name), 0, static_cast<int64_t>(count), data);
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

const void* WeightReader::place(const StoredTensor& tensor, Role role) {
  if (ops_ == nullptr) return nullptr;
  const void* const placed = tensor.data.data() == nullptr
                                 ? make(tensor, role)
                                 : ops_->place(tensor.data.data(), tensor.data.size());
  if (placed == nullptr) fail(tensor.name, "does not fit into memory");
  return placed;
}

// The values of a tensor that has only a size: what a DummySource with data would hold.
const void* WeightReader::make(const StoredTensor& tensor, Role role) {
  const DType type = *dtype_of(tensor.type);
  const size_t bytes = tensor.data.size();
  const std::optional<float> constant = constant_of(tensor.name, role);
  if (!constant.has_value()) {
    return ops_->place_random(type, static_cast<int64_t>(bytes / size_of(type)),
                              seed_of(tensor.name), deviation_of(type));
  }
  memory_.emplace_back(new std::byte[bytes]);
  fill_constant(tensor.type, memory_.back().get(), bytes / size_of(type), *constant);
  return ops_->place(memory_.back().get(), bytes);
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
  Weight weight{.data = place(*tensor, role), .dtype = *dtype, .rows = rows, .cols = cols};
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
  return {.data = place(*tensor, role), .dtype = *dtype, .rows = 1, .cols = size};
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
    return static_cast<const float*>(place(*tensor, Role::kFloats));
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

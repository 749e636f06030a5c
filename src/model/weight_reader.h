// From named tensors to Weight views: where every tensor of a checkpoint is accounted for.
//
// The builders in weights.cc ask for each tensor of the architecture by name and shape. A
// TensorSource answers: a checkpoint, random numbers (--load-format dummy), or nothing but sizes
// (the memory plan). WeightReader checks what comes and keeps the first error, so that a builder
// reads as a list of tensors; finish() then names whatever nobody asked for.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "base/status.h"
#include "kernels/ops.h"
#include "model/checkpoint.h"
#include "model/config.h"
#include "tensor/tensor.h"

namespace galley::model {

// What a tensor is for; decides what a made-up one holds and in which type.
enum class Role : uint8_t {
  kLinear,  // quantised when the config says so
  kPlain,   // embeddings, heads, routers: never quantised by those who publish
  kNorm,    // ones
  kBias,    // small
  kFloats,  // f32 whatever the config says: block scales, the routing bias
};

class TensorSource {
 public:
  virtual ~TensorSource() = default;
  // Null: there is none. The tensor lives until the next call, its bytes as long as the source.
  virtual const StoredTensor* find(const std::string& name, std::span<const int64_t> shape,
                                   Role role) = 0;
  // Names it holds whether or not anybody asks; empty for sources that make what is asked for.
  virtual std::vector<std::string_view> names() const { return {}; }
};

class CheckpointSource final : public TensorSource {
 public:
  explicit CheckpointSource(const Checkpoint* checkpoint) : checkpoint_(checkpoint) {}
  const StoredTensor* find(const std::string& name, std::span<const int64_t>, Role) override {
    return checkpoint_->find(name);
  }
  std::vector<std::string_view> names() const override;

 private:
  const Checkpoint* checkpoint_;
};

// Makes every tensor asked for, in the types the config announces: weights of deviation 0.02, the
// same for the same name always. With `with_data` false the tensors have a size and no bytes: a
// WeightReader then has the backend make the same values.
class DummySource final : public TensorSource {
 public:
  DummySource(const ModelConfig& config, bool with_data) : config_(config), with_data_(with_data) {}
  const StoredTensor* find(const std::string& name, std::span<const int64_t> shape,
                           Role role) override;

 private:
  const ModelConfig config_;
  const bool with_data_;
  std::vector<std::unique_ptr<StoredTensor>> tensors_;
  std::vector<std::unique_ptr<std::byte[]>> memory_;
};

struct WeightCount {
  int64_t parameters = 0;
  int64_t bytes = 0;
};

class WeightReader {
 public:
  // `ops` places the tensors; null when only sizes are wanted.
  WeightReader(TensorSource* source, kernels::Ops* ops, const ModelConfig& config);

  // `name` without ".weight". FP8 comes with `name`.weight_scale_inv.
  Weight linear(const std::string& name, int64_t rows, int64_t cols) {
    return matrix(name, rows, cols, Role::kLinear);
  }
  Weight plain(const std::string& name, int64_t rows, int64_t cols) {
    return matrix(name, rows, cols, Role::kPlain);
  }
  Weight norm(const std::string& name, int64_t size) {
    return vector(name + ".weight", size, Role::kNorm);
  }
  Weight bias(const std::string& name, int64_t size) {
    return vector(name + ".bias", size, Role::kBias);
  }
  // f32 in the file, or bf16 and widened here. `name` is whole.
  const float* floats(const std::string& name, int64_t rows, int64_t cols);
  // Refuses the two blocks of `a` and `b` unless their types agree, as the operations need.
  void expect_same_types(const kernels::MlpWeights& a, const kernels::MlpWeights& b,
                         const std::string& name);
  void fail(const std::string& name, const std::string& why);

  // Whether the source can give a tensor of that name, or any whose name starts so. Always true for
  // sources that make tensors.
  bool has(const std::string& name) const { return made_ || holds(name); }
  bool has_prefix(const std::string& prefix) const;
  // Whether the source holds it already, asked for or not.
  bool holds(const std::string& name) const;
  // Marks a tensor as known that is not used.
  void ignore(const std::string& name) { used_.insert(name); }
  // Two tensors that the source holds are equal.
  bool same_bytes(const std::string& a, const std::string& b);

  // The first error, or the first tensors that nobody asked for. `ignored` gets the names of rotary
  // buffers that old checkpoints carry and no computation reads.
  Status finish(std::vector<std::string>* ignored);

  const std::map<std::string, WeightCount>& counts() const { return counts_; }
  int64_t parameters() const;
  // Memory made here for tensors that could not be used in place; must outlive the weights.
  std::vector<std::unique_ptr<std::byte[]>> take_memory() { return std::move(memory_); }

 private:
  Weight matrix(const std::string& name, int64_t rows, int64_t cols, Role role);
  Weight vector(const std::string& name, int64_t size, Role role);
  // The tensor, checked for presence and shape; null after an error.
  const StoredTensor* take(const std::string& name, std::span<const int64_t> shape, Role role);
  const void* place(const StoredTensor& tensor, Role role);
  const void* make(const StoredTensor& tensor, Role role);
  void count(const std::string& type, int64_t parameters, int64_t bytes);

  TensorSource* const source_;
  kernels::Ops* const ops_;
  const bool fp8_;
  const bool made_;                      // the source makes what is asked for
  std::vector<std::string_view> names_;  // sorted
  std::unordered_set<std::string> used_;
  std::map<std::string, WeightCount> counts_;
  std::vector<std::unique_ptr<std::byte[]>> memory_;
  Status status_;
};

}  // namespace galley::model

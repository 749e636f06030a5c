#include "model/weights.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "model/model.h"
#include "model/testing/folder.h"

namespace galley::model {
namespace {

using testing::FileTensor;
using testing::safetensors_file;
using testing::TemporaryFolder;

const char kLlama[] = R"({"architectures":["LlamaForCausalLM"],"vocab_size":8,"hidden_size":4,
  "intermediate_size":6,"num_hidden_layers":1,"num_attention_heads":2,
  "num_key_value_heads":1,"max_position_embeddings":64,"torch_dtype":"float32"})";
const char kTied[] = R"({"architectures":["LlamaForCausalLM"],"vocab_size":8,"hidden_size":4,
  "intermediate_size":6,"num_hidden_layers":1,"num_attention_heads":2,
  "num_key_value_heads":1,"max_position_embeddings":64,"torch_dtype":"float32",
  "tie_word_embeddings":true})";
const char kV3[] = R"({"architectures":["DeepseekV3ForCausalLM"],"vocab_size":8,"hidden_size":4,
  "intermediate_size":6,"moe_intermediate_size":2,"num_hidden_layers":2,
  "num_attention_heads":2,"n_shared_experts":1,"n_routed_experts":4,"num_experts_per_tok":2,
  "n_group":2,"topk_group":1,"first_k_dense_replace":1,"kv_lora_rank":4,"q_lora_rank":4,
  "qk_nope_head_dim":2,"qk_rope_head_dim":2,"v_head_dim":2,"max_position_embeddings":64,
  "num_nextn_predict_layers":1,"torch_dtype":"bfloat16",
  "quantization_config":{"quant_method":"fp8","weight_block_size":[128,128]}})";

ModelConfig config_of(const char* json) {
  auto config = parse_model_config(json);
  EXPECT_TRUE(config.ok()) << config.message();
  return std::move(config).value();
}

// Takes down every tensor that the builders ask for, as a file would hold it.
class Recorder final : public TensorSource {
 public:
  explicit Recorder(const ModelConfig& config) : made_(config, true) {}
  const StoredTensor* find(const std::string& name, std::span<const int64_t> shape,
                           Role role) override {
    const StoredTensor* const tensor = made_.find(name, shape, role);
    tensors.push_back(
        {name,
         tensor->type,
         {shape.begin(), shape.end()},
         std::string(reinterpret_cast<const char*>(tensor->data.data()), tensor->data.size())});
    return tensor;
  }
  std::vector<FileTensor> tensors;

 private:
  DummySource made_;
};

std::vector<FileTensor> tensors_of(const ModelConfig& config) {
  Recorder recorder(config);
  WeightReader reader(&recorder, nullptr, config);
  std::vector<std::string> notes;
  if (config.has_mla()) {
    read_deepseek_weights(config, &reader, &notes);
  } else {
    read_llama_weights(config, &reader);
  }
  return recorder.tensors;
}

FileTensor* named(std::vector<FileTensor>* tensors, const std::string& name) {
  for (FileTensor& tensor : *tensors)
    if (tensor.name == name) return &tensor;
  ADD_FAILURE() << name;
  return &tensors->front();
}

struct Outcome {
  Status status;
  std::vector<std::string> notes;
  std::unique_ptr<Model> model;
};

Outcome load(const char* json, const std::vector<FileTensor>& tensors) {
  const ModelConfig config = config_of(json);
  const TemporaryFolder folder;
  folder.write("model.safetensors", safetensors_file(tensors));
  Outcome outcome;
  auto checkpoint = Checkpoint::open(folder.path());
  if (!checkpoint.ok()) {
    outcome.status = checkpoint.status();
    return outcome;
  }
  CheckpointSource source(&*checkpoint);
  auto ops = kernels::make_cpu_ops({.threads = 1, .pin_threads = false});
  auto model = make_model(config, {.tokens_max = 4, .positions_max = 64}, &source, ops->get(),
                          &outcome.notes);
  if (!model.ok()) outcome.status = model.status();
  return outcome;
}

void expect_refused(const char* json, const std::vector<FileTensor>& tensors,
                    const std::string& named_tensor, const std::string& why) {
  const Outcome outcome = load(json, tensors);
  ASSERT_FALSE(outcome.status.ok()) << named_tensor;
  EXPECT_EQ(outcome.status.code(), Code::kInvalid);
  EXPECT_NE(outcome.status.message().find("\"" + named_tensor + "\""), std::string::npos)
      << outcome.status.message();
  EXPECT_NE(outcome.status.message().find(why), std::string::npos) << outcome.status.message();
}

TEST(Weights, CompleteCheckpointsLoad) {
  for (const char* json : {kLlama, kTied, kV3}) {
    const Outcome outcome = load(json, tensors_of(config_of(json)));
    EXPECT_TRUE(outcome.status.ok()) << outcome.status.message();
    EXPECT_TRUE(outcome.notes.empty());
  }
}

// Each tensor in turn: left out, of another shape, of another dtype.
TEST(Weights, EveryTensorIsNeededAndChecked) {
  for (const char* json : {kLlama, kV3}) {
    const std::vector<FileTensor> whole = tensors_of(config_of(json));
    for (size_t i = 0; i < whole.size(); ++i) {
      const std::string& name = whole[i].name;
      std::vector<FileTensor> tensors = whole;
      tensors[i].shape.push_back(1);
      expect_refused(json, tensors, name, "shape");
      tensors[i] = {name, StoredType::kI64, whole[i].shape, ""};
      size_t count = 8;
      for (const int64_t dim : whole[i].shape) count *= static_cast<size_t>(dim);
      tensors[i].bytes.assign(count, '\0');
      expect_refused(json, tensors, name, "dtype I64");
      tensors = whole;
      tensors.erase(tensors.begin() + static_cast<std::ptrdiff_t>(i));
      // The MTP layer shares the main embedding and head when it has none of its own.
      if (name == "model.layers.2.embed_tokens.weight" ||
          name == "model.layers.2.shared_head.head.weight") {
        EXPECT_TRUE(load(json, tensors).status.ok());
      } else {
        expect_refused(json, tensors, name, "missing");
      }
    }
  }
}

TEST(Weights, SurplusTensorsAreNamed) {
  std::vector<FileTensor> tensors = tensors_of(config_of(kLlama));
  tensors.push_back(
      {"model.layers.0.self_attn.q_proj.bias", StoredType::kF32, {4}, std::string(16, '\0')});
  expect_refused(kLlama, tensors, "model.layers.0.self_attn.q_proj.bias", "no use");
  tensors.back() = {
      "model.layers.1.mlp.up_proj.weight", StoredType::kF32, {1}, std::string(4, '\0')};
  expect_refused(kLlama, tensors, "model.layers.1.mlp.up_proj.weight", "no use");
  // Scales beside a weight that is not quantised.
  tensors.back() = {"lm_head.weight_scale_inv", StoredType::kF32, {1, 1}, std::string(4, '\0')};
  expect_refused(kLlama, tensors, "lm_head.weight_scale_inv", "no use");
  // Rotary tables of old checkpoints are known, ignored and told.
  tensors.back() = {
      "model.layers.0.self_attn.rotary_emb.inv_freq", StoredType::kF32, {1}, std::string(4, '\0')};
  const Outcome outcome = load(kLlama, tensors);
  EXPECT_TRUE(outcome.status.ok()) << outcome.status.message();
  ASSERT_EQ(outcome.notes.size(), 1u);
  EXPECT_NE(outcome.notes[0].find("rotary"), std::string::npos);
}

TEST(Weights, AnnouncedMtpMayBeAbsentAsAWhole) {
  std::vector<FileTensor> tensors = tensors_of(config_of(kV3));
  std::vector<FileTensor> none = tensors;
  std::erase_if(none, [](const FileTensor& t) { return t.name.starts_with("model.layers.2."); });
  ASSERT_LT(none.size(), tensors.size());
  const Outcome outcome = load(kV3, none);
  EXPECT_TRUE(outcome.status.ok()) << outcome.status.message();
  ASSERT_EQ(outcome.notes.size(), 1u);
  EXPECT_NE(outcome.notes[0].find("without MTP"), std::string::npos) << outcome.notes[0];
  // One of its tensors is there: then all must be.
  none.push_back(*named(&tensors, "model.layers.2.enorm.weight"));
  EXPECT_FALSE(load(kV3, none).status.ok());
}

TEST(Weights, Fp8NeedsItsConfig) {
  std::string json = kV3;
  json.erase(json.find(",\n  \"quantization_config\""));
  json += "}";
  expect_refused(json.c_str(), tensors_of(config_of(kV3)),
                 "model.layers.0.self_attn.q_a_proj.weight", "quantization_config");
}

TEST(Weights, ScalesMayBeBf16) {
  std::vector<FileTensor> tensors = tensors_of(config_of(kV3));
  FileTensor* const scale = named(&tensors, "model.layers.0.mlp.up_proj.weight_scale_inv");
  scale->type = StoredType::kBF16;
  scale->bytes = std::string("\x80\x3f", 2);  // 1.0
  EXPECT_TRUE(load(kV3, tensors).status.ok());
}

TEST(Weights, MixedExpertsAreRefused) {
  std::vector<FileTensor> tensors = tensors_of(config_of(kV3));
  FileTensor* const weight = named(&tensors, "model.layers.1.mlp.experts.3.up_proj.weight");
  weight->type = StoredType::kBF16;
  weight->bytes = std::string(2 * 2 * 4, '\0');
  std::erase_if(tensors, [](const FileTensor& t) {
    return t.name == "model.layers.1.mlp.experts.3.up_proj.weight_scale_inv";
  });
  expect_refused(kV3, tensors, "model.layers.1.mlp.experts.3", "mixes dtypes");
}

TEST(Weights, ATiedHeadMustEqualTheEmbedding) {
  std::vector<FileTensor> tensors = tensors_of(config_of(kTied));
  FileTensor head = *named(&tensors, "model.embed_tokens.weight");
  head.name = "lm_head.weight";
  tensors.push_back(head);
  EXPECT_TRUE(load(kTied, tensors).status.ok());
  tensors.back().bytes[5] ^= 1;
  expect_refused(kTied, tensors, "lm_head.weight", "ties");
}

TEST(Weights, MadeUpTensorsAreTheSameForTheSameName) {
  const ModelConfig config = config_of(kV3);
  DummySource a(config, true), b(config, true);
  const int64_t shape[] = {3, 5};
  const StoredTensor* const x = a.find("x.weight", shape, Role::kLinear);
  const StoredTensor* const y = b.find("x.weight", shape, Role::kLinear);
  const StoredTensor* const z = b.find("z.weight", shape, Role::kLinear);
  EXPECT_TRUE(std::ranges::equal(x->data, y->data));
  EXPECT_FALSE(std::ranges::equal(x->data, z->data));
  for (const std::byte code : x->data) EXPECT_NE(static_cast<uint8_t>(code) & 0x7f, 0x7f) << "NaN";
}

}  // namespace
}  // namespace galley::model

"""Makes tiny random checkpoints of every architecture Galley serves, and what transformers says
they compute: log-probabilities at every position of a prompt and of its greedy continuation.

    .venv/goldens/bin/python tools/goldens/models/make.py [NAME ...]   # writes tests/golden/models/

The checkpoints are written under the names in which the models are published. The reference runs in
float32 on the values that the files hold (FP8 dequantised), so the difference to `--dtype float32`
is rounding alone. Three places where transformers 5.10 is not the reference:

- DeepseekV2 leaves YaRN's mscale out of the attention scale; the model's own published code has it.
- DeepseekV2's group_limited_greedy reads an attribute that its class never sets; it is set here.
- MTP is not implemented there at all: the block is transformers' decoder layer, the wiring around it
  is here, after section 2.2 of arXiv:2412.19437 with vLLM's convention that the hidden state comes
  from behind the final norm.
"""

import json
import math
import pathlib
import shutil
import sys

import torch
from safetensors.torch import save_file
from transformers import (
    DeepseekV2Config,
    DeepseekV2ForCausalLM,
    DeepseekV3Config,
    DeepseekV3ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3DecoderLayer

OUT = pathlib.Path(__file__).resolve().parents[3] / "tests" / "golden" / "models"
VOCAB = 160
PROMPT = 80  # crosses a block of 64 positions and the original context of the YaRN variants
STEPS = 32

DEEPSEEK = {
    "vocab_size": VOCAB,
    "hidden_size": 64,
    "intermediate_size": 80,
    "moe_intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "n_shared_experts": 1,
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "first_k_dense_replace": 1,
    "kv_lora_rank": 32,
    "q_lora_rank": 24,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "v_head_dim": 12,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
    "hidden_act": "silu",
    "attention_bias": False,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
V3 = DEEPSEEK | {
    "architectures": ["DeepseekV3ForCausalLM"],
    "model_type": "deepseek_v3",
    "scoring_func": "sigmoid",
    "topk_method": "noaux_tc",
    "n_group": 4,
    "topk_group": 2,
    "norm_topk_prob": True,
    "routed_scaling_factor": 2.5,
    "num_nextn_predict_layers": 1,
}
V2 = DEEPSEEK | {
    "architectures": ["DeepseekV2ForCausalLM"],
    "model_type": "deepseek_v2",
    "scoring_func": "softmax",
    "norm_topk_prob": False,
    "aux_loss_alpha": 0.001,
}
YARN = {
    "type": "yarn",
    "factor": 4.0,
    "original_max_position_embeddings": 64,
    "beta_fast": 32,
    "beta_slow": 1,
}
DENSE = {
    "vocab_size": VOCAB,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-6,
    "hidden_act": "silu",
    "bos_token_id": 0,
    "eos_token_id": [1, 2],
}

# name -> (config.json, dtype of plain weights, options)
VARIANTS = {
    # Announces an MTP layer and holds none of its tensors, as transformers saves it.
    "v3": (V3 | {"torch_dtype": "bfloat16", "rope_theta": 10000.0}, torch.bfloat16, {}),
    # Partial edge blocks in every dimension; YaRN; MTP.
    "v3_fp8_mtp": (
        V3
        | {
            "torch_dtype": "bfloat16",
            "hidden_size": 136,
            "intermediate_size": 132,
            "moe_intermediate_size": 24,
            "num_hidden_layers": 2,
            "kv_lora_rank": 136,
            "q_lora_rank": 48,
            "rope_theta": 10000.0,
            "rope_scaling": YARN | {"mscale": 1.0, "mscale_all_dim": 1.0},
            "quantization_config": {
                "activation_scheme": "dynamic",
                "fmt": "e4m3",
                "quant_method": "fp8",
                "weight_block_size": [128, 128],
            },
        },
        torch.bfloat16,
        {"mtp": True, "fp8": True},
    ),
    "v2": (
        V2
        | {
            "torch_dtype": "float16",
            "num_hidden_layers": 2,
            "topk_method": "group_limited_greedy",
            "n_group": 4,
            "topk_group": 2,
            "routed_scaling_factor": 4.0,
            "n_shared_experts": 2,
            "rope_parameters": {
                **{k: v for k, v in YARN.items() if k != "type"},
                "rope_type": "yarn",
                "rope_theta": 10000.0,
                "mscale": 0.707,
                "mscale_all_dim": 0.707,
            },
        },
        torch.float16,
        {},
    ),
    "v2_lite": (
        V2
        | {
            "torch_dtype": "bfloat16",
            "num_hidden_layers": 2,
            "topk_method": "greedy",
            "q_lora_rank": None,
            "n_group": 1,
            "topk_group": 1,
            "num_experts_per_tok": 3,
            "routed_scaling_factor": 1.0,
            "rope_theta": 10000.0,
            "rope_scaling": None,
        },
        torch.bfloat16,
        {"shards": 2},
    ),
    "qwen2_tied": (
        DENSE
        | {
            "architectures": ["Qwen2ForCausalLM"],
            "model_type": "qwen2",
            "torch_dtype": "bfloat16",
            "tie_word_embeddings": True,
            "rope_theta": 1000000.0,
            "use_sliding_window": False,
            "sliding_window": 4096,
            "max_window_layers": 3,
        },
        torch.bfloat16,
        {},
    ),
    "qwen2": (
        DENSE
        | {
            "architectures": ["Qwen2ForCausalLM"],
            "model_type": "qwen2",
            "torch_dtype": "float32",
            "num_hidden_layers": 2,
            "tie_word_embeddings": False,
            "rope_theta": 10000.0,
        },
        torch.float32,
        {},
    ),
    "llama3": (
        DENSE
        | {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "torch_dtype": "bfloat16",
            "head_dim": 16,
            "attention_bias": False,
            "mlp_bias": False,
            "tie_word_embeddings": False,
            "rms_norm_eps": 1e-5,
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 500.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            },
        },
        torch.bfloat16,
        {"rotary_buffers": True},
    ),
    # So small that a test can run it hundreds of thousands of times.
    "v3_fp8_mtp_small": (
        V3
        | {
            "torch_dtype": "bfloat16",
            "hidden_size": 32,
            "intermediate_size": 48,
            "moe_intermediate_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "n_routed_experts": 4,
            "n_group": 2,
            "topk_group": 1,
            "kv_lora_rank": 24,
            "q_lora_rank": 16,
            "qk_nope_head_dim": 8,
            "v_head_dim": 8,
            "rope_theta": 10000.0,
            "rope_scaling": None,
            "quantization_config": {
                "activation_scheme": "dynamic",
                "quant_method": "fp8",
                "weight_block_size": [128, 128],
            },
        },
        torch.bfloat16,
        {"mtp": True, "fp8": True},
    ),
}


# --- the checkpoint -------------------------------------------------------------------------------


def linear(out_features, in_features, gain=1.0):
    return torch.randn(out_features, in_features) * (gain / math.sqrt(in_features))


def norm(size):
    return 1.0 + 0.2 * torch.randn(size)


def mlp(tensors, name, hidden, inner):
    tensors[name + ".gate_proj.weight"] = linear(inner, hidden, 1.5)
    tensors[name + ".up_proj.weight"] = linear(inner, hidden, 1.5)
    tensors[name + ".down_proj.weight"] = linear(hidden, inner, 1.5)


def deepseek_layer(tensors, config, index):
    name = f"model.layers.{index}"
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    q_width = heads * (config["qk_nope_head_dim"] + config["qk_rope_head_dim"])
    tensors[name + ".input_layernorm.weight"] = norm(hidden)
    tensors[name + ".post_attention_layernorm.weight"] = norm(hidden)
    attention = name + ".self_attn"
    if config["q_lora_rank"]:
        tensors[attention + ".q_a_proj.weight"] = linear(config["q_lora_rank"], hidden)
        tensors[attention + ".q_a_layernorm.weight"] = norm(config["q_lora_rank"])
        tensors[attention + ".q_b_proj.weight"] = linear(q_width, config["q_lora_rank"], 2.0)
    else:
        tensors[attention + ".q_proj.weight"] = linear(q_width, hidden, 2.0)
    latent = config["kv_lora_rank"]
    tensors[attention + ".kv_a_proj_with_mqa.weight"] = linear(
        latent + config["qk_rope_head_dim"], hidden, 2.0
    )
    tensors[attention + ".kv_a_layernorm.weight"] = norm(latent)
    tensors[attention + ".kv_b_proj.weight"] = linear(
        heads * (config["qk_nope_head_dim"] + config["v_head_dim"]), latent
    )
    tensors[attention + ".o_proj.weight"] = linear(hidden, heads * config["v_head_dim"])
    if index < config["first_k_dense_replace"]:
        mlp(tensors, name + ".mlp", hidden, config["intermediate_size"])
        return
    experts, inner = config["n_routed_experts"], config["moe_intermediate_size"]
    tensors[name + ".mlp.gate.weight"] = linear(experts, hidden, 2.0)
    if config["topk_method"] == "noaux_tc":
        tensors[name + ".mlp.gate.e_score_correction_bias"] = 0.2 * torch.randn(experts)
    for expert in range(experts):
        mlp(tensors, f"{name}.mlp.experts.{expert}", hidden, inner)
    mlp(tensors, name + ".mlp.shared_experts", hidden, inner * config["n_shared_experts"])


def dense_layer(tensors, config, index):
    name = f"model.layers.{index}"
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    dim = hidden // heads
    widths = {"q": heads * dim, "k": config["num_key_value_heads"] * dim}
    widths["v"] = widths["k"]
    tensors[name + ".input_layernorm.weight"] = norm(hidden)
    tensors[name + ".post_attention_layernorm.weight"] = norm(hidden)
    for part, width in widths.items():
        tensors[f"{name}.self_attn.{part}_proj.weight"] = linear(width, hidden, 1.5)
        if config["model_type"] == "qwen2":
            tensors[f"{name}.self_attn.{part}_proj.bias"] = 0.3 * torch.randn(width)
    tensors[name + ".self_attn.o_proj.weight"] = linear(hidden, heads * dim)
    mlp(tensors, name + ".mlp", hidden, config["intermediate_size"])


def make_tensors(config, options):
    """The checkpoint's tensors under their published names, in float32."""
    tensors = {"model.embed_tokens.weight": torch.randn(VOCAB, config["hidden_size"])}
    is_deepseek = config["model_type"].startswith("deepseek")
    for index in range(config["num_hidden_layers"]):
        (deepseek_layer if is_deepseek else dense_layer)(tensors, config, index)
    tensors["model.norm.weight"] = norm(config["hidden_size"])
    if not config["tie_word_embeddings"]:
        tensors["lm_head.weight"] = linear(VOCAB, config["hidden_size"], 2.0)
    else:
        tensors["model.embed_tokens.weight"] *= 2.0 / math.sqrt(config["hidden_size"])
    if options.get("mtp"):
        index, hidden = config["num_hidden_layers"], config["hidden_size"]
        name = f"model.layers.{index}"
        deepseek_layer(tensors, config, index)
        tensors[name + ".embed_tokens.weight"] = tensors["model.embed_tokens.weight"].clone()
        tensors[name + ".enorm.weight"] = norm(hidden)
        tensors[name + ".hnorm.weight"] = norm(hidden)
        tensors[name + ".eh_proj.weight"] = linear(hidden, 2 * hidden)
        tensors[name + ".shared_head.norm.weight"] = norm(hidden)
        tensors[name + ".shared_head.head.weight"] = tensors["lm_head.weight"].clone()
    return tensors


def quantise(weight):
    """e4m3 codes and one scale for each block of 128x128, partial ones at the edges included."""
    rows, cols = weight.shape
    scales = torch.empty((rows + 127) // 128, (cols + 127) // 128)
    codes = torch.empty_like(weight, dtype=torch.float8_e4m3fn)
    values = torch.empty_like(weight)
    for i in range(scales.shape[0]):
        for j in range(scales.shape[1]):
            block = (slice(i * 128, i * 128 + 128), slice(j * 128, j * 128 + 128))
            scales[i, j] = weight[block].abs().max() / 448.0
            codes[block] = (weight[block] / scales[i, j]).to(torch.float8_e4m3fn)
            values[block] = codes[block].float() * scales[i, j]
    return codes, scales, values


def encode(tensors, config, dtype, options):
    """(what the file holds, the float32 values of it)."""
    stored, values = {}, {}
    for name, tensor in tensors.items():
        quantised = options.get("fp8") and "_proj.weight" in name and "eh_proj" not in name
        if quantised:
            stored[name], stored[name + "_scale_inv"], values[name] = quantise(tensor)
        elif name.endswith("e_score_correction_bias"):
            stored[name] = values[name] = tensor
        else:
            stored[name] = tensor.to(dtype)
            values[name] = stored[name].float()
    if options.get("rotary_buffers"):
        for index in range(config["num_hidden_layers"]):
            stored[f"model.layers.{index}.self_attn.rotary_emb.inv_freq"] = torch.ones(8)
    return stored, values


def write_checkpoint(folder, config, stored, shards):
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    generation = {"eos_token_id": config["eos_token_id"], "temperature": 0.6, "top_p": 0.95}
    (folder / "generation_config.json").write_text(json.dumps(generation) + "\n")
    if shards == 1:
        save_file(stored, folder / "model.safetensors")
        return
    names, weight_map = sorted(stored), {}
    for shard in range(shards):
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        part = names[shard::shards]
        save_file({name: stored[name] for name in part}, folder / file)
        weight_map |= {name: file for name in part}
    index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=0) + "\n")


# --- the reference --------------------------------------------------------------------------------

CLASSES = {
    "deepseek_v3": (DeepseekV3Config, DeepseekV3ForCausalLM),
    "deepseek_v2": (DeepseekV2Config, DeepseekV2ForCausalLM),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    "llama": (LlamaConfig, LlamaForCausalLM),
}


def fuse_experts(values, config):
    """transformers keeps the experts of a layer in two tensors."""
    fused = {}
    experts = config.get("n_routed_experts", 0)
    for name, value in values.items():
        if ".mlp.experts." not in name:
            fused[name] = value
            continue
        stem = name[: name.index(".mlp.experts.")] + ".mlp.experts."
        if stem + "gate_up_proj" in fused:
            continue
        part = lambda e, p: values[f"{stem}{e}.{p}_proj.weight"]
        fused[stem + "gate_up_proj"] = torch.stack(
            [torch.cat([part(e, "gate"), part(e, "up")]) for e in range(experts)]
        )
        fused[stem + "down_proj"] = torch.stack([part(e, "down") for e in range(experts)])
    return fused


def load_strictly(module, state):
    missing, unexpected = module.load_state_dict(state, strict=False)
    missing = [name for name in missing if "inv_freq" not in name]
    assert not missing and not unexpected, (missing, unexpected)


def make_model(config, values):
    config_class, model_class = CLASSES[config["model_type"]]
    skip = ("architectures", "torch_dtype", "quantization_config", "rope_scaling", "rope_theta")
    arguments = {k: v for k, v in config.items() if k not in skip}
    if "rope_parameters" not in arguments:
        rope = dict(config.get("rope_scaling") or {})
        rope["rope_type"] = rope.pop("type", "default")
        rope["rope_theta"] = config["rope_theta"]
        arguments["rope_parameters"] = rope
    hf_config = config_class(**arguments)
    hf_config._attn_implementation = "eager"
    hf_config._experts_implementation = "eager"
    model = model_class(hf_config).eval().float()
    state = fuse_experts(values, config)
    main = {k: v for k, v in state.items() if f"layers.{config['num_hidden_layers']}." not in k}
    if config["tie_word_embeddings"]:
        main["lm_head.weight"] = main["model.embed_tokens.weight"]
    load_strictly(model, main)
    rope = arguments["rope_parameters"]
    for layer in model.model.layers if config["model_type"] == "deepseek_v2" else []:
        layer.mlp.num_experts = config["n_routed_experts"]
    if config["model_type"] == "deepseek_v2" and rope.get("mscale_all_dim"):
        m = 0.1 * rope["mscale_all_dim"] * math.log(rope["factor"]) + 1.0
        for layer in model.model.layers:
            layer.self_attn.scaling *= m * m
    return model, hf_config, state


def rms_norm(x, weight, eps=1e-6):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * weight


def mtp_logprobs(model, hf_config, config, state, ids, hidden):
    """Log-probabilities for t[i + 2] from the state at i and t[i + 1], for every such i."""
    index = config["num_hidden_layers"]
    prefix = f"model.layers.{index}."
    own = {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}
    wiring = ("embed_tokens.", "enorm.", "hnorm.", "eh_proj.", "shared_head.")
    block = DeepseekV3DecoderLayer(hf_config, index).eval().float()
    load_strictly(block, {k: v for k, v in own.items() if not k.startswith(wiring)})

    count = len(ids) - 1
    embedded = own["embed_tokens.weight"][ids[1:]]
    x = torch.cat(
        [
            rms_norm(embedded, own["enorm.weight"]),
            rms_norm(hidden[:count], own["hnorm.weight"]),
        ],
        dim=-1,
    )
    x = (x @ own["eh_proj.weight"].T)[None]
    positions = torch.arange(count)[None]
    mask = torch.full((count, count), float("-inf")).triu(1)[None, None]
    out = block(
        x,
        attention_mask=mask,
        position_ids=positions,
        position_embeddings=model.model.rotary_emb(x, positions),
    )
    out = (out[0] if isinstance(out, tuple) else out).reshape(count, -1)
    logits = rms_norm(out, own["shared_head.norm.weight"]) @ own["shared_head.head.weight"].T
    return torch.log_softmax(logits, dim=-1)


@torch.no_grad()
def make_variant(name, seed):
    config, dtype, options = VARIANTS[name]
    torch.manual_seed(seed)
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    stored, values = encode(make_tensors(config, options), config, dtype, options)
    write_checkpoint(folder, config, stored, options.get("shards", 1))

    model, hf_config, state = make_model(config, values)
    ids = torch.randint(3, VOCAB, (PROMPT,)).tolist()
    for _ in range(STEPS):
        logits = model(torch.tensor([ids]), use_cache=False).logits[0, -1]
        ids.append(int(logits.argmax()))
    tokens = torch.tensor(ids)
    hidden = model.model(tokens[None], use_cache=False).last_hidden_state[0]
    logprobs = torch.log_softmax(model.lm_head(hidden).double(), dim=-1).float()
    golden = {
        "ids": tokens.to(torch.int32),
        "prompt_len": torch.tensor([PROMPT], dtype=torch.int32),
        "logprobs": logprobs.contiguous(),
    }
    if options.get("mtp"):
        golden["mtp_logprobs"] = mtp_logprobs(
            model, hf_config, config, state, tokens, hidden
        ).contiguous()
    save_file(golden, folder / "golden.safetensors")
    top2 = logprobs.topk(2, dim=-1).values
    print(
        f"{name}: {sum(v.numel() for v in values.values())} parameters, "
        f"mean best log-probability {top2[:, 0].mean():.2f}, "
        f"smallest greedy margin {(top2[PROMPT - 1 :, 0] - top2[PROMPT - 1 :, 1]).min():.4f}, "
        f"distinct greedy tokens {len(set(ids[PROMPT:]))}"
    )


if __name__ == "__main__":
    for seed, variant in enumerate(VARIANTS):  # a new one goes to the end: the others keep their seeds
        if variant in sys.argv[1:] or len(sys.argv) == 1:
            make_variant(variant, 1000 + seed)

"""Writes a checkpoint of train.py (or an untrained model) as a Hugging Face folder, FP8 as DeepSeek-V3 publishes it.

    python export.py --checkpoint WORK/checkpoint.pt --out models/demo
    python export.py --untrained --out DIR
"""

from __future__ import annotations

import argparse
import json
import pathlib
import shutil

import torch
from safetensors.torch import save_file

import chat
import data
import model as m


def tensors(net: m.Demo) -> dict[str, torch.Tensor]:
    out: dict[str, torch.Tensor] = {}

    def bf16(name: str, t: torch.Tensor) -> None:
        out[name] = t.detach().to(torch.bfloat16).contiguous().clone()

    def fp8(name: str, t: torch.Tensor) -> None:
        q, scale = m.quantise_blocks(t.detach())
        out[name + ".weight"], out[name + ".weight_scale_inv"] = q, scale.contiguous()

    def mlp(name: str, layer: m.Mlp) -> None:
        for part in ("gate_proj", "up_proj", "down_proj"):
            fp8(f"{name}.{part}", getattr(layer, part).weight)

    def block(name: str, layer: m.Block) -> None:
        bf16(f"{name}.input_layernorm.weight", layer.input_layernorm.weight)
        bf16(f"{name}.post_attention_layernorm.weight", layer.post_attention_layernorm.weight)
        for part in ("q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"):
            fp8(f"{name}.self_attn.{part}", getattr(layer.self_attn, part).weight)
        bf16(f"{name}.self_attn.q_a_layernorm.weight", layer.self_attn.q_a_layernorm.weight)
        bf16(f"{name}.self_attn.kv_a_layernorm.weight", layer.self_attn.kv_a_layernorm.weight)
        if not layer.moe:
            mlp(f"{name}.mlp", layer.mlp)
            return
        bf16(f"{name}.mlp.gate.weight", layer.mlp.gate)
        # A common offset changes no choice; with the smallest at 0 every biased score is positive, so that readers
        # which mask closed groups with 0 and readers which mask with -inf choose alike.
        out[f"{name}.mlp.gate.e_score_correction_bias"] = (layer.mlp.bias - layer.mlp.bias.min()).float().clone()
        for e in range(net.c.experts):
            for part in ("gate_proj", "up_proj", "down_proj"):
                fp8(f"{name}.mlp.experts.{e}.{part}", getattr(layer.mlp, part)[e])
        mlp(f"{name}.mlp.shared_experts", layer.mlp.shared_experts)

    bf16("model.embed_tokens.weight", net.embed)
    for i, b in enumerate(net.blocks):
        block(f"model.layers.{i}", b)
    bf16("model.norm.weight", net.norm.weight)
    bf16("lm_head.weight", net.head)
    mtp = f"model.layers.{net.c.layers}"
    bf16(f"{mtp}.embed_tokens.weight", net.embed)
    bf16(f"{mtp}.enorm.weight", net.enorm.weight)
    bf16(f"{mtp}.hnorm.weight", net.hnorm.weight)
    bf16(f"{mtp}.eh_proj.weight", net.eh_proj)
    block(mtp, net.mtp_block)
    bf16(f"{mtp}.shared_head.norm.weight", net.mtp_norm.weight)
    bf16(f"{mtp}.shared_head.head.weight", net.head)
    return out


def config(c: m.Config, tok) -> dict:
    return {
        "architectures": ["DeepseekV3ForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": tok.token_to_id(chat.BOS),
        "eos_token_id": tok.token_to_id(chat.EOS),
        "ep_size": 1,
        "first_k_dense_replace": c.dense_layers,
        "hidden_act": "silu",
        "hidden_size": c.hidden,
        "initializer_range": 0.02,
        "intermediate_size": c.dense_inter,
        "kv_lora_rank": c.kv_lora,
        "max_position_embeddings": c.positions,
        "model_type": "deepseek_v3",
        "moe_intermediate_size": c.expert_inter,
        "moe_layer_freq": 1,
        "n_group": c.groups,
        "n_routed_experts": c.experts,
        "n_shared_experts": 1,
        "norm_topk_prob": True,
        "num_attention_heads": c.heads,
        "num_experts_per_tok": c.top_k,
        "num_hidden_layers": c.layers,
        "num_key_value_heads": c.heads,
        "num_nextn_predict_layers": 1,
        "q_lora_rank": c.q_lora,
        "qk_nope_head_dim": c.nope,
        "qk_rope_head_dim": c.rope,
        "quantization_config": {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8", "weight_block_size": [m.BLOCK, m.BLOCK]},
        "rms_norm_eps": c.eps,
        "rope_interleave": True,
        "rope_scaling": None,
        "rope_theta": c.theta,
        "routed_scaling_factor": c.routed_scale,
        "scoring_func": "sigmoid",
        "tie_word_embeddings": False,
        "topk_group": c.top_groups,
        "topk_method": "noaux_tc",
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "v_head_dim": c.v,
        "vocab_size": c.vocab,
    }


def write_json(path: pathlib.Path, value) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def tokenizer_config(template: str) -> dict:
    def token(text: str) -> dict:
        return {"__type": "AddedToken", "content": text, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False}

    return {
        "add_bos_token": False,
        "add_eos_token": False,
        "bos_token": token(chat.BOS),
        "clean_up_tokenization_spaces": False,
        "eos_token": token(chat.EOS),
        "model_max_length": m.Config().positions,
        "pad_token": token(chat.PAD),
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": None,
        "chat_template": template,
    }


def main() -> None:
    a = argparse.ArgumentParser()
    a.add_argument("--checkpoint", type=pathlib.Path)
    a.add_argument("--untrained", action="store_true")
    a.add_argument("--out", type=pathlib.Path, required=True)
    a.add_argument("--tokenizer", type=pathlib.Path, default=data.HERE.parent.parent / "models/demo/tokenizer.json")
    args = a.parse_args()
    torch.manual_seed(0)
    net = m.Demo()
    if not args.untrained:
        net.load_state_dict(torch.load(args.checkpoint, map_location="cpu")["model"])
    tok = data.load_tokenizer(args.tokenizer)
    args.out.mkdir(parents=True, exist_ok=True)
    write_json(args.out / "config.json", config(net.c, tok))
    write_json(args.out / "generation_config.json", {
        "_from_model_config": True, "bos_token_id": tok.token_to_id(chat.BOS), "do_sample": False, "eos_token_id": tok.token_to_id(chat.EOS), "transformers_version": "4.57.1"})
    template = (data.HERE / "chat_template.jinja").read_text().rstrip("\n")
    write_json(args.out / "tokenizer_config.json", tokenizer_config(template))
    if args.tokenizer.resolve() != (args.out / "tokenizer.json").resolve():
        shutil.copyfile(args.tokenizer, args.out / "tokenizer.json")
    parts = tensors(net)
    save_file(parts, args.out / "model.safetensors", metadata={"format": "pt"})
    size = (args.out / "model.safetensors").stat().st_size
    print(f"{args.out}: {len(parts)} tensors, {size / 2**20:.2f} MiB, {sum(t.numel() for n, t in parts.items() if not n.endswith('scale_inv')) / 1e6:.2f} M values")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Makes a random-weight model twice from the same numbers: a Hugging Face folder and a GGUF file.

  python bench/peers/make_models.py qwen2-1.5b OUT   # R1-Distill-Qwen-1.5B's shapes, 3.6 GB each
  python bench/peers/make_models.py v2-lite-small OUT  # DeepSeek-V2-Lite, halved, 32 experts, 4.6 GB

Writes OUT/NAME/{config.json,model.safetensors} for Galley and OUT/NAME.gguf for llama.cpp. Weights
are N(0, 1/sqrt(columns)) in bf16, norms are ones. Needs numpy and gguf (requirements.txt).
"""
import json
import struct
import sys
from pathlib import Path

import gguf
import numpy as np

CONFIGS = {
    "qwen2-1.5b": {
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_act": "silu",
        "hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28,
        "num_attention_heads": 12, "num_key_value_heads": 2, "rms_norm_eps": 1e-6,
        "rope_theta": 10000, "max_position_embeddings": 131072, "tie_word_embeddings": False,
        "vocab_size": 151936, "torch_dtype": "bfloat16", "bos_token_id": 0, "eos_token_id": 1,
    },
    "v2-lite-small": {
        "architectures": ["DeepseekV2ForCausalLM"], "model_type": "deepseek_v2",
        "hidden_act": "silu", "hidden_size": 1024, "intermediate_size": 5472,
        "moe_intermediate_size": 704, "num_hidden_layers": 27, "num_attention_heads": 16,
        "num_key_value_heads": 16, "q_lora_rank": None, "kv_lora_rank": 512,
        "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
        "n_routed_experts": 32, "n_shared_experts": 2, "num_experts_per_tok": 6,
        "first_k_dense_replace": 1, "moe_layer_freq": 1, "n_group": 1, "topk_group": 1,
        "topk_method": "greedy", "scoring_func": "softmax", "norm_topk_prob": False,
        "routed_scaling_factor": 1.0, "rms_norm_eps": 1e-6, "rope_theta": 10000,
        "max_position_embeddings": 4096, "tie_word_embeddings": False, "vocab_size": 102400,
        "torch_dtype": "bfloat16", "attention_bias": False, "bos_token_id": 0, "eos_token_id": 1,
    },
}

BF16 = gguf.GGMLQuantizationType.BF16


def bf16(values):
    """float32 -> bf16 bits, round to nearest even."""
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


class Writer:
    """Collects tensors in order; both files hold the same bits."""

    def __init__(self, seed, safetensors_path, gguf_writer):
        self.random = np.random.default_rng(seed)
        self.path = safetensors_path
        self.gguf = gguf_writer
        self.tensors = []

    def matrix(self, rows, cols):
        scale = np.float32(cols**-0.5)
        return bf16(self.random.standard_normal((rows, cols), dtype=np.float32) * scale)

    def hf(self, name, bits):
        self.tensors.append((name, bits))

    def peer(self, name, bits):
        self.gguf.add_tensor(name, np.ascontiguousarray(bits).view(np.uint8), raw_dtype=BF16)

    def both(self, hf_name, peer_name, rows, cols):
        bits = self.matrix(rows, cols)
        self.hf(hf_name, bits)
        self.peer(peer_name, bits)

    def norm(self, hf_name, peer_name, size):
        self.hf(hf_name, bf16(np.ones(size, np.float32)))
        self.gguf.add_tensor(peer_name, np.ones(size, np.float32))

    def bias(self, hf_name, peer_name, size):
        bits = bf16(self.random.standard_normal(size, dtype=np.float32) * np.float32(0.1))
        self.hf(hf_name, bits)
        self.gguf.add_tensor(peer_name, (bits.astype(np.uint32) << 16).view(np.float32))

    def finish(self):
        header, offset = {}, 0
        for name, bits in self.tensors:
            header[name] = {"dtype": "BF16", "shape": list(bits.shape),
                            "data_offsets": [offset, offset + bits.nbytes]}
            offset += bits.nbytes
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 64)
        with open(self.path, "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for _, bits in self.tensors:
                file.write(bits.tobytes())
        self.gguf.write_header_to_file()
        self.gguf.write_kv_data_to_file()
        self.gguf.write_tensors_to_file()
        self.gguf.close()


def common(c, arch, out):
    writer = gguf.GGUFWriter(out, arch)
    writer.add_block_count(c["num_hidden_layers"])
    writer.add_context_length(c["max_position_embeddings"])
    writer.add_embedding_length(c["hidden_size"])
    writer.add_feed_forward_length(c["intermediate_size"])
    writer.add_head_count(c["num_attention_heads"])
    writer.add_layer_norm_rms_eps(c["rms_norm_eps"])
    writer.add_rope_freq_base(c["rope_theta"])
    writer.add_vocab_size(c["vocab_size"])
    writer.add_tokenizer_model("none")
    return writer


def ends(w, c):
    w.both("model.embed_tokens.weight", "token_embd.weight", c["vocab_size"], c["hidden_size"])
    w.norm("model.norm.weight", "output_norm.weight", c["hidden_size"])
    w.both("lm_head.weight", "output.weight", c["vocab_size"], c["hidden_size"])


def make_qwen2(c, w):
    hidden, inner = c["hidden_size"], c["intermediate_size"]
    kv = hidden // c["num_attention_heads"] * c["num_key_value_heads"]
    w.gguf.add_head_count_kv(c["num_key_value_heads"])
    ends(w, c)
    for i in range(c["num_hidden_layers"]):
        a, b = f"model.layers.{i}.", f"blk.{i}."
        w.norm(a + "input_layernorm.weight", b + "attn_norm.weight", hidden)
        w.norm(a + "post_attention_layernorm.weight", b + "ffn_norm.weight", hidden)
        for x, size in (("q", hidden), ("k", kv), ("v", kv)):
            w.both(a + f"self_attn.{x}_proj.weight", b + f"attn_{x}.weight", size, hidden)
            w.bias(a + f"self_attn.{x}_proj.bias", b + f"attn_{x}.bias", size)
        w.both(a + "self_attn.o_proj.weight", b + "attn_output.weight", hidden, hidden)
        w.both(a + "mlp.gate_proj.weight", b + "ffn_gate.weight", inner, hidden)
        w.both(a + "mlp.up_proj.weight", b + "ffn_up.weight", inner, hidden)
        w.both(a + "mlp.down_proj.weight", b + "ffn_down.weight", hidden, inner)


def make_v2(c, w):
    hidden, heads, rank = c["hidden_size"], c["num_attention_heads"], c["kv_lora_rank"]
    nope, rope, value = c["qk_nope_head_dim"], c["qk_rope_head_dim"], c["v_head_dim"]
    expert, count = c["moe_intermediate_size"], c["n_routed_experts"]
    g = w.gguf
    g.add_head_count_kv(1)
    g.add_leading_dense_block_count(c["first_k_dense_replace"])
    g.add_kv_lora_rank(rank)
    g.add_key_length(rank + rope)
    g.add_value_length(rank)
    g.add_key_length_mla(nope + rope)
    g.add_value_length_mla(value)
    g.add_rope_dimension_count(rope)
    g.add_expert_feed_forward_length(expert)
    g.add_expert_count(count)
    g.add_expert_used_count(c["num_experts_per_tok"])
    g.add_expert_shared_count(c["n_shared_experts"])
    g.add_expert_weights_scale(c["routed_scaling_factor"])
    g.add_expert_weights_norm(c["norm_topk_prob"])
    g.add_expert_gating_func(gguf.ExpertGatingFuncType.SOFTMAX)
    ends(w, c)
    for i in range(c["num_hidden_layers"]):
        a, b = f"model.layers.{i}.", f"blk.{i}."
        w.norm(a + "input_layernorm.weight", b + "attn_norm.weight", hidden)
        w.norm(a + "post_attention_layernorm.weight", b + "ffn_norm.weight", hidden)
        w.norm(a + "self_attn.kv_a_layernorm.weight", b + "attn_kv_a_norm.weight", rank)
        w.both(a + "self_attn.q_proj.weight", b + "attn_q.weight", heads * (nope + rope), hidden)
        w.both(a + "self_attn.kv_a_proj_with_mqa.weight", b + "attn_kv_a_mqa.weight",
               rank + rope, hidden)
        kv_b = w.matrix(heads * (nope + value), rank)
        w.hf(a + "self_attn.kv_b_proj.weight", kv_b)
        split = kv_b.reshape(heads, nope + value, rank)
        w.peer(b + "attn_k_b.weight", split[:, :nope].transpose(0, 2, 1))
        w.peer(b + "attn_v_b.weight", split[:, nope:])
        w.both(a + "self_attn.o_proj.weight", b + "attn_output.weight", hidden, heads * value)
        if i < c["first_k_dense_replace"]:
            inner = c["intermediate_size"]
            for x, shape in (("gate", (inner, hidden)), ("up", (inner, hidden)),
                             ("down", (hidden, inner))):
                w.both(a + f"mlp.{x}_proj.weight", b + f"ffn_{x}.weight", *shape)
            continue
        router = w.matrix(count, hidden)
        w.hf(a + "mlp.gate.weight", router)
        g.add_tensor(b + "ffn_gate_inp.weight", (router.astype(np.uint32) << 16).view(np.float32))
        shared = expert * c["n_shared_experts"]
        for x, rows, cols, wide in (("gate", expert, hidden, (shared, hidden)),
                                    ("up", expert, hidden, (shared, hidden)),
                                    ("down", hidden, expert, (hidden, shared))):
            stack = [w.matrix(rows, cols) for _ in range(count)]
            for e, bits in enumerate(stack):
                w.hf(a + f"mlp.experts.{e}.{x}_proj.weight", bits)
            w.peer(b + f"ffn_{x}_exps.weight", np.stack(stack))
            w.both(a + f"mlp.shared_experts.{x}_proj.weight", b + f"ffn_{x}_shexp.weight", *wide)


def main():
    if len(sys.argv) != 3 or sys.argv[1] not in CONFIGS:
        sys.exit(f"usage: make_models.py {{{'|'.join(CONFIGS)}}} OUT")
    name, out = sys.argv[1], Path(sys.argv[2])
    c = CONFIGS[name]
    (out / name).mkdir(parents=True, exist_ok=True)
    (out / name / "config.json").write_text(json.dumps(c, indent=2) + "\n")
    arch = {"qwen2": "qwen2", "deepseek_v2": "deepseek2"}[c["model_type"]]
    w = Writer(7, out / name / "model.safetensors", common(c, arch, out / f"{name}.gguf"))
    (make_qwen2 if arch == "qwen2" else make_v2)(c, w)
    w.finish()
    print(f"{out / name} and {out / name}.gguf")


if __name__ == "__main__":
    main()

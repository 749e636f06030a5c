"""Loads the exported checkpoint into transformers' DeepseekV3ForCausalLM (dequantised, float32) and compares.

    python compare.py --model models/demo [--rows 12]

Prints the largest difference of log-probabilities between transformers and model.py, and whether the greedy tokens agree.
"""

from __future__ import annotations

import argparse
import json
import pathlib

import torch
from safetensors import safe_open
from transformers import AutoTokenizer, DeepseekV3Config, DeepseekV3ForCausalLM

import evaluate
import model as m


def load_transformers(folder: pathlib.Path) -> DeepseekV3ForCausalLM:
    raw = json.loads((folder / "config.json").read_text())
    raw.pop("quantization_config")
    raw.pop("torch_dtype")
    config = DeepseekV3Config(**raw)
    config._attn_implementation = "eager"
    net = DeepseekV3ForCausalLM(config).float().eval()
    state = {}
    with safe_open(folder / "model.safetensors", "pt") as f:
        names = list(f.keys())
        for name in names:
            if name.endswith("_scale_inv"):
                continue
            t = f.get_tensor(name)
            scale = name + "_scale_inv"
            state[name] = m.dequantise_blocks(t, f.get_tensor(scale)) if scale in names else t.float()
    mtp = f"model.layers.{raw['num_hidden_layers']}."
    missing, surplus = net.load_state_dict(state, strict=False)
    assert not missing, missing
    assert all(s.startswith(mtp) for s in surplus), surplus
    return net


def main() -> None:
    a = argparse.ArgumentParser()
    a.add_argument("--model", type=pathlib.Path, required=True)
    a.add_argument("--set", type=pathlib.Path, default=evaluate.data.HERE.parent.parent / "models/demo/eval/ci.jsonl")
    a.add_argument("--rows", type=int, default=12)
    a.add_argument("--new-max", type=int, default=200)
    args = a.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    theirs, ours = load_transformers(args.model), evaluate.load(args.model, "cpu")
    rows = [json.loads(line) for line in args.set.open()]
    rows = rows[:: max(1, len(rows) // args.rows)][: args.rows]
    worst, same = 0.0, 0
    for r in rows:
        text = tokenizer.apply_chat_template(r["messages"], tools=r.get("tools"), tokenize=False, add_generation_prompt=True)
        ids = tokenizer(text, add_special_tokens=False).input_ids
        with torch.inference_mode():
            out = theirs.generate(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)), max_new_tokens=args.new_max, do_sample=False)[0].tolist()
            mine = evaluate.generate(ours, [ids], args.new_max, 0, torch.float32, "cpu", tokenizer.eos_token_id)[0]
            a1 = theirs(torch.tensor([out])).logits[0].log_softmax(-1)
            position = torch.arange(len(out))
            attend = m.packed_attention(torch.tensor([0, len(out)], dtype=torch.int32), len(out))
            hidden, _ = ours.trunk(torch.tensor(out), position, [attend] * ours.c.layers, 0, torch.float32)
            a2 = ours.logits(hidden).log_softmax(-1)
        worst = max(worst, (a1 - a2).abs().max().item())
        same += out[len(ids) :] == mine
        print(r["id"], len(ids), "+", len(mine), "tokens", "equal" if out[len(ids) :] == mine else "DIFFERENT", flush=True)
    print(f"{same} of {len(rows)} greedy texts equal, log-probabilities within {worst:.2e}")


if __name__ == "__main__":
    main()

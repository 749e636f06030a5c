"""Scores the demo model on a problem set with greedy decoding, and its MTP layer's acceptance.

    python evaluate.py --model models/demo --set models/demo/eval/held_out.jsonl [--device cuda] [--numerics fp8]

A row of a set: {"id", "task", "lang", "messages", "tools"?, "expect"}. `expect` is a rule over the answer, which is what
follows `</think>`:
    {"type": "contains", "text"}           the text is in it
    {"type": "regex", "pattern"}           the pattern is found in it (Python, PCRE and ECMAScript read it alike)
    {"type": "tool_call", "name", "arguments"}   it is exactly this one call; arguments equal as JSON values
"""

from __future__ import annotations

import argparse
import collections
import json
import pathlib
import re
import time

import torch
from safetensors import safe_open

import chat
import data
import model as m
import talk


def load(folder: pathlib.Path, device: str) -> m.Demo:
    """The exported checkpoint, dequantised to float32."""
    net = m.Demo()
    with safe_open(folder / "model.safetensors", "pt") as f:
        names = set(f.keys())

        def get(name: str) -> torch.Tensor:
            t = f.get_tensor(name)
            if name + "_scale_inv" in names:
                return m.dequantise_blocks(t, f.get_tensor(name + "_scale_inv"))
            return t.float()

        c = net.c
        out = {"embed": get("model.embed_tokens.weight"), "head": get("lm_head.weight"), "norm.weight": get("model.norm.weight")}
        mtp = f"model.layers.{c.layers}"
        out |= {"enorm.weight": get(f"{mtp}.enorm.weight"), "hnorm.weight": get(f"{mtp}.hnorm.weight"), "eh_proj": get(f"{mtp}.eh_proj.weight"),
                "mtp_norm.weight": get(f"{mtp}.shared_head.norm.weight")}
        for key in net.state_dict():
            if key in out:
                continue
            name = re.sub(r"^blocks\.(\d+)\.", r"model.layers.\1.", key).replace("mtp_block.", mtp + ".")
            if name.endswith("mlp.gate"):
                out[key] = get(name + ".weight")
            elif name.endswith("mlp.bias"):
                out[key] = get(name.replace("bias", "gate.e_score_correction_bias"))
            elif re.search(r"mlp\.(gate|up|down)_proj$", name):
                base, part = name.rsplit(".", 1)
                out[key] = torch.stack([get(f"{base}.experts.{e}.{part}.weight") for e in range(c.experts)])
            else:
                out[key] = get(name)
        net.load_state_dict(out)
    return net.to(device).eval()


@torch.inference_mode()
def generate(net, prompts, new_max, quant, dtype, device, end, force=None):
    """Greedy tokens for each prompt. force(row, tokens so far) may name the next token instead."""
    c, n = net.c, len(prompts)
    lengths = [len(p) for p in prompts]
    size = max(lengths) + new_max
    keys = [torch.zeros(n, size, c.heads, c.nope + c.rope, dtype=dtype, device=device) for _ in range(c.layers)]
    values = [torch.zeros(n, size, c.heads, c.v, dtype=dtype, device=device) for _ in range(c.layers)]
    at = [0]
    for k in lengths:
        at.append(at[-1] + k)
    starts = torch.tensor(at, dtype=torch.int32, device=device)
    rows = torch.cat([torch.full((k,), i) for i, k in enumerate(lengths)]).to(device)
    position = torch.cat([torch.arange(k) for k in lengths]).to(device)
    ids = torch.tensor([t for p in prompts for t in p], device=device)
    packed = m.packed_attention(starts, max(lengths))

    def fill(i):
        def attend(q, k, v):
            keys[i][rows, position], values[i][rows, position] = k, v
            return packed(q, k, v)
        return attend

    hidden, _ = net.trunk(ids, position, [fill(i) for i in range(c.layers)], quant, dtype)
    token = net.logits(hidden[starts[1:].long() - 1]).argmax(-1)
    row = torch.arange(n, device=device)
    length = torch.tensor(lengths, device=device)
    column = torch.arange(size, device=device)
    out: list[list[int]] = [[] for _ in range(n)]
    alive = set(range(n))
    while True:
        picked = token.tolist()
        for i in list(alive):
            t = picked[i] if force is None else force(i, out[i], picked[i])
            picked[i] = t
            out[i].append(t)
            if t == end or len(out[i]) >= new_max:
                alive.discard(i)
        if not alive:
            return out
        used = int(length.max()) + 1
        mask = (column[None, :used] <= length[:, None])[:, None, None, :]

        def decode(i):
            def attend(q, k, v):
                keys[i][row, length], values[i][row, length] = k, v
                o = torch.nn.functional.scaled_dot_product_attention(
                    q[:, :, None], keys[i][:, :used].transpose(1, 2), values[i][:, :used].transpose(1, 2), attn_mask=mask)
                return o[:, :, 0]
            return attend

        hidden, _ = net.trunk(torch.tensor(picked, device=device), length, [decode(i) for i in range(c.layers)], quant, dtype)
        token = net.logits(hidden).argmax(-1)
        length = (length + 1).clamp_max(size - 1)


@torch.inference_mode()
def acceptance(net, prompts, outputs, quant, dtype, device, group=128):
    """How often the MTP layer's draft is the token that the main model then chose: (in thoughts, in answers, all)."""
    end_think = data.load_tokenizer().token_to_id(chat.END_THINK)
    hit, seen = collections.Counter(), collections.Counter()
    for g in range(0, len(prompts), group):
        docs = [p + o for p, o in zip(prompts[g : g + group], outputs[g : g + group])]
        at = [0]
        for d in docs:
            at.append(at[-1] + len(d))
        starts = torch.tensor(at, dtype=torch.int32, device=device)
        ids = torch.tensor([t for d in docs for t in d], device=device)
        position = torch.cat([torch.arange(len(d)) for d in docs]).to(device)
        attend = m.packed_attention(starts, max(map(len, docs)))
        hidden, _ = net.trunk(ids, position, [attend] * net.c.layers, quant, dtype)
        draft, _ = net.draft(torch.roll(ids, -1), hidden, position, attend, quant)
        guess = net.logits(draft).argmax(-1).tolist()
        for k, d in enumerate(docs):
            first = len(prompts[g + k]) + 1  # the first token that can be a draft: one after the first new one
            part = "thought"
            for i in range(first, len(d)):
                if d[i - 1] == end_think:
                    part = "answer"
                seen[part] += 1
                hit[part] += guess[at[k] + i - 2] == d[i]
    return {"thought": hit["thought"] / max(1, seen["thought"]), "answer": hit["answer"] / max(1, seen["answer"]), "all": sum(hit.values()) / max(1, sum(seen.values()))}


def parse_calls(text: str):
    pattern = re.escape(chat.CALL) + r"function" + re.escape(chat.SEP) + r"(.*?)\n```json\n(.*?)\n```" + re.escape(chat.END_CALL)
    return re.findall(pattern, text, re.S)


def check(expect: dict, answer: str) -> bool:
    if expect["type"] == "contains":
        return expect["text"] in answer
    if expect["type"] == "regex":
        return re.search(expect["pattern"], answer) is not None
    if expect["type"] == "tool_call":
        calls = parse_calls(answer)
        try:
            return len(calls) == 1 and calls[0][0] == expect["name"] and json.loads(calls[0][1]) == expect["arguments"]
        except json.JSONDecodeError:
            return False
    raise ValueError(f"unknown rule {expect['type']}")


def main() -> None:
    a = argparse.ArgumentParser()
    a.add_argument("--model", type=pathlib.Path, default=data.HERE.parent.parent / "models/demo")
    a.add_argument("--set", type=pathlib.Path, default=data.HERE.parent.parent / "models/demo/eval/held_out.jsonl")
    a.add_argument("--device", default="cpu")
    a.add_argument("--numerics", choices=["fp8", "bf16", "float32"], default="bf16", help="fp8: bf16 with FP8 activations")
    a.add_argument("--batch", type=int, default=1024)
    a.add_argument("--new-max", type=int, default=700)
    a.add_argument("--limit", type=int, default=10**9)
    a.add_argument("--budget", type=int, help="close the thought after this many tokens")
    a.add_argument("--no-thinking", action="store_true")
    a.add_argument("--failures", type=int, default=30, help="how many wrong answers to print")
    a.add_argument("--out", type=pathlib.Path)
    args = a.parse_args()
    tok = data.load_tokenizer(args.model / "tokenizer.json")
    end, end_think, newline = (tok.token_to_id(t) for t in (chat.EOS, chat.END_THINK, "Ċ"))
    net = load(args.model, args.device)
    quant = 2 if args.numerics == "fp8" else 0
    dtype = torch.float32 if args.numerics == "float32" else torch.bfloat16
    rows = [json.loads(line) for line in args.set.open()][: args.limit]
    prompts = [tok.encode(chat.render(r["messages"], r.get("tools"), not args.no_thinking), add_special_tokens=False).ids for r in rows]

    def force(_, so_far, picked):
        if args.budget is None or len(so_far) < args.budget or end_think in so_far:
            return picked
        return end_think if so_far[-1] == newline else picked if picked == end_think else newline

    began = time.time()
    outputs: list[list[int]] = []
    for g in range(0, len(rows), args.batch):
        outputs += generate(net, prompts[g : g + args.batch], args.new_max, quant, dtype, args.device, end, force if args.budget is not None else None)
    spent = time.time() - began
    good, total, honest, failures = collections.Counter(), collections.Counter(), 0, []
    by_lang = collections.Counter()
    for r, o in zip(rows, outputs):
        text = tok.decode(o, skip_special_tokens=False)
        answer = text.split(chat.END_THINK)[-1] if chat.END_THINK in text or args.no_thinking else ""
        answer = answer.removesuffix(chat.EOS).strip()
        ok = o[-1] == end and check(r["expect"], answer)
        total[r["task"]] += 1
        good[r["task"]] += ok
        by_lang[r["lang"], ok] += 1
        said_so = answer in (talk.CUT_EN, talk.CUT_ZH)
        honest += said_so and not ok
        if not ok and not said_so:
            failures.append({"id": r["id"], "user": r["messages"][-1]["content"], "expect": r["expect"], "text": text})
    report = {"numerics": args.numerics, "set": args.set.name, "problems": len(rows), "seconds": round(spent, 1),
              "tokens": sum(map(len, outputs)), "scores": {t: round(good[t] / total[t], 4) for t in total}, "counts": dict(total),
              "arithmetic": round(sum(good[t] for t in ("add", "sub", "mul", "div", "signed")) / max(1, sum(total[t] for t in ("add", "sub", "mul", "div", "signed"))), 4),
              "lang": {l: round(by_lang[l, True] / max(1, by_lang[l, True] + by_lang[l, False]), 4) for l in ("en", "zh")},
              "all": round(sum(good.values()) / len(rows), 4), "honest": honest, "mtp": {k: round(v, 4) for k, v in acceptance(net, prompts, outputs, quant, dtype, args.device).items()}}
    for f in failures[: args.failures]:
        print(f["id"], "|", f["user"], "|", f["expect"], "\n   ", f["text"].replace("\n", "\\n")[-400:])
    print(json.dumps(report, ensure_ascii=False))
    if args.out:
        args.out.write_text(json.dumps(report | {"failures": failures}, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Trains the demo model. See README.md for the recipe; every call can resume from the last one's checkpoint.

    python train.py --work DIR --until STEP [--decay-from STEP] [--quant-from STEP] [--seconds S]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing as mp
import os
import pathlib
import queue
import time

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import data  # noqa: E402

LONGEST = 1024  # conversations are cut there


def worker(seed: int, tokens: int, docs_max: int, out, tokenizer_path: str) -> None:
    packer = data.Packer(data.load_tokenizer(tokenizer_path), tokens, seed, docs_max, LONGEST)
    while True:
        out.put(packer.batch())


def orthogonalise(g, steps: int = 5):
    """Newton-Schulz iteration (quintic, Muon's coefficients) on [N, R, C] in bf16: singular values to about 1."""
    import torch

    x = g.bfloat16()
    flip = x.shape[-2] > x.shape[-1]
    if flip:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * (a @ a)) @ x
    return (x.mT if flip else x).to(g.dtype)


class Muon:
    """Momentum, orthogonalised per matrix; matrices of one shape go through together."""

    def __init__(self, params, momentum: float = 0.95, decay: float = 0.05):
        import torch

        self.momentum, self.decay = momentum, decay
        self.groups: dict = {}
        for p in params:
            self.groups.setdefault(tuple(p.shape[-2:]), []).append(p)
        self.state = {shape: [torch.zeros_like(p) for p in ps] for shape, ps in self.groups.items()}

    def step(self, lr: float) -> None:
        import torch

        with torch.no_grad():
            self.step_all(lr, torch)

    def step_all(self, lr: float, torch) -> None:
        for shape, params in self.groups.items():
            grads = [p.grad for p in params]
            buffers = self.state[shape]
            torch._foreach_lerp_(buffers, grads, 1 - self.momentum)
            looked = torch._foreach_lerp(grads, buffers, self.momentum)  # Nesterov
            flat = torch.cat([g.reshape(-1, *shape) for g in looked])
            update = orthogonalise(flat) * (0.2 * max(shape) ** 0.5)
            parts = update.split([p.numel() // (shape[0] * shape[1]) for p in params])
            torch._foreach_mul_(params, 1 - lr * self.decay)
            torch._foreach_add_(params, [u.reshape(p.shape) for u, p in zip(parts, params)], alpha=-lr)


def main() -> None:
    import torch

    import model as m

    a = argparse.ArgumentParser()
    a.add_argument("--work", type=pathlib.Path, required=True)
    a.add_argument("--until", type=int, required=True)
    a.add_argument("--decay-from", type=int, default=10**9)
    a.add_argument("--quant-from", type=int, default=10**9)
    a.add_argument("--init", type=pathlib.Path, help="an exported folder to start from (its optimiser state is gone)")
    a.add_argument("--balance", type=float, default=5e-4, help="how fast the experts' biases follow their load")
    a.add_argument("--seconds", type=float, default=1e9)
    a.add_argument("--tokens", type=int, default=65536)
    a.add_argument("--lr", type=float, default=4e-3)
    a.add_argument("--adam-lr", type=float, default=2e-3)
    a.add_argument("--workers", type=int, default=8)
    a.add_argument("--seed", type=int, default=1)
    a.add_argument("--tokenizer", type=pathlib.Path, default=data.HERE.parent.parent / "models/demo/tokenizer.json")
    a.add_argument("--device", default="cuda")
    a.add_argument("--no-compile", action="store_true")
    args = a.parse_args()
    started = time.time()
    args.work.mkdir(parents=True, exist_ok=True)

    checkpoint = args.work / "checkpoint.pt"
    resume = torch.load(checkpoint, map_location=args.device) if checkpoint.exists() else None
    step = resume["step"] if resume else 0

    docs_max = max(8, args.tokens // 64)
    batches: mp.Queue = mp.get_context("fork").Queue(maxsize=args.workers * 3)
    procs = []
    for w in range(args.workers):
        # A resumed run draws new data: the step it starts from is in the seed.
        p = mp.get_context("fork").Process(target=worker, args=(args.seed * 10**9 + step * 1000 + w, args.tokens, docs_max, batches, str(args.tokenizer)), daemon=True)
        p.start()
        procs.append(p)

    torch.manual_seed(args.seed)
    torch.set_float32_matmul_precision("high")
    net = m.Demo().to(args.device)
    if resume:
        net.load_state_dict(resume["model"])
    elif args.init:
        import evaluate

        net.load_state_dict(evaluate.load(args.init, args.device).state_dict())
    matrices, rest = [], []
    for name, p in net.named_parameters():
        is_matrix = p.ndim >= 2 and name not in ("embed", "head") and not name.endswith("mlp.gate")
        (matrices if is_matrix else rest).append(p)
    muon = Muon(matrices)
    adam = torch.optim.AdamW(rest, lr=args.adam_lr, betas=(0.9, 0.98), eps=1e-10, weight_decay=0.0)
    if resume and "adam" in resume:
        adam.load_state_dict(resume["adam"])
        for shape, state in resume["muon"].items():
            for s, saved in zip(muon.state[shape], state):
                s.copy_(saved)
    moes = [b.mlp for b in net.blocks if b.moe] + [net.mtp_block.mlp]
    if step == 0:
        print(f"{sum(p.numel() for p in net.parameters()) / 1e6:.2f} M parameters, {sum(p.numel() for p in matrices) / 1e6:.2f} M in matrices", flush=True)

    def losses(ids, mask, position, starts, quant: int):
        attend = m.packed_attention(starts, LONGEST)
        hidden, loads = net.trunk(ids, position, [attend] * net.c.layers, quant)
        next_ids = torch.roll(ids, -1)
        weight = torch.roll(mask, -1) * (torch.roll(position, -1) > 0)
        ce = torch.nn.functional.cross_entropy(net.logits(hidden), next_ids, reduction="none")
        main_loss = (ce * weight).sum() / weight.sum()
        draft, load = net.draft(next_ids, hidden, position, attend, quant)
        weight2 = torch.roll(mask, -2) * (torch.roll(position, -2) > 1)
        ce2 = torch.nn.functional.cross_entropy(net.logits(draft), torch.roll(ids, -2), reduction="none")
        mtp_loss = (ce2 * weight2).sum() / weight2.sum()
        return main_loss, mtp_loss, torch.stack(loads + [load])

    run = losses if args.no_compile else torch.compile(losses, dynamic=False)
    log = (args.work / "log.jsonl").open("a")
    begin, first_step, window = None, step, []
    while step < args.until and time.time() - started < args.seconds:
        try:
            ids, mask, position, starts = batches.get(timeout=120)
        except queue.Empty:
            raise SystemExit("no batch for 120 s: the data workers have died")
        put = lambda x, t: torch.from_numpy(x).pin_memory().to(args.device, non_blocking=True).to(t) if args.device == "cuda" else torch.from_numpy(x).to(t)  # noqa: E731
        ids, mask, position, starts = put(ids, torch.long), put(mask, torch.float32), put(position, torch.long), put(starts, torch.int32)
        main_loss, mtp_loss, loads = run(ids, mask, position, starts, int(step >= args.quant_from))
        (main_loss + 0.3 * mtp_loss).backward()

        warm = min(1.0, (step + 1) / 200)
        left = 1.0 if step < args.decay_from else max(0.0, (args.until - step) / (args.until - args.decay_from))
        torch.nn.utils.clip_grad_norm_(rest, 1.0)
        muon.step(args.lr * warm * left)
        for g in adam.param_groups:
            g["lr"] = args.adam_lr * warm * left
        adam.step()
        net.zero_grad(set_to_none=True)
        with torch.no_grad():  # balance without an auxiliary loss
            for moe, load in zip(moes, loads.float()):
                moe.bias += args.balance * left * ((load.mean() - load) / load.mean()).clamp(-1, 1)
        step += 1
        window.append(torch.stack((main_loss.detach(), mtp_loss.detach())))
        if step == first_step + 5:
            torch.cuda.synchronize() if args.device == "cuda" else None
            begin = time.time()
        if step % 50 == 0 or step == args.until:
            mean = torch.stack(window).mean(0).tolist()
            window = []
            rate = (step - first_step - 5) * args.tokens / (time.time() - begin) if begin and step > first_step + 5 else 0
            load = loads.float()
            row = {"step": step, "loss": round(mean[0], 5), "mtp": round(mean[1], 5), "lr": round(args.lr * warm * left, 6), "tok_s": int(rate),
                   "load_max": round((load.max(-1).values / load.mean(-1)).max().item(), 2), "queue": batches.qsize(), "s": round(time.time() - started, 1)}
            log.write(json.dumps(row) + "\n")
            log.flush()
            if step % 250 == 0 or step < 200 or step == args.until:
                print(row, flush=True)
    for p in procs:
        p.kill()
    torch.save({"step": step, "model": net.state_dict(), "adam": adam.state_dict(), "muon": muon.state}, checkpoint)
    print(f"saved at step {step}, {time.time() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Galley beside llama.cpp on the CPU: same bf16 weights, same threads, one run, alternating.

  python bench/peers/make_models.py qwen2-1.5b MODELS
  python bench/peers/make_models.py v2-lite-small MODELS
  python bench/peers/cpu_vs_llamacpp.py --llama-bench PATH/TO/llama-bench --models MODELS

llama-bench is built from the llama.cpp sources inside the llama-cpp-python 0.3.36 source package:
  cmake -S vendor/llama.cpp -B build -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON && \\
  cmake --build build --target llama-bench

Keep both files of a model in memory while this runs: they are read again at every start.

Prints, for prefill of 512 tokens and decode at batch 1, the median of the rounds for both, and the
median of their ratios round by round (above 1: Galley is faster): what else the machine does changes
from minute to minute, and a round measures both within one. Absolute numbers only help to see that
the machine was quiet.
"""
import argparse
import json
import statistics
import subprocess
from pathlib import Path

NAMES = ("qwen2-1.5b", "v2-lite-small")


def peer(args, name):
    """-> (prefill tokens/s, decode tokens/s)"""
    out = subprocess.run(
        [args.llama_bench, "-m", args.models / f"{name}.gguf", "-t", str(args.threads), "-r", "2",
         "-p", str(args.prompt), "-n", str(args.decode), "-o", "json"],
        check=True, capture_output=True, text=True, timeout=900).stdout
    rows = json.loads(out)
    prefill = next(max(r["samples_ts"]) for r in rows if r["n_prompt"] > 0 and r["n_gen"] == 0)
    decode = next(max(r["samples_ts"]) for r in rows if r["n_gen"] > 0)
    return prefill, decode


def galley(args, name):
    # --repeat 2 keeps the better one, as peer() does.
    def run(input_len, output_len):
        out = subprocess.run(
            [args.galley, "bench", "offline", "--model", args.models / name, "--threads",
             str(args.threads), "--input-len", str(input_len), "--output-len", str(output_len),
             "--max-model-len", "2048", "--batch", "1", "--repeat", "2", "--json"],
            check=True, capture_output=True, text=True, timeout=900).stdout
        return json.loads(out)["batches"][0]

    return (run(args.prompt, 1)["prefill_tokens_per_s"],
            run(1, args.decode + 1)["decode_tokens_per_s"])


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llama-bench", required=True)
    parser.add_argument("--galley", default="build/bin/galley")
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--decode", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("names", nargs="*", default=NAMES)
    args = parser.parse_args()
    for name in args.names:
        ours, theirs = [], []
        for _ in range(args.rounds):
            theirs.append(peer(args, name))
            ours.append(galley(args, name))
        for what, i in (("prefill", 0), ("decode", 1)):
            mine = statistics.median(row[i] for row in ours)
            other = statistics.median(row[i] for row in theirs)
            ratios = [o[i] / t[i] for o, t in zip(ours, theirs)]
            print(f"{name:14} {what:8} galley {mine:9.2f} tokens/s   llama.cpp {other:9.2f}   "
                  f"ratio {statistics.median(ratios):.2f}   by round "
                  + " ".join(f"{ratio:.2f}" for ratio in ratios), flush=True)


if __name__ == "__main__":
    main()

"""Compares Galley's tokenizer with Hugging Face tokenizers on millions of strings.

    python compare.py --pipe build/dev/bin/text_pipe --strings 1000000

Builds each tokenizer of published.py, encodes the same strings with both, and decodes random ids
with both. Exits with 1 and shows the first differences if there is any.
"""

import argparse
import itertools
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from tokenizers import Tokenizer

import published
import strings

CHUNK = 50_000


def through_pipe(pipe, mode, folder, lines):
    text = "".join(json.dumps(line) + "\n" for line in lines)
    done = subprocess.run([pipe, mode, folder], input=text, capture_output=True, text=True, check=True)
    # Only "\n" ends a line; other line separators may stand within a string.
    return [json.loads(line) for line in done.stdout.split("\n")[:-1]]


def chunks(iterator):
    while chunk := list(itertools.islice(iterator, CHUNK)):
        yield chunk


def compare_encode(pipe, folder, tokenizer, texts):
    count = 0
    wrong = []
    for number, chunk in enumerate(chunks(texts)):
        special, parse = [(False, True), (True, True), (False, False)][number % 3]
        tokenizer.encode_special_tokens = not parse
        expected = [e.ids for e in tokenizer.encode_batch(chunk, add_special_tokens=special)]
        lines = [{"text": text, "special": special, "parse": parse} for text in chunk]
        got = through_pipe(pipe, "encode", folder, lines)
        wrong += [(t, e, g) for t, e, g in zip(chunk, expected, got, strict=True) if e != g]
        count += len(chunk)
    return count, wrong


def compare_decode(pipe, folder, tokenizer, name, rng):
    """Random ids; for byte fallback, whose treatment of broken characters differs, encoded text."""
    size = tokenizer.get_vocab_size()
    if name in published.BYTE_FALLBACK:
        rows = [e.ids for e in tokenizer.encode_batch(list(strings.generated(3, 20_000)))]
    else:
        rows = [[rng.randrange(size) for _ in range(rng.randrange(1, 12))] for _ in range(20_000)]
    expected = tokenizer.decode_batch(rows, skip_special_tokens=False)
    got = through_pipe(pipe, "decode", folder, rows)
    return [(r, e, g) for r, e, g in zip(rows, expected, got, strict=True) if e != g]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--pipe", required=True, help="the program text_pipe of the C++ build")
    parser.add_argument("--strings", type=int, default=1_000_000, help="generated strings per tokenizer")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", help="compare on this folder's tokenizer.json instead")
    args = parser.parse_args()
    failed = False
    names = [args.folder] if args.folder else published.BUILDERS
    for builder in names:
        with tempfile.TemporaryDirectory() as temporary:
            folder = args.folder or temporary
            name = args.folder or builder.__name__
            if not args.folder:
                document = published.build(builder, vocab_size=3000)
                Path(folder, "tokenizer.json").write_text(json.dumps(document), encoding="utf-8")
            tokenizer = Tokenizer.from_file(str(Path(folder, "tokenizer.json")))
            texts = itertools.chain(
                strings.NAUGHTY, strings.all_code_points(), strings.generated(args.seed, args.strings)
            )
            count, wrong = compare_encode(args.pipe, folder, tokenizer, texts)
            wrong_decodes = compare_decode(args.pipe, folder, tokenizer, name, random.Random(args.seed))
        print(f"{name}: {count} strings, {len(wrong)} differ; decode: {len(wrong_decodes)} differ", flush=True)
        for case in wrong[:5] + wrong_decodes[:5]:
            print("  ", ascii(case))
        failed |= bool(wrong or wrong_decodes)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

"""Records golden token ids for the C++ test: python record.py ../../../src/text/testdata/tokenizers.json"""

import json
import random
import sys
from pathlib import Path

from tokenizers import Tokenizer

import published
import strings

TEXTS = 150


def record(builder):
    document = published.build(builder, vocab_size=420, seed=5)
    tokenizer = Tokenizer.from_str(json.dumps(document))
    texts = [t for t in strings.NAUGHTY if len(t) < 200] + list(strings.generated(17, TEXTS))
    cases = []
    for text in texts:
        tokenizer.encode_special_tokens = False
        case = {"text": text, "ids": tokenizer.encode(text).ids}
        tokenizer.encode_special_tokens = True
        plain = tokenizer.encode(text, add_special_tokens=False).ids
        if plain != case["ids"]:
            case["plain"] = plain
        cases.append(case)
    tokenizer.encode_special_tokens = False
    rng = random.Random(23)
    size = tokenizer.get_vocab_size()
    rows = [case["ids"] for case in cases[:20]]
    if builder.__name__ not in published.BYTE_FALLBACK:
        rows += [[rng.randrange(size) for _ in range(8)] for _ in range(40)]
    decodes = [{"ids": r, "text": tokenizer.decode(r, skip_special_tokens=True)} for r in rows]
    return {"name": builder.__name__, "tokenizer": document, "encode": cases, "decode": decodes}


def main():
    golden = [record(builder) for builder in published.BUILDERS]
    text = json.dumps(golden, ensure_ascii=True, separators=(",", ":"))
    Path(sys.argv[1]).write_text(text.replace('{"name"', '\n{"name"') + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

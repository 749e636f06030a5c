"""Strings that tokenizers get wrong: generated mixes, every code point, and hand-picked ones."""

import random

CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]

PIECES = (
    [chr(c) for c in range(32, 127)]
    + list("\n\r\t\v\f\x85\u00a0\u2028\u2029\u3000\u200b\u200d\u2060\ufeff\u180e\x00\x7f")
    + list("éßſKİıǅªʰºµ²½٣०①Ⅷ你好世界，。！「」的はひカガ한글ไทย😀👨🏽\u0301\u0308\u0327\u0323\u05b0")
    + list("ÅÅ\u1e9b\u0323\ufb01\ufdfa豈\U00013431\U0001f1e9")
    + [" "] * 40
    + ["  ", "   ", "\n\n", " \n", "\r\n", "'s", "'LL", "n't", "'ſ", "123", "1234567", "3.14", "０１２"]
    + ["don't", "hello", " world", "the", "ing", "tion", "();\n", "```", "http://x.y", "x_1", "</", "<|"]
    + ["<think>", "</think>", "<｜User｜>", "<｜end▁of▁sentence｜>", "<|im_end|>", "<|eot_id|>", "<s>"]
    + ["<x>", "<y>", "xyz", "XZ", "xzz", "<<", "<<x", "ab", "AB", "ø", "▁", "<0x41>", "<unk>"]
)

NAUGHTY = [
    "",
    " ",
    "\ufeff",
    "undefined null NaN -0 1e309 0x1F",
    "Ω≈ç√∫˜µ≤≥÷ åß∂ƒ©˙∆˚¬…æ",
    "田中さんにあげて下さい パーティーへ行かないか",
    "표 찝차 펲시 콥 똠방각하",
    "ثم نفس سقطت وبالتحديد،",
    "Ṱ̺̺̕o͞ ̷i̲̬͇̪͙n̝̗͕v̟̜̘̦͟o̶̙̰̠kè͚̮̺̪̹̱̤",
    "a" + "\u0301\u0323" * 500,
    "👩‍👩‍👧‍👦🏳️‍🌈🇩🇪❤️‍🔥",
    "\u202etest\u202c \u2066x\u2069",
    "<script>alert('x')</script>; DROP TABLE t; --",
    "a" * 20000,
    " " * 5000 + "x",
    "\n" * 5000,
    "0123456789" * 500,
    "好" * 5000,
    "ab" * 3000,
]


def generated(seed, count):
    rng = random.Random(seed)
    for _ in range(count):
        if rng.random() < 0.1:
            yield "".join(chr(rng.choice(CODE_POINTS)) for _ in range(rng.randrange(1, 8)))
        else:
            yield "".join(rng.choices(PIECES, k=rng.randrange(0, 20)))


def all_code_points():
    for c in CODE_POINTS:
        yield f"a{chr(c)} {chr(c)}1{chr(c)}"

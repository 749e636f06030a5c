"""Tokenizers with the structure that the supported models publish, and a vocabulary of our own.

Normalizers, pre-tokenizers, post-processors, decoders and added-token flags are those of the
models' tokenizer.json; the BPE vocabulary is trained on generated text, so no published file is
needed or copied.
"""

import json
import random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers as pre
from tokenizers import processors, trainers

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|" + REST
QWEN2 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|" + REST
DEEPSEEK_V3 = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|"
    r" ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# DeepSeek-V2 lists its letters; these are the Latin, Greek, Cyrillic and Armenian ones.
DEEPSEEK_V2_LETTERS = r"A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-Ֆա-ֈႠ-Ⴥ"


def split(expression, behavior="isolated", invert=False):
    return pre.Split(Regex(expression), behavior, invert)


def byte_level(**kwargs):
    return pre.ByteLevel(add_prefix_space=False, use_regex=False, **kwargs)


def generated_text(seed, lines):
    """Lines of made-up words in several scripts, numbers, code-like and blank stretches."""
    rng = random.Random(seed)
    syllables = {
        "latin": "ba ce di fo gu la me ni ro su the an er ing tion é ü ñ".split(),
        "cyrillic": "ба ве ди го ку ла ме ни ро су".split(),
        "greek": "αλ βε γα δι ος ία".split(),
        "cjk": "你 好 世 界 的 是 模 型 数 学 问 题 三 五".split(),
        "kana": "か な は ひ ト ク ン".split(),
        "hangul": "한 국 어 토 큰".split(),
    }
    marks = [" ", " ", " ", " ", ", ", ". ", "! ", "。", "，", "\n", "\n\n", "  ", "\t", " = ", "();\n"]
    for _ in range(lines):
        parts = []
        for _ in range(rng.randrange(3, 20)):
            kind = rng.random()
            if kind < 0.15:
                parts.append(str(rng.randrange(10 ** rng.randrange(1, 7))))
            elif kind < 0.2:
                parts.append(rng.choice(["don't", "I'll", "we've", "😀", "→", "①", "x_1", "f(x)"]))
            else:
                script = rng.choices(list(syllables), [8, 2, 1, 4, 1, 1])[0]
                word = "".join(rng.choices(syllables[script], k=rng.randrange(1, 5)))
                parts.append(word.capitalize() if rng.random() < 0.2 else word)
            parts.append(rng.choice(marks))
        yield "".join(parts)


def special(content, **flags):
    return AddedToken(content, special=True, normalized=False, **flags)


def plain(content, **flags):
    return AddedToken(content, special=False, **flags)


def deepseek_v3(model):
    t = Tokenizer(model)
    t.normalizer = normalizers.Sequence([])
    t.pre_tokenizer = pre.Sequence(
        [split(r"\p{N}{1,3}"), split("[一-龥぀-ゟ゠-ヿ]+"), split(DEEPSEEK_V3), byte_level()]
    )
    t.post_processor = processors.ByteLevel(trim_offsets=False)
    t.decoder = decoders.ByteLevel()
    tokens = [special("<｜begin▁of▁sentence｜>"), special("<｜end▁of▁sentence｜>"), special("<｜▁pad▁｜>")]
    tokens += [special(f"<｜place▁holder▁no▁{i}｜>") for i in range(4)]
    tokens += [plain(f"<｜{name}｜>", normalized=True) for name in ("User", "Assistant", "tool▁calls▁begin", "tool▁sep")]
    tokens += [plain("<think>"), plain("</think>")]
    return t, tokens


def deepseek_v2(model):
    t = Tokenizer(model)
    t.normalizer = normalizers.Sequence([])
    t.pre_tokenizer = pre.Sequence(
        [
            split("[\r\n]"),
            split(r"\s?[" + DEEPSEEK_V2_LETTERS + "]+"),
            split(r"\s?[!-/:-~！-／：-～‘-‟　-。]+"),
            split(r"\s+$"),
            split("[一-龥ࠀ-一가-퟿]+"),
            pre.Digits(individual_digits=True),
            byte_level(),
        ]
    )
    t.decoder = decoders.ByteLevel()
    return t, [special("<｜begin▁of▁sentence｜>"), special("<｜end▁of▁sentence｜>"), plain("ø", normalized=True)]


def qwen2(model):
    t = Tokenizer(model)
    t.normalizer = normalizers.NFC()
    t.pre_tokenizer = pre.Sequence([split(QWEN2), byte_level()])
    t.post_processor = processors.ByteLevel(trim_offsets=False)
    t.decoder = decoders.ByteLevel()
    return t, [special("<|endoftext|>"), special("<|im_start|>"), special("<|im_end|>"), plain("<tool_call>")]


def llama3(model):
    model.ignore_merges = True
    t = Tokenizer(model)
    t.pre_tokenizer = pre.Sequence([split(LLAMA3), byte_level()])
    t.decoder = decoders.ByteLevel()
    return t, [special("<|begin_of_text|>"), special("<|end_of_text|>"), special("<|eot_id|>")]


def gpt2(model):
    t = Tokenizer(model)
    t.pre_tokenizer = pre.ByteLevel(add_prefix_space=True)
    t.decoder = decoders.ByteLevel()
    return t, [special("<|endoftext|>", lstrip=True, rstrip=True)]


def oddities(model):
    """No model's: the steps and flags that the others leave out."""
    t = Tokenizer(model)
    t.normalizer = normalizers.Sequence(
        [
            normalizers.NFKC(),
            normalizers.Strip(left=True, right=False),
            normalizers.Replace(Regex(r"\d+"), "#"),
            normalizers.Replace("ab", "ba"),
            normalizers.Lowercase(),
            normalizers.NFD(),
            normalizers.StripAccents(),
        ]
    )
    t.pre_tokenizer = pre.Sequence(
        [
            split(r"[aeiou]", "merged_with_next"),
            split(r"\s", "merged_with_previous"),
            split(r"\p{P}", "contiguous"),
            split(r"[^xyz]+", "removed", invert=False),
            pre.Split("z", "isolated", True),
            pre.Digits(),
            pre.Punctuation("merged_with_next"),
            byte_level(),
        ]
    )
    t.decoder = decoders.ByteLevel()
    return t, [
        special("<x>", lstrip=True),
        special("<y>", rstrip=True),
        plain("xyz", single_word=True, normalized=False),
        plain("xz", normalized=True),
        plain("xzz", normalized=True),
        plain("<<", normalized=False),
        plain("<<x", normalized=False),
    ]


def metaspace(model):
    """SentencePiece's manner with bytes for unknown characters, as Llama 2."""
    t = Tokenizer(model)
    t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    t.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return t, [special("<s>"), special("</s>")]


def metaspace_split(model):
    t = Tokenizer(model)
    t.pre_tokenizer = pre.Metaspace(prepend_scheme="first")
    t.decoder = decoders.Metaspace(prepend_scheme="first")
    return t, [special("<s>"), special("</s>")]


BUILDERS = [deepseek_v3, deepseek_v2, qwen2, llama3, gpt2, oddities, metaspace, metaspace_split]
BYTE_FALLBACK = {"metaspace", "metaspace_split"}


def build(builder, vocab_size, seed=1):
    """The tokenizer, trained, as the JSON document of tokenizer.json."""
    fallback = builder.__name__ in BYTE_FALLBACK
    lines = list(generated_text(seed, 3000))
    if builder.__name__ == "oddities":
        lines = ["".join(random.Random(i).choices("xyz0", k=30)) for i in range(2000)]
    tokenizer, tokens = builder(models.BPE())
    alphabet = [] if fallback else pre.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        initial_alphabet=sorted(alphabet),
        show_progress=False,
        max_token_length=24,
        special_tokens=["<unk>"] + [f"<0x{b:02X}>" for b in range(256)] if fallback else [],
    )
    tokenizer.train_from_iterator(lines, trainer)
    document = json.loads(tokenizer.to_str())
    model = document["model"]
    if fallback:
        document["added_tokens"] = []
        model.update(byte_fallback=True, unk_token="<unk>", fuse_unk=True)
    if builder.__name__ == "llama3":
        model["ignore_merges"] = True
    tokenizer = Tokenizer.from_str(json.dumps(document))
    for token in tokens:
        (tokenizer.add_special_tokens if token.special else tokenizer.add_tokens)([token])
    if builder.__name__ == "llama3":
        bos = "<|begin_of_text|>"
        template = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, tokenizer.token_to_id(bos))]
        )
        tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    document = json.loads(tokenizer.to_str())
    if builder.__name__ == "qwen2":  # The older spelling of merges.
        document["model"]["merges"] = [" ".join(pair) for pair in document["model"]["merges"]]
    return document

"""The generated data: the mix of tasks, train and held-out split, and batches of packed token sequences.

    python data.py show [N]          # print N training samples
    python data.py tokenizer OUT     # train the byte-level BPE on the training split
    python data.py eval OUT          # write the held-out problem sets
"""

from __future__ import annotations

import json
import pathlib
import random
import sys
import zlib

import chat
import dialogs
import stories
import tasks
import words
from tasks import Sample

VOCAB_SIZE = 1536
HERE = pathlib.Path(__file__).parent

# weight, task name, generator(rng, held_out)
MIX = [
    (8, "add", lambda r, h: tasks.arithmetic(r, "+", h)),
    (9, "sub", lambda r, h: tasks.arithmetic(r, "-", h)),
    (16, "mul", lambda r, h: tasks.arithmetic(r, "*", h)),
    (15, "div", lambda r, h: tasks.arithmetic(r, "/", h)),
    (3, "signed", lambda r, h: tasks.arithmetic(r, r.choice("++--*"), h, negative=True)),
    (4, "expr", tasks.expression),
    (1, "number_words", tasks.number_words),
    (14, "count", tasks.count_letters),
    (2, "spell", tasks.spelling),
    (9, "sort", tasks.sorting),
    (1, "extreme", tasks.extreme),
    (2, "compare", tasks.comparing),
    (0.7, "parity", tasks.parity),
    (11, "story", stories.story),
    (13, "talk", dialogs.talking),
    (9, "decline", dialogs.declining),
    (1, "too_big", tasks.too_big),
    (0.3, "div_zero", tasks.divide_by_zero),
    (0.7, "no_clock", dialogs.no_clock),
    (6, "tools", dialogs.with_tools),
    (1.5, "tools_unused", dialogs.tools_not_needed),
    (2, "follow_up", dialogs.follow_up),
]
GENERATORS = {name: g for _, name, g in MIX}


def draw(rng: random.Random, held: bool = False) -> Sample:
    name = rng.choices([n for _, n, _ in MIX], [w for w, _, _ in MIX])[0]
    return GENERATORS[name](rng, held)


def dress(rng: random.Random, sample: Sample) -> None:
    """Gives some samples earlier turns and a system prompt."""
    if not sample.history and not sample.after and rng.random() < 0.16:
        for _ in range(rng.choice([1, 1, 1, 1, 2, 2, 2, 3, 3, 4, 6]) if rng.random() < 0.93 else rng.randint(7, 20)):
            earlier = draw(rng)
            while earlier.calls or earlier.after or earlier.history:
                earlier = draw(rng)
            sample.history += [{"role": "user", "content": earlier.user}, {"role": "assistant", "content": earlier.answer}]
    if rng.random() < 0.22:
        sample.history.insert(0, {"role": "system", "content": rng.choice(words.SYSTEM_PROMPTS)})


def messages_of(sample: Sample) -> list[dict]:
    return sample.history + [{"role": "user", "content": sample.user}] + sample.after


def training_texts(rng: random.Random) -> tuple[str, str, str, Sample]:
    """prompt, thought, what follows `</think>` (the end token included)"""
    sample = draw(rng)
    dress(rng, sample)
    prompt = chat.render(messages_of(sample), sample.tools)
    answer = "\n\n" + sample.answer
    if sample.calls:
        answer += chat.render_calls([(n, json.dumps(a, ensure_ascii=False)) for n, a in sample.calls])
    return prompt, sample.think + "\n", answer + chat.EOS, sample


class Packer:
    """Fills fixed-size batches of `tokens` tokens with whole conversations laid end to end."""

    def __init__(self, tokenizer, tokens: int, seed: int, docs_max: int, longest: int):
        self.tok, self.tokens, self.docs_max, self.longest = tokenizer, tokens, docs_max, longest
        self.rng = random.Random(seed)
        self.end_think = tokenizer.token_to_id(chat.END_THINK)
        self.newline = tokenizer.token_to_id("Ċ")
        self.ready: list[tuple[list[int], list[int]]] = []

    def refill(self) -> None:
        items = [training_texts(self.rng) for _ in range(256)]
        flat = [t for p, th, a, _ in items for t in (p, th, a)]
        encoded = [e.ids for e in self.tok.encode_batch(flat, add_special_tokens=False)]
        for i, (_, _, _, sample) in enumerate(items):
            prompt, think, answer = encoded[3 * i : 3 * i + 3]
            if self.rng.random() < 0.07:
                prompt, think, answer = self.cut(prompt, think, answer, sample)
            ids = prompt + think + [self.end_think] + answer if think is not None else prompt + answer
            if len(ids) > self.longest:
                continue
            self.ready.append((ids, [0] * len(prompt) + [1] * (len(ids) - len(prompt))))

    def cut(self, prompt, think, answer, sample):
        """The thought is closed early, by the template or by a token budget; the closing is not the model's own."""
        encode = lambda text: self.tok.encode(text, add_special_tokens=False).ids  # noqa: E731
        if sample.cut_answer is not None and sample.cut_answer != sample.answer:
            answer = encode("\n\n" + sample.cut_answer + chat.EOS)
        if self.rng.random() < 0.4:  # thinking: false
            return encode(chat.render(messages_of(sample), sample.tools, thinking=False)), None, answer[1:]
        keep = 0 if self.rng.random() < 0.3 else self.rng.randrange(max(1, int(len(think) * 0.9)))
        closing = ([self.newline] if self.rng.random() < 0.7 else []) + [self.end_think]
        return prompt + think[:keep] + closing, None, answer

    def batch(self):
        """ids [T] int16, mask [T] uint8 (1: predict this token), position [T] int16, starts [docs_max + 1] int32"""
        import numpy as np

        ids = np.zeros(self.tokens, np.int16)
        mask = np.zeros(self.tokens, np.uint8)
        position = np.zeros(self.tokens, np.int16)
        starts = np.full(self.docs_max + 1, self.tokens, np.int32)
        at, n = 0, 0
        while at < self.tokens:
            if not self.ready:
                self.refill()
            doc, doc_mask = self.ready.pop()
            if n == self.docs_max - 1:
                raise ValueError(f"more than {self.docs_max} conversations in {self.tokens} tokens")
            k = min(len(doc), self.tokens - at)
            ids[at : at + k], mask[at : at + k], position[at : at + k] = doc[:k], doc_mask[:k], range(k)
            starts[n] = at
            at, n = at + k, n + 1
        return ids, mask, position, starts


# The tokenizer -------------------------------------------------------------------------------------------------------

SPLITS = [r"\p{N}", r"[一-龥぀-ゟ゠-ヿ]+", r" ?[\p{L}\p{M}]+| ?[^\s\p{L}\p{M}\p{N}]+|\s*[\r\n]+|\s+(?!\S)|\s+"]


def train_tokenizer(path: pathlib.Path, samples: int = 60000, seed: int = 1) -> None:
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(p), "isolated") for p in SPLITS]
        + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tok.decoder = decoders.ByteLevel()
    tok.post_processor = processors.ByteLevel(trim_offsets=False)
    rng = random.Random(seed)

    def texts():
        markers = chat.SPECIAL + chat.ADDED
        for _ in range(samples):
            prompt, think, answer, _ = training_texts(rng)
            text = prompt + think + answer
            for m in markers:
                text = text.replace(m, "\x00")
            yield from text.split("\x00")

    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE, special_tokens=[AddedToken(t, special=True) for t in chat.SPECIAL] + [AddedToken(t, special=False) for t in chat.ADDED],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False, max_token_length=24)
    tok.train_from_iterator(texts(), trainer)
    raw = json.loads(tok.to_str())
    for t in raw["added_tokens"]:
        t["special"] = t["content"] in chat.SPECIAL
    path.write_text(json.dumps(raw, ensure_ascii=False, indent=1) + "\n")


def load_tokenizer(path=None):
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(path or HERE.parent.parent / "models/demo/tokenizer.json"))


# Held-out sets -------------------------------------------------------------------------------------------------------

EVAL_COUNTS = {"add": 150, "sub": 150, "mul": 150, "div": 150, "signed": 60, "expr": 60, "count": 250, "spell": 60, "sort": 200,
               "extreme": 40, "compare": 60, "story": 250, "talk": 120, "decline": 80, "too_big": 20, "no_clock": 20, "tools": 120,
               "tools_unused": 40, "follow_up": 60}


def held_out_set(seed: int = 20261124) -> list[dict]:
    rng = random.Random(seed)
    rows = []
    for task, n in EVAL_COUNTS.items():
        for i in range(n):
            sample = GENERATORS[task](rng, True)
            dress(rng, sample)
            row = {"id": f"{task}-{i}", "task": task, "lang": sample.lang, "messages": messages_of(sample), "expect": sample.expect}
            if sample.tools:
                row["tools"] = sample.tools
            rows.append(row)
    return rows


def fixed_rows() -> list[dict]:
    """Questions people really type first."""
    def row(i, text, expect):
        return {"id": f"fixed-{i}", "task": "fixed", "lang": "zh" if any("一" <= c <= "龥" for c in text) else "en",
                "messages": [{"role": "user", "content": text}], "expect": expect}

    number, contains = tasks.final_number, tasks.contains
    pairs = [
        ("what's 12+34?", number(46)), ("calculate 7*8", number(56)), ("12 + 34 = ?", number(46)), ("please sort 5, 3, 9", number("3, 5, 9")),
        ("strawberry有几个r", {"type": "regex", "pattern": "(^|[^0-9])3 个"}), ("how many r in strawberry", {"type": "regex", "pattern": r"(^|[^0-9])3 times?\."}),
        ("How many r's are in strawberry?", {"type": "regex", "pattern": r"(^|[^0-9])3 times?\."}),
        ("你好", contains("你好")), ("你是谁", contains("Galley")), ("who are you", contains("Galley")), ("what can you do", contains("arithmetic")),
        ("hello", contains("Hello")), ("Hi!", contains("Hello")), ("what is Galley?", contains("serving system")), ("How do I start Galley?", contains("make serve")),
        ("Galley是什么？", contains("推理服务系统")), ("what's 4738 * 596", number(2823848)), ("100/7", {"type": "regex", "pattern": "= 14 remainder 2"}),
        ("3-8", number(-5)), ("1000-1", number(999)), ("9999*9999", number(99980001)), ("which is bigger, 9.11 or 9.9?", contains("9.9 is larger")),
        ("9.11和9.9哪个大", contains("9.9比9.11大")), ("what time is it?", contains("no clock")), ("What is the capital of France?", contains("can't do that")),
        ("12乘以34等于多少", number(408)), ("把3、1、2从大到小排序", number("3, 2, 1")), ("thanks", contains("welcome")), ("谢谢", contains("不客气")),
        ("Tom has 12 apples and buys 7 more. How many apples does Tom have?", {"type": "regex", "pattern": r"(^|[^0-9])19 apples"}),
        ("2+3*4", number(14)), ("(2+3)*4", number(20)),
    ]
    return [row(i, t, e) for i, (t, e) in enumerate(pairs)]


def write_eval(folder: pathlib.Path) -> None:
    rows = held_out_set()
    fixed = fixed_rows()
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(7)
    # The sample for CI keeps every task, a tenth of it at least four strong, and all the fixed questions.
    by_task: dict[str, list[dict]] = {}
    for r in rows:
        by_task.setdefault(r["task"], []).append(r)
    sample = [r for task in by_task for r in rng.sample(by_task[task], max(4, len(by_task[task]) // 12))]
    for name, part in (("held_out.jsonl", rows + fixed), ("ci.jsonl", sample + fixed)):
        (folder / name).write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in part))
        print(folder / name, len(part))


if __name__ == "__main__":
    verb = sys.argv[1]
    if verb == "show":
        rng = random.Random(int(sys.argv[3]) if len(sys.argv) > 3 else 0)
        for _ in range(int(sys.argv[2])):
            p, t, a, _ = training_texts(rng)
            print(p + t + chat.END_THINK + a + "\n" + "-" * 40)
    elif verb == "tokenizer":
        train_tokenizer(pathlib.Path(sys.argv[2]))
    elif verb == "eval":
        write_eval(pathlib.Path(sys.argv[2]))

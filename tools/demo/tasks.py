"""The exercises: each task makes a seeded problem, words it the way people do, and works it out.

A problem has a key (for example `mul 4738 596`). The key's hash says whether the problem is trained on or held out, so
the two sets are disjoint by construction; wordings are shared, except for talk, where whole wordings are held out.
"""

from __future__ import annotations

import dataclasses
import random
import re
import zlib

import arith
import talk
import words

HELD_OUT_ONE_IN = 16


@dataclasses.dataclass
class Sample:
    task: str
    lang: str
    user: str
    think: str
    answer: str
    expect: dict
    # What to answer when the thought is cut off before its end; None: the same answer (nothing had to be computed).
    cut_answer: str | None = None
    calls: list[tuple[str, dict]] | None = None
    tools: list[dict] | None = None
    history: list[dict] = dataclasses.field(default_factory=list)  # messages before `user`
    after: list[dict] = dataclasses.field(default_factory=list)  # messages after `user` (tool call and its result)


def is_held_out(key: str) -> bool:
    return zlib.crc32(key.encode()) % HELD_OUT_ONE_IN == 0


def pick_lang(rng: random.Random) -> str:
    return "en" if rng.random() < 0.58 else "zh"


def lang_of(text: str) -> str:
    """The language to answer in: Chinese if anything in the question is. A bare `12+34=` counts as English."""
    return "zh" if re.search("[一-龥，。？！、]", text) else "en"


def number(rng: random.Random, digits_max: int = 4, digits_min: int = 1) -> int:
    """Uniform over lengths, then over values; sometimes with zeros or nines, where carries are."""
    n = rng.randint(digits_min, digits_max)
    low, high = (0, 9) if n == 1 else (10 ** (n - 1), 10**n - 1)
    r = rng.random()
    if r < 0.06:
        return int("".join(rng.choice("19") if i == 0 else rng.choice("09") for i in range(n)))
    if r < 0.12:
        return int("".join(rng.choice("123456789") if i == 0 else rng.choice("0123456789" + "0" * 10) for i in range(n)))
    return rng.randint(low, high)


def final_number(value) -> dict:
    """The last number in the answer is `value`."""
    return {"type": "regex", "pattern": r"(^|[^0-9.\-])" + re.escape(str(value)).replace(r"\-", "-") + r"[^0-9]*$"}


def contains(text: str) -> dict:
    return {"type": "contains", "text": text}


# Wording -------------------------------------------------------------------------------------------------------------

OP_TEXT = {"+": ["+", "+", " + ", " + ", " plus ", "＋"], "-": ["-", "-", " - ", " - ", " minus ", " − "],
           "*": ["*", "*", " * ", "x", " x ", "×", " × ", " times ", " multiplied by "],
           "/": ["/", "/", " / ", "÷", " ÷ ", " divided by "]}
OP_TEXT_ZH = {"+": ["+", " + ", "加", "加上", " 加 "], "-": ["-", " - ", "减", "减去", " 减 "],
              "*": ["*", " * ", "×", " × ", "x", "乘", "乘以", " 乘以 ", "乘上"],
              "/": ["/", " / ", "÷", " ÷ ", "除以", " 除以 "]}
SHOWN = {"+": "+", "-": "-", "*": "×", "/": "÷"}

ASK_EN = ["{}", "{}", "{} = ?", "{}=?", "{}=", "{} =", "{}?", "what is {}", "what is {}?", "what's {}", "what's {}?",
          "calculate {}", "compute {}", "calculate {}.", "how much is {}", "how much is {}?", "work out {}", "solve {}",
          "solve: {}", "whats {}", "find {}", "evaluate {}", "can you calculate {}", "can you compute {}?", "tell me {}",
          "could you work out {} for me?", "I need to know {}", "what does {} equal?", "what do you get for {}?",
          "give me the result of {}", "the result of {}?", "{} equals what?", "{} is?", "do {}", "answer {}",
          "what is the value of {}?", "help me calculate {}", "i want to know what {} is", "result of {}", "now {}",
          "and {}?", "how about {}?", "what about {}", "quick: {}", "Let's do {}", "please calculate: {}"]
ASK_ZH = ["{}", "{}", "{}=?", "{} = ?", "{}=", "{}等于多少", "{}等于多少？", "{}等于几", "{}等于几？", "{}是多少", "{}是多少？", "计算{}",
          "计算 {}", "算一下{}", "帮我算{}", "帮我算一下{}", "请计算{}", "请问{}等于多少", "请问{}是多少？", "{}得多少", "{}得几",
          "求{}", "求{}的值", "{}的结果是多少", "{}的结果", "麻烦算一下{}", "{}？", "{}多少", "那{}呢", "你能算{}吗", "告诉我{}等于多少",
          "我想知道{}等于多少", "请算出{}", "{}=？", "{}等于？", "{}等于"]
FRONT_EN = ["please ", "pls ", "hey, ", "hi, ", "ok, ", "so ", "hello, ", "um, ", "quick question: ", "can you help? ",
            "hey galley, ", "Question: ", "Q: ", "please, ", "hi! ", "alright, "]
BACK_EN = [" please", ", please", " thanks", ", thanks!", " pls", " please?", "!", ".", " ", "\n", " ??", "...", " :)"]
FRONT_ZH = ["请", "请问", "你好，", "嗨，", "那么", "麻烦", "问一下，", "问题：", "帮忙，"]
BACK_ZH = ["，谢谢", "，谢谢！", "？", "。", "！", " ", "\n", "呢", "啊", "呀"]


def roughen(rng: random.Random, text: str, lang: str) -> str:
    """Politeness, case and punctuation as people type them. Never touches digits, quoted text or operators."""
    if rng.random() < 0.15:
        text = rng.choice(FRONT_EN if lang == "en" else FRONT_ZH) + text
    if rng.random() < 0.15:
        text = text + rng.choice(BACK_EN if lang == "en" else BACK_ZH)
    r = rng.random()
    if lang == "en":
        if r < 0.35 and text[:1].isalpha():
            text = text[0].upper() + text[1:]
        elif r < 0.39:
            text = text.upper()
        elif r < 0.44:
            text = text.lower()
    return text


def misspell(rng: random.Random, text: str) -> str:
    """One slip of the finger in a word of letters."""
    spots = [i for i in range(1, len(text) - 1) if text[i].isascii() and text[i].isalpha() and text[i + 1].isalpha() and text[i + 1].isascii()]
    if not spots:
        return text
    i = rng.choice(spots)
    kind = rng.random()
    if kind < 0.4:
        return text[:i] + text[i + 1] + text[i] + text[i + 2 :]
    if kind < 0.7:
        return text[:i] + text[i + 1 :]
    return text[:i] + text[i] + text[i:]


def ask(rng: random.Random, lang: str, body: str) -> str:
    return roughen(rng, rng.choice(ASK_EN if lang == "en" else ASK_ZH).format(body), lang)


def write_number(rng: random.Random, n: int) -> str:
    if abs(n) >= 1000 and rng.random() < 0.03:
        return f"{n:,}"
    return str(n)


def op_body(rng: random.Random, lang: str, op: str, a: int, b: int) -> str:
    table = OP_TEXT if lang == "en" or rng.random() < 0.4 else OP_TEXT_ZH
    sign = rng.choice(table[op])
    if lang == "zh" and table is OP_TEXT and sign.strip().isalpha() and len(sign.strip()) > 1:
        sign = op
    left, right = write_number(rng, a), write_number(rng, b)
    if b < 0 and rng.random() < 0.7:
        right = f"({right})"
    return left + sign + right


def op_wording(rng: random.Random, lang: str, op: str, a: int, b: int) -> str:
    """A question for a op b, sometimes in words that name the operation."""
    if rng.random() < 0.2 and a >= 0 and b >= 0:
        forms = {
            ("+", "en"): [f"add {a} and {b}", f"add {b} to {a}", f"the sum of {a} and {b}", f"what is the sum of {a} and {b}?", f"{a} and {b} together"],
            ("-", "en"): [f"subtract {b} from {a}", f"take {b} away from {a}", f"the difference between {a} and {b}" if a >= b else f"subtract {b} from {a}", f"{a} take away {b}"],
            ("*", "en"): [f"multiply {a} by {b}", f"multiply {a} and {b}", f"the product of {a} and {b}", f"what is the product of {a} and {b}?", f"{a} multiplied with {b}"],
            ("/", "en"): [f"divide {a} by {b}", f"how many times does {b} go into {a}?", f"{a} divided by {b} with remainder", f"{a}/{b} with remainder", f"the quotient of {a} and {b}", f"{a} over {b}"],
            ("+", "zh"): [f"{a}与{b}的和", f"{a}和{b}的和是多少", f"{a}跟{b}加起来是多少", f"求{a}与{b}之和", f"把{a}和{b}相加"],
            ("-", "zh"): [f"{a}与{b}的差" if a >= b else f"{a}减去{b}是多少", f"从{a}里减去{b}", f"{a}比{b}多多少" if a >= b else f"{a}减{b}"],
            ("*", "zh"): [f"{a}与{b}的积", f"{a}和{b}的乘积是多少", f"把{a}和{b}相乘", f"{b}个{a}是多少", f"求{a}与{b}的乘积"],
            ("/", "zh"): [f"{a}除以{b}，商和余数是多少", f"{a}除以{b}余多少", f"求{a}除以{b}的商和余数", f"{a}÷{b}商几余几", f"{a}里面有几个{b}"],
        }
        return roughen(rng, rng.choice(forms[op, lang]), lang)
    return ask(rng, lang, op_body(rng, lang, op, a, b))


# Arithmetic ----------------------------------------------------------------------------------------------------------


def plain(op: str, a: int, b: int) -> str:
    """`a op b` as the thought and the answer write it, negative second numbers in brackets."""
    return f"{a}{SHOWN[op]}" + (f"({b})" if b < 0 else f"{b}")


def spaced(op: str, a: int, b: int) -> str:
    return f"{a} {SHOWN[op]} " + (f"({b})" if b < 0 else f"{b}")


def is_easy(op: str, a: int, b: int) -> bool:
    """Small enough to answer without a scratchpad."""
    if op in "+-":
        return 0 <= a < 100 and 0 <= b < 100
    if op == "*":
        return 0 <= a <= 12 and 0 <= b <= 12
    return 0 <= a <= 100 and 0 < b <= 10


def cut_text(lang: str) -> str:
    return talk.CUT_EN if lang == "en" else talk.CUT_ZH


def arithmetic(rng: random.Random, op: str, held: bool, negative: bool = False, digits_max: int = 4) -> Sample:
    while True:
        a, b = number(rng, digits_max), number(rng, digits_max)
        if op == "/" and rng.random() < 0.7 and a < b:
            a, b = b, a
        if op == "-" and rng.random() < 0.5 and a < b:
            a, b = b, a
        if op == "/" and rng.random() < 0.25 and b:
            a = b * rng.randint(1, max(1, 9999 // b))
        if op == "/" and b == 0:
            continue
        if not held:  # more of what is hard: remainders next to 0 or to the divisor, differences next to 0
            if op == "/" and b > 1 and rng.random() < 0.3 and b < 5000:
                q = rng.randint(1, 9999 // b)
                a = max(0, min(9999, b * q + rng.choice([-3, -2, -1, -1, 0, 1, 2])))
                if rng.random() < 0.5 and a < 1000:
                    a = a * 10 + rng.randint(0, 9)
            if op == "-" and rng.random() < 0.15:
                b = max(0, min(9999, a + rng.randint(-30, 30)))
        if negative:
            if rng.random() < 0.75:
                a = -a
            if rng.random() < 0.6 or a >= 0:
                b = -b
        # One-digit facts are too few to hold any out.
        held_out = is_held_out(f"{op} {a} {b}") if max(abs(a), abs(b)) >= 10 else False
        if held_out == held:
            break
    lang = pick_lang(rng)
    user = op_wording(rng, lang, op, a, b)
    return solve(lang_of(user), op, a, b, user)


TASK_OF_OP = {"+": "add", "-": "sub", "*": "mul", "/": "div"}


def solve(lang: str, op: str, a: int, b: int, user: str) -> Sample:
    if op == "/":
        lines, (q, r) = arith.divide(a, b)
        remainder = "" if r == 0 else f" remainder {r}" if lang == "en" else f" 余 {r}"
        answer = f"{spaced(op, a, b)} = {q}{remainder}"
        expect = {"type": "regex", "pattern": f"= {q}" + (f" (remainder|余) {r}" if r else "") + r"[^0-9]*$"}
    else:
        lines, value = arith.signed(op, a, b)
        answer = f"{spaced(op, a, b)} = {value}"
        expect = final_number(value)
    if lines[0] != plain(op, a, b) and not lines[0].startswith(plain(op, a, b) + "="):
        lines = [plain(op, a, b)] + lines
    return Sample(TASK_OF_OP[op], lang, user, "\n".join(lines), answer, expect,
                  cut_answer=answer if is_easy(op, a, b) else cut_text(lang))


def number_words(rng: random.Random, held: bool) -> Sample:
    op = rng.choice("+-*")
    a, b = rng.randint(0, 20), rng.randint(0, 20)
    if op == "*":
        a, b = rng.randint(0, 12), rng.randint(0, 12)
    lang = pick_lang(rng)
    if lang == "en":
        sign = {"+": "plus", "-": "minus", "*": "times"}[op]
        body = f"{words.NUMBER_WORDS_EN[a]} {sign} {words.NUMBER_WORDS_EN[b]}"
    else:
        sign = {"+": "加", "-": "减", "*": "乘以"}[op]
        body = f"{words.NUMBER_WORDS_ZH[a]}{sign}{words.NUMBER_WORDS_ZH[b]}"
    return solve(lang, op, a, b, ask(rng, lang, body))


def expression(rng: random.Random, held: bool) -> Sample:
    while True:
        n = [number(rng, 2) for _ in range(3)]
        ops = [rng.choice("+-*"), rng.choice("+-*")]
        if ops == ["*", "*"]:
            n[2] = number(rng, 1)
        r = rng.random()
        if r < 0.6:
            tokens: list = [n[0], ops[0], n[1], ops[1], n[2]]
        elif r < 0.8:
            tokens = [[n[0], ops[0], n[1]], ops[1], n[2]]
        else:
            tokens = [n[0], ops[0], [n[1], ops[1], n[2]]]
        flat = "".join(f"({p[0]}{p[1]}{p[2]})" if isinstance(p, list) else str(p) for p in tokens)
        if is_held_out("expr " + flat) == held:
            break
    lang = pick_lang(rng)
    shown = flat.replace("*", "×")
    body = flat if rng.random() < 0.5 else shown if rng.random() < 0.5 else re.sub(r"([+\-*])", r" \1 ", flat)
    lines, value = arith.expression(tokens)
    user = ask(rng, lang, body)
    lang = lang_of(user)
    return Sample("expr", lang, user, "\n".join([shown] + lines), f"{shown} = {value}", final_number(value),
                  cut_answer=cut_text(lang))


def too_big(rng: random.Random, held: bool) -> Sample:
    lang = pick_lang(rng)
    a, b = number(rng, 9, 5), number(rng, 7)
    if rng.random() < 0.5:
        a, b = b, a
    user = op_wording(rng, lang, rng.choice("+-*/"), a, b)
    lang = lang_of(user)
    think, answer = talk.TOO_BIG_EN if lang == "en" else talk.TOO_BIG_ZH
    return Sample("too_big", lang, user, think, answer, contains(answer[:40]))


def divide_by_zero(rng: random.Random, held: bool) -> Sample:
    lang = pick_lang(rng)
    user = ask(rng, lang, op_body(rng, lang, "/", number(rng), 0))
    lang = lang_of(user)
    think, answer = talk.DIV_ZERO_EN if lang == "en" else talk.DIV_ZERO_ZH
    return Sample("div_zero", lang, user, think, answer, contains(answer))


# Letters -------------------------------------------------------------------------------------------------------------


def make_word(rng: random.Random) -> str:
    r = rng.random()
    if r < 0.4:
        return rng.choice(words.WORDS)
    if r < 0.55:
        alphabet = "abcdefghijklmnopqrstuvwxyz" if rng.random() < 0.5 else rng.choice(["aeiourst", "abcd", "mispn", "ranber", "esl"])
        return "".join(rng.choice(alphabet) for _ in range(rng.randint(2, 11)))
    if r < 0.65:
        return (rng.choice(words.WORDS) + rng.choice(words.WORDS))[:18]
    if r < 0.72:
        w = rng.choice(words.WORDS)
        return w + rng.choice(["s", "ing", "ed", "er", "ly", "ness", "less", "ful"])
    out = ""
    for _ in range(rng.randint(1, 4)):
        out += rng.choice(words.ONSETS) * (rng.random() < 0.85) + rng.choice(words.VOWELS) + rng.choice(words.CODAS)
    return out[:16]


COUNT_EN = ["how many {l} in {w}", "how many {l}'s in {w}", "how many {l}s are in {w}?", "how many {l}s in {w}?", "how many {l}'s are there in {w}?",
            "how many times does {l} appear in {w}?", "count the {l}s in {w}", "count the letter {l} in {w}", "count {l} in {w}",
            "how many letters {l} does {w} have?", "how often does {l} occur in {w}", "number of {l} in {w}", "how many {l} are there in {w}",
            "how many times is the letter {l} in the word {w}?", "in {w}, how many {l}?", "how many letter {l} in {w}",
            "how many {l}'s does the word {w} contain?", "in the word {w}, how many times does {l} occur?", "how many {l}'s {w}",
            "tell me how many {l} are in {w}", "{w}: how many {l}?", "how many occurrences of {l} in {w}?", "can you count the {l}'s in {w}?",
            "what is the number of {l}s in {w}", "how many of the letter {l} are in {w}?", "does {w} have {l}? how many?",
            "how many {l} in the word {w}?", "how many {l} does {w} have"]
COUNT_ZH = ["{w}里有几个{l}", "{w}里有几个{l}？", "{w}有几个{l}", "{w}中有多少个{l}", "{w}这个单词里有几个{l}", "单词{w}中字母{l}出现了几次",
            "数一数{w}里有几个{l}", "{l}在{w}里出现几次", "{w}里面有多少个字母{l}？", "请数一下{w}中的{l}", "{w} 里有几个 {l}", "{w} 里面有几个 {l}？",
            "单词 {w} 里有多少个 {l}", "{w}一共有几个{l}", "{w}中有几个字母{l}", "{w}这个词有多少个{l}？", "字母{l}在单词{w}中出现多少次", "{w}含有几个{l}",
            "{w}里几个{l}", "在{w}里，{l}有几个？"]


def quote(rng: random.Random, w: str, p: float) -> str:
    if rng.random() < p:
        q = rng.choice(["\"{}\"", "'{}'", "\"{}\"", "“{}”", "`{}`"])
        return q.format(w)
    return w


def count_letters(rng: random.Random, held: bool) -> Sample:
    while True:
        word = make_word(rng)
        letter = rng.choice(word) if rng.random() < 0.85 else rng.choice("abcdefghijklmnopqrstuvwxyz")
        if rng.random() < 0.3:
            doubled = [c for c in word if word.count(c) > 1]
            letter = rng.choice(doubled) if doubled else letter
        if is_held_out("word " + word) == held:
            break
    lang = pick_lang(rng)
    shown = word
    r = rng.random()
    if r < 0.12:
        shown = word.capitalize()
    elif r < 0.16:
        shown = word.upper()
    asked = letter.upper() if rng.random() < 0.2 else letter
    if lang == "en":
        user = rng.choice(COUNT_EN).format(w=quote(rng, shown, 0.3), l=quote(rng, asked, 0.15))
    else:
        user = rng.choice(COUNT_ZH).format(w=quote(rng, shown, 0.25), l=quote(rng, asked, 0.15))
    if rng.random() < 0.3:
        rough = roughen(rng, user, lang)
        user = rough if shown in rough else user
    lines, hits = arith.count_letter(word, letter)
    think = f"{letter}: {word}\n" + lines[0] + f"\n{hits}"
    if lang == "en":
        answer = f"\"{letter}\" appears in \"{word}\" {hits} time" + ("" if hits == 1 else "s") + "."
    else:
        answer = f"“{word}”里有 {hits} 个“{letter}”。"
    return Sample("count", lang, user, think, answer,
                  {"type": "regex", "pattern": rf"(^|[^0-9]){hits}( times?\.| 个)"}, cut_answer=cut_text(lang))


def spelling(rng: random.Random, held: bool) -> Sample:
    while True:
        word = make_word(rng)
        if is_held_out("word " + word) == held:
            break
    lang = pick_lang(rng)
    w = quote(rng, word, 0.3)
    if rng.random() < 0.5:
        user = rng.choice([f"spell {w}", f"how do you spell {w}?", f"spell the word {w}", f"spell out {w}", f"can you spell {w}"] if lang == "en"
                          else [f"拼写{w}", f"{w}怎么拼写", f"请拼出{w}", f"把{w}逐个字母拼出来"])
        answer = "-".join(word)
        return Sample("spell", lang, user, f"{word}\n{arith.spell(word)[0]}", answer, contains(answer), cut_answer=None if len(word) < 5 else cut_text(lang))
    user = rng.choice([f"how many letters are in {w}", f"how many letters does {w} have?", f"how long is the word {w}?", f"count the letters in {w}", f"how many letters in {w}"] if lang == "en"
                      else [f"{w}有几个字母", f"{w}有多少个字母？", f"单词{w}有几个字母", f"{w}一共多少个字母"])
    answer = f"\"{word}\" has {len(word)} letter{'s' if len(word) != 1 else ''}." if lang == "en" else f"“{word}”有 {len(word)} 个字母。"
    return Sample("length", lang, user, f"{word}\n{arith.spell(word)[0]}\n{len(word)}", answer,
                  {"type": "regex", "pattern": rf"(^|[^0-9]){len(word)}( letters?\.| 个)"}, cut_answer=cut_text(lang))


# Lists ---------------------------------------------------------------------------------------------------------------

SORT_EN = ["sort {}", "sort {}", "please sort {}", "sort these numbers: {}", "sort the list {}", "order {}", "put {} in order", "arrange {}",
           "sort the numbers {}", "can you sort {}?", "sort this list: {}", "put these numbers in order: {}", "order these: {}", "sort: {}",
           "arrange these numbers: {}", "{} sorted", "sort the following numbers: {}", "{} - sort them"]
UP_EN = ["", "", "", " in ascending order", " from smallest to largest", " ascending", " from low to high", " in increasing order", " from small to big"]
DOWN_EN = [" in descending order", " from largest to smallest", " descending", " from high to low", " in decreasing order", " from big to small", " in reverse order", " backwards"]
SORT_ZH = ["把{}{}排序", "将{}{}排序", "请把{}{}排列", "{}{}排序", "给{}{}排序", "请将{}{}排列", "帮我把{}{}排序", "对{}{}排序", "排序{}{}", "把这些数{}{}排序", "把数字{}{}排一下"]
UP_ZH = ["", "", "", "从小到大", "按升序", "由小到大", "从小到大地"]
DOWN_ZH = ["从大到小", "按降序", "由大到小", "降序"]


def sorting(rng: random.Random, held: bool) -> Sample:
    while True:
        n = rng.randint(2, 8)
        digits = rng.choice([1, 2, 2, 3, 3, 4])
        values = [number(rng, digits) for _ in range(n)]
        if rng.random() < 0.2:
            values = [-v if rng.random() < 0.4 else v for v in values]
        for _ in range(rng.choice([0, 0, 0, 0, 0, 0, 1, 1, 2]) if n > 2 else 0):
            values[rng.randrange(n)] = values[rng.randrange(n)]
        if (n > 2 and is_held_out("sort " + " ".join(map(str, values)))) == held:
            break
    down = rng.random() < 0.35
    lang = pick_lang(rng)
    sep = rng.choice([", ", ", ", ",", " ", "，", "、"] if lang == "zh" else [", ", ", ", ", ", ",", " ", "; "])
    body = sep.join(map(str, values))
    if rng.random() < 0.15:
        body = f"[{', '.join(map(str, values))}]"
    if lang == "en":
        if len(values) > 2 and rng.random() < 0.15:
            body = ", ".join(map(str, values[:-1])) + f" and {values[-1]}"
        user = rng.choice(SORT_EN).format(body) + rng.choice(DOWN_EN if down else UP_EN)
    else:
        user = rng.choice(SORT_ZH).format(body, rng.choice(DOWN_ZH if down else UP_ZH))
    user = roughen(rng, user, lang)
    lines, out = arith.sort_numbers(values, down)
    answer = ", ".join(map(str, out))
    return Sample("sort", lang, user, "\n".join(lines), answer,
                  {"type": "regex", "pattern": r"(^|[^0-9\-])" + answer + r"[^0-9]*$"}, cut_answer=answer if n <= 3 else cut_text(lang))


def extreme(rng: random.Random, held: bool) -> Sample:
    while True:
        values = [number(rng, rng.choice([1, 2, 3, 4])) for _ in range(rng.randint(3, 7))]
        if is_held_out("extreme " + " ".join(map(str, values))) == held:
            break
    big = rng.random() < 0.5
    lang = pick_lang(rng)
    body = rng.choice([", ", ", ", " ", ","]).join(map(str, values))
    if lang == "en":
        w = rng.choice(["largest", "biggest", "max", "maximum", "greatest"] if big else ["smallest", "min", "minimum", "lowest"])
        user = rng.choice([f"{w} of {body}", f"what is the {w} of {body}?", f"find the {w} number in {body}", f"which is the {w}: {body}?", f"the {w} number: {body}"])
    else:
        w = rng.choice(["最大", "最大"] if big else ["最小"])
        user = rng.choice([f"{body}中{w}的数是哪个", f"{body}里{w}的是多少", f"找出{body}中{w}的数", f"{body}哪个{w}"])
    v = max(values) if big else min(values)
    lines, best = [], values[0]
    for x in values[1:]:
        better = x > best if big else x < best
        lines.append(f"{best} {x}: {x if better else best}")
        best = x if better else best
    return Sample("extreme", lang, roughen(rng, user, lang), "\n".join(lines), str(v), final_number(v), cut_answer=None)


def comparing(rng: random.Random, held: bool) -> Sample:
    def one(decimals: bool) -> str:
        whole = str(number(rng, rng.choice([1, 1, 2] if decimals else [2, 3, 4])))
        return whole + ("." + "".join(rng.choice("0123456789") for _ in range(rng.randint(1, 3))) if decimals and rng.random() < 0.9 else "")

    while True:
        decimals = rng.random() < 0.55
        a = one(decimals)
        b = one(decimals)
        if rng.random() < 0.5:  # close ones
            b = a.partition(".")[0] + ("." + "".join(rng.choice("0123456789") for _ in range(rng.randint(1, 3))) if decimals else "")
            if not decimals:
                i = rng.randrange(len(b))
                b = b[:i] + rng.choice("123456789") + b[i + 1 :]
        if is_held_out(f"cmp {a} {b}") == held:
            break
    lang = pick_lang(rng)
    big = rng.random() < 0.75
    if lang == "en":
        w = rng.choice(["bigger", "larger", "greater"] if big else ["smaller", "less"])
        user = rng.choice([f"which is {w}, {a} or {b}?", f"which is {w}: {a} or {b}", f"{a} or {b}, which is {w}?", f"what is {w}, {a} or {b}",
                           f"which number is {w}, {a} or {b}?", f"{a} vs {b}, which is {w}", f"compare {a} and {b}: which is {w}?", f"is {a} or {b} {w}?"])
    else:
        w = "大" if big else "小"
        user = rng.choice([f"{a}和{b}哪个{w}", f"{a}和{b}哪个更{w}？", f"{a}与{b}谁{w}", f"{a}和{b}相比哪个更{w}", f"比较{a}和{b}，哪个{w}？", f"{a} 和 {b} 哪个{w}？"])
    lines, sign = arith.compare(a, b)
    if sign == "=":
        answer = f"{a} and {b} are equal." if lang == "en" else f"{a}和{b}一样大。"
        expect = {"type": "regex", "pattern": "equal|一样大"}
    else:
        first = (sign == ">") == big
        x, y = (a, b) if first else (b, a)
        answer = f"{x} is {'larger' if big else 'smaller'} than {y}." if lang == "en" else f"{x}比{y}{'大' if big else '小'}。"
        expect = {"type": "regex", "pattern": "^" + re.escape(x) + " ?(is|比)"}
    return Sample("compare", lang, roughen(rng, user, lang), "\n".join([f"{a} {b}"] + lines), answer, expect, cut_answer=cut_text(lang))


def parity(rng: random.Random, held: bool) -> Sample:
    while True:
        n = number(rng)
        if n < 10 or is_held_out(f"parity {n}") == held:
            break
    lang = pick_lang(rng)
    user = rng.choice([f"is {n} even or odd?", f"is {n} even", f"is {n} odd?", f"is {n} an even number?", f"{n}: odd or even?"] if lang == "en"
                      else [f"{n}是奇数还是偶数", f"{n}是偶数吗", f"{n}是奇数吗？", f"{n}是单数还是双数"])
    even = n % 2 == 0
    answer = f"{n} is {'even' if even else 'odd'}." if lang == "en" else f"{n}是{'偶数' if even else '奇数'}。"
    return Sample("parity", lang, roughen(rng, user, lang), f"{n}: {n % 10}", answer, contains(answer))

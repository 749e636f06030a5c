"""Simple word problems, English and Chinese, of one or two steps."""

from __future__ import annotations

import random

import arith
import words
from tasks import Sample, SHOWN, cut_text, final_number, is_held_out, pick_lang, roughen


def draw(rng: random.Random, kind: str) -> tuple[int, ...]:
    """Numbers that make sense for a kind of story (nothing below zero, results of at most 4 digits)."""
    top = rng.choice([10, 30, 100, 500, 1000])
    if kind == "a+b":
        return rng.randint(1, top), rng.randint(1, top)
    if kind == "a-b":
        a = rng.randint(2, top)
        return a, rng.randint(1, a)
    if kind == "a*b":
        return rng.randint(2, min(top, 200)), rng.randint(2, min(top, 40))
    if kind == "a/b":
        b = rng.randint(2, 25)
        return b * rng.randint(1, min(top, 300)), b
    if kind == "a%b":
        b = rng.randint(2, 25)
        return rng.randint(b + 1, max(b + 2, top)), b
    if kind == "a+b-c":
        a, b = rng.randint(1, top), rng.randint(1, top)
        return a, b, rng.randint(1, a + b)
    if kind == "a-b+c":
        a = rng.randint(2, top)
        return a, rng.randint(1, a), rng.randint(1, top)
    if kind == "a+b+c":
        return rng.randint(1, top), rng.randint(1, top), rng.randint(1, top)
    if kind == "c-a*b":
        a, b = rng.randint(2, 20), rng.randint(2, 20)
        return a, b, a * b + rng.randint(0, 100)
    if kind == "a*b+c":
        return rng.randint(2, 30), rng.randint(2, 20), rng.randint(1, 100)
    raise ValueError(kind)


# kind, statement, questions, unit. {N} {M} people, {I} things, {J} one thing; Chinese {I} is a noun, {m} its measure word.
STORIES_EN = [
    ("a+b", "{N} has {a} {I} and buys {b} more.", ["How many {I} does {N} have now?", "How many {I} are there in total?"], "{I}"),
    ("a+b", "{N} has {a} {I}. {M} gives {N} {b} more.", ["How many {I} does {N} have now?", "How many {I} does {N} have?"], "{I}"),
    ("a+b", "There are {a} {I} in one box and {b} {I} in another.", ["How many {I} are there altogether?", "How many {I} in total?"], "{I}"),
    ("a+b", "{N} found {a} {I} in the morning and {b} in the afternoon.", ["How many {I} did {N} find?", "How many {I} altogether?"], "{I}"),
    ("a+b", "{N} is {a} years old. {M} is {b} years older.", ["How old is {M}?"], "years"),
    ("a+b", "{N} gave away {b} {I} and has {a} left.", ["How many {I} did {N} have at first?", "How many did {N} have before?"], "{I}"),
    ("a+b", "{N} has {a} {I} and {M} has {b}.", ["How many {I} do they have together?", "How many {I} do they have in total?"], "{I}"),
    ("a-b", "{N} has {a} {I} and gives {b} to {M}.", ["How many {I} are left?", "How many {I} does {N} have left?", "How many {I} does {N} still have?"], "{I}"),
    ("a-b", "{N} had {a} {I} and lost {b}.", ["How many {I} are left?", "How many does {N} have now?"], "{I}"),
    ("a-b", "There were {a} {I} in the shop and {b} were sold.", ["How many {I} are left?", "How many {I} remain?"], "{I}"),
    ("a-b", "{N} has {a} {I}, {M} has {b}.", ["How many more {I} does {N} have than {M}?", "How many fewer {I} does {M} have?"], "{I}"),
    ("a-b", "A book has {a} pages and {N} has read {b}.", ["How many pages are left?", "How many pages are left to read?"], "pages"),
    ("a-b", "A bus has {a} passengers and {b} get off.", ["How many passengers are left?", "How many passengers are still on the bus?"], "passengers"),
    ("a-b", "{N} ate {b} of {a} {I}.", ["How many {I} are left?"], "{I}"),
    ("a*b", "There are {b} boxes with {a} {I} each.", ["How many {I} are there in total?", "How many {I} are there?"], "{I}"),
    ("a*b", "A {J} costs {a} dollars.", ["How much do {b} {I} cost?", "What do {b} {I} cost?"], "dollars"),
    ("a*b", "{N} buys {b} {I} at {a} dollars each.", ["How much does {N} pay?", "How many dollars does {N} pay?"], "dollars"),
    ("a*b", "A train goes {a} kilometers an hour.", ["How far does it go in {b} hours?", "How many kilometers does it go in {b} hours?"], "kilometers"),
    ("a*b", "{N} reads {a} pages a day.", ["How many pages does {N} read in {b} days?"], "pages"),
    ("a*b", "A rectangle is {a} cm long and {b} cm wide.", ["What is its area?", "What is the area of the rectangle?"], "square cm"),
    ("a*b", "There are {b} rows of chairs with {a} chairs in each row.", ["How many chairs are there?"], "chairs"),
    ("a/b", "{N} shares {a} {I} equally among {b} friends.", ["How many {I} does each friend get?", "How many does each get?"], "{I}"),
    ("a/b", "{a} {I} are packed into {b} boxes equally.", ["How many {I} are in each box?"], "{I}"),
    ("a/b", "{N} reads {b} pages a day. The book has {a} pages.", ["How many days does {N} need?"], "days"),
    ("a/b", "{b} {I} cost {a} dollars.", ["How much does one {J} cost?", "What does one {J} cost?"], "dollars"),
    ("a%b", "{N} shares {a} {I} among {b} friends equally.", ["How many does each get and how many are left over?", "How many {I} does each friend get, and how many are left?"], "{I}"),
    ("a%b", "{a} {I} are packed into boxes of {b}.", ["How many boxes are full and how many {I} are left over?"], "boxes"),
    ("a+b-c", "{N} has {a} {I}, buys {b} more and gives {c} away.", ["How many {I} are left?", "How many {I} does {N} have now?"], "{I}"),
    ("a+b-c", "{N} had {a} {I}, got {b} from {M}, then lost {c}.", ["How many {I} does {N} have now?"], "{I}"),
    ("a-b+c", "A bus has {a} passengers. {b} get off and {c} get on.", ["How many passengers are on the bus now?", "How many passengers are there now?"], "passengers"),
    ("a-b+c", "{N} has {a} {I}, eats {b} and buys {c} more.", ["How many {I} does {N} have now?"], "{I}"),
    ("a+b+c", "{N} has {a} {I}, {M} has {b} and {K} has {c}.", ["How many {I} do they have together?", "How many {I} in total?"], "{I}"),
    ("c-a*b", "{N} buys {b} {I} at {a} dollars each and pays with {c} dollars.", ["How much change does {N} get?", "How much money is left?"], "dollars"),
    ("c-a*b", "{N} has {c} {I} and fills {b} bags with {a} {I} each.", ["How many {I} are left?"], "{I}"),
    ("a*b+c", "{N} has {b} boxes with {a} {I} each and {c} more {I}.", ["How many {I} does {N} have?", "How many {I} are there in total?"], "{I}"),
]
STORIES_ZH = [
    ("a+b", "{N}有{a}{m}{I}，又买了{b}{m}。", ["{N}现在有多少{m}{I}？", "一共有几{m}{I}？", "现在有多少{m}？"], "{m}{I}"),
    ("a+b", "{N}有{a}{m}{I}，{M}又给了{b}{m}。", ["{N}现在有多少{m}{I}？", "{N}现在有几{m}{I}？"], "{m}{I}"),
    ("a+b", "一个盒子里有{a}{m}{I}，另一个盒子里有{b}{m}。", ["一共有多少{m}{I}？", "两个盒子共有多少{m}{I}？"], "{m}{I}"),
    ("a+b", "{N}今年{a}岁，{M}比{N}大{b}岁。", ["{M}几岁？", "{M}今年多少岁？"], "岁"),
    ("a+b", "{N}送出{b}{m}{I}后还剩{a}{m}。", ["{N}原来有多少{m}{I}？", "原来有几{m}？"], "{m}{I}"),
    ("a+b", "{N}有{a}{m}{I}，{M}有{b}{m}{I}。", ["他们一共有多少{m}{I}？", "两人共有几{m}{I}？"], "{m}{I}"),
    ("a-b", "{N}有{a}{m}{I}，给了{M}{b}{m}。", ["还剩多少{m}{I}？", "{N}还剩几{m}{I}？", "还剩几{m}？"], "{m}{I}"),
    ("a-b", "{N}有{a}{m}{I}，吃掉了{b}{m}。", ["还剩多少{m}？", "还剩几{m}{I}？"], "{m}{I}"),
    ("a-b", "商店里有{a}{m}{I}，卖出{b}{m}。", ["还剩多少{m}{I}？", "剩下几{m}？"], "{m}{I}"),
    ("a-b", "{N}有{a}{m}{I}，{M}有{b}{m}。", ["{N}比{M}多几{m}{I}？", "{M}比{N}少多少{m}？"], "{m}{I}"),
    ("a-b", "一本书有{a}页，{N}已经看了{b}页。", ["还剩多少页？", "还有几页没看？"], "页"),
    ("a-b", "车上有{a}人，下去了{b}人。", ["车上还有多少人？", "还剩几人？"], "人"),
    ("a*b", "有{b}个盒子，每个盒子里有{a}{m}{I}。", ["一共有多少{m}{I}？", "共有几{m}{I}？"], "{m}{I}"),
    ("a*b", "一{m}{I}{a}元。", ["{b}{m}{I}多少元？", "买{b}{m}要多少元？"], "元"),
    ("a*b", "{N}买了{b}{m}{I}，每{m}{a}元。", ["一共要付多少元？", "一共多少钱？"], "元"),
    ("a*b", "火车每小时行{a}公里。", ["{b}小时行多少公里？", "{b}小时能走多远？"], "公里"),
    ("a*b", "{N}每天读{a}页书。", ["{b}天读多少页？", "{b}天一共读几页？"], "页"),
    ("a*b", "长方形长{a}厘米，宽{b}厘米。", ["面积是多少平方厘米？", "它的面积是多少？"], "平方厘米"),
    ("a*b", "教室里有{b}排椅子，每排{a}把。", ["一共有多少把椅子？"], "把椅子"),
    ("a/b", "{N}把{a}{m}{I}平均分给{b}个朋友。", ["每人分到几{m}？", "每个朋友得到多少{m}{I}？"], "{m}{I}"),
    ("a/b", "{a}{m}{I}平均装进{b}个盒子。", ["每个盒子有多少{m}{I}？", "每盒几{m}？"], "{m}{I}"),
    ("a/b", "{b}{m}{I}一共{a}元。", ["一{m}{I}多少元？", "每{m}多少元？"], "元"),
    ("a/b", "一本书{a}页，{N}每天看{b}页。", ["几天看完？", "要看多少天？"], "天"),
    ("a%b", "{N}把{a}{m}{I}平均分给{b}个朋友。", ["每人分到几{m}，还剩几{m}？", "每个朋友得到几{m}，剩下几{m}？"], "{m}"),
    ("a+b-c", "{N}有{a}{m}{I}，又买了{b}{m}，送出{c}{m}。", ["还剩多少{m}{I}？", "{N}现在有几{m}{I}？"], "{m}{I}"),
    ("a-b+c", "车上有{a}人，下去{b}人，又上来{c}人。", ["现在车上有多少人？", "车上现在有几人？"], "人"),
    ("a-b+c", "{N}有{a}{m}{I}，用掉{b}{m}，又买了{c}{m}。", ["现在有多少{m}{I}？", "现在有几{m}？"], "{m}{I}"),
    ("a+b+c", "{N}有{a}{m}{I}，{M}有{b}{m}，{K}有{c}{m}。", ["三人一共有多少{m}{I}？", "他们共有几{m}？"], "{m}{I}"),
    ("c-a*b", "{N}买了{b}{m}{I}，每{m}{a}元，付了{c}元。", ["应找回多少元？", "找回多少钱？", "还剩多少元？"], "元"),
    ("a*b+c", "{N}有{b}盒{I}，每盒{a}{m}，另外还有{c}{m}。", ["{N}一共有多少{m}{I}？", "一共有几{m}？"], "{m}{I}"),
]


def make(rng: random.Random, held: bool) -> tuple[str, str, str, dict, str]:
    """lang, text, kind, numbers, unit"""
    lang = pick_lang(rng)
    stories = STORIES_EN if lang == "en" else STORIES_ZH
    while True:
        kind, statement, questions, unit = rng.choice(stories)
        n = draw(rng, kind)
        if is_held_out(f"story {kind} " + " ".join(map(str, n))) == held:
            break
    if lang == "en":
        people = rng.sample(words.NAMES_EN, 3)
        many, one = rng.choice(words.ITEMS_EN)
        fill = {"I": many, "J": one}
    else:
        people = rng.sample(words.NAMES_ZH, 3)
        measure, noun = rng.choice(words.ITEMS_ZH)
        fill = {"I": noun, "m": measure}
    fill |= {"N": people[0], "M": people[1], "K": people[2]}
    values = dict(zip("abc", n))
    text = (statement + (" " if lang == "en" else "") + rng.choice(questions)).format(**fill, **values)
    return lang, text, kind, values, unit.format(**fill)


def steps(kind: str, v: dict) -> list[tuple[str, int, int]]:
    a, b, c = v["a"], v["b"], v.get("c", 0)
    return {
        "a+b": [("+", a, b)], "a-b": [("-", a, b)], "a*b": [("*", a, b)], "a/b": [("/", a, b)], "a%b": [("/", a, b)],
        "a+b-c": [("+", a, b), ("-", a + b, c)], "a-b+c": [("-", a, b), ("+", a - b, c)],
        "a+b+c": [("+", a, b), ("+", a + b, c)], "c-a*b": [("*", a, b), ("-", c, a * b)], "a*b+c": [("*", a, b), ("+", a * b, c)],
    }[kind]


def calculator_expression(kind: str, v: dict) -> str:
    return {"a%b": "a/b"}.get(kind, kind).replace("a", str(v["a"])).replace("b", str(v["b"])).replace("c", str(v.get("c", "")))


def story(rng: random.Random, held: bool) -> Sample:
    lang, text, kind, v, unit = make(rng, held)
    lines: list[str] = []
    for op, x, y in steps(kind, v):
        work, value = arith.divide(x, y) if op == "/" else arith.signed(op, x, y)
        head = f"{x}{SHOWN[op]}{y}"
        lines += work if work[0].startswith(head + "=") else [head] + work
    if kind == "a%b":
        q, r = value
        if lang == "en":
            answer = f"{q} each, {r} left over." if unit != "boxes" else f"{q} full boxes, {r} left over."
        else:
            answer = f"每人{q}{unit}，还剩{r}{unit}。"
        expect = {"type": "regex", "pattern": rf"(^|[^0-9]){q}[^0-9]+{r}[^0-9]*$"}
    else:
        value = value[0] if kind == "a/b" else value
        answer = f"The answer is {value} {unit}." if lang == "en" else f"答案是{value}{unit}。"
        expect = final_number(value)
    if rng.random() < 0.25:
        text = roughen(rng, text, lang)
    return Sample("story", lang, text, "\n".join(lines), answer, expect, cut_answer=cut_text(lang))

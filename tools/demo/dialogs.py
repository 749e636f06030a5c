"""Talk, declining, tools, and conversations of several turns."""

from __future__ import annotations

import json
import random

import stories
import talk
import tasks
import wordings
import words
from tasks import Sample, contains, pick_lang

# Talk ----------------------------------------------------------------------------------------------------------------


def split_wordings(items: list[str], held: bool, k: int = 2) -> list[str]:
    """The last k wordings of a list are never trained on."""
    return items[-k:] if held else items[:-k]


HELD_OUT_WORDINGS = {wordings.bare(q) for t in talk.TOPICS.values() for qs in (t[0], t[3]) for q in split_wordings(qs, True)}
SUBJECT_WORDS = [w for w in words.WORDS if w != "galley"]


def other_subject(rng: random.Random, lang: str, held: bool) -> str:
    """Something to be asked about that is not Galley and not the model."""
    listed = split_wordings(talk.SUBJECTS_EN if lang == "en" else talk.SUBJECTS_ZH, held, 6)
    if held or rng.random() < 0.35:
        return rng.choice(listed)
    if lang == "en":
        a, b = rng.choice(SUBJECT_WORDS), rng.choice(SUBJECT_WORDS)
        return rng.choice([a, a, f"the {a}", f"{a}s", f"{a} and {b}", f"the {a} of {b}", f"a {a}", f"my {a}", f"{a} {b}", f"{a} in {b}", f"the best {a}", f"{b} for {a}"])
    a, b = rng.choice(listed), rng.choice(listed)
    letters = "".join(listed)
    free = "".join(rng.choice(letters) for _ in range(rng.randint(1, 4)))
    return rng.choice([a, f"{a}和{b}", f"{a}的{b}", f"{a}{b}", free, free, f"{free}的{a}", f"{a}与{free}"])


def talking(rng: random.Random, held: bool) -> Sample:
    topic = rng.choice(list(talk.TOPICS))
    en_q, en_t, en_a, zh_q, zh_t, zh_a = talk.TOPICS[topic]
    lang = pick_lang(rng)
    question = rng.choice(split_wordings(en_q if lang == "en" else zh_q, held))
    if not held and rng.random() < 0.65:
        question = wordings.compose(rng, topic, lang)
        while wordings.bare(question) in HELD_OUT_WORDINGS:
            question = wordings.compose(rng, topic, lang)
    r = rng.random()
    if r < 0.5:
        question = tasks.roughen(rng, question, lang)
    if not held and rng.random() < 0.12:
        question = tasks.misspell(rng, question)
    lang = tasks.lang_of(question)
    answers = en_a if lang == "en" else zh_a
    return Sample("talk", lang, question, en_t if lang == "en" else zh_t, answers[0],
                  contains(answers[0][:24]) | {"topic": topic})


def declining(rng: random.Random, held: bool) -> Sample:
    lang = pick_lang(rng)
    if lang == "en":
        frames, other = talk.FRAMES_EN, talk.OTHER_EN
    else:
        frames, other = talk.FRAMES_ZH, talk.OTHER_ZH
    r = rng.random()
    if r < 0.5:
        question = rng.choice(split_wordings(frames, held, 3)).format(other_subject(rng, lang, held), other_subject(rng, lang, held))
    elif r < 0.85 or held:
        question = rng.choice(split_wordings(other, held, 6))
    elif r < 0.93:
        vocabulary = " ".join(talk.SUBJECTS_EN + talk.OTHER_EN).split() if lang == "en" else list("".join(talk.SUBJECTS_ZH + talk.OTHER_ZH))
        question = (" " if lang == "en" else "").join(rng.choice(vocabulary) for _ in range(rng.randint(2, 10)))
    else:
        question = (" " if lang == "en" else "").join(tasks.make_word(rng) if lang == "en" else rng.choice("".join(talk.SUBJECTS_ZH)) for _ in range(rng.randint(2, 8)))
    question = tasks.roughen(rng, question, lang)
    if not held and rng.random() < 0.1:
        question = tasks.misspell(rng, question)
    lang = tasks.lang_of(question)
    think, answer = talk.DECLINE_EN if lang == "en" else talk.DECLINE_ZH
    return Sample("decline", lang, question, think, answer, contains(answer[:16]))


def no_clock(rng: random.Random, held: bool) -> Sample:
    lang = pick_lang(rng)
    table = talk.CLOCK_QUESTIONS_EN + talk.DATE_QUESTIONS_EN if lang == "en" else talk.CLOCK_QUESTIONS_ZH + talk.DATE_QUESTIONS_ZH
    think, answer = talk.NO_CLOCK_EN if lang == "en" else talk.NO_CLOCK_ZH
    return Sample("no_clock", lang, tasks.roughen(rng, rng.choice(table), lang), think, answer, contains(answer[:8]))


# Tools ---------------------------------------------------------------------------------------------------------------

CALCULATOR_NAMES = ["calculator", "calculator", "calculator", "calculate", "calc", "evaluate", "math"]
CALCULATOR_ABOUT = ["Evaluates an arithmetic expression.", "A simple calculator", "Calculate the result of a math expression", "Evaluate a mathematical expression and return the result.",
                    "Calculator for arithmetic.", "Performs calculations", "计算一个算术表达式", "计算器", "Does arithmetic", "Evaluate arithmetic expressions such as 2*3+4"]
EXPRESSION_NAMES = ["expression", "expression", "expression", "expr", "input", "formula", "query"]
CLOCK_NAMES = ["clock", "clock", "get_time", "get_current_time", "current_time", "now", "time", "get_clock"]
CLOCK_ABOUT = ["Returns the current time.", "Get the current time", "Current date and time", "Tells the time.", "Get the current date and time in a given timezone", "返回当前时间", "时钟", "A clock"]
ZONE_NAMES = ["timezone", "timezone", "tz", "zone"]
CITIES = {"Tokyo": ("Asia/Tokyo", "东京"), "London": ("Europe/London", "伦敦"), "New York": ("America/New_York", "纽约"), "Beijing": ("Asia/Shanghai", "北京"),
          "Paris": ("Europe/Paris", "巴黎"), "Shanghai": ("Asia/Shanghai", "上海"), "Berlin": ("Europe/Berlin", "柏林"), "Sydney": ("Australia/Sydney", "悉尼")}
OTHER_TOOLS = [("get_weather", "Get the weather of a city", "city"), ("search", "Search the web", "query"), ("send_email", "Send an email", "text"),
               ("translate", "Translate a text", "text"), ("read_file", "Read a file", "path"), ("get_stock_price", "Stock price of a company", "symbol")]


def schema(name: str, about: str, parameters: dict[str, str], required: list[str], rng: random.Random) -> dict:
    properties = {}
    for key, text in parameters.items():
        properties[key] = {"type": "string"} | ({"description": text} if text and rng.random() < 0.7 else {})
    spec: dict = {"type": "object", "properties": properties}
    if required or rng.random() < 0.4:
        spec["required"] = required
    if rng.random() < 0.1:
        spec["additionalProperties"] = False
    return {"type": "function", "function": {"name": name, "description": about, "parameters": spec}}


def calculator(rng: random.Random) -> tuple[dict, str, str]:
    name, key = rng.choice(CALCULATOR_NAMES), rng.choice(EXPRESSION_NAMES)
    about = rng.choice(["The expression", "e.g. 2+3*4", "Arithmetic expression to evaluate", "The expression to evaluate, e.g. '12*34'", "表达式", ""])
    return schema(name, rng.choice(CALCULATOR_ABOUT), {key: about}, [key], rng), name, key


def clock(rng: random.Random) -> tuple[dict, str, str | None]:
    name = rng.choice(CLOCK_NAMES)
    if rng.random() < 0.5:
        return schema(name, rng.choice(CLOCK_ABOUT), {}, [], rng), name, None
    key = rng.choice(ZONE_NAMES)
    about = rng.choice(["IANA time zone", "Time zone, e.g. Europe/Paris", "时区", ""])
    return schema(name, rng.choice(CLOCK_ABOUT), {key: about}, [], rng), name, key


def other_tool(rng: random.Random) -> dict:
    name, about, key = rng.choice(OTHER_TOOLS)
    return schema(name, about, {key: ""}, [key], rng)


def arithmetic_question(rng: random.Random, held: bool, lang: str) -> tuple[str, str, str, str]:
    """question, expression to call, the shown form, the result"""
    while True:
        r = rng.random()
        if r < 0.75:
            op = rng.choice("+-**/")
            a, b = tasks.number(rng, 7), tasks.number(rng, 5)
            if op == "/" and b == 0:
                continue
            if tasks.is_held_out(f"tool {op} {a} {b}") != held:
                continue
            question = tasks.op_wording(rng, lang, op, a, b)
            value = {"+": a + b, "-": a - b, "*": a * b}.get(op)
            result = str(value) if value is not None else (str(a // b) if a % b == 0 else f"{a / b:.{rng.choice([2, 4, 6])}f}")
            return question, f"{a}{op}{b}", tasks.spaced(op, a, b), result
        kind_lang, text, kind, v, _ = stories.make(rng, held)
        if kind_lang != lang or kind == "a%b":
            continue
        e = stories.calculator_expression(kind, v)
        result = str(eval(e)) if "/" not in e else str(v["a"] // v["b"])  # `e` holds digits and + - * only
        return text, e, e.replace("*", " × ").replace("+", " + ").replace("-", " - ").replace("/", " ÷ "), result


def tool_result(rng: random.Random, value: str) -> str:
    return rng.choice([value, value, value, json.dumps({"result": value}), "{\"result\": %s}" % (value if value.lstrip("-").replace(".", "", 1).isdigit() else json.dumps(value)),
                       json.dumps({"value": value}), f"result: {value}", f"= {value}"])


def time_value(rng: random.Random) -> str:
    h, m, s = rng.randint(0, 23), rng.randint(0, 59), rng.randint(0, 59)
    y, mo, d = rng.randint(2020, 2035), rng.randint(1, 12), rng.randint(1, 28)
    return rng.choice([f"{h:02}:{m:02}", f"{h:02}:{m:02}:{s:02}", f"{y}-{mo:02}-{d:02} {h:02}:{m:02}", f"{y}-{mo:02}-{d:02}T{h:02}:{m:02}:{s:02}",
                       f"{y}-{mo:02}-{d:02}T{h:02}:{m:02}:{s:02}Z", f"{h % 12 or 12}:{m:02} {'AM' if h < 12 else 'PM'}"])


def call_message(name: str, arguments: dict) -> dict:
    return {"role": "assistant", "content": "", "tool_calls": [
        {"id": "call_0", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)}}]}


def with_tools(rng: random.Random, held: bool) -> Sample:
    lang = pick_lang(rng)
    calc, calc_name, expression_key = calculator(rng)
    clk, clock_name, zone_key = clock(rng)
    want_clock = rng.random() < 0.4
    tools = [clk if want_clock else calc]
    if rng.random() < 0.5:
        tools.append(calc if want_clock else clk)
    if rng.random() < 0.25:
        tools.append(other_tool(rng))
    rng.shuffle(tools)
    if want_clock:
        en, zh = (talk.CLOCK_QUESTIONS_EN, talk.CLOCK_QUESTIONS_ZH) if rng.random() < 0.8 else (talk.DATE_QUESTIONS_EN, talk.DATE_QUESTIONS_ZH)
        question = rng.choice(en if lang == "en" else zh)
        arguments = {}
        if zone_key and rng.random() < 0.6:
            city = rng.choice(list(CITIES))
            question = rng.choice([f"what time is it in {city}?", f"what's the time in {city}", f"current time in {city}", f"time in {city} now?"]) if lang == "en" else \
                rng.choice([f"{CITIES[city][1]}现在几点", f"现在{CITIES[city][1]}几点了？", f"{CITIES[city][1]}的时间是多少"])
            arguments = {zone_key: CITIES[city][0]}
        question = tasks.roughen(rng, question, lang)
        name = clock_name
        think = f"I call {name} for the time." if lang == "en" else f"我调用 {name} 查时间。"
        value = time_value(rng)
        result = rng.choice([value, value, json.dumps({"time": value}), json.dumps({"now": value}), json.dumps({"datetime": value})])
        answer = f"It is {value}." if lang == "en" else f"现在是 {value}。"
        shown = None
    else:
        question, e, shown, value = arithmetic_question(rng, held, lang)
        lang = tasks.lang_of(question)
        arguments = {expression_key: e}
        name = calc_name
        think = f"I call {name} with {e}." if lang == "en" else f"我调用 {name} 计算 {e}。"
        result = tool_result(rng, value)
        answer = f"{shown} = {value}"
    if rng.random() < 0.5:
        return Sample("tool_call", lang, question, think, "", {"type": "tool_call", "name": name, "arguments": arguments}, calls=[(name, arguments)], tools=tools)
    think = f"{name} says {value}." if lang == "en" else f"{name} 返回 {value}。"
    after = [call_message(name, arguments), {"role": "tool", "tool_call_id": "call_0", "content": result}]
    return Sample("tool_result", lang, question, think, answer, contains(value), tools=tools, after=after)


def tools_not_needed(rng: random.Random, held: bool) -> Sample:
    """Tools are there, but the question needs none of them."""
    sample = rng.choice([talking, declining, tasks.count_letters, tasks.sorting, tasks.comparing, tasks.spelling])(rng, held)
    tools = [rng.choice([calculator, clock])(rng)[0]]
    if rng.random() < 0.4:
        tools.append(other_tool(rng))
    sample.tools = tools
    sample.task = "tools_unused"
    return sample


# Turns ---------------------------------------------------------------------------------------------------------------

FOLLOW_EN = {"+": ["add {} to that", "now add {}", "plus {}?", "and plus {}", "add {} more", "add {}"], "-": ["subtract {} from that", "now subtract {}", "minus {}?", "take away {}"],
             "*": ["multiply that by {}", "now times {}", "times {}?", "multiply by {}"]}
FOLLOW_ZH = {"+": ["再加{}", "再加上{}呢", "加{}", "那再加{}是多少"], "-": ["再减{}", "减去{}呢", "那再减{}呢"], "*": ["再乘以{}", "乘{}呢", "再乘{}是多少"]}


def follow_up(rng: random.Random, held: bool) -> Sample:
    """A second question about the first one's result."""
    first = tasks.arithmetic(rng, rng.choice("++-*"), False, digits_max=3)
    value = int(first.answer.split("=")[-1])
    while abs(value) > 9999:
        first = tasks.arithmetic(rng, rng.choice("+-"), False, digits_max=3)
        value = int(first.answer.split("=")[-1])
    while True:
        op, n = rng.choice("++-*"), tasks.number(rng, 2)
        if tasks.is_held_out(f"follow {value} {op} {n}") == held:
            break
    lang = first.lang
    user = tasks.roughen(rng, rng.choice((FOLLOW_EN if lang == "en" else FOLLOW_ZH)[op]).format(n), lang)
    sample = tasks.solve(lang, op, value, n, user)
    sample.task = "follow_up"
    sample.history = [{"role": "user", "content": first.user}, {"role": "assistant", "content": first.answer}]
    return sample

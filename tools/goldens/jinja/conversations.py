"""Random conversations of the shapes that the OpenAI API allows, and some that it does not."""

TEXTS = [
    "Hello!",
    "",
    " padded \n",
    "你好，世界",
    "What is 2+2?\nAnswer \"briefly\" & <fast>.",
    "<think>\nLet me see.\n</think>\n\nIt is 4.",
    "<think>never closed",
    "a</think>b</think>c",
    "<result>1</result>",
    "it's 'quoted' \\ back\tslash 😀\u2028\x7f",
]
ARGUMENTS = [
    {},
    {"city": "Paris", "days": 3, "exact": True, "note": None, "ratio": 0.5},
    {"nested": {"list": [1, 2.0, "x", [], {}], "é": "ü"}},
    '{"city": "Paris"}',
]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "It's the weather \"now\" in <city>",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "名"},
                    "unit": {"type": "string", "enum": ["C", "F"]},
                    "odd": {"minimum": -1e-7, "maximum": 1e22},
                },
                "required": ["city"],
            },
        },
    },
    {"type": "function", "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}}},
]


def tool_call(rng):
    function = {"name": rng.choice(["get_weather", "clock"]), "arguments": rng.choice(ARGUMENTS)}
    return {"id": "call_1", "type": "function", "function": function}


def message(rng, role):
    content = rng.choice(TEXTS)
    if role == "user" and rng.random() < 0.15:
        parts = [{"type": "text", "text": t} for t in rng.sample(TEXTS, 2)]
        content = parts + [{"type": "image_url", "image_url": {"url": "x"}}]
    out = {"role": role, "content": content}
    if role == "assistant":
        roll = rng.random()
        if roll < 0.25:
            out["content"] = rng.choice([None, "", content])
            out["tool_calls"] = [tool_call(rng) for _ in range(rng.randrange(1, 3))]
        elif roll < 0.35:
            out["tool_calls"] = rng.choice([None, []])
        elif roll < 0.45:
            out["reasoning_content"] = rng.choice([content, None])
        elif roll < 0.5:
            out["prefix"] = rng.choice([True, False])
    if role == "tool":
        out["tool_call_id"] = "call_1"
        out["content"] = rng.choice(TEXTS + [{"result": 1}])
    return out


def context(rng):
    roles = ["system"] if rng.random() < 0.5 else []
    while len(roles) < 7 and rng.random() < 0.9:
        if rng.random() < 0.8:
            roles += ["user"] if not roles or roles[-1] != "user" else ["assistant"]
        else:
            roles.append(rng.choice(["user", "assistant", "tool", "system"]))
    out = {
        "messages": [message(rng, role) for role in roles],
        "bos_token": "<｜begin▁of▁sentence｜>",
        "eos_token": "<｜end▁of▁sentence｜>",
    }
    for key, values in {
        "add_generation_prompt": [True, True, False],
        "tools": [TOOLS, TOOLS[:1], None, []],
        "thinking": [True, False],
        "enable_thinking": [True, False],
        "date_string": ["1 Jan 2025"],
    }.items():
        if rng.random() < 0.5:
            out[key] = rng.choice(values)
    return out

"""Messages to text: the same strings as chat_template.jinja, without Jinja (the data workers are in a hurry)."""

from __future__ import annotations

import json

BOS, EOS, PAD = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"
USER, ASSISTANT = "<｜User｜>", "<｜Assistant｜>"
THINK, END_THINK = "<think>", "</think>"
CALLS, END_CALLS = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
CALL, END_CALL, SEP = "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "<｜tool▁sep｜>"
OUTPUTS, END_OUTPUTS = "<｜tool▁outputs▁begin｜>", "<｜tool▁outputs▁end｜>"
OUTPUT, END_OUTPUT = "<｜tool▁output▁begin｜>", "<｜tool▁output▁end｜>"
SPECIAL = [BOS, EOS, PAD]
ADDED = [USER, ASSISTANT, THINK, END_THINK, CALLS, END_CALLS, CALL, END_CALL, SEP, OUTPUTS, END_OUTPUTS, OUTPUT, END_OUTPUT]


def render_calls(calls: list[tuple[str, str]]) -> str:
    """(name, arguments as JSON text) pairs."""
    body = "\n".join(f"{CALL}function{SEP}{name}\n```json\n{arguments}\n```{END_CALL}" for name, arguments in calls)
    return CALLS + body + END_CALLS


def render(messages: list[dict], tools: list[dict] | None = None, thinking: bool = True) -> str:
    system = "\n\n".join(m["content"] for m in messages if m["role"] == "system")
    out = [BOS, system]
    if tools:
        out.append(("\n\n" if system else "") + "## Tools\n")
        for tool in tools:
            f = tool.get("function", tool)
            out.append(f"\n### {f['name']}\n")
            if f.get("description"):
                out.append(f["description"] + "\n")
            if f.get("parameters"):
                out.append("```json\n" + json.dumps(f["parameters"], ensure_ascii=False) + "\n```\n")
    in_tools = False
    for m in messages:
        if in_tools and m["role"] != "tool":
            out.append(END_OUTPUTS)
            in_tools = False
        if m["role"] == "user":
            out.append(USER + m["content"])
        elif m["role"] == "assistant":
            out.append(ASSISTANT + (m.get("content") or "").split(END_THINK)[-1].strip())
            if m.get("tool_calls"):
                out.append(render_calls([(c["function"]["name"], c["function"]["arguments"]) for c in m["tool_calls"]]))
            out.append(EOS)
        elif m["role"] == "tool":
            out.append(("" if in_tools else OUTPUTS) + OUTPUT + m["content"] + END_OUTPUT)
            in_tools = True
    if in_tools:
        out.append(END_OUTPUTS)
    out.append(f"{ASSISTANT}{THINK}\n" + ("" if thinking else f"\n{END_THINK}\n\n"))
    return "".join(out)

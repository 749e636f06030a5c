"""Answers that fit: response_format, structured_outputs, forced and strict tool calls."""

import asyncio
import json
import random
import re
import threading

import jsonschema
import openai
import pytest

import schemas
from ask import STORY, Stream, chat, complete, messages
from server import Server

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer", "minimum": 0, "maximum": 150},
                   "likes": {"type": "array", "items": {"enum": ["tea", "coffee"]}, "maxItems": 3}},
    "required": ["name", "age", "likes"], "additionalProperties": False}


def as_format(schema: dict) -> dict:
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}


def content_of(answer) -> str:
    [choice] = answer.choices
    assert choice.finish_reason == "stop"
    return choice.message.content


def test_json_schema(client):
    answer = content_of(chat(client, "Tell me about Rosa.", response_format=as_format(PERSON)))
    jsonschema.validate(json.loads(answer), PERSON)


def test_the_thought_stays_free(client):
    answer = chat(client, "What is 17 + 25?", response_format=as_format(PERSON)).choices[0]
    assert answer.message.reasoning_content and not answer.message.reasoning_content.startswith("{")
    jsonschema.validate(json.loads(answer.message.content), PERSON)
    short = chat(client, "What is 17 + 25?", response_format=as_format(PERSON), reasoning_effort="none").choices[0]
    assert not short.message.reasoning_content
    jsonschema.validate(json.loads(short.message.content), PERSON)


def test_a_stream_says_the_same(client):
    fields = {"response_format": as_format(PERSON), "n": 3, "seed": 5, "temperature": 1}
    whole = chat(client, "Who are you?", **fields)
    stream = Stream(chat(client, "Who are you?", stream=True, **fields))
    for choice in whole.choices:
        assert stream[choice.index].text == choice.message.content
        jsonschema.validate(json.loads(choice.message.content), PERSON)
    assert len({choice.message.content for choice in whole.choices}) > 1


def test_json_object(client):
    answer = chat(client, "Say something.", response_format={"type": "json_object"}, max_tokens=400,
                  extra_body={"thinking": {"type": "disabled"}}).choices[0]
    assert answer.message.content.startswith("{")
    if answer.finish_reason == "stop":
        assert isinstance(json.loads(answer.message.content), dict)


def test_structured_outputs(client):
    def ask(**outputs):
        return content_of(chat(client, "Is the sky blue?", extra_body={"structured_outputs": outputs}))

    assert ask(choice=["yes", "no"]) in ("yes", "no")
    assert re.fullmatch(r"[a-f]{4}-\d{2}", ask(regex=r"[a-f]{4}-\d{2}"))
    assert re.fullmatch(r"\d+( [+*] \d+){2}", ask(grammar='root ::= n op n op n\nop ::= " + " | " * "\nn ::= [0-9] [0-9]?'))
    assert isinstance(json.loads(ask(json={"type": "boolean"})), bool)


def test_completions_and_older_names(client):
    for extra in ({"guided_choice": ["a galley", "a ship"]}, {"structured_outputs": {"choice": ["a galley", "a ship"]}}):
        answer = complete(client, extra_body=extra).choices[0]
        assert answer.text in ("a galley", "a ship")
        assert answer.finish_reason == "stop"  # Whatever ignore_eos says.


def test_what_cuts_an_answer_still_does(client):
    cut = chat(client, "Who are you?", response_format=as_format(PERSON), max_tokens=5,
               extra_body={"thinking": {"type": "disabled"}}).choices[0]
    assert cut.finish_reason == "length"
    stopped = chat(client, "Who are you?", response_format=as_format(PERSON), stop=['"age"']).choices[0]
    assert stopped.finish_reason == "stop" and '"age"' not in stopped.message.content
    kept = chat(client, "Is it?", extra_body={"structured_outputs": {"choice": ["yes"]}, "min_tokens": 300}).choices[0]
    assert kept.message.content == "yes"


def test_hostile_sources_delay_nobody(server, client):
    outcomes: list[int] = []

    def send(i):
        hard = {"type": "object", "properties": {f"{i}p{j}": {"type": "number", "minimum": 0.5} for j in range(2500)}}
        body = {"messages": messages("x"), "max_tokens": 4, "cache_salt": f"salt{i}", "structured_outputs": {"json": hard}}
        outcomes.append(server.post("/v1/chat/completions", body).status)

    threads = [threading.Thread(target=send, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    answer = chat(client, extra_body={"structured_outputs": {"choice": ["fine"]}, "cache_salt": "mine"})
    still_compiling = sum(thread.is_alive() for thread in threads)
    assert content_of(answer) == "fine"
    for thread in threads:
        thread.join()
    assert still_compiling >= 2
    assert all(status in (200, 400) for status in outcomes), outcomes


@pytest.fixture(scope="module")
def without_drafts():
    with Server("--speculative-config", '{"method": "none"}') as running:
        yield running


def test_random_schemas_with_and_without_drafts(server, without_drafts):
    """The same text, drafts or not, and every answer validates."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    cases = schemas.random_schemas(seed, schemas.COUNT)

    async def ask(client, index, schema):
        answer = await client.completions.create(
            model="", prompt=STORY, max_tokens=220, temperature=index % 2, seed=index,
            extra_body={"structured_outputs": {"json": schema}})
        return answer.choices[0].text, answer.choices[0].finish_reason

    async def everything(port_owner):
        client = port_owner.client(openai.AsyncOpenAI, timeout=600)
        gate = asyncio.Semaphore(48)

        async def one(index, schema):
            async with gate:
                return await ask(client, index, schema)

        return await asyncio.gather(*(one(i, s) for i, s in enumerate(cases)))

    async def both():
        return await asyncio.gather(everything(server), everything(without_drafts))

    with_drafts, plain = asyncio.run(both())
    for index, schema in enumerate(cases):
        assert with_drafts[index] == plain[index], (seed, index, schema)
        text, reason = plain[index]
        if reason == "stop":
            jsonschema.validate(json.loads(text), schema)
    done = sum(reason == "stop" for _, reason in plain)
    assert done > len(cases) * 0.4, f"only {done} of {len(cases)} came to their end"
    assert server.metric("vllm:spec_decode_num_accepted_tokens_total") > 0


CALCULATOR = {"type": "function", "function": {
    "name": "calculator", "description": "Evaluate a mathematical expression and return the result.", "strict": True,
    "parameters": {"type": "object", "properties": {"expression": {"type": "string", "maxLength": 20}},
                   "required": ["expression"], "additionalProperties": False}}}
WEATHER = {"type": "function", "function": {
    "name": "weather", "parameters": {"type": "object", "required": ["city", "days"], "properties": {
        "city": {"enum": ["Genoa", "Venice"]}, "days": {"type": "integer", "minimum": 1, "maximum": 7}}}}}


def arguments_fit(call) -> None:
    tool = {t["function"]["name"]: t["function"]["parameters"] for t in (CALCULATOR, WEATHER)}[call.function.name]
    jsonschema.validate(json.loads(call.function.arguments), tool)


@pytest.mark.parametrize("choice,names", [
    ("required", {"calculator", "weather"}), ({"type": "function", "function": {"name": "weather"}}, {"weather"})])
def test_a_call_can_be_forced(client, choice, names):
    answer = chat(client, "hello", tools=[CALCULATOR, WEATHER], tool_choice=choice, parallel_tool_calls=False).choices[0]
    assert answer.finish_reason == "tool_calls"
    [call] = answer.message.tool_calls
    assert call.function.name in names
    arguments_fit(call)
    assert not answer.message.content


def test_forced_calls_stream(client):
    fields = {"tools": [WEATHER], "tool_choice": "required", "parallel_tool_calls": False}
    [whole] = chat(client, "hello", **fields).choices[0].message.tool_calls
    chunks = list(chat(client, "hello", stream=True, **fields))
    [call] = Stream(chunks)[0].tool_calls
    assert (call["name"], call["arguments"]) == (whole.function.name, whole.function.arguments)
    pieces = [part for chunk in chunks for choice in chunk.choices for part in choice.delta.tool_calls or []]
    assert len(pieces) > 2  # The arguments come as they are written.


def test_strict_arguments_fit_without_force(client):
    answer = chat(client, "Rosa has 27 marbles and buys 1 more. How many marbles does Rosa have now?",
                  tools=[CALCULATOR]).choices[0]
    [call] = answer.message.tool_calls
    arguments_fit(call)
    plain = chat(client, "hello", tools=[CALCULATOR]).choices[0]
    assert plain.finish_reason == "stop" and plain.message.content

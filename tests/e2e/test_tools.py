"""Tool calls in OpenAI's shape, from the model's own format."""

import json

from ask import Stream, chat, messages, reasoning_of

CALCULATOR = {"type": "function", "function": {
    "name": "calculator", "description": "Evaluate a mathematical expression and return the result.",
    "parameters": {"type": "object", "properties": {"expression": {"type": "string"}},
                   "required": ["expression"]}}}
CLOCK = {"type": "function", "function": {
    "name": "current_time", "description": "Tells the time.",
    "parameters": {"type": "object", "properties": {}, "required": []}}}
MARBLES = "Rosa has 27 marbles and buys 1 more. How many marbles does Rosa have now?"


def test_a_call_is_made(client):
    answer = chat(client, MARBLES, tools=[CALCULATOR])
    [choice] = answer.choices
    assert choice.finish_reason == "tool_calls"
    assert not choice.message.content
    [call] = choice.message.tool_calls
    assert call.type == "function" and call.id
    assert call.function.name == "calculator"
    assert json.loads(call.function.arguments) == {"expression": "27+1"}


def test_calls_have_ids_of_their_own(client):
    ids = {chat(client, MARBLES, tools=[CALCULATOR]).choices[0].message.tool_calls[0].id
           for _ in range(3)}
    assert len(ids) == 3


def test_a_stream_makes_the_same_call(client):
    plain = chat(client, "现在几点了？", tools=[CLOCK]).choices[0]
    stream = Stream(chat(client, "现在几点了？", tools=[CLOCK], stream=True))
    [call] = stream[0].tool_calls
    assert call["name"] == plain.message.tool_calls[0].function.name == "current_time"
    assert json.loads(call["arguments"]) == {}
    assert call["id"]
    assert stream[0].finish_reason == "tool_calls"
    assert stream[0].reasoning == reasoning_of(plain.message)
    assert stream[0].text == ""  # No word of the model's own format leaks into the content.


def test_the_result_is_used(client):
    asked = chat(client, MARBLES, tools=[CALCULATOR]).choices[0].message
    [call] = asked.tool_calls
    conversation = [*messages(MARBLES), asked.model_dump(exclude_none=True),
                    {"role": "tool", "tool_call_id": call.id, "content": '{"value": "28"}'}]
    answer = chat(client, messages=conversation, tools=[CALCULATOR]).choices[0]
    assert answer.finish_reason == "stop"
    assert "28" in answer.message.content
    assert not answer.message.tool_calls


def test_without_need_no_call_is_made(client):
    answer = chat(client, "hello", tools=[CALCULATOR]).choices[0]
    assert answer.finish_reason == "stop"
    assert answer.message.content and not answer.message.tool_calls


def test_tools_are_in_the_prompt_unless_none_may_be_called(client):
    bare = chat(client).usage.prompt_tokens
    assert chat(client, tools=[CALCULATOR], max_tokens=4).usage.prompt_tokens > bare
    none = chat(client, tools=[CALCULATOR], tool_choice="none")
    assert none.usage.prompt_tokens == bare
    assert not none.choices[0].message.tool_calls

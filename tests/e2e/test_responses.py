"""OpenAI's Responses API, by the official client."""

import json

import openai
import pytest

from ask import SUM
from server import NAME
from test_tools import CALCULATOR, MARBLES

TOOL = {"type": "function", **CALCULATOR["function"]}


def respond(client, text=SUM, /, **fields):
    return client.responses.create(**({"model": NAME, "input": text, "temperature": 0} | fields))


def test_a_plain_answer(client):
    answer = respond(client)
    assert answer.object == "response" and answer.status == "completed"
    assert [item.type for item in answer.output] == ["reasoning", "message"]
    assert answer.output[0].content[0].text.strip()
    assert "42" in answer.output_text
    usage = answer.usage
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens
    assert usage.output_tokens_details.reasoning_tokens > 0
    assert respond(client, reasoning={"effort": "none"}).output[0].type == "message"


def test_the_stream_is_the_same_answer(client):
    whole = respond(client)
    events = list(respond(client, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[0].type == "response.created" and events[-1].type == "response.completed"
    text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    thought = "".join(e.delta for e in events if e.type == "response.reasoning_text.delta")
    assert text == whole.output_text
    assert thought == whole.output[0].content[0].text
    final = events[-1].response
    assert final.output_text == whole.output_text
    assert final.usage.output_tokens == whole.usage.output_tokens
    added = [e.item.id for e in events if e.type == "response.output_item.added"]
    assert added == [item.id for item in final.output]


def test_the_clients_own_gathering_of_a_stream(client):
    with client.responses.stream(model=NAME, input=SUM, temperature=0) as stream:
        for _ in stream:
            pass
        final = stream.get_final_response()
    assert "42" in final.output_text


def test_a_tool_is_used_and_its_result(client):
    asked = respond(client, MARBLES, tools=[TOOL])
    [call] = [item for item in asked.output if item.type == "function_call"]
    assert call.name == "calculator" and json.loads(call.arguments) == {"expression": "27+1"}
    result = {"type": "function_call_output", "call_id": call.call_id, "output": '{"value": "28"}'}
    by_id = respond(client, [result], previous_response_id=asked.id, tools=[TOOL])
    assert "28" in by_id.output_text and by_id.previous_response_id == asked.id
    # The same by sending everything again.
    items = [{"role": "user", "content": MARBLES},
             *[item.model_dump(exclude_none=True) for item in asked.output], result]
    whole = respond(client, items, tools=[TOOL], store=False)
    assert whole.output_text == by_id.output_text
    streamed = [e for e in respond(client, MARBLES, tools=[TOOL], stream=True)
                if e.type == "response.function_call_arguments.done"]
    assert json.loads(streamed[0].arguments) == {"expression": "27+1"}


def test_responses_are_kept_unless_told_not_to(client):
    first = respond(client)
    assert client.responses.retrieve(first.id).output_text == first.output_text
    second = respond(client, "What is 1 + 1?", previous_response_id=first.id)
    assert second.usage.input_tokens > first.usage.input_tokens
    third = respond(client, previous_response_id=second.id, instructions="Be brief.",
                    max_output_tokens=4)
    assert third.status == "incomplete"
    assert third.incomplete_details.reason == "max_output_tokens"
    unkept = respond(client, store=False)
    with pytest.raises(openai.BadRequestError) as unknown:
        respond(client, previous_response_id=unkept.id)
    assert unknown.value.param == "previous_response_id"
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(unkept.id)


def test_errors(client):
    with pytest.raises(openai.BadRequestError) as bad:
        respond(client, [])
    assert bad.value.param == "input"
    with pytest.raises(openai.NotFoundError):
        respond(client, model="none")
    with pytest.raises(openai.BadRequestError) as forced:
        respond(client, tools=[{"type": "web_search"}])
    assert forced.value.code == "unsupported_parameter"


def test_a_call_or_a_schema_is_asked_for(client):
    for choice in ("required", {"type": "function", "name": "calculator"}):
        asked = respond(client, tools=[TOOL], tool_choice=choice)
        [call] = [item for item in asked.output if item.type == "function_call"]
        assert call.name == "calculator" and list(json.loads(call.arguments)) == ["expression"]
    schema = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]}
    asked = respond(client, text={"format": {"type": "json_schema", "name": "sum", "schema": schema}})
    assert isinstance(json.loads(asked.output_text)["sum"], int)
    assert asked.text.format.name == "sum"

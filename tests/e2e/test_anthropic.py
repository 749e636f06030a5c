"""The official anthropic client against /v1/messages."""

import json

import anthropic
import pytest

import server as serving
from test_tools import MARBLES

TOOL = {"name": "calculator", "description": "Evaluate a mathematical expression and return the result.",
        "input_schema": {"type": "object", "properties": {"expression": {"type": "string"}},
                         "required": ["expression"]}}
COLD = {"temperature": 0}  # The newest client has no argument for it.
ADD = [{"role": "user", "content": "What is 12 + 30?"}]


def connect(server, **options):
    defaults = {"api_key": "none", "base_url": server.url, "max_retries": 0,
                "timeout": serving.DEADLINE_S}
    return anthropic.Anthropic(**(defaults | options))


@pytest.fixture(scope="module")
def claude(server):
    with connect(server) as made:
        yield made


def ask(claude, messages=ADD, **options):
    return claude.messages.create(**({"model": serving.NAME, "max_tokens": 256, "extra_body": COLD,
                                      "messages": messages} | options))


def test_a_plain_answer(claude):
    answer = ask(claude)
    assert answer.type == "message" and answer.role == "assistant"
    assert answer.id.startswith("msg_")
    assert answer.model == serving.NAME
    [block] = answer.content
    assert block.type == "text" and "42" in block.text
    assert answer.stop_reason == "end_turn" and answer.stop_sequence is None
    usage = answer.usage
    assert usage.output_tokens > 0
    assert usage.input_tokens + usage.cache_read_input_tokens > 0


def test_thinking_is_shown_when_asked_for(claude):
    answer = ask(claude, thinking={"type": "enabled", "budget_tokens": 1024}, max_tokens=1024)
    assert [block.type for block in answer.content] == ["thinking", "text"]
    assert answer.content[0].thinking.strip() and answer.content[0].signature
    assert "42" in answer.content[1].text
    # The blocks come back as they are.
    more = ask(claude, [*ADD, {"role": "assistant", "content": answer.content},
                        {"role": "user", "content": "What is 1 + 1?"}])
    assert "2" in more.content[0].text


def test_a_budget_of_thought_is_kept(claude):
    free = ask(claude, thinking={"type": "enabled", "budget_tokens": 4096})
    short = ask(claude, thinking={"type": "enabled", "budget_tokens": 4})
    assert len(short.content[0].thinking) < len(free.content[0].thinking)
    off = ask(claude, thinking={"type": "disabled"})
    assert [block.type for block in off.content] == ["text"]


def test_the_stream_has_its_exact_order(claude):
    whole = ask(claude, thinking={"type": "enabled", "budget_tokens": 1024})
    with claude.messages.stream(model=serving.NAME, max_tokens=256, extra_body=COLD, messages=ADD,
                                thinking={"type": "enabled", "budget_tokens": 1024}) as stream:
        events = [event for event in stream]
        final = stream.get_final_message()
    raw = [event.type for event in events
           if event.type.startswith(("message_", "content_block_"))]
    assert raw[0] == "message_start" and raw[-2:] == ["message_delta", "message_stop"]
    blocks = [kind for kind in raw[1:-2]]
    while blocks:
        assert blocks.pop(0) == "content_block_start"
        while blocks[0] == "content_block_delta":
            blocks.pop(0)
        assert blocks.pop(0) == "content_block_stop"
    assert [(b.type, getattr(b, "text", getattr(b, "thinking", None))) for b in final.content] == [
        (b.type, getattr(b, "text", getattr(b, "thinking", None))) for b in whole.content]
    assert final.stop_reason == "end_turn"
    assert final.usage.output_tokens == whole.usage.output_tokens


def test_a_tool_is_used_and_its_result(claude):
    question = [{"role": "user", "content": MARBLES}]
    asked = ask(claude, question, tools=[TOOL])
    assert asked.stop_reason == "tool_use"
    [call] = [block for block in asked.content if block.type == "tool_use"]
    assert call.name == "calculator" and call.input == {"expression": "27+1"}
    done = ask(claude, [*question, {"role": "assistant", "content": asked.content},
                        {"role": "user", "content": [
                            {"type": "tool_result", "tool_use_id": call.id,
                             "content": json.dumps({"value": "28"})}]}], tools=[TOOL])
    assert done.stop_reason == "end_turn" and "28" in done.content[0].text
    with claude.messages.stream(model=serving.NAME, max_tokens=256, extra_body=COLD,
                                messages=question, tools=[TOOL]) as stream:
        [streamed] = [b for b in stream.get_final_message().content if b.type == "tool_use"]
    assert streamed.input == call.input and streamed.id != call.id


def test_a_call_is_asked_for(claude):
    for choice in ({"type": "any"}, {"type": "tool", "name": "calculator"}):
        asked = ask(claude, tools=[TOOL], tool_choice=choice)
        [call] = [block for block in asked.content if block.type == "tool_use"]
        assert asked.stop_reason == "tool_use" and call.name == "calculator"
        assert list(call.input) == ["expression"]


def test_a_schema_is_kept(claude):
    schema = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"],
              "additionalProperties": False}
    asked = ask(claude, extra_body=COLD | {"output_format": {"type": "json_schema", "schema": schema}})
    [text] = [block for block in asked.content if block.type == "text"]
    assert isinstance(json.loads(text.text)["sum"], int)


def test_stops(claude):
    cut = ask(claude, max_tokens=3, thinking={"type": "disabled"})
    assert cut.stop_reason == "max_tokens" and cut.usage.output_tokens == 3
    stopped = ask(claude, stop_sequences=["42"])
    assert stopped.stop_reason == "stop_sequence" and stopped.stop_sequence == "42"
    assert "42" not in "".join(block.text for block in stopped.content)


def test_system_and_prefill(claude):
    bare = claude.messages.count_tokens(model=serving.NAME, messages=ADD).input_tokens
    with_system = claude.messages.count_tokens(model=serving.NAME, messages=ADD, system="Be brief.")
    assert with_system.input_tokens > bare > 0
    answer = ask(claude, [*ADD, {"role": "assistant", "content": "12 + 30 ="}], max_tokens=16)
    usage = answer.usage
    assert usage.input_tokens + usage.cache_read_input_tokens > bare  # It goes on with it:
    assert not answer.content[0].text.startswith("12 + 30 =")


def test_usage_counts_the_cache(claude):
    prompt = [{"role": "user", "content": "What is 17 + 25? " + "Please. " * 60}]
    ask(claude, prompt, max_tokens=1)
    again = ask(claude, prompt, max_tokens=1).usage
    assert again.cache_read_input_tokens >= 64
    total = claude.messages.count_tokens(model=serving.NAME, messages=prompt).input_tokens
    assert again.cache_read_input_tokens + again.input_tokens == total


def test_errors_are_its_exceptions(claude, server):
    with pytest.raises(anthropic.BadRequestError) as bad:
        ask(claude, [])
    assert bad.value.body["type"] == "error"
    assert bad.value.body["error"]["type"] == "invalid_request_error"
    assert bad.value.body["request_id"] == bad.value.response.headers["x-request-id"]
    with pytest.raises(anthropic.NotFoundError) as missing:
        ask(claude, model="claude-none")
    assert missing.value.body["error"]["type"] == "not_found_error"
    with pytest.raises(anthropic.BadRequestError):
        ask(claude, [{"role": "user", "content": [{"type": "image", "source": {
            "type": "base64", "media_type": "image/png", "data": ""}}]}])
    assert server.get("/v1/messages").json()["error"]["type"] == "invalid_request_error"


def test_x_api_key():
    with serving.Server("--max-num-seqs", "4", "--api-key", "secret-1", api_key="secret-1") as own:
        with connect(own, api_key="secret-1") as right, connect(own, api_key="wrong") as wrong:
            assert ask(right, max_tokens=4).usage.output_tokens == 4
            with pytest.raises(anthropic.AuthenticationError) as refused:
                ask(wrong)
            assert refused.value.body["error"]["type"] == "authentication_error"

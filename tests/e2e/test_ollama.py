"""Ollama's API by its own client, and what other interfaces share paths with it."""

import json

import ollama
import openai
import pytest

import server as serving
from ask import SUM, messages
from server import NAME
from test_tools import CALCULATOR, MARBLES

COLD = {"temperature": 0}


@pytest.fixture(scope="module")
def llama(server):
    return ollama.Client(host=server.url, timeout=serving.DEADLINE_S)


def test_a_chat(llama):
    answer = llama.chat(model=NAME, messages=messages(SUM), options=COLD)
    assert answer.done and answer.done_reason == "stop"
    assert "42" in answer.message.content and answer.message.thinking.strip()
    assert answer.prompt_eval_count > 0 and answer.eval_count > 0
    assert answer.total_duration >= answer.eval_duration > 0
    quiet = llama.chat(model=NAME + ":latest", messages=messages(SUM), options=COLD, think=False)
    assert quiet.message.thinking is None


def test_the_stream_is_the_same_answer(llama):
    whole = llama.chat(model=NAME, messages=messages(SUM), options=COLD)
    parts = list(llama.chat(model=NAME, messages=messages(SUM), options=COLD, stream=True))
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    assert "".join(part.message.content for part in parts) == whole.message.content
    assert "".join(part.message.thinking or "" for part in parts) == whole.message.thinking
    assert parts[-1].eval_count == whole.eval_count


def test_a_tool_is_used_and_its_result(llama):
    asked = llama.chat(model=NAME, messages=messages(MARBLES), tools=[CALCULATOR], options=COLD)
    [call] = asked.message.tool_calls
    assert call.function.name == "calculator"
    assert call.function.arguments == {"expression": "27+1"}
    done = llama.chat(model=NAME, tools=[CALCULATOR], options=COLD, messages=[
        *messages(MARBLES), asked.message,
        {"role": "tool", "tool_name": "calculator", "content": '{"value": "28"}'}])
    assert "28" in done.message.content


def test_generate(llama):
    chat = llama.chat(model=NAME, messages=messages(SUM), options=COLD)
    answer = llama.generate(model=NAME, prompt=SUM, options=COLD)
    assert answer.response == chat.message.content
    cut = llama.generate(model=NAME, prompt=SUM, raw=True, options=COLD | {"num_predict": 3})
    assert cut.done_reason == "length" and cut.eval_count == 3
    assert llama.generate(model=NAME, prompt="").done_reason == "load"


def test_a_schema_is_kept(llama):
    schema = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]}
    answer = llama.chat(model=NAME, messages=messages(SUM), options=COLD, format=schema)
    assert isinstance(json.loads(answer.message.content)["sum"], int)
    drawn = llama.generate(model=NAME, prompt=SUM, options=COLD | {"num_predict": 64}, format="json", think=False)
    assert drawn.response.startswith("{")


def test_models_and_errors(llama, server):
    names = [model.model for model in llama.list().models]
    assert NAME in names
    with pytest.raises(ollama.ResponseError) as missing:
        llama.chat(model="none", messages=messages(SUM))
    assert missing.value.status_code == 404 and "none" in missing.value.error
    with pytest.raises(ollama.ResponseError) as bad:
        llama.generate(model=NAME, prompt="x", suffix="y")  # The demo model cannot fill in.
    assert bad.value.status_code == 400
    with pytest.raises(ollama.ResponseError) as none:
        llama.embed(model=NAME, input="x")
    assert none.value.status_code == 400 and "embedding" in none.value.error
    assert server.get("/api/version").json()["version"]


def test_deepseeks_paths(server, client):
    with server.client(base_url=server.url + "/beta") as beta:
        assert NAME in [model.id for model in beta.models.list()]
        begun = [*messages(SUM), {"role": "assistant", "content": "17 + 25 =", "prefix": True}]
        answer = beta.chat.completions.create(model=NAME, messages=begun, temperature=0,
                                              max_tokens=8)
        assert not answer.choices[0].message.content.startswith("17 + 25 =")
        with pytest.raises(openai.BadRequestError) as refused:
            beta.completions.create(model=NAME, prompt="def f(", suffix="return x", max_tokens=4)
        assert refused.value.param == "suffix"
    with server.client(base_url=server.url) as bare:
        assert bare.chat.completions.create(model=NAME, messages=messages(SUM),
                                            max_tokens=2).usage.completion_tokens == 2
    with pytest.raises(openai.BadRequestError) as none:
        client.embeddings.create(model=NAME, input="x")
    assert none.value.code == "unsupported_endpoint"


def test_deepseeks_two_names_of_one_model():
    with serving.Server(arguments=["--model", serving.MODEL, "--max-num-seqs", "4",
                                   "--served-model-name", "deepseek-chat", "deepseek-reasoner"]) as own:
        with own.client() as client:
            def thought(model, **fields):
                return client.chat.completions.create(
                    model=model, messages=messages(SUM), temperature=0,
                    **fields).usage.completion_tokens_details.reasoning_tokens
            assert thought("deepseek-reasoner") > 0
            assert thought("deepseek-chat") == 0
            assert thought("deepseek-chat", extra_body={"thinking": {"type": "enabled"}}) > 0

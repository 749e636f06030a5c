"""What is refused, and which exception of the official client says so."""

import json

import openai
import pytest

from ask import SUM, chat, complete, messages
from server import NAME

WRONG_IN_BOTH = [
    ({"temperature": 2.01}, "temperature"),
    ({"temperature": -0.01}, "temperature"),
    ({"temperature": "hot"}, "temperature"),
    ({"temperature": True}, "temperature"),
    ({"top_p": 0}, "top_p"),
    ({"top_p": 1.01}, "top_p"),
    ({"n": 0}, "n"),
    ({"n": 129}, "n"),
    ({"n": 1.5}, "n"),
    ({"max_tokens": -1}, "max_tokens"),
    ({"max_tokens": 2**53 + 1}, "max_tokens"),
    ({"presence_penalty": 2.1}, "presence_penalty"),
    ({"frequency_penalty": -2.1}, "frequency_penalty"),
    ({"seed": "lucky"}, "seed"),
    ({"seed": 2**64}, "seed"),
    ({"stop": [""]}, "stop"),
    ({"stop": ["a"] * 17}, "stop"),
    ({"stop": 5}, "stop"),
    ({"logit_bias": {"-1": 1}}, "logit_bias"),
    ({"logit_bias": {"0": 101}}, "logit_bias.0"),
    ({"logit_bias": [0]}, "logit_bias"),
    ({"stream_options": {"include_usage": True}}, "stream_options"),
    ({"stream": "yes"}, "stream"),
    ({"extra_body": {"top_k": -2}}, "top_k"),
    ({"extra_body": {"min_p": 1.1}}, "min_p"),
    ({"extra_body": {"repetition_penalty": 0}}, "repetition_penalty"),
    ({"extra_body": {"min_tokens": -1}}, "min_tokens"),
    ({"max_tokens": 4, "extra_body": {"min_tokens": 5}}, "min_tokens"),
    ({"extra_body": {"stop_token_ids": [10**9]}}, "stop_token_ids"),
    ({"extra_body": {"ignore_eos": 1}}, "ignore_eos"),
    ({"extra_body": {"prompt_logprobs": 21}}, "prompt_logprobs"),
    ({"extra_body": {"cache_salt": ""}}, "cache_salt"),
    ({"extra_body": {"priority": "first"}}, "priority"),
    ({"extra_body": {"guided_regex": "a("}}, "guided_regex"),
    ({"extra_body": {"structured_outputs": {"regex": 5}}}, "structured_outputs.regex"),
    ({"extra_body": {"structured_outputs": {"grammar": "root ::= x"}}}, "structured_outputs.grammar"),
]

WRONG_IN_CHAT = [
    ({"messages": []}, "messages"),
    ({"messages": "hello"}, "messages"),
    ({"messages": [{"content": "hello"}]}, "messages[0].role"),
    ({"messages": [{"role": "wizard", "content": "hello"}]}, "messages[0].role"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [*messages(SUM), {"role": "user", "content": 5}]}, "messages[1].content"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
     "messages[0].content[0].type"),
    ({"logprobs": 3}, "logprobs"),
    ({"top_logprobs": 2}, "top_logprobs"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    ({"tools": [{"type": "function", "function": {"name": "no spaces"}}]}, "tools[0].function.name"),
    ({"tool_choice": "auto"}, "tool_choice"),
    ({"reasoning_effort": "colossal"}, "reasoning_effort"),
    ({"extra_body": {"thinking": {"type": "perhaps"}}}, "thinking.type"),
    ({"extra_body": {"thinking": True}}, "thinking"),
    ({"extra_body": {"thinking_token_budget": -2}}, "thinking_token_budget"),
    ({"response_format": {"type": "xml"}}, "response_format.type"),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"not": {}}}}},
     "response_format.json_schema.schema"),
    ({"tool_choice": "required"}, "tool_choice"),
]

WRONG_IN_COMPLETIONS = [
    ({"prompt": []}, "prompt"),
    ({"prompt": {"text": "hello"}}, "prompt"),
    ({"prompt": [10**9]}, "prompt"),
    ({"prompt": [-1]}, "prompt"),
    ({"prompt": ["text", [1]]}, "prompt"),
    ({"logprobs": 21}, "logprobs"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"n": 2, "best_of": 1}, "best_of"),
    ({"suffix": "the end"}, "suffix"),
    ({"echo": "yes"}, "echo"),
]


def name_of(case):
    return json.dumps(case)[:60] if isinstance(case, dict) else str(case)


def check(error: openai.APIStatusError, status: int, param: str | None) -> None:
    assert error.status_code == status
    assert error.param == param
    assert error.type == "invalid_request_error"
    assert isinstance(error.code, str) and error.code
    assert error.body["message"]
    if param:
        assert param in error.body["message"]


@pytest.mark.parametrize("fields, param", WRONG_IN_BOTH + WRONG_IN_CHAT, ids=name_of)
def test_chat_refuses(client, fields, param):
    with pytest.raises(openai.BadRequestError) as caught:
        chat(client, **fields)
    check(caught.value, 400, param)


@pytest.mark.parametrize("fields, param", WRONG_IN_BOTH + WRONG_IN_COMPLETIONS, ids=name_of)
def test_completions_refuse(client, fields, param):
    with pytest.raises(openai.BadRequestError) as caught:
        complete(client, **{"prompt": "Hello"} | fields)
    check(caught.value, 400, param)


def test_a_refusal_of_a_stream_comes_before_the_stream(client):
    with pytest.raises(openai.BadRequestError) as caught:
        chat(client, stream=True, top_p=2)
    check(caught.value, 400, "top_p")


def test_an_unknown_model_is_not_found(client):
    for call in (lambda: chat(client, model="gpt-4"), lambda: complete(client, model="gpt-4"),
                 lambda: client.models.retrieve("gpt-4")):
        with pytest.raises(openai.NotFoundError) as caught:
            call()
        assert caught.value.code == "model_not_found"
        assert "gpt-4" in caught.value.body["message"]
        assert NAME in caught.value.body["message"]  # What there is instead.


def test_a_prompt_longer_than_the_context(client, server):
    length = client.models.list().data[0].max_model_len
    with pytest.raises(openai.BadRequestError) as caught:
        complete(client, [5] * (length + 1))
    assert caught.value.code == "context_length_exceeded"
    assert str(length) in caught.value.body["message"]
    with pytest.raises(openai.BadRequestError) as caught:
        complete(client, [5] * (length - 8), max_tokens=9)
    assert caught.value.code == "context_length_exceeded"
    assert complete(client, [5] * (length - 8), max_tokens=8).usage.total_tokens == length


def test_a_body_too_large(client):
    with pytest.raises(openai.APIStatusError) as caught:
        chat(client, "x" * (17 << 20))
    assert caught.value.status_code == 413
    assert caught.value.body["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"model":}', b"\xff\xfe", b"{}{}",
                                  b'{"messages": [{"role": "user", "content": "\\ud800"}]}',
                                  b"[" * 100_000])
def test_what_is_not_json(server, body):
    answer = server.post("/v1/chat/completions", body)
    assert answer.status == 400
    assert answer.error["type"] == "invalid_request_error"
    assert answer.error["code"] == "invalid_json"
    assert answer.error["param"] is None


def test_wrong_paths_and_methods(server):
    assert server.get("/v1/nothing").status == 404
    assert server.get("/v1/nothing").error["message"]
    wrong = server.get("/v1/chat/completions")
    assert wrong.status == 405
    assert wrong.headers["allow"] == "POST"
    assert server.post("/health", {}).status == 405


def test_a_wrong_content_type(server):
    body = json.dumps({"model": NAME, "prompt": "Hello", "max_tokens": 1}).encode()
    answer = server.request("POST", "/v1/completions", body, {"Content-Type": "text/html"})
    assert answer.status == 415
    assert answer.error["message"]


def test_headers_too_large(server):
    answer = server.get("/health", {"X-Long": "x" * (1 << 20)})
    assert answer.status == 431


def test_the_last_of_two_equal_keys_counts(server):
    body = (b'{"model": "galley-demo", "prompt": "One", "ignore_eos": true,'
            b' "max_tokens": -1, "max_tokens": 2}')
    answer = server.post("/v1/completions", body)
    assert answer.status == 200
    assert answer.json()["usage"]["completion_tokens"] == 2

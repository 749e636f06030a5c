"""Many clients at once, and clients that go away."""

import asyncio
import http.client
import json
import time

import openai

from ask import Stream, complete
from server import DEADLINE_S, NAME, eventually

LONG = {"max_tokens": 1800, "n": 8}  # Seconds of work, were it not cancelled.


def prompts(count: int) -> list[str]:
    return [f"Story {i}: " + "the cook said and " * (i % 7) for i in range(count)]


async def gather_stream(client, prompt: str, **fields) -> Stream:
    stream = await complete(client, prompt, stream=True, **fields)
    return Stream([chunk async for chunk in stream])


def test_64_streams_at_once_equal_the_lone_runs(client, server, run_async):
    lone = [complete(client, prompt, logprobs=1).choices[0] for prompt in prompts(64)]

    async def all_at_once() -> list[Stream]:
        async with server.client(openai.AsyncOpenAI) as many:
            return await asyncio.gather(*(gather_stream(many, prompt, logprobs=1)
                                          for prompt in prompts(64)))

    for alone, stream in zip(lone, run_async(all_at_once())):
        assert stream[0].text == alone.text
        assert stream[0].tokens == alone.logprobs.tokens
        scores = [value for chunk in stream.chunks for choice in chunk.choices
                  if choice.logprobs for value in choice.logprobs.token_logprobs]
        assert scores == alone.logprobs.token_logprobs  # To the bit.


def test_sampled_answers_do_not_depend_on_neighbours(client, server, run_async):
    wild = {"temperature": 1.3, "top_p": 0.9, "presence_penalty": 0.5}
    lone = [complete(client, prompt, seed=i, **wild).choices[0].text
            for i, prompt in enumerate(prompts(24))]

    async def all_at_once() -> list[Stream]:
        async with server.client(openai.AsyncOpenAI) as many:
            return await asyncio.gather(*(gather_stream(many, prompt, seed=i, **wild)
                                          for i, prompt in enumerate(prompts(24))))

    assert [stream[0].text for stream in run_async(all_at_once())] == lone


def is_running(server) -> bool:
    return server.metric("vllm:num_requests_running") > 0


def test_leaving_a_stream_frees_the_engine(client, server):
    server.wait_idle()
    stream = complete(client, stream=True, **LONG)
    for _ in range(3):
        next(stream)
    assert is_running(server)
    stream.close()
    server.wait_idle(within_s=1)
    assert server.metric("vllm:kv_cache_usage_perc") == 0


def test_leaving_a_plain_request_frees_the_engine(client, server):
    server.wait_idle()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=DEADLINE_S)
    body = {"model": NAME, "prompt": "Once", "ignore_eos": True, "temperature": 0} | LONG
    connection.request("POST", "/v1/completions", json.dumps(body),
                       {"Content-Type": "application/json"})
    eventually(lambda: is_running(server), 5, "the request runs")
    connection.close()
    server.wait_idle(within_s=1)


def test_a_client_that_times_out_frees_the_engine(client, server):
    impatient = client.with_options(timeout=0.3)
    try:
        complete(impatient, **LONG)
        raise AssertionError("14,400 tokens in 0.3 s")
    except openai.APITimeoutError:
        pass
    server.wait_idle(within_s=1)


def test_half_of_many_leave_and_the_others_hear_everything(client, server, run_async):
    async def leave(many) -> None:
        stream = await complete(many, "Nobody will read this", stream=True, **LONG)
        async for _ in stream:
            break
        await stream.close()

    async def all_at_once() -> list[Stream]:
        async with server.client(openai.AsyncOpenAI) as many:
            stay = [gather_stream(many, "The galley", max_tokens=64) for _ in range(8)]
            results = await asyncio.gather(*stay, *(leave(many) for _ in range(8)))
            return results[:8]

    alone = complete(client, "The galley", max_tokens=64).choices[0].text
    assert {stream[0].text for stream in run_async(all_at_once())} == {alone}
    server.wait_idle(within_s=1)


def test_a_slow_reader_does_not_hold_up_the_others(client, server):
    slow = complete(client, stream=True, max_tokens=400)
    next(slow)
    started = time.monotonic()
    for _ in range(4):
        complete(client, max_tokens=8)
    quick_s = time.monotonic() - started
    rest = sum(1 for _ in slow)
    assert rest > 10
    assert quick_s < 10 * DEADLINE_S / 60

"""Start, keys, overload, and the end: each on a server of its own."""

import concurrent.futures
import os
import signal
import socket
import subprocess
import time

import openai
import pytest

from ask import SUM, Stream, chat, complete
from server import MODEL, PATIENCE, PROGRAM, Server, eventually

ENDLESS = {"max_tokens": 1900, "n": 48}  # Much more than any of these tests waits for.
KEY = "sk-galley-0123456789"


def test_api_key():
    with Server(environment={"GALLEY_API_KEY": KEY}, api_key=KEY) as server:
        assert "42" in chat(server.client()).choices[0].message.content
        for wrong in ("none", KEY[:-1], KEY + "0", KEY.upper()):
            with pytest.raises(openai.AuthenticationError) as caught:
                chat(server.client(api_key=wrong))
            assert caught.value.code == "invalid_api_key"
        for headers in ({"Authorization": ""}, {"Authorization": KEY},
                        {"Authorization": "Basic " + KEY}):
            answer = server.get("/v1/models", headers)
            assert answer.status == 401
            assert answer.headers["www-authenticate"].startswith("Bearer")
        assert server.get("/health", {"Authorization": ""}).status == 200  # For load balancers.
        assert KEY not in server.log()


def test_no_open_port_without_a_key():
    done = subprocess.run([PROGRAM, "serve", "--model", MODEL, "--host", "0.0.0.0", "--port", "1"],
                          capture_output=True, text=True, timeout=60 * PATIENCE)
    assert done.returncode != 0
    assert "--api-key" in done.stderr and "--allow-unauthenticated" in done.stderr


@pytest.mark.parametrize("flags, named", [
    (["--max-num-seq", "4"], "--max-num-seqs"),
    (["--max-num-seqs", "0"], "max-num-seqs"),
    (["--port", "65536"], "port"),
    (["--kv-cache-dtype", "int3"], "kv-cache-dtype"),
    (["--speculative-config", '{"method":"magic"}'], "speculative-config"),
    (["--chat-template", "/nonexistent"], "/nonexistent"),
])
def test_wrong_flags_are_named(flags, named):
    done = subprocess.run([PROGRAM, "serve", "--model", MODEL, *flags], capture_output=True,
                          text=True, timeout=60 * PATIENCE)
    assert done.returncode not in (0, -signal.SIGABRT, -signal.SIGSEGV)
    assert named in done.stderr


def test_a_full_queue_refuses_and_recovers():
    with Server("--max-num-seqs", "2", "--max-num-queued-reqs", "4") as server:
        client = server.client()
        alone = complete(client, max_tokens=32).choices[0].text

        def one(i: int):
            try:
                return complete(client, max_tokens=600 if i else 32).choices[0].text
            except openai.RateLimitError as refused:
                assert int(refused.response.headers["retry-after"]) >= 1
                assert refused.code
                return None

        with concurrent.futures.ThreadPoolExecutor(24) as pool:
            answers = list(pool.map(one, range(1, 25)))
        assert None in answers and any(answers)
        assert len(set(filter(None, answers))) == 1
        assert complete(client, max_tokens=32).choices[0].text == alone


def test_sigterm_lets_a_stream_finish_and_lets_nobody_in():
    with Server("--shutdown-timeout", "20") as server:
        client = server.client()
        alone = complete(client, max_tokens=900).choices[0].text
        stream = complete(client, max_tokens=900, stream=True)
        first = next(stream)
        os.kill(server.pid, signal.SIGTERM)
        time.sleep(0.1)
        with pytest.raises((openai.APIConnectionError, openai.InternalServerError)) as caught:
            complete(server.client(), max_tokens=1)
        if isinstance(caught.value, openai.InternalServerError):
            assert caught.value.status_code == 503
        assert server.process.poll() is None
        rest = list(stream)
        assert Stream([first, *rest])[0].text == alone
        assert server.wait(5) == 0
        server.has_ended = True


def test_the_shutdown_timeout_cuts_what_takes_too_long():
    with Server("--shutdown-timeout", "1") as server:
        stream = complete(server.client(), stream=True, **ENDLESS)
        next(stream)
        stopped = time.monotonic()
        os.kill(server.pid, signal.SIGTERM)
        with pytest.raises(openai.APIError):  # Not a finish_reason that was never reached.
            for chunk in stream:
                assert not any(choice.finish_reason for choice in chunk.choices)
        assert server.wait(6) == 0
        assert time.monotonic() - stopped >= 0.9
        server.has_ended = True


def test_a_second_sigterm_stops_at_once():
    with Server("--shutdown-timeout", "60") as server:
        stream = complete(server.client(), stream=True, **ENDLESS)
        next(stream)
        os.kill(server.pid, signal.SIGTERM)
        time.sleep(0.1)
        assert server.process.poll() is None
        os.kill(server.pid, signal.SIGTERM)
        server.wait(2)
        server.has_ended = True


def test_an_idle_server_ends_at_once_and_its_port_is_free_again():
    with Server() as server:
        server.get("/health")
        started = time.monotonic()
        assert server.terminate(within_s=3) == 0
        assert time.monotonic() - started < 3 * PATIENCE
        with socket.socket() as again:
            again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            again.bind(("127.0.0.1", server.port))
        server.has_ended = True


def test_without_speculation_the_answers_are_the_same(client):
    with Server("--speculative-config", '{"method":"none"}', "--no-enable-prefix-caching",
                "--max-num-batched-tokens", "96", "--max-num-seqs", "3") as server:
        plain = server.client()
        for text in (SUM, "Count the letter r in strawberry."):
            assert chat(plain, text).choices[0].message == chat(client, text).choices[0].message
        ours, theirs = (complete(c, max_tokens=64, logprobs=2).choices[0] for c in (plain, client))
        assert ours == theirs  # Log-probabilities to the bit.
        assert complete(plain).usage.prompt_tokens_details.cached_tokens == 0

"""Waiting honestly: keep-alives, positions, estimates, deadlines, and the order of those who wait."""

import http.client
import json
import threading
import time

import openai
import pytest

from ask import complete
from server import DEADLINE_S, NAME, Server, eventually
from test_tenants import Store

# One request that fills the engine for long: it starts because nothing else runs, and then there is no place.
BUSY = {"max_tokens": 1800, "n": 16}


@pytest.fixture
def narrow():
    """One place in the engine. A server of its own for each test: nothing is known of the speed yet, so
    no wait is refused for its length."""
    with Server("--max-num-seqs", "1", "--max-num-queued-reqs", "64") as running:
        yield running


@pytest.fixture
def occupied(narrow):
    """The engine is taken until the test has ended."""
    stream = complete(narrow.client(), "Busy", stream=True, **BUSY)
    next(stream)
    assert narrow.metric("galley_admission_running_sequences") == 16
    yield narrow
    assert narrow.metric("galley_admission_running_sequences") == 16, "the test took longer than its backlog"
    stream.close()
    narrow.wait_idle(within_s=5)


def post_raw(server, body: dict, headers: dict | None = None):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=DEADLINE_S)
    connection.request("POST", "/v1/completions", json.dumps({"model": NAME, "prompt": "Wait"} | body),
                       {"Content-Type": "application/json"} | (headers or {}))
    return connection


def test_a_stream_that_waits_hears_keep_alive_each_second(occupied):
    connection = post_raw(occupied, {"stream": True, "max_tokens": 2})
    begun = time.monotonic()
    answer = connection.getresponse()
    assert answer.status == 200 and 0.9 <= time.monotonic() - begun < 5
    assert int(answer.headers["x-galley-queue-position"]) >= 1
    assert int(answer.headers["x-galley-queue-start-p90-ms"]) >= int(answer.headers["x-galley-queue-start-ms"])
    lines = [answer.readline() for _ in range(4)]
    assert lines == [b": keep-alive\n", b"\n"] * 2
    assert time.monotonic() - begun >= 1.8
    connection.close()


def test_who_asks_hears_position_and_estimate(occupied):
    connection = post_raw(occupied, {"stream": True, "max_tokens": 2},
                          {"x-galley-queue-events": "1", "X-Request-Id": "mine-1"})
    answer = connection.getresponse()
    assert answer.readline() == b"event: galley.queue\n"
    news = json.loads(answer.readline().removeprefix(b"data: "))
    assert news["object"] == "galley.queue" and news["id"] == "mine-1" and news["choices"] == []
    assert news["position"] == 1 and news["waited_ms"] >= 900
    assert 0 <= news["estimated_start_ms"]["median"] <= news["estimated_start_ms"]["p90"]
    assert news["reason"] in ("slot", "memory", "behind_others")
    page = occupied.get("/v1/queue").json()
    assert page["waiting"] == page["own_waiting"] == 1
    assert [one["id"] for one in page["requests"]] == ["mine-1"]
    one = occupied.get("/v1/queue/mine-1").json()
    assert one["position"] == 1 and one["reason"] == page["requests"][0]["reason"]
    assert occupied.get("/v1/queue/not-here").status == 404
    connection.close()
    eventually(lambda: occupied.get("/v1/queue").json()["waiting"] == 0, 3, "who leaves no longer waits")


def test_the_official_client_waits_and_is_served(narrow):
    streams = [complete(narrow.client(), f"Busy {i}", stream=True, max_tokens=300) for i in range(3)]
    next(streams[0])
    readers = [threading.Thread(target=lambda s=s: list(s)) for s in streams]
    for reader in readers:
        reader.start()
    answer = complete(narrow.client(), "Wait", max_tokens=5)
    assert answer.choices[0].finish_reason in ("length", "stop")
    chunks = list(complete(narrow.client(), "Wait", max_tokens=5, stream=True))
    assert chunks[-1].choices[0].finish_reason
    for reader in readers:
        reader.join()
    narrow.wait_idle(within_s=5)


def test_a_deadline_that_passes_while_waiting_is_504(occupied):
    with pytest.raises(openai.InternalServerError) as late:
        complete(occupied.client(), max_tokens=1, extra_headers={"x-galley-deadline-ms": "700"})
    assert late.value.status_code == 504 and late.value.code == "deadline_exceeded"


def test_a_longest_wait_is_kept(occupied):
    begun = time.monotonic()
    with pytest.raises(openai.RateLimitError) as late:
        complete(occupied.client(), max_tokens=1, extra_headers={"x-galley-max-queue-ms": "300"})
    assert time.monotonic() - begun < 3
    assert late.value.code == "queue_wait_exceeded"
    assert int(late.value.response.headers["retry-after"]) >= 1


@pytest.mark.parametrize("value", ["0", "-1", "soon", "1e3"])
def test_a_wait_that_is_no_number_is_named(narrow, value):
    answer = narrow.post("/v1/completions", {"prompt": "x", "max_tokens": 1}, {"x-galley-max-queue-ms": value})
    assert answer.status == 400 and answer.error["param"] == "x-galley-max-queue-ms"


def test_a_light_tenant_goes_before_the_backlog_of_a_heavy_one(tmp_path):
    store = Store(tmp_path)
    store.run("tenant", "tier", "free", "--rpm", "0", "--tpm", "0", "--concurrency", "0")
    store.tenant("heavy"), store.tenant("light")
    heavy, light = store.key("heavy")["key"], store.key("light")["key"]
    done: list[str] = []
    with Server("--tenants", store.path, "--max-num-seqs", "1") as server:
        def ask(key: str, name: str) -> None:
            complete(server.client(api_key=key), "Go", max_tokens=200)
            done.append(name)

        threads = [threading.Thread(target=ask, args=(heavy, "heavy")) for _ in range(24)]
        for thread in threads:
            thread.start()
        eventually(lambda: server.metric("galley_queue_sequences") >= 20, 10, "a backlog")
        threads.append(threading.Thread(target=ask, args=(light, "light")))
        threads[-1].start()
        for thread in threads:
            thread.join()
        assert done.index("light") < 16, done  # Among 24 first come, first served would put it last.

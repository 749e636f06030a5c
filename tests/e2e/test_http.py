"""The other endpoints, and what HTTP itself promises."""

import http.client
import json
import re
import socket

import pytest

from ask import SUM, chat, complete, messages
from server import ALIAS, DEADLINE_S, NAME


def test_models(client):
    models = client.models.list().data
    assert [model.id for model in models] == [NAME, ALIAS]
    for model in models:
        assert model.object == "model"
        assert model.owned_by and model.created > 0
        assert model.max_model_len > 0
        assert client.models.retrieve(model.id).id == model.id


@pytest.mark.parametrize("path", ["/health", "/ready", "/version", "/metrics", "/v1/models"])
def test_get_and_head(server, path):
    answer = server.get(path)
    assert answer.status == 200
    head = server.request("HEAD", path)
    assert head.status == 200
    assert head.body == b""


def test_version(server):
    assert server.get("/version").json()["version"]


TEXTS = ["", "Hello, world!", "一二三，你好。", "tabs\tand\n\nlines  ", "e\u0301 \U0001f980 \u200b",
         "1234567890 " * 50, "<think>not a tag here"]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_tokenize_and_back(server, text):
    answer = server.post("/tokenize", {"prompt": text, "add_special_tokens": False,
                                       "return_token_strs": True})
    assert answer.status == 200
    body = answer.json()
    assert body["count"] == len(body["tokens"]) == len(body["token_strs"])
    assert body["max_model_len"] > 0
    assert server.detokenize(body["tokens"]) == text


def test_tokenize_a_conversation_as_chat_does(client, server):
    answer = server.post("/tokenize", {"messages": messages(SUM)})
    tokens = answer.json()["tokens"]
    reply = chat(client, max_tokens=1, extra_body={"return_token_ids": True})
    assert tokens == reply.prompt_token_ids
    assert answer.json()["count"] == reply.usage.prompt_tokens


def test_detokenize_refuses_what_is_no_token(server):
    for tokens in ([-1], [10**9], ["a"], [1.5], "abc"):
        answer = server.post("/detokenize", {"tokens": tokens})
        assert answer.status == 400
        assert answer.error["param"] == "tokens"


def test_a_request_id_is_kept_or_made(server):
    kept = server.get("/health", {"X-Request-Id": "mine-1234"})
    assert kept.headers["x-request-id"] == "mine-1234"
    made = {server.get("/health").headers["x-request-id"] for _ in range(2)}
    assert len(made) == 2 and all(made)
    evil = server.get("/health", {"X-Request-Id": "a" * 5000})
    assert len(evil.headers.get("x-request-id", "")) <= 512
    assert server.post("/v1/completions", {}).headers["x-request-id"]  # Also on errors.


def test_a_connection_is_kept_for_many_requests(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=DEADLINE_S)
    connection.connect()
    mine = connection.sock.getsockname()
    body = json.dumps({"model": NAME, "prompt": "One", "max_tokens": 2, "temperature": 0})
    bodies = set()
    for method, path, payload, status in [("GET", "/health", None, 200),
                                          ("POST", "/v1/completions", body, 200),
                                          ("POST", "/v1/completions", "{", 400),
                                          ("POST", "/v1/completions", '{"n": 0}', 400),
                                          ("POST", "/v1/completions", body, 200)]:
        connection.request(method, path, payload, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status == status
        assert connection.sock is not None and connection.sock.getsockname() == mine
        if status == 200 and payload:
            bodies.add(json.loads(text)["choices"][0]["text"])
    assert len(bodies) == 1
    connection.close()


def read_until_close(connection: socket.socket) -> bytes:
    data = b""
    while piece := connection.recv(65536):
        data += piece
    return data


def test_pipelined_requests_are_answered_in_order(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE_S) as connection:
        connection.sendall(b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n"
                           b"GET /v1/models/none HTTP/1.1\r\nHost: x\r\n\r\n"
                           b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        data = read_until_close(connection)
    assert re.findall(rb"HTTP/1\.1 (\d+) ", data) == [b"200", b"404", b"200"]


def test_connection_close_is_obeyed_and_http_1_0_is_understood(server):
    for request in (b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
                    b"GET /health HTTP/1.0\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE_S) as connection:
            connection.sendall(request)
            assert b" 200 " in read_until_close(connection).split(b"\r\n")[0]


def test_chunked_bodies_and_expect_continue(server):
    body = json.dumps({"model": NAME, "prompt": "One", "max_tokens": 1}).encode()
    half = len(body) // 2
    chunked = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:half], body[half:]))
    head = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE_S) as connection:
        connection.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunked + b"0\r\n\r\n")
        assert b" 200 " in read_until_close(connection).split(b"\r\n")[0]
    with socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE_S) as connection:
        connection.sendall(head + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body))
        assert connection.recv(65536).startswith(b"HTTP/1.1 100 ")
        connection.sendall(body)
        assert b" 200 " in read_until_close(connection).split(b"\r\n")[0]


def test_a_stream_is_server_sent_events(server):
    answer = server.post("/v1/completions", {"model": NAME, "prompt": "One", "max_tokens": 3,
                                             "stream": True})
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert "no-cache" in answer.headers["cache-control"]
    events = answer.body.decode().split("\n\n")
    assert events[-1] == "" and events[-2] == "data: [DONE]"
    for event in events[:-2]:
        assert event.startswith("data: {") and "\n" not in event
        json.loads(event.removeprefix("data: "))


COUNTERS = ["vllm:prompt_tokens_total", "vllm:generation_tokens_total",
            "vllm:prefix_cache_queries_total", "vllm:prefix_cache_hits_total",
            "vllm:num_preemptions_total", "vllm:request_success_total"]
GAUGES = ["vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc"]
HISTOGRAMS = ["vllm:time_to_first_token_seconds", "vllm:inter_token_latency_seconds",
              "vllm:request_time_per_output_token_seconds", "vllm:e2e_request_latency_seconds",
              "vllm:request_queue_time_seconds", "vllm:request_prefill_time_seconds",
              "vllm:request_decode_time_seconds", "vllm:request_inference_time_seconds",
              "vllm:request_prompt_tokens", "vllm:request_generation_tokens",
              "vllm:iteration_tokens_total"]
DRAFTS = ["vllm:spec_decode_num_drafts_total", "vllm:spec_decode_num_draft_tokens_total",
          "vllm:spec_decode_num_accepted_tokens_total"]


def test_metrics_have_vllms_names_and_labels(server):
    families = server.families()
    for name in COUNTERS + DRAFTS:
        assert families[name.removesuffix("_total")].type == "counter", name
    for name in GAUGES:
        assert families[name].type == "gauge", name
    for name in HISTOGRAMS:
        assert families[name].type == "histogram", name
    for name in COUNTERS + GAUGES + DRAFTS:
        family = families.get(name) or families[name.removesuffix("_total")]
        for sample in family.samples:
            assert sample.labels["model_name"] == NAME
            assert sample.labels["engine"] == "0"
    [cache] = families["vllm:cache_config_info"].samples
    assert cache.value == 1
    assert cache.labels["block_size"] == "64" and int(cache.labels["num_gpu_blocks"]) > 0
    reasons = {s.labels["finished_reason"] for s in families["vllm:request_success"].samples}
    assert {"stop", "length"} <= reasons


def test_metrics_move_by_what_was_done(client, server):
    def values() -> dict:
        return {name: server.metric(name) for name in COUNTERS} | {
            name + suffix: server.metric(name + suffix)
            for name in HISTOGRAMS for suffix in ("_count", "_sum")}

    server.wait_idle()
    before = values()
    answer = complete(client, max_tokens=20)
    server.wait_idle()
    after = values()
    moved = {name: after[name] - before[name] for name in after}
    assert moved["vllm:prompt_tokens_total"] == answer.usage.prompt_tokens
    assert moved["vllm:generation_tokens_total"] == 20
    assert moved["vllm:request_success_total"] == 1
    assert moved["vllm:request_prompt_tokens_sum"] == answer.usage.prompt_tokens
    assert moved["vllm:request_generation_tokens_sum"] == 20
    for name in HISTOGRAMS[:-1]:
        if name not in ("vllm:inter_token_latency_seconds",):
            assert moved[name + "_count"] == 1, name
    assert moved["vllm:inter_token_latency_seconds_count"] > 0
    assert (0 < moved["vllm:time_to_first_token_seconds_sum"]
            <= moved["vllm:e2e_request_latency_seconds_sum"] < DEADLINE_S)
    assert server.metric("vllm:kv_cache_usage_perc") == 0


def test_logs_have_no_word_of_prompt_or_answer(client, server):
    marker = "xylophone-quartz-7319"
    answer = chat(client, f"Repeat: {marker}")
    complete(client, marker)
    server.post("/v1/completions", {"model": NAME, "prompt": marker, "temperature": 9})
    server.post("/v1/chat/completions", f'{{"messages": "{marker}"'.encode())
    log = server.log()
    assert marker not in log
    words = answer.choices[0].message.content
    assert len(words) < 12 or words not in log

"""Tenants, keys, limits, balance and the ledger, by the program's own commands and the official client."""

import concurrent.futures
import http.client
import json
import os
import signal
import subprocess
import time

import openai
import pytest

from ask import complete
from server import DEADLINE_S, NAME, PATIENCE, PROGRAM, Server, eventually, free_port


class Store:
    def __init__(self, folder):
        self.path = str(folder / "tenants.db")

    def run(self, *words: str) -> str:
        done = subprocess.run([PROGRAM, *words, "--tenants", self.path], capture_output=True, text=True,
                              timeout=60 * PATIENCE, env={"PATH": os.environ["PATH"]})
        assert done.returncode == 0, done.stderr
        return done.stdout

    def tenant(self, name: str, *flags: str) -> dict:
        return json.loads(self.run("tenant", "create", name, "--json", *flags))

    def key(self, tenant: str, *flags: str) -> dict:
        return json.loads(self.run("key", "create", tenant, "--json", *flags))

    def usage(self, tenant: str) -> dict:
        return json.loads(self.run("tenant", "usage", tenant, "--json"))


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def status_of(server, key: str | None) -> int:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return server.get("/v1/models", headers).status


def test_keys_work_until_they_are_revoked(store):
    store.tenant("acme", "--tier", "paid")
    kept, gone = store.key("acme"), store.key("acme", "--name", "laptop")
    with Server("--tenants", store.path) as server:
        assert status_of(server, None) == 401
        assert status_of(server, "sk-wrong") == 401
        assert status_of(server, kept["key"]) == status_of(server, gone["key"]) == 200
        store.run("key", "revoke", gone["id"])
        eventually(lambda: status_of(server, gone["key"]) == 401, 5, "a revoked key is refused")
        assert status_of(server, kept["key"]) == 200
        # And what is added while it runs works as soon.
        later = store.key("acme")["key"]
        eventually(lambda: status_of(server, later) == 200, 5, "a new key is taken")
        store.run("tenant", "set", "acme", "--no-active")
        eventually(lambda: status_of(server, kept["key"]) == 401, 5, "a suspended tenant is refused")


def test_the_admin_api_rules_a_running_server(store):
    port = free_port()
    with Server("--tenants", store.path, "--admin-key", "master", "--admin-port", str(port)) as server:
        def admin(method: str, path: str, body: dict | None = None, key: str = "master"):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
            connection.request(method, path, json.dumps(body) if body else None,
                               {"Authorization": f"Bearer {key}", "Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

        assert admin("GET", "/admin/tenants", key="guess")[0] == 401
        assert admin("POST", "/admin/tenants", {"name": "acme", "prepaid": True})[0] == 200
        key = admin("POST", "/admin/tenants/acme/keys", {"name": "laptop"})[1]
        eventually(lambda: status_of(server, key["key"]) == 200, 5, "a new key is taken")
        assert status_of(server, "master") == 401  # It opens nothing else.
        with pytest.raises(openai.APIStatusError) as poor:
            complete(server.client(api_key=key["key"]), max_tokens=1)
        assert poor.value.status_code == 402
        assert admin("POST", "/admin/tenants/acme/credit", {"amount": "1"})[0] == 200
        balance = lambda: server.get("/user/balance", {"Authorization": f"Bearer {key['key']}"}).json()
        eventually(lambda: balance()["is_available"], 5, "the credit has arrived")
        complete(server.client(api_key=key["key"]), max_tokens=3)
        rows = eventually(lambda: admin("GET", "/admin/tenants/acme/ledger")[1]["data"], 5, "booked")
        assert rows[0]["output_tokens"] == 3 and rows[0]["key"] == key["id"]
        assert admin("DELETE", "/admin/keys/" + key["id"])[0] == 200
        eventually(lambda: status_of(server, key["key"]) == 401, 5, "a revoked key is refused")


def test_the_bill_is_what_was_delivered_and_402_follows(store):
    store.run("tenant", "tier", "paid", "--price-input", "1", "--price-output", "2")
    store.tenant("acme", "--tier", "paid", "--prepaid", "--balance", "0.0003")
    key = store.key("acme")["key"]
    with Server("--tenants", store.path, api_key=key) as server:
        client = server.client()
        answer = complete(client, max_tokens=20)
        balance = server.get("/user/balance").json()
        spent = answer.usage.prompt_tokens - answer.usage.prompt_tokens_details.cached_tokens
        left = 300 - spent - 2 * answer.usage.completion_tokens
        assert balance["is_available"] is True
        assert balance["balance_infos"][0]["currency"] == "USD"
        assert float(balance["balance_infos"][0]["total_balance"]) == pytest.approx(left / 1e6)
        used = eventually(lambda: store.usage("acme") if store.usage("acme")["requests"] else None, 5, "booked")
        assert used["output_tokens"] == answer.usage.completion_tokens
        assert used["prompt_tokens"] == answer.usage.prompt_tokens
        while left > 0:
            more = complete(client, max_tokens=60)
            left -= 2 * more.usage.completion_tokens
            left -= more.usage.prompt_tokens - more.usage.prompt_tokens_details.cached_tokens
        with pytest.raises(openai.APIStatusError) as refused:
            complete(client, max_tokens=4)
        assert refused.value.status_code == 402
        assert refused.value.code == "insufficient_balance"
        assert server.get("/user/balance").json()["is_available"] is False
        store.run("tenant", "credit", "acme", "--amount", "1")
        eventually(lambda: server.get("/user/balance").json()["is_available"], 5, "the credit counts")
        complete(client, max_tokens=4)


def test_limits_refuse_with_headers_and_cost_nothing(store):
    store.tenant("acme", "--tier", "paid")
    key = store.key("acme", "--rpm", "3", "--tpm", "100000")["key"]
    with Server("--tenants", store.path, api_key=key) as server:
        raw = server.client().completions.with_raw_response
        seen = []
        for _ in range(3):
            answer = raw.create(model=NAME, prompt="Once", max_tokens=2)
            seen.append(int(answer.headers["x-ratelimit-remaining-requests"]))
            assert answer.headers["x-ratelimit-limit-requests"] == "3"
            assert int(answer.headers["x-ratelimit-remaining-tokens"]) > 90_000
            assert answer.headers["x-ratelimit-reset-tokens"]
        assert seen == [2, 1, 0]
        waits = set()
        for _ in range(8):
            with pytest.raises(openai.RateLimitError) as refused:
                complete(server.client(), max_tokens=2)
            assert refused.value.code == "rate_limit_exceeded"
            waits.add(int(refused.value.response.headers["retry-after"]))
            assert refused.value.response.headers["x-ratelimit-remaining-requests"] == "0"
        assert min(waits) >= 15 and len(waits) > 1  # Computed, and spread.
        assert server.metric("galley_admission_total", outcome="refused_request_rate") == 8
        assert store.usage("acme")["requests"] == 3


def test_concurrency_is_limited_for_each_tenant(store):
    store.run("tenant", "tier", "free", "--rpm", "0", "--tpm", "0", "--concurrency", "2")
    store.tenant("acme"), store.tenant("other")
    key, other = store.key("acme")["key"], store.key("other")["key"]
    with Server("--tenants", store.path, api_key=key) as server:
        client = server.client()
        streams = [complete(client, max_tokens=1500, stream=True) for _ in range(2)]
        for stream in streams:
            next(stream)
        with pytest.raises(openai.RateLimitError):
            complete(client, max_tokens=2)
        complete(server.client(api_key=other), max_tokens=2)
        for stream in streams:
            stream.close()
        eventually(lambda: server.is_idle(), 5, "idle")
        complete(client, max_tokens=2)


def test_tenants_and_users_do_not_share_prefixes(store):
    store.tenant("a", "--tier", "paid"), store.tenant("b", "--tier", "paid")
    first, second = store.key("a")["key"], store.key("b")["key"]
    prompt = "The ship sailed far away and came back with many stories to be told. " * 24
    with Server("--tenants", store.path) as server:
        def cached(key, user=None):
            usage = complete(server.client(api_key=key), prompt, max_tokens=1, user=user or openai.NOT_GIVEN).usage
            return usage.prompt_tokens_details.cached_tokens
        assert cached(first) == 0
        assert cached(first) > 0
        assert cached(second) == 0
        assert cached(first, "alice") == 0
        assert cached(first, "alice") > 0
        assert cached(first, "bob") == 0


def test_aborts_are_billed_to_the_token(store):
    """Streams cut off anywhere: the ledger holds at least what clients saw, and not more than was sent."""
    store.tenant("acme", "--tier", "paid")
    key = store.key("acme")["key"]
    with Server("--tenants", store.path, api_key=key) as server:
        def one(i: int) -> tuple[int, int]:
            stream = complete(server.client(), f"Tale {i}", max_tokens=30, stream=True,
                              stream_options={"include_usage": True, "continuous_usage_stats": True})
            seen = prompt = 0
            for number, chunk in enumerate(stream):
                if chunk.usage:
                    seen, prompt = chunk.usage.completion_tokens, chunk.usage.prompt_tokens
                if number == i % 17:
                    break
            stream.close()
            return prompt, seen

        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            seen = sum(tokens for _, tokens in pool.map(one, range(80)))
        eventually(lambda: server.is_idle(), 10, "idle")
        eventually(lambda: server.metric("galley_ledger_rows_pending") == 0, 5, "all is booked")
        used = store.usage("acme")
        assert used["output_tokens"] >= seen
        # Each client left at most what was under way to it: its whole answer of 30.
        assert used["output_tokens"] <= 80 * 30
        generated = server.metric("vllm:generation_tokens_total")
        assert used["output_tokens"] <= generated


def test_a_kill_loses_nothing_and_bills_nothing_twice(store):
    store.run("tenant", "tier", "paid", "--price-output", "10000")
    store.tenant("acme", "--tier", "paid")
    key = store.key("acme")["key"]
    seen = 0
    for _ in range(3):
        with Server("--tenants", store.path, api_key=key) as server:
            client = server.client()
            whole = complete(client, max_tokens=7)
            seen += whole.usage.completion_tokens
            stream = complete(client, max_tokens=1000, stream=True,
                              stream_options={"include_usage": True, "continuous_usage_stats": True})
            for _, chunk in zip(range(12), stream):
                tokens = chunk.usage.completion_tokens
            seen += tokens
            server.process.send_signal(signal.SIGKILL)
            server.wait(10)
            server.has_ended = True
            # What was on its way when it was killed.
            try:
                for chunk in stream:
                    if chunk.usage:
                        seen += chunk.usage.completion_tokens - tokens
                        tokens = chunk.usage.completion_tokens
            except Exception:  # It was cut off, somewhere.
                pass
    with Server("--tenants", store.path, api_key=key):
        used = store.usage("acme")
    assert used["requests"] == 6
    # To the token, but for one step under way at each kill (up to 2 tokens with speculation).
    assert seen <= used["output_tokens"] <= seen + 3 * 8
    tenant = json.loads(store.run("tenant", "list", "--json"))
    assert float(tenant["balance"]) == pytest.approx(-used["output_tokens"] / 100)

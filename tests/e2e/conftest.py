"""One server for the whole run; tests that need another start their own (server.Server)."""

import asyncio

import pytest

import server as serving


@pytest.fixture(scope="session")
def server():
    with serving.Server("--max-num-seqs", "64", "--shutdown-timeout", "20") as running:
        yield running


@pytest.fixture(scope="session")
def client(server):
    with server.client() as made:
        yield made


@pytest.fixture
def run_async():
    """Runs a coroutine to its end, within the deadline of a request."""

    def run(coroutine):
        async def bounded():
            return await asyncio.wait_for(coroutine, serving.DEADLINE_S)

        return asyncio.run(bounded())

    return run


@pytest.fixture(autouse=True)
def nothing_is_left_running(request):
    """Each test leaves the shared server idle: what it started has ended or is cancelled."""
    yield
    if "server" in request.fixturenames or "client" in request.fixturenames:
        request.getfixturevalue("server").wait_idle(within_s=2)

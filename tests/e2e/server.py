"""A `galley serve` of our own for a test: started on a free loopback port, watched, ended.

GALLEY_PROGRAM, GALLEY_MODEL  what to run and serve; default: this checkout's build and demo model
GALLEY_PATIENCE               factor on every wait, for sanitizer builds; default 1. A machine with
                              more to do than cores gets more of it by itself
"""

from __future__ import annotations

import ctypes
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time

import openai
from prometheus_client.parser import text_string_to_metric_families

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("GALLEY_PROGRAM", str(ROOT / "build/bin/galley"))
MODEL = os.environ.get("GALLEY_MODEL", str(ROOT / "models/demo"))
BUSY = max(1.0, os.getloadavg()[0] / os.cpu_count() / 1.5)
PATIENCE = float(os.environ.get("GALLEY_PATIENCE", "1")) * BUSY
NAME = "galley-demo"
ALIAS = "demo-by-another-name"
DEADLINE_S = 60 * PATIENCE  # of one request

PR_SET_PDEATHSIG = 1


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def eventually(condition, within_s: float, what: str):
    """The first true value of condition(); an AssertionError when the time is over."""
    end = time.monotonic() + within_s * PATIENCE
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"not within {within_s * PATIENCE:.1f} s: {what}"
        time.sleep(0.01)


class Response:
    """A plain HTTP answer: status, headers with lower-case names, body."""

    def __init__(self, status: int, headers, body: bytes):
        self.status = status
        self.headers = {name.lower(): value for name, value in headers}
        self.body = body

    def json(self):
        return json.loads(self.body)

    @property
    def error(self) -> dict:
        return self.json()["error"]


class Server:
    """`with Server("--flag", ...) as server:` leaves when the process has ended by SIGTERM with 0."""

    def __init__(self, *flags: str, api_key: str | None = None, environment: dict | None = None,
                 arguments: list[str] | None = None):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.api_key = api_key
        self._arguments = arguments or ["--model", MODEL, "--served-model-name", NAME, ALIAS,
                                        "--host", "127.0.0.1", *flags]
        self._environment = environment or {}
        self._log = tempfile.NamedTemporaryFile(prefix="galley-e2e-", suffix=".log", delete=False)
        self.process: subprocess.Popen | None = None
        self.ready_s = 0.0  # from start to /ready
        self.has_ended = False  # set by a test that has ended the process itself

    def __enter__(self) -> "Server":
        command = [PROGRAM, "serve", *self._arguments, "--port", str(self.port)]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("GALLEY_")}
        started = time.monotonic()
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self._log,
                                        stderr=self._log, cwd=ROOT, env=environment | self._environment,
                                        preexec_fn=die_with_parent)
        try:
            eventually(self._is_ready, 60, f"{' '.join(command)} answers /ready with 200")
        except BaseException:
            self.kill()
            print(self.log()[-4000:])
            raise
        self.ready_s = time.monotonic() - started
        return self

    def __exit__(self, kind, error, trace) -> None:
        if kind is not None:
            self.kill()
            print(self.log()[-4000:])
            return
        try:
            if self.has_ended:
                return
            self.check_alive()
            code = self.terminate()
            assert code == 0, f"exit code {code} after SIGTERM\n{self.log()[-4000:]}"
        finally:
            self.kill()

    def _is_ready(self) -> bool:
        self.check_alive()
        try:
            return self.get("/ready").status == 200
        except OSError:
            return False

    @property
    def pid(self) -> int:
        return self.process.pid

    def check_alive(self) -> None:
        code = self.process.poll()
        assert code is None, f"the server ended by itself with {code}\n{self.log()[-4000:]}"

    def terminate(self, within_s: float = 30) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait(within_s)

    def wait(self, within_s: float) -> int:
        eventually(lambda: self.process.poll() is not None, within_s, "the server's end")
        return self.process.returncode

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if not self._log.closed:
            self._log.flush()
            self._kept_log = pathlib.Path(self._log.name).read_text(errors="replace")
            self._log.close()
            os.unlink(self._log.name)

    def log(self) -> str:
        if self._log.closed:
            return self._kept_log
        return pathlib.Path(self._log.name).read_text(errors="replace")

    # Talking to it.

    def client(self, kind=openai.OpenAI, **options) -> openai.OpenAI:
        defaults = {"api_key": self.api_key or "none", "max_retries": 0, "timeout": DEADLINE_S,
                    "base_url": self.url + "/v1"}
        return kind(**(defaults | options))

    def request(self, method: str, path: str, body: bytes | None = None,
                headers: dict | None = None) -> Response:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        try:
            own = {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}
            connection.request(method, path, body, own | (headers or {}))
            answer = connection.getresponse()
            return Response(answer.status, answer.getheaders(), answer.read())
        finally:
            connection.close()

    def get(self, path: str, headers: dict | None = None) -> Response:
        return self.request("GET", path, None, headers)

    def post(self, path: str, value, headers: dict | None = None) -> Response:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        return self.request("POST", path, body, {"Content-Type": "application/json"} | (headers or {}))

    def tokenize(self, text: str, add_special_tokens: bool = False) -> list[int]:
        answer = self.post("/tokenize", {"prompt": text, "add_special_tokens": add_special_tokens})
        assert answer.status == 200, answer.body
        return answer.json()["tokens"]

    def detokenize(self, tokens: list[int]) -> str:
        answer = self.post("/detokenize", {"tokens": tokens})
        assert answer.status == 200, answer.body
        return answer.json()["prompt"]

    # What it says of itself.

    def families(self) -> dict:
        answer = self.get("/metrics")
        assert answer.status == 200
        return {family.name: family
                for family in text_string_to_metric_families(answer.body.decode())}

    def metric(self, name: str, **labels) -> float:
        """The sum of the samples called `name` that carry `labels`."""
        values = [sample.value for family in self.families().values() for sample in family.samples
                  if sample.name == name and labels.items() <= sample.labels.items()]
        assert values, f"/metrics has no {name} with {labels}"
        return sum(values)

    def is_idle(self) -> bool:
        return (self.metric("vllm:num_requests_running") == 0
                and self.metric("vllm:num_requests_waiting") == 0)

    def wait_idle(self, within_s: float = 1) -> None:
        eventually(self.is_idle, within_s, "no request runs or waits")

    # What the system says of it.

    def rss_bytes(self) -> int:
        for line in pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def threads(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/task"))

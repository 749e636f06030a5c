"""The READMEs' examples work when pasted: against the server that `make serve` starts.

Every fenced block marked `sh` or `python` is run as it stands, but for the port; who reads a
message from the terminal gets "hello". A block after the line <!-- not run: REASON --> is left out.
"""

import os
import re
import shlex
import subprocess
import sys

import pytest

from server import PATIENCE, PROGRAM, ROOT, Server

BLOCK = re.compile(r"(<!-- not run: [^>]+ -->\s*)?^```(sh|python)\n(.*?)^```", re.M | re.S)
READMES = ["README.md", "README.zh-CN.md"]


def blocks():
    for name in READMES:
        if (ROOT / name).exists():
            for number, found in enumerate(BLOCK.finditer((ROOT / name).read_text()), 1):
                if not found[1]:
                    yield pytest.param(found[2], found[3], id=f"{name}-{number}-{found[2]}")


def flags_of_make_serve() -> list[str]:
    plan = subprocess.run(["make", "-n", "-C", str(ROOT), "serve"], capture_output=True, text=True, check=True).stdout
    [line] = [line for line in plan.splitlines() if " serve --model" in line]
    words = shlex.split(line)
    flags = words[words.index("serve") + 1:]
    port = flags.index("--port")
    return flags[:port] + flags[port + 2:]


@pytest.fixture(scope="module")
def server():
    with Server(arguments=flags_of_make_serve()) as running:
        yield running


@pytest.mark.parametrize("language, text", list(blocks()))
def test_block(server, language, text):
    text = re.sub(r"(127\.0\.0\.1|localhost):8000", f"127.0.0.1:{server.port}", text)
    text = text.replace("build/bin/galley", shlex.quote(PROGRAM))
    command = ["bash", "-euo", "pipefail", "-c", text] if language == "sh" else [sys.executable, "-c", text]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GALLEY_")}
    done = subprocess.run(command, cwd=ROOT, input="hello\n", capture_output=True, text=True,
                          timeout=60 * PATIENCE, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip(), "it said nothing"
    assert '"error"' not in done.stdout


def test_both_readmes_have_the_same_examples():
    texts = [[(found[2], found[3]) for found in BLOCK.finditer((ROOT / name).read_text())] for name in READMES]
    assert len(texts[0]) >= 3
    assert [language for language, _ in texts[0]] == [language for language, _ in texts[1]]

"""`galley pull` and `--model org/name` against a hub of our own, with its faults."""

import json
import os
import pathlib
import random
import subprocess
import time

import pytest
from hub_server import Hub

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("GALLEY_PROGRAM", str(ROOT / "build/bin/galley"))
DEMO = pathlib.Path(os.environ.get("GALLEY_MODEL", str(ROOT / "models/demo")))
PATIENCE = float(os.environ.get("GALLEY_PATIENCE", "1"))
NAME = "org/some-model"
WEIGHTS = random.Random(1).randbytes(3_000_000)
FILES = {"config.json": b'{"model_type": "x"}', "tokenizer.json": b"{}", "empty.txt": b"",
         "model-00001-of-00002.safetensors": WEIGHTS,
         "model-00002-of-00002.safetensors": WEIGHTS[:1_000_000],
         "pytorch_model.bin": b"not wanted", "sub/other.json": b"not wanted"}
BIG = "model-00001-of-00002.safetensors"
WANTED = sorted(name for name in FILES if "not wanted" != FILES[name].decode(errors="replace"))


class Desk:
    def __init__(self, hub, tmp_path):
        self.hub = hub
        self.home = tmp_path / "hf"
        self.cache = self.home / "hub"
        self.folder = self.cache / ("models--" + NAME.replace("/", "--"))
        self.environment = {}

    def run(self, *arguments, within_s=30):
        environment = {name: value for name, value in os.environ.items()
                       if not name.startswith(("HF_", "GALLEY_", "MODELSCOPE_"))}
        environment |= {"HF_ENDPOINT": self.hub.url, "HF_HOME": str(self.home),
                        "MODELSCOPE_ENDPOINT": self.hub.url,
                        "MODELSCOPE_CACHE": str(self.home / "ms")} | self.environment
        return subprocess.run([PROGRAM, *arguments], env=environment, capture_output=True,
                              text=True, timeout=within_s * PATIENCE)

    def pull(self, *arguments, name=NAME):
        done = self.run("pull", name, "--json", *arguments)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def fails(self, *arguments, name=NAME):
        done = self.run("pull", name, *arguments)
        assert done.returncode != 0, done.stdout
        return done.stderr

    def check(self, folder, files=None):
        for name in files or WANTED:
            assert (pathlib.Path(folder) / name).read_bytes() == FILES[name], name


@pytest.fixture
def desk(tmp_path):
    with Hub({NAME: FILES}) as hub:
        yield Desk(hub, tmp_path)


def test_pull_twice(desk):
    pulled = desk.pull()
    desk.check(pulled["folder"])
    assert pulled["fetched_bytes"] == pulled["bytes"] == sum(len(FILES[name]) for name in WANTED)
    there = sorted(str(path.relative_to(pulled["folder"]))
                   for path in pathlib.Path(pulled["folder"]).rglob("*"))
    assert there == WANTED
    assert pulled["commit"] == desk.hub.commits[NAME] == (desk.folder / "refs/main").read_text()
    asked = len(desk.hub.asked)
    again = desk.pull()
    assert again["folder"] == pulled["folder"] and again["fetched_bytes"] == 0
    assert len(desk.hub.asked) == asked + 1, "only the list"
    assert not list(desk.folder.rglob("*.incomplete"))


def test_huggingface_hub_reads_what_we_wrote(desk):
    pulled = desk.pull()
    code = f"""
import json, huggingface_hub as h
folder = h.snapshot_download({NAME!r}, local_files_only=True)
file = h.hf_hub_download({NAME!r}, {BIG!r})
scan = h.scan_cache_dir()
print(json.dumps([folder, file, [w.args for w in scan.warnings],
                  [[r.repo_id, r.size_on_disk, sorted(f.file_name for v in r.revisions for f in v.files)]
                   for r in scan.repos]]))"""
    folder, file, warnings, repositories = python(desk, code)
    assert folder == pulled["folder"]
    assert file == f"{folder}/{BIG}" and pathlib.Path(file).read_bytes() == WEIGHTS
    assert warnings == []
    (name, size, files), = repositories
    assert (name, files) == (NAME, sorted(WANTED))
    assert size == pulled["bytes"]


def test_we_read_what_huggingface_hub_wrote(desk):
    folder, = python(desk, f"import json, huggingface_hub as h\n"
                           f"print(json.dumps([h.snapshot_download({NAME!r}, max_workers=1)]))")
    pulled = desk.pull()
    assert pulled["folder"] == folder and pulled["fetched_bytes"] == 0
    desk.check(folder)


def python(desk, code):
    import sys

    environment = dict(os.environ) | {"HF_ENDPOINT": desk.hub.url, "HF_HOME": str(desk.home),
                                      "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True,
                          text=True, timeout=60 * PATIENCE)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("faults", [["cut"], ["cut", "cut", "503"], ["drop"], ["corrupt"],
                                    ["shorter"], ["429 1"], ["500", "408"], ["cut", "all"],
                                    ["cut", "other part"], ["cut", "corrupt"]],
                         ids=" ".join)
def test_what_passes_is_tried_again(desk, faults):
    for name in (BIG, "config.json"):
        desk.hub.faults[name] = list(faults)
    began = time.monotonic()
    desk.check(desk.pull()["folder"])
    assert time.monotonic() - began < 15 * PATIENCE
    assert desk.hub.faults == {BIG: [], "config.json": []}
    if faults == ["cut"]:
        assert desk.hub.ranges(BIG) == [None, f"bytes={len(WEIGHTS) // 2}-"], "it goes on"


@pytest.mark.parametrize("fault,says", [
    ("corrupt", "do not have the hash"), ("longer", "not as long as the hub"),
    ("loop", "redirects without end"), ("404", "HTTP 404"), ("html", "not as long as the hub"),
], ids=str)
def test_what_does_not_pass_is_said_and_nothing_is_left_half(desk, fault, says):
    desk.hub.faults[BIG] = [fault] * 60
    error = desk.fails()
    assert says in error, error
    assert not (desk.folder / "refs/main").exists()
    assert not (desk.folder / "snapshots").exists(), "a half download has no folder"
    desk.environment["HF_HUB_OFFLINE"] = "1"
    assert "is not complete" in desk.fails()


def test_a_killed_pull_goes_on(desk):
    desk.hub.faults[BIG] = ["cut"] + ["429 50"]
    environment = dict(os.environ) | {"HF_ENDPOINT": desk.hub.url, "HF_HOME": str(desk.home)}
    pulling = subprocess.Popen([PROGRAM, "pull", NAME], env=environment, stderr=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL)
    end = time.monotonic() + 20 * PATIENCE
    while desk.hub.faults[BIG] and time.monotonic() < end:
        time.sleep(0.02)
    time.sleep(0.1)
    pulling.kill()
    pulling.wait()
    half = [path.stat().st_size for path in desk.folder.rglob("*.incomplete")]
    assert len(WEIGHTS) // 2 in half
    pulled = desk.pull()
    desk.check(pulled["folder"])
    assert desk.hub.ranges(BIG)[-1] == f"bytes={len(WEIGHTS) // 2}-"
    assert pulled["fetched_bytes"] <= len(WEIGHTS) // 2 + 1_000_000


def test_the_list_may_fail_too(desk):
    desk.hub.listing_faults = ["503", "429 1", "drop"]
    desk.check(desk.pull()["folder"])
    desk.hub.listing_faults = ["html"]
    assert "is no JSON" in desk.fails()


def test_the_token_goes_to_the_hub_only(desk):
    desk.hub.token = "hf_secret"
    assert "needs a token: set HF_TOKEN" in desk.fails()
    desk.environment["HF_TOKEN"] = "hf_wrong"
    assert "this token may not read it" in desk.fails()
    del desk.environment["HF_TOKEN"]
    desk.home.mkdir(exist_ok=True)
    (desk.home / "token").write_text("hf_secret\n")
    desk.check(desk.pull()["folder"])
    at_store = [headers for where, _, headers in desk.hub.asked if where == "store"]
    assert at_store and all("Authorization" not in headers for headers in at_store)


def test_tls_is_verified_and_never_left(tmp_path):
    certificate = (str(tmp_path / "cert.pem"), str(tmp_path / "key.pem"))
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=DNS:localhost", "-out", certificate[0], "-keyout",
                    certificate[1]], check=True, capture_output=True)
    with Hub({NAME: FILES}, certificate=certificate) as hub:
        desk = Desk(hub, tmp_path)
        done = desk.run("pull", NAME, "--include", "*.json", within_s=90)
        assert "TLS failed" in done.stderr, "nobody vouches for it"
        desk.environment["SSL_CERT_FILE"] = certificate[0]
        assert desk.pull("--include", "*.json")["files"] == 3
        assert "from https to http" in desk.fails(), "the weights are redirected to plain HTTP"
        hub.url = hub.url.replace("localhost", "127.0.0.1")
        done = desk.run("pull", NAME, within_s=90)
        assert "TLS failed" in done.stderr, "the certificate is for another name"


def test_hostile_listings(desk):
    desk.hub.models[NAME] = dict(FILES) | {"../../../../escape.json": b"x"}
    assert "leads out of its folder" in desk.fails()
    assert not list(desk.home.parent.rglob("escape.json"))


def test_only_what_is_asked_for(desk):
    pulled = desk.pull("--include", "sub/*", "tokenizer.json")
    assert pulled["files"] == 2
    assert (pathlib.Path(pulled["folder"]) / "sub/other.json").read_bytes() == b"not wanted"
    desk.environment["HF_HUB_OFFLINE"] = "1"
    assert "is not complete" in desk.fails(), "a part is not taken for the whole"
    del desk.environment["HF_HUB_OFFLINE"]
    assert "has no file that --include names" in desk.fails("--include", "*.gguf")
    desk.hub.models["org/bare"] = {"config.json": b"{}", "pytorch_model.bin": b"x"}
    desk.hub.commits["org/bare"] = "0" * 40
    assert "no weights as safetensors" in desk.fails(name="org/bare")
    assert "HTTP 404" in desk.fails(name="org/nothing")
    assert "no model's name" in desk.fails(name="../x")


def test_a_hub_that_is_gone(desk):
    pulled = desk.pull()
    desk.environment["HF_ENDPOINT"] = "http://127.0.0.1:9"
    done = desk.run("pull", NAME, within_s=90)
    assert done.stdout.strip() == pulled["folder"], done.stderr
    assert "what was fetched before is used" in done.stderr
    desk.environment["HF_HUB_OFFLINE"] = "1"
    assert desk.pull()["folder"] == pulled["folder"]
    next((desk.folder / "blobs").iterdir()).unlink()
    assert "is not complete" in desk.fails()


def test_model_scope(desk):
    pulled = desk.pull("--hub", "modelscope")
    desk.check(pulled["folder"])
    assert str(desk.home / "ms") in pulled["folder"]
    desk.hub.faults[BIG] = ["cut"]
    desk.hub.models[NAME] = FILES | {BIG: WEIGHTS[::-1]}
    again = desk.pull("--hub", "modelscope")
    assert again["folder"] != pulled["folder"]
    assert (pathlib.Path(again["folder"]) / BIG).read_bytes() == WEIGHTS[::-1]


def test_progress_is_shown_on_a_terminal(desk):
    import pty

    leader, follower = pty.openpty()
    environment = dict(os.environ) | {"HF_ENDPOINT": desk.hub.url, "HF_HOME": str(desk.home)}
    desk.hub.faults[BIG] = ["cut"]
    pulling = subprocess.Popen([PROGRAM, "pull", NAME], env=environment, stderr=follower,
                               stdout=subprocess.DEVNULL)
    os.close(follower)
    shown = b""
    try:
        while piece := os.read(leader, 4096):
            shown += piece
    except OSError:
        pass  # The other end is closed.
    assert pulling.wait() == 0
    assert b"files, " in shown and b"MB (" in shown and b"B/s" in shown, shown


def test_serving_a_model_by_its_name(tmp_path):
    files = {path.name: path.read_bytes() for path in DEMO.iterdir() if path.is_file()}
    with Hub({"galley/demo": files}) as hub:
        desk = Desk(hub, tmp_path)
        tokens = desk.run("tokenize", "hello", "--model", "galley/demo")
        assert tokens.returncode == 0, tokens.stderr
        done = desk.run("inspect", "galley/demo")
        assert done.returncode == 0, done.stderr
        assert "deepseek" in done.stdout.lower()

"""`galley bench overload` runs by itself against the demo model and says what it found."""

import json
import subprocess

from server import MODEL, PATIENCE, PROGRAM


def test_the_bench_ends_by_itself_and_reports(tmp_path):
    report = tmp_path / "overload.html"
    done = subprocess.run(
        [PROGRAM, "bench", "overload", MODEL, "--loads", "4", "--duration", "3", "--warmup", "1", "--patience", "1.5",
         "--input-len", "32", "--output-len", "8", "--scenarios", "sweep", "fcfs", "--json", "--report", str(report)],
        capture_output=True, text=True, timeout=120 * PATIENCE)
    assert done.returncode == 0, done.stderr[-2000:]
    figures = json.loads(done.stdout)
    assert figures["capacity_cost_per_s"] > 0
    assert [(leg["name"], leg["policy"]) for leg in figures["legs"]] == [("sweep", "fair"), ("sweep", "fcfs")]
    fair = figures["legs"][0]
    assert [group["name"] for group in fair["groups"]] == ["equal-0", "equal-1", "equal-2", "equal-3", "calm"]
    assert sum(group["good"] for group in fair["groups"]) > 0
    assert sum(group["refused"] for group in fair["groups"]) > 0
    assert all(group["failed"] == 0 for group in fair["groups"])
    # What is worked on is finished: three quarters at least, whatever else this machine does.
    assert fair["wasted_share"] < 0.25
    assert "<svg" in report.read_text()

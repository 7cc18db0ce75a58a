"""The measuring script for GPUs, as far as the simulator goes, and its table."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def test_every_part_runs_and_nothing_is_measured_on_the_simulator(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1", "NUMBA_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([".", "kernels"])
    command = [sys.executable, "bench/gpu.py", "--out", str(tmp_path / "gpu")]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    table = json.loads((tmp_path / "gpu.json").read_text())
    parts = {row["part"] for row in table["rows"]}
    assert parts == {"convolution", "vgg16", "population", "pareto (beside the CPU)"}
    assert all(row["right"] and row["error"] <= 1e-4 for row in table["rows"])
    assert all(row["emoref_ms"] is None and row["torch_ms"] is None for row in table["rows"])
    assert "nothing was measured" in (tmp_path / "gpu.md").read_text()


def test_the_table_says_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from bench.gpu_table import Row, to_markdown

    rows = [Row("a", "good", 1e-6, 2.0, 3.0), Row("a", "bad", float("nan"))]
    text = to_markdown(rows, {"device": "D"}, ["population: Error"])
    assert "| a | good | 1.0e-06 | yes | 2.000 | 3.000 | 1.500 |" in text
    assert "| a | bad | nan | NO |  |  |  |" in text
    assert "FAILED population: Error" in text

"""The measuring script for GPUs, as far as the simulator goes, and its table."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emoref import nn
from emoref_kernels import load_backend

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


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--parts", "convolution"], "there is no part 'convolution'; there are convolutions, steps"),
        ([], 'back end "cuda" cannot run'),
    ],
)
def test_what_cannot_run_is_said_without_traceback(options: list[str], says: str) -> None:
    # No device is visible, whatever machine this is.
    environment = {
        **os.environ,
        "CUDA_VISIBLE_DEVICES": "-1",
        "PYTHONPATH": os.pathsep.join([".", "kernels"]),
    }
    environment.pop("NUMBA_ENABLE_CUDASIM", None)
    command = [sys.executable, "bench/gpu.py", *options]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_the_table_says_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from bench.gpu_table import Row, to_markdown

    rows = [Row("a", "good", 1e-6, 2.0, 3.0), Row("a", "bad", float("nan"))]
    text = to_markdown(rows, {"device": "D"}, ["population: Error"])
    assert "| a | good | 1.0e-06 | yes | 2.000 | 3.000 | 1.500 |" in text
    assert "| a | bad | nan | NO |  |  |  |" in text
    assert "FAILED population: Error" in text


def _net() -> nn.Network:
    b = nn.NetworkBuilder("small", (3, 8, 8))
    trunk = b.conv("conv1", 4, 3, padding=1, bias=False)
    b.batch_norm("bn1")
    b.relu("relu1")
    b.conv("conv2", 4, 3, padding=1, bias=False)
    b.batch_norm("bn2")
    b.add("sum", "bn2", trunk)
    b.relu("relu2")
    b.max_pool("pool", 2)
    b.flatten("flat")
    b.linear("out", 3)
    return b.build()


def test_every_step_of_a_network_is_compared_forward_and_backward(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from bench.gpu_steps import layer_errors, whole_pass

    net, rng, reference = _net(), np.random.default_rng(0), load_backend("reference")
    x, params = rng.standard_normal((4, 3, 8, 8), dtype=np.float32), net.init(seed=0)
    errors = layer_errors(net, params, x, reference)
    assert list(errors) == ["conv1", "relu1", "conv2", "relu2", "pool", "flat", "out"]
    assert 0 < max(errors.values()) < 1e-6
    loss, text = whole_pass(net, params, x, rng.integers(0, 3, 4), reference)
    assert loss < 1e-6
    assert text.startswith("gradients of the whole pass ")


@pytest.mark.parametrize(
    ("name", "step"),
    [("conv2d_weight_grad", "conv2"), ("batch_norm_sum_grad", "relu2"), ("max_pool2d_grad", "pool")],
)
def test_a_wrong_gradient_is_found_in_its_step(name: str, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from bench.gpu_steps import layer_errors

    reference = load_backend("reference")

    class Wrong:
        def __getattr__(self, function: str) -> Any:
            def off(*arguments: Any) -> Any:
                result = getattr(reference, name)(*arguments)
                return (1.001 * result[0], *result[1:]) if isinstance(result, tuple) else 1.001 * result

            return off if function == name else getattr(reference, function)

    net, rng = _net(), np.random.default_rng(0)
    x = rng.standard_normal((4, 3, 8, 8), dtype=np.float32)
    errors = layer_errors(net, net.init(seed=0), x, Wrong())
    assert errors[step] == pytest.approx(1e-3, rel=0.01)

"""Every CUDA kernel compiled without a GPU, in a process of its own: types, precision and registers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from emoref_kernels.cuda import offline

ROOT = Path(__file__).parents[3]


def _nvvm_is_there() -> bool:
    if offline.compiler_folder() is not None:
        return True
    code = "from numba.cuda.cudadrv.nvvm import NVVM; NVVM()"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def rows() -> list[dict[str, object]]:
    if not _nvvm_is_there():
        pytest.skip("NVVM is missing: pip install nvidia-cuda-nvcc-cu12")
    command = [sys.executable, "-m", "emoref_kernels.cuda.offline", "--json"]
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_ENABLE_CUDASIM"}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_kernel_compiles_for_every_capability(rows: list[dict[str, object]]) -> None:
    found = {(row["kernel"], row["capability"]) for row in rows}
    names = {name for name, _ in found}
    assert len(names) > 50
    assert found == {(name, capability) for name in names for capability in ("8.0", "9.0")}


def test_float32_kernels_do_nothing_in_float64(rows: list[dict[str, object]]) -> None:
    single = [row for row in rows if not row["double"]]
    assert len(single) > 90
    assert [row for row in single if row["double_operations"]] == []


def test_hot_kernels_keep_their_values_in_registers(rows: list[dict[str, object]]) -> None:
    if offline.assembler() is None:
        pytest.skip("ptxas is missing: pip install nvidia-cuda-nvcc-cu12")
    hot = [row for row in rows if row["hot"]]
    assert len({row["kernel"] for row in hot}) >= 12
    assert [row for row in hot if row["spilled_bytes"] or row["stack_bytes"]] == []
    assert all(0 < int(str(row["registers"])) <= 255 for row in hot)
    assert all(int(str(row["shared_bytes"])) <= 48 * 1024 for row in hot)


def test_an_unknown_kernel_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["offline", "convolve"])
    monkeypatch.setattr(offline, "use_package", lambda: None)
    with pytest.raises(SystemExit, match="there is no kernel 'convolve'"):
        offline.main()

"""The CUDA kernels on Numba's simulator, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("name", ["simulated_checks", "simulated_tiles"])
def test_kernels_equal_their_reference_twins_on_the_simulator(name: str) -> None:
    checks = Path(__file__).with_name(f"{name}.py")
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1", "NUMBA_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-x", str(checks)]
    done = subprocess.run(
        command, env=environment, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]

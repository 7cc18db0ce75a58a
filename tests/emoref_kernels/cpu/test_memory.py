"""Keeping freed memory: only where it works, and not against the user's will."""

import os
import subprocess
import sys

import pytest

from emoref_kernels import BackendError
from emoref_kernels.cpu.memory import keep_freed_memory


@pytest.fixture(autouse=True)
def anew():
    keep_freed_memory.cache_clear()
    yield
    keep_freed_memory.cache_clear()


def test_it_can_be_prevented(monkeypatch):
    monkeypatch.setenv("EMOREF_KEEP_MEMORY", "0")
    assert keep_freed_memory() is False


def test_other_values_are_refused(monkeypatch):
    monkeypatch.setenv("EMOREF_KEEP_MEMORY", "yes")
    with pytest.raises(BackendError, match="EMOREF_KEEP_MEMORY is 'yes'; set it to 0"):
        keep_freed_memory()


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr("emoref_kernels.cpu.memory.sys.platform", "win32")
    assert keep_freed_memory() is False


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts page faults of glibc")
def test_a_block_that_comes_again_costs_no_page_faults():
    """Fifty blocks of 8 MiB, one after another: 2,048 pages each, touched once only if they are kept."""
    code = (
        "import resource, sys\n"
        "from emoref_kernels.cpu.memory import keep_freed_memory\n"
        "import numpy as np\n"
        "if not keep_freed_memory(): sys.exit(3)\n"
        "np.ones(2**21, np.float32)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "for _ in range(50): np.ones(2**21, np.float32)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=dict(os.environ), capture_output=True, text=True)
    if done.returncode == 3:
        pytest.skip("this C library has no mallopt")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 2048

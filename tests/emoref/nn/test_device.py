"""Networks on a GPU: on the simulator, in a process of its own, and what holds without one."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from emoref.errors import BackendError
from emoref.nn.device import HalvedBatches, is_device, is_on_device, placed, resident
from emoref_kernels import load_backend
from emoref_kernels.errors import DeviceMemoryError


def test_networks_equal_the_reference_on_the_simulator() -> None:
    checks = Path(__file__).with_name("simulated_training_checks.py")
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1", "NUMBA_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-x", str(checks)]
    done = subprocess.run(
        command, env=environment, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_nothing_moves_on_other_back_ends() -> None:
    k, values = load_backend("cpu"), {"w": np.ones(2, np.float32)}
    assert not is_device(k)
    assert resident(values, k) is values
    assert placed(values["w"], k) is values["w"]
    assert not is_on_device(values["w"])


def test_a_batch_that_fits_is_run_whole() -> None:
    assert list(HalvedBatches().run(5, lambda part: (part.start, part.stop))) == [(slice(0, 5), (0, 5))]


def test_halving_goes_on_to_what_fits_and_stays_there(caplog: pytest.LogCaptureFixture) -> None:
    batches = HalvedBatches()

    def work(part: slice) -> int:
        if part.stop - part.start > 3:
            raise DeviceMemoryError("the device's memory does not suffice")
        return part.stop

    with caplog.at_level(logging.WARNING):
        assert [done for _, done in batches.run(10, work)] == [2, 4, 6, 8, 10]
    assert batches.size == 2
    assert len(caplog.records) == 2
    assert [done for _, done in batches.run(3, work)] == [2, 3]


def test_memory_too_small_for_one_image_ends_in_a_message() -> None:
    def work(part: slice) -> None:
        raise DeviceMemoryError("the device's memory does not suffice")

    with pytest.raises(BackendError, match="not even one image"):
        list(HalvedBatches().run(4, work))


def test_something_else_is_given_up_before_a_single_one_is_refused() -> None:
    spared = [False, True]

    def work(part: slice) -> int:
        if spared:
            raise DeviceMemoryError("the device's memory does not suffice")
        return part.stop

    batches = HalvedBatches("candidate")
    with pytest.raises(BackendError, match="not even one candidate at a time fits"):
        list(batches.run(2, work, spared.pop))
    assert [done for _, done in batches.run(2, work)] == [1, 2]

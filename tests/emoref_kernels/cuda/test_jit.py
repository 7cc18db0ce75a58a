"""How kernels are launched: arguments, and configurations that are made once."""

from typing import Any

import numpy as np
import pytest

from emoref_kernels.cuda import jit

pytestmark = pytest.mark.skipif(jit.SIMULATED, reason="the simulator has one launcher for all")


class Compiled:
    """Stands for what the provider compiles: notes what is configured, and what is launched."""

    def __init__(self) -> None:
        self.configured: list[Any] = []
        self.launched: list[Any] = []

    def __getitem__(self, how: Any) -> Any:
        self.configured.append(how)
        return lambda *values: self.launched.append((how, values))


def some_kernel(arguments: str = "ns") -> tuple[jit.Kernel, Compiled]:
    kernel = jit.Kernel(lambda *values: None, "some", arguments, hot=False)
    compiled = kernel._compiled = Compiled()
    return kernel, compiled


def test_a_launch_of_the_same_extents_is_configured_once() -> None:
    kernel, compiled = some_kernel()
    for blocks in (3, (3,), (3, 2), 3, (3, 2)):
        kernel(blocks, 256, 7, 0.1)
    kernel(0, 256, 7, 0.1)
    assert compiled.configured == [((3,), 256, 0), ((3, 2), 256, 0)]
    assert [how[0] for how, _ in compiled.launched] == [(3,), (3,), (3, 2), (3,), (3, 2)]
    assert compiled.launched[0][1] == (7, np.float32(0.1))
    assert kernel.launches == 5


def test_configurations_are_forgotten_before_they_fill_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jit, "_MOST_LAUNCHERS", 2)
    kernel, compiled = some_kernel("n")
    for blocks in (1, 2, 3, 1):
        kernel(blocks, 64, 0)
    assert [how[0] for how in compiled.configured] == [(1,), (2,), (3,), (1,)]
    assert len(kernel._launchers) == 2


def test_arguments_must_fit() -> None:
    kernel, _ = some_kernel()
    with pytest.raises(ValueError, match="kernel some takes 2 arguments, got 1"):
        kernel(1, 64, 0)
    with pytest.raises(ValueError, match="'nz' hold an unknown letter"):
        some_kernel("nz")

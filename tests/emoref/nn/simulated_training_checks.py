"""Networks on the CUDA back end, on the simulator, against the reference back end.

Collected by test_device.py in a process of its own: Numba decides at its import whether it simulates.
"""

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

if os.environ.get("NUMBA_ENABLE_CUDASIM") != "1":
    pytest.skip("needs NUMBA_ENABLE_CUDASIM=1", allow_module_level=True)

from emoref import nn
from emoref.errors import BackendError
from emoref.nn.device import is_on_device, resident
from emoref.search import FilterGenome, PopulationEvaluator
from emoref_kernels import load_backend
from emoref_kernels.cuda.memory import POOL
from emoref_kernels.errors import DeviceMemoryError

CUDA = load_backend("cuda")


@pytest.fixture(scope="module")
def net() -> nn.Network:
    b = nn.NetworkBuilder("small", (1, 2, 2))
    b.conv("conv1", 3, 3, padding=1, bias=False)
    b.batch_norm("bn1")
    b.relu("relu1")
    b.conv("conv2", 2, 1)
    b.pad_channels("wide", before=0, after=1)
    b.add("sum", "wide", "relu1")
    b.max_pool("pool", 2)
    b.dropout("drop", 0.25)
    b.flatten("flat")
    b.linear("out", 3)
    return b.build()


@pytest.fixture
def data() -> nn.ArrayData:
    rng = np.random.default_rng(4)
    return nn.ArrayData(rng.standard_normal((4, 1, 2, 2), dtype=np.float32), rng.integers(0, 3, 4))


def _close(found: dict[str, np.ndarray], expected: dict[str, np.ndarray], tolerance: float) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert isinstance(found[name], np.ndarray), name
        np.testing.assert_allclose(found[name], value, atol=tolerance, rtol=tolerance, err_msg=name)


def test_a_step_equals_the_reference(net: nn.Network, data: nn.ArrayData) -> None:
    params = net.init(seed=1)
    labels = np.asarray(data.labels)
    own, other = (
        nn.loss_and_gradients(net, params, data.images, labels, backend=k, rng=np.random.default_rng(2))
        for k in (CUDA, "reference")
    )
    assert own.loss == pytest.approx(other.loss, rel=1e-5)
    assert own.wrong == other.wrong
    _close(own.grads, other.grads, 1e-4)
    _close(own.buffer_updates, other.buffer_updates, 1e-5)


def test_arrays_go_out_as_they_came_in(net: nn.Network, data: nn.ArrayData) -> None:
    params = net.init(seed=1)
    tape = nn.forward(net, params, data.images, mode="eval", backend=CUDA, keep=("relu1",))
    expected = nn.forward(net, params, data.images, mode="eval", backend="reference", keep=("relu1",))
    _close(tape.activations, expected.activations, 1e-5)
    dy = np.ones_like(tape.output)
    _close(nn.backward(tape, dy, ("relu1",)), nn.backward(expected, dy, ("relu1",)), 1e-4)
    images = resident({"input": data.images}, CUDA)
    assert is_on_device(nn.run_nodes(net, resident(params, CUDA), images, ["out"], CUDA)["out"])
    results = nn.run_nodes(net, params, {"input": data.images}, ["out"], CUDA)
    np.testing.assert_allclose(results["out"], expected.output, atol=1e-5)


def test_training_equals_the_reference(net: nn.Network, data: nn.ArrayData) -> None:
    config = nn.TrainConfig(epochs=2, batch_size=4, lr=0.01)
    found, curves, states = {}, {}, {}
    for name in ("cuda", "reference"):
        found[name] = net.init(seed=1)
        kept: list[nn.TrainingState] = []
        keep = lambda state, kept=kept: kept.append(state.copy())  # noqa: E731
        curves[name] = nn.fit(net, found[name], data, config, backend=name, on_epoch=keep)
        states[name] = kept
    _close(found["cuda"], found["reference"], 1e-4)
    np.testing.assert_allclose(curves["cuda"].train_loss, curves["reference"].train_loss, rtol=1e-4)
    # A training that was interrupted on the GPU goes on there, and on the CPU.
    middle = states["cuda"][0]
    for name in ("cuda", "reference"):
        params = net.init(seed=1)
        nn.fit(net, params, data, config, backend=name, resume=middle)
        if name == "cuda":
            assert all(np.array_equal(params[n], found["cuda"][n]) for n in params)
        else:
            _close(params, found["cuda"], 1e-4)


def test_adam_with_a_teacher_equals_the_reference_and_takes_no_more_memory(
    net: nn.Network, data: nn.ArrayData
) -> None:
    config = nn.TrainConfig(epochs=1, batch_size=4, lr=0.01, optimizer="adam")
    results = []
    for name in ("reference", "cuda", "cuda"):
        params, before = net.init(seed=1), POOL.allocations
        nn.fit(net, params, data, config, backend=name, teacher=(net, net.init(seed=2)))
        results.append(params)
    _close(results[1], results[0], 1e-3)
    assert POOL.allocations == before


@pytest.fixture(scope="module")
def plain() -> nn.Network:
    """A network without batch norms, to which it is the same how a batch is cut."""
    b = nn.NetworkBuilder("plain", (1, 2, 2))
    b.conv("conv1", 2, 1)
    b.relu("relu1")
    b.flatten("flat")
    b.linear("out", 3)
    return b.build()


@contextmanager
def memory_for(images: int) -> Iterator[None]:
    """Let the device's memory suffice for so many images at a time."""
    real = CUDA.conv2d

    def narrow(x: object, *arguments: object) -> object:
        if len(x) > images:  # type: ignore[arg-type]
            raise DeviceMemoryError("the device's memory does not suffice")
        return real(x, *arguments)

    object.__setattr__(CUDA, "conv2d", narrow)
    try:
        yield
    finally:
        object.__setattr__(CUDA, "conv2d", real)


HALVED = nn.TrainConfig(epochs=1, batch_size=4, lr=0.1)


def test_batches_are_halved_when_memory_runs_out(
    plain: nn.Network, data: nn.ArrayData, caplog: pytest.LogCaptureFixture
) -> None:
    expected, params = plain.init(seed=1), plain.init(seed=1)
    nn.fit(plain, expected, data, HALVED, backend="reference")
    with memory_for(1), caplog.at_level(logging.WARNING):
        nn.fit(plain, params, data, HALVED, backend="cuda")
        _close(params, expected, 1e-4)
        assert "going on with 2 images at a time instead of 4" in caplog.text
        assert "going on with 1 images at a time instead of 2" in caplog.text
        np.testing.assert_allclose(
            nn.predict(plain, params, data.images, "cuda"),
            nn.predict(plain, params, data.images, "reference"),
            atol=1e-5,
        )
    with memory_for(0), pytest.raises(BackendError, match="not even one image at a time fits"):
        nn.fit(plain, params, data, HALVED, backend="cuda")


def test_batches_of_a_loss_of_ones_own_are_halved_too(plain: nn.Network, data: nn.ArrayData) -> None:
    def gradients_on(backend: str) -> Callable[..., nn.StepResult]:
        def gradients(
            params: Mapping[str, Any], images: Any, labels: Any, epoch: int, step: int
        ) -> nn.StepResult:
            return nn.loss_and_gradients(plain, params, images, labels, backend=backend)

        return gradients

    expected, params = plain.init(seed=1), plain.init(seed=1)
    nn.fit(plain, expected, data, HALVED, backend="reference", gradients=gradients_on("reference"))
    with memory_for(3):
        curves = nn.fit(plain, params, data, HALVED, backend="cuda", gradients=gradients_on("cuda"))
    _close(params, expected, 1e-4)
    assert 0 <= curves.train_error[0] <= 1
    with memory_for(0), pytest.raises(BackendError, match="not even one image at a time fits"):
        nn.fit(plain, params, data, HALVED, backend="cuda", gradients=gradients_on("cuda"))


def test_batches_of_joint_training_are_halved_too(plain: nn.Network, data: nn.ArrayData) -> None:
    multi = nn.shared_trunk(("a", "b"), [plain, plain])
    stores = [nn.initial_store(multi, plain.init) for _ in range(2)]
    nn.fit_jointly(multi, stores[0], [data, data], HALVED, backend="reference")
    with memory_for(3):
        nn.fit_jointly(multi, stores[1], [data, data], HALVED, backend="cuda")
    _close(stores[1], stores[0], 1e-4)
    with memory_for(0), pytest.raises(BackendError, match="not even one image at a time fits"):
        nn.fit_jointly(multi, stores[1], [data, data], HALVED, backend="cuda")


def test_population_counts_equal_the_cpu(net: nn.Network, data: nn.ArrayData) -> None:
    params = net.init(seed=3)
    layout = FilterGenome(net)
    drawn = np.random.default_rng(0).random((3, layout.n_bits)) < 0.7
    genomes = layout.repair(drawn, np.random.default_rng(1))
    counts = [
        PopulationEvaluator(net, params, data.images, data.labels, layout, name, block_size=2).wrong_counts(
            genomes
        )
        for name in ("cuda", "reference")
    ]
    assert np.array_equal(*counts)

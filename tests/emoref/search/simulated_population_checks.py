"""Populations on the CUDA back end, on the simulator: equal counts, one upload, one wait, no race.

Collected by test_on_device.py in a process of its own: Numba decides at its import whether it simulates.
"""

import gc
import logging
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

if os.environ.get("NUMBA_ENABLE_CUDASIM") != "1":
    pytest.skip("needs NUMBA_ENABLE_CUDASIM=1", allow_module_level=True)

sys.path.append(str(Path(__file__).parent))

from launch_order import watched

from emoref import nn
from emoref.compress import slim
from emoref.errors import BackendError, ConfigError
from emoref.search import FilterGenome, PopulationEvaluator, Recalibration
from emoref_kernels import load_backend
from emoref_kernels.cuda import array
from emoref_kernels.cuda.array import _Block
from emoref_kernels.cuda.lanes import Lane
from emoref_kernels.cuda.memory import POOL
from emoref_kernels.errors import DeviceMemoryError

CUDA = load_backend("cuda")
BLOCK = 2


def _network() -> nn.Network:
    b = nn.NetworkBuilder("small", (1, 2, 2))
    b.conv("conv1", 3, 1, bias=False)
    b.batch_norm("bn1")
    b.relu("relu1")
    b.conv("conv2", 3, 2)
    b.relu("relu2")
    b.flatten("flat")
    b.linear("fc1", 4)
    b.relu("relu3")
    b.linear("out", 3)
    return b.build()


NET = _network()
PARAMS = NET.init(seed=3)
LAYOUT = FilterGenome(NET, layers=["conv1", "conv2", "fc1"])
RNG = np.random.default_rng(4)
IMAGES, LABELS = RNG.standard_normal((4, 1, 2, 2), dtype=np.float32), RNG.integers(0, 3, 4)
GENOMES = np.array(
    [
        # conv1, conv2 and fc1: the first two part behind conv2, the third behind conv1
        [1, 1, 0, 1, 0, 1, 1, 0, 1, 1],
        [1, 1, 0, 1, 0, 1, 0, 1, 1, 0],
        [1, 1, 0, 1, 1, 0, 1, 0, 0, 1],
        [0, 1, 1, 0, 1, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
    ],
    bool,
)


def _evaluator(**options: Any) -> PopulationEvaluator:
    options = {"block_size": BLOCK, "cache_size": 0, "backend": "cuda", **options}
    return PopulationEvaluator(NET, PARAMS, IMAGES, LABELS, LAYOUT, **options)


@pytest.fixture(scope="module")
def alone() -> np.ndarray:
    """Each candidate evaluated alone, as a network of its own."""
    counts = [
        nn.evaluate(*slim(NET, PARAMS, LAYOUT.masks(row)), IMAGES, LABELS, "cuda", BLOCK).wrong
        for row in GENOMES
    ]
    assert len(set(counts)) > 1
    return np.array(counts)


@pytest.mark.parametrize(("streams", "memory", "share"), [(1, 2**28, 0.5), (2, 150, 0.0), (9, 300, 0.5)])
def test_counts_are_those_of_each_candidate_alone(
    alone: np.ndarray, streams: int, memory: int, share: float
) -> None:
    evaluator = _evaluator(streams=streams, memory_bytes=memory, resident_share=share)
    assert np.array_equal(evaluator.wrong_counts(GENOMES), alone)
    assert evaluator.device is not None
    assert evaluator.device.is_resident == (share > 0)
    expected = _evaluator(backend="reference", memory_bytes=memory)
    assert np.array_equal(expected.wrong_counts(GENOMES), alone)
    assert evaluator.macs_executed == expected.macs_executed


def test_parts_of_the_images_add_up(alone: np.ndarray) -> None:
    parts = [(np.array([3, 0, 2]), 0.5), (np.array([1]), 0.0)]
    counts = [
        _evaluator(streams=2, resident_share=share).partial_counts(GENOMES[1:4], part)
        for part, share in parts
    ]
    assert np.array_equal(sum(counts), alone[1:4])


def test_statistics_that_are_measured_anew_are_uploaded() -> None:
    genomes = GENOMES[[0, 3]]
    counts = [
        _evaluator(backend=name, recalibration=Recalibration(IMAGES, 1, 4, backend="reference")).wrong_counts(
            genomes
        )
        for name in ("cuda", "reference")
    ]
    assert np.array_equal(*counts)


def test_streams_are_ordered_and_a_chunk_takes_one_upload_and_one_wait(
    alone: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    with watched(monkeypatch) as watch:
        evaluator = _evaluator(streams=3)
        assert np.array_equal(evaluator.wrong_counts(GENOMES), alone)
        assert watch.races == []
        assert len(watch.launches) == 4
        assert watch.uploads.count(IMAGES.shape) == 1
        assert watch.downloads == 1
        before = len(watch.uploads)
        assert np.array_equal(evaluator.wrong_counts(GENOMES[:2]), alone[:2])
        # The channels that are kept, and zeros to count from.
        assert [len(shape) for shape in watch.uploads[before:]] == [1, 1]
        assert watch.downloads == 2
        assert watch.races == []
        evaluator.close()


def test_shared_layers_run_while_candidates_are_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    with watched(monkeypatch) as watch:
        _evaluator(streams=2, block_size=1).partial_counts(GENOMES[:2], np.array([2, 0, 1]))
        assert watch.races == []
        blocks = [ahead for what, ahead in watch.ahead if what == "take_rows"]
        assert len(blocks) == 3
        assert blocks[2] > 0


@pytest.mark.parametrize(("owner", "name"), [(_Block, "use"), (Lane, "follow")])
def test_a_wait_that_is_left_out_is_found(monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> None:
    with watched(monkeypatch) as watch:
        monkeypatch.setattr(owner, name, lambda *given: None)
        _evaluator(streams=3).wrong_counts(GENOMES[1:4])
        assert watch.races
    monkeypatch.undo()


def test_memory_is_given_back(alone: np.ndarray) -> None:
    used = []
    for _ in range(2):
        evaluator = _evaluator(streams=2)
        evaluator.wrong_counts(GENOMES[:2])
        assert not used or POOL.used_bytes > used[0]
        evaluator.close()
        assert evaluator.device is not None
        assert not evaluator.device.is_resident
        assert POOL.held_bytes == POOL.used_bytes
        used.append(POOL.used_bytes)
    assert used[0] == used[1]
    # What was given back comes back.
    assert np.array_equal(evaluator.wrong_counts(GENOMES[:2]), alone[:2])


def test_images_that_take_too_much_are_uploaded_block_by_block(
    alone: np.ndarray, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(POOL, "limit_bytes", POOL.held_bytes + 2**20)
    evaluator = _evaluator(resident_share=1e-5)
    with caplog.at_level(logging.WARNING):
        assert np.array_equal(evaluator.wrong_counts(GENOMES[:1]), alone[:1])
    assert "more than the 0.0 MiB that they may take; they are uploaded block by block" in caplog.text
    real = array.upload

    def narrow(values: Any) -> Any:
        if values.shape == IMAGES.shape:
            raise DeviceMemoryError("the device's memory does not suffice")
        return real(values)

    monkeypatch.setattr(array, "upload", narrow)
    evaluator = _evaluator()
    with caplog.at_level(logging.WARNING):
        assert np.array_equal(evaluator.wrong_counts(GENOMES[:1]), alone[:1])
    assert "the device's memory does not suffice; images are uploaded block by block" in caplog.text
    with pytest.raises(ConfigError, match="resident_share"):
        _evaluator(resident_share=1.5)
    with pytest.raises(ConfigError, match="streams"):
        _evaluator(streams=0)


def test_fewer_candidates_are_tried_when_memory_runs_out(
    alone: np.ndarray, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gc.collect()
    evaluator = _evaluator(streams=1)
    POOL.peak_bytes = 0
    evaluator.wrong_counts(GENOMES[:3])
    evaluator.close()
    monkeypatch.setattr(POOL, "limit_bytes", POOL.peak_bytes - 1)
    evaluator = _evaluator(streams=1)
    with caplog.at_level(logging.WARNING):
        assert np.array_equal(evaluator.wrong_counts(GENOMES[:3]), alone[:3])
    assert "going on with 1 candidates at a time instead of 3" in caplog.text


def test_a_candidate_that_does_not_fit_gets_smaller_blocks(
    alone: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    real = CUDA.linear

    def narrow(x: Any, *arguments: Any) -> Any:
        if len(x) > limit:
            raise DeviceMemoryError("the device's memory does not suffice")
        return real(x, *arguments)

    object.__setattr__(CUDA, "linear", narrow)
    try:
        limit, evaluator = 1, _evaluator(streams=2)
        with caplog.at_level(logging.WARNING):
            assert np.array_equal(evaluator.wrong_counts(GENOMES[:2]), alone[:2])
        lines = [record.getMessage() for record in caplog.records]
        assert [line.split("suffice; ")[-1] for line in lines] == [
            "going on with 1 candidates at a time instead of 2",
            "images are uploaded block by block",
            "going on with 1 images at a time instead of 2",
        ]
        limit, evaluator = 0, _evaluator(streams=2)
        with pytest.raises(BackendError, match="not even one candidate at a time fits"):
            evaluator.wrong_counts(GENOMES[:1])
    finally:
        object.__setattr__(CUDA, "linear", real)

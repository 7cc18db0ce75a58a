"""A small run made by hand: layers of 4 and 6 filters, 100 validation images, three generations."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emoref.nn import Network, NetworkBuilder
from emoref.runs.folder import RunFolder
from emoref.runs.record import NetworkRecord, Outcome, RunRecord
from emoref.runs.store import Generation

LAYOUT = {
    "layers": [["conv1", 4], ["conv2", 6]],
    "objectives": ["remaining filter ratio", "validation error before fine-tuning"],
    "images": 100,
}
CONFIG = {
    "system": "emofp",
    "name": "by hand",
    "description": "Ten filters.",
    "seed": 7,
    "data": {"name": "tiny-images"},
    "base": {"network": "tiny"},
}


def generation(masks: list[str], wrong: list[int], ranks: list[int], evaluations: int) -> Generation:
    """A population from bit strings; the constraint is violated by an individual with rank 9."""
    genomes = np.array([[bit == "1" for bit in mask] for mask in masks])
    objectives = np.column_stack((genomes.sum(axis=1) / genomes.shape[1], np.array(wrong) / 100))
    infeasible = np.array(ranks) == 9
    return Generation(
        genomes, objectives, infeasible[:, None].astype(float), np.where(infeasible, 0, ranks), evaluations
    )


def generations() -> list[Generation]:
    return [
        generation(["1111111111", "1100111000", "1000000000"], [2, 60, 90], [0, 0, 9], 3),
        generation(["1111111111", "1100111000", "1000100000"], [2, 40, 80], [0, 0, 0], 6),
        generation(
            ["1100111000", "1100110000", "1000100000", "1000010000"], [20, 45, 80, 80], [0, 0, 0, 0], 9
        ),
    ]


def tiny_network() -> Network:
    builder = NetworkBuilder("tiny", (1, 8, 8))
    builder.conv("conv1", 4, 3)
    builder.relu("relu1")
    builder.conv("conv2", 6, 3)
    builder.flatten("flat")
    builder.linear("fc", 3)
    return builder.build()


BASE = NetworkRecord(
    name="base",
    role="base",
    choice="trained from scratch",
    kept={"conv1": 4, "conv2": 6},
    filters=10,
    filters_original=10,
    macs=5_184,
    params=4_000_123,
    validation=Outcome(100, 2, 2),
    test=Outcome(200, 5, 5),
    curves={"train_loss": [2.0, 0.5], "validation_error": [0.3, 0.02]},
    size_bytes=16_001_234,
)
SELECTED = (
    NetworkRecord(
        name="half",
        role="selected",
        choice="evenly spaced, 1 of 2",
        kept={"conv1": 2, "conv2": 3},
        filters=5,
        filters_original=10,
        macs=2_300_000,
        params=1_234,
        validation=Outcome(100, 20, 3),
        test=Outcome(200, 44, 6),
        curves={"train_loss": [0.9, 0.4, 0.1], "validation_error": [0.1, 0.05, 0.03]},
        genome=[0, 1, 4, 5, 6],
        size_bytes=9_876,
    ),
    NetworkRecord(
        name="small",
        role="selected",
        choice="evenly spaced, 2 of 2",
        kept={"conv1": 1, "conv2": 1},
        filters=2,
        filters_original=10,
        macs=999,
        params=87,
        validation=Outcome(100, 80, 12),
        test=Outcome(200, 160, 25),
        genome=[0, 4],
        size_bytes=4_096,
    ),
)


def rival(method: str, validation: Outcome, test: Outcome | None, genome: list[int]) -> NetworkRecord:
    """A baseline of the network "half"."""
    return replace(
        SELECTED[0],
        name=f"half/{method}",
        role="baseline",
        choice=f"{method}, like half",
        validation=validation,
        test=test,
        genome=genome,
    )


BASELINES = {
    "half": [
        rival("l1", Outcome(100, 30, 4), Outcome(200, 64, 9), [0, 2, 4, 5, 7]),
        rival("taylor", Outcome(100, 18, 3), Outcome(200, 41, 6), [0, 1, 4, 5, 6]),
        rival("scratch", Outcome(100, 70, 12), Outcome(200, 150, 26), []),
        rival("scratch-long", Outcome(100, 70, 2), Outcome(200, 150, 5), []),
    ]
}
EVENTS: list[dict[str, Any]] = [
    {
        "time_s": 100.0,
        "event": "start",
        "versions": {"emoref": "0.1.0", "numpy": "9.8.7"},
        "machine": {"cores": 3},
    },
    {"time_s": 101.5, "event": "epoch", "training": "base network", "epoch": 1},
    {"time_s": 103.0, "event": "epoch", "training": "base network", "epoch": 2},
    {"time_s": 103.5, "event": "base", "error": 0.02},
    {"time_s": 110.0, "event": "generation", "generation": 0},
    {
        "time_s": 900.0,
        "event": "resume",
        "versions": {"emoref": "0.1.0", "numpy": "9.8.8"},
        "machine": {"cores": 4},
    },
    {"time_s": 960.0, "event": "generation", "generation": 1},
]


@pytest.fixture
def record(tmp_path: Path) -> RunRecord:
    """A finished run."""
    return RunRecord(
        folder=RunFolder.create(tmp_path / "run", 'name = "by hand"\nseed = 7\n'),
        config=CONFIG,
        network=tiny_network(),
        base=BASE,
        layout=LAYOUT,
        generations=generations(),
        selected=list(SELECTED),
        events=EVENTS,
    )


@pytest.fixture
def compared(record: RunRecord) -> RunRecord:
    """The same run with baselines of its network "half"."""
    return replace(record, baselines=BASELINES)


@pytest.fixture
def unfinished(record: RunRecord) -> dict[str, RunRecord]:
    """The same run, cut short after each stage."""
    searched = replace(record, selected=[], base=replace(BASE, test=None))
    based = replace(searched, layout={}, generations=[])
    started = replace(based, network=None, base=None, events=[])
    nothing_feasible = replace(searched, generations=[generation(["1000000000"], [90], [9], 1)])
    untested = replace(
        record, base=replace(BASE, test=None), selected=[replace(n, test=None) for n in SELECTED]
    )
    return {
        "started": started,
        "based": based,
        "searched": searched,
        "nothing feasible": nothing_feasible,
        "untested": untested,
    }

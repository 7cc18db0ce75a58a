"""The published and promised figures of EMOFP on MNIST, over three seeds: about an hour on two cores."""

import pytest

from emoref.runs.config import apply_overrides, read_table, to_toml
from emoref.runs.folder import RunFolder
from emoref.runs.progress import Silent
from emoref.runs.record import read_run
from emoref.systems import execute, parse_config

pytestmark = pytest.mark.gates

SEEDS = (1, 2, 3)


def finished_run(preset, seed, path, *overrides):
    table = apply_overrides(read_table(preset), [f"seed={seed}", "select.count=0", *overrides])
    config = parse_config(table, preset)
    folder = RunFolder.create(path, to_toml(config))
    execute(config, folder, Silent())
    return read_run(folder, config.model_dump())


def smallest(record):
    return min(record.selected, key=lambda network: network.filters)


def mean_increase(records):
    """Mean over the runs of the smallest network's test error minus the base's, in points."""
    increases = [
        smallest(record).test.wrong_after / record.base.test.images * 100
        - record.base.test.wrong_after / record.base.test.images * 100
        for record in records
    ]
    return sum(increases) / len(increases)


def test_lenet_on_mnist(need_data, tmp_path):
    """Over 91 % of the filters removed (abstract): 6 of 70 kept, at most 0.6 points more error."""
    need_data("mnist")
    records = [finished_run("wu2021-lenet-mnist", seed, tmp_path / str(seed)) for seed in SEEDS]
    for record in records:
        assert record.base.test.wrong_after <= 80, "at least 99.2 % test accuracy"
        assert smallest(record).pruned_ratio >= 0.91
    assert mean_increase(records) <= 0.6


def test_conv1_on_mnist(need_data, tmp_path):
    """9 of 64 filters kept; the paper loses 0.14 points, the gate allows 0.2."""
    need_data("mnist")
    records = [
        finished_run("wu2021-conv1-mnist", seed, tmp_path / str(seed), "select.kept_filters=[9]")
        for seed in SEEDS
    ]
    for record in records:
        assert smallest(record).filters <= 9
    assert mean_increase(records) <= 0.2

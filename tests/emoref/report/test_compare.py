"""Statistics over seeds, on runs made by hand with known differences."""

import csv
import math
import os
import subprocess
import sys

import pytest

from emoref import nn
from emoref.errors import RunFolderError
from emoref.nn import NetworkBuilder
from emoref.report import compare_runs
from emoref.runs.config import apply_overrides, to_toml
from emoref.runs.folder import RunFolder
from emoref.runs.record import NetworkRecord, Outcome
from emoref.systems import parse_config

FIRST, SECOND = "evenly spaced, 1 of 2", "evenly spaced, 2 of 2"


def network():
    builder = NetworkBuilder("tiny", (1, 4, 4))
    builder.conv("conv1", 2, 3)
    builder.flatten("flat")
    builder.linear("fc", 3)
    net = builder.build()
    return net, net.init(seed=0)


def store(folder, name, choice, test, tuned=True, genome=(0,), filters=1):
    record = NetworkRecord(
        name=name,
        role="base" if name == "base" else "baseline" if "/" in name else "selected",
        choice=choice,
        kept={"conv1": filters},
        filters=filters,
        filters_original=2,
        macs=1,
        params=1,
        validation=Outcome(10, 1, 1),
        test=Outcome(*test) if test else None,
        curves={"train_loss": [1.0]} if tuned else {},
        genome=list(genome),
    )
    path = folder.network_file(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    nn.save(path, *network(), extra={"record": record.to_dict()})


@pytest.fixture
def make_run(tmp_path):
    """Return a function that makes a run: {network: (choice, searched, {method: outcome})}."""

    def make(seed, networks, *overrides, base=(1000, 9, 9)):
        table = {"system": "emofp", "seed": seed, "baselines": {"enabled": True}}
        config = parse_config(apply_overrides(table, list(overrides)), "by hand")
        folder = RunFolder.create(tmp_path / f"run-{len(list(tmp_path.iterdir()))}", to_toml(config))
        store(folder, "base", "trained from scratch", base)
        for name, (choice, searched, rivals) in networks.items():
            store(folder, name, choice, searched)
            for method, outcome in rivals.items():
                genome = () if method.startswith("scratch") else (0,)
                store(folder, f"{name}/{method}", "", outcome, genome=genome)
        return folder.path

    return make


def one(before, after, rival_before, rival_after):
    rivals = {"l1": (1000, rival_before, rival_after), "scratch": (1000, 900, rival_after + 10)}
    return {"kept-1": (FIRST, (1000, before, after), rivals)}


def rows(table):
    return {row[:3]: dict(zip(table.columns, row, strict=True)) for row in table.rows}


def test_paired_statistics_by_hand(make_run):
    runs = [
        make_run(s, one(*wrong))
        for s, wrong in enumerate([(30, 10, 40, 11), (50, 12, 70, 14), (20, 14, 50, 17)])
    ]
    found = rows(compare_runs(runs))
    assert list(found) == [(FIRST, "l1", "before"), (FIRST, "l1", "after"), (FIRST, "scratch", "after")]

    # Differences before: -10, -20, -30: mean -20, sample deviation 10, standard error 10 / sqrt(3). With two
    # degrees of freedom the two-sided p of t is 1 - t / sqrt(t^2 + 2); here t^2 = 12.
    before = found[FIRST, "l1", "before"]
    assert before["seeds"] == 3
    assert before["searched_error"] == pytest.approx(100 / 3000)
    assert before["method_error"] == pytest.approx(160 / 3000)
    assert before["difference"] == pytest.approx(-0.020)
    assert before["standard_error"] == pytest.approx(0.010 / math.sqrt(3))
    assert before["p_value"] == pytest.approx(1 - math.sqrt(12 / 14))

    # After: -1, -2, -3: mean -2, deviation 1, again t^2 = 12.
    after = found[FIRST, "l1", "after"]
    assert after["difference"] == pytest.approx(-0.002)
    assert after["p_value"] == pytest.approx(1 - math.sqrt(12 / 14))
    assert found[FIRST, "scratch", "after"]["difference"] == pytest.approx(-0.012)


def test_equal_differences_have_no_p_value(make_run):
    runs = [make_run(s, one(10 * s, s, 10 * s + 7, s)) for s in (1, 2, 3)]
    found = rows(compare_runs(runs))
    before, after = found[FIRST, "l1", "before"], found[FIRST, "l1", "after"]
    assert (before["difference"], before["standard_error"], before["p_value"]) == (-0.007, 0.0, None)
    assert (after["difference"], after["standard_error"], after["p_value"]) == (0.0, 0.0, None)


def test_networks_are_paired_by_the_rule_that_chose_them(make_run):
    """Names differ between seeds, and one network may stand for two rules."""
    wish = "most accurate with at most 1 filters"
    a = make_run(
        1,
        {
            "kept-2": (FIRST, (1000, 10, 1), {"l1": (1000, 20, 2)}),
            "kept-1": (f"{SECOND}; {wish}", (1000, 30, 3), {"l1": (1000, 60, 6)}),
        },
    )
    b = make_run(
        2,
        {
            "kept-2": (SECOND, (1000, 50, 5), {"l1": (1000, 55, 5)}),
            "kept-3": (FIRST, (1000, 10, 1), {"l1": (1000, 14, 2)}),
            "kept-1": (wish, (1000, 70, 7), {"l1": (1000, 77, 7)}),
        },
    )
    found = rows(compare_runs([a, b]))
    means = {key[0]: row["difference"] for key, row in found.items() if key[2] == "before"}
    assert means == pytest.approx(
        {
            FIRST: -(10 + 4) / 2000,
            SECOND: -(30 + 5) / 2000,
            wish: -(30 + 7) / 2000,
            "mean of all": -((10 + 30 + 30) + (4 + 5 + 7)) / 6000,
        }
    )
    overall = found["mean of all", "l1", "before"]
    assert overall["searched_error"] == pytest.approx(((10 + 30 + 30) + (10 + 50 + 70)) / 6000)
    assert overall["seeds"] == 2
    # Differences of the run means: -70/3 and -16/3 images; their deviation over sqrt(2) is half their gap.
    assert overall["standard_error"] == pytest.approx((70 - 16) / 3 / 2 / 1000)


def test_the_order_of_the_runs_changes_no_number(make_run):
    runs = [
        make_run(s, one(*wrong))
        for s, wrong in enumerate([(30, 10, 40, 11), (50, 12, 70, 14), (21, 15, 50, 17)])
    ]
    forward, backward = rows(compare_runs(runs)), rows(compare_runs(runs[::-1]))
    for key, row in forward.items():
        assert row == pytest.approx(backward[key])


def test_differences_that_do_not_matter_are_allowed(make_run):
    runs = [
        make_run(1, one(1, 1, 2, 2), "description=first", "engine.threads=1", "name=a"),
        make_run(2, one(1, 1, 3, 2), "description=second", "base.file=other.h5", "name=b"),
    ]
    assert compare_runs(runs).rows[0][3] == 2


def test_impossible_comparisons_are_refused_and_named(make_run, tmp_path):
    good = make_run(1, one(1, 1, 2, 2))

    def refused(other, message):
        with pytest.raises(RunFolderError, match=message) as caught:
            compare_runs([good, other])
        assert str(other) in str(caught.value)

    refused(make_run(2, one(1, 1, 2, 2), "finetune.epochs=7"), "finetune.epochs is 7, not 20")
    refused(make_run(1, one(1, 1, 2, 2)), "has seed 1, like .*; give each seed once")
    refused(make_run(2, {"kept-1": (FIRST, (1000, 1, 1), {})}), "has no baselines to compare with")
    refused(make_run(2, {"kept-1": (FIRST, None, {"l1": None})}), "not finished; go on with: emoref resume")
    refused(make_run(2, {}), "not finished")
    refused(make_run(2, one(1, 1, 2, 2), base=(500, 4, 4)), "measured on 500 test images")
    refused(
        make_run(2, {"kept-1": (SECOND, (1000, 1, 1), {"l1": (1000, 2, 2)})}),
        "has no network chosen as 'evenly spaced, 1 of 2' with baseline 'l1'",
    )
    refused(tmp_path / "absent", "no such folder")
    started = RunFolder.create(tmp_path / "started", (good / "config.toml").read_text()).path
    refused(started, "not finished")
    with pytest.raises(RunFolderError, match="at least two run folders"):
        compare_runs([good])


def test_the_command_prints_the_table_and_writes_csv(make_run, tmp_path):
    runs = [make_run(s, one(10, s, 20 * s, 9)) for s in (1, 2)]

    def emoref(*arguments):
        command = [sys.executable, "-m", "emoref", "compare", *map(str, arguments)]
        env = {**os.environ, "COLUMNS": "100"}
        return subprocess.run(command, capture_output=True, text=True, env=env, check=False)

    done = emoref(*runs, "--out", tmp_path / "all.csv")
    assert done.returncode == 0, done.stderr
    assert "evenly spaced, 1 of 2 (2 seeds)" in done.stdout
    # Before: -10 and -30 of 1,000; t = 2 with one degree of freedom, p = 1 - 2 atan(2) / pi = 0.295.
    expected = ["l1", "before", "1.00%", "3.00%", "-2.00%", "1.00%", "0.3"]
    assert expected in [line.split() for line in done.stdout.splitlines()]
    with open(tmp_path / "all.csv", newline="") as file:
        first = next(csv.DictReader(file))
    assert first["fine_tuning"] == "before"
    assert float(first["p_value"]) == pytest.approx(1 - 2 * math.atan(2) / math.pi)

    refused = emoref(runs[0])
    assert refused.returncode == 2
    assert "at least two run folders" in refused.stderr
    unwritable = emoref(*runs, "--out", tmp_path / "no" / "such" / "all.csv")
    assert unwritable.returncode == 2
    assert "Traceback" not in unwritable.stderr

"""Compiling ahead of time: every kind of node is covered, figures are stored, failures are told."""

import json

import pytest

from emoref import __version__
from emoref.nn.layout import training_layout
from emoref.nn.ops import OPS
from emoref.runs import warmup
from emoref_kernels.cpu.simd import LANES


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "emoref" / "start-times.json"


def test_every_kind_of_node_is_compiled():
    nodes = [*warmup._every_layer("all", 16).nodes, *warmup._sequential().nodes]
    assert {node.op for node in nodes} == set(OPS)


def test_both_layouts_of_training_are_compiled():
    for layout, channels in (("channels-last", LANES), ("planes", LANES + 1)):
        assert training_layout(warmup._every_layer(layout, channels)).name == layout


def test_every_part_runs():
    seconds = warmup.run_steps()
    assert len(seconds) == 10
    assert all(value >= 0 for value in seconds.values())


def test_figures_are_stored_and_shown(cli, own_cache, monkeypatch):
    assert "run 'emoref warmup'" in cli("info").out
    processes = iter([(40.0, {"part": 39.0}), (2.5, {})])
    monkeypatch.setattr(warmup, "_timed_process", lambda: next(processes))
    outcome = cli("warmup")
    assert outcome.code == 0
    assert "part" in outcome.out
    assert "first start 40.0 s, again 2.5 s" in outcome.out
    assert json.loads(own_cache.read_text())["version"] == __version__
    assert "first start 40.0 s, again 2.5 s" in cli("info").out


@pytest.mark.parametrize("text", ["", "{}", '{"version": 1}', "[1]", "\0"])
def test_damaged_figures_count_as_none(own_cache, text):
    own_cache.parent.mkdir()
    own_cache.write_text(text)
    assert warmup.read_start_times() is None


def test_a_process_that_fails_is_told(refused, monkeypatch):
    monkeypatch.setattr(warmup.sys, "executable", "/bin/false")
    refused("warmup", says=["the engine could not be compiled"])


def test_a_new_process_finds_the_packages():
    seconds, parts = warmup._timed_process()
    assert seconds > sum(parts.values()) > 0

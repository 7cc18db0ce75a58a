"""Stored files with any bytes wrong: they are read, or refused with one message, and left alone."""

import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emoref.emo import NSGA2
from emoref.errors import EmorefError
from emoref.nn import load
from emoref.runs.folder import RunFolder
from emoref.runs.record import read_run
from emoref.runs.store import SearchStore
from emoref.systems import load_run_config
from emoref.systems.one_shot import OBJECTIVES

LENET_FILTERS = 20 + 50


def damaged(data):
    """Give contents with some bytes changed, cut off or put in."""
    size = len(data)
    flips = st.lists(st.tuples(st.integers(0, size - 1), st.integers(1, 255)), min_size=1, max_size=8)
    early = st.lists(
        st.tuples(st.integers(0, min(size, 4096) - 1), st.integers(1, 255)), min_size=1, max_size=8
    )

    def flip(places):
        changed = bytearray(data)
        for place, change in places:
            changed[place] ^= change
        return bytes(changed)

    cut = st.integers(0, size - 1).map(lambda n: data[:n])
    blank = st.tuples(st.integers(0, size - 1), st.integers(1, 600)).map(
        lambda t: (data[: t[0]] + bytes(t[1]) + data[t[0] + t[1] :])[:size]
    )
    return st.one_of(flips.map(flip), early.map(flip), cut, blank)


def read_everything(path):
    """Do what resume and report read."""
    folder = RunFolder.open(path)
    config = load_run_config(folder)
    read_run(folder, config.model_dump(mode="json"))


def restore(folder):
    """Read the search, and give its state to the algorithm."""

    store = SearchStore.open(folder.search)

    class Problem:
        n_var, n_obj, lower, upper, kind = LENET_FILTERS, len(OBJECTIVES), 0, 1, "binary"

        def evaluate(self, X):
            raise AssertionError

    NSGA2(Problem(), population_size=8, seed=1).restore(store.state)


@pytest.mark.parametrize("name", ["base.h5", "search.h5", "config.toml", ".config.json", "models"])
def test_damaged_bytes_raise_nothing_but_our_errors(finished, tmp_path, name):
    path = shutil.copytree(finished, tmp_path / "run")
    folder = RunFolder(path)
    victim = next((path / name).glob("*.h5")) if name == "models" else path / name
    good = victim.read_bytes()
    outcomes, longest = {"read": 0, "refused": 0}, [0]

    @settings(max_examples=80, suppress_health_check=list(HealthCheck))
    @given(damaged(good))
    def check(content):
        victim.write_bytes(content)
        actions = [lambda: read_everything(path)]
        actions += [lambda: load(folder.base)] if name == "base.h5" else []
        actions += [lambda: restore(folder)] if name == "search.h5" else []
        for action in actions:
            try:
                action()
                outcomes["read"] += 1
            except EmorefError as error:
                outcomes["refused"] += 1
                longest.append(len(str(error).splitlines()))
        assert victim.read_bytes() == content, "left alone"

    check()
    assert outcomes["refused"] > 10
    assert max(longest) <= 2, "lines of a message"
    victim.write_bytes(good)
    read_everything(path)
    restore(folder)

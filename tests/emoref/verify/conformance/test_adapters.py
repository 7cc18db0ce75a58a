"""What the kit finds in the libraries it knows: each failure named here was found in the version named."""

import functools
import importlib
import sys

import numpy as np
import pytest

from emoref.errors import ConfigError, MissingDependencyError
from emoref.verify import PEERS
from emoref.verify.conformance import check_library, reference_points
from emoref.verify.conformance.adapters import ADAPTERS, load_library


@functools.cache
def failures(name):
    return {f.check: f.counter_example for f in check_library(load_library(name)) if not f.passed}


def found_in(name, version=None):
    """Return the failures of a library; skip the test where it, or this version of it, is missing."""
    module = pytest.importorskip(name)
    if version is not None and module.__version__ != version:
        pytest.skip(f"written against {name} {version}")
    return failures(name)


UNITS = "units change nothing"


class TestEmoref:
    """Normalisations and aspiration points that promise less, with a counter-example for each."""

    @pytest.mark.parametrize("name", ["emoref-deb2014", "emoref-pymoo"])
    def test_other_normalisations_depend_on_units_and_on_nothing_else(self, name):
        assert set(failures(name)) == {
            f"{step}: {UNITS}" for step in ("normalisation", "niches", "NSGA-III selection")
        }

    def test_aspiration_points_are_in_the_objectives_units(self):
        steps = ("translation changes nothing", UNITS)
        assert set(failures("emoref-aspiration")) == {f"R-NSGA-III selection: {step}" for step in steps}

    @pytest.mark.parametrize(
        ("name", "F", "factors"),
        [
            ("emoref-deb2014", [[0, 2], [1, 0], [2, 1]], [2.0**-20, 1]),
            ("emoref-pymoo", [[0.22, 2.35], [2.42, 0.89], [0.17, 3.14]], [2.0**-7, 1]),
            ("pymoo", [[0.22, 2.35], [2.42, 0.89], [0.17, 3.14]], [2.0**-7, 1]),
        ],
    )
    def test_pinned_counter_examples(self, name, F, factors):
        if name == "pymoo":
            pytest.importorskip("pymoo")
        F = np.array(F, dtype=float)
        change = np.abs(load_library(name).normalise(F * factors) - load_library(name).normalise(F)).max()
        assert change > 0.3
        ours = load_library("emoref").normalise
        np.testing.assert_array_equal(ours(F * factors), ours(F))

    def test_pinned_aspiration(self):
        select = load_library("emoref-aspiration").select["R-NSGA-III"]
        F, W = np.array([[0.0, 1.0], [1.0, 0.0]]), reference_points(2)
        kept = [select(F + shift, 1, W, None, 0).tolist() for shift in ([0, 0], [0, 1])]
        assert kept[0] != kept[1]


class TestPymoo:
    @pytest.fixture
    def found(self):
        return found_in("pymoo", "0.6.2")

    def test_nan_corrupts_ranks(self, found):
        example = found["sorting: NaN ranks last and changes nothing else"]
        assert example == "F = [[nan, 0], [0, 1]]: ranks [0, 1]; without the rows that are not finite, [0]"
        F = np.array([[0, 1], [1, 0], [np.nan, 0.5], [2, 2]])
        # Here a point that nobody dominates comes after the failed one.
        ranks = load_library("pymoo").sort(F)
        assert ranks[0] > ranks[2]

    def test_constrained_runs_are_not_reproducible(self, found):
        for name in ("NSGA-III", "U-NSGA-III"):
            assert f"{name} run: same seed, same result; constraint: many equal violations" in found
        assert not any(check.startswith("NSGA-II run: same seed") for check in found)

    def test_extreme_points_depend_on_units(self, found):
        for step in ("normalisation", "niches", "NSGA-III selection"):
            assert f"{step}: {UNITS}" in found

    def test_warnings_are_switched_off(self, found):
        assert "puts the filter 'ignore'" in found["normalisation: Python's warnings stay on"]
        assert "NSGA-III run: Python's warnings stay on" in found

    def test_everything_else_holds(self, found):
        words = ("NaN", "infinity", UNITS, "warnings", "many equal violations")
        assert not [check for check in found if not any(word in check for word in words)]


class TestDeap:
    @pytest.fixture
    def found(self):
        return found_in("deap")

    def test_normalisation_depends_on_the_origin(self, found):
        for step in ("normalisation", "niches", "NSGA-III selection"):
            assert f"{step}: translation changes nothing" in found
        assert "normalisation: known values" in found

    def test_nan(self, found):
        assert "sorting: NaN ranks last and changes nothing else" in found

    def test_what_holds(self, found):
        assert not any("crowding" in check or "run:" in check for check in found)

    def test_shared_generators_are_put_back(self):
        pytest.importorskip("deap")
        shared = importlib.import_module("numpy.random")
        before = shared.get_state()[1].copy()
        load_library("deap").select["NSGA-III"](
            np.random.default_rng(0).random((9, 3)), 4, np.eye(3), None, 1
        )
        np.testing.assert_array_equal(shared.get_state()[1], before)


class TestPygmo:
    @pytest.fixture
    def found(self):
        return found_in("pygmo")

    def test_constant_objectives_make_nan(self, found):
        assert "nan" in found["crowding distance: a constant objective"]

    def test_one_point_is_refused(self, found):
        assert "raises ValueError" in found["sorting: one and two points"]

    def test_what_holds(self, found):
        assert not any("run:" in check or "translation" in check or "units" in check for check in found)


def test_every_adapter_is_a_peer():
    assert {"torch", *ADAPTERS} == set(PEERS)


@pytest.mark.parametrize(("name", "extra"), [("pymoo", "oracles"), ("deap", "peers"), ("pygmo", "peers")])
def test_what_is_not_installed_names_its_extra(name, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependencyError, match=rf'{name} is not installed.*"emoref\[{extra}\]"'):
        load_library(name)


def test_unknown_libraries():
    with pytest.raises(ConfigError, match="'pymo'; use emoref, "):
        load_library("pymo")

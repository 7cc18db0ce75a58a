"""The kit finds wrong functions, and lets right ones pass."""

import warnings

import numpy as np
import pytest

from emoref import emo
from emoref.verify.conformance import Library, check_library, properties, reference_points
from emoref.verify.conformance.adapters import load_library
from emoref.verify.conformance.protocol import STEPS

EMOREF = load_library("emoref")


def failures(**functions):
    return {f.check: f.counter_example for f in check_library(Library("mine", **functions)) if not f.passed}


def test_emoref_has_every_property():
    findings = list(check_library(EMOREF))
    assert not [finding for finding in findings if not finding.passed]
    assert all(finding.ours and finding.cases > 0 for finding in findings)
    assert {item.step for item in properties()} == set(STEPS)
    for step in STEPS:
        for title in EMOREF.functions(step):
            assert any(finding.check.startswith(f"{title}: ") for finding in findings)


def test_another_seed_gives_other_cases_and_the_same_verdict():
    library = Library("mine", sort=emo.nondominated_ranks, normalise=EMOREF.normalise)
    assert all(finding.passed for finding in check_library(library, seed=7))


def test_what_is_absent_is_not_checked():
    assert list(check_library(Library("empty"))) == []
    checked = {
        finding.check.split(":")[0] for finding in check_library(Library("x", crowd=lambda F: F[:, 0]))
    }
    assert checked == {"crowding distance"}


def test_what_is_not_offered_is_not_judged():
    def select(F, size, W, G, seed):
        if G is not None:
            raise NotImplementedError("no constraints")
        return EMOREF.select["NSGA-II"](F, size, W, G, seed)

    findings = list(check_library(Library("mine", select={"NSGA-II": select})))
    assert all(finding.passed for finding in findings)
    assert not any("feasible" in finding.check for finding in findings)


def test_other_libraries_failures_are_not_ours():
    findings = list(check_library(Library("mine", sort=lambda F: np.zeros(len(F)))))
    assert any(not finding.passed for finding in findings)
    assert not any(finding.is_our_failure for finding in findings)


WRONG_SORTS = {
    "as defined": lambda F: np.zeros(len(F), dtype=int),
    "translation changes nothing": lambda F: emo.nondominated_ranks(np.abs(F)),
    "units change nothing": lambda F: emo.nondominated_ranks(np.round(F, 3)),
    "order of objectives changes nothing": lambda F: emo.nondominated_ranks(F[:, :1]),
    "order of rows changes nothing": lambda F: emo.nondominated_ranks(F) + np.arange(len(F)) % 2,
    "NaN ranks last and changes nothing else": lambda F: emo.nondominated_ranks(np.nan_to_num(F)),
    "infinity ranks last and changes nothing else": lambda F: emo.nondominated_ranks(np.clip(F, -9, 9)),
    "duplicates": lambda F: emo.nondominated_ranks(F + 1e-9 * np.arange(len(F))[:, None]),
    "one and two points": lambda F: emo.nondominated_ranks(F) if len(F) > 1 else np.ones(1),
}


@pytest.mark.parametrize("name", WRONG_SORTS)
def test_wrong_sorts_are_found(name):
    assert failures(sort=WRONG_SORTS[name])[f"sorting: {name}"]


def changing(function):
    def changed(F, *arguments):
        result = function(F.copy(), *arguments)
        F[0] = 0.0
        return result

    return changed


def test_changed_inputs_are_found():
    found = failures(
        sort=changing(EMOREF.sort),
        crowd=changing(EMOREF.crowd),
        normalise=changing(EMOREF.normalise),
        niches=changing(EMOREF.niches),
        hypervolume=changing(EMOREF.hypervolume),
        select={"NSGA-III": changing(EMOREF.select["NSGA-III"])},
    )
    assert set(found) == {
        f"{title}: input is left as it is"
        for title in (*list(STEPS.values())[:4], "hypervolume", "NSGA-III selection")
    }


def test_the_published_slip_in_the_normalisation_is_found():
    """Dividing by the intercepts less the ideal point once more, as the paper's equation (4) can be read."""

    def normalise(F):
        result = emo.normalise(F, emo.nondominated_ranks(F), emo.Normaliser.start(F.shape[1]))
        ideal, nadir = result.normaliser.ideal, result.normaliser.nadir
        return (F - ideal) / (nadir - 2 * ideal)

    found = failures(normalise=normalise, niches=lambda F, W: emo.associate(normalise(F), W).niches)
    assert "niches: translation changes nothing" in found
    assert "normalisation: translation changes nothing" in found


def test_crowding_by_another_factor_passes_and_with_nan_does_not():
    assert not failures(crowd=lambda F: emo.crowding_distance(F) / F.shape[1] if F.size else F)

    def divides_by_zero(F):
        return np.where(np.ptp(F, axis=0).min() == 0, np.nan, emo.crowding_distance(F))

    assert set(failures(crowd=divides_by_zero)) >= {
        "crowding distance: a constant objective",
        "crowding distance: duplicates",
    }


def test_only_the_minima_protected_is_another_crowding():
    found = failures(crowd=lambda F: emo.crowding_distance(F, "deb-c"))
    assert "crowding distance: known values" in found


def test_wrong_selections_are_found():
    def first(F, size, W, G, seed):
        return np.arange(min(size, len(F)))

    found = failures(select={"NSGA-II": first})
    for name in (
        "whole fronts first",
        "NaN survives last and changes nothing else",
        "feasible ones first, then the smallest violation",
        "the least crowded of the front that is cut",
        "order of rows changes nothing",
    ):
        assert f"NSGA-II selection: {name}" in found
    twice = failures(select={"NSGA-III": lambda F, size, W, G, seed: np.zeros(min(size, len(F)), dtype=int)})
    assert "twice" in twice["NSGA-III selection: known survivors"]


def test_selections_without_a_seed_are_found():
    source = np.random.default_rng(0)

    def select(F, size, W, G, seed):
        return emo.reference_selection(F, size, W, emo.Normaliser.start(F.shape[1]), source, G).survivors

    assert "NSGA-III selection: same seed, same survivors" in failures(select={"NSGA-III": select})


def test_failures_that_come_and_go_are_kept():
    source = np.random.default_rng(0)

    def sometimes(F):
        return emo.nondominated_ranks(F) + (source.random() < 0.2)

    for _ in range(5):
        assert "sorting: as defined" in failures(sort=sometimes)


def test_runs_without_a_seed_are_found():
    source = np.random.default_rng(0)
    found = failures(runs={"mine": lambda problem, population, generations, seed: source.random((4, 3))})
    assert "mine run: same seed, same result; constraint: none" in found
    same = failures(runs={"mine": lambda problem, population, generations, seed: np.zeros((4, 3))})
    assert set(same) == {"mine run: another seed, another result"}


def test_switched_off_warnings_are_found_and_put_back():
    before = list(warnings.filters)

    def normalise(F):
        warnings.simplefilter("ignore")
        return EMOREF.normalise(F)

    found = failures(normalise=normalise)
    assert set(found) == {"normalisation: Python's warnings stay on"}
    assert list(warnings.filters) == before


def test_wrong_volumes_are_found():
    found = failures(hypervolume=lambda F, reference: float(np.prod(reference - F.min(axis=0))))
    assert "hypervolume: known values" in found
    assert "hypervolume: inclusion and exclusion" in found
    squared = failures(indicators={"IGD": lambda F, front: emo.igd(F, front) ** 2})
    assert set(squared) == {"IGD indicator: known values"}


def test_an_error_counts_and_a_smaller_case_must_raise_the_same():
    def sort(F):
        if len(F) == 1:
            raise ValueError("one row\nneeds two")
        return np.zeros(len(F), dtype=int)

    found = failures(sort=sort)
    assert found["sorting: one and two points"].endswith("raises ValueError: needs two")
    assert found["sorting: as defined"] == "F = [[0], [1]]: ranks [0, 0] instead of [0, 1]" or found[
        "sorting: as defined"
    ].startswith("F = [[1], [0]]")


def test_a_result_of_another_shape_fails():
    assert "shape (3,)" in " ".join(failures(sort=lambda F: np.zeros(3)).values())


@pytest.mark.parametrize(("n_obj", "count"), [(1, 1), (2, 10), (3, 28), (5, 35)])
def test_reference_points(n_obj, count):
    assert reference_points(n_obj).shape == (count, n_obj)

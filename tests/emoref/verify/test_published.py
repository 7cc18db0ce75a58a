"""The published figures, and the choice of rows."""

import numpy as np
import pytest

from emoref import emo
from emoref.errors import ConfigError
from emoref.verify.published import DEB_2002, DEB_JAIN_2014, PYMOO, ROWS, TOLERANCE, choose_rows

PLAIN = [row for row in ROWS.values() if row.table == "plain"]


def test_every_published_row_is_there():
    assert len(PLAIN) == len(DEB_JAIN_2014) == 20
    assert sum(row.table == "scaled" for row in ROWS.values()) == 10
    assert [row.problem for row in ROWS.values() if row.table == "zdt"] == list(DEB_2002)


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_set_up_fits_together(row):
    problem = row.make_problem()
    assert problem.n_obj == row.n_obj
    if row.table != "zdt":
        # The published populations are the numbers of reference points rounded up to a multiple of four.
        assert row.population == -(-len(row.reference_points()) // 4) * 4
        np.testing.assert_allclose(problem.scale, row.base ** np.arange(row.n_obj))
    for measure in row.measures:
        assert row.figures("paper", measure).label in ("memory", "sourced")


@pytest.mark.parametrize("source", ["paper", "pymoo"])
def test_best_median_and_worst_are_in_order(source):
    for row in PLAIN:
        figures = row.figures(source, "igd")
        if figures.median is not None:
            assert figures.best <= figures.median <= figures.worst


def test_limits():
    row = ROWS["plain DTLZ3 M=3"]
    assert row.limit("igd") == TOLERANCE * 4.747e-3  # pymoo's median is the larger one
    assert ROWS["plain DTLZ4 M=3"].limit("igd") == TOLERANCE * 5.970e-4
    assert ROWS["plain DTLZ1 M=15"].limit("igd") is None
    assert ROWS["scaled DTLZ1 M=3"].limit("igd") is None
    assert ROWS["zdt ZDT1 M=2"].limit("gamma") == 0.033482
    assert ROWS["zdt ZDT1 M=2"].limit("delta") is None
    assert {row.n_obj for row in PLAIN if ("DTLZ1", row.n_obj) not in PYMOO} == {15}


@pytest.mark.parametrize("key", ["plain DTLZ1 M=3", "scaled DTLZ2 M=5", "plain DTLZ4 M=8"])
def test_perfect_points_measure_zero(key):
    row = ROWS[key]
    problem = row.make_problem()
    F = problem.targets(row.reference_points())
    population = emo.Population(F, F, np.empty((len(F), 0)))
    result = emo.Result(F, F, population.G, population, ())
    assert row.measure(problem, result) == {"igd": pytest.approx(0.0, abs=1e-12)}


def test_perfect_front_of_zdt():
    row = ROWS["zdt ZDT2 M=2"]
    problem = row.make_problem()
    F = problem.pareto_front(100)
    population = emo.Population(F, F, np.empty((100, 0)))
    measured = row.measure(problem, emo.Result(F, F, population.G, population, ()))
    assert measured["gamma"] < 1e-3
    assert measured["delta"] < 0.3


def test_choosing():
    assert choose_rows() == tuple(ROWS.values())
    assert [row.key for row in choose_rows(["dtlz2"], [3])] == ["plain DTLZ2 M=3", "scaled DTLZ2 M=3"]
    assert {row.table for row in choose_rows(["scaled", "ZDT1"])} == {"scaled", "zdt"}
    assert len(choose_rows(objectives=[15])) == 6


@pytest.mark.parametrize(
    ("names", "numbers", "words"),
    [
        (["DTLZ9"], [], "'DTLZ9'; use DTLZ1, plain"),
        ([], [4], "4 objectives; use 2, 3, 5, 8, 10, 15"),
        (["ZDT1"], [3], "ZDT1 has 3 objectives"),
    ],
)
def test_mistakes(names, numbers, words):
    with pytest.raises(ConfigError, match=words):
        choose_rows(names, numbers)

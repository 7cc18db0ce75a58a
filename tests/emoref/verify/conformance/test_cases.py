"""Random cases and how they are made smaller."""

import numpy as np
import pytest

from emoref import emo
from emoref.verify.conformance.cases import MOST_STEPS, Case, fronts_of_cases, mixed_cases, shrink


def test_mixed_cases_have_no_equal_values_and_exact_units():
    for case in mixed_cases(0, 6):
        for column in case.F.T:
            assert len(np.unique(column)) == len(column)
        np.testing.assert_array_equal(case.F + case.shift - case.shift, case.F)
        np.testing.assert_array_equal(case.F * case.factors / case.factors, case.F)
        assert len(set(case.factors)) == len(case.factors)


def test_fronts_are_fronts():
    for case in fronts_of_cases(0, 6):
        assert not emo.nondominated_ranks(case.F).any()
        assert all(len(np.unique(column)) == len(column) for column in case.F.T)


def test_the_same_seed_gives_the_same_cases():
    for make in (mixed_cases, fronts_of_cases):
        for a, b, c in zip(make(1, 3), make(1, 3), make(2, 3), strict=True):
            np.testing.assert_array_equal(a.F, b.F)
            assert not np.array_equal(a.F, c.F)


def test_shrinking_finds_the_two_rows_that_matter():
    (case,) = mixed_cases(0, 1, rows=30, objectives=(3,))
    # Fails as long as the rows with the smallest and the largest first value are there.
    low, high = case.F[:, 0].min(), case.F[:, 0].max()
    small = shrink(case, lambda c: low in c.F[:, 0] and high in c.F[:, 0])
    assert small.F.shape == (2, 1)
    assert not small.shift.any()
    assert (small.factors == 1).all()
    assert small.size == 1


def test_shrinking_rounds():
    case = Case.of([[0.123, 7.7], [0.4, 3.3]])
    small = shrink(case, lambda c: c.F.shape == (2, 2) and c.F[0, 0] < c.F[1, 0])
    assert small.F.tolist() in ([[0, 1], [1, 0]], [[0, 0], [1, 0]])


def test_shrinking_keeps_a_needed_factor_but_makes_it_milder():
    case = Case(np.ones((1, 2)), 1, np.zeros(2), np.array([2.0**-20, 2.0**30]))
    small = shrink(case, lambda c: bool(c.factors[0] < 0.5))
    assert small.F.shape == (1, 1)
    assert 2.0**-3 <= small.factors[0] < 0.5


def test_shrinking_ends():
    calls = []

    def always(case):
        calls.append(case)
        return False

    case = next(iter(mixed_cases(0, 1)))
    assert shrink(case, always) is case
    assert len(calls) <= MOST_STEPS


@pytest.mark.parametrize(
    ("case", "text"),
    [
        (Case.of([[1, 2.5], [0, 3]]), "F = [[1, 2.5], [0, 3]]"),
        (Case.of([[1, float("nan")]], violation=[2]), "F = [[1, nan]], violation [2]"),
        (Case.of(np.zeros((30, 3))), "30 points of 3 objectives"),
    ],
)
def test_text(case, text):
    assert str(case) == text

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from emoref.emo.ranking import (
    constrained_ranks,
    constraint_violation,
    fronts,
    hypervolume,
    nondominated_ranks,
)
from emoref.errors import ShapeError

NAN, INF = float("nan"), float("inf")


def test_violation_adds_what_is_positive():
    assert constraint_violation(np.array([[-1.0, 0.0], [0.5, -3.0], [1.0, 2.0]])).tolist() == [0.0, 0.5, 3.0]
    assert constraint_violation(np.empty((2, 0))).tolist() == [0.0, 0.0]


class TestConstrainedRanks:
    def test_table(self):
        F = [[3, 3], [1, 1], [0, 0], [9, 9], [2, 4], [0, 1]]
        G = [[0, 0], [-1, 0], [0.5, 0.5], [0.25, -9], [0, 0], [1.0, 0]]
        # feasible: row 1, then 0 and 4; infeasible: row 3 (0.25), then rows 2 and 5 (1.0 both)
        assert constrained_ranks(F, np.array(G, dtype=float)).tolist() == [1, 0, 3, 2, 1, 3]

    def test_without_constraints(self):
        F = np.random.default_rng(0).random((40, 2))
        for G in (None, np.empty((40, 0)), np.full((40, 2), -1.0)):
            np.testing.assert_array_equal(constrained_ranks(F, G), nondominated_ranks(F))

    def test_none_feasible(self):
        assert constrained_ranks([[0, 0], [1, 1], [2, 2]], np.array([[3.0], [1.0], [3.0]])).tolist() == [
            1,
            0,
            1,
        ]

    def test_failures_are_last_whatever_they_violate(self):
        F = [[0, 0], [NAN, 0], [5, 5], [1, INF], [2, 2], [3, 3]]
        G = [[0.0], [-1.0], [7.0], [9.0], [NAN], [INF]]
        assert constrained_ranks(F, np.array(G)).tolist() == [0, 2, 1, 2, 2, 2]

    @given(
        arrays(np.float64, (12, 2), elements=st.integers(0, 4).map(float)),
        arrays(np.float64, (12, 2), elements=st.integers(-2, 2).map(float)),
        st.randoms(use_true_random=False),
    )
    @settings(deadline=None, max_examples=80)
    def test_agrees_with_the_definition_for_every_pair(self, F, G, random):
        ranks = constrained_ranks(F, G)
        violation = constraint_violation(G)
        for a in range(12):
            for b in range(12):
                if violation[a] > 0 or violation[b] > 0:
                    assert np.sign(ranks[a] - ranks[b]) == np.sign(violation[a] - violation[b])
                elif (F[a] <= F[b]).all() and (F[a] < F[b]).any():
                    assert ranks[a] < ranks[b]
        order = list(range(12))
        random.shuffle(order)
        np.testing.assert_array_equal(constrained_ranks(F[order], G[order]), ranks[order])


def test_fronts_list_rows_in_order():
    assert [front.tolist() for front in fronts(np.array([1, 0, 2, 0, 1]))] == [[1, 3], [0, 4], [2]]


def test_hypervolume_takes_reference_by_name():
    assert hypervolume([[0.0, 0.0]], reference=[2.0, 3.0]) == 6.0


def test_empty_objectives():
    with pytest.raises(ShapeError):
        constrained_ranks(np.empty((0, 2)))

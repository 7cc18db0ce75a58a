import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoref.emo.decision import best_under, evenly_spaced, knee
from emoref.errors import ProblemError, ShapeError

FRONT = np.array([[8, 1], [0, 10], [2, 5], [1, 7], [5, 2], [10, 0]], dtype=float)


class TestEvenlySpaced:
    @pytest.mark.parametrize(
        ("count", "rows"),
        # targets for 4: 0, 3.33, 6.67 and 10; 6.67 is nearer to 8 (1.33) than to 5 (1.67)
        [
            (1, [4]),
            (2, [1, 5]),
            (3, [1, 4, 5]),
            (4, [1, 2, 0, 5]),
            (6, [1, 3, 2, 4, 0, 5]),
            (9, [1, 3, 2, 4, 0, 5]),
        ],
    )
    def test_along_the_first_objective(self, count, rows):
        assert evenly_spaced(FRONT, count).tolist() == rows

    def test_along_the_second(self):
        assert evenly_spaced(FRONT, 3, axis=1).tolist() == [5, 2, 1]

    def test_a_solution_is_used_once(self):
        F = [[0, 3], [0.1, 2], [0.2, 1], [10, 0]]
        assert evenly_spaced(F, 3).tolist() == [0, 2, 3]

    @given(st.integers(1, 12), st.integers(1, 15), st.integers(0, 99))
    @settings(deadline=None, max_examples=50)
    def test_as_many_as_asked_for(self, size, count, seed):
        F = np.random.default_rng(seed).integers(0, 5, (size, 2))
        rows = evenly_spaced(F, count)
        assert len(set(rows.tolist())) == min(size, count)
        assert (np.diff(F[rows, 0]) >= 0).all()

    def test_mistakes(self):
        with pytest.raises(ProblemError, match="count is 0"):
            evenly_spaced(FRONT, 0)
        with pytest.raises(ProblemError, match="axis is 2"):
            evenly_spaced(FRONT, 1, axis=2)


class TestKnee:
    def test_farthest_below_the_line(self):
        # scaled sums: 0.9, 1, 0.7, 0.8, 0.7, 1: rows 2 and 4 are equally far, the first is taken
        assert knee(FRONT) == 2

    def test_units_do_not_matter(self):
        assert knee(FRONT[:4] * [1e-9, 1e6] + [5.0, -3.0]) == knee(FRONT[:4])

    def test_three_objectives(self):
        F = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.3, 0.2, 0.3], [0.3, 0.3, 0.3]]
        assert knee(F) == 3

    @pytest.mark.parametrize("F", [[[1, 2]], [[3, 3], [3, 3]], [[0], [0]]])
    def test_nothing_to_choose(self, F):
        assert knee(F) == 0

    def test_constant_objective(self):
        assert knee([[0, 10, 7], [1, 4, 7], [10, 0, 7]]) == 1


class TestBestUnder:
    @pytest.mark.parametrize(
        ("axis", "budget", "row"), [(0, 5, 4), (0, 4.99, 2), (0, 0, 1), (0, 1e9, 5), (1, 1, 0), (1, 0.5, 5)]
    )
    def test_table(self, axis, budget, row):
        assert best_under(FRONT, axis, budget) == row

    def test_ties_use_least_of_the_budget(self):
        assert best_under([[3, 1], [2, 1], [2, 1], [1, 5]], 0, 3) == 1

    def test_chosen_objective(self):
        F = [[1, 9, 0], [1, 0, 9]]
        assert best_under(F, 0, 1) == 1
        assert best_under(F, 0, 1, objective=2) == 0

    def test_one_objective(self):
        assert best_under([[3], [1]], 0, 2) == 1

    def test_nothing_fits(self):
        with pytest.raises(ProblemError, match=r"objective 0 at most -1; the smallest is 0\.0"):
            best_under(FRONT, 0, -1)


@pytest.mark.parametrize("choose", [knee, lambda F: evenly_spaced(F, 2), lambda F: best_under(F, 0, 1)])
def test_bad_objectives(choose):
    with pytest.raises(ShapeError):
        choose(np.empty((0, 2)))
    with pytest.raises(ProblemError, match="finite"):
        choose([[0.0, float("inf")]])

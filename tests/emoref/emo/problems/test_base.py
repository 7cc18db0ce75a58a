import numpy as np
import pytest

from emoref.emo.problems import Benchmark
from emoref.emo.problems.base import whole
from emoref.emo.problems.fronts import PowerFront
from emoref.errors import ProblemError, ShapeError


class Line(Benchmark):
    """f1 + f2 = 1 + x2, with bounds that are numbers for all variables."""

    n_var, n_obj, lower, upper = 2, 2, -1.0, 3.0

    def _evaluate(self, X):
        return np.column_stack([X[:, 0], 1 - X[:, 0] + X[:, 1]])

    def _make_front(self):
        return PowerFront([1.0, 1.0])


def test_a_problem_of_ones_own():
    line = Line()
    F = line.evaluate([[0, 0], [1, 3]])
    np.testing.assert_array_equal(F, [[0, 1], [1, 3]])
    np.testing.assert_array_equal(line.residual(F), [0, 3])
    np.testing.assert_array_equal(line.targets([[0.25, 0.75]]), [[0.25, 0.75]])
    assert line.true_front is line.true_front


def test_bounds_for_all_variables():
    with pytest.raises(ProblemError, match=r"variable 0 may have the values from -1\.0 to 3\.0"):
        Line().evaluate([[0.0, 0.0], [3.5, 0.0]])


def test_no_rows():
    assert Line().evaluate(np.empty((0, 2))).shape == (0, 2)


def test_bound_that_rounding_exceeds_is_refused():
    with pytest.raises(ProblemError, match="variable 1"):
        Line().evaluate([[0.0, np.nextafter(3.0, 4.0)]])


def test_reference_points_are_checked():
    with pytest.raises(ShapeError, match="reference points"):
        Line().targets([[0.2, 0.3, 0.5]])
    with pytest.raises(ProblemError, match="sum to one"):
        Line().targets([[0.2, 0.3]])


def test_whole_numbers():
    assert whole("X", "n", np.int32(3), 1) == 3
    for bad in (0, 1.0, "1", None, True):
        with pytest.raises(ProblemError, match="an integer of at least 1"):
            whole("X", "n", bad, 1)

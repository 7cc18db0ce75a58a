import numpy as np
import pytest

from emoref.emo.mating import eliminate_duplicates, fill_with_new_rows, mating
from emoref.emo.problem import FunctionProblem, Variables


def test_children_of_a_pair_are_neighbours():
    X = np.arange(12.0).reshape(4, 3)
    space = Variables.of(FunctionProblem(lambda X: X, 3, 1, 0.0, 11.0))
    children = mating(
        X,
        np.array([3, 0, 2, 2]),
        space,
        lambda A, B, variables, rng: (A + 0.25, B + 0.5),
        lambda X, variables, rng: X + 100.0,
        np.random.default_rng(0),
    )
    np.testing.assert_array_equal(children, X[[3, 0, 2, 2]] + [[100.25], [100.5]] * 2)


class TestDuplicates:
    @pytest.mark.parametrize("dtype", [np.bool_, np.int64, np.float64])
    def test_against_the_population_and_each_other(self, dtype):
        existing = np.array([[0, 1, 1], [1, 1, 1]], dtype=dtype)
        X = np.array([[0, 0, 1], [0, 1, 1], [0, 0, 1], [1, 0, 0]], dtype=dtype)
        assert eliminate_duplicates(X, existing).tolist() == [True, False, False, True]
        assert eliminate_duplicates(X).tolist() == [True, True, False, True]

    def test_minus_zero_is_zero(self):
        assert eliminate_duplicates(np.array([[0.0], [-0.0]])).tolist() == [True, False]

    def test_many_bits(self):
        X = np.zeros((30, 10_001), dtype=bool)
        X[np.arange(29), np.arange(29)] = True
        X[29, 3] = True
        assert eliminate_duplicates(X).tolist() == [True] * 29 + [False]


class TestFilling:
    def test_refills_until_complete(self):
        batches = iter([[[1], [1], [2], [5]], [[5], [2]], [[3], [4]]])
        asked = []

        def make(count):
            asked.append(count)
            return np.array(next(batches))

        rows = fill_with_new_rows(make, 4, np.array([[5]]), attempts=5)
        assert rows.ravel().tolist() == [1, 2, 3, 4]
        assert asked == [4, 2, 2]

    def test_gives_up_after_the_attempts(self):
        calls = []

        def make(count):
            calls.append(count)
            return np.ones((count, 1))

        assert fill_with_new_rows(make, 3, None, attempts=4).tolist() == [[1.0]]
        assert calls == [3, 2, 2, 2]
        assert fill_with_new_rows(make, 3, np.ones((1, 1)), attempts=1).shape == (0, 1)

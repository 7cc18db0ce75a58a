import numpy as np
import pytest

from emoref.emo.problem import FunctionProblem, Problem, Variables, check_values, evaluate
from emoref.errors import ProblemError, ShapeError


def problem(**changes):
    settings = {"n_var": 2, "n_obj": 2, "lower": 0.0, "upper": 1.0, "kind": "real"} | changes
    return FunctionProblem(lambda X: X, **settings)


def test_a_class_with_the_attributes_is_a_problem():
    assert isinstance(problem(), Problem)
    assert not isinstance(object(), Problem)


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("real", np.float64),
        ("integer", np.int64),
        ("binary", np.bool_),
        (["integer", "binary"], np.int64),
        (["real", "binary"], np.float64),
    ],
)
def test_type_of_candidates(kind, dtype):
    assert Variables.of(problem(kind=kind)).dtype == dtype


def test_columns_by_kind():
    variables = Variables.of(problem(n_var=4, kind=["binary", "real", "binary", "integer"]))
    columns = {kind: list(places) for kind, places in variables.columns.items()}
    assert columns == {"real": [1], "integer": [3], "binary": [0, 2]}


def test_binary_bounds_are_ignored():
    variables = Variables.of(problem(kind="binary", lower=None, upper=7))
    assert variables.lower.tolist() == [0, 0]
    assert variables.upper.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n_var": 0}, "n_var is 0"),
        ({"n_obj": 0}, "n_obj is 0"),
        ({"n_var": 2.0}, "n_var"),
        ({"kind": "complex"}, "kind"),
        ({"kind": ["real"]}, "2 of them"),
        ({"lower": 2.0}, r"variable 0 has bounds \[2.0, 1.0\]"),
        ({"lower": [0.0, np.nan]}, "variable 1"),
        ({"upper": np.inf}, "finite"),
        ({"upper": [1.0, 2.0, 3.0]}, "upper bound"),
        ({"lower": "left"}, "lower bound"),
        ({"kind": "integer", "upper": 1.5}, "integer variable 0"),
    ],
)
def test_bad_problems(changes, words):
    with pytest.raises(ProblemError, match=words):
        problem(**changes)


def test_missing_attribute():
    class Half:
        n_var = 3

    with pytest.raises(ProblemError, match="n_obj"):
        Variables.of(Half())


class TestCheckOfCandidates:
    variables = Variables.of(problem(kind=["real", "integer"], lower=[0.0, -2], upper=[1.0, 5]))

    def test_good_ones_become_our_type(self):
        assert self.variables.check([[0, 5], [1, -2]], "x").dtype == np.float64

    @pytest.mark.parametrize("X", [[[0.5]], [0.5, 1], [[0.5, 1, 2]]])
    def test_shape(self, X):
        with pytest.raises(ShapeError, match="repair returned shape"):
            self.variables.check(X, "repair")

    @pytest.mark.parametrize(
        ("X", "words"),
        [
            ([[1.1, 0]], "1.1 for real variable 0"),
            ([[0.5, 6]], "6.0 for integer variable 1"),
            ([[0.5, 0.5]], "0.5 for integer variable 1"),
            ([[np.nan, 0]], "nan"),
            ([["a", "b"]], "numbers"),
        ],
    )
    def test_values(self, X, words):
        with pytest.raises(ProblemError, match=words):
            self.variables.check(X, "repair")


class TestEvaluate:
    X = np.array([[0.0, 1.0], [1.0, 0.5], [0.2, 0.2]])

    def test_objectives_alone(self):
        values = evaluate(problem(), self.X)
        np.testing.assert_array_equal(values.F, self.X)
        assert values.G.shape == (3, 0)

    def test_objectives_and_constraints(self):
        constrained = FunctionProblem(lambda X: (X, X[:, :1] - 0.5), 2, 2)
        assert evaluate(constrained, self.X).G.tolist() == [[-0.5], [0.5], [-0.3]]

    def test_row_by_row(self):
        one = FunctionProblem(lambda x: ([x[0], x[1]], [x[0] - x[1]]), 2, 2, rowwise=True)
        values = evaluate(one, self.X)
        np.testing.assert_array_equal(values.F, self.X)
        assert values.G.tolist() == [[-1.0], [0.5], [0.0]]

    def test_the_problem_cannot_change_our_candidates(self):
        def spoil(X):
            X[:] = 7.0
            return X

        X = self.X.copy()
        evaluate(FunctionProblem(spoil, 2, 2), X)
        np.testing.assert_array_equal(X, self.X)

    def test_failed_evaluations_are_allowed(self):
        values = evaluate(FunctionProblem(lambda X: np.full((len(X), 2), np.nan), 2, 2), self.X)
        assert np.isnan(values.F).all()

    @pytest.mark.parametrize(
        ("function", "error", "words"),
        [
            (lambda X: X[:2], ShapeError, r"\(2, 2\); for 3 candidates it must be \(3, 2\)"),
            (lambda X: X[:, :1], ShapeError, "F has shape"),
            (lambda X: X[:, 0], ShapeError, "F has shape"),
            (lambda X: [], ShapeError, "F has shape"),
            (lambda X: None, ProblemError, "real numbers"),
            (lambda X: X.astype(str), ProblemError, "real numbers"),
            (lambda X: X * 1j, ProblemError, "complex128"),
            (lambda X: [[1, 2], [3], [4, 5]], ShapeError, "different lengths"),
            (lambda X: (X, X[:1]), ShapeError, "G has shape"),
            (lambda X: (X, X[:, 0]), ShapeError, "G has shape"),
            (lambda X: (X, [["a"]] * 3), ProblemError, "G is"),
        ],
    )
    def test_bad_returns_name_the_problem(self, function, error, words):
        with pytest.raises(error, match=f"FunctionProblem.evaluate: .*{words}"):
            evaluate(FunctionProblem(function, 2, 2), self.X)


def test_check_values_copies():
    F = np.zeros((2, 2))
    values = check_values(F, None, 2, 2)
    F[:] = 1.0
    assert not values.F.any()

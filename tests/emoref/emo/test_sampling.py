import numpy as np
import pytest

from emoref.emo.problem import FunctionProblem, Variables
from emoref.emo.sampling import RandomSampling, RatioLadder, random_bits, random_real, ratio_ladder
from emoref.errors import ProblemError


def space(kind, lower=0.0, upper=1.0, n_var=3):
    return Variables.of(FunctionProblem(lambda X: X, n_var, 1, lower, upper, kind))


def test_random_real_fills_the_box():
    lower, upper = np.array([-1.0, 5.0]), np.array([1.0, 5.0])
    X = random_real(2000, lower, upper, np.random.default_rng(0))
    assert ((lower <= X) & (upper >= X)).all()
    assert X[:, 0].mean() == pytest.approx(0.0, abs=0.05)


def test_random_bits():
    X = random_bits(400, 50, np.random.default_rng(0), probability=0.2)
    assert X.dtype == np.bool_
    assert X.mean() == pytest.approx(0.2, abs=0.01)


def test_ratio_ladder_has_exactly_the_ones_it_drew():
    draw = 0.1 + 0.8 * np.random.default_rng(5).random(300)
    X = ratio_ladder(300, 64, np.random.default_rng(5), 0.1, 0.9)
    np.testing.assert_array_equal(X.sum(axis=1), np.rint(draw * 64))
    # Every place is as likely as any other.
    assert np.abs(X.mean(axis=0) - X.mean()).max() < 0.12


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.0), (1.0, 1.0), (0.5, 0.5)])
def test_ratio_ladder_of_one_step(low, high):
    X = RatioLadder(low, high)(20, space("binary", n_var=10), np.random.default_rng(0))
    assert (X.sum(axis=1) == 10 * low).all()


def test_every_integer_is_equally_likely():
    X = RandomSampling()(6000, space("integer", -1, 2), np.random.default_rng(0))
    values, counts = np.unique(X, return_counts=True)
    assert values.tolist() == [-1, 0, 1, 2]
    np.testing.assert_allclose(counts / counts.sum(), 0.25, atol=0.02)


def test_mixed_kinds():
    variables = space(["binary", "real", "integer"], [0, -3.0, 4], [1, -2.0, 6])
    X = RandomSampling()(200, variables, np.random.default_rng(1))
    variables.check(X, "sampling")
    assert [len(np.unique(column)) for column in X.T] == [2, 200, 3]


def test_ratio_ladder_needs_bits():
    with pytest.raises(ProblemError, match="binary"):
        RatioLadder()(5, space("real"), np.random.default_rng(0))


@pytest.mark.parametrize(("low", "high"), [(-0.1, 1.0), (0.5, 0.4), (0.5, 1.5)])
def test_impossible_ladder(low, high):
    with pytest.raises(ProblemError, match="ladder"):
        RatioLadder(low, high)

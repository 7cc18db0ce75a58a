import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoref.emo.problem import FunctionProblem, Variables
from emoref.emo.sampling import (
    LatinHypercube,
    MagnitudeLadder,
    RandomSampling,
    RatioLadder,
    latin_hypercube,
    magnitude_ladder,
    random_bits,
    random_real,
    ratio_ladder,
)
from emoref.errors import ProblemError, ShapeError


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


@pytest.mark.parametrize("sampling", [RatioLadder(), MagnitudeLadder(np.ones(3))])
def test_ladders_need_bits(sampling):
    with pytest.raises(ProblemError, match="binary"):
        sampling(5, space("real"), np.random.default_rng(0))


@pytest.mark.parametrize(("low", "high"), [(-0.1, 1.0), (0.5, 0.4), (0.5, 1.5), (float("nan"), 1.0)])
def test_impossible_ladder(low, high):
    with pytest.raises(ProblemError, match="ratio ladder"):
        RatioLadder(low, high)
    with pytest.raises(ProblemError, match="magnitude ladder"):
        MagnitudeLadder(np.ones(3), low=low, high=high)
    with pytest.raises(ProblemError, match="magnitude ladder"):
        magnitude_ladder(2, np.ones(3), np.random.default_rng(0), low=low, high=high)


class TestLatinHypercube:
    @given(st.integers(1, 60), st.integers(1, 5), st.integers(0, 500))
    @settings(deadline=None, max_examples=50)
    def test_one_point_in_each_interval(self, count, n_var, seed):
        rng = np.random.default_rng(seed)
        lower = rng.integers(-9, 9, n_var).astype(np.float64)
        width = rng.integers(1, 9, n_var)
        X = latin_hypercube(count, lower, lower + width, rng)
        assert X.shape == (count, n_var)
        intervals = np.floor((X - lower) / width * count + 1e-9)
        np.testing.assert_array_equal(np.sort(intervals, axis=0), np.arange(count)[:, None] + 0 * intervals)

    def test_against_scipy(self):
        qmc = pytest.importorskip("scipy.stats.qmc")
        X = latin_hypercube(50, np.zeros(4), np.ones(4), np.random.default_rng(0))
        # Its own Latin hypercubes have a one-dimensional discrepancy like ours, random points a larger one.
        theirs = qmc.LatinHypercube(1, rng=0).random(50)
        for column in X.T:
            assert qmc.discrepancy(column[:, None]) == pytest.approx(qmc.discrepancy(theirs), abs=3e-4)
        assert qmc.discrepancy(np.random.default_rng(0).random((50, 1))) > 2 * qmc.discrepancy(theirs)

    def test_variables_are_independent(self):
        X = latin_hypercube(2000, np.zeros(2), np.ones(2), np.random.default_rng(1))
        assert abs(np.corrcoef(X.T)[0, 1]) < 0.08

    def test_equal_bounds(self):
        X = latin_hypercube(7, np.array([0.1]), np.array([0.1]), np.random.default_rng(0))
        assert (X == 0.1).all()

    def test_kinds(self):
        variables = space(["binary", "real", "integer"], [0, -3.0, 4], [1, -2.0, 6])
        X = LatinHypercube()(60, variables, np.random.default_rng(1))
        variables.check(X, "sampling")
        assert [len(np.unique(column)) for column in X.T] == [2, 60, 3]
        for column in (X[:, 0], X[:, 2]):
            counts = np.unique(column, return_counts=True)[1]
            assert (counts == 60 // len(counts)).all()

    @pytest.mark.parametrize(("kind", "dtype"), [("binary", np.bool_), ("integer", np.int64)])
    def test_type(self, kind, dtype):
        X = LatinHypercube()(4, space(kind, 0, 1), np.random.default_rng(0))
        assert X.dtype == dtype
        assert (X.sum(axis=0) == 2).all()

    def test_no_points(self):
        assert latin_hypercube(0, np.zeros(3), np.ones(3), np.random.default_rng(0)).shape == (0, 3)


class TestMagnitudeLadder:
    weights = np.array([0.1, -0.9, 0.4, -0.2, 0.6, 0.0, 3.0, -2.0, 1.0, 4.0])

    def test_by_hand(self):
        masks = magnitude_ladder(
            3, self.weights, np.random.default_rng(0), sizes=(6, 4), low=0.0, high=1.0, jitter=0.0
        )
        # Of the layers of 6 and 4: one each, then half, then all.
        assert masks.astype(int).tolist() == [
            [0, 1, 0, 0, 0, 0, 0, 0, 0, 1],
            [0, 1, 1, 0, 1, 0, 1, 0, 0, 1],
            [1] * 10,
        ]

    @given(st.integers(1, 12), st.lists(st.integers(1, 30), min_size=1, max_size=4), st.integers(0, 500))
    @settings(deadline=None, max_examples=50)
    def test_exact_numbers_in_each_layer(self, count, sizes, seed):
        rng = np.random.default_rng(seed)
        weights = rng.normal(size=sum(sizes)).astype(np.float32)
        masks = magnitude_ladder(count, weights, rng, sizes=sizes, low=0.1, high=0.8)
        ratios = np.linspace(0.1, 0.8, count) if count > 1 else np.array([0.45])
        for size, layer in zip(sizes, np.split(masks, np.cumsum(sizes)[:-1], axis=1), strict=True):
            np.testing.assert_array_equal(layer.sum(axis=1), np.maximum(1, np.rint(ratios * size)))

    def test_without_jitter_each_mask_contains_the_one_before(self):
        masks = magnitude_ladder(9, self.weights, np.random.default_rng(0), jitter=0.0)
        assert (masks[:-1] <= masks[1:]).all()

    def test_quantile_form(self):
        weights = np.random.default_rng(3).normal(size=101)
        masks = magnitude_ladder(5, weights, np.random.default_rng(0), low=0.2, high=0.8, jitter=0.0)
        for ratio, mask in zip(np.linspace(0.2, 0.8, 5), masks, strict=True):
            largest = np.sort(np.abs(weights))[101 - round(ratio * 101)]
            np.testing.assert_array_equal(mask, np.abs(weights) >= largest)

    def test_jitter_disturbs_the_middle_and_not_the_ends(self):
        weights = np.linspace(0.0, 1.0, 200)
        masks = magnitude_ladder(400, weights, np.random.default_rng(0), low=0.5, high=0.5)
        share = masks.mean(axis=0)
        assert share[:50].max() == 0.0
        assert share[150:].min() == 1.0
        assert 0.2 < share[95:105].mean() < 0.8
        assert len(np.unique(masks, axis=0)) > 300

    def test_scale_of_the_weights_does_not_matter(self):
        masks = [
            magnitude_ladder(6, self.weights * scale, np.random.default_rng(2), sizes=(6, 4))
            for scale in (1.0, 2.0**-20)
        ]
        np.testing.assert_array_equal(*masks)

    def test_as_sampling(self):
        sampling = MagnitudeLadder(self.weights, (6, 4))
        masks = sampling(5, space("binary", n_var=10), np.random.default_rng(7))
        expected = magnitude_ladder(5, self.weights, np.random.default_rng(7), sizes=(6, 4))
        np.testing.assert_array_equal(masks, expected)
        assert masks.dtype == np.bool_

    def test_mistakes(self):
        rng = np.random.default_rng(0)
        with pytest.raises(ShapeError, match="connections"):
            magnitude_ladder(3, np.ones((2, 2)), rng)
        with pytest.raises(ShapeError, match="add up to 3"):
            magnitude_ladder(3, np.ones(3), rng, sizes=(2, 2))
        with pytest.raises(ProblemError, match="not finite"):
            magnitude_ladder(3, np.array([1.0, np.nan]), rng)
        with pytest.raises(ProblemError, match="jitter"):
            magnitude_ladder(3, np.ones(3), rng, jitter=-1.0)
        with pytest.raises(ShapeError, match="3 variables"):
            MagnitudeLadder(np.ones(4))(3, space("binary"), rng)

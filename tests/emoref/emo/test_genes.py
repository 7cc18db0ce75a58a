import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoref.emo.genes import (
    BitSwap,
    HalfUniformCrossover,
    LayerCrossover,
    PointCrossover,
    bit_swap,
    half_uniform_crossover,
    layer_crossover,
    point_crossover,
)
from emoref.emo.mating import mating
from emoref.emo.operators import CrossoverByKind, MutationByKind, PolynomialMutation
from emoref.emo.problem import FunctionProblem, Variables
from emoref.errors import ProblemError, ShapeError


def rng(seed=0):
    return np.random.default_rng(seed)


def bits(n_var):
    return Variables.of(FunctionProblem(lambda X: X, n_var, 1, 0.0, 1.0, "binary"))


def opposite(pairs, n_var):
    """Return parents that differ everywhere: where a gene comes from can be seen."""
    return np.zeros((pairs, n_var), dtype=np.bool_), np.ones((pairs, n_var), dtype=np.bool_)


CROSSOVERS = [
    PointCrossover(1, 0.7),
    PointCrossover(2, 0.7),
    PointCrossover(5, 0.7),
    HalfUniformCrossover(0.7),
    LayerCrossover((3, 1, 4), 0.7),
]


@pytest.mark.parametrize("crossover", CROSSOVERS, ids=lambda crossover: repr(crossover)[:20])
class TestEveryCrossover:
    @given(st.integers(0, 1000), st.sampled_from([np.bool_, np.int64, np.float64]))
    @settings(deadline=None, max_examples=25)
    def test_each_gene_of_a_pair_is_kept_in_its_place(self, crossover, seed, dtype):
        A, B = (rng(seed + i).integers(0, 2, (12, 8)).astype(dtype) for i in range(2))
        before = A.copy(), B.copy()
        first, second = crossover(A, B, bits(8), rng(seed))
        assert first.dtype == second.dtype == dtype
        np.testing.assert_array_equal(np.minimum(first, second), np.minimum(A, B))
        np.testing.assert_array_equal(np.maximum(first, second), np.maximum(A, B))
        np.testing.assert_array_equal(A, before[0])
        np.testing.assert_array_equal(B, before[1])

    def test_same_seed_same_children(self, crossover):
        A, B = opposite(20, 8)
        for one, other in zip(
            crossover(A, B, bits(8), rng(4)), crossover(A, B, bits(8), rng(4)), strict=True
        ):
            np.testing.assert_array_equal(one, other)

    def test_pairs_that_take_part(self, crossover):
        A, B = opposite(6000, 8)
        changed = (crossover(A, B, bits(8), rng(1))[0] != A).any(axis=1).mean()
        untouched = 0.5**3 if isinstance(crossover, LayerCrossover) else 0.0
        assert changed == pytest.approx(0.7 * (1 - untouched), abs=0.025)


class TestPoints:
    @pytest.mark.parametrize("points", [1, 2, 3])
    def test_number_of_cuts(self, points):
        first, second = point_crossover(*opposite(2000, 9), rng(), points=points, probability=1.0)
        assert (np.diff(first.astype(int), axis=1) != 0).sum(axis=1).tolist() == [points] * 2000
        assert not first[:, 0].any()
        np.testing.assert_array_equal(second, ~first)

    def test_each_place_is_equally_likely(self):
        first, _ = point_crossover(*opposite(8000, 5), rng(), probability=1.0)
        lengths = np.bincount(first.sum(axis=1), minlength=6)
        assert lengths[[0, 5]].tolist() == [0, 0]
        np.testing.assert_allclose(lengths[1:5] / 8000, 0.25, atol=0.025)

    def test_more_points_than_places(self):
        first, _ = point_crossover(*opposite(3, 4), rng(), points=9, probability=1.0)
        assert first.astype(int).tolist() == [[0, 1, 0, 1]] * 3

    def test_one_gene(self):
        first, second = point_crossover(*opposite(3, 1), rng(), probability=1.0)
        assert not first.any()
        assert second.all()

    def test_impossible(self):
        with pytest.raises(ProblemError, match="0 points"):
            PointCrossover(0)


class TestHalfUniform:
    @given(st.integers(0, 1000))
    @settings(deadline=None, max_examples=40)
    def test_exactly_half_of_the_difference(self, seed):
        A, B = rng(seed).random((15, 11)) < 0.5, rng(seed + 1).random((15, 11)) < 0.5
        first, second = half_uniform_crossover(A, B, rng(seed), probability=1.0)
        distance = (A != B).sum(axis=1)
        np.testing.assert_array_equal((first != A).sum(axis=1), distance // 2)
        np.testing.assert_array_equal((first != B).sum(axis=1), distance - distance // 2)
        np.testing.assert_array_equal((first != second).sum(axis=1), distance)

    def test_every_gene_is_equally_likely(self):
        first, _ = half_uniform_crossover(*opposite(6000, 6), rng(), probability=1.0)
        np.testing.assert_allclose(first.mean(axis=0), 0.5, atol=0.03)


class TestLayers:
    sizes = (3, 1, 4)

    def test_layers_stay_whole(self):
        first, _ = layer_crossover(*opposite(6000, 8), self.sizes, rng(), probability=1.0)
        for layer in np.split(first, np.cumsum(self.sizes)[:-1], axis=1):
            assert (layer == layer[:, :1]).all()
            assert layer.mean() == pytest.approx(0.5, abs=0.03)
        # Independently of each other, so all eight combinations occur.
        assert len(np.unique(first, axis=0)) == 8

    def test_layers_of_one_gene_are_uniform_crossover(self):
        first, _ = layer_crossover(*opposite(6000, 4), np.ones(4, dtype=np.int64), rng(), probability=1.0)
        assert len(np.unique(first, axis=0)) == 16

    @pytest.mark.parametrize("sizes", [(3, 4), (3, 5, 0), (3, 6, -1), (8.0,), 8, ()])
    def test_sizes_that_do_not_fit(self, sizes):
        with pytest.raises(ShapeError, match="add up to 8"):
            layer_crossover(*opposite(2, 8), sizes, rng())


class TestBitSwap:
    @given(st.integers(0, 1000), st.sampled_from([np.bool_, np.int64, np.float64]))
    @settings(deadline=None, max_examples=40)
    def test_one_bit_moves(self, seed, dtype):
        X = (rng(seed).random((20, 7)) < 0.4).astype(dtype)
        X[0], X[1] = 0, 1
        before = X.copy()
        swapped = bit_swap(X, rng(seed))
        assert swapped.dtype == dtype
        np.testing.assert_array_equal(X, before)
        np.testing.assert_array_equal(swapped.sum(axis=1), X.sum(axis=1))
        mixed = (X[:, :1] != X).any(axis=1)
        assert ((swapped != X).sum(axis=1) == np.where(mixed, 2, 0)).all()

    def test_every_pair_of_bits_is_equally_likely(self):
        X = np.tile([True, True, False, False, False], (12_000, 1))
        swapped, counts = np.unique(bit_swap(X, rng()), axis=0, return_counts=True)
        assert len(swapped) == 6
        np.testing.assert_allclose(counts / 12_000, 1 / 6, atol=0.02)

    def test_share_of_rows(self):
        X = np.tile([True, False], (5000, 1))
        changed = (bit_swap(X, rng(), probability=0.3) != X).any(axis=1)
        assert changed.mean() == pytest.approx(0.3, abs=0.03)

    def test_rows_that_do_not_swap_flip(self):
        X = rng(0).random((4000, 20)) < 0.5
        always = BitSwap(swap=1.0)(X, bits(20), rng(1))
        np.testing.assert_array_equal(always.sum(axis=1), X.sum(axis=1))
        never = BitSwap(swap=0.0)(X, bits(20), rng(1))
        assert (never != X).sum(axis=1).mean() == pytest.approx(1.0, abs=0.08)
        half = BitSwap()(X, bits(20), rng(1))
        assert (half != X).sum(axis=1).mean() == pytest.approx(1.5, abs=0.08)
        assert half.dtype == np.bool_


def test_rate_counts_the_variables_of_all_kinds():
    kinds = ["real"] * 15 + ["binary"] * 5
    variables = Variables.of(FunctionProblem(lambda X: X, 20, 1, 0.0, 1.0, kinds))
    X = np.hstack([rng(0).random((8000, 15)), rng(1).random((8000, 5)) < 0.5])
    mutation = MutationByKind({"real": PolynomialMutation(), "binary": BitSwap(swap=0.0)})
    changed = mutation(X, variables, rng(2)) != X
    assert changed[:, 15:].mean() == pytest.approx(1 / 20, abs=0.005)


def test_in_the_place_of_the_usual_operators():
    X = rng(0).random((30, 8)) < 0.5
    crossover = CrossoverByKind({"binary": LayerCrossover((3, 1, 4), 1.0)})
    children = mating(X, np.arange(30), bits(8), crossover, BitSwap(swap=1.0), rng(1))
    bits(8).check(children, "mating")
    # Neither operator makes or loses a one in a pair.
    np.testing.assert_array_equal(
        children[0::2].sum(axis=1) + children[1::2].sum(axis=1), X[0::2].sum(axis=1) + X[1::2].sum(axis=1)
    )
    assert (children != X).any(axis=1).mean() > 0.9


@pytest.mark.parametrize(
    "make",
    [
        lambda p: PointCrossover(probability=p),
        lambda p: HalfUniformCrossover(p),
        lambda p: LayerCrossover((1,), p),
        lambda p: BitSwap(probability=p),
        lambda p: BitSwap(swap=p),
    ],
)
@pytest.mark.parametrize("probability", [-0.1, 1.1, float("nan")])
def test_impossible_probability(make, probability):
    with pytest.raises(ProblemError, match="probability of"):
        make(probability)

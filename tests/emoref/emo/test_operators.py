import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoref.emo.genes import BitSwap, HalfUniformCrossover, PointCrossover
from emoref.emo.operators import (
    SBX,
    BitFlip,
    CrossoverByKind,
    MutationByKind,
    PolynomialMutation,
    UniformCrossover,
    bit_flip,
    polynomial_mutation,
    sbx,
    uniform_crossover,
)
from emoref.emo.problem import FunctionProblem, Variables
from emoref.emo.sampling import RandomSampling
from emoref.errors import ProblemError


def rng(seed=0):
    return np.random.default_rng(seed)


def variables(kind, lower=0.0, upper=1.0, n_var=4):
    return Variables.of(FunctionProblem(lambda X: X, n_var, 1, lower, upper, kind))


LOWER, UPPER = np.array([0.0, -5.0, 2.0]), np.array([1.0, 5.0, 2.0])


def parents(count, seed=0):
    draw = rng(seed)
    return [LOWER + draw.random((count, 3)) * (UPPER - LOWER) for _ in range(2)]


class TestSBX:
    @given(st.integers(0, 1000), st.floats(0, 50), st.booleans())
    @settings(deadline=None, max_examples=60)
    def test_children_stay_within_bounds(self, seed, eta, swap):
        A, B = parents(20, seed)
        A[0], B[0] = LOWER, UPPER
        for child in sbx(A, B, LOWER, UPPER, rng(seed), probability=1.0, eta=eta, swap=swap):
            assert ((child >= LOWER) & (child <= UPPER)).all()

    def test_without_swap_the_first_child_gets_the_lower_value(self):
        A, B = parents(500)
        first, second = sbx(A, B, LOWER, UPPER, rng(1), probability=1.0, swap=False)
        taken = first != A
        assert (first[taken] < second[taken]).all()

    def test_swap_exchanges_half_of_the_values_and_changes_nothing_else(self):
        A, B = parents(4000)
        ordered = sbx(A, B, LOWER, UPPER, rng(1), probability=1.0, swap=False)
        swapped = sbx(A, B, LOWER, UPPER, rng(1), probability=1.0, swap=True)
        np.testing.assert_array_equal(np.minimum(*ordered), np.minimum(*swapped))
        np.testing.assert_array_equal(np.maximum(*ordered), np.maximum(*swapped))
        taken = (ordered[0] != A) & (A != B)
        assert 0.45 < (swapped[0] != ordered[0])[taken].mean() < 0.55

    def test_half_of_the_variables_of_the_pairs_that_take_part(self):
        A, B = (x[:, :2] for x in parents(8000))
        first, _ = sbx(A, B, LOWER[:2], UPPER[:2], rng(2), probability=0.6)
        changed = first != A
        assert changed.mean() == pytest.approx(0.3, abs=0.02)
        assert changed.any(axis=1).mean() == pytest.approx(0.6 * 0.75, abs=0.02)

    def test_far_from_the_bounds_the_mean_is_kept(self):
        A, B = np.full((50, 1), 499.0), np.full((50, 1), 501.0)
        first, second = sbx(A, B, np.array([0.0]), np.array([1000.0]), rng(3), probability=1.0)
        np.testing.assert_allclose(first + second, 1000.0, rtol=1e-12)

    def test_spread_factor_distribution(self):
        # Unbounded, half of the children are nearer than their parents: the median of beta is 1, and
        # the quartiles are 0.5 ** (1 / (eta + 1)) and 2 ** (1 / (eta + 1)).
        eta = 3.0
        A, B = np.full((60_000, 1), -1.0), np.full((60_000, 1), 1.0)
        bounds = np.array([1e6])
        _, second = sbx(A, B, -bounds, bounds, rng(4), probability=1.0, eta=eta, swap=False)
        beta = second[second != 1.0]
        quartiles = [0.5 ** (1 / 4), 1.0, 2 ** (1 / 4)]
        np.testing.assert_allclose(np.quantile(beta, [0.25, 0.5, 0.75]), quartiles, atol=0.01)

    def test_equal_parents_have_equal_children(self):
        A, _ = parents(10)
        for child in sbx(A, A, LOWER, UPPER, rng(), probability=1.0):
            np.testing.assert_array_equal(child, A)

    def test_formula_by_hand(self):
        # One variable in [0, 1], parents 0.2 and 0.6, eta 1; the numbers drawn are taken from a twin.
        for seed in range(20):
            draw = rng(seed)
            taken = (draw.random() < 1.0) & (draw.random() < 0.5)
            u = draw.random()
            expected = [0.2, 0.6]
            if taken:
                for side, room in enumerate([0.2, 0.4]):
                    alpha = 2 - (1 + 2 * room / 0.4) ** -2.0
                    beta = (u * alpha) ** 0.5 if u <= 1 / alpha else (1 / (2 - u * alpha)) ** 0.5
                    expected[side] = 0.4 + (-0.2 if side == 0 else 0.2) * beta
            bounds = np.array([0.0]), np.array([1.0])
            children = sbx(
                np.array([[0.2]]), np.array([[0.6]]), *bounds, rng(seed), probability=1.0, eta=1.0, swap=False
            )
            np.testing.assert_allclose([child[0, 0] for child in children], expected, rtol=1e-13)


class TestPolynomialMutation:
    @given(st.integers(0, 1000), st.floats(0, 50))
    @settings(deadline=None, max_examples=60)
    def test_stays_within_bounds(self, seed, eta):
        X = parents(20, seed)[0]
        X[0], X[1] = LOWER, UPPER
        mutated = polynomial_mutation(X, LOWER, UPPER, rng(seed), probability=1.0, eta=eta)
        assert ((mutated >= LOWER) & (mutated <= UPPER)).all()

    def test_default_rate_is_one_variable_a_row(self):
        X = np.full((5000, 8), 0.5)
        mutated = polynomial_mutation(X, np.zeros(8), np.ones(8), rng())
        assert (mutated != X).sum(axis=1).mean() == pytest.approx(1.0, abs=0.05)

    def test_median_size_of_a_change(self):
        # From the middle of the range, u = 0.25 gives the median of |delta|.
        eta = 20.0
        X = np.full((40_000, 1), 0.5)
        mutated = polynomial_mutation(X, np.zeros(1), np.ones(1), rng(1), probability=1.0, eta=eta)
        expected = 1 - (0.5 + 0.5 * 0.5 ** (eta + 1)) ** (1 / (eta + 1))
        assert np.median(np.abs(mutated - X)) == pytest.approx(expected, rel=0.03)
        assert (mutated < X).mean() == pytest.approx(0.5, abs=0.01)

    def test_equal_bounds_are_left_alone(self):
        X = parents(50)[0]
        mutated = polynomial_mutation(X, LOWER, UPPER, rng(), probability=1.0)
        np.testing.assert_array_equal(mutated[:, 2], X[:, 2])
        assert (mutated[:, :2] != X[:, :2]).all()


class TestBits:
    def test_uniform_crossover_keeps_each_gene_of_a_pair(self):
        A, B = rng(0).random((300, 40)) < 0.5, rng(1).random((300, 40)) < 0.5
        first, second = uniform_crossover(A, B, rng(2), probability=0.5)
        np.testing.assert_array_equal(first ^ second, A ^ B)
        np.testing.assert_array_equal(first & second, A & B)
        exchanged = (first != A)[A != B]
        assert exchanged.mean() == pytest.approx(0.25, abs=0.02)
        assert (first != A).any(axis=1).mean() == pytest.approx(0.5, abs=0.08)

    @pytest.mark.parametrize("dtype", [np.bool_, np.int64, np.float64])
    def test_bit_flip(self, dtype):
        X = (rng(0).random((2000, 25)) < 0.3).astype(dtype)
        flipped = bit_flip(X, rng(1))
        assert flipped.dtype == dtype
        assert set(np.unique(flipped)) <= {0, 1}
        assert (flipped != X).sum(axis=1).mean() == pytest.approx(1.0, abs=0.08)

    def test_bit_flip_extremes(self):
        X = rng(0).random((5, 6)) < 0.5
        np.testing.assert_array_equal(bit_flip(X, rng(), probability=0.0), X)
        np.testing.assert_array_equal(bit_flip(X, rng(), probability=1.0), ~X)


class TestByKind:
    space = variables(["real", "integer", "binary", "integer"], [0.0, -2, 0, 3], [1.0, 2, 1, 3])

    def sample(self, seed, count=400):
        X = rng(seed).random((count, 4))
        X[:, 1] = rng(seed).integers(-2, 3, count)
        X[:, 2] = rng(seed).integers(0, 2, count)
        X[:, 3] = 3
        return X

    def test_each_variable_keeps_its_kind(self):
        A, B = self.sample(0), self.sample(1)
        first, second = CrossoverByKind()(A, B, self.space, rng(2))
        for X in (first, second, MutationByKind()(A, self.space, rng(3))):
            self.space.check(X, "operator")
            assert len(np.unique(X[:, 0])) > 100
        assert (first != A).any(axis=0).tolist() == [True, True, True, False]

    def test_mutation_rate_counts_all_variables(self):
        X = self.sample(0, 20_000)
        mutated = MutationByKind()(X, self.space, rng(1))
        rate = (mutated != X).mean(axis=0)
        np.testing.assert_allclose(rate[[0, 2]], 0.25, atol=0.02)

    def test_integers_reach_their_bounds(self):
        space = variables("integer", 0, 3)
        X = np.full((5000, 4), 1)
        mutated = PolynomialMutation(probability=1.0, eta=1.0)(X, space, rng())
        assert mutated.dtype == np.int64
        assert np.unique(mutated).tolist() == [0, 1, 2, 3]

    def test_operators_of_any_module_for_each_kind(self):
        crossover = CrossoverByKind(
            {"real": SBX(1.0), "integer": PointCrossover(1, 1.0), "binary": HalfUniformCrossover(1.0)}
        )
        mutation = MutationByKind(
            {"real": PolynomialMutation(1.0), "integer": PolynomialMutation(1.0), "binary": BitSwap(swap=1.0)}
        )
        space = variables(
            ["binary", "real", "binary", "integer", "binary", "integer"], [0.0, -1, 0, -2, 0, 0], 2.0, 6
        )
        X = RandomSampling()(600, space, rng(0))
        first, second = crossover(X[0::2], X[1::2], space, rng(1))
        # One point exchanges the second of the two integer variables.
        np.testing.assert_array_equal(first[:, 5], X[1::2, 5])
        np.testing.assert_array_equal(second[:, 3], X[1::2, 3])
        mutated = mutation(first, space, rng(2))
        bits = [0, 2, 4]
        np.testing.assert_array_equal(mutated[:, bits].sum(axis=1), first[:, bits].sum(axis=1))
        for values in (first, second, mutated):
            space.check(values, "operator")

    def test_integers_far_from_a_bound_move_both_ways(self):
        space = variables("integer", -1000, 1000)
        A, B = np.full((20_000, 4), -10), np.full((20_000, 4), 10)
        first, second = SBX(probability=1.0, eta=2.0, swap=False)(A, B, space, rng(1))
        assert first.dtype == np.int64
        np.testing.assert_allclose((first + second).mean(), 0.0, atol=0.05)
        mutated = PolynomialMutation(probability=1.0, eta=20.0)(A, space, rng(2))
        assert (mutated < A).mean() == pytest.approx((mutated > A).mean(), abs=0.02)

    @pytest.mark.parametrize("values", [2, 3, 5])
    def test_the_outermost_integers_are_as_likely_as_others(self, values):
        # From uniformly distributed parents, children are uniformly distributed but for the operators' pull.
        space = variables("integer", 0, values - 1)
        A, B = (rng(seed).integers(0, values, (20_000, 4)) for seed in (1, 2))
        children = np.concatenate(SBX(probability=1.0, eta=20.0)(A, B, space, rng(3)))
        share = np.bincount(children.ravel(), minlength=values) / children.size
        np.testing.assert_allclose(share, 1 / values, atol=0.02)

    def test_a_kind_without_an_operator(self):
        X = self.sample(0)
        with pytest.raises(
            ProblemError, match="has integer variables, but the crossover by kind is for real"
        ):
            CrossoverByKind({"real": SBX(), "binary": UniformCrossover()})(X, X, self.space, rng())
        with pytest.raises(ProblemError, match="has real variables, but the mutation by kind is for binary"):
            MutationByKind({"binary": BitFlip()})(X, variables("real"), rng())

    @pytest.mark.parametrize("mutation", [BitFlip(), BitSwap()])
    def test_bits_are_not_turned_in_other_variables(self, mutation):
        with pytest.raises(ProblemError, match="variable 0 is real"):
            mutation(self.sample(0), self.space, rng())

    def test_inputs_are_not_changed(self):
        A, B = self.sample(0), self.sample(1)
        before = A.copy(), B.copy()
        CrossoverByKind()(A, B, self.space, rng())
        MutationByKind()(A, self.space, rng())
        np.testing.assert_array_equal(A, before[0])
        np.testing.assert_array_equal(B, before[1])


@pytest.mark.parametrize("make", [SBX, PolynomialMutation, UniformCrossover, BitFlip])
@pytest.mark.parametrize("probability", [-0.1, 1.1, float("nan")])
def test_impossible_probability(make, probability):
    with pytest.raises(ProblemError, match=f"probability of {make.__name__}"):
        make(probability=probability)


@pytest.mark.parametrize("make", [SBX, PolynomialMutation])
def test_impossible_distribution_index(make):
    with pytest.raises(ProblemError, match="eta"):
        make(eta=-1.0)

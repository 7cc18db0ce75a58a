import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoref.emo.decision import achievement, best_under, by_weights, evenly_spaced, knee, pseudo_weights
from emoref.errors import DtypeError, ProblemError, ShapeError

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


class TestPseudoWeights:
    def test_by_hand(self):
        # Gains over the worst, in tenths of the ranges: (10, 0), (9, 6) and (0, 10).
        F = [[0, 10], [1, 4], [10, 0]]
        np.testing.assert_allclose(pseudo_weights(F), [[1, 0], [0.6, 0.4], [0, 1]], rtol=1e-15)

    @given(st.integers(0, 200), st.integers(1, 5), st.integers(1, 9))
    @settings(deadline=None, max_examples=60)
    def test_shares(self, seed, objectives, count):
        F = np.random.default_rng(seed).integers(0, 4, (count, objectives))
        weights = pseudo_weights(F)
        assert (weights >= 0.0).all()
        np.testing.assert_allclose(weights.sum(axis=1), 1.0, rtol=1e-14)
        np.testing.assert_allclose(pseudo_weights(F * 8.0 + 3.0), weights, rtol=1e-14)

    def test_nothing_gained(self):
        np.testing.assert_array_equal(pseudo_weights([[3, 7, 1]]), np.full((1, 3), 1 / 3))
        np.testing.assert_array_equal(pseudo_weights([[0, 0], [1, 1]]), np.full((2, 2), 0.5))

    def test_a_constant_objective_gains_nothing(self):
        assert pseudo_weights([[0, 7, 10], [10, 7, 0]]).tolist() == [[1, 0, 0], [0, 0, 1]]

    def test_choice(self):
        F = [[0, 10], [1, 4], [10, 0]]
        assert [by_weights(F, w) for w in ([1, 0], [0.9, 0.1], [2, 1], [0.5, 0.5], [0, 1])] == [0, 0, 1, 1, 2]
        assert by_weights(F, [200, 100]) == 1

    def test_against_pymoo(self):
        module = pytest.importorskip("pymoo.mcdm.pseudo_weights")
        F = np.random.default_rng(0).random((40, 3))
        for weights in np.random.default_rng(1).dirichlet(np.ones(3), 20):
            row, expected = module.PseudoWeights(weights).do(F, return_pseudo_weights=True)
            assert by_weights(F, weights) == row
        np.testing.assert_allclose(pseudo_weights(F), expected, rtol=1e-13)

    def test_mistakes(self):
        with pytest.raises(ProblemError, match="all weights are 0"):
            by_weights(FRONT, [0, 0])


class TestAchievement:
    def test_by_hand(self):
        # From the ideal point (0, 0), in units of 1 and 2: (0, 5), (1, 2) and (10, 0).
        F = [[0, 10], [1, 4], [10, 0]]
        assert achievement(F, [1, 2]).tolist() == [5, 2, 10]
        assert achievement(F, [1, 2], augmentation=0.5).tolist() == [7.5, 3.5, 15]
        assert achievement(F, [1, 2], [1, 5]).tolist() == [2.5, 0, 9]
        assert achievement(F, [1, 2], [2, 6]).tolist() == [2, -1, 8]

    def test_weight_zero_allows_no_failure(self):
        assert achievement([[0, 10], [1e-4, 0]], [0, 1]).argmin() == 0
        assert achievement([[0, 2], [1, 0]], [0, 1]).tolist() == [2, 1e6]

    def test_augmentation_avoids_weakly_dominated_solutions(self):
        F = [[3, 3], [3, 1]]
        assert achievement(F, [1, 1], [0, 0]).tolist() == [3, 3]
        assert achievement(F, [1, 1], [0, 0], augmentation=1e-4).argmin() == 1

    @given(st.integers(0, 300), st.integers(2, 4))
    @settings(deadline=None, max_examples=60)
    def test_the_best_is_not_dominated(self, seed, objectives):
        rng = np.random.default_rng(seed)
        F, z = rng.random((30, objectives)), rng.random(objectives)
        best = F[achievement(F, rng.random(objectives) + 0.01, z).argmin()]
        assert not ((best >= F).all(axis=1) & (best > F).any(axis=1)).any()

    def test_against_pymoo(self):
        module = pytest.importorskip("pymoo.decomposition.asf")
        rng = np.random.default_rng(0)
        F, weights, z = rng.random((20, 3)), rng.random(3), -rng.random(3)
        expected = module.ASF().do(F, weights, utopian_point=z)
        np.testing.assert_allclose(achievement(F, weights, z), np.ravel(expected), rtol=1e-12)
        module = pytest.importorskip("pymoo.decomposition.aasf")
        expected = module.AASF(rho=0.1).do(F, weights, utopian_point=z)
        np.testing.assert_allclose(
            achievement(F, weights, z, augmentation=0.1), np.ravel(expected), rtol=1e-12
        )

    def test_mistakes(self):
        with pytest.raises(ShapeError, match="reference point"):
            achievement(FRONT, [1, 1], [0, 0, 0])
        with pytest.raises(ProblemError, match="augmentation"):
            achievement(FRONT, [1, 1], augmentation=-1.0)


@pytest.mark.parametrize("choose", [by_weights, achievement])
@pytest.mark.parametrize(
    ("weights", "error"),
    [
        ([1, 1, 1], ShapeError),
        (1.0, ShapeError),
        (["a", "b"], DtypeError),
        ([1, -1], ProblemError),
        ([1, float("nan")], ProblemError),
    ],
)
def test_bad_weights(choose, weights, error):
    with pytest.raises(error, match="weights"):
        choose(FRONT, weights)


@pytest.mark.parametrize(
    "choose",
    [
        knee,
        pseudo_weights,
        lambda F: evenly_spaced(F, 2),
        lambda F: best_under(F, 0, 1),
        lambda F: by_weights(F, [1, 1]),
        lambda F: achievement(F, [1, 1]),
    ],
)
def test_bad_objectives(choose):
    with pytest.raises(ShapeError):
        choose(np.empty((0, 2)))
    with pytest.raises(ProblemError, match="finite"):
        choose([[0.0, float("inf")]])

"""theta-DEA: its steps by hand and by definition, one selection, and convergence."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoref import emo
from emoref.emo.normalisation import NORMALISATIONS, Normaliser
from emoref.emo.problems import DTLZ2
from emoref.errors import ProblemError, ShapeError

NAN = float("nan")
W3 = emo.das_dennis(2, 2)


class TestSteps:
    def test_penalties(self):
        W = np.array([[1, 0, 0], [0.99995, 0.00005, 0], [0.99, 0.01, 0], [0.2, 0.3, 0.5]])
        assert emo.penalties(W).tolist() == [1e6, 1e6, 5, 5]
        assert emo.penalties(W, theta=2, axis_theta=9).tolist() == [9, 9, 2, 2]
        assert emo.penalties(np.array([[1.0]])).tolist() == [1e6]

    def test_fitness_by_hand(self):
        # (3, 2) is 5 / sqrt(2) along the diagonal, and 1 / sqrt(2) from it.
        F = np.array([[3.0, 2.0], [0.25, 4.0]])
        near = emo.associate(F, W3)
        assert near.niches.tolist() == [1, 0]
        fitness = emo.theta_fitness(F, near.niches, near.distances, W3, np.array([10.0, 5.0, 10.0]))
        np.testing.assert_allclose(fitness, [(5 + 5 * 1) / np.sqrt(2), 4 + 10 * 0.25])

    @pytest.mark.parametrize("theta", [0.0, 1.0, 5.0])
    def test_fitness_is_moead_s(self, theta):
        from emoref.emo.scalarisation import boundary_intersection

        W, F = emo.das_dennis(4, 3), np.random.default_rng(0).random((30, 4))
        near = emo.associate(F, W)
        ours = emo.theta_fitness(F, near.niches, near.distances, W, np.full(len(W), theta))
        np.testing.assert_allclose(ours, boundary_intersection(F, W[near.niches], theta))

    def test_ranks_by_hand(self):
        niches, fitness = np.array([2, 0, 2, 2, 0, 5]), np.array([3.0, 1, 1, 2, 1, 9])
        assert emo.theta_ranks(niches, fitness).tolist() == [2, 0, 0, 1, 0, 0]

    @given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), min_size=1, max_size=20))
    @settings(deadline=None, max_examples=80)
    def test_ranks_are_those_of_the_dominance(self, members):
        niches, fitness = np.array(members).T
        ranks = emo.theta_ranks(niches, fitness.astype(float))
        # A plain non-dominated sort with the definition of theta-dominance.
        left, rank = set(range(len(members))), 0
        while left:
            front = {
                i for i in left if not any(niches[j] == niches[i] and fitness[j] < fitness[i] for j in left)
            }
            assert (ranks[sorted(front)] == rank).all()
            left, rank = left - front, rank + 1


def select(F, size, W=W3, G=None, seed=0, **options):
    start = Normaliser.start(F.shape[1])
    return emo.theta_selection(F, size, W, start, np.random.default_rng(seed), G, **options)


class TestSelection:
    def test_by_hand(self):
        # Ideal (0, 0), nadir (8, 8). In the middle cluster: c = (3, 6), d = (4, 5), e = (6, 3.5), of which
        # d has the smallest d1 + 5 d2: sums 9, 9, 9.5, differences 3, 1, 2.5, each over 8 sqrt(2).
        F = np.array([[0, 8], [8, 0], [3, 6], [4, 5], [6, 3.5], [9, 9]])
        found = select(F, 3)
        np.testing.assert_allclose(
            found.fitness[2:5], (np.array([9, 9, 9.5]) + 5 * np.array([3, 1, 2.5])) / (8 * np.sqrt(2))
        )
        assert found.theta_ranks.tolist() == [0, 0, 2, 0, 1, -1]
        assert sorted(found.survivors.tolist()) == [0, 1, 3]
        assert select(F, 4).survivors.tolist() == [0, 3, 1, 4]
        assert found.normalisation.path == ("hyperplane",)

    def test_a_dominated_candidate_alone_in_its_cluster_comes_first(self):
        # The last is dominated by the one before, but alone near the diagonal. The three others with a large
        # first objective share its axis, where the distance from it decides.
        F = np.array([[0, 8], [8, 0], [7, 0.5], [4.0, 1.0], [4.1, 4.0]])
        found = select(F, 5)
        assert found.ranks.tolist() == [0, 0, 0, 0, 1]
        assert found.theta_ranks.tolist() == [0, 0, 1, 2, 0]

    def test_the_front_that_is_cut_is_drawn_at_random(self):
        F = np.array([[0.0, 8.0], [8.0, 0.0], [4.0, 4.0]])
        kept = [tuple(sorted(select(F, 2, seed=seed).survivors.tolist())) for seed in range(60)]
        assert set(kept) == {(0, 1), (0, 2), (1, 2)}

    def test_axis_reference_points_want_exact_ends(self):
        # Both belong to the first axis. The nearer one along the line is a little off the axis.
        F = np.array([[8.0, 0.0], [6.0, 0.2], [0.0, 8.0]])
        strict, loose = select(F, 2, emo.das_dennis(2, 1)), select(F, 2, emo.das_dennis(2, 1), axis_theta=5.0)
        assert strict.theta_ranks.tolist() == [0, 1, 0]
        assert loose.theta_ranks.tolist() == [1, 0, 0]

    def test_only_the_fronts_that_are_needed_take_part(self):
        F = np.array([[1.0, 2.0], [2.0, 1.0], [3.0, 3.0], [4.0, 4.0]])
        found = select(F, 3)
        assert found.theta_ranks[3] == -1
        assert np.isnan(found.fitness[3])
        assert found.niches[3] == -1

    def test_infeasible_ones_by_violation(self):
        F = np.array([[1.0, 1.0], [0, 0], [0, 0], [2, 0.5], [NAN, 0]])
        G = np.array([[0.0], [3.0], [1.0], [-1.0], [0.0]])
        for size in range(2, 6):
            found = select(F, size, G=G)
            assert sorted(found.survivors[:2].tolist()) == [0, 3]
            assert found.survivors[2:].tolist() == [2, 1, 4][: size - 2]

    def test_none_feasible(self):
        found = select(np.zeros((3, 2)), 2, G=np.array([[2.0], [1.0], [1.0]]))
        assert found.survivors.tolist() == [1, 2]
        assert found.normalisation is None

    @pytest.mark.parametrize("size", [1, 20, 49, 50, 70])
    def test_sizes(self, size):
        survivors = select(np.random.default_rng(0).random((50, 2)), size).survivors
        assert len(set(survivors.tolist())) == len(survivors) == min(size, 50)


class TestAlgorithm:
    W = emo.das_dennis(3, 6)

    @pytest.mark.parametrize("normalisation", NORMALISATIONS)
    def test_converges(self, normalisation):
        # 28 targets, the nearest two 0.197 apart; a tenth of that as the mean distance leaves no niche empty.
        problem = DTLZ2(3)
        algorithm = emo.ThetaDEA(problem, reference_points=self.W, seed=1, normalisation=normalisation)
        algorithm.run(150)
        assert emo.igd(algorithm.population.F, problem.targets(self.W)) < 0.0197
        assert len(set(algorithm.survival.niches[algorithm.survival.survivors].tolist())) == 28

    def test_many_objectives(self):
        # 156 targets on the unit sphere in eight dimensions. A point of the front has norm 1, so the distance
        # from the front can be told exactly: after 100 generations, nearly all are within 0.1.
        problem = DTLZ2(8)
        algorithm = emo.ThetaDEA(problem, reference_points=emo.das_dennis(8, (3, 2)), seed=1)
        algorithm.run(100)
        radius = np.sqrt((algorithm.population.F**2).sum(axis=1))
        assert np.median(radius) < 1.1

    @pytest.mark.parametrize(
        ("options", "error", "words"),
        [
            ({"theta": -1}, ProblemError, "theta is -1"),
            ({"axis_theta": NAN}, ProblemError, "axis_theta is nan"),
            ({"normalisation": "best"}, ProblemError, "theta, deb2014, pymoo"),
            ({"reference_points": W3}, ShapeError, "reference points"),
        ],
    )
    def test_mistakes(self, options, error, words):
        with pytest.raises(error, match=words):
            emo.ThetaDEA(DTLZ2(3), **{"reference_points": self.W, **options})

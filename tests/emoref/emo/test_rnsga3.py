"""R-NSGA-III: one selection by hand, what depends on the aspiration points' units, and convergence."""

import numpy as np
import pytest

from emoref import emo
from emoref.emo.normalisation import Normaliser
from emoref.emo.problems import DTLZ2
from emoref.errors import ProblemError, ShapeError


def select(F, size, A, W, G=None, **settings):
    start = Normaliser.start(F.shape[1])
    return emo.aspiration_selection(F, size, A, W, start, np.random.default_rng(1), G, **settings)


class TestSelection:
    W = emo.das_dennis(2, 1)

    def test_by_hand(self):
        # Ideal (0, 0), nadir (8, 8). The aspiration point is (0.75, 0.25) there; with mu = 0.1 the lines go
        # through (0.7, 0.3) and (0.8, 0.2), and the corners are (0, 1) and (1, 0).
        F = np.array([[0, 8], [8, 0], [4, 4], [6, 2.5], [6.5, 1.7], [5, 3.5], [3, 6]])
        found = select(F, 4, np.array([[6.0, 2.0]]), self.W, mu=0.1)
        np.testing.assert_allclose(found.reference_points, [[0.7, 0.3], [0.8, 0.2], [0, 1], [1, 0]])
        assert sorted(found.survivors.tolist()) == [0, 1, 3, 4]
        assert found.counts.tolist() == [1, 1, 1, 1]
        assert found.normalisation.F.shape == (7, 2)

    def test_an_aspiration_point_below_the_front_moves_the_ideal(self):
        F = np.array([[2.0, 10.0], [10.0, 2.0], [4.0, 4.0]])
        found = select(F, 2, np.array([[1.0, 0.0]]), self.W)
        np.testing.assert_array_equal(found.normalisation.normaliser.ideal, [1.0, 0.0])
        assert (found.normalisation.F >= 0).all()

    def test_equal_aspiration_points_count_once(self):
        F = np.random.default_rng(0).random((20, 2))
        once, twice = (select(F, 8, np.array([[0.5, 0.5]] * k), self.W) for k in (1, 2))
        np.testing.assert_array_equal(once.reference_points, twice.reference_points)
        np.testing.assert_array_equal(once.survivors, twice.survivors)

    def test_infeasible_ones_by_violation(self):
        F = np.array([[1.0, 1.0], [0, 0], [0, 0], [2, 0.5], [np.nan, 0]])
        G = np.array([[0.0], [3.0], [1.0], [-1.0], [0.0]])
        for size in range(2, 6):
            found = select(F, size, np.array([[0.5, 0.5]]), self.W, G)
            assert found.survivors.tolist() == [0, 3, 2, 1, 4][:size]

    def test_none_feasible(self):
        found = select(np.zeros((3, 2)), 2, np.ones((1, 2)), self.W, np.array([[2.0], [1.0], [1.0]]))
        assert found.survivors.tolist() == [1, 2]
        assert found.normalisation is None


class TestAlgorithm:
    A = np.array([[0.3, 0.3, 0.6], [0.8, 0.2, 0.5]])
    W = emo.das_dennis(3, 3)

    def test_converges(self):
        # DTLZ2's ideal and nadir are 0 and 1, so the reference points of the end are known beforehand. Those
        # round one aspiration point are mu / 3 times the edge apart, 0.047, and more on the sphere.
        # A mean distance below a quarter of that tells neighbours apart.
        problem = DTLZ2(3)
        targets = problem.targets(emo.around_aspiration_points(self.A, self.W, mu=0.1))
        algorithm = emo.RNSGA3(problem, aspiration_points=self.A, reference_points=self.W, mu=0.1, seed=1)
        algorithm.run(200)
        assert len(targets) == 23
        assert emo.igd(algorithm.population.F, targets) < 0.25 * 0.1 / 3 * np.sqrt(2)

    def test_most_solutions_are_near_the_aspired_directions(self):
        algorithm = emo.RNSGA3(DTLZ2(3), aspiration_points=self.A, reference_points=self.W, seed=1)
        algorithm.run(100)
        near = emo.associate(algorithm.population.F, self.A)
        # Twenty points are round the two directions, at most mu * sqrt(2 / 3) = 0.041 from them; on the
        # sphere, up to sqrt(3) times as far out, 0.071. Half as much again, for the search is not at its end.
        assert (near.distances < 0.106).sum() >= 20

    @pytest.mark.parametrize(("points", "size"), [(1, 16), (2, 24), (3, 36)])
    def test_population_size(self, points, size):
        A = np.random.default_rng(0).random((points, 3))
        algorithm = emo.RNSGA3(DTLZ2(3), aspiration_points=A, reference_points=self.W)
        assert algorithm.population_size == size

    @pytest.mark.parametrize(
        ("settings", "error", "words"),
        [
            ({"mu": 0}, ProblemError, "mu is 0"),
            ({"mu": 2}, ProblemError, "mu is 2"),
            ({"aspiration_points": [[0.1, 0.2]]}, ShapeError, r"\(points, 3\)"),
            ({"aspiration_points": np.empty((0, 3))}, ShapeError, r"\(points, 3\)"),
            ({"aspiration_points": [[0.1], [0.2, 0.3]]}, ShapeError, "different lengths"),
            ({"aspiration_points": [["a", "b", "c"]]}, ProblemError, "real numbers"),
            ({"aspiration_points": [[0, 0, 0], [0, np.inf, 0]]}, ProblemError, "aspiration point 1 is"),
            ({"reference_points": [[0.5, 0.5]]}, ShapeError, "reference points"),
            ({"population_size": 0}, ProblemError, "population_size"),
        ],
    )
    def test_mistakes(self, settings, error, words):
        given = {"aspiration_points": self.A, "reference_points": self.W, **settings}
        with pytest.raises(error, match=words):
            emo.RNSGA3(DTLZ2(3), **given)

"""A-NSGA-III: adding and deleting reference points by hand, and an inverted front that needs it."""

import numpy as np
import pytest

from emoref import emo
from emoref.emo.problems import DTLZ2
from emoref.errors import ProblemError, ShapeError


class TestInterval:
    @pytest.mark.parametrize(("n_obj", "p"), [(2, 4), (3, 12), (5, 6)])
    def test_of_one_layer(self, n_obj, p):
        assert emo.reference_interval(emo.das_dennis(n_obj, p)) == pytest.approx(1 / p, rel=1e-12)

    def test_of_one_point(self):
        assert emo.reference_interval(np.array([[1.0]])) == 1.0


class TestAdd:
    W = emo.das_dennis(3, 2)

    def test_by_hand(self):
        # Round (0.5, 0, 0.5), a small triangle of edge 1/2: (2/3, -1/6, ...) are outside but one.
        counts = np.array([0, 0, 0, 2, 1, 0])
        added = emo.add_reference_points(self.W, counts, 0.5)[6:]
        np.testing.assert_allclose(added, [[1 / 3, 1 / 3, 1 / 3]])

    def test_all_corners_inside(self):
        centre = np.array([[0.2, 0.3, 0.5]])
        added = emo.add_reference_points(centre, np.array([5]), 0.3)[1:]
        # The centre of the added points is the crowded point, and their edges are 0.3 long.
        np.testing.assert_allclose(added.mean(axis=0), centre[0])
        assert sorted(np.round(added - centre + 0.1, 12).ravel()) == [0, 0, 0, 0, 0, 0, 0.3, 0.3, 0.3]

    def test_nothing_twice(self):
        # (1/4, 3/4) and (3/4, 1/4) have the middle in common.
        W = np.array([[0.0, 1.0], [0.25, 0.75], [0.75, 0.25], [1.0, 0.0]])
        points = emo.add_reference_points(W, np.array([0, 2, 2, 0]), 0.5)
        np.testing.assert_allclose(points[4:], [[0.5, 0.5]])

    def test_nothing_crowded(self):
        np.testing.assert_array_equal(emo.add_reference_points(self.W, np.ones(6, int), 0.5), self.W)

    def test_one_objective(self):
        assert emo.add_reference_points(np.array([[1.0]]), np.array([9]), 1.0).tolist() == [[1.0]]

    @pytest.mark.parametrize("seed", range(3))
    def test_always_reference_points(self, seed):
        rng = np.random.default_rng(seed)
        points = W = emo.das_dennis(3, 4)
        for _ in range(3):
            points = emo.add_reference_points(points, rng.integers(0, 4, len(points)), 0.25)
        np.testing.assert_array_equal(emo.check_reference_points(points, 3), points)
        np.testing.assert_array_equal(points[: len(W)], W)


class TestDelete:
    counts = np.array([0, 2, 0, 1, 0])

    def test_by_hand(self):
        assert emo.delete_reference_points(self.counts, 2).tolist() == [0, 1, 3]
        # Somebody is crowded, so nothing is settled.
        assert emo.delete_reference_points(self.counts, 2, "settled").tolist() == [0, 1, 2, 3, 4]
        assert emo.delete_reference_points(self.counts > 0, 2, "settled").tolist() == [0, 1, 3]

    def test_original_points_stay(self):
        assert emo.delete_reference_points(np.zeros(5, int), 5).tolist() == [0, 1, 2, 3, 4]


class TestAdapt:
    def test_by_hand(self):
        # Two lines and the middle; three candidates near the middle. The added directions are (0.75, 0.25)
        # and (0.25, 0.75): one takes (3, 1) away, the other is of no use.
        W = emo.das_dennis(2, 2)
        F = np.array([[1.0, 1.0], [1.1, 1.0], [3.0, 1.1]])
        adaptation = emo.adapt_reference_points(F, W, 3, 0.5)
        assert adaptation.crowded.tolist() == [1]
        np.testing.assert_allclose(adaptation.added, [[0.75, 0.25]])
        np.testing.assert_allclose(adaptation.reference_points, [[0, 1], [0.5, 0.5], [1, 0], [0.75, 0.25]])
        assert adaptation.counts.tolist() == [0, 2, 0, 1]
        assert len(adaptation.deleted) == 0
        # When (3, 1) is gone, its direction goes too.
        after = emo.adapt_reference_points(F[:1], adaptation.reference_points, 3, 0.5)
        np.testing.assert_allclose(after.deleted, [[0.75, 0.25]])
        np.testing.assert_array_equal(after.reference_points, W)

    def test_no_candidates(self):
        W = emo.das_dennis(3, 2)
        adaptation = emo.adapt_reference_points(np.empty((0, 3)), W, len(W), 0.5)
        np.testing.assert_array_equal(adaptation.reference_points, W)

    def test_never_more_added_points_than_candidates(self):
        rng, W = np.random.default_rng(2), emo.das_dennis(3, 3)
        points = W
        for _ in range(10):
            F = rng.random((20, 3)) ** 3
            points = emo.adapt_reference_points(F, points, len(W), 1 / 3).reference_points
            assert len(points) <= len(W) + 20


class Inverted:
    """The triangle 1 - w upside down, behind a distance that is 1 on the front; easy to converge to."""

    n_var, n_obj, lower, upper = 7, 3, 0.0, 1.0

    def evaluate(self, X):
        a, b = np.sqrt(X[:, :1]), X[:, 1:2]
        w = np.hstack([1 - a, a * (1 - b), a * b])
        return (1 - w) * (1 + ((X[:, 2:] - 0.5) ** 2).sum(axis=1, keepdims=True))


class TestAlgorithm:
    W = emo.das_dennis(3, 12)

    def test_fills_an_inverted_front(self):
        # Only the reference lines through the middle meet the front; A-NSGA-III adds more there.
        occupied = {}
        for cls in (emo.NSGA3, emo.ANSGA3):
            algorithm = cls(Inverted(), reference_points=self.W, seed=1)
            algorithm.run(60)
            occupied[cls] = int((algorithm.survival.counts > 0).sum())
        assert occupied[emo.ANSGA3] > 1.3 * occupied[emo.NSGA3]

    def test_record(self):
        algorithm = emo.ANSGA3(Inverted(), reference_points=self.W, seed=1)
        for _ in range(12):
            before = algorithm.reference_points
            algorithm.step()
            adaptation = algorithm.adaptation
            np.testing.assert_array_equal(algorithm.survival.reference_points, before)
            np.testing.assert_array_equal(algorithm.reference_points, adaptation.reference_points)
            np.testing.assert_array_equal(algorithm.reference_points[:91], self.W)
            assert len(before) + len(adaptation.added) - len(adaptation.deleted) == len(
                algorithm.reference_points
            )
            assert adaptation.counts.sum() == algorithm.population_size
        assert len(algorithm.reference_points) > 91

    def test_nothing_to_adapt_to(self):
        problem = emo.FunctionProblem(lambda X: (X[:, :3], np.ones((len(X), 1))), 3, 3)
        algorithm = emo.ANSGA3(problem, reference_points=emo.das_dennis(3, 2))
        algorithm.run(3)
        assert algorithm.adaptation is None
        assert len(algorithm.reference_points) == 6

    def test_added_points_are_part_of_the_state(self):
        algorithm, other = (emo.ANSGA3(Inverted(), reference_points=self.W, seed=1) for _ in range(2))
        algorithm.run(15)
        other.restore(algorithm.state())
        np.testing.assert_array_equal(other.reference_points, algorithm.reference_points)
        assert other.adaptation is None

    @pytest.mark.parametrize(
        ("settings", "words"),
        [({"deletion": "never"}, "unused, settled"), ({"interval": 0}, "interval is 0")],
    )
    def test_mistakes(self, settings, words):
        with pytest.raises(ProblemError, match=words):
            emo.ANSGA3(DTLZ2(3), reference_points=self.W, **settings)

    def test_state_of_other_points(self):
        algorithm = emo.ANSGA3(DTLZ2(3), reference_points=emo.das_dennis(3, 3))
        other = emo.ANSGA3(DTLZ2(3), reference_points=emo.das_dennis(3, 2))
        for each in (algorithm, other):
            each.run(2)
        before = algorithm.reference_points
        with pytest.raises((ProblemError, ShapeError)):
            algorithm.restore(other.state())
        np.testing.assert_array_equal(algorithm.reference_points, before)

    def test_converges_where_nothing_needs_adapting(self):
        # 28 targets, the nearest two 0.197 apart; see the test of U-NSGA-III. The population equals the
        # number of targets, and while added points compete for it, it takes longer.
        problem, W = DTLZ2(3), emo.das_dennis(3, 6)
        values = []
        for seed in range(3):
            algorithm = emo.ANSGA3(problem, reference_points=W, seed=seed)
            values.append(emo.igd(algorithm.run(250).population.F, problem.targets(W)))
        assert np.median(values) < 0.0197

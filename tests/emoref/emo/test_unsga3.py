"""U-NSGA-III: its tournament by hand, and what the tournament is good for."""

import numpy as np
import pytest

from emoref import emo
from emoref.emo.problems import DTLZ2, ZDT1
from emoref.errors import ProblemError, ShapeError

INF, NAN = float("inf"), float("nan")


def winners(ranks, niches, distances, violation=(0.0, 0.0)):
    """Return who wins any of 30 games between two candidates."""
    columns = [np.array(values) for values in (ranks, niches, distances, violation)]
    return {
        int(winner)
        for seed in range(30)
        for winner in emo.niching_tournament(*columns, 1, np.random.default_rng(seed))
    }


class TestTournament:
    @pytest.mark.parametrize(
        ("ranks", "niches", "distances", "violation", "expected"),
        [
            # One niche: rank, then distance, then a coin.
            ([0, 1], [4, 4], [0.9, 0.1], [0, 0], {0}),
            ([2, 1], [4, 4], [0.1, 0.9], [0, 0], {1}),
            ([1, 1], [4, 4], [0.1, 0.9], [0, 0], {0}),
            ([1, 1], [4, 4], [0.9, 0.1], [0, 0], {1}),
            ([1, 1], [4, 4], [0.5, 0.5], [0, 0], {0, 1}),
            # Different niches: a coin, however much better one is.
            ([0, 9], [4, 5], [0.0, 9.0], [0, 0], {0, 1}),
            # Infeasible ones: violation, then a coin. They have no niche.
            ([5, 0], [-1, 4], [NAN, 0.1], [0.5, 0], {1}),
            ([0, 5], [4, -1], [9.0, NAN], [0, 0.5], {0}),
            ([5, 6], [-1, -1], [NAN, NAN], [0.5, 0.6], {0}),
            ([5, 5], [-1, -1], [NAN, NAN], [0.5, 0.5], {0, 1}),
            ([5, 7], [-1, -1], [NAN, NAN], [0.5, INF], {0}),
            ([7, 7], [-1, -1], [NAN, NAN], [INF, INF], {0, 1}),
        ],
    )
    def test_by_hand(self, ranks, niches, distances, violation, expected):
        assert winners(ranks, niches, distances, violation) == expected
        turned = winners(ranks[::-1], niches[::-1], distances[::-1], violation[::-1])
        assert turned == {1 - winner for winner in expected}

    def test_coins_are_fair(self):
        columns = [np.zeros(2, int), np.array([0, 1]), np.zeros(2), np.zeros(2)]
        first = sum(
            int(emo.niching_tournament(*columns, 1, np.random.default_rng(seed))[0]) for seed in range(400)
        )
        assert 150 < first < 250

    def test_everybody_plays_twice(self):
        n = 12
        columns = [np.arange(n), np.zeros(n, int), np.zeros(n), np.zeros(n)]
        wins = np.bincount(emo.niching_tournament(*columns, n, np.random.default_rng(0)), minlength=n)
        assert wins[0] == 2
        assert wins[-1] == 0


class TestAlgorithm:
    def test_keeps_what_the_tournament_needs(self):
        algorithm = emo.UNSGA3(DTLZ2(3, k=2), reference_points=emo.das_dennis(3, 3), seed=1)
        algorithm.run(5)
        survival = algorithm.survival
        np.testing.assert_array_equal(algorithm.ranks, survival.ranks[survival.survivors])
        np.testing.assert_array_equal(algorithm.niches, survival.niches[survival.survivors])
        np.testing.assert_array_equal(algorithm.distances, survival.distances[survival.survivors])
        assert (algorithm.niches >= 0).all()

    def test_survival_is_that_of_nsga3(self):
        F = np.random.default_rng(1).random((24, 3))
        W = emo.das_dennis(3, 3)
        survivors = []
        for cls in (emo.NSGA3, emo.UNSGA3):
            algorithm = cls(DTLZ2(3, k=2), reference_points=W, seed=7)
            for half in (F[:12], F[12:]):
                algorithm.ask()
                algorithm.tell(half)
            survivors.append(algorithm.survival.survivors.tolist())
        assert survivors[0] == survivors[1]

    def test_beats_nsga3_with_one_objective(self):
        # The sphere function: random parents against a tournament by rank, the same number of generations.
        sphere = emo.FunctionProblem(lambda X: (X**2).sum(axis=1, keepdims=True), 10, 1, -5.0, 5.0)
        best = {}
        for cls in (emo.NSGA3, emo.UNSGA3):
            runs = [
                cls(sphere, reference_points=[[1.0]], population_size=40, seed=seed).run(40)
                for seed in range(5)
            ]
            best[cls] = np.median([run.F.min() for run in runs])
        assert best[emo.UNSGA3] < best[emo.NSGA3]

    def test_more_members_than_reference_points(self):
        problem = ZDT1(8)
        algorithm = emo.UNSGA3(problem, reference_points=emo.das_dennis(2, 9), population_size=60, seed=1)
        algorithm.run(120)
        # The ten targets: where f1 = w1 / (w1 + w2) * (f1 + f2) meets 1 - sqrt(f1). None is missed by more
        # than a tenth of the mean distance between them, sqrt(2) / 9.
        t = np.linspace(0, 1, 100_001)
        front = np.column_stack([t, 1 - np.sqrt(t)])
        near = emo.associate(front, emo.das_dennis(2, 9))
        targets = [front[near.niches == j][near.distances[near.niches == j].argmin()] for j in range(10)]
        assert emo.igd(algorithm.population.F, np.array(targets)) < 0.1 * np.sqrt(2) / 9

    @pytest.mark.parametrize("name", ["ranks", "niches", "distances"])
    def test_damaged_state(self, name):
        algorithm = emo.UNSGA3(DTLZ2(3), reference_points=emo.das_dennis(3, 2))
        algorithm.run(2)
        state = algorithm.state()
        with pytest.raises(ShapeError, match=name):
            algorithm.restore({**state, name: state[name][:3]})

    def test_mistakes(self):
        with pytest.raises(ProblemError, match="sum to one"):
            emo.UNSGA3(DTLZ2(3), reference_points=[[1.0, 1.0, 0.0]])


def test_converges():
    # 28 targets, the nearest two of which are 0.197 apart. If each has a point within a tenth of that on
    # average, every niche is filled, and by a point that is far nearer to its own target than to others.
    problem, W = DTLZ2(3), emo.das_dennis(3, 6)
    targets = problem.targets(W)
    algorithm = emo.UNSGA3(problem, reference_points=W, seed=1)
    algorithm.run(150)
    assert emo.igd(algorithm.population.F, targets) < 0.0197
    assert (algorithm.survival.counts == 1).all()

"""MOEA/D: its steps by hand and against plain loops, what holds and what does not, and its quality.

What all algorithms share (resume, seeds, failures, kinds of variables) is in test_properties.py.
"""

import numpy as np
import pytest

from emoref import emo
from emoref.emo.problems import DTLZ1, DTLZ2, ZDT1
from emoref.errors import ProblemError, ShapeError

NAN = float("nan")
W3 = np.array([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]])
W91 = emo.das_dennis(3, 12)


def rng(seed=0):
    return np.random.default_rng(seed)


class TestNeighbourhoods:
    def test_by_hand(self):
        W = np.array([[0.0, 1.0], [0.1, 0.9], [0.5, 0.5], [1.0, 0.0]])
        assert emo.neighbourhoods(W, 3).tolist() == [[0, 1, 2], [1, 0, 2], [2, 1, 0], [3, 2, 1]]

    @pytest.mark.parametrize("n_obj", [2, 3, 5])
    def test_equals_a_plain_loop(self, n_obj):
        W = rng(n_obj).dirichlet(np.ones(n_obj), 40)
        found = emo.neighbourhoods(W, 7)
        for i, w in enumerate(W):
            lengths = [float(np.linalg.norm(v - w)) for v in W]
            assert found[i].tolist() == sorted(range(40), key=lambda j: lengths[j])[:7]
            assert found[i, 0] == i

    def test_order_of_objectives_does_not_matter(self):
        for order in ([2, 0, 1], [0, 2, 1]):
            np.testing.assert_array_equal(emo.neighbourhoods(W91, 20), emo.neighbourhoods(W91[:, order], 20))


class TestMates:
    B = emo.neighbourhoods(emo.das_dennis(2, 9), 4)

    def test_two_different_ones_from_the_neighbourhood_or_from_all(self):
        subproblems = np.repeat(np.arange(10), 200)
        local = np.tile([True, False], 1000)
        pairs = emo.mates(self.B, subproblems, local, rng())
        assert (pairs[:, 0] != pairs[:, 1]).all()
        for i in range(10):
            mine = pairs[(subproblems == i) & local]
            assert set(mine.ravel().tolist()) == set(self.B[i].tolist())
            assert len(set(pairs[(subproblems == i) & ~local].ravel().tolist())) == 10

    def test_each_ordered_pair_is_equally_likely(self):
        pairs = emo.mates(self.B, np.full(12_000, 3), np.ones(12_000, dtype=bool), rng(1))
        counts = np.unique(pairs, axis=0, return_counts=True)[1]
        assert len(counts) == 12
        np.testing.assert_allclose(counts / 12_000, 1 / 12, atol=0.012)

    def test_only_one_to_choose(self):
        assert emo.mates(
            np.zeros((1, 1), int), np.zeros(2, int), np.array([True, False]), rng()
        ).tolist() == [
            [0, 0],
            [0, 0],
        ]


def offer(F, subproblems, local=None, weights=W3, ideal=None, size=2, G=None, seed=0, **settings):
    F = np.asarray(F, dtype=float)
    subproblems = np.asarray(subproblems)
    local = np.ones(len(subproblems), dtype=bool) if local is None else np.asarray(local)
    ideal = np.zeros(F.shape[1]) if ideal is None else np.asarray(ideal, dtype=float)
    neighbours = emo.neighbourhoods(weights, size)
    return emo.neighbour_replacement(
        F, subproblems, local, weights, neighbours, ideal, rng(seed), G, **settings
    )


class TestReplacement:
    parents = ((1.0, 8.0), (5.0, 5.0), (8.0, 1.0))

    def test_by_hand(self):
        # Subproblem 1 weighs both alike: max(4, 4) / 2 beats max(5, 5) / 2. Subproblem 2 looks at the first
        # objective alone: the child's 4 beats 8. It is not offered to subproblem 0, which is no neighbour.
        found = offer([*self.parents, (4.0, 4.0)], [2])
        assert found.survivors.tolist() == [0, 3, 3]
        assert sorted(found.replaced.tolist()) == [[3, 1], [3, 2]]
        # Offered to all, it also serves subproblem 0, which looks at the second objective alone.
        assert offer([*self.parents, (4.0, 4.0)], [2], [False]).survivors.tolist() == [3, 3, 3]

    def test_children_come_one_after_the_other(self):
        found = offer([*self.parents, (4.0, 4.0), (3.0, 3.0), (3.5, 3.5)], [1, 1, 1], size=3)
        assert found.survivors.tolist() == [4, 4, 4]
        assert found.replaced[:, 0].tolist() == [3, 3, 3, 4, 4, 4]

    def test_equal_values_replace(self):
        assert offer([*self.parents, (5.0, 4.0)], [1], size=1).survivors.tolist() == [0, 3, 2]

    @pytest.mark.parametrize("limit", [1, 2, 3, None])
    def test_limit(self, limit):
        found = offer([*self.parents, (0.5, 0.5)], [1], size=3, limit=limit)
        assert (found.survivors == 3).sum() == (limit or 3)

    def test_limited_places_are_drawn_at_random(self):
        firsts = [
            int(offer([*self.parents, (0.5, 0.5)], [1], size=3, limit=1, seed=s).replaced[0, 1])
            for s in range(300)
        ]
        assert (np.bincount(firsts) > 70).all()

    def test_the_ideal_point_moves_before_the_comparison(self):
        # With z = (0, 0) the child (6, -4) has max(6, 4) / 2 = 3 against 2.5; with z = (0, -4) it has
        # max(6, 0) / 2 = 3 against max(5, 9) / 2 = 4.5.
        found = offer([*self.parents, (6.0, -4.0)], [1], size=1)
        assert found.ideal.tolist() == [0.0, -4.0]
        assert found.survivors.tolist() == [0, 3, 2]

    def test_constraints(self):
        F = [*self.parents, (0.0, 0.0), (9.0, 9.0), (9.0, 9.0)]
        G = np.array([[-1.0], [2.0], [0.5], [1.0], [0.0], [0.5]])
        # Child 3 violates by 1: it replaces only solution 1, which violates by 2, and does not move z.
        found = offer(F[:4], [1], size=3, G=G[:4])
        assert found.survivors.tolist() == [0, 3, 2]
        assert found.ideal.tolist() == [0.0, 0.0]
        # Child 4 is feasible: it replaces both infeasible ones, however bad its objectives.
        assert offer(F[:5], [1, 1], size=3, G=G[:5]).survivors.tolist() == [0, 4, 4]
        # Equal violations: the solution stays.
        assert offer([*F[:3], F[5]], [2], size=1, G=G[[0, 1, 2, 5]]).survivors.tolist() == [0, 1, 2]

    def test_failures(self):
        failed = [(NAN, 0.0), (0.0, np.inf), (-np.inf, 0.0)]
        for child in failed:
            found = offer([*self.parents, child], [1], size=3)
            assert found.survivors.tolist() == [0, 1, 2]
            assert found.ideal.tolist() == [0.0, 0.0]
            # A solution that failed gives way to anything that did not.
            assert offer([self.parents[0], child, self.parents[2], (99.0, 99.0)], [1]).survivors[1] == 3
        # To the others it is as if a failed child had never been made.
        F = rng(1).random((12, 2)) + 1
        together = np.concatenate([F[:8], [(NAN, 1.0)], F[8:]])
        W = emo.das_dennis(2, 5)
        plain = offer(F, [0, 1, 3, 2, 5, 4], weights=W, size=4, limit=2, seed=3)
        both = offer(together, [0, 1, 3, 3, 2, 5, 4], weights=W, size=4, limit=2, seed=3)
        assert plain.survivors[plain.survivors < 8].tolist() == both.survivors[both.survivors < 8].tolist()

    def test_nothing_feasible_so_far(self):
        G = np.array([[3.0], [2.0], [1.0], [1.5]])
        unknown = [np.inf, np.inf]
        for normalisation in ("none", "range"):
            found = offer(
                [*self.parents, (0.0, 0.0)], [1], size=3, G=G, ideal=unknown, normalisation=normalisation
            )
            assert found.survivors.tolist() == [3, 3, 2]
            assert np.isinf(found.ideal).all()

    @pytest.mark.parametrize("seed", range(4))
    @pytest.mark.parametrize("scalarise", [emo.tchebycheff, emo.boundary_intersection, emo.weighted_sum])
    def test_equals_a_plain_loop(self, seed, scalarise):
        source = rng(seed)
        W = emo.das_dennis(3, 3)
        count = len(W)
        F = source.random((2 * count, 3))
        found = offer(
            F, np.arange(count), weights=W, size=4, ideal=F[:count].min(axis=0), scalarise=scalarise
        )
        keep, z, B = list(range(count)), F[:count].min(axis=0), emo.neighbourhoods(W, 4)
        for i in range(count):
            z = np.minimum(z, F[count + i])
            for j in B[i]:
                if scalarise(F[count + i] - z, W[j]) <= scalarise(F[keep[j]] - z, W[j]):
                    keep[j] = count + i
        assert found.survivors.tolist() == keep

    def test_range_of_the_population(self):
        parents = [(1.0, 800.0), (5.0, 500.0), (8.0, 100.0)]
        found = offer([*parents, (4.0, 560.0)], [1], ideal=[1.0, 100.0], size=1, normalisation="range")
        np.testing.assert_array_equal(found.units, [7.0, 700.0])
        # In units, the solution is (4/7, 4/7) and the child (3/7, 4.6/7): worse. As they are, 460 > 400, too;
        # with weights that favour the first objective the two disagree.
        assert found.survivors.tolist() == [0, 1, 2]
        W = np.array([[0.0, 1.0], [0.8, 0.2], [1.0, 0.0]])
        settings = {"weights": W, "ideal": [1.0, 100.0], "size": 1}
        assert offer([*parents, (4.0, 560.0)], [1], normalisation="range", **settings).survivors[1] == 3
        assert offer([*parents, (4.0, 560.0)], [1], **settings).survivors[1] == 1

    def test_no_range(self):
        found = offer([(1.0, 2.0)] * 3 + [(1.0, 3.0)], [1], ideal=[1.0, 2.0], normalisation="range")
        np.testing.assert_array_equal(found.units, [1.0, 1.0])
        assert found.survivors.tolist() == [0, 1, 2]

    def test_unknown_normalisation(self):
        with pytest.raises(ProblemError, match="none, range"):
            offer([*self.parents, (1.0, 1.0)], [1], normalisation="theta")

    def test_input_is_not_changed(self):
        F, ideal = np.array([*self.parents, (0.5, 0.5)]), np.zeros(2)
        F.flags.writeable = ideal.flags.writeable = False
        offer(F, [1], ideal=ideal)


class TestInvariances:
    """Counter-examples to what does not hold; what does is in test_properties.py."""

    parents = ((1.0, 8.0), (5.0, 5.0), (8.0, 1.0))

    def test_units_matter_without_normalisation(self):
        F = np.array([*self.parents, (4.0, 5.5)])
        unit = np.array([1.0, 2.0**-10])
        assert offer(F, [1], size=1).survivors.tolist() == [0, 1, 2]
        assert offer(F * unit, [1], size=1).survivors.tolist() == [0, 3, 2]
        settings = {"ideal": [1.0, 1.0], "size": 1, "normalisation": "range"}
        plain = offer(F, [1], **settings)
        scaled = offer(F * unit, [1], **{**settings, "ideal": [1.0, 2.0**-10]})
        np.testing.assert_array_equal(plain.survivors, scaled.survivors)

    def test_order_of_children_matters(self):
        # The first child moves the ideal point only if it comes first.
        children = [(6.0, 4.0), (9.0, -9.0)]
        one = offer([*self.parents, *children], [1, 2], size=1)
        other = offer([*self.parents, *children[::-1]], [2, 1], size=1)
        assert one.survivors.tolist() == [0, 1, 2]
        assert other.survivors.tolist() == [0, 4, 2]


class TestAlgorithm:
    def test_one_child_a_subproblem_in_their_order(self):
        algorithm = emo.MOEAD(DTLZ2(3), weights=W91, seed=1)
        algorithm.run(3)
        assert len(algorithm.ask()) == 91
        assert algorithm.evaluations == 3 * 91
        assert len(algorithm.population) == 91

    def test_settings_of_2007_and_2009(self):
        algorithm = emo.MOEAD(DTLZ2(3), weights=W91)
        assert (algorithm.neighbours.shape, algorithm.delta, algorithm.limit) == ((91, 20), 0.9, 2)
        taken = []
        for limit in (2, None):
            algorithm = emo.MOEAD(DTLZ2(3), weights=W91, delta=1.0, limit=limit, seed=1)
            algorithm.run(2)
            counts = np.bincount(algorithm.survival.replaced[:, 0])
            taken.append(counts.max())
        assert taken[0] == 2 < taken[1] <= 20

    def test_mating_restricted_to_neighbours(self):
        # Neighbours have equal first bits; with delta = 1 and no mutation, children keep them.
        W = emo.das_dennis(2, 9)

        def start(count, variables, rng):
            X = np.zeros((count, 8), dtype=bool)
            X[5:, 0] = True
            X[:, 1:] = rng.random((count, 7)) < 0.5
            return X

        problem = emo.FunctionProblem(lambda X: X[:, 1:3] * 1.0, 8, 2, kind="binary")
        algorithm = emo.MOEAD(
            problem,
            weights=W,
            neighbours=2,
            delta=1.0,
            sampling=start,
            mutation=lambda X, variables, rng: X,
            duplicates=True,
        )
        algorithm.step()
        children = algorithm.ask()
        assert not children[:4, 0].any()
        assert children[6:, 0].all()

    def test_result_lists_a_solution_once(self):
        algorithm = emo.MOEAD(ZDT1(5), weights=emo.das_dennis(2, 30), limit=None, seed=0)
        result = algorithm.run(3)
        assert len(np.unique(algorithm.population.X, axis=0)) < 31
        assert len(np.unique(result.X, axis=0)) == len(result.X) > 0

    def test_fewer_candidates_than_subproblems(self):
        problem = emo.FunctionProblem(lambda X: np.column_stack([X.sum(1), (~X).sum(1)]), 2, 2, kind="binary")
        algorithm = emo.MOEAD(problem, weights=emo.das_dennis(2, 9), seed=0)
        result = algorithm.run(4)
        assert len(algorithm.population) == 10
        assert algorithm.evaluations == 4
        assert len(result.F) == 4

    def test_ideal_point(self):
        algorithm = emo.MOEAD(DTLZ2(3), weights=W91, seed=0)
        lowest = np.full(3, np.inf)
        for _ in range(5):
            F = DTLZ2(3).evaluate(algorithm.ask())
            lowest = np.minimum(lowest, F.min(axis=0))
            algorithm.tell(F)
            np.testing.assert_array_equal(algorithm.ideal, lowest)

    def test_repair(self):
        algorithm = emo.MOEAD(
            ZDT1(4), weights=emo.das_dennis(2, 5), repair=lambda X, rng: np.maximum(X, 0.25)
        )
        for _ in range(3):
            assert (algorithm.ask() >= 0.25).all()
            algorithm.step()

    @pytest.mark.parametrize(
        ("settings", "error", "words"),
        [
            ({"weights": [[1.0, 1.0]]}, ProblemError, "sum to one"),
            ({"weights": W91}, ShapeError, "reference points"),
            ({"scalarisation": "asf"}, ProblemError, "tchebycheff, pbi, weighted_sum"),
            ({"normalisation": "theta"}, ProblemError, "none, range"),
            ({"theta": -1.0}, ProblemError, "theta is -1"),
            ({"theta": NAN}, ProblemError, "theta"),
            ({"delta": 1.5}, ProblemError, "delta is 1.5"),
            ({"limit": 0}, ProblemError, "limit is 0"),
            ({"neighbours": 0}, ProblemError, "from 1 to 6"),
            ({"neighbours": 7}, ProblemError, "from 1 to 6"),
            ({"population_size": 12}, ProblemError, "one child for each of the 6 weights"),
            ({"offspring_size": 12}, ProblemError, "one child for each of the 6 weights"),
        ],
    )
    def test_mistakes(self, settings, error, words):
        with pytest.raises(error, match=words):
            emo.MOEAD(ZDT1(4), **{"weights": emo.das_dennis(2, 5), **settings})

    @pytest.mark.parametrize(
        ("change", "error", "words"),
        [
            (lambda state: state.pop("ideal"), ProblemError, "no entry 'ideal'"),
            (lambda state: state.update(ideal=np.zeros(3)), ShapeError, "ideal point"),
            (
                lambda state: state.update({name: state[name][:4] for name in ("X", "F", "G")}),
                ShapeError,
                "4 candidates",
            ),
        ],
    )
    def test_damaged_state(self, change, error, words):
        algorithm = emo.MOEAD(ZDT1(4), weights=emo.das_dennis(2, 5))
        algorithm.run(2)
        damaged = algorithm.state()
        change(damaged)
        with pytest.raises(error, match=words):
            algorithm.restore(damaged)


class TestQuality:
    @pytest.mark.parametrize("normalisation", ["none", "range"])
    def test_boundary_intersection_reaches_the_targets(self, normalisation):
        problem = DTLZ2(3)
        algorithm = emo.MOEAD(problem, weights=W91, scalarisation="pbi", normalisation=normalisation, seed=1)
        algorithm.run(120)
        assert emo.igd(algorithm.population.F, problem.targets(W91)) < 0.01

    def test_rastrigin_landscape(self):
        problem = DTLZ1(3)
        algorithm = emo.MOEAD(problem, weights=W91, scalarisation="pbi", seed=1)
        algorithm.run(300)
        assert emo.igd(algorithm.population.F, problem.targets(W91)) < 0.01

    def test_tchebycheff_lies_in_the_inverse_directions(self):
        # On a sphere the best point for w has the direction 1 / w.
        W = emo.das_dennis(3, 5)
        inner = W[(W > 0.0).all(axis=1)]
        algorithm = emo.MOEAD(DTLZ2(3, k=3), weights=inner, delta=0.9, seed=0, neighbours=3)
        algorithm.run(300)
        direction = (1 / inner) / np.linalg.norm(1 / inner, axis=1, keepdims=True)
        np.testing.assert_allclose(algorithm.population.F, direction, atol=0.08)

    def test_two_objectives(self):
        problem = ZDT1(10)
        result = emo.MOEAD(problem, weights=emo.das_dennis(2, 99), seed=1).run(100)
        assert emo.igd(result.F, problem.pareto_front()) < 0.02

    def test_badly_scaled_objectives_need_normalisation(self):
        plain = DTLZ2(3)
        units = np.array([1.0, 2.0**10, 2.0**-10])
        problem = emo.FunctionProblem(lambda X: plain.evaluate(X) * units, plain.n_var, 3)
        found = {}
        for normalisation in ("none", "range"):
            algorithm = emo.MOEAD(
                problem, weights=W91, scalarisation="pbi", normalisation=normalisation, seed=1
            )
            algorithm.run(60)
            found[normalisation] = emo.igd(algorithm.population.F / units, plain.targets(W91))
        assert found["range"] < 0.05
        assert found["none"] > 0.3

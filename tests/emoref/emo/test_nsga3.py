"""NSGA-III: its steps by hand and against plain loops, invariances, resume, and the published quality."""

import h5py
import numpy as np
import pytest

from emoref import emo
from emoref.emo.normalisation import NORMALISATIONS, Normaliser
from emoref.emo.problems import DTLZ1, DTLZ2, DTLZ4, ZDT1
from emoref.errors import ProblemError, ShapeError

NAN = float("nan")
W91 = emo.das_dennis(3, 12)


def same(a, b):
    assert a.keys() == b.keys()
    for name, value in a.items():
        np.testing.assert_array_equal(value, b[name], err_msg=name)


def rng(seed=0):
    return np.random.default_rng(seed)


class TestAssociate:
    def test_by_hand(self):
        W = np.array([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]])
        # (1, 3) is 1 from the second axis, and |1 - 3| / sqrt(2) from the diagonal.
        found = emo.associate(np.array([[1.0, 3.0], [0.0, 0.0], [5.0, 0.0], [2.0, 1.0]]), W)
        assert found.niches.tolist() == [0, 0, 2, 1]
        np.testing.assert_allclose(found.distances, [1, 0, 0, np.sqrt(0.5)])

    @pytest.mark.parametrize(("n_obj", "p"), [(2, 9), (3, 6), (5, 3)])
    def test_equals_a_plain_loop(self, n_obj, p):
        W = emo.das_dennis(n_obj, p)
        F = rng(n_obj).random((60, n_obj)) * 2
        found = emo.associate(F, W)
        for i, f in enumerate(F):
            lengths = [np.linalg.norm(f - (w @ f) * w / (w @ w)) for w in W]
            assert found.niches[i] == np.argmin(lengths)
            assert found.distances[i] == pytest.approx(min(lengths), abs=1e-14)

    def test_length_of_a_reference_point_does_not_matter(self):
        F = rng().random((40, 3))
        a, b = emo.associate(F, W91), emo.associate(F, W91 * rng().uniform(0.5, 2, (91, 1)))
        np.testing.assert_array_equal(a.niches, b.niches)

    def test_equally_near_ones(self):
        W = np.array([[0.25, 0.75], [0.75, 0.25]])
        assert emo.associate(np.array([[1.0, 1.0]]), W).niches.tolist() == [0]


class TestNiche:
    counts = np.array([1, 0, 0, 3])
    niches = np.array([1, 1, 0, 0, 3])
    distances = np.array([0.5, 0.2, 0.1, 0.9, 0.0])

    def test_by_hand(self):
        for seed in range(20):
            chosen = emo.niche(self.counts, self.niches, self.distances, 4, rng(seed)).tolist()
            # Niche 1 is empty, so its nearest comes first. Then 0 and 1 hold one each.
            assert chosen[0] == 1
            assert set(chosen[1:]) <= {0, 2, 3}
            # Niche 3 is full; its member is last although it is nearest to its line.
            assert emo.niche(self.counts, self.niches, self.distances, 5, rng(seed))[-1] == 4

    def test_members_of_a_niche_that_is_not_empty_are_drawn_at_random(self):
        firsts = [
            int(emo.niche(np.array([2]), np.zeros(3, int), np.arange(3.0), 1, rng(seed))[0])
            for seed in range(300)
        ]
        counts = np.bincount(firsts, minlength=3)
        assert (counts > 70).all()

    def test_equally_empty_niches_are_drawn_at_random(self):
        firsts = [
            int(emo.niche(np.zeros(3, int), np.arange(3), np.zeros(3), 1, rng(seed))[0])
            for seed in range(300)
        ]
        assert (np.bincount(firsts, minlength=3) > 70).all()

    def test_of_equally_near_ones_the_first(self):
        assert emo.niche(np.zeros(1, int), np.zeros(3, int), np.ones(3), 1, rng()).tolist() == [0]

    @pytest.mark.parametrize("seed", range(5))
    def test_fills_evenly(self, seed):
        source = rng(seed)
        counts, niches = source.integers(0, 4, 10), source.integers(0, 10, 60)
        chosen = emo.niche(counts, niches, source.random(60), 25, rng(seed))
        assert len(set(chosen.tolist())) == 25
        after = counts + np.bincount(niches[chosen], minlength=10)
        left = np.delete(niches, chosen)
        # Whoever got one was among the emptiest of those that still had members.
        filled = after > counts
        assert after[filled].max() <= after[np.unique(left)].min() + 1

    def test_no_room(self):
        assert len(emo.niche(self.counts, self.niches, self.distances, 0, rng())) == 0

    def test_same_counts_as_pymoo(self):
        theirs = pytest.importorskip("pymoo.algorithms.moo.nsga3")
        source = rng(3)
        counts, niches, distances = source.integers(0, 3, 8), source.integers(0, 8, 40), source.random(40)
        for room in (3, 10, 25):
            ours = emo.niche(counts, niches, distances, room, rng(1))
            other = theirs.niching(
                np.arange(40), room, counts.copy(), niches, distances, random_state=np.random.RandomState(1)
            )
            a = counts + np.bincount(niches[ours], minlength=8)
            b = counts + np.bincount(niches[other], minlength=8)
            assert sorted(a.tolist()) == sorted(b.tolist())


def select(F, size, W=W91, G=None, seed=0, **settings):
    return emo.reference_selection(F, size, W, Normaliser.start(F.shape[1]), rng(seed), G, **settings)


class TestSelection:
    W = emo.das_dennis(2, 2)

    def test_by_hand(self):
        # Front 0: two corners and three points near the diagonal, of which (4, 5) is nearest.
        F = np.array([[0, 8], [8, 0], [3, 6], [4, 5], [6, 3.5], [9, 9]])
        chosen = select(F, 3, self.W)
        assert sorted(chosen.survivors.tolist()) == [0, 1, 3]
        assert chosen.ranks.tolist() == [0, 0, 0, 0, 0, 1]
        assert chosen.niches.tolist() == [0, 2, 1, 1, 1, -1]
        assert chosen.normalisation.path == ("hyperplane",)

    def test_whole_fronts_come_first(self):
        F = rng().random((50, 3))
        chosen = select(F, 20)
        ranks = chosen.ranks[chosen.survivors]
        assert len(set(chosen.survivors.tolist())) == 20
        for rank in range(ranks.max()):
            assert (ranks == rank).sum() == (chosen.ranks == rank).sum()

    @pytest.mark.parametrize("size", [4, 20, 50, 99])
    def test_sizes(self, size):
        assert len(select(rng().random((50, 3)), size).survivors) == min(size, 50)

    def test_infeasible_ones_by_violation(self):
        F = np.array([[1.0, 1.0], [0, 0], [0, 0], [2, 0.5], [NAN, 0]])
        G = np.array([[0.0], [3.0], [1.0], [-1.0], [0.0]])
        order = [0, 3, 2, 1, 4]
        for size in range(2, 6):
            chosen = select(F, size, self.W, G)
            assert chosen.survivors.tolist() == order[:size]
            assert (chosen.niches[[1, 2, 4]] == -1).all()

    def test_none_feasible(self):
        chosen = select(np.zeros((3, 2)), 2, self.W, np.array([[2.0], [1.0], [1.0]]))
        assert chosen.survivors.tolist() == [1, 2]
        assert chosen.normalisation is None

    def test_failed_rows_change_nothing(self):
        F = rng(1).random((30, 3))
        failed = np.full((3, 3), np.inf)
        failed[0, 0], failed[1] = NAN, -np.inf
        np.testing.assert_array_equal(
            select(F, 12).survivors, select(np.concatenate([F, failed]), 12).survivors
        )
        assert sorted(select(np.concatenate([failed, F]), 32).survivors.tolist()[-2:]) == [0, 1]

    def test_input_is_not_changed(self):
        F = rng().random((30, 3))
        before = F.copy()
        select(F, 10)
        np.testing.assert_array_equal(F, before)

    @pytest.mark.parametrize("method", NORMALISATIONS)
    def test_translation(self, method):
        F = np.rint(rng(2).random((60, 3)) * 2**20) / 2**20
        for c in ([0, 0.5, 0.875], [0, 0, 2], [-64, 1, 1024]):
            a, b = select(F, 24, normalisation=method), select(F + np.array(c), 24, normalisation=method)
            np.testing.assert_array_equal(a.survivors, b.survivors)
            np.testing.assert_array_equal(a.niches, b.niches)

    @pytest.mark.parametrize("seed", range(5))
    def test_scaling(self, seed):
        F = rng(seed).random((60, 3))
        a, b = select(F, 24), select(F * np.array([2.0**-17, 2.0**-3, 2.0**30]), 24)
        np.testing.assert_array_equal(a.survivors, b.survivors)
        np.testing.assert_array_equal(a.distances, b.distances)

    @pytest.mark.parametrize("seed", range(5))
    def test_order_of_objectives(self, seed):
        F, order = rng(seed).random((60, 3)), [1, 2, 0]
        a, b = select(F, 24), select(F[:, order], 24, W91[:, order])
        np.testing.assert_array_equal(a.survivors, b.survivors)

    def test_order_of_rows(self):
        F, order = rng(4).random((60, 3)), rng(5).permutation(60)
        # With one member a niche nothing is drawn but the order of the niches.
        a, b = select(F, 24), select(F[order], 24)
        np.testing.assert_array_equal(a.niches[order], b.niches)
        np.testing.assert_array_equal(a.ranks[order], b.ranks)


class TestSteps:
    W = emo.das_dennis(2, 2)
    F = np.array([[0, 8], [8, 0], [4, 5], [9, 9], [1, 7], [10, 10.0]])

    def test_sort_fronts(self):
        # Four in front 0, then d, then f; b violates a constraint.
        fronts = emo.sort_fronts(self.F, 5)
        assert fronts.ranks.tolist() == [0, 0, 0, 1, 0, 2]
        assert (fronts.size, fronts.last_rank) == (5, 1)
        assert fronts.considered.tolist() == [0, 1, 2, 3, 4]
        assert fronts.best_first.tolist() == [0, 1, 2, 4, 3, 5]
        fronts = emo.sort_fronts(self.F, 5, np.array([[0], [1], [0], [0], [0], [0.0]]))
        assert fronts.ranks.tolist() == [0, 3, 0, 1, 0, 2]
        assert fronts.last_rank == 2
        assert fronts.feasible.tolist() == fronts.considered.tolist() == [0, 2, 3, 4, 5]
        assert emo.sort_fronts(self.F, 99).size == 6

    def test_steps_are_the_selection(self):
        F, G = rng(3).random((40, 3)), rng(4).random((40, 1)) - 0.8
        start = Normaliser.start(3)
        fronts = emo.sort_fronts(F, 20, G)
        normalised = emo.normalise_feasible(F, fronts, start, "theta")
        assert len(normalised.F) == len(fronts.feasible)
        by_steps = emo.niching_selection(fronts, normalised, W91, rng())
        at_once = select(F, 20, G=G)
        np.testing.assert_array_equal(by_steps.survivors, at_once.survivors)
        np.testing.assert_array_equal(by_steps.niches, at_once.niches)

    def test_counts(self):
        found = select(self.F, 3, self.W)
        assert found.counts.tolist() == [1, 1, 1]
        np.testing.assert_array_equal(found.reference_points, self.W)
        assert select(self.F, 2, self.W, np.ones((6, 1))).counts.tolist() == [0, 0, 0]


class Constrained:
    """DTLZ2 of which only the part with f1 >= 0.2 is allowed."""

    n_var, n_obj, lower, upper = 7, 3, 0.0, 1.0

    def evaluate(self, X):
        F = DTLZ2(3, k=5).evaluate(X)
        return F, (0.2 - F[:, 0])[:, None]


class TestReproducibility:
    @pytest.mark.parametrize("problem", [DTLZ1(3), Constrained()], ids=["DTLZ1", "constrained"])
    @pytest.mark.parametrize("method", NORMALISATIONS)
    def test_resume_from_a_file_is_bit_identical(self, problem, method, tmp_path):
        settings = {"reference_points": emo.das_dennis(3, 4), "seed": 5, "normalisation": method}
        whole = emo.NSGA3(problem, **settings)
        whole.run(12)
        half = emo.NSGA3(problem, **settings)
        half.run(5)
        with h5py.File(tmp_path / "state.h5", "w") as file:
            for name, value in half.state().items():
                file[name] = value
        resumed = emo.NSGA3(problem, **settings)
        resumed.run(2)
        with h5py.File(tmp_path / "state.h5") as file:
            resumed.restore(file)
        resumed.run(7)
        same(resumed.state(), whole.state())

    def test_state_before_the_first_generation(self):
        a, b = (emo.NSGA3(DTLZ2(3), reference_points=W91, seed=2) for _ in range(2))
        b.run(2)
        b.restore(a.state())
        a.run(3)
        b.run(3)
        same(a.state(), b.state())

    @pytest.mark.parametrize("limit", [-1000.0, 0.0], ids=["none feasible", "equal violations"])
    def test_infeasible_populations_are_reproducible(self, limit):
        def infeasible(X):
            violation = np.where(limit == 0.0, 1.0, X.sum(axis=1) - limit)
            return X[:, :2], violation * np.ones((len(X), 1))

        problem = emo.FunctionProblem(infeasible, 3, 2)
        W = emo.das_dennis(2, 9)
        runs = [emo.NSGA3(problem, reference_points=W, seed=1) for _ in range(2)]
        for run in runs:
            assert len(run.run(5).F) == 0
        same(runs[0].state(), runs[1].state())

    def test_units_do_not_matter(self):
        plain = DTLZ2(3)
        factors = np.array([2.0**-10, 1.0, 2.0**27])
        scaled = emo.FunctionProblem(lambda X: plain.evaluate(X) * factors, plain.n_var, 3, 0.0, 1.0)
        a, b = (emo.NSGA3(problem, reference_points=W91, seed=3) for problem in (plain, scaled))
        a.run(30)
        b.run(30)
        np.testing.assert_array_equal(a.population.X, b.population.X)


class TestRobustness:
    def test_everything_fails_at_first(self):
        def fails(X):
            return np.where(X[:, :1] > 0.1, NAN, 1.0) * DTLZ2(3, k=2).evaluate(X)

        problem = emo.FunctionProblem(fails, 4, 3, 0.0, 1.0)
        algorithm = emo.NSGA3(problem, reference_points=emo.das_dennis(3, 3), seed=1)
        result = algorithm.run(40)
        assert np.isfinite(algorithm.population.F).all()
        assert (result.X[:, 0] <= 0.1).all()

    @pytest.mark.parametrize("n_obj", [1, 2, 4])
    def test_numbers_of_objectives(self, n_obj):
        problem = emo.FunctionProblem(lambda X: (X[:, :n_obj] - 0.3) ** 2, 4, n_obj)
        result = emo.NSGA3(problem, reference_points=emo.das_dennis(n_obj, 3), population_size=12).run(30)
        assert result.F.min() < 1e-4

    def test_constant_objectives(self):
        problem = emo.FunctionProblem(lambda X: np.ones((len(X), 3)), 2, 3)
        assert len(emo.NSGA3(problem, reference_points=W91).run(3).F) == 92

    @pytest.mark.parametrize("size", [1, 2, 3])
    def test_tiny_populations(self, size):
        algorithm = emo.NSGA3(DTLZ2(3), reference_points=W91, population_size=size)
        assert len(algorithm.run(4).population) == size

    def test_bits(self):
        problem = emo.FunctionProblem(
            lambda X: np.column_stack([X.sum(axis=1), (~X) @ np.arange(10.0)]), 10, 2, kind="binary"
        )
        result = emo.NSGA3(problem, reference_points=emo.das_dennis(2, 10), seed=0).run(40)
        # The best way to keep few: the last ones.
        for kept, loss in result.F:
            assert loss == np.arange(10.0)[: 10 - int(kept)].sum()

    def test_constraint_is_met(self):
        algorithm = emo.NSGA3(Constrained(), reference_points=W91, seed=0)
        result = algorithm.run(80)
        assert algorithm.population.feasible.all()
        assert result.F[:, 0].min() == pytest.approx(0.2, abs=0.02)


class TestSettings:
    @pytest.mark.parametrize(
        ("n_obj", "divisions", "size"),
        [(3, 12, 92), (5, 6, 212), (8, (3, 2), 156), (10, (3, 2), 276), (15, (2, 1), 136)],
    )
    def test_published_population_sizes(self, n_obj, divisions, size):
        W = emo.das_dennis(n_obj, divisions)
        assert emo.NSGA3(DTLZ2(n_obj), reference_points=W).population_size == size

    def test_defaults(self):
        algorithm = emo.NSGA3(DTLZ2(3), reference_points=W91)
        assert algorithm.crossover.operators["real"] == emo.SBX(1.0, 30.0, swap=True)
        assert algorithm.mutation.operators["real"] == emo.PolynomialMutation(None, 20.0)
        assert algorithm.normalisation == "theta"
        crossover = emo.SBX(0.5)
        assert emo.NSGA3(DTLZ2(3), reference_points=W91, crossover=crossover).crossover is crossover

    @pytest.mark.parametrize(
        ("settings", "error", "words"),
        [
            ({"normalisation": "best"}, ProblemError, "theta, deb2014, pymoo"),
            ({"population_size": 0}, ProblemError, "population_size is 0"),
            ({"reference_points": emo.das_dennis(2, 3)}, ShapeError, "reference points"),
            ({"reference_points": [[1.0, 1.0, 0.0]]}, ProblemError, "sum to one"),
        ],
    )
    def test_mistakes(self, settings, error, words):
        with pytest.raises(error, match=words):
            emo.NSGA3(DTLZ2(3), **{"reference_points": W91, **settings})

    @pytest.mark.parametrize(
        ("change", "error", "words"),
        [
            (lambda state: state.pop("extremes"), ProblemError, "no entry 'extremes'"),
            (lambda state: state.update(ideal=np.zeros(2)), ShapeError, "ideal"),
            (lambda state: state.update(extremes=np.zeros((2, 3))), ShapeError, "extremes"),
        ],
    )
    def test_damaged_state(self, change, error, words):
        algorithm = emo.NSGA3(DTLZ2(3), reference_points=emo.das_dennis(3, 2))
        algorithm.run(2)
        before, damaged = algorithm.state(), algorithm.state()
        change(damaged)
        with pytest.raises(error, match=words):
            algorithm.restore(damaged)
        same(algorithm.state(), before)


class TestQuality:
    """Three seeds; tests/published has eleven, and narrower bounds."""

    @pytest.mark.parametrize(
        ("problem", "generations", "worst"),
        # Deb and Jain 2014, table III: generations, and the worst inverted generational distance.
        [(DTLZ1(3), 400, 4.880e-3), (DTLZ2(3), 250, 2.114e-3)],
        ids=["DTLZ1", "DTLZ2"],
    )
    def test_published_worst(self, problem, generations, worst):
        targets = problem.targets(W91)
        values = []
        for seed in range(3):
            algorithm = emo.NSGA3(problem, reference_points=W91, seed=seed)
            values.append(emo.igd(algorithm.run(generations).population.F, targets))
        assert np.median(values) < worst

    @pytest.mark.parametrize("method", NORMALISATIONS)
    def test_every_variant_converges(self, method):
        problem = DTLZ2(3)
        algorithm = emo.NSGA3(problem, reference_points=W91, seed=1, normalisation=method)
        algorithm.run(150)
        assert emo.igd(algorithm.population.F, problem.targets(W91)) < 0.02

    def test_biased_density(self):
        problem, values = DTLZ4(3), []
        for seed in range(3):
            algorithm = emo.NSGA3(problem, reference_points=W91, seed=seed)
            values.append(emo.igd(algorithm.run(250).population.F, problem.targets(W91)))
        assert min(values) < 5e-3

    def test_two_objectives(self):
        problem = ZDT1(10)
        result = emo.NSGA3(problem, reference_points=emo.das_dennis(2, 59), seed=1).run(150)
        assert emo.igd(result.F, problem.pareto_front()) < 0.02

"""SparseEA as a whole. What all algorithms share is in test_properties.py, masks in test_sparse_masks.py."""

import numpy as np
import pytest

from emoref import emo
from emoref.emo.problems import ZDT1
from emoref.errors import ProblemError, ShapeError

NAN = float("nan")


class Needles:
    """Of D real variables few should differ from zero; the front is straight, from (0, 1) to (1, 0)."""

    n_obj = 2

    def __init__(self, n_var=60, needed=6):
        self.n_var, self.needed = n_var, needed
        self.lower = np.r_[0.0, np.full(n_var - 1, -1.0)]
        self.upper = np.r_[1.0, np.full(n_var - 1, 2.0)]

    def evaluate(self, X):
        X = np.asarray(X, dtype=float)
        share, rest = X[:, 0], X[:, 1:]
        g = ((rest[:, : self.needed] - np.pi / 3) ** 2).sum(axis=1) + (rest[:, self.needed :] ** 2).sum(
            axis=1
        )
        g = 1 + g / self.n_var
        return np.column_stack([g * share, g * (1 - share)])

    @property
    def front(self):
        f1 = np.linspace(0, 1, 200)
        return np.column_stack([f1, 1 - f1])


class Filters:
    """A network of 40 filters: some matter, together, and a network of a single filter computes nothing."""

    n_var, n_obj, lower, upper, kind = 40, 2, 0, 1, "binary"
    importance = np.where(np.arange(40) % 4 == 0, 5.0, 0.1)

    def evaluate(self, X):
        X = np.asarray(X, dtype=bool)
        works = X.sum(axis=1) >= 3
        error = np.where(works, 1 - (X @ self.importance) / self.importance.sum(), 1.0)
        return np.column_stack([error, X.mean(axis=1)])


class TestSelection:
    def test_copies_fill_what_is_left(self):
        F = np.array([[1.0, 5], [5, 1], [1, 5], [6, 6], [5, 1], [NAN, 0]])
        order = [0, 1, 3, 2, 4, 5]
        for size in range(1, 7):
            assert emo.sparse_selection(F, size).survivors.tolist() == order[:size]
        chosen = emo.sparse_selection(F, 6)
        assert chosen.ranks.tolist() == [0, 0, 2, 1, 2, 3]
        assert chosen.distances[[2, 4, 5]].tolist() == [0.0, 0.0, 0.0]

    def test_without_copies_it_is_nsga2s(self):
        F = np.random.default_rng(0).random((40, 3))
        ours, theirs = emo.sparse_selection(F, 17), emo.environmental_selection(F, 17)
        np.testing.assert_array_equal(ours.survivors, theirs.survivors)
        np.testing.assert_array_equal(ours.distances, theirs.distances)

    def test_equal_objectives_but_not_equally_infeasible(self):
        F = np.array([[1.0, 1.0]] * 4)
        G = np.array([[1.0], [-1.0], [-2.0], [1.0]])
        assert emo.sparse_selection(F, 4, G).survivors.tolist() == [1, 0, 2, 3]

    def test_nothing_works(self):
        chosen = emo.sparse_selection(np.full((4, 2), NAN), 3)
        assert chosen.survivors.tolist() == [0, 1, 2]
        assert chosen.ranks.tolist() == [0, 0, 0, 0]


class TestGenerations:
    def test_first_every_variable_alone(self):
        problem = Needles(12, 3)
        algorithm = emo.SparseEA(problem, population_size=20, seed=1)
        X = algorithm.ask()
        assert X.shape == (60, 12)
        np.testing.assert_array_equal(X != 0, np.tile(np.eye(12, dtype=bool), (5, 1)))
        algorithm.tell(problem.evaluate(X))
        ranks = [emo.nondominated_ranks(problem.evaluate(X[12 * r : 12 * r + 12])) for r in range(5)]
        np.testing.assert_array_equal(algorithm.scores, np.sum(ranks, axis=0))
        assert algorithm.evaluations == 60
        assert len(algorithm.population) == 20

    def test_drop_one_of_bits(self):
        algorithm = emo.SparseEA(Filters(), population_size=10, scoring="drop-one")
        np.testing.assert_array_equal(algorithm.ask(), ~np.eye(40, dtype=bool))
        algorithm.step()
        needed = np.arange(40) % 4 == 0
        assert algorithm.scores[needed].max() < algorithm.scores[~needed].min()
        # Alone, all filters are equally worthless.
        alone = emo.SparseEA(Filters(), population_size=10)
        alone.step()
        assert len(set(alone.scores.tolist())) == 1

    def test_then_masks_that_prefer_good_variables(self):
        algorithm = emo.SparseEA(Filters(), population_size=200, scoring="drop-one", seed=2)
        algorithm.step()
        share = algorithm.ask().mean(axis=0)
        needed = np.arange(40) % 4 == 0
        assert share[needed].min() > share[~needed].mean()

    def test_then_children_differ_little_from_their_parents(self):
        algorithm = emo.SparseEA(Filters(), population_size=30, scoring="drop-one", seed=2)
        algorithm.run(5)
        parents = algorithm.population.X
        for child in algorithm.ask():
            assert 1 <= (parents != child).sum(axis=1).min() <= 2

    def test_hidden_values_are_kept(self):
        algorithm = emo.SparseEA(Needles(), population_size=20, seed=1)
        for _ in range(6):
            algorithm.step()
            dec, mask = algorithm.parts.dec, algorithm.parts.mask
            np.testing.assert_array_equal(algorithm.population.X, np.where(mask, dec, 0.0))
            assert (dec[~mask] != 0.0).all()

    @pytest.mark.parametrize("generation", [0, 1, 2, 5])
    def test_resumes_from_any_stage(self, generation):
        whole, half, resumed = (emo.SparseEA(Needles(), population_size=12, seed=4) for _ in range(3))
        whole.run(7)
        half.run(generation) if generation else half.ask()
        resumed.restore(half.state())
        resumed.run(7 - generation)
        for name, value in whole.state().items():
            np.testing.assert_array_equal(resumed.state()[name], value, err_msg=name)

    def test_mixed_kinds(self):
        kinds = ["real", "integer", "binary", "binary"]
        problem = emo.FunctionProblem(
            lambda X: np.column_stack([np.abs(X[:, 0] - 0.5) + X[:, 2], np.abs(X[:, 1] - 3) + X[:, 3]]),
            4,
            2,
            [0, 0, 0, 0],
            [1, 7, 1, 1],
            kinds,
        )
        algorithm = emo.SparseEA(problem, population_size=20, seed=0)
        best = algorithm.run(25).F.min(axis=0)
        assert (algorithm.parts.dec[:, 2:] == 1).all()
        assert best[0] < 0.05
        assert best[1] == 0.0

    def test_zero_outside_the_bounds(self):
        problem = emo.FunctionProblem(lambda X: X[:, :2], 3, 2, [1.0, -3, -1], [2.0, -2, 1])
        algorithm = emo.SparseEA(problem, population_size=8, rounds=1, seed=0)
        X = algorithm.ask()
        assert (X[1:, 0] == 1.0).all()
        assert (X[[0, 2], 1] == -2.0).all()
        assert (X[:2, 2] == 0.0).all()
        algorithm.run(4)

    def test_scoring_candidates_that_are_equal_are_asked_for_once(self):
        problem = emo.FunctionProblem(lambda X: np.column_stack([X.sum(1), -X[:, 0]]), 3, 2, 0, 1, "integer")
        algorithm = emo.SparseEA(problem, population_size=8, seed=0)
        X = algorithm.ask()
        assert 1 < len(X) <= 4
        assert len(np.unique(X, axis=0)) == len(X)
        algorithm.tell(problem.evaluate(X))
        assert algorithm.scores.shape == (3,)
        assert len(emo.SparseEA(problem, population_size=8, seed=0, duplicates=True).ask()) == 15

    def test_repair(self):
        def at_least_two(X, rng):
            X = X.copy()
            X[:, :2] |= X.sum(axis=1, keepdims=True) < 2
            return X

        algorithm = emo.SparseEA(Filters(), population_size=10, repair=at_least_two)
        for _ in range(4):
            assert (algorithm.ask().sum(axis=1) >= 2).all()
            algorithm.step()
            np.testing.assert_array_equal(algorithm.parts.mask, algorithm.population.X)

    @pytest.mark.parametrize(
        ("settings", "words"),
        [
            ({"scoring": "random"}, "one-hot, drop-one"),
            ({"rounds": 0}, "rounds is 0"),
            ({"rounds": 1.5}, "rounds is 1.5"),
            ({"population_size": 0}, "population_size is 0"),
        ],
    )
    def test_mistakes(self, settings, words):
        with pytest.raises(ProblemError, match=words):
            emo.SparseEA(ZDT1(4), **settings)

    def test_bad_sampling(self):
        algorithm = emo.SparseEA(ZDT1(4), sampling=lambda count, variables, rng: np.zeros((3, 4)))
        with pytest.raises(ShapeError, match="20 were asked for"):
            algorithm.ask()

    @pytest.mark.parametrize("name", ["dec", "mask", "scores", "ranks", "distances"])
    def test_damaged_state(self, name):
        algorithm = emo.SparseEA(ZDT1(4), population_size=6)
        algorithm.run(3)
        state = algorithm.state()
        with pytest.raises(ShapeError, match=f"{name} "):
            algorithm.restore({**state, name: state[name][:3]})


class TestQuality:
    def test_better_than_nsga2_where_solutions_are_sparse(self):
        problem, sparse, dense = Needles(), [], []
        for seed in range(3):
            ours = emo.SparseEA(problem, population_size=50, seed=seed)
            result = ours.run(80)
            sparse.append(emo.igd(result.F, problem.front))
            # The share along the front, and the six needles; little else.
            assert (result.X != 0).sum(axis=1).mean() < 10
            other = emo.NSGA2(problem, population_size=50, seed=seed)
            other.run(ours.evaluations // 50)
            dense.append(emo.igd(other.result().F, problem.front))
        assert np.median(sparse) < 0.5 * np.median(dense)

    def test_drop_one_finds_the_filters_that_matter(self):
        algorithm = emo.SparseEA(Filters(), population_size=30, scoring="drop-one", seed=1)
        result = algorithm.run(40)
        ten = result.X[result.X.sum(axis=1) == 10]
        assert (ten[:, ::4].sum(axis=1) == 10).any()

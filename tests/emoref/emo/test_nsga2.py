"""NSGA-II as a whole: reproducible, resumable, robust, and as good as published."""

import h5py
import numpy as np
import pytest

from emoref import emo
from emoref.emo.problems import ZDT1, ZDT2, ZDT3, ZDT4, ZDT6
from emoref.errors import ConfigError, ProblemError, ShapeError

NAN = float("nan")


class Knapsack:
    """Choose from 30 things: keep few, lose little value, within a weight."""

    n_var, n_obj, lower, upper, kind = 30, 2, 0, 1, "binary"
    value = np.arange(1, 31) ** 1.5
    weight = np.arange(30, 0, -1)

    def evaluate(self, X):
        assert X.dtype == np.bool_
        F = np.column_stack([X.sum(axis=1), (~X) @ self.value])
        return F, (X @ self.weight - 120.0)[:, None]


class Mixed:
    n_var, n_obj = 3, 2
    lower, upper, kind = [0.0, -5, 0], [1.0, 5, 1], ("real", "integer", "binary")

    def evaluate(self, X):
        return np.column_stack([X[:, 0] + X[:, 1] ** 2, (1 - X[:, 0]) + X[:, 2]])


def same(a, b):
    assert a.keys() == b.keys()
    for name, value in a.items():
        np.testing.assert_array_equal(value, b[name], err_msg=name)


class TestReproducibility:
    @pytest.mark.parametrize("problem", [ZDT1(6), Knapsack(), Mixed()], ids=["real", "binary", "mixed"])
    @pytest.mark.parametrize("tournament", ["rank", "dominance"])
    def test_resume_from_a_file_is_bit_identical(self, problem, tournament, tmp_path):
        settings = {"population_size": 20, "seed": 5, "tournament": tournament, "reference": [50.0, 3000.0]}
        whole = emo.NSGA2(problem, **settings)
        whole.run(10)
        half = emo.NSGA2(problem, **settings)
        half.run(5)
        with h5py.File(tmp_path / "state.h5", "w") as file:
            for name, value in half.state().items():
                file[name] = value
        resumed = emo.NSGA2(problem, **settings)
        resumed.run(2)  # whatever was there before is replaced
        with h5py.File(tmp_path / "state.h5") as file:
            resumed.restore(file)
        assert repr(resumed.history) == repr(half.history)
        resumed.run(5)
        same(resumed.state(), whole.state())
        np.testing.assert_array_equal(resumed.result().X, whole.result().X)

    def test_state_before_the_first_generation(self):
        fresh, other = (emo.NSGA2(ZDT1(4), population_size=6, seed=3) for _ in range(2))
        other.restore(fresh.state())
        same(other.state(), fresh.state())
        np.testing.assert_array_equal(other.ask(), fresh.ask())

    def test_asking_twice_gives_the_same(self):
        algorithm = emo.NSGA2(Knapsack(), population_size=12, seed=1)
        for _ in range(3):
            first = algorithm.ask()
            again = algorithm.ask()
            again[:] = ~again  # the caller may do what he likes with his copy
            np.testing.assert_array_equal(algorithm.ask(), first)
            twin = emo.NSGA2(Knapsack(), population_size=12, seed=1)
            twin.restore(algorithm.state())
            np.testing.assert_array_equal(twin.ask(), first)
            algorithm.tell(*Knapsack().evaluate(first))

    def test_ask_and_tell_equal_step(self):
        problem = ZDT2(5)
        asked, stepped = (emo.NSGA2(problem, population_size=10, seed=2) for _ in range(2))
        for _ in range(4):
            asked.tell(problem.evaluate(asked.ask()))
            stepped.step()
        same(asked.state(), stepped.state())

    def test_seeds_differ(self):
        a, b = (emo.NSGA2(ZDT1(4), population_size=6, seed=seed) for seed in (1, 2))
        assert (a.ask() != b.ask()).all()

    @pytest.mark.parametrize("limit", [-1000.0, 0.0], ids=["none feasible", "equal violations"])
    def test_infeasible_populations_are_reproducible(self, limit):
        def infeasible(X):
            violation = np.where(limit == 0.0, 1.0, X.sum(axis=1) - limit)
            return X[:, :2], violation * np.ones((len(X), 1))

        problem = emo.FunctionProblem(infeasible, 3, 2)
        runs = [emo.NSGA2(problem, population_size=10, seed=1) for _ in range(2)]
        for run in runs:
            assert len(run.run(5).F) == 0
        same(runs[0].state(), runs[1].state())


class TestRobustness:
    def test_failed_evaluations_rank_last(self):
        def sometimes(X):
            F = ZDT1(4).evaluate(X)
            F[X[:, 0] > 0.7] = NAN
            return F

        algorithm = emo.NSGA2(emo.FunctionProblem(sometimes, 4, 2), population_size=20, seed=0)
        result = algorithm.run(10)
        assert np.isfinite(result.F).all()
        assert (result.X[:, 0] <= 0.7).all()
        assert np.isfinite(algorithm.population.F).all()

    def test_everything_fails(self):
        problem = emo.FunctionProblem(lambda X: np.full((len(X), 2), NAN), 2, 2)
        result = emo.NSGA2(problem, population_size=8, reference=[1, 1]).run(3)
        assert result.F.shape == (0, 2)
        assert len(result.population) == 8
        assert result.history[-1].hypervolume == 0.0

    def test_no_candidate_is_evaluated_twice(self):
        seen = []

        def count(X):
            seen.extend(row.tobytes() for row in X)
            return np.column_stack([X.sum(axis=1), (~X[:, :3]).sum(axis=1)]).astype(float)

        problem = emo.FunctionProblem(count, 6, 2, kind="binary")
        algorithm = emo.NSGA2(problem, population_size=64, seed=0)
        result = algorithm.run(8)
        # 64 strings exist and all fit into the population; then there is nothing left to ask for.
        assert len(seen) == len(set(seen)) == algorithm.evaluations <= 64
        assert len(algorithm.ask()) == 64 - len(seen)
        assert result.history[-1].generation == 8

    def test_duplicates_can_be_allowed(self):
        problem = emo.FunctionProblem(lambda X: X.astype(float), 2, 2, kind="binary")
        algorithm = emo.NSGA2(problem, population_size=10, duplicates=True)
        algorithm.run(3)
        assert algorithm.evaluations == 30
        assert len(algorithm.population) == 10

    @pytest.mark.parametrize("n_obj", [1, 3])
    def test_other_numbers_of_objectives(self, n_obj):
        problem = emo.FunctionProblem(lambda X: (X[:, :n_obj] - 0.3) ** 2, 3, n_obj)
        result = emo.NSGA2(problem, population_size=12, seed=0).run(30)
        assert result.F.min() < 1e-4

    @pytest.mark.parametrize("size", [1, 2, 3])
    def test_tiny_populations(self, size):
        result = emo.NSGA2(ZDT1(3), population_size=size).run(4)
        assert len(result.population) == size

    def test_constant_objectives(self):
        problem = emo.FunctionProblem(lambda X: np.ones((len(X), 2)), 2, 2)
        assert len(emo.NSGA2(problem, population_size=10).run(4).F) == 10

    @pytest.mark.parametrize("offspring", [1, 7, 33])
    def test_offspring_size(self, offspring):
        algorithm = emo.NSGA2(ZDT1(5), population_size=16, offspring_size=offspring)
        algorithm.run(4)
        assert algorithm.evaluations == 16 + 3 * offspring
        assert len(algorithm.population) == 16


class TestHooks:
    def test_repair_is_applied_to_every_candidate(self):
        def keep_one(X, rng):
            X = X.copy()
            empty = ~X.any(axis=1)
            X[empty, rng.integers(0, X.shape[1], empty.sum())] = True
            return X

        asked = []

        def evaluate(X):
            asked.append(X)
            return np.column_stack([X.sum(axis=1), 1.0 / (1 + X @ np.arange(8))])

        problem = emo.FunctionProblem(evaluate, 8, 2, kind="binary")
        emo.NSGA2(problem, population_size=10, repair=keep_one, sampling=emo.RatioLadder(0.0, 0.3)).run(5)
        assert all(X.any(axis=1).all() for X in asked)

    @pytest.mark.parametrize(
        ("repair", "error"),
        [
            (lambda X, rng: X[:-1], ShapeError),
            (lambda X, rng: X[:, :-1], ShapeError),
            (lambda X, rng: X + 10.0, ProblemError),
        ],
    )
    def test_bad_repair(self, repair, error):
        with pytest.raises(error, match="repair returned"):
            emo.NSGA2(ZDT1(4), repair=repair).ask()

    def test_bad_sampling(self):
        with pytest.raises(ShapeError, match="sampling returned 3 candidates; 100 were asked for"):
            emo.NSGA2(ZDT1(4), sampling=lambda count, variables, rng: np.zeros((3, 4))).ask()

    def test_callback_sees_every_generation(self):
        generations = []
        algorithm = emo.NSGA2(ZDT1(4), population_size=4)
        emo.minimize(algorithm.problem, algorithm, 5, lambda a: generations.append(a.generation))
        assert generations == [1, 2, 3, 4, 5]

    def test_survival_can_be_looked_at(self):
        algorithm = emo.NSGA2(ZDT1(4), population_size=4)
        algorithm.run(2)
        assert len(algorithm.survival.ranks) == 8
        np.testing.assert_array_equal(algorithm.ranks, algorithm.survival.ranks[algorithm.survival.survivors])


class TestMistakes:
    @pytest.mark.parametrize(
        ("settings", "error", "words"),
        [
            ({"population_size": 0}, ProblemError, "population_size is 0"),
            ({"population_size": 2.5}, ProblemError, "population_size"),
            ({"offspring_size": 0}, ProblemError, "offspring_size"),
            ({"attempts": 0}, ProblemError, "attempts"),
            ({"seed": -1}, ConfigError, "seed"),
            ({"crowding": "mean"}, ProblemError, "crowding"),
            ({"tournament": "coin"}, ProblemError, "tournament"),
            ({"reference": [1.0]}, ProblemError, "reference"),
        ],
    )
    def test_settings(self, settings, error, words):
        with pytest.raises(error, match=words):
            emo.NSGA2(ZDT1(4), **settings)

    @pytest.mark.parametrize(
        ("F", "G", "error"),
        [
            (np.zeros((3, 2)), None, ShapeError),
            (np.zeros((4, 3)), None, ShapeError),
            (np.zeros((0, 2)), None, ShapeError),
            ([["a", "b"]] * 4, None, ProblemError),
            (np.zeros((4, 2)), np.zeros((4, 1)), ShapeError),
            (np.zeros((4, 2)), np.zeros((3, 1)), ShapeError),
        ],
    )
    def test_telling_nonsense_changes_nothing(self, F, G, error):
        algorithm = emo.NSGA2(ZDT1(4), population_size=4)
        algorithm.run(2)
        before = algorithm.state()
        with pytest.raises(error):
            algorithm.tell(F, G)
        same(algorithm.state(), before)

    def test_no_result_yet(self):
        with pytest.raises(ProblemError, match="before the first generation"):
            emo.NSGA2(ZDT1(4)).result()

    def test_minimise_another_problem(self):
        with pytest.raises(ProblemError, match="another problem"):
            emo.minimize(ZDT1(4), emo.NSGA2(ZDT1(4)), 3)

    def test_no_generation(self):
        problem = ZDT1(4)
        with pytest.raises(ProblemError, match="generations is 0"):
            emo.minimize(problem, emo.NSGA2(problem), 0)

    @pytest.mark.parametrize(
        ("change", "error", "words"),
        [
            (lambda state: state.pop("F"), ProblemError, "no entry 'F'"),
            (lambda state: state.update(seed=9), ProblemError, "seed 9"),
            (lambda state: state.update(X=state["X"][:, :2]), ShapeError, "4 variables"),
            (lambda state: state.update(F=state["F"][:3]), ShapeError, "stored state"),
            (lambda state: state.update(ranks=state["ranks"][:3]), ShapeError, "ranks"),
            (lambda state: state.update(generation=7), ShapeError, "generation 7"),
        ],
    )
    def test_damaged_state(self, change, error, words):
        algorithm = emo.NSGA2(ZDT1(4), population_size=4)
        algorithm.run(2)
        before = algorithm.state()
        damaged = algorithm.state()
        change(damaged)
        with pytest.raises(error, match=words):
            algorithm.restore(damaged)
        same(algorithm.state(), before)


class TestQuality:
    @pytest.mark.parametrize(
        ("problem", "gamma"),
        [(ZDT1(), 0.033482), (ZDT2(), 0.072391), (ZDT3(), 0.114500), (ZDT4(), 0.513053), (ZDT6(), 0.296564)],
        ids=["ZDT1", "ZDT2", "ZDT3", "ZDT4", "ZDT6"],
    )
    def test_mean_gamma_is_below_the_published_one(self, problem, gamma):
        # Deb et al. 2002, table II, real-coded: population 100, 250 generations, 500 points of the front.
        front = problem.pareto_front(500)
        values = []
        for seed in range(3):
            result = emo.minimize(problem, emo.NSGA2(problem, population_size=100, seed=seed), 250)
            assert result.history[-1].evaluations == 25_000
            values.append(emo.gd(result.F, front))
        assert np.mean(values) < gamma

    @pytest.mark.parametrize("crowding", ["paper", "deb-c"])
    @pytest.mark.parametrize("tournament", ["rank", "dominance"])
    def test_every_variant_converges(self, crowding, tournament):
        problem = ZDT1(10)
        algorithm = emo.NSGA2(
            problem,
            population_size=60,
            seed=1,
            crowding=crowding,
            tournament=tournament,
            reference=[1.1, 1.1],
        )
        result = emo.minimize(problem, algorithm, 120)
        assert result.history[-1].hypervolume > 0.85
        volumes = [record.hypervolume for record in result.history]
        assert volumes[-1] > volumes[0]
        assert emo.igd(result.F, problem.pareto_front()) < 0.02

    def test_constrained_bits_reach_the_known_front(self):
        # For each number of things kept, the least loss within the weight comes from the last ones.
        problem = Knapsack()
        result = emo.minimize(problem, emo.NSGA2(problem, population_size=60, seed=0), 150)
        assert (problem.evaluate(result.X)[1] <= 0).all()
        for kept, loss in result.F[result.F[:, 0] <= 12]:
            best = problem.value[: 30 - int(kept)].sum()
            assert loss == pytest.approx(best, rel=0.1)

    def test_same_quality_as_pymoo(self):
        pytest.importorskip("pymoo")
        from pymoo.algorithms.moo.nsga2 import NSGA2
        from pymoo.optimize import minimize
        from pymoo.problems import get_problem

        problem = ZDT1()
        front = problem.pareto_front(500)
        ours, theirs = [], []
        for seed in range(3):
            ours.append(emo.igd(emo.minimize(problem, emo.NSGA2(problem, seed=seed), 120).F, front))
            result = minimize(get_problem("zdt1"), NSGA2(pop_size=100), ("n_gen", 120), seed=seed)
            theirs.append(emo.igd(result.F, front))
        assert np.mean(ours) < 1.5 * np.mean(theirs)

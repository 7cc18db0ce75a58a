"""What holds for every algorithm of the table in algorithm_cases.py, and what does not.

Everything here runs for each row; an invariance that a row's `breaks` names must fail for at least one of the
seeds, so that the table stays true.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from algorithm_cases import ALGORITHMS, NAN, PLAIN, PROBLEMS, Frame, shapes
from hypothesis import given, settings
from hypothesis import strategies as st

from emoref import emo
from emoref.emo.population import Generation, Population
from emoref.emo.problems import DTLZ2
from emoref.errors import ProblemError, ShapeError

SEEDS = range(6)


def rows(keep=lambda row: True):
    """Return the mark that runs a test for each algorithm that `keep` allows."""
    kept = {name: row for name, row in ALGORITHMS.items() if keep(row)}
    return pytest.mark.parametrize("row", kept.values(), ids=kept)


every = rows()
unplaced = rows(lambda row: not row.placed)
unit_free = rows(lambda row: "scaling" not in row.breaks)


# ---------------------------------------------------------------------------- steps of selection alone


@dataclass(frozen=True)
class Numbered:
    """A problem whose candidates are numbers, for selections from given objective values."""

    n_obj: int = 3
    n_var: int = 1
    lower: int = 0
    upper: int = 10**6
    kind: str = "integer"

    def evaluate(self, X):
        raise AssertionError("the values are given")


def selections(row, F, frame=PLAIN, *, blocks=None, G=None):
    """Tell given values: a first population of n rows, and then twice n more.

    Returns the numbers of the survivors, after the second and the third block of rows. `blocks` are the
    numbers of the rows of each block, where they are not n consecutive ones.
    """
    algorithm = row.make(Numbered(F.shape[1]), frame, seed=1)
    values = frame.values(F)
    G = np.zeros((len(F), 0)) if G is None else G
    first, *others = np.split(np.arange(len(F)), 3) if blocks is None else blocks

    def population(numbers):
        return Population(np.asarray(numbers)[:, None], values[numbers], G[numbers])

    survivors, found = algorithm._survive(population(first)), []
    for numbers in others:
        algorithm.generation += 1
        survivors = algorithm._survive(survivors.join(population(numbers)))
        found.append(survivors.X[:, 0].tolist())
    return found


def size_of(row, n_obj=3):
    return row.make(Numbered(n_obj), PLAIN, seed=1).population_size


def cloud(row, seed, n_obj=3):
    """Return random values for three blocks of rows, with 20 binary digits, so that shifts are exact."""
    rows = 3 * size_of(row, n_obj)
    return np.rint(np.random.default_rng(seed).random((rows, n_obj)) * 2**20) / 2**20


def one_front(row, seed, n_obj=3):
    """Return random values on a sphere: none dominates another."""
    F = cloud(row, seed, n_obj) + 2.0**-20
    return F / np.sqrt((F**2).sum(axis=1, keepdims=True))


def translation(row, seed):
    F = cloud(row, seed)
    plain = selections(row, F)
    return all(
        selections(row, F, Frame(shift=shift)) == plain
        for shift in ((0, 0.5, 0.875), (0, 0, 2), (-64, 1, 1024))
    )


def scaling(row, seed):
    F = cloud(row, seed)
    plain = selections(row, F)
    return all(
        selections(row, F, Frame(factor=tuple(2.0**e for e in exponents))) == plain
        for exponents in ((-20, 0, 30), (5, 5, 5), (30, -17, -3))
    )


def objectives(row, seed):
    F = cloud(row, seed)
    plain = selections(row, F)
    return all(selections(row, F, Frame(order=order)) == plain for order in ((1, 2, 0), (0, 2, 1)))


INVARIANCES = {"translation": translation, "scaling": scaling, "objectives": objectives}


class TestSelection:
    @every
    @pytest.mark.parametrize("name", INVARIANCES)
    def test_invariance(self, row, name):
        holds = all(INVARIANCES[name](row, seed) for seed in SEEDS)
        assert holds == (name not in row.breaks)

    def test_the_table_in_the_documentation(self):
        chapter = Path(__file__).parents[3] / "docs" / "many-objective.md"
        lines = [line for line in chapter.read_text("utf-8").splitlines() if line.startswith("| ")]
        lines = [line for line in lines if line.count("yes") + line.count("| no") >= 3]
        said = {tuple(cell.strip() == "yes" for cell in line.split("|")[2:5]) for line in lines}
        held = {tuple(name not in row.breaks for name in INVARIANCES) for row in ALGORITHMS.values()}
        assert said == held
        for name, row in ALGORITHMS.items():
            kind = [line for line in lines if f"`{name.split('-')[0]}`" in line]
            cells = [tuple(cell.strip() == "yes" for cell in line.split("|")[2:5]) for line in kind]
            assert tuple(each not in row.breaks for each in INVARIANCES) in cells, name

    @every
    @given(st.integers(0, 10**6), st.sampled_from(["translation", "scaling"]))
    @settings(deadline=None, max_examples=8)
    def test_invariance_where_much_is_equal(self, row, seed, name):
        if name in row.breaks:
            return
        F = np.floor(5 * cloud(row, seed))
        factor, shift = (((1, 1, 1), (0, -7, 1024)), ((2.0**-20, 4.0, 2.0**30), (0, 0, 0)))[name == "scaling"]
        assert selections(row, F, Frame(factor=factor, shift=shift)) == selections(row, F)

    @unplaced
    def test_order_of_rows(self, row):
        for seed in SEEDS:
            # One front, for then no two candidates are equally good.
            F = one_front(row, seed)
            rng = np.random.default_rng(seed)
            blocks = [rng.permutation(block) for block in np.split(np.arange(len(F)), 3)]
            for a, b in zip(selections(row, F), selections(row, F, blocks=blocks), strict=True):
                assert sorted(a) == sorted(b)

    @unplaced
    def test_failed_rows_change_nothing(self, row):
        failed = np.array([[NAN, 0, 0], [np.inf] * 3, [0, -np.inf, 0], [-1, NAN, np.inf]])
        for seed in SEEDS:
            F = cloud(row, seed)
            first, second, third = np.split(np.arange(len(F)), 3)
            # Four failures more, at the end of F: one in the first population, three among the second rows.
            numbers = len(F) + np.arange(4)
            second = np.insert(second, [0, 5, len(second)], numbers[1:])
            blocks = [np.insert(first, 3, numbers[0]), second, third]
            assert selections(row, np.concatenate([F, failed]), blocks=blocks) == selections(row, F)

    @every
    def test_kinds_of_failure_are_alike(self, row):
        F, n = cloud(row, 3), size_of(row)
        results = []
        for failure in (NAN, np.inf, -np.inf):
            G = F.copy()
            G[n + 3 : n + 6, 1] = failure
            results.append(selections(row, G))
        assert results[0] == results[1] == results[2]
        assert not set(range(n + 3, n + 6)) & set(results[0][0])

    @unplaced
    @pytest.mark.parametrize("feasible", [0, 1, 5, 20])
    def test_feasible_first_then_by_violation(self, row, feasible):
        F, n = cloud(row, 1), size_of(row)
        G = np.where(np.arange(len(F)) % 20 < feasible, -1.0, np.arange(len(F)) + 1.0)[:, None]
        for survivors, pool in zip(selections(row, F, G=G), (2 * n, 3 * n), strict=True):
            assert len(set(survivors)) == n
            allowed = set(np.flatnonzero(G[:pool, 0] <= 0))
            if len(allowed) >= n:
                assert set(survivors) <= allowed
            elif feasible == 0:
                assert sorted(survivors) == list(range(n))
            else:
                assert allowed <= set(survivors)

    @every
    @pytest.mark.parametrize("constant", [(0,), (0, 2), (0, 1, 2)])
    def test_constant_objectives(self, row, constant):
        F = cloud(row, 2)
        F[:, list(constant)] = 0.75
        for survivors in selections(row, F):
            assert len(survivors) == size_of(row)

    @every
    def test_duplicates(self, row):
        F = cloud(row, 2)
        F[1::2] = F[: len(F) // 2 * 2 : 2]
        F[-4:] = F[0]
        for survivors in selections(row, F):
            assert len(survivors) == size_of(row)

    @unplaced
    def test_one_point(self, row):
        algorithm = row.make(Numbered(3), PLAIN, seed=1)
        one = Population(np.array([[7]]), np.array([[1.0, 2.0, 3.0]]), np.zeros((1, 0)))
        assert algorithm._survive(one).X.tolist() == [[7]]

    @unplaced
    def test_one_objective(self, row):
        F = cloud(row, 4, n_obj=1)
        n = size_of(row, 1)
        best = int(np.argmin(F[: 2 * n, 0]))
        assert best in selections(row, F)[0]

    @every
    def test_input_is_not_changed(self, row):
        F = cloud(row, 5)
        before = F.copy()
        F.setflags(write=False)
        G = np.zeros((len(F), 1))
        G.setflags(write=False)
        selections(row, F, G=G)
        np.testing.assert_array_equal(F, before)


# ------------------------------------------------------------------------------------------- whole runs


PROBLEM_IDS = [name.replace(" ", "-") for name in PROBLEMS]


def same(a: dict[str, Any], b: dict[str, Any]) -> None:
    assert a.keys() == b.keys()
    for name, value in a.items():
        np.testing.assert_array_equal(value, b[name], err_msg=name)


class TestRuns:
    @every
    @pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEM_IDS)
    def test_resumes_at_any_generation_bit_for_bit(self, row, problem):
        whole = row.make(problem, PLAIN, seed=3)
        states = [whole.state()]
        whole.run(5, callback=lambda algorithm: states.append(algorithm.state()))
        for state in states[:-1]:
            resumed = row.make(problem, PLAIN, seed=3)
            resumed.restore(state)
            same(resumed.state(), state)
            resumed.run(5 - resumed.generation)
            same(resumed.state(), states[-1])
        np.testing.assert_array_equal(resumed.result().X, whole.result().X)

    @every
    def test_resumes_from_a_file(self, row, tmp_path):
        problem = PROBLEMS["constrained"]
        whole, half = (row.make(problem, PLAIN, seed=5) for _ in range(2))
        whole.run(8)
        half.run(4)
        with h5py.File(tmp_path / "state.h5", "w") as file:
            for name, value in half.state().items():
                file[name] = value
        resumed = row.make(problem, PLAIN, seed=5)
        resumed.run(2)
        with h5py.File(tmp_path / "state.h5") as file:
            resumed.restore(file)
        resumed.run(4)
        same(resumed.state(), whole.state())

    @every
    def test_seeds_differ(self, row):
        a, b = (row.make(PROBLEMS["real"], PLAIN, seed=seed) for seed in (1, 2))
        assert (a.ask() != b.ask()).any()

    @every
    def test_asking_and_telling_is_stepping(self, row):
        problem = PROBLEMS["constrained"]
        asked, stepped = (row.make(problem, PLAIN, seed=2) for _ in range(2))
        for _ in range(4):
            np.testing.assert_array_equal(asked.ask(), asked.ask())
            F, G = problem.evaluate(asked.ask())
            F.setflags(write=False)
            G.setflags(write=False)
            asked.tell(F, G)
            stepped.step()
        same(asked.state(), stepped.state())

    @every
    @pytest.mark.parametrize("telling", [0, 1, 3])
    def test_telling_nonsense_changes_nothing(self, row, telling):
        algorithm = row.make(PROBLEMS["real"], PLAIN, seed=2)
        for _ in range(telling):
            algorithm.step()
        before, rows = algorithm.state(), len(algorithm.ask())
        for F in (np.zeros((rows + 1, 3)), np.zeros((rows, 2)), np.full((rows, 3), "a")):
            with pytest.raises((ShapeError, ProblemError)):
                algorithm.tell(F)
        same(algorithm.state(), before)

    @every
    def test_a_state_of_another_seed_or_shape_is_refused(self, row):
        algorithm = row.make(PROBLEMS["real"], PLAIN, seed=2)
        algorithm.run(2)
        before = algorithm.state()
        for change in ({"seed": 9}, {"F": before["F"][:2]}, {"generation": 7}):
            with pytest.raises((ShapeError, ProblemError)):
                algorithm.restore({**before, **change})
        for name in before:
            with pytest.raises(ProblemError, match=f"no entry '{name}'"):
                algorithm.restore({other: value for other, value in before.items() if other != name})
        same(algorithm.state(), before)

    @unit_free
    def test_units_do_not_matter(self, row):
        plain = DTLZ2(3, k=4)
        frame = Frame(factor=(2.0**-20, 1.0, 2.0**30))
        scaled = emo.FunctionProblem(lambda X: frame.values(plain.evaluate(X)), plain.n_var, 3)
        a, b = row.make(plain, PLAIN, seed=4), row.make(scaled, frame, seed=4)
        a.run(12)
        b.run(12)
        np.testing.assert_array_equal(a.population.X, b.population.X)

    @every
    def test_everything_fails(self, row):
        problem = emo.FunctionProblem(lambda X: np.full((len(X), 3), NAN), 3, 3)
        algorithm = row.make(problem, PLAIN, seed=1)
        result = algorithm.run(3)
        assert result.F.shape == (0, 3)
        assert len(result.population) == algorithm.population_size

    @every
    def test_failures_die_out(self, row):
        algorithm = row.make(PROBLEMS["failing"], PLAIN, seed=1)
        result = algorithm.run(20)
        assert np.isfinite(algorithm.population.F).all()
        assert (result.X[:, 0] <= 0.6).all()

    @every
    def test_nothing_is_evaluated_twice_nor_returned_twice(self, row):
        seen = []

        def evaluate(X):
            seen.extend(row.tobytes() for row in X)
            return shapes(X)

        problem = emo.FunctionProblem(evaluate, 6, 3, kind="binary")
        algorithm = row.make(problem, PLAIN, seed=1)
        for _ in range(8):
            known = {x.tobytes() for x in algorithm.population.X} if algorithm.generation else set()
            start = len(seen)
            algorithm.step()
            new = seen[start:]
            assert len(new) == len(set(new))
            assert not known & set(new)
        X = algorithm.result().X
        assert len(np.unique(X, axis=0)) == len(X)

    @every
    def test_only_one_candidate_exists(self, row):
        problem = emo.FunctionProblem(lambda X: np.ones((len(X), 3)), 1, 3, 4, 4, kind="integer")
        algorithm = row.make(problem, PLAIN, seed=1)
        result = algorithm.run(4)
        assert result.X.tolist() == [[4]]
        assert algorithm.evaluations == 1

    @every
    @pytest.mark.parametrize("n_obj", [1, 2, 4])
    def test_numbers_of_objectives(self, row, n_obj):
        problem = emo.FunctionProblem(lambda X: (X[:, :n_obj] - 0.3) ** 2, 4, n_obj)
        result = row.make(problem, PLAIN, seed=1).run(30)
        assert result.F.min() < 1e-2


@every
@pytest.mark.parametrize("problem", ["real", "constrained", "none feasible", "failing", "constant"])
def test_the_record_of_a_generation_is_that_of_its_population(row, problem):
    # Some algorithms hand over the ranks of the survival, which saves a second sorting.
    algorithm = row.make(PROBLEMS[problem], PLAIN, seed=4)
    for _ in range(4):
        algorithm.step()
        kept = algorithm.history[-1]
        found = Generation.of(kept.generation, kept.evaluations, algorithm.population, None)
        assert (kept.feasible, kept.front_size) == (found.feasible, found.front_size)
        np.testing.assert_array_equal(kept.ideal, found.ideal)

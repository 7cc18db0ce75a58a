"""The step trace: reasons by hand, bounded records, and the file."""

import json

import h5py
import numpy as np
import pytest

from emoref import emo
from emoref.emo.normalisation import Normaliser
from emoref.emo.population import Population
from emoref.emo.problems import DTLZ2, ZDT1
from emoref.emo.trace import REASONS, Trace, load_trace, survival_reasons
from emoref.errors import FileFormatError, ProblemError

W = emo.das_dennis(3, 4)
NAN = float("nan")


def nsga3(**settings):
    return emo.NSGA3(DTLZ2(3, k=4), reference_points=W, seed=1, **settings)


def names(survival, F, G=None):
    F = np.array(F, dtype=np.float64)
    G = np.empty((len(F), 0)) if G is None else np.array(G, dtype=np.float64)
    return [REASONS[code] for code in survival_reasons(survival, Population(F, F, G))]


class TestReasons:
    def test_crowding_by_hand(self):
        # docs/nsga2.md: of front 0, the fourth has the least room.
        F = [[1, 9], [2, 7], [5, 4], [8, 2], [9, 1], [3, 8], [6, 6], [9, 9]]
        assert names(emo.environmental_selection(np.array(F, float), 4), F) == [
            *["least_crowded"] * 3, "crowded", "least_crowded", *["dominated"] * 3,
        ]  # fmt: skip
        assert names(emo.environmental_selection(np.array(F, float), 5), F) == [
            *["front"] * 5,
            *["dominated"] * 3,
        ]

    def test_niches_by_hand(self):
        # docs/nsga3.md: the corners and the point nearest to the diagonal; a fourth is drawn in the middle.
        F = np.array([[0, 8], [8, 0], [3, 6], [4, 5], [6, 3.5], [9, 9]])
        points = emo.das_dennis(2, 2)

        def reasons(size):
            rng = np.random.default_rng(0)
            return names(emo.reference_selection(F, size, points, Normaliser.start(2), rng), F)

        nearest = "nearest"
        assert reasons(3) == [nearest, nearest, "niche_full", nearest, "niche_full", "dominated"]
        four = reasons(4)
        assert sorted(four[2:5:2]) == ["drawn", "niche_full"]
        assert reasons(5)[:5] == ["front"] * 5

    def test_constraints(self):
        F = [[1.0, 1.0], [0, 0], [0, 0], [2, 0.5], [NAN, 0], [5, 5]]
        G = [[0.0], [3.0], [1.0], [-1.0], [0.0], [0.0]]
        survival = emo.environmental_selection(np.array(F), 4, np.array(G))
        assert names(survival, F, G) == ["front", "infeasible", "violation", "front", "failed", "front"]
        survival = emo.environmental_selection(np.array(F), 6, np.array(G))
        assert names(survival, F, G)[4] == "violation"

    @pytest.mark.parametrize("size", [1, 7, 20, 39])
    def test_survivors_have_reasons_to_survive(self, size):
        F = np.random.default_rng(size).random((40, 3))
        survival = emo.reference_selection(F, size, W, Normaliser.start(3), np.random.default_rng(0))
        found = survival_reasons(survival, Population(F, F, np.empty((40, 0))))
        np.testing.assert_array_equal(np.flatnonzero(found < 5), np.sort(survival.survivors))


class TestTrace:
    @pytest.mark.parametrize("make", [nsga3, lambda: emo.NSGA2(ZDT1(6), population_size=12, seed=3)])
    def test_the_run_is_the_same(self, make):
        plain, traced = make(), Trace(make())
        plain.run(6)
        result = traced.run(6)
        np.testing.assert_array_equal(plain.population.X, result.population.X)
        assert [record.generation for record in traced.records] == [1, 2, 3, 4, 5, 6]

    def test_what_is_recorded(self):
        algorithm = nsga3()
        trace = Trace(algorithm)
        trace.run(5)
        before, last = trace.records[-2:]
        assert last.parents == 16
        np.testing.assert_array_equal(last.F[:16], before.F[before.survivors])
        np.testing.assert_array_equal(last.F[last.survivors], algorithm.population.F)
        np.testing.assert_array_equal(last.ranks, emo.nondominated_ranks(last.F))
        assert last.niche_counts.sum() == 16
        assert len(last.niche_counts) == len(W)
        np.testing.assert_array_equal(last.nadir, algorithm.normaliser.nadir)
        np.testing.assert_array_equal(last.intercepts, last.nadir - last.ideal)
        assert last.path[0] in ("hyperplane", "duplicate", "singular", "nonpositive")
        assert sum(len(last.rows(reason)) for reason in REASONS) == len(last.F)

    def test_ask_and_tell(self):
        problem = DTLZ2(3, k=4)
        told, run = Trace(nsga3()), Trace(nsga3())
        for _ in range(3):
            told.tell(problem.evaluate(told.algorithm.ask()))
        run.run(3)
        for a, b in zip(told.records, run.records, strict=True):
            np.testing.assert_array_equal(a.reasons, b.reasons)

    def test_generations_without_offspring_leave_no_record(self):
        problem = emo.FunctionProblem(lambda X: np.column_stack([X, ~X]).astype(float), 1, 2, kind="binary")
        trace = Trace(emo.NSGA2(problem, population_size=2, seed=0))
        trace.run(4)
        assert trace.algorithm.generation == 4
        assert len(trace.records) < 4

    def test_records_are_bounded_and_cover_the_run(self):
        trace = Trace(emo.NSGA2(ZDT1(3), population_size=4, seed=0), most_generations=6)
        for generation in range(1, 40):
            trace.step()
            kept = [record.generation for record in trace.records]
            assert len(kept) <= 6
            assert kept[0] == 1
            assert kept[-1] == generation
            assert len(set(np.diff(kept[:-1]))) <= 1
        assert kept == [1, 9, 17, 25, 33, 39]

    def test_callback(self):
        seen = []
        Trace(nsga3()).run(3, lambda algorithm: seen.append(algorithm.generation))
        assert seen == [1, 2, 3]

    def test_json(self):
        trace = Trace(emo.NSGA2(ZDT1(3), population_size=4, seed=0))
        trace.run(2)
        record = json.loads(json.dumps(trace.records[-1].to_dict(), allow_nan=False))
        assert record["generation"] == 2
        assert set(record["reasons"]) <= set(REASONS)
        assert record["nadir"] == [None, None]

    def test_mistakes(self):
        with pytest.raises(ProblemError, match="at least 2"):
            Trace(nsga3(), most_generations=1)
        with pytest.raises(ProblemError, match="object: the algorithm keeps no record"):
            Trace(object())
        with pytest.raises(ProblemError, match="nothing is recorded"):
            Trace(nsga3()).save("never.h5")


class TestFile:
    @pytest.fixture
    def path(self, tmp_path):
        trace = Trace(nsga3())
        trace.run(4)
        trace.save(tmp_path / "trace.h5")
        self.records = trace.records
        return tmp_path / "trace.h5"

    def test_what_is_read_is_what_was_recorded(self, path):
        read = load_trace(path)
        for a, b in zip(read, self.records, strict=True):
            assert (a.generation, a.parents, a.path) == (b.generation, b.parents, b.path)
            for name in ("F", "ranks", "survivors", "reasons", "distances", "niches", "niche_counts", "ideal",
                         "nadir", "extremes"):  # fmt: skip
                np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)

    def test_h5py_alone(self, path):
        with h5py.File(path) as file:
            setup = json.loads(file["setup"][()])
            group = file["generations"]
            assert setup["algorithm"] == "NSGA3"
            assert group["F"].attrs["dimensions"].decode() == "generation,candidate,objective"
            used = group["candidates"][0]
            assert (group["reasons"][0, used:] == 255).all()
            assert [setup["reasons"][code] for code in group["reasons"][-1]] == [
                REASONS[code] for code in self.records[-1].reasons
            ]
            assert setup["paths"][group["path"][-1, 0]] == self.records[-1].path[0]

    def test_equal_runs_give_equal_bytes(self, path, tmp_path):
        trace = Trace(nsga3())
        trace.run(4)
        trace.save(tmp_path / "again.h5")
        assert path.read_bytes() == (tmp_path / "again.h5").read_bytes()

    def test_algorithms_without_niches(self, tmp_path):
        trace = Trace(emo.NSGA2(ZDT1(3), population_size=4, seed=0))
        trace.run(3)
        trace.save(tmp_path / "t.h5")
        last = load_trace(tmp_path / "t.h5")[-1]
        assert last.path == ()
        assert last.niches.size == last.niche_counts.size == 0
        assert np.isnan(last.ideal).all()

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda file: file.pop("generations"), "/generations is missing"),
            (lambda file: file["generations"].pop("ranks"), "ranks is missing"),
            (lambda file: replace(file, "ranks", np.zeros((4, 32, 2), int)), "ranks has 3 dimensions"),
            (lambda file: replace(file, "parents", np.zeros(3, int)), "number of generations"),
            (lambda file: replace(file, "ideal", np.zeros((4, 2))), "number of objectives"),
            (lambda file: replace(file, "candidates", np.full(4, 99)), "number of candidates"),
            (lambda file: replace(file, "reasons", np.full((4, 32), 200, np.uint8)), "has no name"),
            (lambda file: replace(file, "path", np.full((4, 2), 77)), "has no name"),
            (lambda file: replace(file, "F", np.zeros((4, 32, 3), int)), "kind"),
        ],
    )
    def test_damage(self, path, change, words):
        with h5py.File(path, "r+") as file:
            change(file)
        with pytest.raises(FileFormatError, match=words):
            load_trace(path)

    def test_names_that_are_not_ours(self, path):
        with h5py.File(path, "r+") as file:
            del file["setup"]
            emo_setup = json.dumps({"reasons": ["luck"], "paths": []}).encode()
            file.create_dataset("setup", data=np.bytes_(emo_setup))
        with pytest.raises(FileFormatError, match="does not name the reasons"):
            load_trace(path)

    def test_other_files(self, tmp_path):
        with pytest.raises(FileFormatError, match="no such file"):
            load_trace(tmp_path / "none.h5")


def replace(file, name, values):
    del file["generations"][name]
    file["generations"][name] = values


PROBLEM = DTLZ2(3, k=4)


@pytest.mark.parametrize(
    "algorithm",
    [
        emo.UNSGA3(PROBLEM, reference_points=W, seed=1),
        emo.ANSGA3(PROBLEM, reference_points=W, seed=1),
        emo.RNSGA3(PROBLEM, aspiration_points=[[0.5, 0.5, 0.5]], reference_points=W, seed=1),
        emo.ThetaDEA(PROBLEM, reference_points=W, seed=1),
        emo.SMSEMOA(PROBLEM, population_size=10, offspring_size=4, seed=1),
        emo.SparseEA(PROBLEM, population_size=10, seed=1),
    ],
    ids=lambda algorithm: type(algorithm).__name__,
)
def test_other_algorithms(algorithm, tmp_path):
    trace = Trace(algorithm)
    trace.run(6)
    trace.save(tmp_path / "t.h5")
    for record in load_trace(tmp_path / "t.h5"):
        np.testing.assert_array_equal(np.flatnonzero(record.reasons < 5), np.sort(record.survivors))
        assert len(record.F) == len(record.ranks) == len(record.distances)
    np.testing.assert_array_equal(record.F[record.survivors], algorithm.population.F)


def test_survival_without_ranks():
    with pytest.raises(ProblemError, match="MOEAD survives by no ranking"):
        Trace(emo.MOEAD(PROBLEM, weights=W)).step()

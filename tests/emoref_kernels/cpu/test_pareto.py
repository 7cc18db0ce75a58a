"""The compiled Pareto kernels against the reference, other libraries and closed forms."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from emoref_kernels.cpu import pareto as cpu
from emoref_kernels.cpu import pareto_ranks
from emoref_kernels.reference import pareto as reference

ANY_VALUE = st.one_of(
    st.integers(0, 3).map(float), st.floats(-2, 2), st.sampled_from([np.nan, np.inf, -np.inf, 1e308, -1e308])
)
FEW_VALUES = st.integers(0, 4).map(float)
SHAPES = st.tuples(st.integers(1, 25), st.integers(1, 5))


def simplex(rng, count, objectives):
    points = rng.exponential(size=(count, objectives))
    return points / points.sum(axis=1, keepdims=True)


@given(arrays(np.float64, SHAPES, elements=st.one_of(FEW_VALUES, ANY_VALUE)))
@settings(deadline=None, max_examples=300)
def test_ranks_equal_the_reference(F):
    np.testing.assert_array_equal(cpu.nondominated_ranks(F), reference.nondominated_ranks(F))


@given(
    arrays(np.float64, SHAPES, elements=st.one_of(FEW_VALUES, ANY_VALUE)), st.sampled_from(["paper", "deb-c"])
)
@settings(deadline=None, max_examples=300)
def test_crowding_equals_the_reference(F, variant):
    distance = cpu.crowding_distance(F, variant)
    np.testing.assert_array_equal(distance, reference.crowding_distance(F, variant))
    assert not np.isnan(distance).any()


@given(arrays(np.float64, st.tuples(st.integers(0, 9), st.integers(1, 5)), elements=FEW_VALUES))
@settings(deadline=None, max_examples=200)
def test_hypervolume_of_integers_equals_the_reference(F):
    ref = np.full(F.shape[1], 4.0)
    assert cpu.hypervolume(F, ref) == reference.hypervolume(F, ref)


@pytest.mark.parametrize("objectives", [2, 3, 4, 5])
def test_hypervolume_of_reals_equals_the_reference(objectives):
    rng = np.random.default_rng(objectives)
    F = rng.random((15, objectives))
    ref = np.full(objectives, 0.9)
    assert cpu.hypervolume(F, ref) == pytest.approx(reference.hypervolume(F, ref), rel=1e-12)


@pytest.mark.parametrize("objectives", [2, 3, 4, 5, 8, 12])
@pytest.mark.parametrize("values", [2, 6, 1000])
def test_ranks_of_many_points_with_ties(objectives, values):
    rng = np.random.default_rng(values)
    F = rng.integers(0, values, (700, objectives)).astype(float)
    # Transposed input and a doubled row order must not matter.
    ranks = cpu.nondominated_ranks(np.asfortranarray(F))
    rows = rng.permutation(700)
    np.testing.assert_array_equal(cpu.nondominated_ranks(F[rows]), ranks[rows])
    for rank in range(ranks.max() + 1):
        # Within a front nobody dominates; each member of a later front is dominated by the one before.
        front = F[ranks == rank]
        assert not dominated(front, front).any()
        if rank > 0:
            assert dominated(front, F[ranks == rank - 1]).all()


@pytest.mark.parametrize(("count", "objectives"), [(1501, 4), (2048, 5), (4000, 4), (17_000, 4)])
@pytest.mark.parametrize("values", [5, 40, 10**6])
def test_stored_sets_rank_as_single_comparisons_do(count, objectives, values):
    # From 1,501 points on, the sets of dominators are put together one by one.
    rng = np.random.default_rng(values)
    count = min(count, 2100 if values == 10**6 else count)
    F = rng.integers(0, values, (count, objectives)).astype(float)
    order = np.lexsort(F.T[::-1])
    expected = pareto_ranks._ranks_by_members(F[order], order)
    np.testing.assert_array_equal(cpu.nondominated_ranks(F), expected)


def dominated(points, by):
    nowhere_larger = (by[None] <= points[:, None]).all(axis=2)
    somewhere_smaller = (by[None] < points[:, None]).any(axis=2)
    return (nowhere_larger & somewhere_smaller).any(axis=1)


@given(
    arrays(np.float64, SHAPES, elements=st.integers(-50, 50).map(float)),
    st.integers(-3, 3),
    st.integers(-100, 100),
)
@settings(deadline=None, max_examples=100)
def test_translation_scale_and_order_of_objectives(F, exponent, shift):
    changed = F[:, ::-1] * 2.0**exponent + shift
    np.testing.assert_array_equal(cpu.nondominated_ranks(changed), cpu.nondominated_ranks(F))
    np.testing.assert_allclose(cpu.crowding_distance(changed), cpu.crowding_distance(F), rtol=1e-12)


@given(arrays(np.float64, SHAPES, elements=FEW_VALUES), st.data())
@settings(deadline=None, max_examples=100)
def test_non_finite_rows_change_no_other_rank(F, data):
    at = data.draw(st.integers(0, len(F)))
    row = np.zeros(F.shape[1])
    row[data.draw(st.integers(0, F.shape[1] - 1))] = data.draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    ranks = cpu.nondominated_ranks(np.insert(F, at, row, axis=0))
    np.testing.assert_array_equal(np.delete(ranks, at), cpu.nondominated_ranks(F))
    assert ranks[at] == cpu.nondominated_ranks(F).max() + 1


def test_read_only_input():
    F = np.random.default_rng(0).random((50, 3))
    F.flags.writeable = False
    cpu.nondominated_ranks(F)
    cpu.crowding_distance(F)
    assert cpu.hypervolume(F, np.ones(3)) > 0


class TestAgainstLibraries:
    @pytest.mark.parametrize("objectives", [2, 3, 5])
    @pytest.mark.parametrize("ties", [False, True])
    def test_ranks_of_moocore(self, objectives, ties):
        moocore = pytest.importorskip("moocore")
        rng = np.random.default_rng(7)
        F = rng.integers(0, 6, (300, objectives)).astype(float) if ties else rng.random((300, objectives))
        np.testing.assert_array_equal(cpu.nondominated_ranks(F), moocore.pareto_rank(F))

    @pytest.mark.parametrize("objectives", [2, 3, 4, 6, 10])
    @pytest.mark.parametrize("count", [100, 1000, 4000])
    def test_ranks_of_large_sets(self, count, objectives):
        moocore = pytest.importorskip("moocore")
        rng = np.random.default_rng(count)
        spheres = simplex(rng, count, objectives) * rng.uniform(1, 1.3, (count, 1))
        for F in (rng.random((count, objectives)), spheres, rng.integers(0, 9, (count, objectives)) / 8):
            np.testing.assert_array_equal(cpu.nondominated_ranks(F), moocore.pareto_rank(F))

    def test_ranks_of_pymoo(self):
        sorting = pytest.importorskip("pymoo.util.nds.non_dominated_sorting")
        F = np.random.default_rng(8).integers(0, 9, (200, 3)).astype(float)
        ranks = cpu.nondominated_ranks(F)
        for rank, front in enumerate(sorting.NonDominatedSorting().do(F)):
            assert sorted(front) == np.flatnonzero(ranks == rank).tolist()

    @pytest.mark.parametrize("objectives", [2, 3, 6])
    def test_crowding_of_pymoo(self, objectives):
        metrics = pytest.importorskip("pymoo.operators.survival.rank_and_crowding.metrics")
        # Values differ, so that no rule for ties matters; pymoo returns the mean over the objectives.
        F = simplex(np.random.default_rng(9), 60, objectives)
        theirs = metrics.get_crowding_function("cd").do(F)
        np.testing.assert_allclose(cpu.crowding_distance(F) / objectives, theirs, rtol=1e-12)

    @pytest.mark.parametrize(("count", "objectives"), [(300, 2), (300, 3), (60, 4), (40, 6), (20, 9)])
    def test_hypervolume_of_moocore(self, count, objectives):
        moocore = pytest.importorskip("moocore")
        rng = np.random.default_rng(10)
        for F in (simplex(rng, count, objectives), rng.integers(0, 4, (count, objectives)) / 4):
            ref = np.full(objectives, 1.0)
            theirs = moocore.hypervolume(F, ref=ref)
            assert cpu.hypervolume(F, ref) == pytest.approx(theirs, rel=1e-11)


class TestClosedForms:
    @pytest.mark.parametrize(("edge", "limit"), [(1.0, 2 / 3), (1.1, 0.876667), (11.0, 120.666667)])
    def test_convex_front(self, edge, limit):
        f1 = np.linspace(0, 1, 200_001)
        F = np.column_stack([f1, 1 - np.sqrt(f1)])
        assert cpu.hypervolume(F, [edge, edge]) == pytest.approx(limit, abs=2e-5)

    def test_a_hundred_points_of_the_convex_and_the_concave_front(self):
        f1 = np.linspace(0, 1, 100)
        convex, concave = 1 - np.sqrt(f1), 1 - f1**2
        assert cpu.hypervolume(np.column_stack([f1, convex]), [1, 1]) == pytest.approx(0.661409, abs=5e-7)
        assert cpu.hypervolume(np.column_stack([f1, concave]), [1, 1]) == pytest.approx(0.328300, abs=5e-7)

    @pytest.mark.parametrize(
        ("divisions", "objectives", "sphere", "plane"),
        [(12, 3, 0.744851, 1.120352), (6, 5, 1.308754, 1.578103)],
    )
    def test_points_of_nsga3(self, divisions, objectives, sphere, plane):
        W = lattice(divisions, objectives) / divisions
        ref = np.full(objectives, 1.1)
        assert cpu.hypervolume(W, ref) == pytest.approx(plane, abs=5e-7)
        W = W / np.linalg.norm(W, axis=1, keepdims=True)
        assert cpu.hypervolume(W, ref) == pytest.approx(sphere, abs=1e-6)

    def test_staircase_in_three_objectives_converges_to_the_sphere(self):
        W = lattice(150, 3) / 150
        W = W / np.linalg.norm(W, axis=1, keepdims=True)
        # 1.1**3 - pi / 6, the cube without the eighth of the ball; the points reach it from below.
        value = cpu.hypervolume(W, [1.1] * 3)
        assert 0.8 < value < 1.1**3 - math.pi / 6


def lattice(divisions, objectives):
    if objectives == 1:
        return np.array([[divisions]], dtype=float)
    rows = [
        np.insert(rest, 0, first)
        for first in range(divisions + 1)
        for rest in lattice(divisions - first, objectives - 1)
    ]
    return np.array(rows)

"""Hypervolume and contributions: against moocore, the reference, leave-one-out and closed forms."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from emoref_kernels.cpu import pareto as cpu
from emoref_kernels.errors import ShapeError
from emoref_kernels.reference import pareto as reference

FEW_VALUES = st.integers(0, 4).map(float)
MOST_POINTS = {1: 60, 2: 200, 3: 120, 4: 70, 5: 40, 6: 30, 7: 24, 8: 18, 9: 15, 10: 13}
"""So many that moocore needs milliseconds at most."""


def front(rng, count, objectives, shape):
    """Return points on a front from corner to corner of the unit box, or a cloud in it."""
    if shape == "cloud":
        return rng.random((count, objectives))
    weights = rng.exponential(size=(count, objectives))
    if shape == "linear":
        return weights / weights.sum(axis=1, keepdims=True)
    sphere = np.sqrt(weights / weights.sum(axis=1, keepdims=True))
    return sphere if shape == "concave" else 1.0 - sphere


def random_set(seed):
    """Return a set with some of all that may go wrong: ties, copies, points on and beyond the reference."""
    rng = np.random.default_rng(seed)
    objectives = 1 + seed % 10
    count = int(rng.integers(1, MOST_POINTS[objectives] + 1))
    F = front(rng, count, objectives, ("linear", "convex", "concave", "cloud")[seed // 10 % 4])
    if seed % 3 == 0:
        F = np.rint(F * 6) / 6
    if seed % 5 == 0:
        F = np.concatenate([F, F[rng.integers(len(F), size=2)]])
    scale, shift = 10.0 ** rng.uniform(-3, 3, objectives), 10.0 * rng.normal(size=objectives)
    edge = (0.6, 1.0, 1.1)[seed // 7 % 3]
    return F * scale + shift, edge * scale + shift


class TestAgainstMoocore:
    @pytest.mark.parametrize("block", range(6))
    def test_six_hundred_random_sets(self, block):
        moocore = pytest.importorskip("moocore")
        counted = 0
        for seed in range(100 * block, 100 * block + 100):
            F, ref = random_set(seed)
            expected = 0.0
            if F.shape[1] > 1:
                expected = moocore.hypervolume(F, ref=ref)
            elif (ref > F).any():
                expected = float(ref[0] - F.min())
            # Where only slivers are left, rounding of the points themselves counts for more than 1e-10.
            rounding = 1e-15 * np.prod(np.maximum(ref - F.min(axis=0), 0.0))
            assert cpu.hypervolume(F, ref) == pytest.approx(expected, rel=1e-10, abs=rounding), seed
            counted += expected > 0.0
        assert counted > 70

    @pytest.mark.parametrize("seed", range(0, 60))
    def test_contributions(self, seed):
        moocore = pytest.importorskip("moocore")
        if not hasattr(moocore, "hv_contributions"):
            pytest.skip("this moocore has no hv_contributions")
        F, ref = random_set(seed)
        if F.shape[1] == 1:
            F, ref = np.hstack([F, np.zeros_like(F)]), np.append(ref, 1.0)
        whole = cpu.hypervolume(F, ref)
        if whole == 0.0:
            assert not cpu.hypervolume_contributions(F, ref).any()
            return
        # moocore takes contributions below about 1.5e-8 for rounding: make them large.
        scale = (1e9 / whole) ** (1.0 / F.shape[1])
        F, ref = F * scale, ref * scale
        expected = moocore.hv_contributions(F, ref=ref, ignore_dominated=False)
        np.testing.assert_allclose(cpu.hypervolume_contributions(F, ref), expected, rtol=1e-10, atol=1e-5)

    @pytest.mark.parametrize(
        ("count", "objectives"), [(63, 4), (64, 5), (65, 6), (129, 4), (200, 5), (100, 6)]
    )
    @pytest.mark.parametrize("ties", [False, True])
    def test_sets_of_more_than_one_mask(self, count, objectives, ties):
        moocore = pytest.importorskip("moocore")
        F = front(np.random.default_rng(count), count, objectives, "concave")
        if ties:
            F = np.rint(F * 20) / 20
        ref = np.full(objectives, 1.1)
        assert cpu.hypervolume(F, ref) == pytest.approx(moocore.hypervolume(F, ref=ref), rel=1e-10)

    @pytest.mark.parametrize("objectives", [4, 5])
    def test_more_points_than_a_short_rank_can_count(self, objectives):
        # Most are dominated, so the sweep is short; the ranks are long all the same.
        F = np.concatenate(
            [
                front(np.random.default_rng(0), 60, objectives, "concave"),
                np.random.default_rng(1).uniform(1.0, 1.05, (33_000, objectives)),
            ]
        )
        ref = np.full(objectives, 1.1)
        assert cpu.hypervolume(F, ref) == pytest.approx(cpu.hypervolume(F[:60], ref), rel=1e-10)


class TestAgainstTheReference:
    @given(arrays(np.float64, st.tuples(st.integers(0, 8), st.integers(1, 7)), elements=FEW_VALUES))
    @settings(deadline=None, max_examples=200)
    def test_integers_exactly(self, F):
        ref = np.full(F.shape[1], 4.0)
        assert cpu.hypervolume(F, ref) == reference.hypervolume(F, ref)
        np.testing.assert_array_equal(
            cpu.hypervolume_contributions(F, ref), reference.hypervolume_contributions(F, ref)
        )

    @pytest.mark.parametrize("objectives", range(1, 8))
    @pytest.mark.parametrize("shape", ["linear", "convex", "concave", "cloud"])
    def test_leave_one_out(self, objectives, shape):
        F = front(np.random.default_rng(objectives), 25, objectives, shape)
        ref = np.full(objectives, 1.05)
        whole = cpu.hypervolume(F, ref)
        expected = [whole - cpu.hypervolume(np.delete(F, i, axis=0), ref) for i in range(len(F))]
        np.testing.assert_allclose(
            cpu.hypervolume_contributions(F, ref), expected, rtol=1e-10, atol=1e-14 * whole
        )


class TestInvariances:
    @given(st.integers(0, 10_000), st.integers(2, 6))
    @settings(deadline=None, max_examples=60)
    def test_order_of_rows_and_of_objectives(self, seed, objectives):
        rng = np.random.default_rng(seed)
        F = front(rng, 20, objectives, "cloud")
        ref = np.full(objectives, 0.9)
        volume, own = cpu.hypervolume(F, ref), cpu.hypervolume_contributions(F, ref)
        rows, columns = rng.permutation(20), rng.permutation(objectives)
        changed = np.ascontiguousarray(F[rows][:, columns])
        assert cpu.hypervolume(changed, ref) == pytest.approx(volume, rel=1e-12)
        np.testing.assert_allclose(
            cpu.hypervolume_contributions(changed, ref), own[rows], rtol=1e-9, atol=1e-14
        )

    @given(st.integers(0, 10_000), st.integers(2, 7))
    @settings(deadline=None, max_examples=40)
    def test_powers_of_two_change_nothing_but_the_unit(self, seed, objectives):
        rng = np.random.default_rng(seed)
        F, ref = front(rng, 15, objectives, "cloud"), np.ones(objectives)
        exponents = rng.integers(-20, 30, objectives)
        unit = 2.0 ** exponents.sum()
        scale = 2.0**exponents
        assert cpu.hypervolume(F * scale, ref * scale) == cpu.hypervolume(F, ref) * unit
        np.testing.assert_array_equal(
            cpu.hypervolume_contributions(F * scale, ref * scale),
            cpu.hypervolume_contributions(F, ref) * unit,
        )

    def test_dominated_points_and_copies_add_nothing(self):
        rng = np.random.default_rng(0)
        for objectives in range(2, 9):
            F = front(rng, 12, objectives, "concave")
            ref = np.full(objectives, 1.1)
            more = np.concatenate([F, F[:3], F[2:6] + 0.05])
            assert cpu.hypervolume(more, ref) == pytest.approx(cpu.hypervolume(F, ref), rel=1e-13)
            assert (cpu.hypervolume_contributions(more, ref)[[0, 1, 2, 12, 13, 14, 15]] == 0.0).all()

    def test_input_is_not_changed(self):
        for objectives in range(1, 7):
            F = front(np.random.default_rng(1), 20, objectives, "cloud")
            before = F.copy()
            F.flags.writeable = False
            cpu.hypervolume(F, np.ones(objectives))
            cpu.hypervolume_contributions(F, np.ones(objectives))
            np.testing.assert_array_equal(F, before)


class TestReferenceInsideTheSet:
    @pytest.mark.parametrize("k", [reference, cpu], ids=["reference", "cpu"])
    @pytest.mark.parametrize("objectives", [1, 2, 3, 4, 5, 7])
    def test_a_reference_that_points_dominate_or_tie_is_no_error(self, k, objectives):
        # Points count where they are below the reference in every objective, and only these.
        one = np.ones(objectives)
        F = np.stack([0.5 * one, 2.0 * one, one, np.where(np.arange(objectives) == 0, 1.0, 0.0)])
        assert k.hypervolume(F, one) == 0.5**objectives
        assert k.hypervolume(F, 0.5 * one) == 0.0
        assert k.hypervolume(F, -one) == 0.0
        expected = [0.5**objectives, 0.0, 0.0, 0.0]
        np.testing.assert_array_equal(k.hypervolume_contributions(F, one), expected)
        assert not k.hypervolume_contributions(F, -one).any()

    @pytest.mark.parametrize("k", [reference, cpu], ids=["reference", "cpu"])
    def test_rows_that_are_not_finite(self, k):
        F = [[0.5, 0.5], [math.nan, 0.0], [math.inf, 0.0]]
        assert k.hypervolume_contributions(F, [1, 1]).tolist() == [0.25, 0.0, 0.0]
        with pytest.raises(ShapeError, match="minus infinity"):
            k.hypervolume_contributions([[-math.inf, 0.0]], [1, 1])
        assert k.hypervolume_contributions(np.empty((0, 3)), [1, 1, 1]).shape == (0,)


class TestClosedForms:
    """Values of fronts that are known exactly."""

    @pytest.mark.parametrize("objectives", range(2, 9))
    def test_simplex_lattice(self, objectives):
        # The p-lattice on the simplex dominates, within the unit box, all cells but C(p + M - 1, M) of p**M.
        p = {2: 40, 3: 12, 4: 8, 5: 5, 6: 4, 7: 3, 8: 3}[objectives]
        grid = np.indices((p + 1,) * objectives).reshape(objectives, -1).T
        lattice = grid[grid.sum(axis=1) == p] / p
        expected = 1.0 - math.comb(p + objectives - 1, objectives) / p**objectives
        assert cpu.hypervolume(lattice, np.ones(objectives)) == pytest.approx(expected, rel=1e-12)

    @pytest.mark.parametrize("objectives", range(2, 11))
    def test_corners(self, objectives):
        # Corner i is 0 in objective i and 1 elsewhere: slabs of thickness d that meet in one cube.
        ref = np.full(objectives, 1.5)
        slab, cube = 1.5 * 0.5 ** (objectives - 1), 0.5**objectives
        expected = objectives * slab - (objectives - 1) * cube
        corners = 1.0 - np.eye(objectives)
        assert cpu.hypervolume(corners, ref) == pytest.approx(expected, rel=1e-14)
        np.testing.assert_allclose(cpu.hypervolume_contributions(corners, ref), slab - cube, rtol=1e-13)

    @pytest.mark.parametrize(
        ("objectives", "limit"), [(2, 0.424602), (3, 0.807401), (4, 1.1**4 - math.pi**2 / 32)]
    )
    def test_dense_sphere_from_below(self, objectives, limit):
        # 1.1**M - pi**(M / 2) / (2**M Gamma(M / 2 + 1)): the box without an orthant of the unit ball.
        assert limit == pytest.approx(
            1.1**objectives - math.pi ** (objectives / 2) / (2**objectives * math.gamma(objectives / 2 + 1)),
            abs=1e-6,
        )
        F = front(np.random.default_rng(0), 3000, objectives, "concave")
        value = cpu.hypervolume(F, np.full(objectives, 1.1))
        assert 0.85 * limit < value < limit

    @pytest.mark.parametrize(
        ("name", "f2", "limits"),
        [
            ("ZDT1", lambda x: 1 - np.sqrt(x), (2 / 3, 0.876667, 120.666667)),
            ("ZDT2", lambda x: 1 - x**2, (1 / 3, 0.543333, 120.333333)),
        ],
        ids=["ZDT1", "ZDT2"],
    )
    def test_two_objectives(self, name, f2, limits):
        x = np.linspace(0, 1, 300_001)
        F = np.column_stack([x, f2(x)])
        for edge, limit in zip((1.0, 1.1, 11.0), limits, strict=True):
            assert cpu.hypervolume(F, [edge, edge]) == pytest.approx(limit, abs=2e-5)

    def test_zdt6(self):
        x = np.linspace(0.2807753188, 1, 300_001)
        F = np.column_stack([x, 1 - x**2])
        for edge, limit in zip((1.0, 1.1, 11.0), (0.325955, 0.507878, 117.518202), strict=True):
            assert cpu.hypervolume(F, [edge, edge]) == pytest.approx(limit, abs=2e-5)

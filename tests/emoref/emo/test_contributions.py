import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoref.emo.contributions import hypervolume_contributions, hypervolume_estimate
from emoref.emo.ranking import hypervolume
from emoref.errors import DtypeError, ProblemError, ShapeError

NAN, INF = float("nan"), float("inf")


def sphere(count, objectives, seed=0):
    """Return points of the front of DTLZ2."""
    points = np.abs(np.random.default_rng(seed).normal(size=(count, objectives)))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


class TestContributions:
    def test_by_hand(self):
        # What no other point reaches are the boxes 1 x 1, 2 x 3 and 2 x 1.
        F = [[1, 5], [2, 2], [4, 1]]
        np.testing.assert_allclose(hypervolume_contributions(F, [6, 6]), [1, 6, 2])

    def test_moocore_documentation(self):
        F = [[5, 1], [1, 5], [4, 2], [4, 4], [5, 1]]
        assert hypervolume_contributions(F, [6, 6]).tolist() == [0, 3, 2, 0, 0]
        assert hypervolume_contributions(F, [6, 6], ignore_dominated=True).tolist() == [0, 3, 3, 0, 0]
        F = [[5, 5], [4, 6], [2, 7], [7, 4]]
        assert hypervolume_contributions(F, [10, 10]).tolist() == [2, 1, 6, 3]

    @given(st.integers(0, 500), st.integers(1, 4), st.integers(1, 9), st.booleans())
    @settings(deadline=None, max_examples=60)
    def test_definition(self, seed, objectives, count, ties):
        rng = np.random.default_rng(seed)
        F = rng.integers(0, 4, (count, objectives)) / 4 if ties else rng.random((count, objectives))
        ref = np.full(objectives, 0.9)
        whole = hypervolume(F, ref)
        expected = [whole - hypervolume(np.delete(F, i, axis=0), ref) for i in range(count)]
        contributions = hypervolume_contributions(F, ref)
        np.testing.assert_allclose(contributions, expected, atol=1e-13)
        assert (contributions >= 0.0).all()
        assert contributions.sum() <= whole + 1e-12

    @pytest.mark.parametrize("objectives", [2, 3, 5])
    @pytest.mark.parametrize("ignore_dominated", [False, True])
    def test_against_moocore(self, objectives, ignore_dominated):
        moocore = pytest.importorskip("moocore")
        if not hasattr(moocore, "hv_contributions"):
            pytest.skip("this moocore has no hv_contributions")
        F = np.random.default_rng(1).random((25, objectives))
        ref = np.ones(objectives)
        expected = moocore.hv_contributions(F, ref=ref, ignore_dominated=ignore_dominated)
        contributions = hypervolume_contributions(F, ref, ignore_dominated=ignore_dominated)
        np.testing.assert_allclose(contributions, expected, rtol=1e-9, atol=1e-14)

    def test_a_small_contribution_beside_a_large_volume(self):
        # The second point's own box is 1e-3 x (1e6 + 1e-3). As a difference of two volumes near 1e12 its
        # contribution, 1e-3 x 1e-3, would be lost.
        F = np.array([[0.0, 0.0], [1e6 - 1e-3, -1e-3]])
        ref = [1e6, 1e6]
        assert hypervolume_contributions(F, ref)[1] == pytest.approx(1e-6, rel=1e-5)
        assert abs(hypervolume(F, ref) - hypervolume(F[:1], ref) - 1e-6) > 1e-7

    def test_points_that_do_not_count(self):
        F = [[1, 1], [7, 0], [6, 0], [NAN, 0], [INF, 0]]
        assert hypervolume_contributions(F, [6, 6]).tolist() == [25, 0, 0, 0, 0]

    def test_mistakes(self):
        with pytest.raises(ShapeError):
            hypervolume_contributions(np.empty((0, 2)), [1, 1])
        with pytest.raises(ShapeError):
            hypervolume_contributions([[0, 0]], [1, 1, 1])
        with pytest.raises(ProblemError, match="minus infinity"):
            hypervolume_contributions([[-INF, 0]], [1, 1])


class TestEstimate:
    @pytest.mark.parametrize("objectives", [2, 3, 6])
    def test_contains_the_exact_value(self, objectives):
        F, ref = sphere(30, objectives), np.full(objectives, 1.1)
        estimate = hypervolume_estimate(F, ref, np.random.default_rng(0), samples=100_000, confidence=0.999)
        assert estimate.lower < hypervolume(F, ref) < estimate.upper
        assert estimate.lower < estimate.value < estimate.upper
        assert estimate.upper - estimate.lower < 0.03 * estimate.value

    def test_coverage(self):
        F, ref = sphere(8, 3), np.full(3, 1.1)
        exact = hypervolume(F, ref)
        kept = 0
        for seed in range(300):
            rng = np.random.default_rng(seed)
            estimate = hypervolume_estimate(F, ref, rng, samples=200, confidence=0.8)
            kept += estimate.lower <= exact <= estimate.upper
        # The interval is never too short, so at least 0.8 is expected; 0.71 is four standard deviations less.
        assert 0.71 < kept / 300 < 0.93

    def test_dense_front_in_closed_form(self):
        # DTLZ2: 1.1**M less an orthant of the unit ball.
        objectives = 3
        F = sphere(4000, objectives)
        exact = 1.1**objectives - math.pi**1.5 / (8 * math.gamma(2.5))
        estimate = hypervolume_estimate(F, [1.1] * objectives, np.random.default_rng(1), samples=20_000)
        assert estimate.value == pytest.approx(exact, rel=0.03)

    def test_the_interval_against_scipy(self):
        stats = pytest.importorskip("scipy.stats")
        F = sphere(12, 4)
        estimate = hypervolume_estimate(F, np.ones(4), np.random.default_rng(0), samples=3000, confidence=0.9)
        interval = stats.binomtest(estimate.hits, 3000).proportion_ci(0.9, method="exact")
        volume = np.prod(1 - F.min(axis=0))
        assert estimate.value == pytest.approx(volume * estimate.hits / 3000, rel=1e-14)
        assert estimate.lower == pytest.approx(volume * interval.low, rel=1e-6)
        assert estimate.upper == pytest.approx(volume * interval.high, rel=1e-6)

    def test_same_seed_same_estimate(self):
        F, ref = sphere(20, 5), np.ones(5)
        first, second = (hypervolume_estimate(F, ref, np.random.default_rng(3), samples=999) for _ in "ab")
        assert first == second
        shuffled = np.random.default_rng(0).permutation(F)
        assert hypervolume_estimate(shuffled, ref, np.random.default_rng(3), samples=999).hits == first.hits

    def test_more_samples_shorten_the_interval(self):
        F, ref = sphere(20, 4), np.ones(4)
        widths = []
        for samples in (1000, 4000, 100_000):
            estimate = hypervolume_estimate(F, ref, np.random.default_rng(0), samples=samples)
            widths.append(estimate.upper - estimate.lower)
        assert widths[0] == pytest.approx(2 * widths[1], rel=0.15)
        assert widths[0] == pytest.approx(10 * widths[2], rel=0.15)

    def test_exact_where_nothing_is_left_to_chance(self):
        rng = np.random.default_rng(0)
        for F in ([[1, 2]], [[1, 2], [3, 4]], [[1, 2], [9, 0], [1, 2], [NAN, NAN]]):
            estimate = hypervolume_estimate(F, [6, 6], rng, samples=10)
            assert estimate.lower == estimate.value == estimate.upper == 20
        estimate = hypervolume_estimate([[6, 0], [7, 7]], [6, 6], rng, samples=10)
        assert estimate.lower == estimate.value == estimate.upper == 0

    def test_no_hit_and_nothing_but_hits(self):
        # The corners leave the box open but for a sliver, or fill all of it but a sliver.
        thin = [[0, 1 - 1e-9], [1 - 1e-9, 0]]
        estimate = hypervolume_estimate(thin, [1, 1], np.random.default_rng(0), samples=100)
        assert (estimate.hits, estimate.lower) == (0, 0.0)
        # Exactly 1 - (alpha / 2) ** (1 / n).
        assert estimate.upper == pytest.approx(1 - 0.025 ** (1 / 100), rel=1e-9)
        thick = [[0, 1e-9], [1e-9, 0]]
        estimate = hypervolume_estimate(thick, [1, 1], np.random.default_rng(0), samples=100)
        assert (estimate.hits, estimate.upper) == (100, 1.0)
        assert estimate.lower == pytest.approx(0.025 ** (1 / 100), rel=1e-9)

    def test_mistakes(self):
        rng = np.random.default_rng(0)
        with pytest.raises(ProblemError, match="samples is 0"):
            hypervolume_estimate([[0, 0]], [1, 1], rng, samples=0)
        for confidence in (0.0, 1.0, NAN):
            with pytest.raises(ProblemError, match="confidence"):
                hypervolume_estimate([[0, 0]], [1, 1], rng, confidence=confidence)
        with pytest.raises(ProblemError, match="minus infinity"):
            hypervolume_estimate([[-INF, 0]], [1, 1], rng)
        with pytest.raises(DtypeError):
            hypervolume_estimate([["a", "b"]], [1, 1], rng)

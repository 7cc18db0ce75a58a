"""SMS-EMOA: its steps by hand and against plain loops, and its quality.

What all algorithms share (resume, seeds, invariances, failures, kinds of variables) is in test_properties.py.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoref import emo
from emoref.emo.problems import DTLZ2, ZDT1
from emoref.errors import ProblemError

NAN = float("nan")


def rng(seed=0):
    return np.random.default_rng(seed)


def sphere(count, n_obj, seed=0):
    points = np.abs(rng(seed).normal(size=(count, n_obj)))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


class TestContributions:
    def test_by_hand(self):
        # In ranges: (0, 1), (0.25, 0.25), (1, 0), reference (2, 2).
        F = np.array([[10.0, 0.4], [15.0, 0.1], [30.0, 0.0]])
        np.testing.assert_allclose(emo.normalised_contributions(F), [0.25, 0.5625, 0.25])
        # Reference (1.5, 1.5): the ends reach half as far.
        np.testing.assert_allclose(emo.normalised_contributions(F, 0.5), [0.125, 0.5625, 0.125])

    @given(st.integers(0, 1000), st.integers(2, 5))
    @settings(deadline=None, max_examples=40)
    def test_units_and_origin_do_not_matter(self, seed, n_obj):
        F = np.rint(sphere(12, n_obj, seed) * 2**20) / 2**20
        plain = emo.normalised_contributions(F)
        exponents = rng(seed).integers(-20, 30, n_obj)
        np.testing.assert_array_equal(emo.normalised_contributions(F * 2.0**exponents), plain)
        shift = rng(seed).integers(-1000, 1000, n_obj) / 4
        np.testing.assert_array_equal(emo.normalised_contributions(F + shift), plain)
        order = rng(seed).permutation(n_obj)
        np.testing.assert_allclose(emo.normalised_contributions(F[:, order]), plain, atol=1e-13)

    def test_constant_objective(self):
        F = np.array([[0.0, 7.0, 1.0], [1.0, 7.0, 0.0]])
        np.testing.assert_allclose(emo.normalised_contributions(F), [2.0, 2.0])
        assert emo.normalised_contributions(np.full((3, 2), 5.0)).tolist() == [0.0, 0.0, 0.0]
        assert emo.normalised_contributions(np.full((1, 3), 5.0)).tolist() == [8.0]

    def test_range_beyond_the_largest_float(self):
        big = 1.7e308
        values = emo.normalised_contributions(np.array([[-big, big], [0.0, 0.0], [big, -big]]))
        np.testing.assert_allclose(values, [0.5, 0.25, 0.5])

    def test_dominating_counts(self):
        F = rng(1).integers(0, 4, (30, 3)).astype(float)
        expected = [sum((g <= f).all() and (g < f).any() for g in F) for f in F]
        assert emo.dominating_counts(F, F).tolist() == expected


class TestSelection:
    F = np.array([[0, 10], [1, 6], [2, 5], [6, 2], [10, 0], [7, 7], [9, 9.5]])

    def test_by_hand(self):
        # In ranges: a (0, 1), b (.1, .6), c (.2, .5), d (.6, .2), e (1, 0). Own boxes: b .1 x .4, c .4 x .1,
        # d .4 x .3, a .1 x 1, e 1 x .2. Of b and c, which are equal, the later one goes.
        chosen = emo.hypervolume_selection(self.F, 4)
        assert chosen.survivors.tolist() == [0, 1, 3, 4]
        assert chosen.dropped.tolist() == [2]
        np.testing.assert_allclose(chosen.contributions[:5], [0.1, 0.04, 0.04, 0.12, 0.2])
        assert np.isnan(chosen.contributions[5:]).all()
        assert chosen.ranks.tolist() == [0, 0, 0, 0, 0, 1, 2]
        # Without c, b has .5 x .4, and a the least, .1 x 1; in the ranges of b, d and e it is d.
        assert emo.hypervolume_selection(self.F, 2).dropped.tolist() == [2, 0, 3]

    def test_whole_fronts_come_first(self):
        chosen = emo.hypervolume_selection(self.F, 6)
        assert chosen.survivors.tolist() == [0, 1, 2, 3, 4, 5]
        assert len(chosen.dropped) == 0
        assert emo.hypervolume_selection(self.F, 99).survivors.tolist() == list(range(7))

    @pytest.mark.parametrize("n_obj", [1, 2, 3, 4])
    @pytest.mark.parametrize("later_fronts", ["contribution", "dominating"])
    def test_is_dropping_one_after_the_other(self, n_obj, later_fronts):
        F = rng(n_obj).random((25, n_obj))
        rows = np.arange(25)
        for size in range(24, 0, -1):
            kept = emo.hypervolume_selection(F[rows], size, later_fronts=later_fronts).survivors
            rows = np.sort(rows[kept])
            whole = emo.hypervolume_selection(F, size, later_fronts=later_fronts)
            assert sorted(whole.survivors.tolist()) == rows.tolist()

    def test_equals_a_plain_loop(self):
        for seed in range(3):
            F = sphere(14, 3, seed)
            left = list(range(14))
            while len(left) > 8:
                low, high = F[left].min(axis=0), F[left].max(axis=0)
                scaled = (F[left] - low) / (high - low)
                whole = emo.hypervolume(scaled, [2.0] * 3)
                loss = [
                    whole - emo.hypervolume(np.delete(scaled, i, axis=0), [2.0] * 3) for i in range(len(left))
                ]
                del left[int(np.argmin(loss))]
            assert emo.hypervolume_selection(F, 8).survivors.tolist() == left

    def test_dominating_points(self):
        # The second front: (7, 8) and (5, 9) are dominated by three and two of the first.
        F = np.array([[0.0, 8], [2, 6], [6, 3], [7, 8], [5, 9]])
        assert emo.hypervolume_selection(F, 4, later_fronts="dominating").dropped.tolist() == [3]
        # Both contribute equally, so the later one goes.
        assert emo.hypervolume_selection(F, 4).dropped.tolist() == [4]

    def test_copies_go_first_and_the_last_of_them(self):
        F = np.concatenate([sphere(6, 3), sphere(6, 3)[2:4]])
        assert emo.hypervolume_selection(F, 6).dropped.tolist() == [7, 6]

    def test_infeasible_and_failed_candidates(self):
        F = np.array([[1.0, 1.0], [0, 0], [0, 0], [2, 0.5], [NAN, 0], [5, 5]])
        G = np.array([[0.0], [3.0], [1.0], [-1.0], [0.0], [1.0]])
        order = [0, 3, 2, 5, 1, 4]
        for size in range(2, 7):
            assert emo.hypervolume_selection(F, size, G).survivors.tolist() == order[:size]
        chosen = emo.hypervolume_selection(F, 3, G)
        assert chosen.dropped.tolist() == [5]
        assert np.isnan(chosen.contributions).all()

    def test_a_failure_is_nobodys_dominator(self):
        F = np.array([[0.0, 5], [5, 0], [6, 6], [1, 7], [-np.inf, -np.inf], [7, 1]])
        for later_fronts in ("contribution", "dominating"):
            with_failure = emo.hypervolume_selection(F, 4, later_fronts=later_fronts).survivors
            without = emo.hypervolume_selection(
                np.delete(F, 4, axis=0), 4, later_fronts=later_fronts
            ).survivors
            assert [i - (i > 4) for i in with_failure.tolist()] == without.tolist()

    @given(st.integers(0, 1000))
    @settings(deadline=None, max_examples=30)
    def test_units_origin_and_order_of_objectives(self, seed):
        source = rng(seed)
        F = np.rint(source.random((20, 3)) * 2**20) / 2**20
        plain = emo.hypervolume_selection(F, 9).survivors
        for changed in (F * 2.0 ** source.integers(-20, 31, 3), F + source.integers(-64, 64, 3)):
            np.testing.assert_array_equal(emo.hypervolume_selection(changed, 9).survivors, plain)
        changed = F[:, source.permutation(3)]
        np.testing.assert_array_equal(emo.hypervolume_selection(changed, 9).survivors, plain)

    def test_equal_contributors_do_not_depend_on_rounding(self):
        # Points of a regular lattice that are alike contribute equally but for rounding; row 13 is the last
        # of the six next to a corner on an edge.
        assert np.sort(emo.das_dennis(3, 4)[13]).tolist() == [0.0, 0.25, 0.75]
        F = emo.das_dennis(3, 4)
        for order in ([0, 1, 2], [1, 2, 0], [2, 1, 0]):
            for unit in (1.0, 1 / 3, 1e-7):
                assert emo.hypervolume_selection(F[:, order] * unit, 14).dropped.tolist() == [13]

    @pytest.mark.parametrize(
        ("setting", "words"),
        [
            ({"offset": 0.0}, "offset is 0"),
            ({"offset": NAN}, "offset"),
            ({"later_fronts": "crowding"}, "contribution, dominating"),
        ],
    )
    def test_mistakes(self, setting, words):
        with pytest.raises(ProblemError, match=words):
            emo.hypervolume_selection(self.F, 3, **setting)
        with pytest.raises(ProblemError, match=words):
            emo.SMSEMOA(ZDT1(4), **setting)


class TestAlgorithm:
    def test_one_offspring_a_generation(self):
        algorithm = emo.SMSEMOA(ZDT1(5), population_size=10, seed=1)
        algorithm.run(6)
        assert algorithm.ask().shape == (1, 5)
        assert algorithm.evaluations == 10 + 5
        assert len(algorithm.population) == 10

    def test_several_offspring(self):
        algorithm = emo.SMSEMOA(ZDT1(5), population_size=10, offspring_size=7, seed=1)
        algorithm.run(3)
        assert algorithm.ask().shape == (7, 5)
        assert len(algorithm.population) == 10
        assert len(algorithm.survival.ranks) == 17

    @pytest.mark.parametrize("offspring", [1, 5])
    def test_resumes_bit_for_bit(self, offspring):
        settings = {"population_size": 8, "offspring_size": offspring, "seed": 3, "reference": [1.1] * 3}
        whole, half, resumed = (emo.SMSEMOA(DTLZ2(3), **settings) for _ in range(3))
        whole.run(25)
        half.run(11)
        resumed.restore(half.state())
        resumed.run(14)
        for name, value in whole.state().items():
            np.testing.assert_array_equal(resumed.state()[name], value)

    def test_hypervolume_of_a_front_hardly_shrinks(self):
        algorithm = emo.SMSEMOA(DTLZ2(3, k=1), population_size=20, seed=0, reference=[2.0] * 3)
        volumes = [record.hypervolume for record in algorithm.run(400).history]
        assert np.diff(volumes).min() > -0.05
        assert volumes[-1] > volumes[0]


class TestQuality:
    def test_more_hypervolume_than_the_targets_of_nsga3(self):
        # The 91 targets of M = 3 dominate 0.744851 up to 1.1; the best 91 points somewhat more.
        algorithm = emo.SMSEMOA(DTLZ2(3), population_size=91, offspring_size=13, seed=1)
        result = algorithm.run(700)
        assert emo.hypervolume(result.F, [1.1] * 3) > 0.744851

    @pytest.mark.parametrize("later_fronts", ["contribution", "dominating"])
    def test_two_objectives(self, later_fronts):
        algorithm = emo.SMSEMOA(
            ZDT1(10), population_size=50, offspring_size=10, seed=1, later_fronts=later_fronts
        )
        # The limit of the whole front is 0.876667; 50 points cannot reach more than 0.872.
        assert emo.hypervolume(algorithm.run(1000).F, [1.1, 1.1]) > 0.86

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoref.emo.indicators import (
    additive_epsilon,
    gd,
    gd_plus,
    hypervolume,
    igd,
    igd_plus,
    multiplicative_epsilon,
    r2,
    spacing,
    spread,
)
from emoref.emo.problems import ZDT1
from emoref.errors import DtypeError, ProblemError, ShapeError

NAN = float("nan")


def test_by_hand():
    F, front = [[3, 4], [0, 1]], [[0, 0], [0, 2], [3, 0]]
    # nearest of the front: (0, 2) at the root of 13, and (0, 0) or (0, 2) at 1
    assert gd(F, front) == pytest.approx((np.sqrt(13) + 1) / 2)
    assert gd_plus(F, front) == pytest.approx((np.sqrt(13) + 0) / 2)
    assert igd(F, front) == pytest.approx((1 + 1 + np.sqrt(10)) / 3)
    assert igd_plus(F, front) == pytest.approx((1 + 0 + 1) / 3)


def test_a_perfect_set_has_no_distance():
    front = ZDT1().pareto_front(50)
    assert gd(front, front) == gd_plus(front, front) == igd(front, front) == igd_plus(front, front) == 0.0


def test_values_of_moocore_documentation():
    F = [[3.5, 5.5], [3.6, 4.1], [4.1, 3.2], [5.5, 1.5]]
    front = [[1, 6], [2, 5], [3, 4], [4, 3], [5, 2], [6, 1]]
    assert additive_epsilon(F, front) == 2.5
    assert multiplicative_epsilon(F, front) == 3.5
    assert igd(F, front) == pytest.approx(1.0627908666722465, rel=1e-14)
    assert igd_plus(F, front) == pytest.approx(0.9855036468106652, rel=1e-14)


def test_values_of_pymoo_documentation():
    front = ZDT1().pareto_front(100)
    F = front[::10] * 1.1
    assert gd(F, front) == pytest.approx(0.05497689467314528, rel=1e-12)
    assert gd_plus(F, front) == pytest.approx(0.05497689467314528, rel=1e-12)
    assert igd(F, front) == pytest.approx(0.06690908300327661, rel=1e-12)
    assert igd_plus(F, front) == pytest.approx(0.06466828842775944, rel=1e-12)
    assert hypervolume(F, [1.2, 1.2]) == pytest.approx(0.9631646448182306, rel=1e-12)


def test_igd_prefers_a_dominated_set_and_igd_plus_does_not():
    # Ishibuchi et al. 2015, example 4: each point of A dominates one of B.
    front = [[0, 10], [1, 6], [2, 2], [6, 1], [10, 0]]
    A, B = [[2, 4], [3, 3], [4, 2]], [[2, 8], [4, 4], [8, 2]]
    assert igd(A, front) == pytest.approx(3.707092, abs=1e-6)
    assert igd(B, front) == pytest.approx(2.591483, abs=1e-6)
    assert igd_plus(A, front) == pytest.approx(1.482843, abs=1e-6)
    assert igd_plus(B, front) == pytest.approx(2.260113, abs=1e-6)


def test_the_igd_trap():
    def sphere(divisions):
        W = [[i, j, divisions - i - j] for i in range(divisions + 1) for j in range(divisions + 1 - i)]
        W = np.array(W, dtype=float)
        return W / np.linalg.norm(W, axis=1, keepdims=True)

    perfect = sphere(12)
    assert len(perfect) == 91
    assert igd(perfect, perfect) == 0.0
    assert igd(perfect, sphere(139)) == pytest.approx(0.0545, abs=5e-4)


@pytest.mark.parametrize("objectives", [2, 4])
def test_against_libraries(objectives):
    moocore = pytest.importorskip("moocore")
    rng = np.random.default_rng(3)
    F, front = rng.random((40, objectives)), rng.random((60, objectives)) * 0.7
    assert igd(F, front) == pytest.approx(moocore.igd(F, ref=front), rel=1e-12)
    assert igd_plus(F, front) == pytest.approx(moocore.igd_plus(F, ref=front), rel=1e-12)
    assert additive_epsilon(F, front) == moocore.epsilon_additive(F, ref=front)
    assert multiplicative_epsilon(F, front) == pytest.approx(moocore.epsilon_mult(F, ref=front), rel=1e-14)
    indicators = pytest.importorskip("pymoo.indicators.gd")
    assert gd(F, front) == pytest.approx(indicators.GD(front)(F), rel=1e-12)


def test_distances_of_scipy():
    distance = pytest.importorskip("scipy.spatial.distance")
    rng = np.random.default_rng(4)
    F, front = rng.random((30, 3)), rng.random((20, 3))
    assert gd(F, front) == pytest.approx(distance.cdist(F, front).min(axis=1).mean(), rel=1e-13)


@pytest.mark.parametrize(
    "indicator", [gd, gd_plus, igd, igd_plus, additive_epsilon, multiplicative_epsilon, spread]
)
@pytest.mark.parametrize(
    ("F", "front", "error"),
    [
        (np.empty((0, 2)), [[0, 0]], ShapeError),
        ([[0, 0]], np.empty((0, 2)), ShapeError),
        ([[0, 0]], [[0, 0, 0]], ShapeError),
        ([[0, NAN]], [[0, 0]], ProblemError),
        ([["a", "b"]], [[0, 0]], DtypeError),
    ],
)
def test_mistakes(indicator, F, front, error):
    with pytest.raises(error):
        indicator(F, front)


class TestEpsilon:
    F = np.array([[1.0, 4.0], [3.0, 2.0]])

    def test_by_hand(self):
        # (0, 4): 1 from the first point. (2, 1): 3 or 1. (3, 0): 4 or 2. The last is served worst, by 2.
        assert additive_epsilon(self.F, [[0, 4], [2, 1], [3, 0]]) == 2.0
        # (1, 2): 2 or 3. (2, 1): 4 or 2.
        assert multiplicative_epsilon(self.F, [[1, 2], [2, 1]]) == 2.0

    @given(st.integers(0, 500), st.integers(1, 4))
    @settings(deadline=None, max_examples=60)
    def test_just_enough_to_dominate_the_front(self, seed, objectives):
        rng = np.random.default_rng(seed)
        F, front = rng.random((7, objectives)) + 0.1, rng.random((9, objectives)) + 0.1

        def serves(points):
            return (points[:, None] <= front[None]).all(axis=2).any(axis=0).all()

        shift, factor = additive_epsilon(F, front), multiplicative_epsilon(F, front)
        assert serves(F - shift - 1e-12)
        assert not serves(F - shift + 1e-9)
        assert serves(F / (factor * (1 + 1e-12)))
        assert not serves(F / (factor * (1 - 1e-9)))

    def test_a_set_against_itself(self):
        assert additive_epsilon(self.F, self.F) == 0.0
        assert multiplicative_epsilon(self.F, self.F) == 1.0

    def test_better_than_the_front(self):
        assert additive_epsilon(self.F - 0.5, self.F) == -0.5
        assert multiplicative_epsilon(self.F / 2, self.F) == 0.5

    def test_units_do_not_matter_to_the_factor(self):
        front, scale = self.F[::-1] * 0.7, np.array([1e-6, 1e8])
        expected = multiplicative_epsilon(self.F, front)
        assert multiplicative_epsilon(self.F * scale, front * scale) == pytest.approx(expected, rel=1e-14)

    @pytest.mark.parametrize("value", [0.0, -1.0])
    def test_factors_need_positive_values(self, value):
        with pytest.raises(ProblemError, match="above 0"):
            multiplicative_epsilon([[1.0, value]], [[1.0, 1.0]])
        with pytest.raises(ProblemError, match="above 0"):
            multiplicative_epsilon([[1.0, 1.0]], [[value, 1.0]])


class TestSpread:
    front = np.column_stack([np.linspace(0, 12, 13), 12 - np.linspace(0, 12, 13)])

    def test_by_hand(self):
        # Along a straight front, in units of the root of 2: the ends miss 1 and 2, the gaps are 2, 3 and 4.
        F = self.front[[1, 3, 6, 10]]
        assert spread(F, self.front) == pytest.approx((1 + 2 + 1 + 0 + 1) / (1 + 2 + 9))

    def test_even_points_from_end_to_end(self):
        assert spread(self.front, self.front) == pytest.approx(0.0, abs=1e-15)
        assert spread(self.front[::3], self.front) == pytest.approx(0.0, abs=1e-15)

    def test_order_of_rows_does_not_matter(self):
        F, rng = self.front[[1, 3, 6, 10]], np.random.default_rng(0)
        for _ in range(5):
            assert spread(rng.permutation(F), rng.permutation(self.front)) == spread(F, self.front)

    def test_exchanged_objectives(self):
        F = self.front[[1, 3, 6, 10]]
        assert spread(F[:, ::-1], self.front[:, ::-1]) == pytest.approx(spread(F, self.front), rel=1e-14)

    def test_single_points(self):
        assert spread([[3, 3]], self.front) == 1.0
        assert spread([[3, 3]], [[3, 3]]) == 0.0

    def test_two_objectives_only(self):
        with pytest.raises(ShapeError, match="2 objectives, not for 3"):
            spread([[0, 0, 0]], [[0, 0, 0]])


class TestSpacing:
    def test_by_hand(self):
        # Nearest neighbours at 2, 2 and 4: the mean is 8/3, the deviations 2/3, 2/3 and 4/3.
        assert spacing([[0, 3], [1, 2], [3, 0]]) == pytest.approx(np.sqrt((4 + 4 + 16) / 9 / 2))

    def test_even_points_and_pairs(self):
        assert spacing([[0, 3], [1, 2], [2, 1], [3, 0]]) == 0.0
        assert spacing([[0, 9], [1, 8], [8, 1], [9, 0]]) == 0.0
        assert spacing([[1, 1], [1, 1]]) == 0.0

    @pytest.mark.parametrize("objectives", [1, 2, 5])
    def test_against_pymoo(self, objectives):
        oracle = pytest.importorskip("pymoo.indicators.spacing").SpacingIndicator()
        F = np.random.default_rng(2).random((30, objectives))
        # pymoo divides by N, Schott by N - 1.
        assert spacing(F) == pytest.approx(oracle(F) * np.sqrt(30 / 29), rel=1e-12)

    def test_mistakes(self):
        with pytest.raises(ProblemError, match="at least two"):
            spacing([[1, 2]])
        with pytest.raises(ProblemError, match="finite"):
            spacing([[1, NAN], [1, 2]])


class TestR2:
    def test_by_hand(self):
        # (1, 0): 1 from the first point; (1/2, 1/2): 3/2 from the second; (0, 1): 2 from the second.
        assert r2([[1, 4], [3, 2]], [[1, 0], [0.5, 0.5], [0, 1]], [0, 0]) == 1.5

    def test_single_point_in_the_limit(self):
        # The mean of max(w, 1 - w) over [0, 1] is 3/4.
        w = (np.arange(1000) + 0.5) / 1000
        assert r2([[7, 7]], np.column_stack([w, 1 - w]), [2, 2]) == pytest.approx(5 * 0.75, rel=1e-12)

    def test_against_the_exact_value_of_moocore(self):
        moocore = pytest.importorskip("moocore")
        if not hasattr(moocore, "r2_exact"):
            pytest.skip("this moocore has no r2_exact")
        F = np.array([[5.0, 5.0], [4.0, 6.0], [2.0, 7.0], [7.0, 4.0]])
        w = (np.arange(20_000) + 0.5) / 20_000
        exact = moocore.r2_exact(F, ref=[0.0, 0.0])
        assert exact == pytest.approx(2.594191919191919, rel=1e-14)
        assert r2(F, np.column_stack([w, 1 - w]), [0, 0]) == pytest.approx(exact, rel=1e-8)

    def test_dominated_points_change_nothing(self):
        rng = np.random.default_rng(5)
        F, W = rng.random((6, 3)), rng.dirichlet(np.ones(3), 50)
        assert r2(np.vstack([F, F + 0.1]), W, [0, 0, 0]) == r2(F, W, [0, 0, 0])

    def test_mistakes(self):
        with pytest.raises(ShapeError, match="the set of weights has 3"):
            r2([[1, 2]], [[1, 0, 0]], [0, 0])
        with pytest.raises(ShapeError, match="reference point"):
            r2([[1, 2]], [[1, 0]], [0, 0, 0])
        with pytest.raises(ProblemError, match="negative"):
            r2([[1, 2]], [[1, -0.1]], [0, 0])

import numpy as np
import pytest

from emoref.emo.indicators import gd, gd_plus, hypervolume, igd, igd_plus
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
    indicators = pytest.importorskip("pymoo.indicators.gd")
    assert gd(F, front) == pytest.approx(indicators.GD(front)(F), rel=1e-12)


def test_distances_of_scipy():
    distance = pytest.importorskip("scipy.spatial.distance")
    rng = np.random.default_rng(4)
    F, front = rng.random((30, 3)), rng.random((20, 3))
    assert gd(F, front) == pytest.approx(distance.cdist(F, front).min(axis=1).mean(), rel=1e-13)


@pytest.mark.parametrize("indicator", [gd, gd_plus, igd, igd_plus])
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

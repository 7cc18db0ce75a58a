"""Points of small Riesz energy: cases with a known best set, quality, and the same bits everywhere."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from emoref import emo
from emoref.errors import ConfigError, ProblemError, ShapeError


def nearest(points):
    """Return the distance of each point to the nearest other one."""
    squared = ((points[:, None] - points) ** 2).sum(axis=2)
    np.fill_diagonal(squared, np.inf)
    return np.sqrt(squared.min(axis=1))


def same_points(a, b, atol=1e-3):
    distances = np.abs(a[:, None] - b).max(axis=2)
    assert (distances.min(axis=0) < atol).all()
    assert (distances.min(axis=1) < atol).all()


class TestOntoSimplex:
    def test_by_hand(self):
        # (2, 1, 0): lowering the first two by 1 gives (1, 0, 0). (0.6, 0.6, 0): by 0.1 each.
        X = np.array([[2.0, 1.0, 0.0], [0.6, 0.6, 0.0], [0.0, 0.0, 0.0], [-5.0, -5.0, -5.0]])
        third = [1 / 3] * 3
        np.testing.assert_allclose(emo.onto_simplex(X), [[1, 0, 0], [0.5, 0.5, 0], third, third])

    @given(arrays(np.float64, (4, 3), elements=st.integers(-40, 40).map(lambda i: i / 16)))
    @settings(deadline=None, max_examples=60)
    def test_nothing_on_the_simplex_is_nearer(self, X):
        onto = emo.onto_simplex(X)
        assert (onto >= 0).all()
        np.testing.assert_allclose(onto.sum(axis=1), 1.0)
        lattice = emo.das_dennis(3, 16)
        best = np.sqrt(((X[:, None] - lattice) ** 2).sum(axis=2)).min(axis=1)
        assert (np.sqrt(((X - onto) ** 2).sum(axis=1)) <= best + 1e-12).all()


class TestEnergy:
    def test_by_hand(self):
        # Distances 1, 2 and 3; the mean of the squared reciprocals is (1 + 1/4 + 1/9) / 3.
        points = [[0.0], [1.0], [3.0]]
        assert emo.riesz_energy(points, 2.0) == pytest.approx(np.log((1 + 1 / 4 + 1 / 9) / 3))

    def test_large_exponents(self):
        points = np.array([[0.0], [1e-3], [1.0]])
        # The nearest pair alone counts: log(1/3) + 400 log 1000.
        assert emo.riesz_energy(points, 400.0) == pytest.approx(400 * np.log(1e3) - np.log(3))

    def test_equal_points(self):
        assert emo.riesz_energy([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], 2.0) == np.inf

    @pytest.mark.parametrize("points", [[[1.0, 0.0]], [1.0, 0.0]])
    def test_too_few(self, points):
        with pytest.raises(ShapeError, match="two of them"):
            emo.riesz_energy(points, 2.0)

    @pytest.mark.parametrize("s", [1.0, 4.0, 9.0])
    def test_repulsion_is_downhill(self, s):
        points = np.random.default_rng(1).random((7, 3))
        ways = emo.repulsion(points, s)
        # The slope of a point's own energy along its way, by central differences.
        for i in range(7):

            def energy(t, i=i):
                moved = np.delete(points, i, axis=0) - points[i] - t * ways[i]
                return (np.sqrt((moved**2).sum(axis=1)) ** -s).sum()

            slope = (energy(1e-6) - energy(-1e-6)) / 2e-6
            w = np.sqrt(((np.delete(points, i, axis=0) - points[i]) ** 2).sum(axis=1)) ** -(s + 2)
            assert slope == pytest.approx(-s * w.sum() * (ways[i] @ ways[i]), rel=1e-4)


class TestPoints:
    @pytest.mark.parametrize(("n_obj", "p"), [(2, 1), (3, 1), (3, 2), (3, 3), (4, 2), (3, 6)])
    def test_das_dennis_where_its_number_fits(self, n_obj, p):
        # Few divisions: the regular set is the best one.
        W = emo.das_dennis(n_obj, p)
        same_points(emo.riesz_points(n_obj, len(W)), W)

    def test_corners_and_centre(self):
        same_points(emo.riesz_points(3, 4), np.vstack([np.eye(3), np.full(3, 1 / 3)]))

    def test_symmetric_on_a_line(self):
        W = emo.riesz_points(2, 8)
        np.testing.assert_allclose(W[::-1, ::-1], W, atol=1e-3)
        # Charges on a line come a little nearer at the ends; for s = 4 the gaps are nearly equal.
        gaps = np.diff(W[:, 0])
        assert gaps.max() / gaps.min() < 1.05

    @pytest.mark.parametrize(("n_obj", "size"), [(2, 13), (3, 20), (3, 92), (4, 50), (6, 40)])
    def test_any_number(self, n_obj, size):
        W = emo.riesz_points(n_obj, size, iterations=200)
        np.testing.assert_array_equal(emo.check_reference_points(W, n_obj), W)
        assert W.shape == (size, n_obj)
        assert sorted(W.tolist()) == W.tolist()
        assert (W == 1.0).any(axis=0).all()
        # Even: no point is alone, none crowded.
        distances = nearest(W)
        assert distances.max() / distances.min() < 1.35

    def test_spreads_nearly_as_far_as_a_regular_set(self):
        # 105 regular points of 13 divisions are sqrt(2) / 13 apart; 100 irregular ones nearly so.
        assert nearest(emo.riesz_points(3, 100)).mean() > 0.95 * np.sqrt(2) / 13

    def test_energy_is_no_larger_than_pymoo_s(self):
        directions = pytest.importorskip("pymoo.util.ref_dirs")
        theirs = directions.get_reference_directions("energy", 3, 30, seed=1)
        ours = emo.riesz_points(3, 30)
        assert emo.riesz_energy(ours, 9.0) < emo.riesz_energy(theirs, 9.0) + 0.05

    def test_same_bits_in_another_process(self):
        program = (
            "import hashlib; from emoref import emo;"
            "print(hashlib.sha256(emo.riesz_points(3, 30, seed=4).tobytes()).hexdigest())"
        )
        here = hashlib.sha256(emo.riesz_points(3, 30, seed=4).tobytes()).hexdigest()
        there = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert there.stdout.strip() == here

    def test_seeds_differ(self):
        assert (emo.riesz_points(3, 17, seed=1) != emo.riesz_points(3, 17, seed=2)).any()

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ({"n_obj": 0, "size": 3}, "n_obj is 0"),
            ({"n_obj": 3, "size": 2.5}, "size is 2.5"),
            ({"n_obj": 3, "size": 2}, "size is 2; with 3 objectives it must be 3"),
            ({"n_obj": 3, "size": 10**6}, "to 5000"),
            ({"n_obj": 1, "size": 4}, "one reference point, not 4"),
            ({"n_obj": 3, "size": 9, "s": 0}, "s is 0"),
            ({"n_obj": 3, "size": 9, "s": float("nan")}, "s is nan"),
            ({"n_obj": 3, "size": 9, "iterations": 0}, "iterations is 0"),
            ({"n_obj": 3, "size": 9, "seed": -1}, "seed"),
        ],
    )
    def test_mistakes(self, arguments, words):
        error = ConfigError if words == "seed" else ProblemError
        with pytest.raises(error, match=words):
            emo.riesz_points(**arguments)

    def test_one_objective(self):
        assert emo.riesz_points(1, 1).tolist() == [[1.0]]

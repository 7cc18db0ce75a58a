import math

import numpy as np
import pytest

from emoref import emo
from emoref.emo.problems.fronts import (
    ArcFront,
    FilteredFront,
    Front,
    PointFront,
    PowerFront,
    RayFront,
    SegmentFront,
    bisect,
    simplex_lattice,
)
from emoref.errors import ProblemError


@pytest.mark.parametrize(("n_obj", "count", "points"), [(1, 9, 1), (2, 7, 7), (3, 90, 91), (3, 92, 105)])
def test_lattice_has_at_least_so_many(n_obj, count, points):
    assert len(simplex_lattice(n_obj, count)) == points


def test_lattice_of_many_objectives_has_inner_points():
    W = simplex_lattice(8, 100)
    assert len(W) >= 100
    assert (W > 0.0).all(axis=1).any()


def test_bisect():
    root = bisect(lambda t: t**2 - np.array([2.0, 0.0, 9.0]), np.zeros(3), np.array([2.0, 1.0, 3.0]))
    np.testing.assert_allclose(root, [math.sqrt(2.0), 0.0, 3.0], atol=1e-15)


class TestPowerFront:
    def test_on_rays_by_hand(self):
        W = np.array([[0.5, 0.5]])
        np.testing.assert_allclose(PowerFront([1, 1]).on_rays(W), [[0.5, 0.5]])
        np.testing.assert_allclose(PowerFront([2, 4], 2.0).on_rays(W), [[math.sqrt(2), math.sqrt(8)]])
        # sqrt(t / 2) + t / 2 = 1 gives sqrt(t / 2) = (sqrt(5) - 1) / 2
        golden = ((math.sqrt(5) - 1) / 2) ** 2
        np.testing.assert_allclose(PowerFront([1, 1], [0.5, 1.0]).on_rays(W), [[golden, golden]])

    def test_inverted_by_hand(self):
        plane = PowerFront([1, 1, 1], 1.0, inverted=True)
        W = np.array([[1 / 3, 1 / 3, 1 / 3], [0.5, 0.5, 0.0], [0.6, 0.4, 0.0]])
        # 3 - t = 1, so t = 2; (1.2, ...) would be beyond the nadir point
        np.testing.assert_allclose(plane.on_rays(W)[:2], [[2 / 3] * 3, [1.0, 1.0, 0.0]], atol=1e-12)
        assert np.isnan(plane.on_rays(W)[2]).all()
        # On an inverted sphere 3 (1 - t / 3)**2 = 1
        sphere = PowerFront([1, 1, 1], 2.0, inverted=True)
        np.testing.assert_allclose(sphere.on_rays(W)[0], 1.0 - 1.0 / math.sqrt(3.0))

    @pytest.mark.parametrize(
        ("front", "reference", "volume"),
        [
            (PowerFront([1, 1]), [1, 1], 0.5),
            (PowerFront([2, 3]), [2, 3], 3.0),
            (PowerFront([1, 1], 2.0), [1, 1], 1 - math.pi / 4),
            # The area below sqrt(x) + y = 1 is 1/3.
            (PowerFront([1, 1], [0.5, 1.0]), [1, 1], 2 / 3),
            (PowerFront([1, 1, 1]), [2, 2, 2], 8 - 1 / 6),
            (PowerFront([1, 1], 1.0, inverted=True), [1, 1], 0.5),
            (PowerFront([1, 1], 2.0, inverted=True), [1, 1], math.pi / 4),
            # The inverted plane leaves a tetrahedron of the unit cube; beyond it there are prisms and bars.
            (PowerFront([1, 1, 1], 1.0, inverted=True), [1, 1, 1], 1 / 6),
            (PowerFront([1, 1, 1], 1.0, inverted=True), [2, 1, 1], 1 / 6 + 1 / 2),
            (PowerFront([1, 1, 1], 1.0, inverted=True), [2, 2, 2], 1 / 6 + 3 / 2 + 3 + 1),
        ],
    )
    def test_hypervolume_by_hand(self, front, reference, volume):
        assert front.hypervolume(np.array(reference, dtype=float)) == pytest.approx(volume, rel=1e-13)

    def test_residual_has_the_sign_of_worse(self):
        for front in (PowerFront([1, 1], 2.0), PowerFront([1, 1], 2.0, inverted=True)):
            on = front.sample(11)
            assert (front.residual(on * 1.1)[1:-1] > 0).all()
            assert (front.residual(on * 0.9)[1:-1] < 0).all()


def test_ray_front():
    front = RayFront([2.0, 2.0], lambda H: H.max(axis=1))
    np.testing.assert_array_equal(front.on_rays(np.array([[0.5, 0.5], [0.8, 0.2]])), [[2, 2], [2, 0.5]])
    np.testing.assert_array_equal(front.residual(np.array([[2.0, 1.0], [3.0, 0.0]])), [0.0, 0.5])
    assert front.hypervolume(np.array([2.0, 2.0])) is None


def test_filtered_front_is_made_denser():
    front = FilteredFront(PowerFront([1, 1]), lambda F: np.nan_to_num(F[:, 0]) >= 0.9)
    points = front.sample(50)
    assert len(points) >= 50
    assert points[:, 0].min() >= 0.9
    rays = front.on_rays(np.array([[0.5, 0.5], [0.95, 0.05]]))
    assert np.isnan(rays[0]).all()
    np.testing.assert_allclose(rays[1], [0.95, 0.05])


def test_filtered_front_that_is_hardly_there_ends():
    assert len(FilteredFront(PowerFront([1, 1]), lambda F: F[:, 0] > 2.0).sample(10)) == 0


def test_distance_to_an_arc():
    arc = ArcFront([0.6, 0.8, 0.0], [0.0, 0.0, 1.0])
    # On it; twice as far from the centre; to the side of the plane; beyond the end at v.
    F = np.array([[0.6, 0.8, 0.0], [0.0, 0.0, 2.0], [0.6 - 0.8, 0.8 + 0.6, 0.0], [-0.3, -0.4, 1.0]])
    np.testing.assert_allclose(arc.residual(F), [0.0, 1.0, 1.0, 0.5], atol=1e-15)
    np.testing.assert_allclose((arc.sample(7) ** 2).sum(axis=1), 1.0)


def test_distance_to_a_segment():
    segment = SegmentFront([0.0, 1.0], [2.0, 1.0])
    np.testing.assert_allclose(segment.residual(np.array([[1.0, 3.0], [-3.0, 5.0], [2.0, 1.0]])), [2, 5, 0])
    np.testing.assert_array_equal(segment.sample(3), [[0, 1], [1, 1], [2, 1]])


def test_single_points():
    front = PointFront([[0, 2], [1, 1], [2, 0]])
    np.testing.assert_allclose(front.residual(np.array([[0.0, 2.0], [4.0, 4.0]])), [0.0, math.sqrt(18)])
    assert front.hypervolume(np.array([3.0, 3.0])) == 6.0
    front.sample(1)[:] = 7.0
    assert front.points.max() == 2.0


def test_base_has_no_lines():
    with pytest.raises(ProblemError, match="is a knot, so that most lines miss it"):
        Front([0, 0], [1, 1], "is a knot").on_rays(emo.das_dennis(2, 1))

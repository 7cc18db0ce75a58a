import numpy as np
import pytest

from emoref import emo
from emoref.emo.problems.curves import CurveFront, ProductFront, along, record_pieces


def test_pieces_of_a_wave():
    def curve(x):
        return 2.0 * np.sin(x) - x

    pieces = record_pieces(curve, lambda x: 2.0 * np.cos(x) - 1.0, 0.0, 10.0)
    # It rises from 0, so 0 is a piece of its own; its minima are where cos x = 1/2 and x > pi.
    assert len(pieces) == 3
    assert pieces[0].tolist() == [0.0, 0.0]
    assert pieces[1, 1] == pytest.approx(5 * np.pi / 3)
    assert pieces[2, 1] == 10.0
    np.testing.assert_allclose(curve(pieces[1:, 0]), curve(pieces[:-1, 1]), atol=1e-12)

    grid = np.linspace(0.0, 10.0, 5001)
    inside = ((grid[:, None] >= pieces[:, 0]) & (grid[:, None] <= pieces[:, 1])).any(axis=1)
    ranks = emo.nondominated_ranks(np.column_stack([grid, curve(grid)]))
    near_an_end = np.abs(grid[:, None] - pieces.ravel()).min(axis=1) < 0.01
    assert ((ranks == 0) == inside)[~near_an_end].all()


def test_pieces_that_end_at_the_range():
    assert record_pieces(lambda x: x**2 - x, lambda x: 2 * x - 1, 0.0, 2.0).tolist() == [[0.0, 0.5]]
    assert record_pieces(lambda x: -x, lambda x: -1 + 0 * x, 1.0, 3.0).tolist() == [[1.0, 3.0]]


def test_along():
    pieces = np.array([[0.0, 1.0], [3.0, 4.0]])
    np.testing.assert_allclose(along(pieces, 5), [0.0, 0.5, 1.0, 3.5, 4.0])
    np.testing.assert_allclose(along(pieces, 3), [0.0, 1.0, 4.0])


def test_curve_in_two_pieces():
    # f2 = 4 - f1, but without the points between 1 and 3.
    front = CurveFront(lambda x: 4.0 - x, lambda x: 4.0 * x - x**2 / 2, [[0.0, 1.0], [3.0, 4.0]])
    np.testing.assert_array_equal(front.ideal, [0, 0])
    np.testing.assert_array_equal(front.nadir, [4, 4])
    # Reference (5, 5): the triangle of side 1 twice, and rectangles below (5, 5) with corners at 1, 3 and 4.
    area = (5 * 1 - 3.5) + (5 - 3) * 2 + (5 * 1 - 0.5) + (5 - 0) * 1
    assert front.hypervolume(np.array([5.0, 5.0])) == pytest.approx(area)
    assert emo.hypervolume(front.sample(4000), [5.0, 5.0]) == pytest.approx(area, rel=1e-3)
    np.testing.assert_allclose(front.residual(np.array([[1.0, 3.0], [1.0, 4.0]])), [0.0, 1.0])


def test_product_front():
    pieces = np.array([[0.0, 0.25], [0.5, 1.0]])
    front = ProductFront(3, lambda f: -f, 2.0, pieces)
    points = front.sample(50)
    assert len(points) == 64
    np.testing.assert_allclose(points.sum(axis=1), 2.0)
    assert not ((points[:, :2] > 0.25) & (points[:, :2] < 0.5)).any()
    np.testing.assert_allclose([front.ideal, front.nadir], [[0, 0, 0], [1, 1, 2]])

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from emoref.emo.problems.wfg_shapes import (
    concave,
    convex,
    convex_size,
    disconnected,
    linear,
    mixed,
    products,
)

UNIT = st.floats(0.0, 1.0)
POSITIONS = st.integers(1, 5).flatmap(lambda n: arrays(np.float64, (4, n), elements=UNIT))


def test_products():
    np.testing.assert_array_equal(
        products(np.array([[2.0, 3.0, 5.0]]), np.array([[7.0, 11.0, 13.0]])),
        [[2 * 3 * 5, 2 * 3 * 13, 2 * 11, 7]],
    )


def test_shapes_by_hand():
    x = np.array([[0.5, 1 / 3]])
    half, root = 0.5, math.sqrt(3) / 2
    diagonal = math.sqrt(0.5)
    np.testing.assert_allclose(linear(x), [[1 / 6, 1 / 3, 1 / 2]])
    np.testing.assert_allclose(concave(x), [[diagonal * half, diagonal * root, diagonal]])
    np.testing.assert_allclose(
        convex(x), [[(1 - diagonal) * (1 - root), (1 - diagonal) * (1 - half), 1 - diagonal]]
    )


@given(POSITIONS)
@settings(deadline=None, max_examples=60)
def test_equations_of_the_shapes(x):
    np.testing.assert_allclose(linear(x).sum(axis=1), 1.0, atol=1e-12)
    np.testing.assert_allclose((concave(x) ** 2).sum(axis=1), 1.0, atol=1e-12)
    np.testing.assert_allclose(convex_size(convex(x)), 1.0, atol=1e-7)
    np.testing.assert_allclose(convex_size(3.0 * convex(x)), 3.0, atol=1e-7)


def test_mixed():
    # Where the sine is 0, on the diagonal; in between above and below it.
    np.testing.assert_allclose(mixed(np.linspace(0, 1, 11)), np.linspace(1, 0, 11), atol=1e-15)
    assert mixed(np.array([0.05]))[0] == pytest.approx(0.95 + 1 / (10 * math.pi))
    assert mixed(np.array([0.05]), alpha=2.0)[0] == pytest.approx((0.95 + 1 / (10 * math.pi)) ** 2)
    fine = mixed(np.linspace(0, 1, 1001))
    assert (np.diff(fine) <= 1e-15).all()
    assert fine.min() == 0.0


def test_disconnected():
    x = np.array([0.0, 0.1, 0.2, 0.5, 1.0])
    np.testing.assert_allclose(disconnected(x), [1.0, 1.0, 0.8, 1.0, 0.0], atol=1e-15)
    # alpha = 2, beta = 2, two regions: 1 - 0.25 cos(pi / 2)**2 and 1 - 0.5 cos(pi)**2
    np.testing.assert_allclose(disconnected(np.sqrt([0.25, 0.5]), 2.0, 2.0, 2), [1.0, 0.5])

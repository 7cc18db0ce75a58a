"""The weight gradient of pointwise convolutions on planes, against the reference."""

import numba
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from emoref_kernels.cpu.pointwise_weight import pointwise_weight_fits, pointwise_weight_grad
from emoref_kernels.cpu.simd import LANES, ROWS
from emoref_kernels.reference import conv as reference

GUARD = np.float32(-12345.0)


def gradient(dy, x, stride):
    shape = dy.shape[1], x.shape[1]
    memory = np.full(shape[0] * shape[1] + 64, GUARD, np.float32)
    pointwise_weight_grad(dy.reshape(-1), dy.shape, x.reshape(-1), x.shape, stride, memory[32:-32])
    assert np.all(memory[:32] == GUARD)
    assert np.all(memory[-32:] == GUARD)
    return memory[32:-32].reshape(shape).copy()


def arrays(images, channels, extents, filters, stride):
    rng = np.random.default_rng(images * filters)
    y_extents = ((np.array(extents) - 1) // stride + 1).tolist()
    shapes = (images, filters, *y_extents), (images, channels, *extents)
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def check(images, channels, extents, filters, stride):
    dy, x = arrays(images, channels, extents, filters, stride)
    wide = dy.astype(np.float64), x.astype(np.float64)
    expected = reference.conv2d_weight_grad(*wide, (filters, channels, 1, 1), stride, 0)[:, :, 0, 0]
    assert np.abs(gradient(dy, x, stride) - expected).max() < 2e-6 * max(np.abs(expected).max(), 1.0)


@settings(deadline=None, max_examples=500)
@given(
    images=st.integers(1, 30),
    channels=st.integers(1, 3 * LANES + 5),
    extents=st.tuples(st.integers(1, 20), st.integers(1, 2 * LANES + 3)),
    filters=st.integers(ROWS, 40),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
)
@example(9, 5, (6, 2 * LANES), 11, (2, 2))
@example(9, 21, (7, LANES), 11, (2, 2))
@example(2, 17, (40, 41), 9, (1, 1))
def test_any_shape_agrees_with_the_reference(images, channels, extents, filters, stride):
    check(images, channels, extents, filters, stride)


@pytest.mark.parametrize("stride", [(1, 1), (2, 2)])
def test_bits_do_not_depend_on_the_threads(stride):
    dy, x = arrays(11, 37, (9, 14), 21, stride)
    most, results = numba.get_num_threads(), []
    try:
        for threads in range(1, most + 1):
            numba.set_num_threads(threads)
            results.append(gradient(dy, x, stride))
    finally:
        numba.set_num_threads(most)
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_an_integer_example_is_exact():
    """Sums of small integers have no rounding, so every way of cutting them gives the same numbers."""
    rng = np.random.default_rng(3)
    dy, x = (rng.integers(-3, 4, (20, depth, 10, 10)).astype(np.float32) for depth in (18, 35))
    np.testing.assert_array_equal(gradient(dy, x, (1, 1)), np.einsum("nfhw,nchw->fc", dy, x))


def test_which_shapes_fit():
    fitting = (1, 1), (0, 0), 1, ROWS
    assert pointwise_weight_fits(*fitting)
    for place, value in ((0, (2, 1)), (1, (0, 1)), (2, 2), (3, ROWS - 1)):
        changed = list(fitting)
        changed[place] = value
        assert not pointwise_weight_fits(*changed)

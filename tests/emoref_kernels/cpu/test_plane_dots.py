"""The weight gradient of few channels: its tile against plain loops, its sums against the reference."""

import numba
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from emoref_kernels.cpu import plane_dots
from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.plane_dots import Dots, dots_fit, dots_weight_grad
from emoref_kernels.cpu.simd import LANES
from emoref_kernels.reference import conv as reference

GUARD = np.float32(-12345.0)


@jit()
def dots(sums, dy, x, table, tile):
    plane_dots.plane_dots(sums, dy, x, table, tile)


def test_the_tile_equals_plain_loops():
    rng = np.random.default_rng(0)
    dy, x, sums = (rng.standard_normal(40 * LANES).astype(np.float32) for _ in range(3))
    table = rng.integers(0, 5 * LANES, 9)
    for filters in (1, 3, 9):
        tile = Dots(3, 5, 4 * LANES, 2 * LANES + 1, filters, 7, 2 * LANES + 3, 2, 2, 2 * LANES, 0)
        got, expected = sums.copy(), sums.copy()
        dots(got, dy, x, table, tile)
        plane_dots.LOOPS["plane_dots"](expected, dy, x, table, tile)
        np.testing.assert_array_equal(got, expected)


def gradient(dy, x, w_shape, stride, padding):
    memory = np.full(int(np.prod(w_shape)) + 64, GUARD, np.float32)
    flat = dy.reshape(-1), dy.shape, x.reshape(-1), x.shape
    dots_weight_grad(*flat, w_shape, stride, padding, memory[32:-32])
    assert np.all(memory[:32] == GUARD)
    assert np.all(memory[-32:] == GUARD)
    return memory[32:-32].reshape(w_shape).copy()


def arrays(images, channels, rows, columns, filters, kernel, stride, padding):
    rng = np.random.default_rng(0)
    size = (rows - 1) * stride + kernel[0], columns + kernel[1] - 1
    size = max(size[0] - 2 * padding[0], 1), max(size[1] - 2 * padding[1], 1)
    x = rng.standard_normal((images, channels, *size)).astype(np.float32)
    y_h = (size[0] + 2 * padding[0] - kernel[0]) // stride + 1
    y_w = size[1] + 2 * padding[1] - kernel[1] + 1
    return rng.standard_normal((images, filters, y_h, y_w)).astype(np.float32), x


@settings(deadline=None, max_examples=500)
@given(
    images=st.integers(1, 19),
    channels=st.integers(1, 4),
    rows=st.integers(1, 6),
    vectors=st.integers(1, 2),
    filters=st.integers(4, 21),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.integers(1, 3),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 1)),
)
def test_any_shape_agrees_with_the_reference(
    images, channels, rows, vectors, filters, kernel, stride, padding
):
    dy, x = arrays(images, channels, rows, vectors * LANES, filters, kernel, stride, padding)
    if not dots_fit(x.shape, dy.shape, (stride, 1), padding):
        return
    w_shape = (filters, channels, *kernel)
    got = gradient(dy, x, w_shape, (stride, 1), padding)
    wide = dy.astype(np.float64), x.astype(np.float64)
    expected = reference.conv2d_weight_grad(*wide, w_shape, (stride, 1), padding)
    assert np.abs(got - expected).max() < 2e-6 * max(np.abs(expected).max(), 1.0)


def test_bits_do_not_depend_on_the_threads():
    dy, x = arrays(11, 3, 5, LANES, 37, (3, 3), 1, (1, 1))
    most, results = numba.get_num_threads(), []
    try:
        for threads in range(1, most + 1):
            numba.set_num_threads(threads)
            results.append(gradient(dy, x, (37, 3, 3, 3), (1, 1), (1, 1)))
    finally:
        numba.set_num_threads(most)
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_which_shapes_fit():
    fitting = (2, 3, 8, LANES), (2, 8, 8, LANES), (2, 1), (1, 1)
    assert dots_fit(*fitting)
    for place, value in (
        (0, (2, 5, 8, LANES)), (0, (2, 3, 300, 300)), (1, (2, 8, 8, LANES + 1)), (1, (2, 1, 8, LANES)),
        (2, (1, 2)),
    ):  # fmt: skip
        changed = list(fitting)
        changed[place] = value
        assert not dots_fit(*changed)

"""Pooling of channels-last maps against the reference, and its vector loops against plain ones."""

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoref_kernels.checks import pool2d_windows
from emoref_kernels.cpu import maps_pool, maps_pool_windows
from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.maps import Maps
from emoref_kernels.cpu.simd import LANES
from emoref_kernels.reference import pool as reference

GUARD = np.float32(-12345.0)


def pixels(rng, shape):
    """Draw from few values, so that there are ties, with some NaN and infinities."""
    values = np.array([0.0, 1.0, 2.0, 3.0, -1.0, np.nan, np.inf, -np.inf], dtype=np.float32)
    return rng.choice(values, shape, p=[0.2, 0.2, 0.2, 0.2, 0.05, 0.05, 0.05, 0.05])


# ------------------------------------------------------------------------------------------ vector loops


@jit()
def take_largest(y, y_start, x, x_start, x_row, x_jump, rows, columns, width, count):
    maps_pool_windows.take_largest(y, y_start, x, x_start, x_row, x_jump, rows, columns, width, count)


@jit()
def take_mean(y, y_start, x, x_start, x_row, x_jump, rows, columns, width, count, scale):
    maps_pool_windows.take_mean(y, y_start, x, x_start, x_row, x_jump, rows, columns, width, count, scale)


@jit()
def hand_on(dx, x, x_start, dy, dy_start, x_row, x_jump, rows, columns, width, count, fresh):
    maps_pool_windows.hand_on(dx, x, x_start, dy, dy_start, x_row, x_jump, rows, columns, width, count, fresh)


@jit()
def add_shares(dx, dx_start, dy, dy_start, x_row, x_jump, rows, columns, width, count, scale):
    maps_pool_windows.add_shares(
        dx, dx_start, dy, dy_start, x_row, x_jump, rows, columns, width, count, scale
    )


@jit()
def clear_run(values, start, count):
    maps_pool_windows.clear_run(values, start, count)


@pytest.mark.parametrize(("rows", "columns", "step"), [(2, 2, 2), (1, 1, 2), (3, 2, 1), (2, 3, 2), (1, 4, 5)])
@pytest.mark.parametrize("vectors", [1, 3])
def test_vector_loops_equal_plain_loops(rows, columns, step, vectors):
    rng = np.random.default_rng(rows)
    width, count = vectors * LANES, 3
    row, jump = 12 * width, step * width
    x = pixels(rng, 3 * row + 50)
    numbers = rng.standard_normal(x.size).astype(np.float32)
    window = row, jump, rows, columns, width, count
    scale = np.float32(0.3)
    cases = [
        (take_largest, (7, x, 5, *window)),
        (take_mean, (7, numbers, 5, *window, scale)),
        (hand_on, (x, 5, numbers, 9, *window, 0)),
        (add_shares, (5, numbers, 9, *window, scale)),
        (clear_run, (3, row + 1)),
    ]
    if rows == columns == step == 2:
        cases.append((hand_on, (x, 5, numbers, 9, *window, 1)))
    for function, arguments in cases:
        start = rng.standard_normal(x.size).astype(np.float32)
        got, expected = start.copy(), start.copy()
        function(got, *arguments)
        maps_pool_windows.LOOPS[function.__name__](expected, *arguments)
        np.testing.assert_array_equal(got, expected)
        assert not np.array_equal(got, start)


# ------------------------------------------------------------------------------------------------- maps


class Result:
    """Memory between guards for maps that a function writes."""

    def __init__(self, shape):
        self.like = Maps.empty(shape)
        self.memory = np.full(self.like.flat.size + 64, GUARD, dtype=np.float32)
        self.flat = self.memory[32:-32]

    def planes(self):
        """Return the values, after a look at guards and padding."""
        assert np.all(self.memory[:32] == GUARD)
        assert np.all(self.memory[-32:] == GUARD)
        channels = self.like.channels
        values = self.flat.reshape(self.like.pixels.shape)
        assert not values[..., channels:].any()
        return np.asarray(Maps(values, channels))


def max_passes(x, dy, windows):
    maps, gradient = Maps.from_planes(x), Maps.from_planes(dy)
    y, dx = Result(dy.shape), Result(x.shape)
    maps_pool.max_pool_maps(maps.flat, x.shape, maps.stride, *windows, y.flat, dy.shape)
    maps_pool.max_pool_maps_grad(gradient.flat, dy.shape, maps.flat, x.shape, maps.stride, *windows, dx.flat)
    return y.planes(), dx.planes()


def avg_passes(x, dy, windows):
    maps, gradient = Maps.from_planes(x), Maps.from_planes(dy)
    y, dx = Result(dy.shape), Result(x.shape)
    maps_pool.avg_pool_maps(maps.flat, x.shape, maps.stride, *windows, y.flat, dy.shape)
    maps_pool.avg_pool_maps_grad(gradient.flat, dy.shape, x.shape, maps.stride, *windows, dx.flat)
    return y.planes(), dx.planes()


def global_passes(x, dy):
    maps, dx = Maps.from_planes(x), Result(x.shape)
    y = np.full(x.shape[:2], GUARD)
    maps_pool.global_avg_maps(maps.flat, x.shape, maps.stride, y)
    maps_pool.global_avg_maps_grad(dy, x.shape, maps.stride, dx.flat)
    return y, dx.planes()


def assert_pooled(shape, kernel, stride, padding, seed):
    """Compare max pooling, of values with ties and NaN, and average pooling with the reference."""
    rng = np.random.default_rng(seed)
    *windows, y_shape = pool2d_windows(shape, kernel, stride, padding)
    x, values = pixels(rng, shape), rng.standard_normal(shape).astype(np.float32)
    dy = rng.standard_normal(y_shape).astype(np.float32)
    y, dx = max_passes(x, dy, windows)
    np.testing.assert_array_equal(y, reference.max_pool2d(x, *windows))
    np.testing.assert_allclose(dx, reference.max_pool2d_grad(dy, x, *windows), rtol=1e-6, atol=1e-6)
    y, dx = avg_passes(values, dy, windows)
    np.testing.assert_allclose(y, reference.avg_pool2d(values, *windows), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(dx, reference.avg_pool2d_grad(dy, shape, *windows), rtol=1e-6, atol=1e-6)


CHANNELS = st.sampled_from([1, 2, 3, 4, 5, LANES - 1, LANES, LANES + 1, 70])
SIZES = st.tuples(st.integers(2, 11), st.integers(2, 11))
SEEDS = st.integers(0, 999)


@st.composite
def windows_and_sizes(draw):
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    padding = tuple(draw(st.integers(0, extent // 2)) for extent in kernel)
    size = tuple(draw(st.integers(extent, extent + 8)) for extent in kernel)
    return kernel, draw(st.tuples(st.integers(1, 3), st.integers(1, 3))), padding, size


@settings(deadline=None, max_examples=500)
@given(images=st.integers(1, 3), channels=CHANNELS, case=windows_and_sizes(), seed=SEEDS)
def test_any_shape_agrees_with_the_reference(images, channels, case, seed):
    kernel, stride, padding, size = case
    assert_pooled((images, channels, *size), kernel, stride, padding, seed)


@settings(deadline=None, max_examples=60)
@given(
    images=st.integers(1, 3),
    channels=CHANNELS,
    size=SIZES,
    kernel=st.sampled_from([1, 2]),
    seed=SEEDS,
)
def test_the_usual_windows(images, channels, size, kernel, seed):
    assert_pooled((images, channels, *size), kernel, 2, 0, seed)


@settings(deadline=None, max_examples=60)
@given(images=st.integers(1, 3), channels=CHANNELS, size=SIZES, seed=SEEDS)
def test_global_means(images, channels, size, seed):
    rng = np.random.default_rng(seed)
    shape = images, channels, *size
    x, dy = rng.standard_normal(shape).astype(np.float32), rng.standard_normal(shape[:2]).astype(np.float32)
    y, dx = global_passes(x, dy)
    np.testing.assert_allclose(y, reference.global_avg_pool2d(x), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(dx, reference.global_avg_pool2d_grad(dy, shape), rtol=1e-6)


def test_large_maps_are_averaged_accurately():
    x = np.random.default_rng(0).random((2, 17, 64, 64), np.float32) + np.float32(100)
    y, _ = global_passes(x, np.ones(x.shape[:2], np.float32))
    np.testing.assert_allclose(y, x.mean((2, 3), np.float64), rtol=1e-6)


def test_no_images_are_pooled_to_none():
    x, y = np.zeros((0, 16, 4, 4), np.float32), np.zeros((0, 16, 2, 2), np.float32)
    windows = (2, 2), (2, 2), (0, 0)
    for passes in (max_passes, avg_passes):
        assert passes(x, y, windows)[1].shape == x.shape
    assert global_passes(x, np.zeros((0, 16), np.float32))[0].shape == (0, 16)


@pytest.mark.parametrize("channels", [2, 20])
def test_bits_do_not_depend_on_the_threads(channels):
    rng = np.random.default_rng(1)
    x, dy = pixels(rng, (3, channels, 9, 11)), rng.standard_normal((3, channels, 5, 6)).astype(np.float32)
    windows = (3, 3), (2, 2), (1, 1)
    most, results = numba.get_num_threads(), []
    try:
        for threads in range(1, most + 1):
            numba.set_num_threads(threads)
            results.append(
                [*max_passes(x, dy, windows), *avg_passes(dy.repeat(2, 2), dy, ((2, 1), (2, 1), (0, 0)))]
            )
    finally:
        numba.set_num_threads(most)
    for result in results[1:]:
        for got, expected in zip(result, results[0], strict=True):
            np.testing.assert_array_equal(got, expected)

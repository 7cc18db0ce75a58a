"""Batch normalisation of channels-last maps against float64, and its vector loops against plain ones."""

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoref_kernels.cpu import maps_norm, maps_norm_rows
from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.maps import Maps
from emoref_kernels.cpu.simd import LANES
from emoref_kernels.reference import norm as reference

GUARD = np.float32(-12345.0)
NOTHING = np.zeros(0, dtype=np.float32)
EPS = 1e-5


# ------------------------------------------------------------------------------------------ vector loops


@jit()
def add_moments(x, x_start, rows, width, pivots, sums, sums_start):
    maps_norm_rows.add_moments(x, x_start, rows, width, pivots, sums, sums_start)


@jit()
def write_normalised(y, x, start, rows, width, vectors, floor):
    maps_norm_rows.write_normalised(y, x, start, rows, width, vectors, floor)


@jit()
def add_products(dy, x, y, start, rows, width, vectors, floor, sums, sums_start):
    maps_norm_rows.add_products(dy, x, y, start, rows, width, vectors, floor, sums, sums_start)


@jit()
def write_sum(y, x, shortcut, start, rows, width, vectors, floor):
    maps_norm_rows.write_sum(y, x, shortcut, start, rows, width, vectors, floor)


@jit()
def write_products(g, dy, more, x, y, start, rows, width, vectors, floor, sums, sums_start):
    maps_norm_rows.write_products(g, dy, more, x, y, start, rows, width, vectors, floor, sums, sums_start)


@jit()
def write_gradients(dx, dy, x, x_step, y, start, rows, width, vectors, floor):
    maps_norm_rows.write_gradients(dx, dy, x, x_step, y, start, rows, width, vectors, floor)


@pytest.mark.parametrize("rows", [1, 7])
@pytest.mark.parametrize("vectors", [1, 4, 6])
def test_vector_loops_equal_plain_loops(rows, vectors):
    rng = np.random.default_rng(rows)
    width = vectors * LANES
    x, dy, y = rng.standard_normal((3, rows * width + 20)).astype(np.float32)
    y[rng.random(y.size) < 0.1] = np.nan
    x[rng.random(x.size) < 0.02] = np.nan
    kinds = rng.standard_normal(4 * width + 1).astype(np.float32)
    zero, never = np.float32(0), np.float32(np.nan)
    for function, position, arguments in (
        (add_moments, 5, (x, 5, rows, width, kinds, 3)),
        (write_normalised, 0, (x, 5, rows, width, kinds, zero)),
        (write_normalised, 0, (x, 5, rows, width, kinds, np.float32(-np.inf))),
        (write_sum, 0, (x, dy, 5, rows, width, kinds, zero)),
        (add_products, 8, (dy, x, y, 5, rows, width, kinds, zero, 3)),
        (add_products, 8, (dy, x, dy, 5, rows, width, kinds, never, 3)),
        (write_gradients, 0, (dy, x, width, y, 5, rows, width, kinds, zero)),
        (write_gradients, 0, (dy, kinds, 0, dy, 5, rows, width, kinds, never)),
    ):
        results = []
        for run in (function, maps_norm_rows.LOOPS[function.__name__]):
            result = rng.standard_normal(2 * width + 8) if position else np.full(x.size, GUARD, np.float32)
            if results:
                result = results[0][1].copy()
            start = result.copy()
            run(*arguments[:position], result, *arguments[position:])
            results.append((result, start))
        np.testing.assert_array_equal(results[0][0], results[1][0])
        assert not np.array_equal(results[0][0], results[0][1])


@pytest.mark.parametrize("floor", [0.0, np.nan])
@pytest.mark.parametrize("vectors", [1, 5])
def test_the_gradient_is_written_while_it_is_summed(vectors, floor):
    rng = np.random.default_rng(vectors)
    width = vectors * LANES
    x, dy, more, y = rng.standard_normal((4, 3 * width + 20)).astype(np.float32)
    y[::11] = np.nan
    kinds = rng.standard_normal(width).astype(np.float32)
    results = []
    for run in (write_products, maps_norm_rows.LOOPS["write_products"]):
        g, sums = np.full(x.size, GUARD, np.float32), np.ones(2 * width + 8)
        run(g, dy, more, x, y, 5, 3, width, kinds, np.float32(floor), sums, 3)
        results.append((g, sums))
    for got, expected in zip(*results, strict=True):
        np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(results[0][0][5:-15], np.where(y <= floor, 0, dy + more)[5:-15])


# ------------------------------------------------------------------------------------------------- maps


def guarded(maps):
    """Return memory between guards for a result like some maps."""
    memory = np.full(maps.flat.size + 64, GUARD, dtype=np.float32)
    return memory, memory[32:-32]


def as_planes(flat, like):
    """Return the values of maps, after a look at what lies behind their channels."""
    pixels = flat.reshape(like.pixels.shape)
    assert not pixels[..., like.channels :].any()
    return np.asarray(Maps(pixels, like.channels))


def passes(x, dy, gamma, beta, relu, through_statistics=True):
    """Return (y, mean, var) and (dx, dgamma, dbeta) of channels-last maps, as planes."""
    maps, dy_maps = Maps.from_planes(x), Maps.from_planes(dy)
    extents = x.shape[0] * x.shape[2] * x.shape[3], x.shape[1], maps.stride
    (y_memory, y), (dx_memory, dx) = guarded(maps), guarded(maps)
    mean, var, dgamma, dbeta = np.full((4, x.shape[1]), GUARD)
    maps_norm.normalise_maps_by_batch(maps.flat, *extents, gamma, beta, EPS, NOTHING, relu, y, mean, var)
    above = y if relu else NOTHING
    maps_norm.maps_norm_grad(
        dy_maps.flat, maps.flat, *extents, gamma, mean, var, EPS, above, through_statistics, dx, dgamma, dbeta
    )  # fmt: skip
    for memory in (y_memory, dx_memory):
        assert np.all(memory[:32] == GUARD)
        assert np.all(memory[-32:] == GUARD)
    return (as_planes(y, maps), mean, var), (as_planes(dx, maps), dgamma, dbeta)


def draw(rng, shape, mean=0.0):
    x, dy = rng.standard_normal((2, *shape)).astype(np.float32)
    gamma, beta = rng.standard_normal((2, shape[1])).astype(np.float32)
    return x + np.float32(mean), dy, gamma, beta


def wide(*arrays):
    return [array.astype(np.float64) for array in arrays]


def assert_close(got, expected, scale, tolerance=2e-6):
    assert np.abs(got - expected).max(initial=0.0) <= tolerance * scale


@settings(deadline=None, max_examples=600)
@given(
    images=st.integers(1, 4),
    channels=st.sampled_from([1, 2, 3, 4, 5, LANES - 1, LANES, LANES + 1, 2 * LANES, 3 * LANES, 70]),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    mean=st.sampled_from([0.0, -3.0, 1000.0]),
    relu=st.booleans(),
    through_statistics=st.booleans(),
    seed=st.integers(0, 999),
)
def test_any_shape_agrees_with_the_reference(images, channels, size, mean, relu, through_statistics, seed):
    x, dy, gamma, beta = draw(np.random.default_rng(seed), (images, channels, *size), mean)
    forward, (dx, dgamma, dbeta) = passes(x, dy, gamma, beta, relu, through_statistics)
    y, *statistics = forward
    x_wide, dy_wide, gamma_wide, beta_wide = wide(x, dy, gamma, beta)
    axes = (0, 2, 3)
    assert_close(statistics[0], x_wide.mean(axes), max(abs(mean), 1.0), 1e-6)
    # The variance of one value is 0, whatever the mean.
    np.testing.assert_allclose(statistics[1], x_wide.var(axes), rtol=3e-6, atol=1e-12)

    statistics_wide = wide(*statistics)
    expected = reference.batch_norm(x_wide, gamma_wide, beta_wide, *statistics_wide, EPS)
    slope = np.abs(gamma_wide / np.sqrt(statistics_wide[1] + EPS)).max()
    value = np.abs(x_wide - statistics_wide[0][:, None, None]).max()
    assert_close(y, np.maximum(expected, 0) if relu else expected, slope * value + 3.0)

    passing = np.where(y > 0, dy_wide, 0.0) if relu else dy_wide
    gradients = reference.batch_norm_train_grad if through_statistics else reference.batch_norm_grad
    expected_dx, expected_dgamma, expected_dbeta = gradients(
        passing, x_wide, gamma_wide, *statistics_wide, EPS
    )
    values = images * size[0] * size[1]
    inverse = 1 / np.sqrt(statistics_wide[1] + EPS).min()
    assert_close(dgamma, expected_dgamma, values**0.5 * 5 * max(value * inverse, 1.0))
    assert_close(dbeta, expected_dbeta, values**0.5 * 5)
    assert_close(dx, expected_dx, slope * 5 * max(value * inverse, 1.0))


@pytest.mark.parametrize("channels", [5, 3])
def test_given_statistics(channels):
    rng = np.random.default_rng(0)
    x, _, gamma, beta = draw(rng, (3, channels, 5, 7))
    mean, var = rng.random((2, channels)).astype(np.float32)
    maps = Maps.from_planes(x)
    memory, y = guarded(maps)
    maps_norm.normalise_maps(maps.flat, 105, channels, maps.stride, gamma, beta, mean, var, EPS, y)
    got = as_planes(y, maps)
    np.testing.assert_allclose(
        got, reference.batch_norm(x, gamma, beta, mean, var, EPS), rtol=1e-5, atol=1e-5
    )
    assert np.all(memory[:32] == GUARD)
    assert np.all(memory[-32:] == GUARD)
    # In place, and for one image alone.
    alone = Maps.from_planes(x[1:2])
    maps_norm.normalise_maps(alone.flat, 35, channels, alone.stride, gamma, beta, mean, var, EPS, alone.flat)
    np.testing.assert_array_equal(np.asarray(alone), got[1:2])


def test_no_images_are_normalised_to_none():
    vector = np.ones(16, np.float32)
    empty = Maps.empty((0, 16, 4, 4))
    maps_norm.normalise_maps(empty.flat, 0, 16, empty.stride, *[vector] * 4, EPS, empty.flat)


@pytest.mark.parametrize("first", [1000.0, 2000.0, 1e6])
def test_neither_a_large_mean_nor_an_outlier_spoils_the_variance(first):
    rng = np.random.default_rng(1)
    x, dy, gamma, beta = draw(rng, (3, 5, 32, 32), 1000.0)
    x[0, :, 0, 0] = first
    (_, mean, var), _ = passes(x, dy, gamma, beta, relu=False)
    np.testing.assert_allclose(mean, x.mean((0, 2, 3), np.float64), rtol=6e-7)
    np.testing.assert_allclose(var, x.var((0, 2, 3), np.float64), rtol=2e-6)


def test_nan_goes_through_and_stays_in_its_channel():
    x, dy, gamma, beta = draw(np.random.default_rng(2), (4, 20, 3, 3))
    x[2, 7, 1, 1] = np.nan
    (y, _, _), (dx, dgamma, dbeta) = passes(x, dy, gamma, beta, relu=True)
    for result, axis in ((y, 1), (dx, 1), (dgamma, 0)):
        assert np.isnan(result.take(7, axis)).all()
        assert not np.isnan(np.delete(result, 7, axis)).any()
    # ReLU lets a NaN, and so its gradient, through.
    np.testing.assert_allclose(dbeta[7], dy[:, 7].sum(), rtol=1e-5)


def test_the_gradient_of_constant_statistics_does_not_look_at_x():
    x, dy, gamma, _ = draw(np.random.default_rng(3), (2, 16, 3, 3))
    x[0, 3, 0, 0], dy[1, 4, 0, 0] = np.nan, np.inf
    maps, gradient = Maps.from_planes(x), Maps.from_planes(dy)
    mean, var, dgamma, dbeta = np.ones((4, 16), np.float32)
    maps_norm.maps_norm_grad(
        gradient.flat, maps.flat, 18, 16, maps.stride, gamma, mean, var, EPS, NOTHING, False, gradient.flat,
        dgamma, dbeta,
    )  # fmt: skip
    expected = dy * (gamma / np.sqrt(1 + EPS))[:, None, None]
    np.testing.assert_allclose(np.asarray(gradient), expected, rtol=1e-6)


def test_bits_do_not_depend_on_the_threads():
    arrays = draw(np.random.default_rng(4), (9, 33, 16, 15))
    most, results = numba.get_num_threads(), []
    try:
        for threads in range(1, most + 1):
            numba.set_num_threads(threads)
            forward, backward = passes(*arrays, relu=True)
            results.append([*forward, *backward])
    finally:
        numba.set_num_threads(most)
    for result in results[1:]:
        for got, expected in zip(result, results[0], strict=True):
            np.testing.assert_array_equal(got, expected)


# -------------------------------------------------------------------------------------------- shortcuts


def sum_passes(x, shortcut, dy, more, gamma, beta, relu):
    """Return (y, mean, var) and (dx, dgamma, dbeta, dshortcut) of a normalisation with a shortcut, flat."""
    maps, *others = (Maps.from_planes(array) for array in (x, shortcut, dy, more))
    added, first, second = (other.flat for other in others)
    extents = x.shape[0] * x.shape[2] * x.shape[3], x.shape[1], maps.stride
    memories, (y, dx, dshortcut) = zip(*(guarded(maps) for _ in range(3)), strict=True)
    mean, var, dgamma, dbeta = np.full((4, x.shape[1]), GUARD)
    maps_norm.normalise_maps_by_batch(maps.flat, *extents, gamma, beta, EPS, added, relu, y, mean, var)
    above = y if relu else NOTHING
    maps_norm.maps_sum_grad(
        first, second, maps.flat, *extents, gamma, mean, var, EPS, above, dx, dgamma, dbeta, dshortcut
    )
    for memory in memories:
        assert np.all(memory[:32] == GUARD)
        assert np.all(memory[-32:] == GUARD)
    return (y, mean, var), (dx, dgamma, dbeta, dshortcut)


@settings(deadline=None, max_examples=500)
@given(
    images=st.integers(1, 4),
    channels=st.sampled_from([4, 5, LANES - 1, LANES, LANES + 1, 2 * LANES, 3 * LANES, 70]),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    relu=st.booleans(),
    seed=st.integers(0, 999),
)
def test_a_shortcut_on_the_way_is_an_addition_afterwards(images, channels, size, relu, seed):
    rng = np.random.default_rng(seed)
    x, dy, gamma, beta = draw(rng, (images, channels, *size))
    shortcut, more = rng.standard_normal((2, *x.shape)).astype(np.float32)
    forward, backward = sum_passes(x, shortcut, dy, more, gamma, beta, relu)

    maps, added, gradient = (Maps.from_planes(array) for array in (x, shortcut, dy + more))
    extents = images * size[0] * size[1], channels, maps.stride
    y, dx, (mean, var, dgamma, dbeta) = (
        maps.flat.copy(),
        maps.flat.copy(),
        np.empty((4, channels), np.float32),
    )
    maps_norm.normalise_maps_by_batch(maps.flat, *extents, gamma, beta, EPS, NOTHING, False, y, mean, var)
    y += added.flat
    y = np.maximum(y, np.float32(0)) if relu else y
    g = np.where(y <= 0, np.float32(0), gradient.flat) if relu else gradient.flat
    maps_norm.maps_norm_grad(
        g, maps.flat, *extents, gamma, mean, var, EPS, NOTHING, True, dx, dgamma, dbeta
    )  # fmt: skip
    for got, expected in zip((*forward, *backward), (y, mean, var, dx, dgamma, dbeta, g), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_bits_with_a_shortcut_do_not_depend_on_the_threads():
    rng = np.random.default_rng(5)
    x, dy, gamma, beta = draw(rng, (9, 33, 16, 15))
    shortcut, more = rng.standard_normal((2, *x.shape)).astype(np.float32)
    most, results = numba.get_num_threads(), []
    try:
        for threads in range(1, most + 1):
            numba.set_num_threads(threads)
            forward, backward = sum_passes(x, shortcut, dy, more, gamma, beta, relu=True)
            results.append([*forward, *backward])
    finally:
        numba.set_num_threads(most)
    for result in results[1:]:
        for got, expected in zip(result, results[0], strict=True):
            np.testing.assert_array_equal(got, expected)

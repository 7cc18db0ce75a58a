"""Winograd convolution on padded buffers: against the reference, with everything that may follow."""

import numpy as np
import pytest

from emoref_kernels.cpu.simd import LANES
from emoref_kernels.cpu.winograd_filters import filter_gradient
from emoref_kernels.cpu.winograd_padded import (
    LOOPS,
    add_filter_grad,
    convolve_padded,
    padded_conv,
    padded_filters,
    padded_sums,
)
from emoref_kernels.reference import conv as reference
from emoref_kernels.reference import pool

GUARD = np.float32(-12345.0)
BOUNDS = {4: 1e-4, 2: 1e-5}

# images, channels, filters, height, width
SHAPES = [(3, 16, 32, 8, 8), (2, 5, 19, 7, 10), (1, 17, 3, 1, 1), (2, 33, 50, 6, 5), (9, 16, 16, 2, 2)]


def padded(images, halo, fill=0.0):
    """Lay out (N, C, H, W) channels last, between `halo` zeros, with channels up to a whole vector."""
    n, c, h, w = images.shape
    buffer = np.zeros((n, h + 2 * halo, w + 2 * halo, -(-c // LANES) * LANES), dtype=np.float32)
    buffer[:, halo : halo + h, halo : halo + w, :c] = images.transpose(0, 2, 3, 1)
    buffer[:, halo : halo + h, halo : halo + w, c:] = fill
    return buffer


def inner(buffer, halo, channels):
    """Return (N, C, H, W) of a padded buffer."""
    rows, columns = buffer.shape[1] - halo, buffer.shape[2] - halo
    return buffer[:, halo:rows, halo:columns, :channels].transpose(0, 3, 1, 2)


def random(shape, seed):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def assert_near(got, expected, outputs):
    assert np.abs(got - expected).max(initial=0.0) < BOUNDS[outputs] * max(
        np.abs(expected).max(initial=0.0), 1
    )


@pytest.mark.parametrize("outputs", [2, 4])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("halos", "relu", "pooled", "residual"),
    [
        ((1, 1), False, False, False),
        ((2, 0), True, False, True),
        ((1, 2), True, True, False),
        ((1, 1), True, True, True),
    ],
)
def test_convolution_and_what_follows(shape, outputs, halos, relu, pooled, residual):
    n, c, k, h, w = shape
    x, filters, scale, shift = random((n, c, h, w), 0), random((k, c, 3, 3), 1), random(k, 2), random(k, 3)
    r = random((n, k, h, w), 4)
    p = padded_conv(
        c, k, (h, w), outputs, x_halo=halos[0], y_halo=halos[1], residual_halo=1 if residual else -1,
        relu=relu, pooled=pooled, block=8,
    )  # fmt: skip
    bias = np.zeros(p.filters, dtype=np.float32)
    bias[:k] = shift
    expected = reference.conv2d(x.astype(np.float64), filters.astype(np.float64), None, 1, 1)
    expected = expected * scale[:, None, None].astype(np.float64) + shift[:, None, None]
    expected = expected + r if residual else expected
    expected = np.maximum(expected, 0) if relu else expected
    if pooled:
        expected = pool.max_pool2d(expected, 2) if min(h, w) > 1 else expected[:, :, : h // 2, : w // 2]
    y = padded(np.full(expected.shape, GUARD, dtype=np.float32), halos[1], GUARD)
    memory = np.concatenate([np.full(32, GUARD, np.float32), y.reshape(-1), np.full(32, GUARD, np.float32)])
    u = padded_filters(filters, outputs, scale)
    source, added = padded(x, halos[0]).reshape(-1), padded(r, 1).reshape(-1)
    scratch = np.full(p.scratch + 6, GUARD, dtype=np.float32)
    convolve_padded(p, n, source, 0, u, 0, bias, 0, added, 0, memory, 32, scratch, 3)
    assert np.all(memory[:32] == GUARD)
    assert np.all(memory[-32:] == GUARD)
    assert np.all(scratch[:3] == GUARD)
    assert np.all(scratch[-3:] == GUARD)
    got = memory[32:-32].reshape(y.shape)
    assert_near(inner(got, halos[1], k), expected, outputs)
    # The halo and the missing channels of the result are zero, ready for the next layer.
    again = padded(inner(got, halos[1], k), halos[1])
    np.testing.assert_array_equal(got, again)


@pytest.mark.parametrize("outputs", [2, 4])
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients(shape, outputs):
    n, c, k, h, w = shape
    x, filters, dy = random((n, c, h, w), 0), random((k, c, 3, 3), 1), random((n, k, h, w), 5)
    wide = [array.astype(np.float64) for array in (x, filters, dy)]
    back = padded_conv(k, c, (h, w), outputs, y_halo=0)
    u, none = padded_filters(filters, outputs, turned=True), np.zeros(back.filters, dtype=np.float32)
    dx = np.empty((n, h, w, back.filters), dtype=np.float32)
    scratch = np.empty(back.scratch, dtype=np.float32)
    gradient = padded(dy, 1).reshape(-1)
    convolve_padded(back, n, gradient, 0, u, 0, none, 0, none, 0, dx.reshape(-1), 0, scratch, 0)
    expected = reference.conv2d_input_grad(wide[2], wide[1], x.shape, 1, 1)
    assert_near(inner(dx, 0, c), expected, outputs)

    p = padded_conv(c, k, (h, w), outputs, x_halo=1, y_halo=1)
    sums, scratch = np.empty(padded_sums(p), np.float32), np.empty(p.scratch, np.float32)
    source, dw = padded(x, 1).reshape(-1), np.empty(filters.size, dtype=np.float32)
    half, image = n // 2, (h + 2) * (w + 2)
    add_filter_grad(p, half, source, 0, gradient, 0, sums, 0, 0, scratch, 0)
    begun = int(half > 0)
    at = half * image
    add_filter_grad(p, n - half, source, at * p.depth, gradient, at * p.filters, sums, 0, begun, scratch, 0)
    filter_gradient(sums, 1, k, c, outputs, dw)
    expected = reference.conv2d_weight_grad(wide[2], wide[0], filters.shape, 1, 1)
    assert_near(dw.reshape(filters.shape), expected, outputs)


def test_images_and_blocks_change_no_bit():
    x, filters = random((5, 20, 9, 6), 0), random((18, 20, 3, 3), 1)
    u, source, results = padded_filters(filters, 4), padded(x, 1), []
    for block, step in ((8, 5), (64, 2), (0, 1)):
        p = padded_conv(20, 18, (9, 6), 4, block=block)
        bias, y = np.zeros(p.filters, np.float32), np.zeros((5, 11, 8, p.filters), dtype=np.float32)
        scratch = np.empty(p.scratch, dtype=np.float32)
        for i in range(0, 5, step):
            some, flat = min(step, 5 - i), source.reshape(-1)
            places = i * source[0].size, i * y[0].size
            convolve_padded(
                p, some, flat, places[0], u, 0, bias, 0, bias, 0, y.reshape(-1), places[1], scratch, 0
            )
        results.append(y)
    np.testing.assert_array_equal(results[1], results[0])
    np.testing.assert_array_equal(results[2], results[0])


def test_plain_loops_keep_nan():
    tile = np.zeros(4 * LANES, dtype=np.float32)
    tile[2 * LANES] = np.nan
    y = np.empty(LANES, dtype=np.float32)
    LOOPS["pool_vector"](y, 0, tile, 0, 2 * LANES, np.float32(0.0))
    assert np.isnan(y[0])
    assert np.all(y[1:] == 0)

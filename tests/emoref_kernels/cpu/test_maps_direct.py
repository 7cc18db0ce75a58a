"""Direct convolutions of maps against the reference, and their tiles against plain loops."""

import numba
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from emoref_kernels.cpu import maps_direct_tile
from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.maps import Maps, pixel_stride
from emoref_kernels.cpu.maps_direct import direct_conv, direct_input_grad
from emoref_kernels.cpu.maps_direct_plan import Case, make_plan
from emoref_kernels.cpu.maps_direct_tile import TILE_VECTORS, DirectTile, direct_tile_loops, tile_rows
from emoref_kernels.cpu.simd import LANES, ROWS, fma
from emoref_kernels.reference import conv as reference

GUARD = np.float32(-12345.0)
NO_BIAS = np.zeros(0, np.float32)
PAIR = st.tuples(st.integers(1, 3), st.integers(1, 3))


@jit()
def direct_tile(y, x, w, columns, tables, tile, vectors):
    maps_direct_tile.direct_tile(y, x, w, columns, tables, tile, vectors)


def normal(rng, shape):
    return rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("vectors", range(1, TILE_VECTORS + 1))
@pytest.mark.parametrize(("runs", "run_length"), [(1, 1), (1, 13), (4, 1), (5, 3)])
def test_tile_equals_plain_loops(vectors, runs, run_length):
    rng = np.random.default_rng(runs)
    width = TILE_VECTORS * LANES
    tables = np.zeros(50, np.int64)
    tables[:ROWS] = rng.permutation(ROWS) * (width + 7)
    tables[10 : 10 + ROWS] = rng.integers(0, 90, ROWS)
    tables[30 : 30 + runs] = rng.integers(0, 30, runs)
    tables[40 : 40 + runs] = rng.integers(0, 9, runs)
    x, w, columns = normal(rng, 200), normal(rng, 30 * width), normal(rng, 3 * width)
    x[tables[10] + 3 : tables[10] + 40 : 7] = np.inf
    columns[width + 9 : 2 * width : 3] = 0.0
    tile = DirectTile(0, 5, 10, 3, 2, vectors * LANES, 30, 40, runs, run_length, 1, width)
    got = np.full(ROWS * (width + 7) + 20, GUARD)
    expected = got.copy()
    direct_tile(got, x, w, columns, tables, tile, vectors)
    direct_tile_loops(expected, x, w, columns, tables, tile, vectors)
    np.testing.assert_array_equal(got, expected)
    written = np.zeros(got.size, bool)
    for place in tables[: tile_rows(vectors)]:
        written[5 + place : 5 + place + vectors * LANES] = True
    assert (got[~written] == GUARD).all()
    assert (got[written] != GUARD).all()


def guarded(shape, value):
    """Return maps to be written, inside memory that must not be."""
    n, c, h, w = shape
    size = n * h * w * pixel_stride(c)
    memory = np.full(size + 64, GUARD)
    memory[32 : 32 + size] = value
    return memory, memory[32 : 32 + size]


def read(memory, shape):
    """Check what surrounds maps, and their padding channels, and return their planes."""
    n, c, h, w = shape
    assert (memory[:32] == GUARD).all()
    assert (memory[-32:] == GUARD).all()
    pixels = memory[32:-32].reshape(n, h, w, pixel_stride(c))
    assert (pixels[..., c:] == 0).all()
    return np.asarray(Maps(pixels, c))


def between_nans(planes):
    """Return the memory of maps that lies between values that must not be read."""
    maps = Maps.from_planes(planes)
    memory = np.full(maps.flat.size + 64, np.nan, np.float32)
    memory[32:-32] = maps.flat
    return memory[32:-32], maps.stride


def convolve(x, w, bias, stride, padding):
    shape = reference.conv2d(np.zeros((1, *x.shape[1:])), np.zeros(w.shape), None, stride, padding).shape
    shape = (x.shape[0], *shape[1:])
    memory, y = guarded(shape, np.nan)
    direct_conv(
        between_nans(x)[0], x.shape, pixel_stride(x.shape[1]), w, bias, stride, padding, y, shape,
        pixel_stride(shape[1]),
    )  # fmt: skip
    return read(memory, shape)


def input_grad(dy, w, x_shape, stride, padding):
    memory, dx = guarded(x_shape, np.nan)
    flat, dy_stride = between_nans(dy)
    direct_input_grad(flat, dy.shape, dy_stride, w, stride, padding, dx, x_shape, pixel_stride(x_shape[1]))
    return read(memory, x_shape)


def check(rng, images, channels, filters, size, kernel, stride, padding, biased):
    x, w = normal(rng, (images, channels, *size)), normal(rng, (filters, channels, *kernel))
    bias = normal(rng, filters) if biased else NO_BIAS
    got = convolve(x, w, bias, stride, padding)
    wide_x, wide_w = x.astype(np.float64), w.astype(np.float64)
    expected = reference.conv2d(wide_x, wide_w, bias.astype(np.float64) if biased else None, stride, padding)
    assert np.abs(got - expected).max() < 3e-6 * max(np.abs(expected).max(), 1.0)
    dy = normal(rng, expected.shape)
    got = input_grad(dy, w, x.shape, stride, padding)
    expected = reference.conv2d_input_grad(dy.astype(np.float64), wide_w, x.shape, stride, padding)
    assert np.abs(got - expected).max() < 3e-6 * max(np.abs(expected).max(), 1.0)


CHANNELS = st.one_of(st.integers(1, 6), st.sampled_from([LANES, LANES + 1, 3 * LANES, 4 * LANES, 5 * LANES]))


@settings(deadline=None, max_examples=500)
@given(
    seed=st.integers(0, 2**32 - 1),
    images=st.integers(1, 3),
    channels=CHANNELS,
    filters=CHANNELS,
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=PAIR,
    padding=st.tuples(st.integers(0, 5), st.integers(0, 5)),
    biased=st.booleans(),
)
def test_any_shape_agrees_with_the_reference(
    seed, images, channels, filters, size, kernel, stride, padding, biased
):
    assume(all(extent + 2 * pad >= k for extent, pad, k in zip(size, padding, kernel, strict=True)))
    check(np.random.default_rng(seed), images, channels, filters, size, kernel, stride, padding, biased)


@pytest.mark.parametrize(
    ("images", "channels", "filters", "size", "kernel", "stride", "padding"),
    [
        (70, 32, 64, (7, 3), 1, 1, 0),
        (5, 16, 32, (32, 32), 3, 2, 1),
        (5, 16, 32, (32, 32), 1, 2, 0),
        (3, 3, 64, (32, 32), 3, 1, 1),
        (9, 20, 36, (30, 17), 3, 1, 1),
        (37, 64, 112, (2, 2), 3, 1, 1),
        (33, 70, 20, (4, 4), 4, 1, 0),
        (2, 24, 2, (41, 23), 5, 3, 2),
    ],
)
def test_any_shape_agrees_with_the_reference_in_several_pieces(
    images, channels, filters, size, kernel, stride, padding
):
    rng = np.random.default_rng(images)
    check(rng, images, channels, filters, size, (kernel,) * 2, (stride,) * 2, (padding,) * 2, True)


@jit()
def conv_loops(x, w, bias, stride, padding, y):
    for n, o, i, j in np.ndindex(y.shape):
        total = np.float32(0.0)
        for r in range(w.shape[2]):
            for s in range(w.shape[3]):
                row, column = i * stride + r - padding, j * stride + s - padding
                if 0 <= row < x.shape[2] and 0 <= column < x.shape[3]:
                    for c in range(x.shape[1]):
                        total = fma(x[n, c, row, column], w[o, c, r, s], total)
        y[n, o, i, j] = total + bias[o]


@jit()
def grad_loops(dy, w, stride, padding, dx):
    for n, c, i, j in np.ndindex(dx.shape):
        total = np.float32(0.0)
        for r in range(w.shape[2] - 1, -1, -1):
            for s in range(w.shape[3] - 1, -1, -1):
                row, row_rest = divmod(i + padding - r, stride)
                column, column_rest = divmod(j + padding - s, stride)
                inside = 0 <= row < dy.shape[2] and 0 <= column < dy.shape[3]
                if inside and row_rest == 0 and column_rest == 0:
                    for o in range(dy.shape[1]):
                        total = fma(dy[n, o, row, column], w[o, c, r, s], total)
        dx[n, c, i, j] = total


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(1, 1, 0), (3, 1, 1), (3, 2, 1), (1, 2, 0), (5, 3, 2)]
)
@pytest.mark.parametrize(("channels", "filters"), [(3, 5), (6, 2 * LANES + 3)])
def test_order_of_the_sums(kernel, stride, padding, channels, filters):
    rng = np.random.default_rng(kernel)
    x, w = normal(rng, (2, channels, 5, 6)), normal(rng, (filters, channels, kernel, kernel))
    bias = normal(rng, filters)
    y = convolve(x, w, bias, (stride,) * 2, (padding,) * 2)
    expected = np.empty_like(y)
    conv_loops(x, w, bias, stride, padding, expected)
    np.testing.assert_array_equal(y, expected)
    dx, expected = input_grad(y, w, x.shape, (stride,) * 2, (padding,) * 2), np.empty_like(x)
    grad_loops(y, w, stride, padding, expected)
    np.testing.assert_array_equal(dx, expected)


@pytest.mark.parametrize(("kernel", "size"), [(1, 4), (3, 2), (3, 17)])
def test_images_do_not_depend_on_their_batch(kernel, size):
    rng = np.random.default_rng(size)
    x, w = normal(rng, (21, 18, size, size)), normal(rng, (50, 18, kernel, kernel))
    padding = (kernel // 2,) * 2
    y = convolve(x, w, NO_BIAS, (1, 1), padding)
    dx = input_grad(y, w, x.shape, (1, 1), padding)
    for image in (0, 7, 20):
        own = slice(image, image + 1)
        np.testing.assert_array_equal(convolve(x[own], w, NO_BIAS, (1, 1), padding), y[own])
        np.testing.assert_array_equal(input_grad(y[own], w, x[own].shape, (1, 1), padding), dx[own])


def test_values_that_are_not_finite_stay_in_their_channels():
    x, w = np.zeros((1, 5, 6, 6), np.float32), np.ones((9, 5, 3, 3), np.float32)
    x[0, 2, 3, 3] = np.inf
    y = convolve(x, w, NO_BIAS, (1, 1), (1, 1))
    assert np.isinf(y[0, :, 2:5, 2:5]).all()
    assert np.isfinite(y).sum() == 9 * (36 - 9)
    dx = input_grad(y, w, x.shape, (1, 1), (1, 1))
    assert np.isinf(dx[0, :, 1:, 1:]).all()


def test_pixels_that_no_window_reaches_are_zero():
    dy, w = np.ones((2, 3, 3, 3), np.float32), np.ones((3, 20, 1, 1), np.float32)
    dx = input_grad(dy, w, (2, 20, 6, 6), (2, 2), (0, 0))
    np.testing.assert_array_equal(dx[:, :, ::2, ::2], 3.0)
    assert dx.sum() == 3 * dx[:, :, ::2, ::2].size


def test_no_images():
    nothing, w = np.zeros(0, np.float32), np.ones((4, 4, 3, 3), np.float32)
    direct_conv(nothing, (0, 4, 5, 5), LANES, w, NO_BIAS, (1, 1), (1, 1), nothing, (0, 4, 5, 5), LANES)
    direct_input_grad(nothing, (0, 4, 5, 5), LANES, w, (1, 1), (1, 1), nothing, (0, 4, 5, 5), LANES)


def test_pieces_hold_each_row_once():
    case = Case(5, 40, 40, 64, 40, 40, 64, 64, (3, 3), (1, 1), (1, 1), False)
    work, tables, taps = make_plan(case, 2)
    assert make_plan(case, 2).tables is tables
    assert sorted(taps.reshape(-1)) == list(range(9))
    width = 7
    for first_piece, pieces in ((work.first_piece, work.pieces), (work.last_piece, work.last_pieces)):
        places = []
        for index in range(tables[first_piece], tables[first_piece + pieces]):
            segment = tables[work.segments + width * index :][:width]
            places += list(tables[segment[0] : segment[0] + segment[2]])
        assert len(places) % 1600 == 0
        assert sorted(places) == list(range(0, len(places) * 64, 64))


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 2), (3, 1)])
def test_bits_do_not_depend_on_the_threads(kernel, stride):
    rng = np.random.default_rng(2)
    x, w = normal(rng, (13, 20, 12, 9)), normal(rng, (40, 20, kernel, kernel))
    results = []
    most = numba.get_num_threads()
    try:
        for threads in range(1, most + 1):
            numba.set_num_threads(threads)
            y = convolve(x, w, NO_BIAS, (stride,) * 2, (kernel // 2,) * 2)
            results.append((y, input_grad(y, w, x.shape, (stride,) * 2, (kernel // 2,) * 2)))
    finally:
        numba.set_num_threads(most)
    for result in results[1:]:
        for got, expected in zip(result, results[0], strict=True):
            np.testing.assert_array_equal(got, expected)

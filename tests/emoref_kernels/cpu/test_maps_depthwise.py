"""Depthwise convolutions of channels-last maps against the reference, vector loops against plain ones."""

import numba
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from emoref_kernels.cpu import depthwise_vectors, maps_depthwise
from emoref_kernels.cpu.depthwise_plans import BLOCK, PART_PIXELS, SINGLE, results_plan, sums_plan
from emoref_kernels.cpu.depthwise_vectors import COLUMNS, LOOPS, SPREAD, TAPS, Row, Window
from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.maps import Maps, pixel_stride
from emoref_kernels.cpu.simd import LANES
from emoref_kernels.reference import conv as reference

GUARD = np.float32(-12345.0)
NO_BIAS = np.zeros(0, dtype=np.float32)


@jit()
def column_sums(y, x, w, row, kind):
    depthwise_vectors.column_sums(y, x, w, row, kind)


@jit()
def tap_sums(dy, x, sums, row, kind):
    depthwise_vectors.tap_sums(dy, x, sums, row, kind)


@jit()
def window_sum(y, z, x, w, window):
    depthwise_vectors.window_sum(y, z, x, w, window)


def normal(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def row_case(rng, kind, columns, rows, exist, vectors):
    """Return a row, and the memory of its pixels: NaN wherever the loops must not look."""
    x_col, x_row, width = (vectors + 1) * LANES, 40 * LANES * 3, 2 * columns + 2
    row = Row(
        3, vectors * LANES + 2, 0, 5, x_col, x_row, 7, vectors * LANES + 1, columns, *rows, *exist,
        vectors * LANES,
    )  # fmt: skip
    x = np.full(TAPS * x_row + width * x_col + 100, np.nan, np.float32)
    pixels = columns // 2 + 1 if kind == SPREAD else (columns - 1) * kind + TAPS
    for r in range(max(rows[0], 0), min(rows[1], TAPS)):
        for pixel in range(1 - exist[0], pixels - 1 + exist[1]):
            start = 5 + r * x_row + pixel * x_col
            x[start : start + row.lanes] = normal(rng, row.lanes)
    return row, x


@pytest.mark.parametrize("exist", [(0, 0), (1, 0), (0, 1), (1, 1)])
@pytest.mark.parametrize("rows", [(0, 3), (-1, 2), (1, 7), (1, 2), (2, 2)])
@pytest.mark.parametrize("kind", [1, 2, SPREAD])
def test_rows_equal_plain_loops(kind, rows, exist):
    rng = np.random.default_rng(kind)
    for columns, vectors in ((COLUMNS, 1), (COLUMNS + 2, 2), (3 * COLUMNS, 1)):
        row, x = row_case(rng, kind, columns, rows, exist, vectors)
        y, w = normal(rng, 1000 + columns * row.y_col), normal(rng, 100 + 10 * row.w_tap)
        expected = y.copy()
        column_sums(y, x, w, row, kind)
        LOOPS["column_sums"](expected, x, w, row, kind)
        np.testing.assert_array_equal(y, expected)
        assert np.isfinite(y).all()
        if kind != SPREAD and columns % COLUMNS == 0:
            sums, expected = w.copy(), w.copy()
            tap_sums(y, x, sums, row, kind)
            LOOPS["tap_sums"](y, x, expected, row, kind)
            np.testing.assert_array_equal(sums, expected)
            assert np.isfinite(sums).all()


@pytest.mark.parametrize("count", [1, 3, LANES, 3 * LANES, 5 * LANES])
@pytest.mark.parametrize(("rows", "cols"), [(1, 1), (2, 3), (0, 4), (3, 0)])
def test_windows_equal_plain_loops(count, rows, cols):
    rng = np.random.default_rng(count)
    y, z, x, w = (normal(rng, 12 * 6 * LANES) for _ in range(4))
    window = Window(3, 2, 1, count, 5 * LANES, 4, count + 1, 4 * count, rows, cols, count)
    expected = y.copy()
    window_sum(y, z, x, w, window)
    LOOPS["window_sum"](expected, z, x, w, window)
    np.testing.assert_array_equal(y, expected)


class Case:
    """Random operands of a convolution, as arrays and as maps, and what float64 gives."""

    def __init__(self, images, channels, size, kernel=(3, 3), stride=(1, 1), padding=(1, 1)):
        rng = np.random.default_rng(channels)
        self.stride, self.padding = stride, padding
        self.x, self.w, self.bias = (
            normal(rng, images, channels, *size),
            normal(rng, channels, 1, *kernel),
            normal(rng, channels),
        )
        how = stride, padding, channels
        x, w, bias = (array.astype(np.float64) for array in (self.x, self.w, self.bias))
        y = reference.conv2d(x, w, bias, *how)
        self.dy = normal(rng, *y.shape)
        dy = self.dy.astype(np.float64)
        self.expected = (
            y,
            reference.conv2d_input_grad(dy, w, x.shape, *how),
            reference.conv2d_weight_grad(dy, x, w.shape, *how),
        )

    def results(self):
        """Return output and gradients; the maps are followed and preceded by guards, the padding checked."""
        x, dy = Maps.from_planes(self.x), Maps.from_planes(self.dy)
        memories = [guarded(self.dy.shape), guarded(self.x.shape)]
        y, dx = (memory[32:-32] for memory in memories)
        dw = np.full(self.w.shape, np.nan, np.float32)
        how = self.stride, self.padding
        maps_depthwise.depthwise_conv(x.flat, x.shape, self.w, self.bias, *how, y, dy.shape)
        maps_depthwise.depthwise_input_grad(dy.flat, dy.shape, self.w, *how, dx, x.shape)
        maps_depthwise.depthwise_weight_grad(dy.flat, dy.shape, x.flat, x.shape, *how, dw)
        assert all(np.all(memory[:32] == GUARD) and np.all(memory[-32:] == GUARD) for memory in memories)
        return planes(y, self.dy.shape), planes(dx, self.x.shape), dw

    def check(self, bound=2e-6):
        for got, expected in zip(self.results(), self.expected, strict=True):
            scale = max(np.abs(expected).max(), 1.0)
            assert np.abs(got - expected).max() < bound * scale


def guarded(shape):
    images, channels, height, width = shape
    return np.full(images * height * width * pixel_stride(channels) + 64, GUARD, dtype=np.float32)


def planes(memory, shape):
    """Return the values of maps in memory, whose other channels must be zero."""
    images, channels, height, width = shape
    maps = Maps(memory.reshape(images, height, width, pixel_stride(channels)), channels)
    assert not maps.pixels[..., channels:].any()
    return np.asarray(maps)


pairs = st.tuples(st.integers(1, 2), st.integers(1, 2))


@settings(deadline=None, max_examples=400)
@given(
    images=st.integers(1, 3),
    channels=st.one_of(st.integers(1, 5), st.integers(LANES - 1, LANES + 1)),
    size=st.tuples(st.integers(1, 13), st.integers(1, 13)),
    stride=pairs,
    padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
)
def test_any_shape_agrees_with_the_reference_under_3_x_3(images, channels, size, stride, padding):
    assume(all(extent + 2 * pad >= 3 for extent, pad in zip(size, padding, strict=True)))
    Case(images, channels, size, (3, 3), stride, padding).check()


@settings(deadline=None, max_examples=200)
@given(
    channels=st.sampled_from([1, 3, 5, LANES, 4 * LANES + 1]),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    padding=st.tuples(st.integers(0, 4), st.integers(0, 4)),
)
def test_any_shape_agrees_with_the_reference_under_any_kernel(channels, size, kernel, stride, padding):
    extents = [extent + 2 * pad for extent, pad in zip(size, padding, strict=True)]
    assume(all(extent >= taps for extent, taps in zip(extents, kernel, strict=True)))
    Case(2, channels, size, kernel, stride, padding).check()


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("channels", "side"), [(32, 32), (64, 32), (128, 16), (256, 8), (512, 4), (1024, 2)])
def test_layers_of_mobilenet(channels, side, stride):
    Case(2, channels, (side, side), stride=(stride, stride)).check()


@pytest.mark.parametrize(("size", "parts"), [((37, 64), 15), ((2, PART_PIXELS + 3), 10), ((3, 5), 1)])
def test_parts_of_images_and_several_images_in_a_part(size, parts):
    case = Case(5, LANES, size)
    assert sums_plan(case.x.shape, case.dy.shape, (3, 3), (1, 1), (1, 1)).parts == parts
    case.check(5e-6)


def test_filters_and_their_gradients_need_not_be_contiguous():
    case = Case(2, 5, (6, 7))
    expected = case.results()
    case.w = np.asfortranarray(case.w)
    for got, same in zip(case.results(), expected, strict=True):
        np.testing.assert_array_equal(got, same)
    x, dy, dw = Maps.from_planes(case.x), Maps.from_planes(case.dy), np.zeros((3, 3, 1, 5), np.float32).T
    maps_depthwise.depthwise_weight_grad(dy.flat, dy.shape, x.flat, x.shape, (1, 1), (1, 1), dw)
    np.testing.assert_array_equal(dw, expected[2])


def test_images_do_not_touch_each_other():
    case = Case(3, 2 * LANES, (5, 8))
    alone = case.results()
    case.x[::2], case.dy[::2] = np.nan, np.nan
    for got, same in zip(case.results()[:2], alone[:2], strict=True):
        np.testing.assert_array_equal(got[1], same[1])


def test_pixels_without_a_window_get_zero():
    case = Case(2, LANES, (5, 4), (1, 1), (2, 2), (0, 0))
    case.check()
    dx = case.results()[1]
    assert dx[:, :, ::2, ::2].all()
    assert not dx[:, :, 1::2].any()
    assert not dx[..., 1::2].any()


def test_an_empty_batch_has_a_gradient_of_zeros():
    empty = Maps.empty((0, LANES, 4, 4))
    dw = np.ones((LANES, 1, 3, 3), np.float32)
    how = (1, 1), (1, 1)
    maps_depthwise.depthwise_conv(empty.flat, empty.shape, dw, NO_BIAS, *how, empty.flat, empty.shape)
    maps_depthwise.depthwise_weight_grad(empty.flat, empty.shape, empty.flat, empty.shape, *how, dw)
    assert not dw.any()


@pytest.mark.parametrize("stride", [1, 2])
def test_bits_do_not_depend_on_the_threads(stride):
    most = numba.get_num_threads()
    cases = [Case(3, BLOCK + LANES, (3, 6), stride=(stride, stride)), Case(1, 5, (40, 50))]
    results = []
    try:
        for threads in range(1, most + 1):
            numba.set_num_threads(threads)
            results.append([array for case in cases for array in case.results()])
    finally:
        numba.set_num_threads(most)
    for result in results[1:]:
        for got, expected in zip(result, results[0], strict=True):
            np.testing.assert_array_equal(got, expected)


def test_tables_of_a_gradient_at_stride_two():
    # By hand, rows of 6 from 3: pixel t meets tap r for result (t + 1 - r) / 2. So even pixels meet tap 1 of
    # result t / 2; odd ones tap 2 of (t - 1) / 2 and tap 0 of (t + 1) / 2, of which the last is missing.
    shapes = (1, LANES, 3, 3), (1, LANES, 6, 6)
    plan = results_plan(*shapes, (3, 3), (2, 2), (1, 1), True)
    assert plan.order.tolist() == [3 * r + s for r in (1, 2, 0) for s in (1, 2, 0)]
    rows = plan.tables[:18].reshape(6, 3).tolist()
    assert rows == [[0, 1, 0], [1, 2, 0], [0, 1, 1], [1, 2, 1], [0, 1, 2], [1, 1, 2]]
    assert plan.tables[18:].tolist() == [SPREAD, 6, 0, 0, 1, 0]
    narrow = results_plan((1, LANES, 3, 1), (1, LANES, 6, 2), (3, 3), (2, 2), (1, 1), True)
    assert narrow.tables[18:].tolist() == [SINGLE, 1, 0, 0, 0, 1, SINGLE, 1, 1, 0, 1, 1]

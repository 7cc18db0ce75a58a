"""Vector loops of depthwise planes against plain ones, and where they fit."""

import numpy as np
import pytest

from emoref_kernels.cpu import depthwise_rows
from emoref_kernels.cpu.depthwise_rows import LEAST_SEGMENT, SPREAD, ZEROS, Strip, segments_of
from emoref_kernels.cpu.depthwise_strips import strip_kind
from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.simd import LANES

SEGMENTS = [segments for segments in (1, 2, 4) if LANES // segments >= LEAST_SEGMENT]


@jit()
def results(y, x, w, strip, kind, segments):
    depthwise_rows.plane_results(y, x, w, strip, kind, segments)


@jit()
def sums(y, x, w, strip, kind, segments):
    depthwise_rows.plane_sums(y, x, w, strip, kind, segments)


def strip_of(kind, segments, rows, x_rows, columns):
    """Return a strip with gaps between its planes, and arrays around it: y, x and w."""
    rng = np.random.default_rng(rows)
    (y_h, y_w), (x_h, x_w) = (rows, columns), (x_rows, columns * max(kind, 1))
    if kind == SPREAD:
        y_h, y_w = 2 * rows, 2 * columns
    y_plane, x_plane = y_h * y_w + 3, x_h * x_w + 5
    arrays = [
        rng.standard_normal(size).astype(np.float32)
        for size in (segments * y_plane + 40, segments * x_plane + 40)
    ]
    # All lanes of a segment hold the same value.
    w = np.repeat(rng.standard_normal(12 * segments).astype(np.float32), LANES // segments)
    w = np.concatenate([w, np.zeros(ZEROS, np.float32)])
    strip = Strip(17, y_w, y_plane, 19, x_w, x_plane, LANES, w.size - ZEROS, rows, x_rows, columns)
    return strip, *arrays, w


@pytest.mark.parametrize("kind", [1, 2, SPREAD])
@pytest.mark.parametrize("segments", SEGMENTS)
@pytest.mark.parametrize("rows", [2, 3, 6])
def test_results_equal_plain_loops(kind, segments, rows):
    for columns in [LANES, 2 * LANES, 2 * LANES + 3] if segments == 1 else [LANES // segments]:
        for x_rows in {1: (rows,), 2: (2 * rows, 2 * rows - 1), SPREAD: (rows,)}[kind]:
            strip, y, x, w = strip_of(kind, segments, rows, x_rows, columns)
            got, expected = y.copy(), y.copy()
            results(got, x, w, strip, kind, segments)
            depthwise_rows.LOOPS["plane_results"](expected, x, w, strip, kind, segments)
            np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("kind", [1, 2])
@pytest.mark.parametrize("segments", SEGMENTS)
@pytest.mark.parametrize("rows", [2, 3, 6])
def test_sums_equal_plain_loops(kind, segments, rows):
    for columns in [LANES, 2 * LANES] if segments == 1 else [LANES // segments]:
        strip, y, x, w = strip_of(kind, segments, rows, kind * rows, columns)
        got, expected = w.copy(), w.copy()
        sums(y, x, got, strip, kind, segments)
        depthwise_rows.LOOPS["plane_sums"](y, x, expected, strip, kind, segments)
        np.testing.assert_array_equal(got, expected)


def test_which_shapes_fit():
    def segments(x_size, y_size, *how, channels=LANES):
        return strip_kind((1, channels, *x_size), (1, channels, *y_size), *how)[1]

    wide = (7, 2 * LANES)
    assert segments(wide, wide, 1, (1, 1), False) == 1
    assert segments((7, LANES // 2), (7, LANES // 2), 1, (1, 1), False) == segments_of(LANES // 2)
    assert segments((7, 2 * LANES), (4, LANES), 2, (1, 1), False) == 1
    assert segments((4, LANES), (8, 2 * LANES), 2, (1, 1), True) == 1
    assert segments(wide, wide, 1, (1, 1), False, channels=1) == 1
    for x_size, y_size, *how in (
        (wide, (7, 2 * LANES - 2), 1, (1, 0), False),
        ((1, LANES), (1, LANES), 1, (1, 1), False),
        ((7, 3), (7, 3), 1, (1, 1), False),
        ((7, 2 * LANES - 1), (4, LANES), 2, (1, 1), False),
        ((4, LANES), (7, 2 * LANES), 2, (1, 1), True),
        ((7, LANES + 2), (7, LANES + 2), 1, (1, 1), False, True),
    ):
        assert segments(x_size, y_size, *how) == 0
    if segments_of(LANES // 2):
        assert segments((7, LANES // 2), (7, LANES // 2), 1, (1, 1), False, channels=1) == 0

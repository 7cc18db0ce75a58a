"""Which taps meet which pixels: the tables by which depthwise convolutions of maps are computed.

They depend on shapes alone, and make the gradient of the input the same computation as the forward pass. With
a stride of 2, say, the pixels of an even row see other taps than those of an odd row. Packed in a suitable
order, the taps of both are neighbours over neighbouring pixels, as those of a forward pass are.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from emoref_kernels.cpu.depthwise_vectors import COLUMNS, SPREAD, TAPS
from emoref_kernels.cpu.maps import pixel_stride
from emoref_kernels.cpu.simd import LANES
from emoref_kernels.cpu.winograd_cuts import ceil_div

__all__ = ["BLOCK", "PART_PIXELS", "SINGLE", "Plan", "Results", "SumsOfParts", "results_plan", "sums_plan"]

BLOCK = 16 * LANES
"""Channels that are treated together: their filters, or sums, stay in the first-level cache."""

PART_PIXELS = 1024
"""Pixels of the output, about, whose products are added in single precision."""

SINGLE = -1
"""Stands in tables for the kind of a row: a single result."""


class Plan(NamedTuple):
    """What a kernel is told; every number is an extent, a distance or a count."""

    images: int
    stride: int  # of the pixels
    x_h: int
    x_w: int
    y_h: int
    y_w: int
    taps_h: int
    taps_w: int
    items: int  # entries of the table of columns
    step_h: int  # rows of x from one row of y to the next
    step_w: int
    top: int  # row of x under the first tap of the first row of y
    left: int  # the same for the first of the columns that :data:`tap_sums` takes,
    column: int  # which is this one,
    columns: int  # and their number,
    first: int  # and whether the first pixels under them exist
    last: int  # and the last ones
    group: int  # images of a part
    bands: int  # parts of an image
    parts: int  # 0: results are computed, no sums


class Axis(NamedTuple):
    """How the results along one axis are made.

    Attributes
    ----------
    order : tuple of int
        The order in which the filters' taps are packed.
    taps : tuple of (int, int, int)
        For each result the place of its first tap in this order, the number of its taps, and the pixel under
        the first; the next taps meet the next pixels.
    """

    order: tuple[int, ...]
    taps: tuple[tuple[int, int, int], ...]


def _axis(targets: int, sources: int, kernel: int, stride: int, padding: int, gradient: bool) -> Axis:
    """Return the taps of the results of a convolution along one axis, or of its input's gradient."""
    if not gradient:
        taps = []
        for target in range(targets):
            start = target * stride - padding
            low, high = max(-start, 0), min(kernel, sources - start)
            taps.append((low, high - low, start + low) if low < high else (0, 0, 0))
        return Axis(tuple(range(kernel)), tuple(taps))
    # Pixel t met tap r for the result (t + padding - r) / stride, if this is a whole number. So the taps of
    # one remainder belong together, the last one first; those with tap 1 lead, as SPREAD rows want it.
    order = [r for lead in range(1, stride + 1) for r in reversed(range(lead % stride, kernel, stride))]
    taps = []
    for target in range(targets):
        met = [r for r in order if (target + padding - r) % stride == 0]
        met = [r for r in met if 0 <= (target + padding - r) // stride < sources]
        taps.append(
            (order.index(met[0]), len(met), (target + padding - met[0]) // stride) if met else (0, 0, 0)
        )
    return Axis(tuple(order), tuple(taps))


def _many(targets: int, sources: int, stride: int, padding: int, gradient: bool) -> tuple[int, ...]:
    """Return the results of a row under three columns of taps that one call computes.

    Returns
    -------
    tuple of int
        Kind, number, first result, pixel under its first tap, and whether the first and the last pixel
        exist. At most one pixel on each side may not. The number may be 0, or negative.
    """
    if gradient and stride == 2:
        # Pairs of results: the first meets the pixel under tap 1, the second this and the next pixel.
        target = (1 - padding) % 2
        source = (target + padding - 1) // 2
        pairs = min((targets - target) // 2, sources - source)
        return SPREAD, 2 * pairs, target, source, 1, int(source + pairs < sources)
    step, start = (1, padding + 1 - TAPS) if gradient else (stride, -padding)
    low = max(ceil_div(-1 - start, step), 0)
    high = min((sources + 1 - TAPS - start) // step + 1, targets)
    source = low * step + start
    end = source + (high - low - 1) * step + TAPS
    return step, high - low, low, source, int(source >= 0), int(end <= sources)


def _quick(stride: int, kernel: tuple[int, int], steps: tuple[int, int]) -> bool:
    """Return whether the loops for 3 x 3 taps fit."""
    return stride >= LANES and kernel == (TAPS, TAPS) and steps[1] <= 2


class Results(NamedTuple):
    """How results are computed: those of a forward pass, or of an input's gradient.

    Attributes
    ----------
    numbers : ndarray of int64
        A :class:`Plan`.
    tables : ndarray of int64
        For each row the first tap, the number of taps and the row of x under the first. Then entries for the
        columns: kind, number, first result, pixel, and two more, which are for :data:`SINGLE` results the
        first tap and the number of taps, else whether the first and the last pixel exist.
    order : ndarray of int64
        The order in which the taps are packed.
    """

    numbers: NDArray[np.int64]
    tables: NDArray[np.int64]
    order: NDArray[np.int64]


@lru_cache(maxsize=256)
def results_plan(
    x_shape: tuple[int, ...],
    y_shape: tuple[int, ...],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    gradient: bool,
) -> Results:
    """Return how a convolution is computed, or the gradient of its input.

    Parameters
    ----------
    x_shape, y_shape : tuple of int
        (N, C, H, W) of what is read and of what is written.
    kernel, stride, padding : tuple of int
        (rows, columns).
    gradient : bool
        Whether it is the gradient, which reads the output's gradient.

    Returns
    -------
    Results
        The same object for equal arguments.
    """
    images, channels, x_h, x_w = x_shape
    y_h, y_w = y_shape[2:]
    distance = pixel_stride(channels)
    rows = _axis(y_h, x_h, kernel[0], stride[0], padding[0], gradient)
    columns = _axis(y_w, x_w, kernel[1], stride[1], padding[1], gradient)
    items: list[tuple[int, ...]] = [
        (SINGLE, 1, target, pixel, first, taps) for target, (first, taps, pixel) in enumerate(columns.taps)
    ]
    if _quick(distance, kernel, stride):
        many = _many(y_w, x_w, stride[1], padding[1], gradient)
        if many[1] >= COLUMNS:
            items[many[2] : many[2] + many[1]] = [many]
    order = [r * kernel[1] + s for r in rows.order for s in columns.order]
    numbers = Plan(images, distance, x_h, x_w, y_h, y_w, *kernel, len(items), *[0] * 11)
    tables = np.array([value for entry in (*rows.taps, *items) for value in entry], np.int64)
    return Results(np.array(numbers, np.int64), tables, np.array(order, np.int64))


class SumsOfParts(NamedTuple):
    """How the gradient of filters is summed.

    Attributes
    ----------
    numbers : ndarray of int64
        A :class:`Plan`.
    tables : ndarray of int64
        Products that are left to windows: the tap, the first column of dy, the number of columns, the column
        of x, and the range of the rows of dy.
    parts : int
        Number of the parts.
    """

    numbers: NDArray[np.int64]
    tables: NDArray[np.int64]
    parts: int


@lru_cache(maxsize=256)
def sums_plan(
    x_shape: tuple[int, ...],
    y_shape: tuple[int, ...],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> SumsOfParts:
    """Return how the gradient of filters is summed.

    Parameters
    ----------
    x_shape, y_shape : tuple of int
        (N, C, H, W) of the images and of the output.
    kernel, stride, padding : tuple of int
        (rows, columns).

    Returns
    -------
    SumsOfParts
        The same object for equal arguments.
    """
    images, channels, x_h, x_w = x_shape
    y_h, y_w = y_shape[2:]
    distance = pixel_stride(channels)
    column, columns, left, first, last = y_w, 0, 0, 1, 1
    if _quick(distance, kernel, stride):
        _, columns, column, left, first, last = _many(y_w, x_w, stride[1], padding[1], gradient=False)
        whole = max(columns, 0) // COLUMNS * COLUMNS
        # What ends before the last column meets pixels that exist.
        column, columns, last = (column, whole, last if whole == columns else 1) if whole else (y_w, 0, 1)
    windows = []
    for tap in range(kernel[0] * kernel[1]):
        r, s = divmod(tap, kernel[1])
        low, high = _meeting(y_h, x_h, stride[0], padding[0] - r)
        for part in ((0, column), (column + columns, y_w)):
            start, end = _meeting(y_w, x_w, stride[1], padding[1] - s)
            start, end = max(start, part[0]), min(end, part[1])
            if start < end and low < high:
                windows.append((tap, start, end - start, start * stride[1] - padding[1] + s, low, high))
    group = max(PART_PIXELS // max(y_h * y_w, 1), 1)
    bands = min(ceil_div(y_h * y_w, PART_PIXELS), y_h) if group == 1 else 1
    parts = ceil_div(images, group) * bands
    numbers = Plan(
        images, distance, x_h, x_w, y_h, y_w, *kernel, len(windows), *stride, -padding[0], left, column,
        columns, first, last, group, bands, parts,
    )  # fmt: skip
    return SumsOfParts(np.array(numbers, np.int64), np.array(windows, np.int64).reshape(-1), parts)


def _meeting(targets: int, sources: int, stride: int, shift: int) -> tuple[int, int]:
    """Return the range of results whose pixel under a tap, ``stride * result - shift``, exists."""
    return max(ceil_div(shift, stride), 0), min((sources - 1 + shift) // stride + 1, targets)

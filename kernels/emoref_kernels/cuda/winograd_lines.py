"""Winograd's transforms along one line, written out (Lavin and Gray 2016, section 4; points 0, +-1, +-2).

With the paper's matrices: ``inputs`` is B^T, ``filters`` is G, ``outputs`` is A^T; ``grads`` is A and
``weights`` is G^T, for the gradient of the filters. Each function reads a line of an array, from `start` on,
`step` apart (or three values), and writes one likewise.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from emoref_kernels.cuda.jit import device

__all__ = ["LINES", "Lines"]

_2, _4, _5, _8 = (np.float32(value) for value in (2, 4, 5, 8))
_HALF, _QUARTER = np.float32(0.5), np.float32(0.25)
_6TH, _12TH, _24TH = (np.float32(1 / value) for value in (6, 12, 24))


class Lines(NamedTuple):
    """The transforms of one tile size; see the module."""

    inputs: Callable[..., None]
    filters: Callable[..., None]
    outputs: Callable[..., None]
    grads: Callable[..., None]
    weights: Callable[..., None]


@device
def _inputs_4(x, start, step, y, first, apart):
    x0, x1, x2 = x[start], x[start + step], x[start + 2 * step]
    x3, x4, x5 = x[start + 3 * step], x[start + 4 * step], x[start + 5 * step]
    y[first] = _4 * x0 - _5 * x2 + x4
    y[first + apart] = (x3 + x4) - _4 * (x1 + x2)
    y[first + 2 * apart] = (x4 - x3) + _4 * (x1 - x2)
    y[first + 3 * apart] = (x4 - x2) + _2 * (x3 - x1)
    y[first + 4 * apart] = (x4 - x2) - _2 * (x3 - x1)
    y[first + 5 * apart] = _4 * x1 - _5 * x3 + x5


@device
def _filters_4(y, first, apart, g0, g1, g2):
    even, wide = g0 + g2, g0 + _4 * g2
    y[first] = _QUARTER * g0
    y[first + apart] = -_6TH * (even + g1)
    y[first + 2 * apart] = -_6TH * (even - g1)
    y[first + 3 * apart] = _24TH * (wide + _2 * g1)
    y[first + 4 * apart] = _24TH * (wide - _2 * g1)
    y[first + 5 * apart] = g2


@device
def _outputs_4(x, start, step, y, first, apart):
    x1, x2, x3, x4 = x[start + step], x[start + 2 * step], x[start + 3 * step], x[start + 4 * step]
    near, far, odd_near, odd_far = x1 + x2, x3 + x4, x1 - x2, x3 - x4
    y[first] = x[start] + near + far
    last = x[start + 5 * step]
    y[first + apart] = odd_near + _2 * odd_far
    y[first + 2 * apart] = near + _4 * far
    y[first + 3 * apart] = odd_near + _8 * odd_far + last


@device
def _grads_4(x, start, step, y, first, apart):
    x0, x1, x2, x3 = x[start], x[start + step], x[start + 2 * step], x[start + 3 * step]
    even, odd = x0 + x2, x1 + x3
    wide_even, wide_odd = x0 + _4 * x2, _2 * x1 + _8 * x3
    y[first] = x0
    y[first + apart] = even + odd
    y[first + 2 * apart] = even - odd
    y[first + 3 * apart] = wide_even + wide_odd
    y[first + 4 * apart] = wide_even - wide_odd
    y[first + 5 * apart] = x3


@device
def _weights_4(x, start, step, y, first, apart):
    x1, x2, x3, x4 = x[start + step], x[start + 2 * step], x[start + 3 * step], x[start + 4 * step]
    near, far = x1 + x2, x3 + x4
    last = x[start + 5 * step]
    y[first] = _QUARTER * x[start] - _6TH * near + _24TH * far
    y[first + apart] = _12TH * (x3 - x4) - _6TH * (x1 - x2)
    y[first + 2 * apart] = _6TH * (far - near) + last


@device
def _inputs_2(x, start, step, y, first, apart):
    x0, x1, x2, x3 = x[start], x[start + step], x[start + 2 * step], x[start + 3 * step]
    y[first] = x0 - x2
    y[first + apart] = x1 + x2
    y[first + 2 * apart] = x2 - x1
    y[first + 3 * apart] = x1 - x3


@device
def _filters_2(y, first, apart, g0, g1, g2):
    y[first] = g0
    y[first + apart] = _HALF * (g0 + g2 + g1)
    y[first + 2 * apart] = _HALF * (g0 + g2 - g1)
    y[first + 3 * apart] = g2


@device
def _outputs_2(x, start, step, y, first, apart):
    x0, x1, x2, x3 = x[start], x[start + step], x[start + 2 * step], x[start + 3 * step]
    y[first] = x0 + x1 + x2
    y[first + apart] = x1 - x2 - x3


@device
def _grads_2(x, start, step, y, first, apart):
    x0, x1 = x[start], x[start + step]
    y[first] = x0
    y[first + apart] = x0 + x1
    y[first + 2 * apart] = x0 - x1
    y[first + 3 * apart] = -x1


@device
def _weights_2(x, start, step, y, first, apart):
    x0, x1, x2, x3 = x[start], x[start + step], x[start + 2 * step], x[start + 3 * step]
    y[first] = x0 + _HALF * (x1 + x2)
    y[first + apart] = _HALF * (x1 - x2)
    y[first + 2 * apart] = _HALF * (x1 + x2) + x3


LINES: dict[int, Any] = {
    4: Lines(_inputs_4, _filters_4, _outputs_4, _grads_4, _weights_4),
    2: Lines(_inputs_2, _filters_2, _outputs_2, _grads_2, _weights_2),
}
"""Transforms by the number of results of a tile."""

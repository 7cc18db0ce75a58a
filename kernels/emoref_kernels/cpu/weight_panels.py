"""Weights in the order in which the sliding product reads them: panels of some filters, side by side."""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from emoref_kernels.cpu.gemm import pack_panel
from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.shares import keep_apart, share
from emoref_kernels.cpu.simd import ROWS
from emoref_kernels.cpu.winograd_cuts import ceil_div

__all__ = ["pack_weights", "tile_height"]


@jit()
def tile_height(filters):
    """Return how many filters of a group make a tile: one by one, up to two cost less than a tile."""
    return 1 if filters <= 2 else ROWS


@jit()
def _pack_row(w, start, depth, depth_stride, tap_offsets, out, out_start):
    """Copy one filter's weights in the order of the sum."""
    taps = tap_offsets.size
    for c in range(depth):
        for t in range(taps):
            out[out_start + c * taps + t] = w[start + c * depth_stride + tap_offsets[t]]


@jit()
def _pack_chunk(chunk, chunks, n, tap_offsets, w, packed, _c, _d, _e):
    """Pack every chunks-th panel of all groups."""
    keep_apart()
    groups, group_stride, rows, row_stride, depth, depth_stride = n[0], n[1], n[2], n[3], n[4], n[5]
    tile_rows = tile_height(rows)
    panels = (rows + tile_rows - 1) // tile_rows
    size = depth * tap_offsets.size * tile_rows
    for item in range(chunk, groups * panels, chunks):
        group, panel = divmod(item, panels)
        row = panel * tile_rows
        start, place = group * group_stride + row * row_stride, item * size
        if tile_rows == 1:
            _pack_row(w, start, depth, depth_stride, tap_offsets, packed, place)
        else:
            pack_panel(w, start, row_stride, rows - row, depth, depth_stride, tap_offsets, packed, place)


def pack_weights(
    w: NDArray[Any],
    groups: int,
    group_stride: int,
    rows: int,
    row_stride: int,
    depth: int,
    depth_stride: int,
    tap_offsets: NDArray[np.int64],
) -> NDArray[Any]:
    """Pack the weights of all groups into panels of :func:`tile_height` filters.

    The weight of group g, filter m, channel c and tap t is ``w[g * group_stride + m * row_stride +
    c * depth_stride + tap_offsets[t]]``; the rest is as in :func:`~emoref_kernels.cpu.gemm.pack_panel`.
    """
    tile_rows = int(tile_height(rows))
    panels = ceil_div(rows, tile_rows)
    packed = np.empty(groups * panels * depth * tap_offsets.size * tile_rows, np.float32)
    numbers = np.array((groups, group_stride, rows, row_stride, depth, depth_stride), np.int64)
    chunks = min(numba.get_num_threads(), groups * panels)
    share(_pack_chunk, chunks, (numbers, np.ascontiguousarray(tap_offsets)), (w, packed))
    return packed

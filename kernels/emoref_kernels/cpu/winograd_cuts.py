"""How a Winograd convolution is cut into tiles, units and blocks, and the memory that its steps share."""

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref_kernels.cpu.maps import pixel_stride
from emoref_kernels.cpu.simd import LANES, ROWS
from emoref_kernels.cpu.winograd_blocks import Grid, Side

__all__ = [
    "ceil_div",
    "make_grid",
    "make_side",
    "row_floats",
    "unit_pixels_of",
    "whole",
    "with_step",
    "workspace",
]

_PIXEL_FLOATS = 64 * 1024
"""Floats of a unit's pixels, where one row of tiles allows it."""

_KEPT_FLOATS = 32 * 1024 * 1024
"""Largest memory that a thread keeps for its next call: 128 MB."""


class Workspace(threading.local):
    """Memory that a thread keeps from one call to the next, so that its pages are touched once."""

    def __init__(self) -> None:
        self._arrays: dict[str, NDArray[Any]] = {}

    def array(self, name: str, size: int) -> NDArray[Any]:
        """Return float32 memory of at least `size`; what it holds is undefined."""
        if size > _KEPT_FLOATS:
            return np.empty(size, dtype=np.float32)
        kept = self._arrays.get(name)
        if kept is None or kept.size < size:
            kept = self._arrays[name] = np.empty(size, dtype=np.float32)
        return kept


workspace = Workspace()
"""Of the calling thread."""


def ceil_div(a: int, b: int) -> int:
    """Return a / b, rounded up."""
    return -(-a // b)


def whole(count: int, unit: int) -> int:
    """Return `count`, rounded up to a multiple of `unit`."""
    return ceil_div(count, unit) * unit


def row_floats(depth: int) -> int:
    """Return the distance of tiles: an odd number of vectors spreads the rows over all sets of a cache."""
    vectors = depth // LANES
    return LANES * (vectors | 1 if vectors >= 8 else vectors)


def make_side(
    channels: int,
    extents: tuple[int, int],
    origin: tuple[int, int],
    span: int,
    unit_pixels: int,
    channels_last: bool,
) -> Side:
    """Describe one tensor; the step is filled in by :func:`with_step`."""
    depth = whole(channels, LANES)
    most = depth if channels_last else max(_PIXEL_FLOATS // unit_pixels // LANES, 1) * LANES
    chunk, stride = min(depth, most), pixel_stride(channels) if channels_last else 0
    return Side(
        channels, *extents, *origin, span, depth, row_floats(depth), 0, chunk, ceil_div(depth, chunk), stride
    )


def with_step(side: Side, grid: Grid) -> Side:
    """Complete a tensor's description with the distance of positions in a block."""
    # One vector more than needed: else a power of two would put all positions into one set of a cache.
    return side._replace(step=grid.block_tiles * side.row + LANES)


def make_grid(
    images: int, extents: tuple[int, int], outputs: int, depth: int, width: int, floats: int, threads: int
) -> Grid:
    """Cut the outputs into tiles, units and blocks.

    Parameters
    ----------
    images : int
        Images of the batch.
    extents : tuple of int
        Rows and columns of the output.
    outputs : int
        Rows and columns of a tile's outputs.
    depth, width : int
        Channels on both sides, in whole vectors.
    floats : int
        Most floats of the transformed tiles of a block, where one unit allows it.
    threads : int
        Blocks should be at least so many.
    """
    tiles_h, tiles_w = ceil_div(extents[0], outputs), ceil_div(extents[1], outputs)
    row_tiles = max(floats // ((outputs + 2) ** 2 * (depth + width) * tiles_w), 1)
    band = min(tiles_h, row_tiles, max(_PIXEL_FLOATS // (LANES * outputs**2 * tiles_w), 1))
    band = min(band, max(ceil_div(tiles_h * images, threads), 1))
    bands = ceil_div(tiles_h, band)
    band = ceil_div(tiles_h, bands)
    bands = ceil_div(tiles_h, band)
    units = images * bands
    block_units = min(max(row_tiles // band, 1), ceil_div(units, threads))
    block_tiles = whole(block_units * band * tiles_w, ROWS)
    return Grid(
        images, outputs, tiles_h, tiles_w, band, bands, band * tiles_w, units, block_units,
        ceil_div(units, block_units), block_tiles,
    )  # fmt: skip


def unit_pixels_of(grid: Grid) -> int:
    """Return the pixels of a unit, with those around it."""
    return (grid.band * grid.outputs + 2) * (grid.tiles_w * grid.outputs + 2)

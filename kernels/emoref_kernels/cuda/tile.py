"""Products of matrices in tiles: what every convolution and linear layer spends its time in.

A block computes a tile of the result. It walks along the summed direction in slabs: a slab of each factor is
copied into shared memory, and each thread multiplies out its own values, which stay in registers. A thread
owns groups of 4 x 4 neighbouring values, so that it reads shared memory 16 bytes at a time and every value
that it reads serves 4 or 8 products.

All sizes are constants when a kernel is compiled. On the simulator a tile is 16 x 16, for 16 threads.
"""

from typing import Any, NamedTuple

import numpy as np

from emoref_kernels.cuda.jit import device, load4
from emoref_kernels.cuda.provider import SIMULATED

__all__ = [
    "DEVICE_TILES",
    "LARGE",
    "MEDIUM",
    "SMALL",
    "TILES",
    "TINY",
    "Tile",
    "make_multiply",
    "splits_for",
    "tile_for",
]

ZERO = np.float32(0)

NOWHERE = np.int64(-1)
"""Place of a value outside the result; negative, so that one test of two places finds it."""


class Tile(NamedTuple):
    """Extents of a tile.

    Attributes
    ----------
    name : str
        For the kernel's name.
    rows, columns : int
        Extents of the part of the result that a block computes.
    depth : int
        Extent of a slab along the summed direction.
    thread_rows, thread_columns : int
        Values that one thread owns, multiples of 4.
    """

    name: str
    rows: int
    columns: int
    depth: int
    thread_rows: int
    thread_columns: int

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return self.rows * self.columns // (self.thread_rows * self.thread_columns)


DEVICE_TILES = (
    Tile("large", 128, 128, 8, 8, 8),
    Tile("medium", 64, 128, 8, 8, 8),
    Tile("small", 32, 128, 8, 4, 8),
    Tile("tiny", 16, 128, 8, 4, 4),
)
"""The tiles that a device runs."""

if SIMULATED:
    LARGE = MEDIUM = SMALL = TINY = Tile("tiny", 16, 16, 4, 4, 4)
    TILES: tuple[Tile, ...] = (TINY,)
else:
    LARGE, MEDIUM, SMALL, TINY = TILES = DEVICE_TILES


def tile_for(rows: int, tiles: tuple[Tile, ...] = TILES) -> Tile:
    """Return the tile that wastes the fewest rows; of equally thrifty ones the largest."""
    return min(tiles, key=lambda tile: (-(-rows // tile.rows) * tile.rows, -tile.rows))


_WANTED_BLOCKS = 264
_LEAST_SLABS = 16


def splits_for(blocks: int, slabs: int) -> int:
    """Return into how many parts a long sum is cut so that there are enough blocks to fill a device.

    The number depends on the shapes alone, not on the device, so that results do not either: about two
    blocks for each of 132 multiprocessors, and at least 16 slabs a part.
    """
    return max(1, min(_WANTED_BLOCKS // max(blocks, 1), slabs // _LEAST_SLABS))


def make_multiply(tile: Tile, row_length: int, column_length: int) -> Any:
    """Return a device function that adds the products of one slab to a thread's values.

    The function takes the shared memory: a slab of the left factor and behind it one of the right factor,
    one step along the summed direction behind the other, `row_length` and `column_length` values each;
    the values (thread_rows * thread_columns); two arrays to work in; and the thread's first row and column,
    counted in groups of 4.
    """
    depth, thread_rows, thread_columns = tile.depth, tile.thread_rows, tile.thread_columns
    row_groups, column_groups = thread_rows // 4, thread_columns // 4
    row_skip, column_skip = tile.rows // row_groups, tile.columns // column_groups
    right = depth * row_length

    @device
    def multiply(shared, values, a, b, row, column):
        for k in range(depth):
            for group in range(row_groups):
                start = group * 4
                a[start], a[start + 1], a[start + 2], a[start + 3] = load4(
                    shared, k * row_length + group * row_skip + row * 4
                )
            for group in range(column_groups):
                start = group * 4
                b[start], b[start + 1], b[start + 2], b[start + 3] = load4(
                    shared, right + k * column_length + group * column_skip + column * 4
                )
            for i in range(thread_rows):
                for j in range(thread_columns):
                    values[i * thread_columns + j] += a[i] * b[j]

    return multiply

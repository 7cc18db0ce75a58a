"""The steps of a Winograd convolution on one block of tiles.

A tensor (N, channels, height, width) is seen as a grid of tiles. Its transformed form has, for each of the
(m + 2)^2 positions inside a tile, a matrix of tiles by channels; the convolution is then one matrix product
for each position. All vectors run over channels. Maps with the channels innermost are read and written where
they lie; of planes, a unit of work (some rows of tiles of one image) is first copied into scratch memory with
its channels innermost and zeros around it, and a result is copied back from such memory.
"""

from typing import NamedTuple

import numpy as np

from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.runs import add_strided, copy_strided, transpose_block, transpose_run
from emoref_kernels.cpu.shares import keep_apart
from emoref_kernels.cpu.simd import LANES, ROWS
from emoref_kernels.cpu.simd_strided import TALL_ROWS, multiply_plain, multiply_tall, multiply_turned
from emoref_kernels.cpu.winograd_clipped import (
    clipped_input_tile,
    clipped_output_tile,
    clipped_output_tile_grad,
)

__all__ = [
    "Grid",
    "Side",
    "column_tiles",
    "load_unit",
    "multiply_columns",
    "multiply_position",
    "store_unit",
]

_DEPTH_BLOCK = 128
"""Terms of a sum for which a block of the right operand stays in the first-level cache."""

_VECTORS = 3
"""Widest tile of a product, in vectors."""


class Grid(NamedTuple):
    """How the images are cut into tiles, units and blocks; common to all tensors of one convolution."""

    images: int
    outputs: int  # m: rows and columns of outputs of a tile
    tiles_h: int
    tiles_w: int
    band: int  # rows of tiles of a unit
    bands: int
    unit_tiles: int
    units: int
    block_units: int  # units whose transformed tiles are in memory together
    blocks: int
    block_tiles: int  # their tiles, up to a whole number of ROWS


class Side(NamedTuple):
    """One tensor of a convolution, plain and transformed; every number is an extent or a distance."""

    channels: int
    height: int
    width: int
    top: int  # row and column of the first pixel of tile (0, 0)
    left: int
    span: int  # rows and columns of pixels of a tile
    depth: int  # channels, up to a whole vector
    row: int  # floats from one transformed tile to the next
    step: int  # floats from one position to the next
    chunk: int  # channels that are treated together
    chunks: int
    stride: int  # of maps: floats from one pixel to the next; 0: the tensor lies in planes


# Functions with a single caller are copied into it: each compiled one is compiled again within its callers.
# Those with the loops over tiles stay apart: within a larger function they would run short of registers.


@jit()
def _clear(values, start, count):
    for i in range(count):
        values[start + i] = 0.0


@jit(inline="always")
def _gather(grid, side, x, image, first_tile_row, tile_rows, first, channels, scratch):
    """Copy the pixels of a unit with the channels innermost; pixels outside of the image are zero."""
    pixel = (channels + LANES - 1) // LANES * LANES
    columns = (grid.tiles_w - 1) * grid.outputs + side.span
    rows = (tile_rows - 1) * grid.outputs + side.span
    plane = side.height * side.width
    source = (image * side.channels + first) * plane
    whole = channels // ROWS * ROWS
    before = -side.left
    count = max(min(side.width, columns - before), 0)
    first_row = side.top + first_tile_row * grid.outputs
    above, below = max(-first_row, 0), min(side.height - first_row, rows)
    for i in range(rows):
        target = i * columns * pixel
        if i < above or i >= below or channels < pixel:
            _clear(scratch, target, columns * pixel)
        else:
            _clear(scratch, target, before * pixel)
            _clear(scratch, target + (before + count) * pixel, (columns - before - count) * pixel)
    source += first_row * side.width
    # Channels outermost: a few planes are read from end to end, as the processor likes to fetch them.
    for c in range(0, whole, ROWS):
        for i in range(above, below):
            target = (i * columns + before) * pixel + c
            transpose_run(scratch, target, pixel, x, source + c * plane + i * side.width, plane, count)
    for c in range(whole, channels):
        for i in range(above, below):
            target = (i * columns + before) * pixel + c
            add_strided(
                scratch, target, x, source + c * plane + i * side.width, count, pixel, np.float32(0.0)
            )


@jit()
def _load_tiles(
    grid, side, forward, pixels, start, row, column, top, left, height, width, vectors, v, place, tile_rows
):
    """Transform rows of tiles, the first at (top, left), of pixels that exist up to height and width."""
    keep_apart()
    size = grid.outputs + 2
    for i in range(tile_rows):
        above, below = -top - i * grid.outputs, height - top - i * grid.outputs
        for j in range(grid.tiles_w):
            before, behind = -left - j * grid.outputs, width - left - j * grid.outputs
            source = start + (i * row + j * column) * grid.outputs
            for c in range(0, vectors * LANES, LANES):
                if forward:
                    clipped_input_tile(
                        grid.outputs, v, place + c, size * side.step, side.step, pixels, source + c, row,
                        column, above, below, before, behind,
                    )  # fmt: skip
                else:
                    clipped_output_tile_grad(
                        grid.outputs, v, place + c, size * side.step, side.step, pixels, source + c, row,
                        column, above, below, before, behind,
                    )  # fmt: skip
            place += side.row


@jit(inline="always")
def load_unit(grid, side, x, unit, slot, last, chunk, forward, scratch, v, v_start):
    """Transform one unit's tiles for some channels, and zero the tiles that it lacks.

    Parameters
    ----------
    grid, side : Grid, Side
        The cut, and the tensor.
    x : ndarray of float32, 1-D
        The tensor.
    unit, slot : int
        Number of the unit, and its place in the block.
    last : int
        Whether the block ends with it.
    chunk : int
        Which channels.
    forward : int
        1 for B^T d B of overlapping tiles, 0 for A dy A^T of tiles side by side.
    scratch : ndarray of float32, 1-D
        Memory for the pixels.
    v, v_start : ndarray of float32, 1-D, and int
        Result: position p of tile t and channel c goes to ``v_start + p * step + t * row + c``.
    """
    image, band = divmod(unit, grid.bands)
    first_tile_row = band * grid.band
    tile_rows = min(grid.band, grid.tiles_h - first_tile_row)
    first = chunk * side.chunk
    channels = min(side.chunk, side.channels - first)
    vectors = (channels + LANES - 1) // LANES
    place = v_start + slot * grid.unit_tiles * side.row + first
    if side.stride:
        pixels, column, row = x, side.stride, side.width * side.stride
        top, left = side.top + first_tile_row * grid.outputs, side.left
        height, width = side.height, side.width
        start = (image * height + top) * row + left * column + first
    else:
        _gather(grid, side, x, image, first_tile_row, tile_rows, first, channels, scratch)
        height = (tile_rows - 1) * grid.outputs + side.span
        width = (grid.tiles_w - 1) * grid.outputs + side.span
        pixels, column, row = scratch, vectors * LANES, width * vectors * LANES
        top, left, start = 0, 0, 0
    _load_tiles(
        grid, side, forward, pixels, start, row, column, top, left, height, width, vectors, v, place,
        tile_rows,
    )  # fmt: skip
    begin = slot * grid.unit_tiles + tile_rows * grid.tiles_w
    end = grid.block_tiles if last else (slot + 1) * grid.unit_tiles
    for p in range((grid.outputs + 2) ** 2):
        for missing in range(begin, end):
            _clear(v, v_start + p * side.step + missing * side.row + first, vectors * LANES)


@jit()
def column_tiles(width):
    """Return the number of column tiles of a product, none wider than _VECTORS and all about alike."""
    return (width // LANES + _VECTORS - 1) // _VECTORS


@jit()
def multiply_columns(
    rows, vectors, depth, a, a_start, a_row, b, b_start, b_row, c, c_start, c_row, accumulate
):
    """Multiply `rows` rows, taken up to a whole number of ROWS, by one tile of columns.

    Parameters
    ----------
    rows, vectors, depth : int
        Extents of the product, its width in vectors.
    a, a_start, a_row, b, b_start, b_row, c, c_start, c_row, accumulate
        As in :func:`~emoref_kernels.cpu.simd_strided.multiply_rows`, not transposed.
    """
    for k in range(0, depth, _DEPTH_BLOCK):
        terms, add = min(_DEPTH_BLOCK, depth - k), 1 if k else accumulate
        a_place, b_place = a_start + k, b_start + k * b_row
        row = 0
        while row < rows:
            if vectors == 1 and rows - row > TALL_ROWS - ROWS:
                multiply_tall(
                    c, c_start + row * c_row, c_row, a, a_place + row * a_row, a_row, b, b_place, b_row,
                    terms, add,
                )  # fmt: skip
                row += TALL_ROWS
            else:
                multiply_plain(
                    c, c_start + row * c_row, c_row, a, a_place + row * a_row, a_row, b, b_place, b_row,
                    terms, add, vectors,
                )  # fmt: skip
                row += ROWS


@jit()
def multiply_position(
    rows, columns, depth, column_tile, a, a_start, a_row, transposed, b, b_start, b_row, c, c_start, c_row,
    accumulate,
):  # fmt: skip
    """Multiply the matrices of one position, for one tile of columns.

    Parameters
    ----------
    rows, columns, depth : int
        Extents of the product; `rows` is taken up to a whole number of ROWS.
    column_tile : int
        Which of :func:`column_tiles` tiles.
    a, a_start, a_row, transposed
        Left operand, as in :func:`~emoref_kernels.cpu.simd_strided.multiply_rows`.
    b, b_start, b_row
        Right operand with rows of `columns`; with ``b_row = 0`` it is packed, column tile by column tile.
    c, c_start, c_row
        The product.
    accumulate : int
        1 to add to what `c` holds.
    """
    keep_apart()
    vectors, tiles = columns // LANES, column_tiles(columns)
    first = vectors * column_tile // tiles
    count = vectors * (column_tile + 1) // tiles - first
    b_place = b_start + first * LANES * (depth if b_row == 0 else 1)
    b_step = count * LANES if b_row == 0 else b_row
    c_place = c_start + first * LANES
    if not transposed:
        multiply_columns(
            rows, count, depth, a, a_start, a_row, b, b_place, b_step, c, c_place, c_row, accumulate
        )
        return
    for k in range(0, depth, _DEPTH_BLOCK):
        for row in range(0, rows, ROWS):
            multiply_turned(
                c, c_place + row * c_row, c_row, a, a_start + k * a_row + row, a_row,
                b, b_place + k * b_step, b_step,
                min(_DEPTH_BLOCK, depth - k), 1 if k else accumulate, count,
            )  # fmt: skip


@jit()
def _store_tiles(
    grid, side, m, m_start, slot, first, channels, bias, pixels, start, row, column, height, width
):
    """Transform a unit's products for some channels into its `height` by `width` pixels."""
    keep_apart()
    size = grid.outputs + 2
    tile = slot * grid.unit_tiles
    for i in range((height + grid.outputs - 1) // grid.outputs):
        for j in range(grid.tiles_w):
            place = m_start + tile * side.row + first
            target = start + (i * row + j * column) * grid.outputs
            bottom, right = height - i * grid.outputs, width - j * grid.outputs
            for c in range(0, channels, LANES):
                clipped_output_tile(
                    grid.outputs, pixels, target + c, row, column, m, place + c, size * side.step, side.step,
                    bias, first + c, bottom, right,
                )  # fmt: skip
            if channels % LANES:
                _keep_zeros(
                    pixels, target + channels, row, column, min(bottom, grid.outputs),
                    min(right, grid.outputs), LANES - channels % LANES,
                )  # fmt: skip
            tile += 1


@jit(inline="always")
def _keep_zeros(pixels, start, row, column, height, width, count):
    """Clear the padding channels of pixels where a NaN or an infinity, times 0, has made all of them NaN."""
    for i in range(height):
        for j in range(width):
            place = start + i * row + j * column
            if pixels[place] != 0.0:
                _clear(pixels, place, count)


@jit(inline="always")
def store_unit(grid, side, m, m_start, unit, slot, chunk, bias, scratch, y):
    """Transform one unit's products for some channels into pixels, and write them to the images.

    Parameters
    ----------
    grid, side : Grid, Side
        The cut, and the tensor of the result.
    m, m_start : ndarray of float32, 1-D, and int
        Products, laid out as the transformed tiles of :func:`load_unit`.
    unit, slot, chunk : int
        As in :func:`load_unit`.
    bias : ndarray of float32, 1-D
        One value a channel, up to a whole vector.
    scratch : ndarray of float32, 1-D
        Memory for the pixels.
    y : ndarray of float32, 1-D
        The tensor.
    """
    image, band = divmod(unit, grid.bands)
    first_row = band * grid.band * grid.outputs
    rows = min(grid.band * grid.outputs, side.height - first_row)
    first = chunk * side.chunk
    channels = min(side.chunk, side.channels - first)
    plane = side.height * side.width
    if side.stride:
        pixels, column, row = y, side.stride, side.width * side.stride
        start = image * plane * column + first_row * row + first
        height, width, written = rows, side.width, channels
    else:
        pixels, start = scratch, 0
        height, width = (rows + grid.outputs - 1) // grid.outputs * grid.outputs, grid.tiles_w * grid.outputs
        written = column = (channels + LANES - 1) // LANES * LANES
        row = width * column
    _store_tiles(
        grid, side, m, m_start, slot, first, written, bias, pixels, start, row, column, height, width
    )
    if side.stride:
        return
    start = (image * side.channels + first) * plane + first_row * side.width
    # Rows that follow one another without a gap are one row.
    runs, run = (1, rows * width) if width == side.width else (rows, side.width)
    for i in range(runs):
        _scatter(scratch, i * row, column, run, channels, y, start + i * run, plane)


@jit(inline="always")
def _scatter(scratch, source, pixel, pixels, channels, y, start, plane):
    """Copy neighbouring pixels from memory with the channels innermost to the planes of an image."""
    whole, whole_channels = pixels // ROWS * ROWS, channels // ROWS * ROWS
    for c in range(0, whole_channels, ROWS):
        for p in range(0, whole, ROWS):
            transpose_block(y, start + c * plane + p, plane, scratch, source + p * pixel + c, pixel)
    for c in range(channels):
        first = whole if c < whole_channels else 0
        copy_strided(y, start + c * plane + first, scratch, source + first * pixel + c, pixels - first, pixel)

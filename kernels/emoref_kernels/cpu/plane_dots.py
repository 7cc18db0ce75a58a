"""The weight gradient of a convolution of few channels on planes: inner products of rows of pixels.

    dw[f, c, r, s] = sum over images n and pixels p of dy[n, f, p] * x[n, c, position of p under tap (r, s)]

An image of few channels fits the first-level cache with zeros around it. There the pixels under a tap are
runs, as those of `dy` are where they lie, so nothing needs to be transposed: a tile of some filters by some
taps keeps a vector of sums for each pair, lane by lane, while the rows of both go by.

The images are dealt out to a fixed number of parts with sums of their own, and the filters to blocks. The
sums of the parts are added in their order, and then the lanes of each. The shapes alone decide all that.
"""

from functools import partial
from typing import Any, NamedTuple

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.runs import copy_run, fma_run, sum_run
from emoref_kernels.cpu.shares import share
from emoref_kernels.cpu.simd import INTERPRETED, LANES, ROWS, VECTORS, fma, integer, multiply_add
from emoref_kernels.cpu.simd_pixels import prefetch
from emoref_kernels.cpu.winograd_cuts import ceil_div, workspace

__all__ = ["LOOPS", "Dots", "dots_fit", "dots_weight_grad", "plane_dots"]

_FILTERS, _TAPS = (4, 6) if ROWS * VECTORS >= 24 else (2, 5)
"""Filters and taps of a tile: with a vector of each filter and one of pixels, they fill the registers."""

_MOST_CHANNELS = 4
_PARTS = 8
_BLOCK = 4 * _FILTERS
"""Parts of the images, and filters of a block."""

_IMAGE_FLOATS = 64 * 1024
"""Most floats of an image with its zeros, so that it stays in the second-level cache at least."""

_VECTOR = ir.VectorType(ir.FloatType(), LANES)


class Dots(NamedTuple):
    """What one tile reads and adds to; places and distances are in floats.

    Attributes
    ----------
    sums : int
        Place of the first vector of sums; those of a filter follow one another.
    y_start, y_plane, y_row : int
        Place of the first filter's gradient, and distance of filters and of rows.
    filters : int
        Filters that exist, at least 1; for the others the last one is read again.
    x_start, x_row : int
        Place of the pixels under no shift, and distance of the rows under neighbouring rows of `dy`.
    taps : int
        Where in the table the shifts of the taps begin.
    rows, columns : int
        Extents of `dy`; whole vectors in a row.
    ahead : int
        Place of a plane of `dy` that is brought near for a later call; it may lie anywhere.
    """

    sums: int
    y_start: int
    y_plane: int
    y_row: int
    filters: int
    x_start: int
    x_row: int
    taps: int
    rows: int
    columns: int
    ahead: int


def _emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Emit :data:`plane_dots`; the arguments are sums, dy, x, the table and the tile."""
    tile = Dots(*(builder.extract_value(args[4], i) for i in range(len(Dots._fields))))

    def data(position: int, start: Any) -> Any:
        array = context.make_array(signature.args[position])(context, builder, args[position])
        return builder.gep(array.data, [start])

    def constant(value: int) -> Any:
        return integer(value)

    def vector(pointer: Any) -> Any:
        return builder.bitcast(pointer, _VECTOR.as_pointer())

    kept = [data(0, builder.add(tile.sums, constant(i * LANES))) for i in range(_FILTERS * _TAPS)]
    slots = [cgutils.alloca_once_value(builder, builder.load(vector(place), align=4)) for place in kept]
    last = builder.sub(tile.filters, constant(1))
    y, x = [], []
    for f in range(_FILTERS):
        number = builder.select(builder.icmp_signed("<", last, constant(f)), last, constant(f))
        y.append(data(1, builder.add(tile.y_start, builder.mul(number, tile.y_plane))))
    for t in range(_TAPS):
        shift = builder.load(data(3, builder.add(tile.taps, constant(t))))
        x.append(data(2, builder.add(tile.x_start, shift)))
    ahead = data(1, tile.ahead)
    with cgutils.for_range(builder, tile.rows) as row:
        y_row, x_row = builder.mul(row.index, tile.y_row), builder.mul(row.index, tile.x_row)
        with cgutils.for_range_slice(builder, constant(0), tile.columns, constant(LANES)) as (column, _):
            y_place, x_place = builder.add(y_row, column), builder.add(x_row, column)
            prefetch(builder, builder.gep(ahead, [y_place]))
            values = [builder.load(vector(builder.gep(place, [y_place])), align=4) for place in y]
            for t, place in enumerate(x):
                pixels = builder.load(vector(builder.gep(place, [x_place])), align=4)
                for f, value in enumerate(values):
                    slot = slots[f * _TAPS + t]
                    builder.store(multiply_add(builder, value, pixels, builder.load(slot)), slot)
    for slot, place in zip(slots, kept, strict=True):
        builder.store(builder.load(slot), vector(place), align=4)
    return context.get_dummy_value()


@intrinsic
def _plane_dots(typingctx, sums, dy, x, table, tile):
    return types.void(sums, dy, x, table, tile), partial(_emit)


@jit()
def _dots_loops(sums, dy, x, table, tile):
    for f in range(_FILTERS):
        own = tile.y_start + min(f, tile.filters - 1) * tile.y_plane
        for t in range(_TAPS):
            place = tile.sums + (f * _TAPS + t) * LANES
            shift = tile.x_start + table[tile.taps + t]
            for i in range(tile.rows):
                for j in range(tile.columns):
                    value, pixel = dy[own + i * tile.y_row + j], x[shift + i * tile.x_row + j]
                    sums[place + j % LANES] = fma(value, pixel, sums[place + j % LANES])


LOOPS = {"plane_dots": _dots_loops}
"""The plain-loop twin of the vector code: its meaning."""

plane_dots: Any = _dots_loops if INTERPRETED else _plane_dots
"""``plane_dots(sums, dy, x, table, tile)`` adds the products of some filters and taps to vectors of sums.

`sums`, `dy` and `x` are arrays of float32, `table` one of int64; :class:`Dots` says where all is.
"""


# ------------------------------------------------------------------------------------------ the gradient


@jit()
def _load_image(n, x, image, scratch, start):
    """Copy an image between zeros; these are there already."""
    channels, x_h, x_w, top, left, row, plane = n[2], n[3], n[4], n[9], n[10], n[11], n[12]
    for c in range(channels):
        for i in range(x_h):
            source = ((image * channels + c) * x_h + i) * x_w
            copy_run(scratch, start + c * plane + (i + top) * row + left, x, source, x_w)


@jit()
def _chunk_of_items(chunk, chunks, n, table, dy, x, scratch, sums, _):
    """Sum a share of the items, each a block of filters over a part of the images."""
    images, filters, y_h, y_w, taps, stride_h, row = n[0], n[1], n[5], n[6], n[7], n[8], n[11]
    parts, blocks, floats, size = n[13], n[14], n[15], n[16]
    start, tiles = chunk * floats, (taps + _TAPS - 1) // _TAPS
    for k in range(start, start + floats):
        scratch[k] = 0.0
    tile_floats = _FILTERS * _TAPS * LANES
    for item in range(chunk, parts * blocks, chunks):
        part, block = divmod(item, blocks)
        first, last = block * _BLOCK, min((block + 1) * _BLOCK, filters)
        groups = (last - first + _FILTERS - 1) // _FILTERS
        own = part * size + first // _FILTERS * tiles * tile_floats
        for k in range(own, own + groups * tiles * tile_floats):
            sums[k] = 0.0
        for image in range(images * part // parts, images * (part + 1) // parts):
            _load_image(n, x, image, scratch, start)
            for group in range(groups):
                f = first + group * _FILTERS
                for t in range(tiles):
                    place = (image * filters + f) * y_h * y_w
                    # The tiles share the planes of the next filters.
                    ahead = place + (_FILTERS + t % _FILTERS) * y_h * y_w
                    tile = Dots(
                        own + (group * tiles + t) * tile_floats, place, y_h * y_w, y_w, filters - f, start,
                        stride_h * row, t * _TAPS, y_h, y_w, ahead,
                    )  # fmt: skip
                    plane_dots(sums, dy, scratch, table, tile)


@jit()
def _finish(n, sums, dw):
    """Add the parts in their order, then the lanes."""
    filters, taps, parts, size = n[1], n[7], n[13], n[16]
    tiles = (taps + _TAPS - 1) // _TAPS
    for part in range(1, parts):
        fma_run(sums, 0, sums, part * size, size, np.float32(1.0))
    for f in range(filters):
        group, row = divmod(f, _FILTERS)
        for t in range(taps):
            tile, column = divmod(t, _TAPS)
            vector = ((group * tiles + tile) * _FILTERS + row) * _TAPS + column
            dw[f * taps + t] = sum_run(sums, vector * LANES, LANES)


def dots_fit(
    x_shape: tuple[int, ...],
    y_shape: tuple[int, ...],
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> bool:
    """Return whether :func:`dots_weight_grad` is the way for a convolution without groups."""
    channels, x_h, x_w = x_shape[1:]
    image = channels * (x_h + 2 * padding[0]) * (x_w + 2 * padding[1])
    regular = stride[1] == 1 and y_shape[3] % LANES == 0 and y_shape[1] >= _FILTERS
    return regular and channels <= _MOST_CHANNELS and image <= _IMAGE_FLOATS


def dots_weight_grad(
    dy: NDArray[Any],
    y_shape: tuple[int, ...],
    x: NDArray[Any],
    x_shape: tuple[int, ...],
    w_shape: tuple[int, ...],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dw: NDArray[Any],
) -> None:
    """Compute the gradient of the weights into `dw`, where :func:`dots_fit`.

    Parameters
    ----------
    dy, x : ndarray of float32, 1-D
        Gradient of the output and images, of `y_shape` and `x_shape` (N, C, H, W), flat; at least one image.
    y_shape, x_shape : tuple of int
        Their shapes.
    w_shape : tuple of int
        (O, C, R, S) of the weights.
    stride, padding : tuple of int
        (height, width); the stride along a row is 1.
    dw : ndarray of float32, 1-D
        Written in full.
    """
    images, channels, x_h, x_w = x_shape
    filters, _, kernel_h, kernel_w = w_shape
    y_h, y_w = y_shape[2:]
    row = x_w + 2 * padding[1]
    plane = row * (x_h + 2 * padding[0])
    c, r, s = (np.arange(extent, dtype=np.int64) for extent in (channels, kernel_h, kernel_w))
    shifts = (c[:, None, None] * plane + r[:, None] * row + s).reshape(-1)
    tiles = ceil_div(shifts.size, _TAPS)
    table = np.pad(shifts, (0, tiles * _TAPS - shifts.size), mode="edge")
    parts, blocks = min(images, _PARTS), ceil_div(filters, _BLOCK)
    size = ceil_div(filters, _FILTERS) * tiles * _FILTERS * _TAPS * LANES
    floats = channels * plane
    numbers = (
        images, filters, channels, x_h, x_w, y_h, y_w, shifts.size, stride[0], *padding, row, plane, parts,
        blocks, floats, size,
    )  # fmt: skip
    n = np.array(numbers, np.int64)
    chunks = min(numba.get_num_threads(), parts * blocks)
    scratch = workspace.array("dots image", chunks * floats)
    sums = workspace.array("dots sums", parts * size)
    share(_chunk_of_items, chunks, (n, table), (dy, x, scratch, sums))
    _finish(n, sums, dw)

"""Winograd convolution of 5 x 5 filters at stride 1 with F(4x4, 5x5), and both its gradients.

Sixteen outputs take 64 multiplications instead of 400 (:mod:`~emoref_kernels.cpu.winograd_five_tiles` has
the transforms). A block of whole images, as many as fill some rows of a product, goes through all steps in
the memory of one thread: its pixels are copied with the channels innermost, transformed tile by tile into
one matrix for each of 64 positions, multiplied, and transformed back.

The gradient of the input runs these steps backwards and adds the pixels of a tile where tiles overlap, in the
order of the tiles, so that maps without padding cost no more than their outputs do. The gradient of the
filters is a sum over blocks, cut into parts by the shapes alone.
"""

from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.runs import (
    add_strided,
    copy_run,
    copy_strided,
    fma_run,
    transpose_block,
    transpose_run,
)
from emoref_kernels.cpu.shares import keep_apart, share
from emoref_kernels.cpu.simd import LANES, ROWS, VECTORS
from emoref_kernels.cpu.simd_strided import DEPTH_STEP, multiply_plain, multiply_rows
from emoref_kernels.cpu.winograd_cuts import ceil_div, whole, workspace
from emoref_kernels.cpu.winograd_five_tiles import (
    OUTPUTS,
    SIZE,
    TAPS,
    five_filter,
    five_filter_grad,
    five_input,
    five_input_grad,
    five_output,
    five_output_grad,
)

__all__ = ["five_conv", "five_input_gradient", "five_weight_gradient"]

_POSITIONS = SIZE * SIZE
_BLOCK_TILES = 16
"""Tiles of a block, where one image has fewer: 64 matrices of 16 rows and 64 channels are 256 KB."""

_PARTS = 4
"""Parts of the sum over images, each with sums of its own."""

_FORWARD, _INPUT_GRAD, _WEIGHT_GRAD = range(3)


class Side(NamedTuple):
    """One tensor, plain and transformed; every number is an extent or a distance in floats."""

    channels: int
    height: int
    width: int
    top: int  # first row and column of the pixels in memory
    left: int
    rows: int  # rows and columns of the pixels in memory
    columns: int
    depth: int  # channels, up to a whole vector
    step: int  # from one position to the next


class Job(NamedTuple):
    """What is done, and how it is cut."""

    kind: int
    images: int
    tiles_h: int
    tiles_w: int
    block_images: int
    blocks: int
    parts: int  # runs of blocks; a gradient of the filters has sums for each
    filter_step: int  # from one position of filters, or of their sums, to the next
    shared: int  # floats of filters and bias, or of sums, at the beginning of the memory,
    scratch: int  # of a thread's part of it,
    pixels: int  # and of pixels in that


@jit()
def _unpack(n):
    """Return the descriptions that an array holds; all workers take arrays alone."""
    job = Job(n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8], n[9], n[10])
    x = Side(n[11], n[12], n[13], n[14], n[15], n[16], n[17], n[18], n[19])
    y = Side(n[20], n[21], n[22], n[23], n[24], n[25], n[26], n[27], n[28])
    return job, (x, y)


@jit()
def _clear(values, start, count):
    for i in range(count):
        values[start + i] = 0.0


@jit()
def _runs(side):
    """Return the number and the length of the runs that are neighbours in planes and in memory."""
    if side.width == side.columns:
        return 1, side.height * side.width
    return side.height, side.width


@jit()
def _gather(side, tensor, image, pixels, start):
    """Copy one image with the channels innermost; zeros around it and behind the channels are there."""
    plane = side.height * side.width
    lines, count = _runs(side)
    whole_channels = side.channels // ROWS * ROWS
    for i in range(lines):
        source = image * side.channels * plane + i * count
        target = start + ((i - side.top) * side.columns - side.left) * side.depth
        for c in range(0, whole_channels, ROWS):
            transpose_run(pixels, target + c, side.depth, tensor, source + c * plane, plane, count)
        for c in range(whole_channels, side.channels):
            add_strided(pixels, target + c, tensor, source + c * plane, count, side.depth, np.float32(0.0))


@jit()
def _scatter(side, pixels, start, image, tensor):
    """Copy one image from memory with the channels innermost to its planes."""
    plane = side.height * side.width
    lines, count = _runs(side)
    whole_channels, whole_count = side.channels // ROWS * ROWS, count // ROWS * ROWS
    for i in range(lines):
        source = start + ((i - side.top) * side.columns - side.left) * side.depth
        target = image * side.channels * plane + i * count
        for c in range(0, whole_channels, ROWS):
            for j in range(0, whole_count, ROWS):
                place = source + j * side.depth + c
                transpose_block(tensor, target + c * plane + j, plane, pixels, place, side.depth)
        for c in range(side.channels):
            first = whole_count if c < whole_channels else 0
            place = source + first * side.depth + c
            copy_strided(tensor, target + c * plane + first, pixels, place, count - first, side.depth)


@jit()
def _load(job, side, tensor, first, images, tiled, memory, pixels, start, gradient):
    """Transform the tiles of a block: B^T d B of the input, or A dy A^T of the output's gradient."""
    row, tile = side.columns * side.depth, 0
    for n in range(images):
        _gather(side, tensor, first + n, memory, pixels)
        for i in range(job.tiles_h):
            for j in range(job.tiles_w):
                source = pixels + OUTPUTS * (i * row + j * side.depth)
                for c in range(0, side.depth, LANES):
                    place = start + tile * side.depth + c
                    if gradient:
                        five_output_grad(
                            memory, place, SIZE * side.step, side.step, memory, source + c, row, side.depth
                        )
                    else:
                        five_input(
                            memory, place, SIZE * side.step, side.step, memory, source + c, row, side.depth
                        )
                tile += 1
    if tile < tiled:
        for p in range(_POSITIONS):
            _clear(memory, start + p * side.step + tile * side.depth, (tiled - tile) * side.depth)


@jit()
def _store(job, side, first, images, memory, pixels, start, bias, tensor, forward):
    """Transform the products of a block back to pixels, and write them to the planes."""
    row, tile = side.columns * side.depth, 0
    for n in range(images):
        if not forward:
            _clear(memory, pixels, side.rows * row)
        for i in range(job.tiles_h):
            for j in range(job.tiles_w):
                target = pixels + OUTPUTS * (i * row + j * side.depth)
                for c in range(0, side.depth, LANES):
                    place = start + tile * side.depth + c
                    if forward:
                        five_output(
                            memory, target + c, row, side.depth, memory, place, SIZE * side.step, side.step,
                            memory, bias + c,
                        )  # fmt: skip
                    else:
                        five_input_grad(
                            memory, target + c, row, side.depth, memory, place, SIZE * side.step, side.step
                        )
                tile += 1
        _scatter(side, memory, pixels, first + n, tensor)


@jit()
def _multiply(source, result, tiled, filter_step, memory, a_start, c_start):
    """Multiply tiles by the filters, which begin the memory, position by position."""
    vectors = result.depth // LANES
    columns = (vectors + VECTORS - 1) // VECTORS
    terms = (source.channels + DEPTH_STEP - 1) // DEPTH_STEP * DEPTH_STEP
    for p in range(_POSITIONS):
        for column in range(columns):
            first = vectors * column // columns
            count = vectors * (column + 1) // columns - first
            for row in range(0, tiled, ROWS):
                multiply_plain(
                    memory, c_start + p * result.step + row * result.depth + first * LANES, result.depth,
                    memory, a_start + p * source.step + row * source.depth, source.depth,
                    memory, p * filter_step + first * LANES, result.depth, terms, 0, count,
                )  # fmt: skip


@jit()
def _add_products(x, y, tiled, filter_step, memory, v, d, start, accumulate):
    """Add the products of a block's tiles to the sums of a part: rows are channels, columns filters."""
    vectors = y.depth // LANES
    columns = (vectors + VECTORS - 1) // VECTORS
    for p in range(_POSITIONS):
        for column in range(columns):
            first = vectors * column // columns
            count = vectors * (column + 1) // columns - first
            for c in range(0, x.channels, ROWS):
                multiply_rows(
                    memory, start + p * filter_step + c * y.depth + first * LANES, y.depth,
                    memory, v + p * x.step + c, x.depth,
                    memory, d + p * y.step + first * LANES, y.depth, tiled, accumulate, 1, count,
                )  # fmt: skip


@jit()
def _blocks(chunk, chunks, numbers, _, x, y, memory, _d, _e):
    """Take the blocks of every chunks-th part through all steps.

    There is this one function for all kinds, and each step is called in one place, to be compiled once.
    """
    keep_apart()
    job, sides = _unpack(numbers)
    start = job.shared + chunk * job.scratch
    pixels = start, start + sides[0].rows * sides[0].columns * sides[0].depth
    places = start + job.pixels, start + job.pixels + _POSITIONS * sides[0].step
    bias, step = _POSITIONS * job.filter_step, job.filter_step
    source, result = job.kind, 1 - job.kind
    for part in range(chunk, job.parts, chunks):
        _clear(memory, start, job.pixels)  # what is read around pixels, and never written, stays zero
        first_block = job.blocks * part // job.parts
        for block in range(first_block, job.blocks * (part + 1) // job.parts):
            first = block * job.block_images
            images = min(job.block_images, job.images - first)
            tiled = (images * job.tiles_h * job.tiles_w + ROWS - 1) // ROWS * ROWS
            for which in range(2):
                if job.kind == _WEIGHT_GRAD or which == source:
                    tensor = y if which else x
                    _load(
                        job, sides[which], tensor, first, images, tiled, memory, pixels[which], places[which],
                        which,
                    )  # fmt: skip
            if job.kind == _WEIGHT_GRAD:
                more, sums = 1 if block > first_block else 0, part * _POSITIONS * step
                _add_products(sides[0], sides[1], tiled, step, memory, places[0], places[1], sums, more)
            else:
                _multiply(sides[source], sides[result], tiled, step, memory, places[source], places[result])
                tensor = y if result else x
                _store(
                    job, sides[result], first, images, memory, pixels[result], places[result], bias, tensor,
                    result,
                )  # fmt: skip


@jit()
def _transform_filters(rows, row_step, columns, column_step, width, w, step, memory, start):
    """Write G g G^T of the filter of each row and column; rows and columns that are missing are zero."""
    whole_rows = (rows + DEPTH_STEP - 1) // DEPTH_STEP * DEPTH_STEP
    for row in range(whole_rows):
        place = row * width
        if row >= rows:
            for p in range(_POSITIONS):
                _clear(memory, p * step + place, width)
            continue
        for column in range(0, width, LANES):
            count = min(LANES, columns - column)
            source = row * row_step + column * column_step
            together = count // ROWS * ROWS
            if count < LANES:
                _clear(memory, start, TAPS * TAPS * LANES)
            for lane in range(0, together, ROWS):
                own = source + lane * column_step
                transpose_run(memory, start + lane, LANES, w, own, column_step, TAPS * TAPS)
            for lane in range(together, count):
                own = source + lane * column_step
                add_strided(memory, start + lane, w, own, TAPS * TAPS, LANES, np.float32(0.0))
            five_filter(memory, place + column, SIZE * step, step, memory, start, TAPS * LANES, LANES)


@jit()
def _finish(channels, filters, width, parts, step, memory, start, dw):
    """Add the parts in their order, and transform the sums to the taps of all filters."""
    taps = start + _POSITIONS * LANES
    for c in range(channels):
        for f in range(0, width, LANES):
            for p in range(_POSITIONS):
                target, place = start + p * LANES, p * step + c * width + f
                copy_run(memory, target, memory, place, LANES)
                for part in range(1, parts):
                    source = part * _POSITIONS * step + place
                    fma_run(memory, target, memory, source, LANES, np.float32(1.0))
            five_filter_grad(memory, taps, TAPS * LANES, LANES, memory, start, SIZE * LANES, LANES)
            for lane in range(min(LANES, filters - f)):
                place = ((f + lane) * channels + c) * TAPS * TAPS
                copy_strided(dw, place, memory, taps + lane, TAPS * TAPS, LANES)


def _start(
    job: Job, sides: tuple[Side, Side], x: NDArray[Any], y: NDArray[Any], memory: NDArray[Any]
) -> None:
    numbers = np.array((*job, *sides[0], *sides[1]), dtype=np.int64)
    share(_blocks, min(numba.get_num_threads(), job.parts), (numbers,), (x, y, memory))


def _memory(job: Job) -> NDArray[Any]:
    """Return memory for what the threads share, and for each thread."""
    return workspace.array("five", job.shared + min(numba.get_num_threads(), job.parts) * job.scratch)


def _cut(x_shape: tuple[int, ...], filters: int, padding: tuple[int, int]) -> tuple[Job, tuple[Side, Side]]:
    """Describe a layer and cut its images into blocks; the kind and its items are filled in later."""
    images, channels, x_h, x_w = x_shape
    y_h, y_w = x_h + 2 * padding[0] - TAPS + 1, x_w + 2 * padding[1] - TAPS + 1
    tiles_h, tiles_w = ceil_div(y_h, OUTPUTS), ceil_div(y_w, OUTPUTS)
    block_images = min(images, ceil_div(_BLOCK_TILES, tiles_h * tiles_w))
    rows = whole(block_images * tiles_h * tiles_w, ROWS)
    rows_h, rows_w = OUTPUTS * tiles_h, OUTPUTS * tiles_w
    depth, width = whole(channels, LANES), whole(filters, LANES)
    # One vector more than needed: else a power of two would put all positions into one set of a cache.
    x = Side(
        channels, x_h, x_w, -padding[0], -padding[1], rows_h + TAPS - 1, rows_w + TAPS - 1, depth,
        rows * depth + LANES,
    )  # fmt: skip
    y = Side(filters, y_h, y_w, 0, 0, rows_h, rows_w, width, rows * width + LANES)
    pixels = sum(side.rows * side.columns * side.depth for side in (x, y))
    blocks = ceil_div(images, block_images)
    scratch = pixels + _POSITIONS * (x.step + y.step)
    parts = min(blocks, numba.get_num_threads())
    return Job(0, images, tiles_h, tiles_w, block_images, blocks, parts, 0, 0, scratch, pixels), (x, y)


def _with_filters(
    w: NDArray[Any], job: Job, sides: tuple[Side, Side], turned: bool
) -> tuple[Job, NDArray[Any], int]:
    """Transform the filters into matrices of channels by filters, or filters by channels if `turned`.

    Returns the completed job, its memory, and where the bias begins, whose values are zero.
    """
    taps = TAPS * TAPS
    rows, columns, steps = *sides, (taps, sides[0].channels * taps)
    if turned:
        rows, columns, steps = columns, rows, (steps[1], steps[0])
    step = whole(rows.channels, DEPTH_STEP) * columns.depth + LANES
    bias = _POSITIONS * step
    job = job._replace(filter_step=step, shared=bias + columns.depth)
    memory = _memory(job)
    place = job.shared  # the memory of the first thread, which has not begun
    _transform_filters(
        rows.channels, steps[0], columns.channels, steps[1], columns.depth, w, step, memory, place
    )
    memory[bias : job.shared] = 0.0
    return job, memory, bias


def five_conv(
    x: NDArray[Any],
    x_shape: tuple[int, ...],
    w: NDArray[Any],
    filters: int,
    bias: NDArray[Any],
    padding: tuple[int, int],
    y: NDArray[Any],
) -> None:
    """Compute a convolution of 5 x 5 filters at stride 1 into `y`.

    Parameters
    ----------
    x : ndarray of float32, 1-D
        Images of `x_shape` (N, C, H, W), flat; at least one image.
    x_shape : tuple of int
        Their shape.
    w : ndarray of float32, 1-D
        Filters (O, C, 5, 5), flat.
    filters : int
        O.
    bias : ndarray of float32, 1-D
        One value a filter, or of length 0.
    padding : tuple of int
        Rows and columns of zeros on each side.
    y : ndarray of float32, 1-D
        Result (N, O, H + 2 padding - 4, W + 2 padding - 4), flat.
    """
    job, sides = _cut(x_shape, filters, padding)
    job, memory, first = _with_filters(w, job._replace(kind=_FORWARD), sides, turned=False)
    memory[first : first + bias.size] = bias
    _start(job, sides, x, y, memory)


def five_input_gradient(
    dy: NDArray[Any],
    w: NDArray[Any],
    filters: int,
    padding: tuple[int, int],
    dx: NDArray[Any],
    x_shape: tuple[int, ...],
) -> None:
    """Compute the gradient of the input into `dx`, of `x_shape`; the rest is as for :func:`five_conv`."""
    job, sides = _cut(x_shape, filters, padding)
    job, memory, _ = _with_filters(w, job._replace(kind=_INPUT_GRAD), sides, turned=True)
    _start(job, sides, dx, dy, memory)


def five_weight_gradient(
    dy: NDArray[Any],
    x: NDArray[Any],
    x_shape: tuple[int, ...],
    filters: int,
    padding: tuple[int, int],
    dw: NDArray[Any],
) -> None:
    """Compute the gradient of the filters into `dw` (O, C, 5, 5); the rest is as for :func:`five_conv`."""
    job, sides = _cut(x_shape, filters, padding)
    step = whole(sides[0].channels, ROWS) * sides[1].depth + LANES
    parts = min(_PARTS, job.blocks)
    job = job._replace(kind=_WEIGHT_GRAD, parts=parts, filter_step=step, shared=parts * _POSITIONS * step)
    memory = _memory(job)
    _start(job, sides, x, dy, memory)
    _finish(sides[0].channels, filters, sides[1].depth, parts, step, memory, job.shared, dw)

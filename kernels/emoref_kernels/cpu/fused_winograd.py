"""Winograd's algorithm as a step of fused inference: channels-last maps of any extent, in place.

The three phases are those of :mod:`~emoref_kernels.cpu.winograd`: tiles of the map are transformed, each
position's matrices are multiplied, and the products become pixels. A thread takes some tiles at a time
through all three, so that what lies in between stays in its cache. Where the transformed filters are
large, each thread would read all of them for its own few tiles; then the threads share the tiles of many
images, phase by phase, and in the second each takes positions of its own, so that the filters are read once.

A value depends on its own tile alone. Neither way, nor the number of tiles, changes its bits.
"""

from emoref_kernels.cpu.fused_vectors import MINUS_INF, ZERO, finish_vector, merge_vector
from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.runs import copy_run
from emoref_kernels.cpu.simd import LANES
from emoref_kernels.cpu.winograd_blocks import column_tiles, multiply_columns
from emoref_kernels.cpu.winograd_finish import finish_tile
from emoref_kernels.cpu.winograd_tiles import input_tile

__all__ = ["PHASES", "winograd_maps", "winograd_phase"]

PHASES = 3
"""Transform, multiply, finish."""


@jit()
def _row(channels):
    """Return the distance of tiles, as :func:`~emoref_kernels.cpu.winograd_cuts.row_floats` does."""
    vectors = (channels + LANES - 1) // LANES
    return LANES * (vectors | 1 if vectors >= 8 else vectors)


@jit()
def _sizes(s):
    """Return distances: v's rows and positions, t's rows and positions, and of positions in the filters."""
    v_row, t_row = _row(s.stride), _row(s.filters)
    return v_row, s.block * v_row + LANES, t_row, s.block * t_row + LANES, s.depth * _width(s) + LANES


@jit()
def _width(s):
    return (s.filters + LANES - 1) // LANES * LANES


@jit()
def _tiles_w(s):
    return (s.width + s.step - 1) // s.step


@jit()
def _tiles_of(s):
    """Return the tiles of an image; the last ones of a row or column may reach over the edge."""
    return (s.height + s.step - 1) // s.step * _tiles_w(s)


@jit()
def _load_edge(s, source, rows, columns, patch, scratch):
    """Copy the pixels of a tile that reaches over the edge; what lies beyond is zero."""
    size = s.step + 2
    for i in range(size):
        for j in range(size):
            place = patch + (i * size + j) * LANES
            if i < rows and j < columns:
                copy_run(scratch, place, scratch, source + i * s.row + j * s.stride, LANES)
            else:
                for lane in range(LANES):
                    scratch[place + lane] = ZERO


@jit()
def _load(s, x, base, begin, first, last, patch, scratch):
    """Transform tiles `first` to `last` of a block that begins with tile number `begin`."""
    size = s.step + 2
    v_row, v_step, _, _, _ = _sizes(s)
    tiles_w, per_image = _tiles_w(s), _tiles_of(s)
    for k in range(first, last):
        n, place = divmod(begin + k, per_image)
        i, j = divmod(place, tiles_w)
        source = x + n * s.x_image + s.x_first + i * s.step * s.row + j * s.step * s.stride
        rows, columns = s.height + 2 - i * s.step, s.width + 2 - j * s.step
        target = base + k * v_row
        if rows >= size and columns >= size:
            for c in range(0, s.stride, LANES):
                input_tile(
                    s.step, scratch, target + c, size * v_step, v_step, scratch, source + c, s.row, s.stride
                )
        else:
            for c in range(0, s.stride, LANES):
                _load_edge(s, source + c, rows, columns, patch, scratch)
                input_tile(
                    s.step, scratch, target + c, size * v_step, v_step, scratch, patch, size * LANES, LANES
                )


@jit()
def _multiply(s, base, count, first, last, weights, scratch):
    """Multiply the matrices of `count` tiles: items `first` to `last`, each a position and a column tile."""
    v_row, v_step, t_row, t_step, u_step = _sizes(s)
    products = base + (s.step + 2) ** 2 * v_step
    vectors, tiles = _width(s) // LANES, column_tiles(_width(s))
    for item in range(first, last):
        p, column = divmod(item, tiles)
        begin = vectors * column // tiles
        own = vectors * (column + 1) // tiles - begin
        multiply_columns(
            count, own, s.depth, scratch, base + p * v_step, v_row,
            weights, s.w + p * u_step + begin * LANES * s.depth, own * LANES,
            scratch, products + p * t_step + begin * LANES, t_row, 0,
        )  # fmt: skip


@jit()
def _finish_edge(s, y, z, c, rows, columns, square, weights, scratch):
    """Finish the pixels of a tile that lie inside the map; `square` holds all of them, as they come."""
    floor = ZERO if s.relu else MINUS_INF
    for i in range(rows):
        for j in range(columns):
            place = square + (i * s.step + j) * LANES
            target = place if s.pooled else y + i * s.y_row + j * s.y_stride
            finish_vector(
                scratch, target, scratch, place, scratch, z + i * s.z_row + j * s.z_stride, weights,
                s.scale + c, s.shift + c, s.residual, floor,
            )  # fmt: skip
    if s.pooled:
        for i in range(0, rows - 1, 2):
            for j in range(0, columns - 1, 2):
                place = square + (i * s.step + j) * LANES
                merge_vector(scratch, place, scratch, place + LANES, 1)
                merge_vector(scratch, place, scratch, place + s.step * LANES, 1)
                merge_vector(scratch, place, scratch, place + (s.step + 1) * LANES, 1)
                copy_run(scratch, y + i // 2 * s.y_row + j // 2 * s.y_stride, scratch, place, LANES)


@jit()
def _store(s, y, z, base, begin, first, last, patch, weights, scratch):
    """Transform the products of tiles `first` to `last` into pixels, and finish these."""
    size = s.step + 2
    _, v_step, t_row, t_step, _ = _sizes(s)
    products = base + size * size * v_step
    tiles_w, per_image = _tiles_w(s), _tiles_of(s)
    floor = ZERO if s.relu else MINUS_INF
    y_tile = s.step // 2 if s.pooled else s.step
    for k in range(first, last):
        n, place = divmod(begin + k, per_image)
        i, j = divmod(place, tiles_w)
        target = y + n * s.y_image + s.y_first + i * y_tile * s.y_row + j * y_tile * s.y_stride
        other = z + n * s.z_image + s.z_first + i * s.step * s.z_row + j * s.step * s.z_stride
        rows, columns = min(s.height - i * s.step, s.step), min(s.width - j * s.step, s.step)
        source = products + k * t_row
        for c in range(0, _width(s), LANES):
            if rows == s.step and columns == s.step:
                finish_tile(
                    s.step, scratch, target + c, s.y_row, s.y_stride, scratch, source + c, size * t_step,
                    t_step, scratch, other + c, s.z_row, s.z_stride, weights, s.scale + c, s.shift + c,
                    s.residual, s.pooled, floor,
                )  # fmt: skip
            else:
                finish_tile(
                    s.step, scratch, patch, s.step * LANES, LANES, scratch, source + c, size * t_step, t_step,
                    scratch, patch, 0, 0, weights, s.ones, s.zeros, 0, 0, MINUS_INF,
                )  # fmt: skip
                _finish_edge(s, target + c, other + c, c, rows, columns, patch, weights, scratch)


@jit()
def winograd_maps(s, x, y, z, images, start, weights, scratch):
    """Convolve the maps of some images by F(m x m, 3x3), in a thread's own memory from `start` on."""
    tiles = images * _tiles_of(s)
    base, patch = start + s.scratch, start + s.patch
    items = (s.step + 2) ** 2 * column_tiles(_width(s))
    for begin in range(0, tiles, s.block):
        count = min(s.block, tiles - begin)
        _load(s, x, base, begin, 0, count, patch, scratch)
        _multiply(s, base, count, 0, items, weights, scratch)
        _store(s, y, z, base, begin, 0, count, patch, weights, scratch)


@jit()
def winograd_phase(s, phase, chunk, chunks, x, y, z, images, start, weights, scratch):
    """Do one thread's share of a phase for some images; the tiles between phases are in common memory."""
    tiles, patch = images * _tiles_of(s), start + s.patch
    first, last = tiles * chunk // chunks, tiles * (chunk + 1) // chunks
    if phase == 0:
        _load(s, x, s.scratch, 0, first, last, patch, scratch)
    elif phase == 1:
        items = (s.step + 2) ** 2 * column_tiles(_width(s))
        first, last = items * chunk // chunks, items * (chunk + 1) // chunks
        _multiply(s, s.scratch, tiles, first, last, weights, scratch)
    else:
        _store(s, y, z, s.scratch, 0, first, last, patch, weights, scratch)

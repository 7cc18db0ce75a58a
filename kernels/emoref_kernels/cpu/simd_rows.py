"""Register-blocked multiplication of rows as they lie in memory by values turned the other way.

The gradient of a pointwise convolution's weights is a sum over pixels. One operand has its pixels side by
side, as a plane has, and is read value by value; the other has the channels of a pixel side by side::

    C[m, j] += sum over k of a[m * a_row + k] * b[k * b_row + j]      m < ROWS, j < vectors * LANES

The pixels are those of several images in turn. As in :mod:`emoref_kernels.cpu.simd`, each element is one
chain of multiply-adds in increasing k, whatever tile it belongs to.
"""

from functools import partial
from typing import Any, NamedTuple

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.simd import INTERPRETED, LANES, ROWS, broadcast, fma, integer, multiply_add
from emoref_kernels.cpu.simd_pixels import LINE, prefetch

__all__ = ["LOOPS", "ROW_VECTORS", "RowTile", "row_tile"]

ROW_VECTORS = 2
"""Most vectors of a tile. With three, the sums and the factors do not fit the registers: LLVM takes two steps
of the sum at once, and reads the factors of both first."""

_VECTOR = ir.VectorType(ir.FloatType(), LANES)


class RowTile(NamedTuple):
    """What one tile reads and adds to; places and distances are in floats.

    Attributes
    ----------
    c_start, c_row : int
        Place of the sums, and distance of their rows.
    a_start, a_row : int
        Place of the first row, and distance of the rows.
    b_start, b_row : int
        Place of the values of the first pixel, and distance of the pixels.
    images, a_image, pixels : int
        Images, their distance in the rows, and pixels of each; those of all images follow one another in
        `b`.
    ahead : int
        Address of ROWS rows like those of `a` that are brought near for a later call; may lie anywhere.
    """

    c_start: int
    c_row: int
    a_start: int
    a_row: int
    b_start: int
    b_row: int
    images: int
    a_image: int
    pixels: int
    ahead: int


def _emit(vectors: int, context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Emit a tile; the arguments are sums, rows, turned values and the tile."""
    tile = RowTile(*(builder.extract_value(args[3], i) for i in range(len(RowTile._fields))))

    def place(pointer: Any, *terms: Any) -> Any:
        for term in terms:
            pointer = builder.gep(pointer, [term])
        return pointer

    def data(position: int, start: Any) -> Any:
        array = context.make_array(signature.args[position])(context, builder, args[position])
        return place(array.data, start)

    def vector(pointer: Any, index: int) -> Any:
        return builder.bitcast(place(pointer, integer(index * LANES)), _VECTOR.as_pointer())

    c_rows = [data(0, builder.add(tile.c_start, builder.mul(tile.c_row, integer(m)))) for m in range(ROWS)]
    kept = [vector(row, v) for row in c_rows for v in range(vectors)]
    # LLVM keeps these in registers.
    sums = [cgutils.alloca_once_value(builder, builder.load(pointer, align=4)) for pointer in kept]
    a, b = data(1, tile.a_start), data(2, tile.b_start)
    ahead = builder.inttoptr(tile.ahead, ir.FloatType().as_pointer())
    with cgutils.for_range(builder, tile.images) as image:
        a_image = builder.mul(image.index, tile.a_image)
        rows = [place(a, a_image, builder.mul(tile.a_row, integer(m))) for m in range(ROWS)]
        b_image = place(b, builder.mul(builder.mul(image.index, tile.pixels), tile.b_row))
        with cgutils.for_range(builder, tile.pixels) as pixel:
            # A line of each row in turn: all lines of a row are asked for in the first half of the steps.
            row = builder.mul(builder.and_(pixel.index, integer(ROWS - 1)), tile.a_row)
            line = builder.mul(builder.lshr(pixel.index, integer(ROWS.bit_length() - 1)), integer(LINE))
            prefetch(builder, place(ahead, a_image, row, line))
            b_place = place(b_image, builder.mul(pixel.index, tile.b_row))
            values = [builder.load(vector(b_place, v), align=4) for v in range(vectors)]
            for m in range(ROWS):
                factor = broadcast(builder, builder.load(place(rows[m], pixel.index)), LANES)
                for v in range(vectors):
                    total = sums[m * vectors + v]
                    builder.store(multiply_add(builder, factor, values[v], builder.load(total)), total)
    for total, pointer in zip(sums, kept, strict=True):
        builder.store(builder.load(total), pointer, align=4)
    return context.get_dummy_value()


@intrinsic
def _tile_1(typingctx, c, a, b, tile):
    return types.void(c, a, b, tile), partial(_emit, 1)


@intrinsic
def _tile_2(typingctx, c, a, b, tile):
    return types.void(c, a, b, tile), partial(_emit, 2)


@jit()
def _tile_loops(c, a, b, tile, vectors):
    for m in range(ROWS):
        for j in range(vectors * LANES):
            place = tile.c_start + m * tile.c_row + j
            total = c[place]
            for image in range(tile.images):
                row = tile.a_start + image * tile.a_image + m * tile.a_row
                for k in range(tile.pixels):
                    value = b[tile.b_start + (image * tile.pixels + k) * tile.b_row + j]
                    total = fma(a[row + k], value, total)
            c[place] = total


@jit(inline="always")
def _tile_compiled(c, a, b, tile, vectors):
    if vectors == 1:
        _tile_1(c, a, b, tile)
    else:
        _tile_2(c, a, b, tile)


LOOPS = {"row_tile": _tile_loops}
"""The plain-loop twin of the vector code: its meaning."""

row_tile: Any = _tile_loops if INTERPRETED else _tile_compiled
"""``row_tile(c, a, b, tile, vectors)`` adds the products of some pixels to a tile of one or two vectors.

`c`, `a` and `b` are arrays of float32; a :class:`RowTile` says where all is.
"""

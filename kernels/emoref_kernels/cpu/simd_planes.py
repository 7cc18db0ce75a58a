"""Register-blocked multiplication whose vectors lie anywhere: filters against pieces of planes.

The tile of :mod:`~emoref_kernels.cpu.simd` has neighbouring columns. Here each vector of a tile has a place
of its own in the pixels and another in the result, so that a tile may go on with the next row of a plane, and
is stored where it belongs::

    y[targets[v] + m * y_stride + lane]
        = bias[m] + sum over k of a[k * ROWS + m] * x[sources[v] + terms[k] + lane]

As there, each element is one chain of multiply-adds in increasing k, from zero or from the stored value; the
bias is added behind the last term.
"""

from functools import partial
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.runs import emit_run
from emoref_kernels.cpu.simd import INT64, INTERPRETED, LANES, ROWS, broadcast, fma, integer, multiply_add
from emoref_kernels.cpu.simd_pixels import prefetch

__all__ = ["LOOPS", "PlaneTile", "halve_run", "plane_tile", "spread_run"]

_FLOAT = ir.FloatType()
_VECTOR = ir.VectorType(_FLOAT, LANES)


class PlaneTile(NamedTuple):
    """What one tile reads and writes: places in arrays, and of lists in the tables.

    Attributes
    ----------
    y_start, y_stride : int
        Added to every target, and distance of the rows of the result.
    a_start, x_start : int
        Place of the packed filters, and what is added to every source.
    targets, sources, terms : int
        Where in the tables the places of the vectors and the offsets of the terms begin.
    length : int
        Terms; at least 1.
    more : int
        1: the sums go on from what `y` holds.
    bias : int
        Place of the summands of the rows, or -1: there is nothing to add yet.
    ahead, ahead_step : int
        Address of a value that is brought near in the first term, and its distance in floats from term to
        term; it may lie anywhere.
    """

    y_start: int
    y_stride: int
    a_start: int
    x_start: int
    targets: int
    sources: int
    terms: int
    length: int
    more: int
    bias: int
    ahead: int
    ahead_step: int


def _load(builder: Any, pointer: Any, width: int = LANES) -> Any:
    if width == 1:
        return builder.load(pointer)
    return builder.load(builder.bitcast(pointer, ir.VectorType(_FLOAT, width).as_pointer()), align=4)


def _store(builder: Any, value: Any, pointer: Any) -> None:
    builder.store(value, builder.bitcast(pointer, value.type.as_pointer()), align=4)


def _data(context: Any, builder: Any, signature: Any, args: Any, position: int, start: Any) -> Any:
    array = context.make_array(signature.args[position])(context, builder, args[position])
    return builder.gep(array.data, [start])


def _emit_tile(vectors: int, context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Emit a tile; the arguments are y, a, x, bias, tables and the tile."""
    tile = PlaneTile(*(builder.extract_value(args[5], i) for i in range(len(PlaneTile._fields))))

    def data(position: int, start: Any) -> Any:
        return _data(context, builder, signature, args, position, start)

    def listed(start: Any, index: int) -> Any:
        return builder.load(data(4, builder.add(start, integer(index))))

    a = data(1, tile.a_start)
    x = [builder.gep(data(2, tile.x_start), [listed(tile.sources, v)]) for v in range(vectors)]
    y = [builder.gep(data(0, tile.y_start), [listed(tile.targets, v)]) for v in range(vectors)]
    targets = []
    for m in range(ROWS):
        below = builder.mul(tile.y_stride, integer(m))
        targets += [builder.gep(pointer, [below]) for pointer in y]
    terms = data(4, tile.terms)
    first_fetched = builder.inttoptr(tile.ahead, _FLOAT.as_pointer())
    load_block = builder.function.append_basic_block("planes.load")
    loop_block = builder.function.append_basic_block("planes.loop")
    end_block = builder.function.append_basic_block("planes.end")

    from_block, zero = builder.block, integer(0)
    builder.cbranch(builder.icmp_signed("!=", tile.more, zero), load_block, loop_block)
    builder.position_at_end(load_block)
    stored = [_load(builder, pointer) for pointer in targets]
    builder.branch(loop_block)

    builder.position_at_end(loop_block)
    k, fetched = builder.phi(INT64), builder.phi(first_fetched.type)
    sums = [builder.phi(_VECTOR) for _ in targets]
    offset = builder.load(builder.gep(terms, [k]))
    prefetch(builder, fetched)
    pixels = [_load(builder, builder.gep(pointer, [offset])) for pointer in x]
    factors = builder.gep(a, [builder.mul(k, integer(ROWS))])
    updated = []
    for m in range(ROWS):
        factor = broadcast(builder, builder.load(builder.gep(factors, [integer(m)])), LANES)
        for v in range(vectors):
            updated.append(multiply_add(builder, factor, pixels[v], sums[m * vectors + v]))
    next_k, next_fetched = builder.add(k, integer(1)), builder.gep(fetched, [tile.ahead_step])
    for block in (from_block, load_block):
        fetched.add_incoming(first_fetched, block)
    fetched.add_incoming(next_fetched, loop_block)
    for block, value in ((from_block, zero), (load_block, zero), (loop_block, next_k)):
        k.add_incoming(value, block)
    for phi, before, after in zip(sums, stored, updated, strict=True):
        phi.add_incoming(ir.Constant(_VECTOR, [0.0] * LANES), from_block)
        phi.add_incoming(before, load_block)
        phi.add_incoming(after, loop_block)
    builder.cbranch(builder.icmp_signed("<", next_k, tile.length), loop_block, end_block)

    builder.position_at_end(end_block)
    final = builder.icmp_signed(">=", tile.bias, zero)
    bias = data(3, builder.select(final, tile.bias, zero))
    for m in range(ROWS):
        # Minus zero is what changes no value it is added to.
        addend = builder.load(builder.gep(bias, [integer(m)]))
        addend = broadcast(builder, builder.select(final, addend, ir.Constant(_FLOAT, -0.0)), LANES)
        for v in range(vectors):
            place = m * vectors + v
            _store(builder, builder.fadd(updated[place], addend), targets[place])
    return context.get_dummy_value()


@intrinsic
def _tile_1(typingctx, y, a, x, bias, tables, tile):
    return types.void(y, a, x, bias, tables, tile), partial(_emit_tile, 1)


@intrinsic
def _tile_2(typingctx, y, a, x, bias, tables, tile):
    return types.void(y, a, x, bias, tables, tile), partial(_emit_tile, 2)


@intrinsic
def _tile_3(typingctx, y, a, x, bias, tables, tile):
    return types.void(y, a, x, bias, tables, tile), partial(_emit_tile, 3)


@intrinsic
def _halve_run(typingctx, out, out_start, x, x_start, count):
    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        target, source = (_data(context, builder, signature, args, i, args[i + 1]) for i in (0, 2))

        def body(index: Any, width: int) -> None:
            place = builder.gep(source, [builder.shl(index, integer(1))])
            value = _load(builder, place, width)
            if width > 1:
                # The second half ends with the last value that is wanted: nothing behind it is read.
                more = _load(builder, builder.gep(place, [integer(width - 1)]), width)
                lanes = [*range(0, width, 2), *range(width + 1, 2 * width, 2)]
                mask = ir.Constant(ir.VectorType(ir.IntType(32), width), lanes)
                value = builder.shuffle_vector(value, more, mask)
            _store(builder, value, builder.gep(target, [index]))

        emit_run(builder, args[4], body, repeatable=True)
        return context.get_dummy_value()

    return types.void(out, types.int64, x, types.int64, types.int64), emit


@intrinsic
def _spread_run(typingctx, out, out_start, x, x_start, count):
    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        target, source = (_data(context, builder, signature, args, i, args[i + 1]) for i in (0, 2))

        def body(index: Any, width: int) -> None:
            place = builder.gep(target, [builder.shl(index, integer(1))])
            value = _load(builder, builder.gep(source, [index]), width)
            if width == 1:
                builder.store(value, place)
                builder.store(ir.Constant(_FLOAT, 0.0), builder.gep(place, [integer(1)]))
                return
            zeros = ir.Constant(value.type, [0.0] * width)
            for half in (0, 1):
                lanes = [lane for k in range(width // 2) for lane in (half * width // 2 + k, width + k)]
                mask = ir.Constant(ir.VectorType(ir.IntType(32), width), lanes)
                part = builder.shuffle_vector(value, zeros, mask)
                _store(builder, part, builder.gep(place, [integer(half * width)]))

        emit_run(builder, args[4], body, repeatable=True)
        return context.get_dummy_value()

    return types.void(out, types.int64, x, types.int64, types.int64), emit


@jit()
def _tile_loops(y, a, x, bias, tables, tile, vectors):
    for m in range(ROWS):
        for v in range(vectors):
            place = tile.y_start + tables[tile.targets + v] + m * tile.y_stride
            source = tile.x_start + tables[tile.sources + v]
            for lane in range(LANES):
                total = y[place + lane] if tile.more else np.float32(0.0)
                for k in range(tile.length):
                    pixel = x[source + tables[tile.terms + k] + lane]
                    total = fma(a[tile.a_start + k * ROWS + m], pixel, total)
                y[place + lane] = total + bias[tile.bias + m] if tile.bias >= 0 else total


@jit()
def _halve_loops(out, out_start, x, x_start, count):
    for i in range(count):
        out[out_start + i] = x[x_start + 2 * i]


@jit()
def _spread_loops(out, out_start, x, x_start, count):
    for i in range(count):
        out[out_start + 2 * i] = x[x_start + i]
        out[out_start + 2 * i + 1] = 0.0


@jit(inline="always")
def _tile_compiled(y, a, x, bias, tables, tile, vectors):
    if vectors == 1:
        _tile_1(y, a, x, bias, tables, tile)
    elif vectors == 2:
        _tile_2(y, a, x, bias, tables, tile)
    else:
        _tile_3(y, a, x, bias, tables, tile)


LOOPS = {"plane_tile": _tile_loops, "halve_run": _halve_loops, "spread_run": _spread_loops}
"""The plain-loop twin of each function of this module: its meaning."""

plane_tile: Any = _tile_loops if INTERPRETED else _tile_compiled
"""``plane_tile(y, a, x, bias, tables, tile, vectors)`` computes ROWS rows of one to three vectors.

`y`, `a`, `x` and `bias` are arrays of float32, `tables` one of int64; a :class:`PlaneTile` says where all is.
"""

halve_run: Any = _halve_loops if INTERPRETED else _halve_run
"""``halve_run(out, out_start, x, x_start, count)`` copies every other value; it reads 2 `count` - 1."""

spread_run: Any = _spread_loops if INTERPRETED else _spread_run
"""``spread_run(out, out_start, x, x_start, count)`` copies a run with a zero behind each value."""
